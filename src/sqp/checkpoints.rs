//! Where a function that refreshes a table got to, so that what takes over goes on from there.
//!
//! There is one active checkpoint for a function and a table, kept so by a partial unique index. It expires
//! unless it is saved again, and is then never resumed. What was overtaken may not save over what overtook it.

use crate::error::{Error, Result};
use crate::postgres::json::JsonText;
use crate::postgres::{spi, time};
use gemba_core::calendar::DAY;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Schema and name of a registered table.
///
/// # Errors
/// `42704` when it is not registered.
fn table(name: &str) -> Result<(String, String)> {
    spi::read_row(
        "SELECT c.table_schema, c.table_name FROM sqp.refresh_config c WHERE c.id = sqp._config($1)",
        &[name.into()],
        |row| {
            Ok((
                row.get::<String>(1)?.unwrap_or_default(),
                row.get::<String>(2)?.unwrap_or_default(),
            ))
        },
    )?
    .ok_or_else(|| {
        Error::missing("the table is not registered for refresh").detail(format!("table {name:?}"))
    })
}

fn lifetime(ttl: &Interval) -> Result<i64> {
    let micros = time::interval_micros(ttl);
    if !(1..=366 * DAY).contains(&micros) {
        return Err(Error::invalid("ttl is out of its range")
            .detail(format!("ttl {}", time::interval_text(ttl)))
            .hint("give the time for which the checkpoint holds if it is not saved again, up to a year"));
    }
    Ok(micros)
}

/// Refuses whoever has lost the run, or says another table's.
fn require_run(run: i64, schema: &str, table: &str) -> Result<()> {
    let held = spi::write_returning(
        "SELECT 1 FROM sqp.refresh_config WHERE run_id = $1 AND table_schema = $2 AND table_name = $3 FOR KEY SHARE",
        &[run.into(), schema.into(), table.into()],
        |_| Ok(()),
    )?;
    if held.is_empty() {
        spi::write("SELECT sqp._refuse_ended($1)", &[run.into()])?;
    }
    Ok(())
}

/// An i64 of microseconds as a bound value.
fn at(micros: i64) -> TimestampWithTimeZone {
    time::timestamptz(micros)
}

/// Saves how far `function_name` got with a table; returns when that expires unless it is saved again.
#[pg_extern(schema = "sqp", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn save_checkpoint(
    function_name: Option<&str>,
    table_name: Option<&str>,
    checkpoint_data: Option<JsonText>,
    last_processed_row: default!(Option<i64>, "NULL"),
    total_rows: default!(Option<i64>, "NULL"),
    ttl: default!(Option<Interval>, "'1 hour'"),
    run: default!(Option<i64>, "NULL"),
) -> Result<TimestampWithTimeZone, ErrorReport> {
    let (Some(function_name), Some(table_name), Some(checkpoint_data), Some(ttl)) =
        (function_name, table_name, checkpoint_data, ttl)
    else {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "a checkpoint needs a function, a table, data and a ttl",
        )
        .detail(format!("function {function_name:?}, table {table_name:?}"))
        .hint("data may be '{}'")
        .into());
    };
    let ttl = lifetime(&ttl)?;
    if function_name.is_empty() {
        return Err(Error::invalid("function_name is empty")
            .hint("name the function that is to go on from here")
            .into());
    }
    let (last, total) = (last_processed_row, total_rows);
    let too_far = matches!((last, total), (Some(last), Some(total)) if last > total);
    if too_far || last.is_some_and(i64::is_negative) || total.is_some_and(i64::is_negative) {
        return Err(
            Error::invalid("rows are counted from zero, and none is beyond the total")
                .detail(format!(
                    "last_processed_row {}, total_rows {}",
                    text(last),
                    text(total)
                ))
                .hint("leave total_rows out while it is not known")
                .into(),
        );
    }
    let (schema, table) = table(table_name)?;
    if let Some(run) = run {
        require_run(run, &schema, &table)?;
    }
    let now = time::now();
    let key = || {
        [
            function_name.into(),
            schema.as_str().into(),
            table.as_str().into(),
        ]
    };
    // One that has expired is over, and this is a new beginning.
    let mut arguments = Vec::from(key());
    arguments.push(at(now).into());
    spi::write(
        "UPDATE sqp.refresh_checkpoints SET status = 'expired', updated_at = $4
          WHERE function_name = $1 AND table_schema = $2 AND table_name = $3 AND status = 'active' AND expires_at <= $4",
        &arguments,
    )?;
    let mut arguments = Vec::from(key());
    arguments.extend([
        checkpoint_data.0.as_str().into(),
        last.into(),
        total.into(),
        at(now).into(),
        at(now.saturating_add(ttl)).into(),
    ]);
    let saved = spi::write_returning(include_str!("save_checkpoint.sql"), &arguments, |row| {
        Ok(row.get::<TimestampWithTimeZone>(1)?)
    })?;
    if let Some(expires) = saved.into_iter().next().flatten() {
        return Ok(expires);
    }
    let reached = spi::read_one::<i64>(
        "SELECT last_processed_row FROM sqp.refresh_checkpoints
          WHERE function_name = $1 AND table_schema = $2 AND table_name = $3 AND status = 'active'",
        &key(),
    )?;
    Err(Error::state("the checkpoint is further than that already")
        .detail(format!(
            "{function_name} has come to row {} of {schema}.{table}, not {}",
            text(reached),
            text(last)
        ))
        .hint("somebody has taken over: stop. To begin anew on purpose, call sqp.complete_checkpoint() first")
        .into())
}

