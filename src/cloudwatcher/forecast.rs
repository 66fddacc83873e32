//! How many of a part will be used: [`gemba_core::forecast`] for SQL.

use crate::error::{Error, Result};
use gemba_core::forecast::{self, LARGEST, MOST_DAYS, MOST_STEPS, Refused};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// From what was used on each day, in order and without gaps, to what will be on each of so many days after them.
#[pg_extern(schema = "cloudwatcher", immutable, parallel_safe, strict)]
#[search_path(pg_catalog, pg_temp)]
pub fn _forecast(
    history: Vec<Option<f64>>,
    horizon: i32,
) -> Result<
    TableIterator<
        'static,
        (
            name!(ahead, i32),
            name!(quantity, f64),
            name!(low, f64),
            name!(high, f64),
            name!(method, &'static str),
        ),
    >,
    ErrorReport,
> {
    // (NULL is no quantity, and refused as such.)
    let history: Vec<f64> = history
        .into_iter()
        .map(|quantity| quantity.unwrap_or(f64::NAN))
        .collect();
    let found = forecast::forecast(&history, usize::try_from(horizon).unwrap_or(0))
        .map_err(|refused| explained(refused, &history, horizon))?;
    let method = found.method.name();
    Ok(TableIterator::new((1..).zip(found.days).map(
        move |(ahead, day)| (ahead, day.quantity, day.low, day.high, method),
    )))
}

fn explained(refused: Refused, history: &[f64], horizon: i32) -> Error {
    let error = Error::invalid(refused.to_string());
    match refused {
        Refused::Quantity { day } => error
            .detail(format!("day {}: {}", day + 1, history[day]))
            .hint(format!("give numbers from 0 to {LARGEST:e}")),
        Refused::TooLong { days } => error
            .detail(format!("{days} days"))
            .hint(format!("give the last {MOST_DAYS} at most")),
        Refused::Horizon { .. } => error
            .detail(format!("horizon {horizon}"))
            .hint(format!("give a number of days from 1 to {MOST_STEPS}")),
    }
}
