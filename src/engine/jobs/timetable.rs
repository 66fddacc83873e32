//! A schedule's text: cron, or an interval.

use crate::error::{Error, Result};
use crate::postgres::time::{self, ServerZone};
use crate::postgres::{spi, subtransaction};
use gemba_core::timetable::Timetable;
use pgrx::datum::Interval;
use pgrx::prelude::*;

const HINT: &str = "use cron with five fields ('*/15 * * * *'), or six with seconds first ('*/10 * * * * *'), \
                    or an interval ('1 hour')";

/// The timetable of a schedule; an interval counts from `anchor`.
///
/// # Errors
/// `22023` with the text and what would do.
pub fn parse(schedule: &str, anchor: i64) -> Result<Timetable> {
    let strange = |why: String| {
        Error::invalid("the schedule is neither cron nor an interval")
            .detail(format!("schedule {schedule:?}: {why}"))
            .hint(HINT)
    };
    if is_cron(schedule) {
        return Timetable::parse_cron(schedule).map_err(|error| strange(error.to_string()));
    }
    let interval = subtransaction::run(|| {
        spi::read_one::<Interval>("SELECT $1::pg_catalog.interval", &[schedule.into()])
    })
    .map_err(|failure| strange(failure.message))??
    .ok_or_else(|| strange("it is empty".to_owned()))?;
    Timetable::every(
        interval.months(),
        interval.days(),
        interval.micros(),
        anchor,
    )
    .map_err(|error| strange(error.to_string()))
}

/// Five or six fields, of which the first two (seconds, minutes, hours) never hold letters; an interval
/// has a unit after its first number.
fn is_cron(schedule: &str) -> bool {
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    schedule.trim_start().starts_with('@')
        || (matches!(fields.len(), 5 | 6)
            && fields
                .iter()
                .take(2)
                .all(|field| !field.contains(|c: char| c.is_ascii_alphabetic())))
}

/// The first time after `now`; infinity when there is none.
pub fn next(timetable: &Timetable, now: i64, zone: &ServerZone) -> TimestampWithTimeZone {
    timetable
        .next_after(now, zone)
        .map_or_else(TimestampWithTimeZone::positive_infinity, time::timestamptz)
}
