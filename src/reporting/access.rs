//! Which dashboards and workflows the caller may look at. Policies ask this once a query.
//!
//! The tables' policies refer to each other in a circle here — a dashboard is readable by its shares, a share
//! by its dashboard's owner — so these read them with the extension's rights. Who the caller is, `auth.uid()`
//! says, which is somebody else's code and runs with the caller's rights.

use crate::error::Result;
use crate::postgres::role;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::OwnedPreparedStatement;
use std::cell::RefCell;
use std::thread::LocalKey;

const SHARED: &str = "SELECT s.dashboard_id FROM reporting.dashboard_shares s
    WHERE s.shared_with_user_id = $1 AND (NOT $2 OR s.permission_level = 'edit')";

const EDITABLE: &str = "SELECT d.id FROM reporting.dashboards d WHERE d.user_id = $1
    UNION ALL
    SELECT s.dashboard_id FROM reporting.dashboard_shares s
     WHERE s.shared_with_user_id = $1 AND s.permission_level = 'edit'";

const SHOWN: &str = "SELECT s.workflow_id
     FROM (SELECT d.id FROM reporting.dashboards d WHERE d.user_id = $1
           UNION
           SELECT h.dashboard_id FROM reporting.dashboard_shares h WHERE h.shared_with_user_id = $1
           UNION
           SELECT d.id FROM reporting.dashboards d WHERE d.is_public) AS readable
     JOIN reporting.dashboard_sources s ON s.dashboard_id = readable.id
    GROUP BY s.workflow_id";

type Plan = LocalKey<RefCell<Option<OwnedPreparedStatement>>>;

thread_local! {
    // Planning the queries would take longer than answering them.
    static UID_PLAN: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
    static SHARED_PLAN: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
    static EDITABLE_PLAN: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
    static SHOWN_PLAN: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
}

/// Dashboards of others that are shared with the caller: all of them, or (`permission` 'edit') those that the
/// caller may change.
#[pg_extern(schema = "reporting", stable, parallel_safe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn shared_dashboards(
    permission: default!(&str, "'view'"),
) -> Result<SetOfIterator<'static, pgrx::Uuid>, ErrorReport> {
    let only_edit = permission == "edit";
    Ok(of_caller(&SHARED_PLAN, SHARED, Some(only_edit))?)
}

/// Dashboards that the caller may change: the caller's own, and those shared for it.
#[pg_extern(schema = "reporting", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn editable_dashboards() -> Result<SetOfIterator<'static, pgrx::Uuid>, ErrorReport> {
    Ok(of_caller(&EDITABLE_PLAN, EDITABLE, None)?)
}

/// Workflows that are shown, with their owner's consent, by dashboards that the caller may read. Not by templates:
/// they are there to be copied, and a copy shows its owner's data.
#[pg_extern(schema = "reporting", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn shown_workflows() -> Result<SetOfIterator<'static, pgrx::Uuid>, ErrorReport> {
    Ok(of_caller(&SHOWN_PLAN, SHOWN, None)?)
}

fn of_caller(
    plan: &'static Plan,
    sql: &str,
    flag: Option<bool>,
) -> Result<SetOfIterator<'static, pgrx::Uuid>> {
    let Some(user) = ids(&UID_PLAN, "SELECT auth.uid()", &[], &[])?.pop() else {
        return Ok(SetOfIterator::empty());
    };
    let mut types = vec![PgOid::BuiltIn(PgBuiltInOids::UUIDOID)];
    let mut arguments: Vec<DatumWithOid> = vec![user.into()];
    if let Some(flag) = flag {
        types.push(PgOid::BuiltIn(PgBuiltInOids::BOOLOID));
        arguments.push(flag.into());
    }
    let found = role::as_extension(|| ids(plan, sql, &types, &arguments))?;
    Ok(SetOfIterator::new(found))
}

/// The ids that a query returns, whose plan is kept.
fn ids(
    plan: &'static Plan,
    sql: &str,
    types: &[PgOid],
    arguments: &[DatumWithOid],
) -> Result<Vec<pgrx::Uuid>> {
    plan.with_borrow_mut(|plan| {
        Spi::connect(|client| {
            let plan = match plan {
                Some(plan) => plan,
                None => plan.insert(client.prepare(sql, types)?.keep()),
            };
            let mut found = Vec::new();
            for row in client.select(&*plan, None, arguments)? {
                found.extend(row.get::<pgrx::Uuid>(1)?);
            }
            Ok(found)
        })
    })
}
