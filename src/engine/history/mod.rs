//! The history tier: closed partitions as compressed segments, and still the same table.
//!
//! A compressed partition is a foreign table of this extension's own wrapper, in the place of the ordinary
//! one. Behind it stand two ordinary tables of schema `gemba_history`: one row for each *segment* (the rows of
//! one key and one span of time, encoded column by column), and the *late* rows that came, or were
//! changed, since. So transactions, crashes, replicas and backups are the server's own affair.
//!
//! - [`layout`]: which column of a partition stands where in its segments
//! - [`values`]: values of rows into segments and out of them
//! - [`store`]: the segment table
//! - [`writer`]: rows become segments
//! - [`compress`]: an ordinary partition becomes a compressed one
//! - [`fdw`]: reading and writing a compressed partition, for the server's executor
//! - [`api`]: the SQL functions

mod api;
mod compress;
mod fdw;
mod layout;
mod store;
mod values;
mod writer;
