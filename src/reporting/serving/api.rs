//! The functions, as SQL sees them.

use super::payload::payload;
use super::rows::{Items, Slots, date};
use super::sources::{Sources, definitions, of_sql};
use super::tally::Keys;
use super::view::View;
use crate::error::{Error, Result};
use crate::postgres::json::JsonText;
use chrono::NaiveDate;
use gemba_core::dashboard::{Aggregation, Filters, GroupBy, Invalid, Period, Query};
use pgrx::datum::Date;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::collections::BTreeSet;

/// A dashboard as the caller may see it: its widgets with their figures, in one answer.
///
/// # Errors
/// `P0002` when there is no such dashboard for the caller. What is wrong with one widget stands in that widget.
#[pg_extern(schema = "reporting", stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn dashboard_payload(
    dashboard_id: Option<&str>,
    known_version: default!(Option<&str>, "NULL"),
) -> Result<JsonText, ErrorReport> {
    Ok(JsonText(payload(
        dashboard_id.unwrap_or("NULL"),
        known_version,
    )?))
}

/// A metric's values by period, in order. The caller sees what policies let it see; the rest is not there.
///
/// # Errors
/// `22004` without a workflow or a metric, `22023` for an aggregation, days or filters that cannot be.
#[pg_extern(schema = "reporting", stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn series(
    workflow: Option<pgrx::Uuid>,
    metric: Option<&str>,
    aggregation: default!(Option<&str>, "'weekly'"),
    from_date: default!(Option<Date>, "NULL"),
    to_date: default!(Option<Date>, "NULL"),
    instance: default!(Option<pgrx::Uuid>, "NULL"),
    filters: default!(Option<JsonText>, "'{}'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(period_key, String),
            name!(period_start, Date),
            name!(value, Option<AnyNumeric>),
        ),
    >,
    ErrorReport,
> {
    let missing = |what: &str| {
        Error::new(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            format!("the {what} is missing"),
        )
        .detail(format!("{what} NULL"))
        .hint("give a workflow's id and the name of a metric")
    };
    let query = Query {
        workflows: vec![of_sql(workflow.ok_or_else(|| missing("workflow"))?)],
        instances: instance.map(of_sql).into_iter().collect(),
        metrics: vec![metric.ok_or_else(|| missing("metric"))?.to_owned()],
        aggregation: Aggregation::parse("aggregation", aggregation.unwrap_or("weekly"))
            .map_err(refused)?,
        period: None,
        filters: match filters {
            Some(filters) => Filters::parse("filters", &filters.0).map_err(refused)?,
            None => Filters::default(),
        },
        compare: false,
        group_by: GroupBy::None,
    };
    let values = values(&query, period(from_date, to_date)?)?;
    Ok(TableIterator::new(values))
}

fn values(query: &Query, period: Period) -> Result<Vec<(String, Date, Option<AnyNumeric>)>> {
    let sources = Sources::read(query.workflows.iter().copied().collect())?;
    let definitions = definitions(
        query
            .metrics
            .iter()
            .map(String::as_str)
            .collect::<BTreeSet<_>>(),
    )?;
    let (mut slots, mut items, mut keys) = (Slots::default(), Items::default(), Keys::default());
    let mut views = [View::new(
        query,
        period,
        &query.filters,
        &sources,
        &definitions,
        &mut slots,
        &mut items,
    )];
    items.read(&slots, &mut views, &mut keys)?;
    let [view] = &views;
    if let Some(trouble) = &view.trouble {
        return Err(Error::state("the metric is not a number")
            .detail(trouble)
            .hint("record it again with reporting.record_week_metrics()"));
    }
    let mut values = Vec::new();
    for cell in view.now.tally.cells(&keys) {
        let value = match view.metrics.first() {
            Some(metric) => metric.value(cell.sums)?,
            None => None,
        };
        values.push((
            cell.key.name.clone(),
            Date::saturating_from_raw(cell.key.from),
            value.and_then(|value| value.numeric()),
        ));
    }
    Ok(values)
}

/// From the first day to the last one; both may be left open.
fn period(from: Option<Date>, to: Option<Date>) -> Result<Period> {
    // As far as both calendars go.
    const FIRST: i32 = -2_400_000;
    const LAST: i32 = 90_000_000;
    let limited = |given: Option<Date>, open: i32| {
        let day = given.map_or(open, |date| date.to_pg_epoch_days());
        date(day.clamp(FIRST, LAST)).unwrap_or(NaiveDate::MIN)
    };
    let (from, to) = (limited(from, FIRST), limited(to, LAST));
    if from > to {
        return Err(Error::invalid("the period ends before it begins")
            .detail(format!("from {from} to {to}"))
            .hint("give from_date and to_date in order, or leave one out"));
    }
    Ok(Period::Between { from, to })
}

fn refused(invalid: Invalid) -> Error {
    Error::invalid("the series cannot be read")
        .detail(invalid.to_string())
        .hint("docs/reporting.md says what aggregations and filters there are")
}
