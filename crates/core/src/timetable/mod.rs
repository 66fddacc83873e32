//! When a job runs next.
//!
//! A timetable is a cron expression ([`Timetable::parse_cron`]) or an interval counted from an anchor
//! ([`Timetable::every`]). Both are asked the same question, [`Timetable::next_after`], and keep nothing
//! between two answers: whoever asks again after a crash gets the same runs.
//!
//! Instants and local times are microseconds as in [`crate::calendar`]. What the clocks do is asked of a
//! [`Zone`] alone, so that the server's own tables of time zones decide.
//!
//! Where the clocks change, a job that is to run on a date or at an hour runs once for each time it names: a
//! local time that is skipped runs as much later as the clocks jumped, one that is repeated runs the first
//! time. A cron job whose hour is a wildcard, and an interval shorter than a day, follow elapsed time
//! instead. Runs are strictly increasing: two local times that fall on one instant are one run.

mod clocks;
mod cron;
mod every;
#[cfg(test)]
mod tests;

use crate::calendar::{DAY, Zone};
use chrono::{NaiveDateTime, TimeDelta};
use cron::Cron;
use every::Every;
use std::ops::Range;

/// Instants and local times that have runs: from about 3750 BC to the year 248000. Both PostgreSQL and the
/// calendar know them all, and the days around them, in which the clocks are looked at.
const RANGE: Range<i64> = -2_100_000 * DAY..90_000_000 * DAY;

/// When a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Cron(Box<Cron>),
    Every(Every),
}

/// Why a text or an interval is no timetable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimetableError {
    /// Neither five nor six fields.
    #[error("a cron expression has 5 fields, or 6 with seconds first, not {0}")]
    Fields(usize),
    /// A field that cannot be read.
    #[error("cannot read the {field} {text:?} of the cron expression: {reason}")]
    Field {
        /// Which one, for instance `day of month`.
        field: &'static str,
        /// What stands there.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Each field can be read, but not all of them together.
    #[error("cannot read the cron expression {text:?}: {reason}")]
    Expression {
        /// The expression.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An `@` that is followed by no known name.
    #[error("unknown cron name {0:?}: expected @hourly, @daily, @weekly, @monthly or @yearly")]
    Name(String),
    /// For instance the 30th of February.
    #[error("the cron expression {0:?} never matches")]
    Never(String),
    /// Zero, or with a negative part.
    #[error("the interval must be longer than nothing")]
    NotPositive,
    /// Months with days, or days with hours.
    #[error("the interval must be whole months, whole days, or a time")]
    Mixed,
    /// Shorter than a second.
    #[error("the interval must not be shorter than a second")]
    TooShort,
    /// Longer than a century.
    #[error("the interval must not be longer than a century")]
    TooLong,
    /// Infinite, or thousands of years away.
    #[error("the interval must count from a finite time within the calendar")]
    Anchor,
}

impl Timetable {
    /// From a cron expression of five fields (minute, hour, day of month, month, day of week), or of six
    /// with seconds first; or from `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` or
    /// `@annually`.
    ///
    /// Fields take `*`, numbers, names (`MON`, `JAN`), ranges, lists and steps of `*` or of a range; days
    /// of the month also `L` (the last), `LW` (the last from Monday to Friday) and `15W` (the one from
    /// Monday to Friday that is nearest to the 15th in its month); days of the week `5L` (the last Friday)
    /// and `5#2` (the second). `0` and `7` are Sunday. `?` means `*` in both fields of days.
    ///
    /// Where neither field of days begins with `*`, a day has to match one of them; otherwise it has to
    /// match both. This is Vixie cron's rule: `0 0 13 * FRI` runs on every 13th and on every Friday, but
    /// `0 0 */2 * FRI` only on Fridays with an odd date.
    ///
    /// # Errors
    /// Where a field cannot be read, and where there is no date that matches.
    pub fn parse_cron(text: &str) -> Result<Self, TimetableError> {
        Ok(Self(Kind::Cron(Box::new(Cron::parse(text)?))))
    }

    /// Every so many months, days or microseconds, which are the parts of an SQL interval, counted from an
    /// anchor. The anchor is the first run; to have runs before it, set it back.
    ///
    /// Microseconds pass on the line of instants. Days and months follow the zone's calendar, each counted
    /// from the anchor: from the 31st of January, a month later is the 28th of February, two are the 31st
    /// of March. `24 hours` are therefore not `1 day`, where the clocks change.
    ///
    /// # Errors
    /// Where the interval is not positive, mixes units, is shorter than a second or longer than a century,
    /// or where the anchor is not finite.
    pub fn every(months: i32, days: i32, micros: i64, anchor: i64) -> Result<Self, TimetableError> {
        Ok(Self(Kind::Every(Every::new(months, days, micros, anchor)?)))
    }

    /// The first run strictly after an instant. `None` where there is none that the calendar can tell: for
    /// infinite instants and those thousands of years away.
    pub fn next_after(&self, instant: i64, zone: &impl Zone) -> Option<i64> {
        if !RANGE.contains(&instant) {
            return None;
        }
        match &self.0 {
            Kind::Cron(cron) => cron.next_after(instant, zone),
            Kind::Every(every) => every.next_after(instant, zone),
        }
        .filter(|&run| run > instant && RANGE.contains(&run))
    }
}

/// A local time as a date and a time of day.
fn date_time(local: i64) -> Option<NaiveDateTime> {
    chrono::NaiveDate::from_ymd_opt(2000, 1, 1)?
        .and_hms_opt(0, 0, 0)?
        .checked_add_signed(TimeDelta::microseconds(local))
}

/// A date and a time of day as a local time.
fn micros(time: NaiveDateTime) -> Option<i64> {
    time.signed_duration_since(date_time(0)?).num_microseconds()
}