fn text(row: Option<i64>) -> String {
    row.map_or_else(|| "NULL".to_owned(), |row| row.to_string())
}

/// The active checkpoint of a function and a table; no row when there is none or it has expired.
#[pg_extern(schema = "sqp", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn resume_checkpoint(
    function_name: &str,
    table_name: &str,
) -> Result<
    TableIterator<
        'static,
        (
            name!(checkpoint_id, i64),
            name!(checkpoint_data, JsonText),
            name!(last_processed_row, Option<i64>),
            name!(total_rows, Option<i64>),
            name!(updated_at, TimestampWithTimeZone),
            name!(expires_at, TimestampWithTimeZone),
        ),
    >,
    ErrorReport,
> {
    let (schema, table) = table(table_name)?;
    let now = time::now();
    let found = spi::read_row(
        "SELECT id, checkpoint_data, last_processed_row, total_rows, updated_at, expires_at FROM sqp.refresh_checkpoints
          WHERE function_name = $1 AND table_schema = $2 AND table_name = $3 AND status = 'active' AND expires_at > $4",
        &[
            function_name.into(),
            schema.into(),
            table.into(),
            at(now).into(),
        ],
        |row| {
            Ok((
                row.get::<i64>(1)?.unwrap_or_default(),
                row.get::<JsonText>(2)?
                    .unwrap_or_else(|| JsonText("null".to_owned())),
                row.get::<i64>(3)?,
                row.get::<i64>(4)?,
                row.get::<TimestampWithTimeZone>(5)?.unwrap_or_else(|| at(now)),
                row.get::<TimestampWithTimeZone>(6)?.unwrap_or_else(|| at(now)),
            ))
        },
    )?;
    Ok(TableIterator::new(found))
}

/// Ends the active checkpoint, the work being done; false when there was none or it had expired.
#[pg_extern(schema = "sqp", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn complete_checkpoint(function_name: &str, table_name: &str) -> Result<bool, ErrorReport> {
    let (schema, table) = table(table_name)?;
    let ended = spi::write_returning(
        "UPDATE sqp.refresh_checkpoints
            SET status = CASE WHEN expires_at > $4 THEN 'completed' ELSE 'expired' END, updated_at = $4
          WHERE function_name = $1 AND table_schema = $2 AND table_name = $3 AND status = 'active'
         RETURNING status = 'completed'",
        &[
            function_name.into(),
            schema.into(),
            table.into(),
            at(time::now()).into(),
        ],
        |row| Ok(row.get::<bool>(1)?.unwrap_or(false)),
    )?;
    Ok(ended.into_iter().any(|completed| completed))
}

/// Marks what has expired; returns how many that were.
#[pg_extern(schema = "sqp", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn expire_checkpoints() -> Result<i64, ErrorReport> {
    let expired = spi::write(
        "UPDATE sqp.refresh_checkpoints SET status = 'expired', updated_at = $1
          WHERE id IN (SELECT id FROM sqp.refresh_checkpoints WHERE status = 'active' AND expires_at <= $1
                          FOR UPDATE SKIP LOCKED)",
        &[at(time::now()).into()],
    )?;
    Ok(expired as i64)
}
