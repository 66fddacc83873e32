//! gemba's arithmetic, calendars, parsers and sets: pure Rust, tested without PostgreSQL.

pub mod access;
pub mod backoff;
pub mod calendar;
pub mod canonical;
pub mod cu_bems;
pub mod dag;
pub mod dashboard;
pub mod fixed;
pub mod forecast;
pub mod insights;
pub mod instant;
pub mod local_time;
pub mod losses;
pub mod median;
pub mod metrics;
pub mod oee;
pub mod ranges;
pub mod sample;
pub mod seal;
pub mod shifts;
pub mod states;
pub mod summary;
pub mod timetable;
pub mod turns;
pub mod variance;
pub mod wide_csv;
