//! The engine room, schema `gemba`: what every other room is built with. It knows no domain by name.
//!
//! - [`migrate`]: deploys modules by versioned migrations and keeps their history
//! - [`partitions`]: partitions by time, made ahead and retired
//! - [`rollups`]: aggregates kept exact by recomputing only what changed

pub mod buckets;
pub mod install;
pub mod migrate;
pub mod partitions;
pub mod rollups;
