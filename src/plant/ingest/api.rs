//! The SQL functions of the pipelines.

#![expect(unsafe_code, reason = "a value of a composite type is made of datums")]

use super::{Outcome, daily, given, inbox, live};
use crate::error::Result;
use crate::postgres::composite::{Composite, composite};
use crate::postgres::json::JsonText;
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

fn value(outcome: &Outcome) -> Result<Composite> {
    let rejected = outcome.rejected();
    let counts = [
        outcome.read,
        outcome.read - rejected,
        outcome.inserted,
        outcome.updated,
        outcome.unchanged,
        rejected,
        outcome.safety_events,
    ];
    let fields: Vec<_> = counts
        .into_iter()
        .map(IntoDatum::into_datum)
        .chain([JsonB(outcome.rejects_json()).into_datum()])
        .collect();
    // SAFETY: seven bigints and a jsonb, as the type is declared.
    unsafe { composite("plant.ingest_outcome", &fields) }
}

/// What `jsonb_agg` gives over no rows is no rows.
fn text(rows: &Option<JsonText>) -> &str {
    rows.as_ref().map_or("[]", |rows| &rows.0)
}

#[pg_extern(
    schema = "plant",
    volatile,
    parallel_unsafe,
    requires = ["plant_types"]
)]
#[search_path(pg_catalog, pg_temp)]
fn ingest_daily(
    rows: Option<JsonText>,
) -> Result<pgrx::composite_type!('static, "plant.ingest_outcome"), ErrorReport> {
    Ok(value(&daily::ingest(&given(text(&rows))?)?)?)
}

#[pg_extern(
    schema = "plant",
    volatile,
    parallel_unsafe,
    requires = ["plant_types"]
)]
#[search_path(pg_catalog, pg_temp)]
fn ingest_live(
    rows: Option<JsonText>,
) -> Result<pgrx::composite_type!('static, "plant.ingest_outcome"), ErrorReport> {
    Ok(value(&live::ingest(&given(text(&rows))?)?)?)
}

#[pg_extern(
    schema = "plant",
    volatile,
    parallel_unsafe,
    requires = ["plant_types"]
)]
#[search_path(pg_catalog, pg_temp)]
fn process_daily(
    max_rows: default!(Option<i32>, "10000"),
) -> Result<pgrx::composite_type!('static, "plant.ingest_outcome"), ErrorReport> {
    let outcome = inbox::process("plant.daily_inbox", max_rows, daily::ingest)?;
    Ok(value(&outcome)?)
}

#[pg_extern(
    schema = "plant",
    volatile,
    parallel_unsafe,
    requires = ["plant_types"]
)]
#[search_path(pg_catalog, pg_temp)]
fn process_live(
    max_rows: default!(Option<i32>, "10000"),
) -> Result<pgrx::composite_type!('static, "plant.ingest_outcome"), ErrorReport> {
    let outcome = inbox::process("plant.live_inbox", max_rows, live::ingest)?;
    Ok(value(&outcome)?)
}
