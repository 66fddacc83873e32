//! The detectors over plain arrays, for figures from anywhere.

use super::{given, numeric, within};
use crate::error::{Error, Result};
use crate::postgres::numeric::Numeric;
use crate::postgres::time;
use gemba_core::insights::anomaly::{self, Observation, Reference, Rule};
use gemba_core::insights::trend::{self as trends, Point};
use pgrx::datum::Date;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use rust_decimal::prelude::ToPrimitive;

/// Days, or values, of one call: their work cannot be interrupted.
const MOST: usize = 100_000;

fn refuse_lengths(one: &str, ones: usize, other: &str, others: usize) -> Result<()> {
    if ones == others {
        return Ok(());
    }
    Err(
        Error::invalid(format!("{one} and {other} are not of one length"))
            .detail(format!("{ones} {one}, {others} {other}"))
            .hint(format!(
                "give each of the {one} one of the {other}, NULL where there is none"
            )),
    )
}

#[pg_extern(schema = "reporting", immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn trend(
    values: Option<Vec<Option<f64>>>,
    positions: default!(Option<Vec<Option<f64>>>, "NULL"),
    alpha: default!(Option<f64>, "0.05"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(direction, &'static str),
            name!(slope, f64),
            name!(slope_low, Option<f64>),
            name!(slope_high, Option<f64>),
            name!(intercept, f64),
            name!(p, f64),
            name!(tau, Option<f64>),
            name!(s, i64),
            name!(points, i32),
            name!(confidence, Option<Numeric>),
        ),
    >,
    ErrorReport,
> {
    let values = given("values", values)?;
    let alpha = given("alpha", alpha)?;
    let positions: Vec<f64> = match positions {
        Some(positions) => {
            refuse_lengths("values", values.len(), "positions", positions.len())?;
            positions
                .into_iter()
                .map(|position| position.unwrap_or(f64::NAN))
                .collect()
        }
        None => (0..values.len()).map(|number| number as f64).collect(),
    };
    let points: Vec<Point> = values
        .into_iter()
        .zip(positions)
        .map(|(value, position)| Point {
            position,
            value: value.unwrap_or(f64::NAN),
        })
        .collect();
    let found = trends::trend(&points, alpha).map_err(Error::from)?;
    let (low, high) = found.slope_limits.unzip();
    Ok(TableIterator::once((
        found.direction.as_str(),
        found.slope,
        low,
        high,
        found.intercept,
        found.p,
        found.tau,
        found.s,
        found.points as i32,
        numeric(Some(found.confidence())),
    )))
}

#[pg_extern(schema = "reporting", immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn anomalies(
    days: Option<Vec<Option<Date>>>,
    values: Option<Vec<Option<f64>>>,
    compare_with: default!(Option<&str>, "'weekday'"),
    size: default!(Option<i32>, "12"),
    threshold: default!(Option<Numeric>, "3.5"),
    least_reference: default!(Option<i32>, "8"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(day, Date),
            name!(value, f64),
            name!(usual, f64),
            name!(z, f64),
            name!(reference, i32),
            name!(confidence, Option<Numeric>),
        ),
    >,
    ErrorReport,
> {
    let (days, values) = (given("days", days)?, given("values", values)?);
    refuse_lengths("days", days.len(), "values", values.len())?;
    if days.len() > MOST {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "too many days",
        )
        .detail(format!("{} days", days.len()))
        .hint(format!("give at most {MOST} at a time"))
        .into());
    }
    let largest = anomaly::LARGEST_REFERENCE as i32;
    let smallest = anomaly::SMALLEST_REFERENCE as i32;
    let size = within("size", size, smallest..=largest)?;
    let least = within("least_reference", least_reference, smallest..=size)?;
    let rule = Rule {
        reference: reference(given("compare_with", compare_with)?, size as usize)?,
        least_reference: least as usize,
        threshold: given("threshold", threshold)?
            .0
            .to_f64()
            .unwrap_or(f64::NAN),
    };
    let observations = days
        .into_iter()
        .zip(values)
        .map(|(day, value)| {
            let day = given("a day", day)?;
            if day.is_infinity() || day.is_neg_infinity() {
                return Err(Error::invalid("a day is infinite")
                    .detail(format!("day {day}"))
                    .hint("give finite dates"));
            }
            Ok(Observation {
                position: day.to_pg_epoch_days().into(),
                value: value.unwrap_or(f64::NAN),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let screening = anomaly::anomalies(&observations, &rule).map_err(Error::from)?;
    Ok(TableIterator::new(screening.anomalies.into_iter().map(
        |found| {
            (
                time::date(found.position as i32),
                found.value,
                found.usual,
                found.z,
                found.reference as i32,
                numeric(Some(found.confidence())),
            )
        },
    )))
}

fn reference(compare_with: &str, size: usize) -> Result<Reference> {
    match compare_with {
        "weekday" => Ok(Reference::SameWeekday { weeks: size }),
        "trailing" => Ok(Reference::Trailing { values: size }),
        other => Err(Error::invalid("what to compare with is not known")
            .detail(format!("compare_with {other:?}"))
            .hint("use 'weekday' for the same day of the weeks before, or 'trailing' for the values before")),
    }
}
