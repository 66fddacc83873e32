//! The SQL functions of counting accesses.

use super::{collect, shared};
use crate::engine::jobs::worker;
use crate::error::{Error, Result};
use crate::gucs;
use crate::postgres::{backend, spi};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Why nothing can be collected, and what to do about it.
fn obstacle() -> Option<(&'static str, &'static str)> {
    if !worker::preloaded() || !shared::there() {
        return Some((
            "not preloaded",
            "accesses are counted where gemba is in shared_preload_libraries; add it and restart",
        ));
    }
    if backend::in_recovery() {
        return Some((
            "standby",
            "accesses to a standby are counted, but collected only after a promotion",
        ));
    }
    None
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn collect_access() -> Result<Option<i64>, ErrorReport> {
    if let Some((state, advice)) = obstacle() {
        // A job calls this every minute: it shall not fill the server's log.
        notice!("accesses are not collected: {state}; {advice}");
        return Ok(None);
    }
    require_table()?;
    let collected = collect::collect()?;
    let lost = shared::newly_lost();
    if lost > 0 {
        warning!(
            "{lost} accesses were not counted: more than {} different ones came between two collections",
            shared::PLACES
        );
    }
    Ok(Some(collected))
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn access_status() -> TableIterator<
    'static,
    (
        name!(state, String),
        name!(advice, Option<String>),
        name!(waiting, i64),
        name!(room, i64),
        name!(lost, i64),
    ),
> {
    let (state, advice) = match obstacle() {
        Some((state, advice)) => (state, Some(advice)),
        None if !gucs::COUNT_ACCESS.get() => (
            "switched off",
            Some("gemba.count_access is off in this session"),
        ),
        None => ("counting", None),
    };
    let (waiting, lost) = shared::state();
    TableIterator::once((
        state.to_owned(),
        advice.map(str::to_owned),
        i64::from(waiting),
        shared::PLACES as i64,
        i64::try_from(lost).unwrap_or(i64::MAX),
    ))
}

/// Refuses before the table is there, or when it is gone.
fn require_table() -> Result<()> {
    let there = spi::read_one::<bool>(
        "SELECT pg_catalog.to_regclass('cloudwatcher.data_access') IS NOT NULL",
        &[],
    )?;
    if there == Some(true) {
        return Ok(());
    }
    Err(Error::state("the audit trail is not deployed")
        .detail("there is no table cloudwatcher.data_access")
        .hint("SELECT gemba.deploy('audit')"))
}
