//! Time steps that people mean: hours, days, weeks, months and years, in a time zone.
//!
//! Instants are microseconds since 2000-01-01 00:00 UTC and local times microseconds since 2000-01-01
//! 00:00 without a zone, both as PostgreSQL stores them.
//!
//! A step shorter than a day divides the line of instants evenly from midnight of the zone's standard
//! grid (so that hours are never 0 or 120 minutes long on the day the clocks change). A step of days or
//! months follows the zone's own calendar, so that a day may last 23, 24 or 25 hours.

use chrono::{Datelike, NaiveDate};

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in an hour.
pub const HOUR: i64 = 3_600 * SECOND;
/// Microseconds in a day of 24 hours.
pub const DAY: i64 = 24 * HOUR;

/// 2001-01-01, the Monday from which steps of days count, so that a step of 7 days is an ISO week.
const MONDAY: i64 = 366 * DAY;

/// A time zone's two conversions. Where the clocks change, a local time that does not exist maps past
/// the gap and one that exists twice maps to one of the two; both only have to be monotonic.
pub trait Zone {
    /// The local time at an instant.
    fn local(&self, instant: i64) -> i64;
    /// The instant of a local time.
    fn instant(&self, local: i64) -> i64;
}

/// A zone that is always this many microseconds ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedOffset(pub i64);

impl Zone for FixedOffset {
    fn local(&self, instant: i64) -> i64 {
        instant.saturating_add(self.0)
    }
    fn instant(&self, local: i64) -> i64 {
        local.saturating_sub(self.0)
    }
}

/// A step of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Shorter than a day; counted in microseconds on the line of instants.
    Fixed(i64),
    /// Whole days of the zone's calendar, from a Monday.
    Days(i64),
    /// Whole months of the zone's calendar, from January 2000.
    Months(i32),
}

/// Why an interval is no step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Zero or negative.
    #[error("the step must be longer than nothing")]
    NotPositive,
    /// Months with days, or days with hours.
    #[error("the step must be whole months, whole days, or a time shorter than a day")]
    Mixed,
    /// Longer than a century, or so many units that the arithmetic would overflow.
    #[error("the step must not be longer than a century")]
    TooLong,
    /// For instance seven hours: no two days would be cut alike.
    #[error("a step shorter than a day must divide the day evenly")]
    Uneven,
}

impl Step {
    /// From the three parts of an SQL interval.
    ///
    /// # Errors
    /// When the interval is not positive, mixes units, or is a part of a day that does not divide it.
    pub fn from_interval(months: i32, days: i32, micros: i64) -> Result<Self, StepError> {
        // `interval '24 hours'` and `interval '1 day'` mean the same to whoever asks for a daily step.
        let (days, micros) = if months == 0 && micros != 0 && micros % DAY == 0 {
            (i64::from(days) + micros / DAY, 0)
        } else {
            (i64::from(days), micros)
        };
        match (months, days, micros) {
            (m, d, u) if m < 0 || d < 0 || u < 0 || (m == 0 && d == 0 && u == 0) => {
                Err(StepError::NotPositive)
            }
            (m, _, _) if m > 1_200 => Err(StepError::TooLong),
            (_, d, _) if d > 36_525 => Err(StepError::TooLong),
            (m, 0, 0) => Ok(Self::Months(m)),
            (0, d, 0) => Ok(Self::Days(d)),
            (0, 0, u) if u > DAY || DAY % u != 0 => Err(StepError::Uneven),
            (0, 0, u) => Ok(Self::Fixed(u)),
            _ => Err(StepError::Mixed),
        }
    }

    /// Start of the step that an instant lies in.
    pub fn floor(self, instant: i64, zone: &impl Zone) -> i64 {
        match self {
            Self::Fixed(width) => instant - instant.rem_euclid(width),
            Self::Days(_) | Self::Months(_) => {
                let local = self.floor_local(zone.local(instant));
                let start = zone.instant(local);
                if start > instant {
                    // The step begins inside a gap of the clocks; the gap's end belongs to it.
                    zone.instant(self.add_local(local, -1))
                } else {
                    start
                }
            }
        }
    }

