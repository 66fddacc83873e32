//! The morning report as a page, and the sentences in it.

use super::aggregate::Stored;
use crate::error::{Error, Result};
use crate::postgres::numeric::Numeric;
use crate::postgres::spi;
use gemba_core::fixed::Fixed;
use gemba_core::summary::{self, Day};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use rust_decimal::Decimal;
use std::error::Error as _;

/// One machine's day in plain sentences.
#[pg_extern(schema = "plant", immutable, parallel_safe, requires = ["plant_types"])]
#[search_path(pg_catalog, pg_temp)]
#[expect(
    clippy::too_many_arguments,
    reason = "an SQL function of one row's columns"
)]
fn _summary(
    name: &str,
    oee: Option<Numeric>,
    oee_target: Numeric,
    availability: Option<Numeric>,
    performance: Option<Numeric>,
    quality: Option<Numeric>,
    state: Option<Stored>,
    waste_count: Option<i32>,
    target_output: Option<i32>,
    financial_loss: Option<Numeric>,
    currency: &str,
    previous_oee: Option<Numeric>,
    median_7: Option<Numeric>,
    estimated: Vec<String>,
) -> Result<String, ErrorReport> {
    let state = state.map(|state| state.0).unwrap_or_default();
    let number = |value: Option<Numeric>| value.map(|value| value.0);
    let decimal = |value: Fixed| value.decimal().unwrap_or(Decimal::MAX);
    let count = |value| i64::try_from(decimal(value).trunc()).unwrap_or(i64::MAX);
    let lost = state.lost_minutes();
    let estimated: Vec<&str> = estimated.iter().map(String::as_str).collect();
    let sixty = Decimal::from(60);
    Ok(summary::summary(&Day {
        name,
        oee: number(oee),
        oee_target: oee_target.0,
        availability: number(availability),
        performance: number(performance),
        quality: number(quality),
        planned_minutes: decimal(state.planned) / sixty,
        downtime_minutes: lost.availability,
        total_count: count(state.total),
        good_count: count(state.good),
        waste_count: waste_count.unwrap_or_default().into(),
        target_output: target_output.map(i64::from),
        financial_loss: number(financial_loss).unwrap_or_default(),
        currency,
        previous_oee: number(previous_oee),
        median_7: number(median_7),
        losses: [lost.availability, lost.performance, lost.quality],
        estimated: &estimated,
    }))
}

/// The page, read with the caller's rights.
#[pg_extern(schema = "plant", stable, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn morning_report_html(report_date: default!(Option<Date>, "NULL")) -> Result<String, ErrorReport> {
    if let Some(date) = &report_date
        && !(1..=9999).contains(&date.year())
    {
        return Err(Error::invalid("the date is out of range")
            .detail(format!("report_date {date}"))
            .hint("give a date between the years 1 and 9999")
            .into());
    }
    let data = spi::read_one::<String>(
        "SELECT plant._morning_page(coalesce($1, plant.today() - 1))::text",
        &[report_date.into()],
    )?
    .ok_or_else(|| {
        Error::state("the plant has no settings")
            .detail("table plant.settings is empty")
            .hint("INSERT INTO plant.settings DEFAULT VALUES")
    })?;
    let page = gemba_report::morning::page(&data).map_err(|error| {
        let why = error.source().map(ToString::to_string).unwrap_or_default();
        Error::state("the page could not be made").detail(format!("{error}: {why}"))
    })?;
    Ok(page)
}
