//! gemba's printed pages: data in, one self-contained HTML page with SVG charts out.
//!
//! A page is a pure function of a JSON document: no clock, no network, no PostgreSQL. It loads nothing
//! and runs nothing, so that it can be stored, mailed, printed and opened from a disk years later.

mod error;
pub mod morning;

pub use error::Error;
