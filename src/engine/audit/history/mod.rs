//! The history of a row, and what it was at some time, from the trail alone as far as that reaches.
//!
//! A row is found by its key. An UPDATE that changes the key is an entry of the new one, with the old one in its old
//! values: so the trail leads from the new key back, and forward only by looking through the UPDATEs of the table,
//! which is done only where a row is gone without having been deleted.
//!
//! What cannot be known is an error, not a guess: times at which the table was not under audit, rows that were there
//! before it was and that a TRUNCATE took away, rows that the caller may not read.
//!
//! Everything is read with the caller's rights.
//!
//! - `trail`: the entries of a table
//! - `gap`: what became of a row between two entries of its key
//! - `lives`: `gemba.row_history()`
//! - `life`: one life of a row; `at`: `gemba.row_at()`

mod api;
mod at;
mod gap;
mod life;
mod lives;
mod trail;
