//! The engine room, schema `gemba`: what every other room is built with. It knows no domain by name.
//!
//! - [`audit`]: who changed what, and the proof of it
//! - [`migrate`]: deploys modules by versioned migrations and keeps their history
//! - [`guards`]: what the rooms' SQL asks before it goes to work
//! - [`history`]: closed partitions as compressed segments
//! - [`jobs`]: a timetable, a worker and a history for what has to run again and again
//! - [`partitions`]: partitions by time, made ahead and retired
//! - [`rollups`]: aggregates kept exact by recomputing only what changed

pub mod audit;
pub mod buckets;
pub mod guards;
pub mod history;
pub mod install;
pub mod jobs;
pub mod migrate;
pub mod partitions;
pub mod rollups;
