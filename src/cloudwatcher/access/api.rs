//! The SQL functions about rights.

use super::{Known, allowed, rows};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Does a role of the caller have this permission?
#[pg_extern(schema = "cloudwatcher", stable, parallel_safe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn has_permission(permission: &str) -> Result<bool, ErrorReport> {
    Ok(rows::caller()?.is_some_and(|known| known.may(permission)))
}

/// Everything that the roles of the caller permit, in order.
#[pg_extern(schema = "cloudwatcher", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn my_permissions() -> Result<SetOfIterator<'static, String>, ErrorReport> {
    let mut permissions: Vec<String> = rows::caller()?
        .map(|known| known.permissions().cloned().collect())
        .unwrap_or_default();
    permissions.sort_unstable();
    Ok(SetOfIterator::new(permissions))
}

/// The departments that the caller works in or manages, with those below where the roles say so; whoever has the
/// permission departments.all sees the others too.
#[pg_extern(schema = "cloudwatcher", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn my_departments() -> Result<SetOfIterator<'static, pgrx::Uuid>, ErrorReport> {
    let mut departments: Vec<pgrx::Uuid> = match rows::caller()? {
        Some(known) => known
            .departments()?
            .iter()
            .map(|id| pgrx::Uuid::from_bytes(*id))
            .collect(),
        None => Vec::new(),
    };
    departments.sort_unstable_by_key(|id| *id.as_bytes());
    Ok(SetOfIterator::new(departments))
}

/// May this user do it, in this department? For functions that run with the extension's rights, and so do not ask
/// `auth.uid()`, which is somebody else's code.
#[pg_extern(schema = "cloudwatcher", stable, parallel_unsafe, name = "_allows")]
#[search_path(pg_catalog, pg_temp)]
pub fn _allows_in(
    who: Option<pgrx::Uuid>,
    permission: &str,
    department: Option<pgrx::Uuid>,
) -> Result<bool, ErrorReport> {
    let Some(who) = who else {
        return Ok(false);
    };
    Ok(allowed::allowed(who, permission, department)?)
}

/// The same anywhere.
#[pg_extern(schema = "cloudwatcher", stable, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
pub fn _allows(who: Option<pgrx::Uuid>, permission: &str) -> Result<bool, ErrorReport> {
    let Some(who) = who else {
        return Ok(false);
    };
    Ok(Known::of(who)?.may(permission))
}
