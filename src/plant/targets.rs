//! What is wanted of a machine by a moment.

use super::ingest::model;
use crate::error::{Error, Result};
use crate::postgres::time;
use gemba_core::calendar::DAY;
use gemba_core::shifts;
use pgrx::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

const YEAR: i64 = 366 * DAY;

/// The production date at the plant now.
#[pg_extern(schema = "plant", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn today() -> Result<Date, ErrorReport> {
    let settings = model::settings()?;
    let date = shifts::production_date(settings.now, settings.day_starts, &settings.zone);
    Ok(time::date(date))
}

/// The shift (or production day) that a moment lies in, and the part of its target that has come due.
#[pg_extern(schema = "plant", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn target_at(
    asset: Uuid,
    at: TimestampWithTimeZone,
) -> Result<
    TableIterator<
        'static,
        (
            name!(shift, Option<String>),
            name!(production_date, Date),
            name!(starts_at, TimestampWithTimeZone),
            name!(ends_at, TimestampWithTimeZone),
            name!(target_output, i64),
            name!(due_output, i64),
        ),
    >,
    ErrorReport,
> {
    let instant = time::micros(at);
    // Shifts are looked for on the days around it, and nobody plans that far.
    if !(-100 * YEAR..=1_000 * YEAR).contains(&instant) {
        return Err(Error::invalid("the moment is out of range")
            .detail(format!("at {at}"))
            .hint("give a moment between 1900 and 3000")
            .into());
    }
    let settings = model::settings()?;
    let all = model::shifts()?;
    let targets = model::targets(&[asset], &all)?
        .into_iter()
        .map(|(_, target)| target)
        .collect::<Vec<_>>();
    let running = shifts::target_at(
        instant,
        &all,
        &targets,
        settings.day_starts,
        settings.counting,
        &settings.zone,
    );
    let row = running
        .map(|running| -> Result<_> {
            Ok((
                running
                    .shift
                    .and_then(|number| all.get(number))
                    .map(|shift| shift.name.clone()),
                time::date(running.production_date),
                time::timestamptz(running.from),
                time::timestamptz(running.to),
                running.target,
                running.prorated,
            ))
        })
        .transpose()?;
    Ok(TableIterator::new(row))
}
