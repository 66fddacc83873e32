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
//! - [`select`], [`range`], [`filter`], [`cursor`]: which segments, and which of their rows, a query needs
//! - [`rows`]: the rows of a segment, decoded
//! - [`writer`], [`cut`]: rows become segments, and where these end
//! - [`fdw`]: reading and writing a compressed partition, for the server's executor
//! - [`aggregate`]: aggregates without making rows
//! - [`policy`]: which tables are compressed, how, and when a partition is closed
//! - [`tables`]: the tables of a compressed partition
//! - [`compress`], [`decompress`]: one kind of partition becomes the other
//! - [`changes`], [`swap`]: what they need for that: what was written meanwhile, and one table in the other's place
//! - [`direct`]: segments that come ready-made, from an import
//! - [`seen`]: transactions that are older than a partition's segments
//! - [`verify`]: finding damage
//! - [`guard`]: refusing changes of the table that compressed rows cannot follow
//! - [`late`], [`unique`]: rows that come later, and whether there is such a row already
//! - [`fold`]: late rows into segments
//! - [`api`]: the SQL functions

pub mod aggregate;
mod api;
mod changes;
pub mod compress;
mod cursor;
pub mod cut;
mod decompress;
pub mod direct;
mod fdw;
mod filter;
pub mod fold;
mod guard;
mod late;
mod layout;
pub mod policy;
mod range;
mod rows;
mod seen;
mod select;
mod store;
mod swap;
mod tables;
mod unique;
mod values;
mod verify;
mod writer;

pub use fdw::register;