    /// Start of the step after the one that an instant lies in.
    pub fn next(self, instant: i64, zone: &impl Zone) -> i64 {
        match self {
            Self::Fixed(width) => self.floor(instant, zone).saturating_add(width),
            Self::Days(_) | Self::Months(_) => {
                let mut local = self.floor_local(zone.local(instant));
                loop {
                    local = self.add_local(local, 1);
                    let next = zone.instant(local);
                    if next > instant {
                        return next;
                    }
                }
            }
        }
    }

    /// Start of the first step that begins at or after an instant.
    pub fn ceil(self, instant: i64, zone: &impl Zone) -> i64 {
        let floor = self.floor(instant, zone);
        if floor == instant {
            floor
        } else {
            self.next(instant, zone)
        }
    }

    /// The same for local times, which have neither zones nor gaps.
    pub fn floor_local(self, local: i64) -> i64 {
        match self {
            Self::Fixed(width) => local - local.rem_euclid(width),
            Self::Days(days) => local - (local - MONDAY).rem_euclid(days * DAY),
            Self::Months(months) => {
                let month = month_of(local);
                month_start(month - month.rem_euclid(i64::from(months)))
            }
        }
    }

    fn add_local(self, local: i64, count: i64) -> i64 {
        match self {
            Self::Fixed(width) => local.saturating_add(width * count),
            Self::Days(days) => local.saturating_add(days * DAY * count),
            Self::Months(months) => month_start(month_of(local) + i64::from(months) * count),
        }
    }

    /// About how long the step is; for estimates only.
    pub fn approximate_micros(self) -> i64 {
        match self {
            Self::Fixed(width) => width,
            Self::Days(days) => days * DAY,
            Self::Months(months) => i64::from(months) * 30 * DAY,
        }
    }
}

/// Months since January 2000.
fn month_of(local: i64) -> i64 {
    let date = date_of(local);
    (i64::from(date.year()) - 2000) * 12 + i64::from(date.month0())
}

fn month_start(month: i64) -> i64 {
    let year = i32::try_from(2000 + month.div_euclid(12)).unwrap_or(i32::MAX);
    let month = month.rem_euclid(12) as u32 + 1;
    NaiveDate::from_ymd_opt(year, month, 1)
        .map_or(i64::MAX, |date| (date - epoch()).num_days() * DAY)
}

/// The date of a local time.
pub fn date_of(local: i64) -> NaiveDate {
    let days = local.div_euclid(DAY);
    chrono::TimeDelta::try_days(days)
        .and_then(|delta| epoch().checked_add_signed(delta))
        .unwrap_or(if days < 0 {
            NaiveDate::MIN
        } else {
            NaiveDate::MAX
        })
}

fn epoch() -> NaiveDate {
    NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or(NaiveDate::MIN)
}

