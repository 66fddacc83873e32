//! Rollups: aggregates in tables of their own, kept exact by recomputing only the buckets that changed.
//!
//! - [`definition`]: what a rollup is, and the SQL that follows from it
//! - [`table`]: the table that it is kept in, partitioned or not
//! - [`capture`]: triggers that note which buckets a transaction touched
//! - [`pending`]: which buckets have to be recomputed, and which can't be any more
//! - [`leaves`]: partitions of a source that came and went
//! - [`slices`]: cutting what has to be recomputed into pieces
//! - [`refresh`]: recomputing them
//! - [`api`]: the SQL functions
//!
//! Why it is exact: a transaction writes its changed buckets and its rows together, so any snapshot
//! shows both or neither. A refresh takes the changes out first and reads the rows afterwards; rows that
//! were committed in between are counted now and, because their change is still there, once more at the
//! next refresh, to the same result. Nobody waits for anybody.

mod api;
pub mod capture;
pub mod definition;
pub mod leaves;
pub mod pending;
pub mod refresh;
mod slices;
pub mod table;
