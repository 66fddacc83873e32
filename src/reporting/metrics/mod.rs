//! Metrics: JSON objects whose values are numbers, `{"impressions": 10, "spend": 1.25}`. A null is a number
//! that is not known, and counts for nothing.
//!
//! - [`state`]: the sums of many such objects, with the help of [`keys`] and [`shapes`]
//! - [`aggregate`]: `reporting.metrics_sum`, as the server calls it

mod aggregate;
mod keys;
mod shapes;
mod state;

use crate::error::{Error, Result};
use crate::postgres::jsonb::{NotAnObject, Object, Value};
use pgrx::PgSqlErrorCode;

const HINT: &str = "metrics are an object of numbers, such as {\"impressions\": 10, \"spend\": 1.25}; leave out or set to null what is not known";

/// How much of a key an error shows.
const SHOWN: usize = 100;

/// The metrics of a document, as it is stored without its length.
///
/// # Errors
/// `22023` when it is no object.
fn object(document: &[u8]) -> Result<Object<'_>> {
    Object::read(document).map_err(|NotAnObject(kind)| {
        Error::invalid("metrics are not a JSON object")
            .detail(format!("the document is {kind}"))
            .hint(HINT)
    })
}

/// What to say of a value that is neither a number nor null.
#[cold]
fn no_number(key: &[u8], value: Value) -> Error {
    match value {
        Value::Other(kind) => Error::invalid("a metric is not a number")
            .detail(format!("{} is {kind}", shown(key)))
            .hint(HINT),
        _ => Error::new(
            PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
            "a JSON object is damaged",
        )
        .detail(format!("at {}", shown(key)))
        .hint("restore the row from a backup"),
    }
}

fn shown(key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    let cut: String = key.chars().take(SHOWN).collect();
    let more = if cut.len() < key.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}
