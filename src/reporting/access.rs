//! Which dashboards the caller may look at and change. Policies ask this once a query.
//!
//! The tables' policies refer to each other in a circle here — a dashboard is readable by its shares, a share
//! by its dashboard's owner — so these read them with the extension's rights. Who the caller is, `auth.uid()`
//! says, which is somebody else's code and runs with the caller's rights.

use crate::error::{Error, Result};
use crate::postgres::plan::Plan;
use crate::postgres::{caller, role};
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::thread::LocalKey;

thread_local! {
    static SHARED: Plan = const { Plan::new(
        c"SELECT s.dashboard_id FROM reporting.dashboard_shares s
           WHERE s.shared_with_user_id = $1 AND (NOT $2 OR s.permission_level = 'edit')",
        &[pg_sys::UUIDOID, pg_sys::BOOLOID],
    ) };
    static EDITABLE: Plan = const { Plan::new(
        c"SELECT d.id FROM reporting.dashboards d WHERE d.user_id = $1
          UNION ALL
          SELECT s.dashboard_id FROM reporting.dashboard_shares s
           WHERE s.shared_with_user_id = $1 AND s.permission_level = 'edit'",
        &[pg_sys::UUIDOID],
    ) };
}

/// Dashboards of others that are shared with the caller: all of them, or (`permission` 'edit') those that the
/// caller may change.
#[pg_extern(schema = "reporting", stable, parallel_safe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn shared_dashboards(
    permission: default!(&str, "'view'"),
) -> Result<SetOfIterator<'static, pgrx::Uuid>, ErrorReport> {
    let only_edit = match permission {
        "view" => false,
        "edit" => true,
        other => {
            return Err(Error::invalid("there is no such permission")
                .detail(format!("permission {other:?}"))
                .hint("use 'view' or 'edit'")
                .into());
        }
    };
    Ok(of_caller(&SHARED, Some(only_edit.into()))?)
}

/// Dashboards that the caller may change: the caller's own, and those shared for it.
#[pg_extern(schema = "reporting", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn editable_dashboards() -> Result<SetOfIterator<'static, pgrx::Uuid>, ErrorReport> {
    Ok(of_caller(&EDITABLE, None)?)
}

/// The ids that a plan finds for the caller, who is its first argument; `more` is the other.
fn of_caller(
    plan: &'static LocalKey<Plan>,
    more: Option<DatumWithOid>,
) -> Result<SetOfIterator<'static, pgrx::Uuid>> {
    let Some(user) = caller::user()? else {
        return Ok(SetOfIterator::empty());
    };
    let mut arguments: Vec<DatumWithOid> = vec![user.into()];
    arguments.extend(more);
    let found = role::as_extension(|| ids(plan, &arguments))?;
    Ok(SetOfIterator::new(found))
}

fn ids(plan: &'static LocalKey<Plan>, arguments: &[DatumWithOid]) -> Result<Vec<pgrx::Uuid>> {
    let found = plan.with(|plan| plan.all(arguments, |row| row.get::<pgrx::Uuid>(1)))?;
    Ok(found.into_iter().flatten().collect())
}
