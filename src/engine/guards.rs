//! What every room's SQL asks before it goes to work.

use crate::postgres::role;
use pgrx::PgRelation;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Refuses in a transaction that could not see what others committed since it began; `what` says what cannot be
/// done there.
#[pg_extern(schema = "gemba", stable, parallel_unsafe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn _require_current_snapshots(what: &str) -> Result<(), ErrorReport> {
    Ok(role::require_current_snapshots(what)?)
}

/// Refuses where a table whose triggers are about to run with the extension's rights was given to somebody else.
#[pg_extern(schema = "gemba", stable, parallel_unsafe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn _refuse_foreign_owner(guarded: PgRelation) -> Result<(), ErrorReport> {
    Ok(role::refuse_foreign_owner(&guarded)?)
}
