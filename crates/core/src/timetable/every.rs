//! Intervals counted from an anchor.
//!
//! Each run is computed from the anchor, never from the run before it, so that a month's end that was
//! clamped, or an hour that was skipped, does not stay with the runs that follow.

use super::{RANGE, TimetableError, clocks, date_time, micros};
use crate::calendar::{DAY, SECOND, Zone};
use chrono::{Datelike, Months};

const CENTURY_DAYS: i64 = 36_525;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every {
    step: Step,
    anchor: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Micros(i64),
    Days(i64),
    Months(u32),
}

impl Every {
    pub fn new(months: i32, days: i32, micros: i64, anchor: i64) -> Result<Self, TimetableError> {
        let step = match (months, i64::from(days), micros) {
            (m, d, u) if m < 0 || d < 0 || u < 0 || (m == 0 && d == 0 && u == 0) => {
                return Err(TimetableError::NotPositive);
            }
            (m, 0, 0) if m > 1_200 => return Err(TimetableError::TooLong),
            (m, 0, 0) => Step::Months(m.unsigned_abs()),
            (0, d, 0) if d > CENTURY_DAYS => return Err(TimetableError::TooLong),
            (0, d, 0) => Step::Days(d),
            (0, 0, u) if u < SECOND => return Err(TimetableError::TooShort),
            (0, 0, u) if u > CENTURY_DAYS * DAY => return Err(TimetableError::TooLong),
            (0, 0, u) => Step::Micros(u),
            _ => return Err(TimetableError::Mixed),
        };
        if !RANGE.contains(&anchor) {
            return Err(TimetableError::Anchor);
        }
        Ok(Self { step, anchor })
    }

    pub fn next_after(&self, instant: i64, zone: &impl Zone) -> Option<i64> {
        if instant < self.anchor {
            return Some(self.anchor);
        }
        // Sums of what is within the range do not overflow.
        if let Step::Micros(width) = self.step {
            let count = (instant - self.anchor) / width + 1;
            return self.anchor.checked_add(count.checked_mul(width)?);
        }
        let (anchor, local) = (zone.local(self.anchor), zone.local(instant));
        let elapsed = match self.step {
            Step::Days(days) => (local - anchor).div_euclid(DAY) / days,
            Step::Months(months) => (month(local)? - month(anchor)?) / i64::from(months),
            Step::Micros(_) => return None,
        };
        // Local time tells the count, but for the clocks: a run that they skipped may still be to come, and
        // one that they are to show again has been.
        (elapsed - 1..=elapsed + 2)
            .filter(|&count| count > 0)
            .filter_map(|count| self.run(count, anchor, zone))
            .find(|&run| run > instant)
    }

    /// The run that is this many steps of the calendar from the anchor's local time.
    fn run(&self, count: i64, anchor: i64, zone: &impl Zone) -> Option<i64> {
        let local = match self.step {
            Step::Micros(_) => return None,
            Step::Days(days) => anchor.checked_add(count.checked_mul(days)?.checked_mul(DAY)?)?,
            Step::Months(months) => {
                let months = months.checked_mul(u32::try_from(count).ok()?)?;
                micros(date_time(anchor)?.checked_add_months(Months::new(months))?)?
            }
        };
        RANGE
            .contains(&local)
            .then(|| clocks::run_once(local, zone))
    }
}

/// Months of the calendar, from the year 0.
fn month(local: i64) -> Option<i64> {
    let date = date_time(local)?;
    Some(i64::from(date.year()) * 12 + i64::from(date.month0()))
}
