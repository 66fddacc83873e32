//! Who may see how much: asked once by every query that a policy applies to, so it has to be quick.

use crate::error::Result;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::OwnedPreparedStatement;
use std::cell::RefCell;

/// 'professional' sorts after 'free': the best of several subscriptions counts.
const TIER: &str = "SELECT max(s.tier)::text FROM telemetry.subscriptions s
    WHERE s.user_id = (SELECT auth.uid()) AND s.status = 'active'
      AND (s.expires_at IS NULL OR s.expires_at > now())";

thread_local! {
    /// Planning the query would take longer than answering it.
    static PLAN: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
}

/// The caller's best valid subscription. It reads the subscriptions with the extension's rights; the
/// policies that ask could not read them with the caller's.
#[pg_extern(schema = "telemetry", stable, parallel_safe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn access_tier() -> Result<Option<String>, ErrorReport> {
    Ok(tier()?)
}

#[pg_extern(schema = "telemetry", stable, parallel_safe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn sees_everything() -> Result<bool, ErrorReport> {
    Ok(tier()?.as_deref() == Some("professional"))
}

fn tier() -> Result<Option<String>> {
    PLAN.with_borrow_mut(|plan| {
        Spi::connect(|client| {
            let plan = match plan {
                Some(plan) => plan,
                None => plan.insert(client.prepare(TIER, &[])?.keep()),
            };
            Ok(client
                .select(&*plan, None, &[])?
                .first()
                .get_one::<String>()?)
        })
    })
}