/// `20180701`, or `20180701_13` for steps shorter than a day: names that sort as the times do.
pub fn label(step: Step, start: i64, zone: &impl Zone) -> String {
    match step {
        // In UTC, because a local hour may occur twice.
        Step::Fixed(width) => {
            let date = date_of(start);
            let seconds = start.rem_euclid(DAY) / SECOND;
            let (hour, minute) = (seconds / 3_600, seconds / 60 % 60);
            if width % HOUR == 0 {
                format!("{}_{hour:02}", date.format("%Y%m%d"))
            } else {
                format!("{}_{hour:02}{minute:02}", date.format("%Y%m%d"))
            }
        }
        // A step begins at a local midnight or, where the clocks skip it, shortly after.
        Step::Days(_) | Step::Months(_) => date_of(zone.local(start)).format("%Y%m%d").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BANGKOK: FixedOffset = FixedOffset(7 * HOUR);

    /// Clocks go one hour ahead at `at` (local midnight: the hardest case) and back a half-year later.
    struct Summer {
        at: i64,
        back: i64,
    }

    impl Zone for Summer {
        fn local(&self, instant: i64) -> i64 {
            if instant >= self.at && instant < self.back {
                instant + HOUR
            } else {
                instant
            }
        }
        fn instant(&self, local: i64) -> i64 {
            if local >= self.at + HOUR && local < self.back + HOUR {
                local - HOUR
            } else if local >= self.at && local < self.at + HOUR {
                // The gap: past its end, as PostgreSQL does.
                local
            } else {
                local
            }
        }
    }

    fn local(text: &str) -> i64 {
        let time = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
        (time - epoch().and_hms_opt(0, 0, 0).unwrap())
            .num_microseconds()
            .unwrap()
    }

    #[test]
    fn months_follow_the_local_calendar() {
        let step = Step::from_interval(1, 0, 0).unwrap();
        // 2018-06-30 17:00Z is 2018-07-01 00:00 in Bangkok.
        assert_eq!(
            step.floor(local("2018-06-30 17:00"), &BANGKOK),
            local("2018-06-30 17:00")
        );
        assert_eq!(
            step.floor(local("2018-06-30 16:59"), &BANGKOK),
            local("2018-05-31 17:00")
        );
        assert_eq!(
            step.next(local("2018-06-30 17:00"), &BANGKOK),
            local("2018-07-31 17:00")
        );
        assert_eq!(label(step, local("2018-06-30 17:00"), &BANGKOK), "20180701");
    }

    #[test]
    fn weeks_begin_on_monday() {
        let step = Step::from_interval(0, 7, 0).unwrap();
        assert_eq!(
            step.floor(local("2026-11-21 09:00"), &FixedOffset(0)),
            local("2026-11-16 00:00")
        );
    }

    #[test]
    fn a_day_is_24_hours_however_written() {
        assert_eq!(Step::from_interval(0, 0, 24 * HOUR), Ok(Step::Days(1)));
        assert_eq!(Step::from_interval(12, 0, 0), Ok(Step::Months(12)));
    }

    #[test]
    fn intervals_that_are_no_step_are_refused() {
        assert_eq!(Step::from_interval(0, 0, 0), Err(StepError::NotPositive));
        assert_eq!(Step::from_interval(0, -1, 0), Err(StepError::NotPositive));
        assert_eq!(Step::from_interval(1, 1, 0), Err(StepError::Mixed));
        assert_eq!(Step::from_interval(0, 0, 7 * HOUR), Err(StepError::Uneven));
    }

    #[test]
    fn hours_are_labelled_in_utc() {
        let step = Step::from_interval(0, 0, HOUR).unwrap();
        assert_eq!(
            label(step, local("2018-07-01 13:00"), &BANGKOK),
            "20180701_13"
        );
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Fixed(HOUR)),
            Just(Step::Fixed(15 * 60 * SECOND)),
            (1_i64..40).prop_map(Step::Days),
            (1_i32..25).prop_map(Step::Months),
        ]
    }

    proptest! {
        #[test]
        fn steps_tile_the_line(step in any_step(), instant in -1_000_000_000_000_000_i64..2_000_000_000_000_000, day in 0_i64..9_000) {
            let zone = Summer { at: day * DAY, back: (day + 180) * DAY };
            let floor = step.floor(instant, &zone);
            let next = step.next(instant, &zone);
            prop_assert!(floor <= instant && instant < next);
            // The steps meet: the next one's floor is its own start, and the one before ends there.
            prop_assert_eq!(step.floor(next, &zone), next);
            prop_assert_eq!(step.next(floor, &zone), next);
            prop_assert_eq!(step.floor(next - 1, &zone), floor);
            prop_assert_eq!(step.ceil(instant, &zone), if floor == instant { floor } else { next });
        }
    }
}
