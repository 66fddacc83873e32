//! Which buckets of a rollup have to be recomputed, and which can't be any more.

use super::capture;
use super::definition::Rollup;
use super::leaves;
use crate::engine::partitions::{self, set::Set};
use crate::error::{Error, Result};
use crate::postgres::{role, spi, time};
use gemba_core::ranges::RangeSet;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;

/// Reads `(from, to)` out of two timestamptz columns, `from` being the given one.
pub fn range(row: &SpiHeapTupleData, from: usize) -> Result<(i64, i64)> {
    Ok((
        row.get::<TimestampWithTimeZone>(from)?
            .map_or(i64::MIN, time::micros),
        row.get::<TimestampWithTimeZone>(from + 1)?
            .map_or(i64::MAX, time::micros),
    ))
}

/// Widens a range to whole buckets.
pub fn whole_buckets(rollup: &Rollup, (from, to): (i64, i64)) -> (i64, i64) {
    let from = if from == i64::MIN {
        from
    } else {
        rollup.step.floor(from, &rollup.zone)
    };
    let to = if to == i64::MAX {
        to
    } else {
        rollup.step.ceil(to, &rollup.zone)
    };
    (from, to)
}

/// Buckets that lost source rows to retention. They keep what they hold: recomputing them would lose it.
pub fn expired(rollup: &Rollup) -> Result<RangeSet> {
    let ranges = spi::read_all(
        "SELECT from_time, to_time FROM gemba.rollup_expired WHERE rollup_id = $1",
        &[rollup.id.into()],
        |row| range(row, 1),
    )?;
    let mut set: RangeSet = ranges
        .into_iter()
        .map(|r| whole_buckets(rollup, r))
        .collect();
    if rollup.source.kind == 'p' {
        // Partitions that went since the last refresh: it will note them, but until then nobody may
        // take their absence for a deletion.
        for gone in leaves::vanished(rollup)? {
            let (from, to) = whole_buckets(rollup, gone);
            set.insert(from, to);
        }
    }
    for (from, to) in retired(rollup)?.iter() {
        set.insert(from, to);
    }
    Ok(set)
}

/// Buckets that the rollup's own table does not retain any more: a late row of the source must not bring a
/// partition back that goes again at once, with one bucket in it.
fn retired(rollup: &Rollup) -> Result<RangeSet> {
    let mut retired = RangeSet::default();
    if !rollup.retires {
        return Ok(retired);
    }
    let set = Set::of(rollup.table.oid)?;
    let Some(horizon) = partitions::horizon(&set)? else {
        return Ok(retired);
    };
    retired.insert(i64::MIN, first_bucket(rollup, set.floor(horizon)));
    // Those that are only about to go are kept exact until they do.
    for leaf in set.leaves()? {
        retired.remove(
            first_bucket(rollup, leaf.from),
            first_bucket(rollup, leaf.to),
        );
    }
    Ok(retired)
}

/// The start of the first bucket that begins at this time or after it.
pub fn first_bucket(rollup: &Rollup, at: i64) -> i64 {
    if at == i64::MIN {
        return at;
    }
    whole_buckets(rollup, (i64::MIN, at)).1
}

/// The buckets that a reader has to compute from the source because no refresh has: this rollup's own
/// changes and, widened to its buckets, those of the rollups that it is built from.
pub fn pending(rollup: &Rollup) -> Result<RangeSet> {
    let mut set: RangeSet = spi::read_all(
        "SELECT from_bucket, to_bucket FROM gemba.rollup_changes WHERE rollup_id = $1",
        &[rollup.id.into()],
        |row| range(row, 1),
    )?
    .into_iter()
    .map(|r| whole_buckets(rollup, r))
    .collect();
    for r in capture::unwritten(rollup.id).iter() {
        let (from, to) = whole_buckets(rollup, r);
        set.insert(from, to);
    }
    if let Some(source) = rollup.source_rollup {
        for r in pending(&Rollup::by_id(source)?)?.iter() {
            let (from, to) = whole_buckets(rollup, r);
            set.insert(from, to);
        }
    }
    for (from, to) in expired(rollup)?.iter() {
        set.remove(from, to);
    }
    Ok(set)
}

/// Behind the live views: the ranges of buckets that are not refreshed yet.
#[pg_extern(
    schema = "gemba",
    name = "pending_buckets",
    stable,
    parallel_restricted
)]
#[search_path(pg_catalog, pg_temp)]
fn pending_buckets_sql(
    rollup_id: i32,
) -> Result<
    TableIterator<
        'static,
        (
            name!(from_bucket, TimestampWithTimeZone),
            name!(to_bucket, TimestampWithTimeZone),
        ),
    >,
    ErrorReport,
> {
    let rollup = role::as_extension(|| Rollup::by_id(rollup_id))?;
    if !role::may_select(rollup.table.oid) {
        return Err(Error::denied("the rollup may not be read")
            .detail(format!("table {}", rollup.table.sql()))
            .hint("GRANT SELECT on the rollup's table")
            .into());
    }
    let ranges: Vec<_> = spi::with_callers_snapshot(|| role::as_extension(|| pending(&rollup)))?
        .iter()
        .collect();
    Ok(TableIterator::new(ranges.into_iter().map(|(from, to)| {
        (time::timestamptz(from), time::timestamptz(to))
    })))
}
