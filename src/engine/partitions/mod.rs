//! Partitions by time: made ahead of the data, retired behind it.
//!
//! - [`api`]: the SQL functions
//! - [`set`]: one managed table: its step, zone and leaves
//! - [`leaf`]: making and retiring one partition
//! - [`ready`]: the partition for now, for rooms that write all the time
//!
//! A partition is built as an ordinary table and then *attached*, because CREATE TABLE … PARTITION OF
//! locks the parent against every reader while ATTACH lets them pass. There is never a default
//! partition: it would turn each attach into a full scan of itself under the strongest lock.

mod api;
pub mod leaf;
pub mod ready;
pub mod set;

pub use api::{ensure_written, horizon, keep};
