//! The SQL functions of telemetry that are Rust: import, refresh, the sample.

use super::import::{self, Report, Request};
use super::sample;
use crate::engine::rollups::definition::Rollup;
use crate::engine::rollups::refresh;
use crate::error::{Error, Result};
use crate::postgres::{role, spi};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

type ReportRow = (String, i32, i64, i64, i64, i64, i64, i64, f64);

fn rows(reports: Vec<Report>) -> impl Iterator<Item = ReportRow> {
    reports.into_iter().map(|r| {
        (
            r.file,
            r.sensors,
            r.rows_read,
            r.readings,
            r.inserted,
            r.duplicates,
            r.suspect,
            r.rejected,
            r.seconds,
        )
    })
}

#[pg_extern(schema = "telemetry", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn import_csv(
    path: &str,
    floor_number: default!(Option<i32>, "NULL"),
    time_zone: default!(&str, "'Asia/Bangkok'"),
    date_order: default!(Option<String>, "NULL"),
    sensor_prefix: default!(Option<String>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(file, String),
            name!(sensors, i32),
            name!(rows_read, i64),
            name!(readings, i64),
            name!(inserted, i64),
            name!(duplicates, i64),
            name!(suspect, i64),
            name!(rejected, i64),
            name!(seconds, f64),
        ),
    >,
    ErrorReport,
> {
    // The grant says so too; but this function reads files with the server's rights, so it asks itself.
    role::require_membership("pg_read_server_files")?;
    let request = Request {
        floor: floor_number,
        time_zone: time_zone.to_owned(),
        date_order,
        sensor_prefix,
    };
    let reports = role::as_extension(|| import::files(path, &request))?;
    Ok(TableIterator::new(rows(reports)))
}

#[pg_extern(schema = "telemetry", volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn import_uploaded(
    file_name: &str,
    floor_number: default!(Option<i32>, "NULL"),
    time_zone: default!(&str, "'Asia/Bangkok'"),
    date_order: default!(Option<String>, "NULL"),
    sensor_prefix: default!(Option<String>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(file, String),
            name!(sensors, i32),
            name!(rows_read, i64),
            name!(readings, i64),
            name!(inserted, i64),
            name!(duplicates, i64),
            name!(suspect, i64),
            name!(rejected, i64),
            name!(seconds, f64),
        ),
    >,
    ErrorReport,
> {
    let request = Request {
        floor: floor_number,
        time_zone: time_zone.to_owned(),
        date_order,
        sensor_prefix,
    };
    Ok(TableIterator::new(rows(import::sent_lines(
        file_name, &request,
    )?)))
}

#[pg_extern(
    schema = "telemetry",
    name = "refresh",
    volatile,
    parallel_unsafe,
    security_definer
)]
#[search_path(pg_catalog, pg_temp)]
fn refresh_sql() -> Result<
    TableIterator<
        'static,
        (
            name!(rollup, String),
            name!(ranges, i64),
            name!(rows_written, i64),
            name!(rows_removed, i64),
            name!(milliseconds, f64),
        ),
    >,
    ErrorReport,
> {
    let outcomes = refresh::refresh_with_sources(&Rollup::named("telemetry.daily_aggregates")?)?;
    sample::register_unknown_sensors()?;
    sample::keep()?;
    Ok(TableIterator::new(outcomes.into_iter().map(|outcome| {
        (
            outcome.rollup,
            outcome.ranges,
            outcome.rows_written,
            outcome.rows_removed,
            outcome.milliseconds,
        )
    })))
}

#[pg_extern(schema = "telemetry", volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn choose_sample() -> Result<f64, ErrorReport> {
    Ok(sample::keep()?)
}

#[pg_extern(
    schema = "telemetry",
    name = "ensure_partitions",
    volatile,
    parallel_unsafe,
    security_definer
)]
#[search_path(pg_catalog, pg_temp)]
fn ensure_months(
    from_ts: TimestampWithTimeZone,
    to_ts: TimestampWithTimeZone,
) -> Result<i64, ErrorReport> {
    if from_ts >= to_ts {
        return Err(Error::invalid("from_ts must be before to_ts")
            .detail(format!("from {from_ts} to {to_ts}"))
            .hint("the range is half-open: to_ts is the first instant that is not needed")
            .into());
    }
    Ok(spi::write_returning(
        "SELECT pg_catalog.count(*) FROM gemba.ensure_partitions('telemetry.sensor_readings', $1, $2)",
        &[from_ts.into(), to_ts.into()],
        |row| Ok(row.get::<i64>(1)?.unwrap_or_default()),
    )?
    .first()
    .copied()
    .unwrap_or_default())
}
