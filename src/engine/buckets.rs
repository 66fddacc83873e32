//! The engine's calendar for SQL: start of a bucket, and all buckets of a range.

use crate::error::{Error, Result};
use crate::postgres::time;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// More than a chart can show, and little enough to hold in memory.
const MOST_BUCKETS: usize = 1_000_000;

#[pg_extern(schema = "gemba", stable, parallel_safe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn bucket_start(
    bucket: Interval,
    at: TimestampWithTimeZone,
    time_zone: default!(&str, "'UTC'"),
) -> Result<TimestampWithTimeZone, ErrorReport> {
    let step = time::step(&bucket)?;
    let instant = time::micros(at);
    if instant == i64::MIN || instant == i64::MAX {
        return Ok(at);
    }
    let zone = time::ServerZone::trusted(time_zone);
    Ok(time::timestamptz(step.floor(instant, &zone)))
}

#[pg_extern(schema = "gemba", stable, parallel_safe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn buckets(
    bucket: Interval,
    from_ts: TimestampWithTimeZone,
    to_ts: TimestampWithTimeZone,
    time_zone: default!(&str, "'UTC'"),
) -> Result<SetOfIterator<'static, TimestampWithTimeZone>, ErrorReport> {
    let step = time::step(&bucket)?;
    let zone = time::ServerZone::named(time_zone)?;
    let (from, to) = (time::micros(from_ts), time::micros(to_ts));
    if from == i64::MIN || to == i64::MAX {
        return Err(Error::invalid("the range must be finite")
            .detail("one of its ends is infinity")
            .hint("give two instants")
            .into());
    }
    let mut starts = Vec::new();
    let mut at = step.floor(from, &zone);
    while at < to {
        if starts.len() == MOST_BUCKETS {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                "the range has too many buckets",
            )
            .detail(format!("more than {MOST_BUCKETS}"))
            .hint("choose a wider bucket or a shorter range")
            .into());
        }
        starts.push(time::timestamptz(at));
        at = step.next(at, &zone);
    }
    Ok(SetOfIterator::new(starts))
}
