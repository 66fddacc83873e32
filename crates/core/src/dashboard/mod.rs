//! What the configurations of dashboards and their widgets may hold.
//!
//! A configuration comes as the text of JSON and leaves as a struct with every default filled in, or as an
//! [`Invalid`] that names the place. Nothing is guessed: an unknown key is refused, and so is a number in
//! quotes. `null` is the same as leaving the key out.
//!
//! `custom` is the one place where anything may stand; it is handed on as it is.

mod display;
mod filters;
mod layout;
mod query;
mod range;
mod strict;
#[cfg(test)]
mod tests;
mod widget;

pub use display::{Colour, Currency, Display, Format};
pub use filters::{Defaults, Filters, Scalar};
pub use layout::{Layout, MOST_COLUMNS, MOST_ROWS, Overlap, Position, overlap};
pub use query::{Aggregation, GroupBy, Period, Query, Sort, SortBy, Table};
pub use range::Range;
pub use strict::Custom;
pub use widget::{ChartType, Draft, Kind, Prose, Widget, validate_widget};

/// A place in a configuration, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct Invalid {
    /// `data_source.metrics[2]` for instance.
    pub path: String,
    pub why: String,
}

impl Invalid {
    fn new(path: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            why: why.into(),
        }
    }
}
