//! What the SQL of this room needs of Rust.

use crate::engine::partitions::ready::Ready;
use crate::error::Result;
use crate::postgres::{spi, time};
use gemba_core::{backoff, dag, median, turns};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Microseconds to wait after so many failures; `random` is from 0 to below 1.
#[pg_extern(schema = "sqp", immutable, parallel_safe, strict)]
#[search_path(pg_catalog, pg_temp)]
pub fn _backoff(attempt: i32, base_micros: i64, cap_micros: i64, random: f64) -> i64 {
    backoff::delay(attempt.max(0) as u32, base_micros, cap_micros, random)
}

/// When a table's next turn is, that had one at `turn` and has one every so many hours.
#[pg_extern(schema = "sqp", immutable, parallel_safe, strict)]
pub fn _next_turn(
    turn: TimestampWithTimeZone,
    hours: i32,
    moment: TimestampWithTimeZone,
) -> TimestampWithTimeZone {
    time::timestamptz(turns::next(time::micros(turn), hours, time::micros(moment)))
}

/// How many rows a run usually brings.
#[pg_extern(schema = "sqp", immutable, parallel_safe, strict)]
#[search_path(pg_catalog, pg_temp)]
pub fn _trailing_median(counts: Array<i64>) -> Option<i64> {
    let counts: Vec<i64> = counts.iter().flatten().collect();
    median::trailing_median(&counts)
}

/// A cycle among these edges, as the path along it, its first node again at its end.
#[pg_extern(schema = "sqp", immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
pub fn _cycle(
    parents: Option<Vec<Option<i32>>>,
    children: Option<Vec<Option<i32>>>,
) -> Option<Vec<i32>> {
    let edges: Vec<(i64, i64)> = parents?
        .into_iter()
        .zip(children?)
        .filter_map(|(parent, child)| Some((i64::from(parent?), i64::from(child?))))
        .collect();
    // The ids were i32 before.
    dag::cycle(&edges).map(|path| path.into_iter().map(|id| id as i32).collect())
}

thread_local! {
    static AUDIT_LOG: Ready = const { Ready::new("sqp", "refresh_audit_log") };
}

/// Makes the audit log's partition for now where nobody did.
#[pg_extern(schema = "sqp", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
pub fn _ready_audit_log() -> Result<(), ErrorReport> {
    Ok(AUDIT_LOG.with(|log| log.ensure(time::now()))?)
}

/// Locks a table against being dropped or replaced until the end of the transaction; NULL where the name is not
/// that of a table or materialized view.
#[pg_extern(schema = "sqp", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
pub fn _hold_table(
    table_schema: &str,
    table_name: &str,
) -> Result<Option<pg_sys::Oid>, ErrorReport> {
    loop {
        let Some(table) = table_of(table_schema, table_name)? else {
            return Ok(None);
        };
        // SAFETY: the lock manager accepts any oid; whether the name is still this table's is looked at below.
        #[expect(unsafe_code, reason = "LOCK TABLE refuses materialized views")]
        unsafe {
            pg_sys::LockRelationOid(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        }
        if table_of(table_schema, table_name)? == Some(table) {
            return Ok(Some(table));
        }
    }
}

fn table_of(schema: &str, name: &str) -> Result<Option<pg_sys::Oid>> {
    // As a write: it has to see what happened while the lock was waited for.
    let found = spi::write_returning(
        "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'm', 'f')",
        &[schema.into(), name.into()],
        |row| Ok(row.get::<pg_sys::Oid>(1)?),
    )?;
    Ok(found.into_iter().next().flatten())
}
