//! Compressed partitions beside the same rows in an ordinary table: random tables, random rows, random queries;
//! everybody's view of telemetry; what is asked of a table besides its rows.

mod around;
mod data;
mod large;
mod property;
mod queries;
mod roles;
mod shape;
#[path = "../telemetry_support/mod.rs"]
mod telemetry_support;
mod values;
