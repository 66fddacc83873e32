pub mod calendar;
pub mod cu_bems;
pub mod local_time;
pub mod ranges;
pub mod wide_csv;
