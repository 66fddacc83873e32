//! The SQL functions of histories.

use super::trail::Trail;
use super::{at, lives};
use crate::error::Error;
use crate::postgres::json::JsonText;
use crate::postgres::relation::oid;
use crate::postgres::{spi, time};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{Inet, PgRelation};

#[pg_extern(schema = "gemba", stable, parallel_unsafe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn row_history(
    target: PgRelation,
    record_id: &str,
) -> Result<
    TableIterator<
        'static,
        (
            name!(id, pgrx::Uuid),
            name!(operation, String),
            name!(at, TimestampWithTimeZone),
            name!(user_id, Option<pgrx::Uuid>),
            name!(role_name, Option<String>),
            name!(old_values, Option<JsonText>),
            name!(new_values, Option<JsonText>),
            name!(change_reason, Option<String>),
            name!(ip_address, Option<Inet>),
            name!(transaction_id, Option<i64>),
        ),
    >,
    ErrorReport,
> {
    let rows = spi::with_callers_snapshot(|| {
        let trail = Trail::of(oid(target))?;
        let ids: Vec<_> = lives::entries(&trail, &trail.key(record_id)?)?
            .into_iter()
            .map(pgrx::Uuid::from_bytes)
            .collect();
        spi::read_all(
            "SELECT l.id, l.operation::text, l.created_at, l.user_id, l.role_name, l.old_values, l.new_values,
                    l.change_reason, l.ip_address, l.transaction_id
               FROM cloudwatcher.audit_logs l WHERE l.id = ANY ($1) AND l.table_name = $2 ORDER BY l.id",
            &[ids.into(), trail.name().into()],
            |row| {
                Ok((
                    row.get(1)?.unwrap_or_else(|| pgrx::Uuid::from_bytes([0; 16])),
                    row.get(2)?.unwrap_or_default(),
                    row.get(3)?.unwrap_or_else(|| time::timestamptz(0)),
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                    row.get(7)?,
                    row.get(8)?,
                    row.get(9)?,
                    row.get(10)?,
                ))
            },
        )
    })?;
    Ok(TableIterator::new(rows))
}

#[pg_extern(schema = "gemba", stable, parallel_unsafe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn row_at(
    target: PgRelation,
    record_id: &str,
    at: TimestampWithTimeZone,
) -> Result<Option<JsonText>, ErrorReport> {
    let at = time::micros(at);
    if matches!(at, i64::MIN | i64::MAX) {
        return Err(Error::invalid("the time has to be a moment")
            .detail(if at > 0 { "infinity" } else { "-infinity" })
            .hint("for the present, use clock_timestamp()")
            .into());
    }
    let state = spi::with_callers_snapshot(|| {
        let trail = Trail::of(oid(target))?;
        at::row_at(&trail, &trail.key(record_id)?, at)
    })?;
    let text = state
        .map(|state| serde_json::to_string(&state))
        .transpose()
        .map_err(|error| Error::state(error.to_string()))?;
    Ok(text.map(JsonText))
}
