//! The partitions of requests.

use crate::engine::partitions::leaf;
use crate::engine::partitions::ready::Ready;
use crate::engine::partitions::set::Set;
use crate::postgres::{role, time};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

thread_local! {
    static REQUESTS: Ready = const { Ready::new("cloudwatcher", "requests") };
}

/// Makes the partition of now where nobody did.
#[pg_extern(schema = "cloudwatcher", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
pub fn _ready_requests() -> Result<(), ErrorReport> {
    Ok(REQUESTS.with(|requests| requests.ensure(time::transaction_start()))?)
}

/// Retires a partition of requests, as the partition set says; returns what was done, NULL when it was no
/// partition any more. For `archive_requests()`, which has taken care of what hangs on its requests.
#[pg_extern(schema = "cloudwatcher", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn _retire_requests(partition: pg_sys::Oid) -> Result<Option<String>, ErrorReport> {
    Ok(role::as_extension(|| {
        let set = Set::of(REQUESTS.with(Ready::parent)?)?;
        let found = set.leaves()?.into_iter().find(|leaf| leaf.oid == partition);
        found.map_or(Ok(None), |old| {
            Ok(leaf::retire(&set, &old, false)?.map(str::to_owned))
        })
    })?)
}
