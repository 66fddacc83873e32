//! What devices ask for: submitted once however often it is sent, worked on by one worker at a time, answered once.
//!
//! What one statement decides is SQL (`sql/install/cloudwatcher/requests/`). Here is the rest:
//!
//! - [`hash`]: by what a payload is known
//! - [`months`]: the partitions of requests: made when they are missing, retired with what hangs on their requests

pub mod hash;
pub mod months;
