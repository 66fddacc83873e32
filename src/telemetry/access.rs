//! Who may see how much: asked once by every query that a policy applies to, so it has to be quick.

use crate::error::Result;
use crate::postgres::{role, spi};
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::OwnedPreparedStatement;
use std::cell::RefCell;
use std::thread::LocalKey;

/// 'professional' sorts after 'free': the best of several subscriptions counts.
const TIER: &str = "SELECT max(s.tier)::text FROM telemetry.subscriptions s
    WHERE s.user_id = $1 AND s.status = 'active'
      AND (s.expires_at IS NULL OR s.expires_at > now())";

thread_local! {
    // Planning the queries would take longer than answering them.
    static UID: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
    static SUBSCRIPTION: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
}

/// The caller's best valid subscription. Who the caller is, `auth.uid()` says, which is somebody else's
/// code and runs with the caller's rights; only the subscriptions are read with the extension's.
#[pg_extern(schema = "telemetry", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn access_tier() -> Result<Option<String>, ErrorReport> {
    Ok(tier()?)
}

#[pg_extern(schema = "telemetry", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn sees_everything() -> Result<bool, ErrorReport> {
    Ok(tier()?.as_deref() == Some("professional"))
}

#[pg_extern(schema = "telemetry", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn sample_sensor_ids() -> Result<SetOfIterator<'static, String>, ErrorReport> {
    if tier()?.is_none() {
        return Ok(SetOfIterator::empty());
    }
    let ids = role::as_extension(|| {
        spi::read_all(
            "SELECT s.sensor_id::text FROM telemetry.sensors s WHERE s.in_sample",
            &[],
            |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
        )
    })?;
    Ok(SetOfIterator::new(ids))
}

fn tier() -> Result<Option<String>> {
    let Some(user) = run(&UID, "SELECT auth.uid()", &[], &[])?.and_then(|row| row.0) else {
        return Ok(None);
    };
    role::as_extension(|| {
        let arguments = [user.into()];
        let types = [PgOid::BuiltIn(PgBuiltInOids::UUIDOID)];
        Ok(run(&SUBSCRIPTION, TIER, &types, &arguments)?.and_then(|row| row.1))
    })
}

type Plan = LocalKey<RefCell<Option<OwnedPreparedStatement>>>;

/// Runs a query whose plan is kept; returns its one value, as a uuid or as a text.
fn run(
    plan: &'static Plan,
    sql: &str,
    types: &[PgOid],
    arguments: &[DatumWithOid],
) -> Result<Option<(Option<pgrx::Uuid>, Option<String>)>> {
    plan.with_borrow_mut(|plan| {
        Spi::connect(|client| {
            let plan = match plan {
                Some(plan) => plan,
                None => plan.insert(client.prepare(sql, types)?.keep()),
            };
            let table = client.select(&*plan, None, arguments)?.first();
            Ok(Some(if types.is_empty() {
                (table.get_one::<pgrx::Uuid>()?, None)
            } else {
                (None, table.get_one::<String>()?)
            }))
        })
    })
}
