//! Compressed partitions beside the same rows in an ordinary table: random tables, random rows, random queries.

mod data;
mod property;
mod queries;
mod shape;
mod values;
