//! Who may see how much: asked once by every query that a policy applies to, so it has to be quick.

use crate::error::Result;
use crate::postgres::plan::Plan;
use crate::postgres::{caller, role, spi};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

thread_local! {
    // 'professional' sorts after 'free': the best of several subscriptions counts.
    static TIER: Plan = const { Plan::new(
        c"SELECT max(s.tier)::text FROM telemetry.subscriptions s
           WHERE s.user_id = $1 AND s.status = 'active'
             AND (s.expires_at IS NULL OR s.expires_at > now())",
        &[pg_sys::UUIDOID],
    ) };
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
    let Some(user) = caller::user()? else {
        return Ok(None);
    };
    let found = role::as_extension(|| {
        TIER.with(|plan| plan.all(&[user.into()], |row| row.get::<String>(1)))
    })?;
    Ok(found.into_iter().next().flatten())
}
