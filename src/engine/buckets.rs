//! The engine's calendar for SQL: start of a bucket, and all buckets of a range.

use crate::error::{Error, Result};
use crate::postgres::time;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// More than a chart can show, and little enough to hold in memory.
const MOST_BUCKETS: usize = 1_000_000;

// Without a search_path, which would cost more than the work: it runs no SQL.
#[pg_extern(schema = "gemba", stable, parallel_safe, strict)]
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

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use crate::postgres::{spi, time};
    use gemba_core::calendar::{Step, Zone};
    use pgrx::prelude::*;

    /// A rollup groups by an expression of the server, a refresh cuts by the calendar of this
    /// extension: one grid, or buckets would be computed in halves.
    #[pg_test]
    fn sql_and_calendar_agree_on_every_grid() {
        let steps = [
            (0, 0, 900_000_000_i64),
            (0, 0, 3_600_000_000),
            (0, 1, 0),
            (0, 7, 0),
            (0, 10, 0),
            (1, 0, 0),
            (3, 0, 0),
            (5, 0, 0),
            (12, 0, 0),
        ];
        for zone in ["UTC", "Asia/Bangkok", "Europe/Berlin", "America/Havana"] {
            for (months, days, micros) in steps {
                let step = Step::from_interval(months, days, micros).expect("a step");
                let expression = crate::engine::rollups::definition::bucket_expression(
                    step,
                    &format!("{months} months {days} days {micros} microseconds"),
                    zone,
                    "t",
                );
                let differing = spi::read_one::<i64>(
                    &format!(
                        "SELECT count(*) FROM generate_series('1999-12-28 00:07+00'::timestamptz,
                                                               '2020-03-01', '17 hours 13 minutes') AS t
                          WHERE {expression} <> gemba.bucket_start(make_interval(0, {months}, 0, {days}, 0, 0, {micros} / 1e6), t, '{zone}')"
                    ),
                    &[],
                )
                .expect("a count");
                assert_eq!(differing, Some(0), "{months} {days} {micros} in {zone}");
            }
        }
    }

    #[pg_test]
    fn the_server_converts_both_ways() {
        let bangkok = time::ServerZone::named("Asia/Bangkok").expect("known");
        let seven_hours = 7 * gemba_core::calendar::HOUR;
        assert_eq!(bangkok.local(0), seven_hours);
        assert_eq!(bangkok.instant(seven_hours), 0);
    }

    #[pg_test]
    fn an_unknown_zone_is_an_error() {
        let outcome = crate::postgres::subtransaction::run(|| {
            Spi::run("SELECT gemba.bucket_start('1 day', now(), 'Mars/Olympus')").is_ok()
        });
        assert_eq!(
            outcome.err().map(|failure| failure.message),
            Some("time zone \"Mars/Olympus\" not recognized".to_owned())
        );
    }

    #[pg_test(error = "a step shorter than a day must divide the day evenly")]
    fn seven_hours_are_no_bucket() {
        let _ = Spi::run("SELECT gemba.bucket_start('7 hours', now())");
    }
}
