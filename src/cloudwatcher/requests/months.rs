//! The partitions of requests.

use crate::engine::partitions::set::Set;
use crate::engine::partitions::{self, leaf};
use crate::error::{Error, Result};
use crate::postgres::{role, spi, time};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::cell::Cell;

thread_local! {
    /// The range of a partition that was there.
    static READY: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

/// Makes the partition of now where nobody did. Usually it was made long ago.
#[pg_extern(schema = "cloudwatcher", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
pub fn _ready_requests() -> Result<(), ErrorReport> {
    let now = time::transaction_start();
    let (from, to) = READY.get();
    if (from..to).contains(&now) {
        return Ok(());
    }
    Ok(role::as_extension(|| ready(now))?)
}

fn ready(now: i64) -> Result<()> {
    let requests = requests()?;
    let present = spi::read_row(
        "SELECT l.from_time, l.to_time FROM gemba._leaves($1, 'UTC') AS l WHERE l.from_time <= $2 AND l.to_time > $2",
        &[requests.into(), time::timestamptz(now).into()],
        |row| {
            Ok((
                row.get::<TimestampWithTimeZone>(1)?,
                row.get::<TimestampWithTimeZone>(2)?,
            ))
        },
    )?;
    if let Some((Some(from), Some(to))) = present {
        READY.set((time::micros(from), time::micros(to)));
        return Ok(());
    }
    // Not remembered: it is gone again if this transaction fails.
    let set = Set::of(requests)?;
    let from = set.floor(now);
    partitions::ensure_written(&set, from, set.next(from))
}

fn requests() -> Result<pg_sys::Oid> {
    spi::read_one::<pg_sys::Oid>(
        "SELECT c.oid FROM pg_catalog.pg_class c
          WHERE c.relname = 'requests' AND c.relnamespace = 'cloudwatcher'::pg_catalog.regnamespace AND c.relkind = 'p'",
        &[],
    )?
    .ok_or_else(|| {
        Error::state("there are no requests")
            .detail("cloudwatcher.requests is not a partitioned table")
            .hint("SELECT gemba.deploy('cloudwatcher') makes it")
    })
}

/// Retires a partition of requests, as the partition set says; returns what was done, NULL when it was no
/// partition any more. For `archive_requests()`, which has taken care of what hangs on its requests.
#[pg_extern(schema = "cloudwatcher", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn _retire_requests(partition: pg_sys::Oid) -> Result<Option<String>, ErrorReport> {
    Ok(role::as_extension(|| {
        let set = Set::of(requests()?)?;
        let found = set.leaves()?.into_iter().find(|leaf| leaf.oid == partition);
        found.map_or(Ok(None), |old| {
            Ok(leaf::retire(&set, &old, false)?.map(str::to_owned))
        })
    })?)
}
