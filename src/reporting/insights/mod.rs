//! What stands out in the figures: the detectors of [`gemba_core::insights`] over stored aggregates, over
//! plain arrays, and over all that a dashboard shows.
//!
//! Everything is read with the caller's rights; what a caller may not read is not there for the detectors
//! either. Only whole periods count: a month of which ten days were collected would look like a fall, and so
//! would a sum in which an account is missing.
//!
//! - [`series`]: a metric by period, ratios from sums
//! - [`detect`]: trends and values out of the ordinary of one workflow
//! - [`movers`]: which workflows moved most
//! - [`dashboard`]: all of these for what a dashboard shows, and their record
//! - [`arrays`]: the same over arrays, for any data

mod arrays;
mod dashboard;
mod detect;
mod movers;
mod series;

use crate::error::{Error, Result};
use crate::postgres::json::JsonText;
use crate::postgres::numeric::Numeric;
use gemba_core::dashboard::Filters;
use gemba_core::insights::{Confidence, Period, Refused};
use pgrx::prelude::*;
use serde_json::Value;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// A finding, as all detectors over stored figures return it.
struct Finding {
    kind: &'static str,
    metric: String,
    workflow: Option<pgrx::Uuid>,
    instance: Option<pgrx::Uuid>,
    /// The key of the period that it is about; the newest one of a trend.
    period: Option<String>,
    summary: String,
    numbers: Value,
    confidence: Option<Confidence>,
}

const TREND: &str = "trend_analysis";
const ANOMALY: &str = "anomaly_detection";
const MOVER: &str = "optimization";

type Row = (
    &'static str,
    String,
    Option<pgrx::Uuid>,
    Option<pgrx::Uuid>,
    Option<String>,
    String,
    JsonText,
    Option<Numeric>,
);

impl Finding {
    fn row(self) -> Row {
        (
            self.kind,
            self.metric,
            self.workflow,
            self.instance,
            self.period,
            self.summary,
            JsonText(self.numbers.to_string()),
            numeric(self.confidence),
        )
    }
}

fn numeric(confidence: Option<Confidence>) -> Option<Numeric> {
    confidence.map(|confidence| Numeric(confidence.decimal()))
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::TooFew { found, least } => Self::invalid("too few points for a trend")
                .detail(format!("{found} points have a value"))
                .hint(format!("give at least {least}")),
            Refused::TooMany { found, most } => Self::new(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                "too many points for a trend",
            )
            .detail(format!("{found} points have a value"))
            .hint(format!(
                "give at most {most}, those of longer periods for instance"
            )),
            Refused::Argument { field, value, .. } => Self::invalid(message)
                .detail(format!("{field} {value}"))
                .hint(remedy(field)),
        }
    }
}

fn remedy(field: &str) -> &'static str {
    match field {
        "alpha" => "0.05 is usual",
        "threshold" => "3.5 is usual",
        "least_reference" => "8 is usual; fewer make false alarms",
        "weeks" | "values" => "12 is usual",
        "position" | "positions" => {
            "give each value a finite position, at least two different ones"
        }
        _ => "give it in larger units",
    }
}

/// An argument that must be there.
fn given<T>(name: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| {
        Error::invalid(format!("{name} must not be null"))
            .detail(format!("{name} NULL"))
            .hint(format!(
                "give {name}, or leave it out where it has a default"
            ))
    })
}

/// An argument between bounds.
fn within<T: PartialOrd + Display>(
    name: &str,
    value: Option<T>,
    range: RangeInclusive<T>,
) -> Result<T> {
    let value = given(name, value)?;
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Error::invalid(format!("{name} is out of range"))
        .detail(format!("{name} {value}"))
        .hint(format!("give {} to {}", range.start(), range.end())))
}

/// The period that an aggregation is by.
fn unit(aggregation: Option<&str>) -> Result<Period> {
    match given("aggregation", aggregation)? {
        "weekly" => Ok(Period::Week),
        "monthly" => Ok(Period::Month),
        "quarterly" => Ok(Period::Quarter),
        other => Err(Error::invalid("the aggregation is not known")
            .detail(format!("aggregation {other:?}"))
            .hint("use 'weekly', 'monthly' or 'quarterly'")),
    }
}

/// Filters as figures.sql reads them.
fn filters(filters: Option<JsonText>) -> Result<JsonText> {
    let Some(filters) = filters else {
        return Ok(JsonText("{}".to_owned()));
    };
    let filters = Filters::parse("filters", &filters.0).map_err(|invalid| {
        Error::invalid("the filters cannot be used")
            .detail(invalid.to_string())
            .hint("give {\"dimension\": value or [values], …}")
    })?;
    json(&filters)
}

fn json(filters: &Filters) -> Result<JsonText> {
    serde_json::to_string(filters).map(JsonText).map_err(|why| {
        Error::new(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            "filters cannot be written as JSON",
        )
        .detail(why.to_string())
    })
}
