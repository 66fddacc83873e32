//! gemba's arithmetic, calendars, parsers and sets: pure Rust, tested without PostgreSQL.

pub mod calendar;
pub mod cu_bems;
pub mod local_time;
pub mod ranges;
pub mod sample;
pub mod wide_csv;
