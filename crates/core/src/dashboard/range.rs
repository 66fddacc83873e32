//! The days that a period stands for, and those before it that it is compared with.

use super::query::{Aggregation, Period};
use chrono::{Datelike, Months, NaiveDate, TimeDelta};

/// Days, both ends part of it. Periods that begin within are part of it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub from: NaiveDate,
    pub to: NaiveDate,
}

impl Aggregation {
    /// Months of a period; weeks have none.
    fn months(self) -> Option<u32> {
        match self {
            Self::Weekly => None,
            Self::Monthly => Some(1),
            Self::Quarterly => Some(3),
        }
    }

    /// The first day of the period that begins so many periods before the one that begins on `first`.
    fn before(self, first: NaiveDate, count: u32) -> Option<NaiveDate> {
        match self.months() {
            None => first.checked_sub_signed(TimeDelta::weeks(count.into())),
            Some(months) => first.checked_sub_months(Months::new(months.checked_mul(count)?)),
        }
    }

    /// The last day of the period that begins on `first`.
    fn last_day(self, first: NaiveDate) -> Option<NaiveDate> {
        match self.months() {
            None => first.checked_add_signed(TimeDelta::days(6)),
            Some(months) => first.checked_add_months(Months::new(months))?.pred_opt(),
        }
    }
}

impl Period {
    /// The days to show. The last so many periods end with the newest one that has figures, whose first day is
    /// `newest`; without any figures there are no such days.
    #[must_use]
    pub fn range(self, aggregation: Aggregation, newest: Option<NaiveDate>) -> Option<Range> {
        match self {
            Self::Between { from, to } => Some(Range { from, to }),
            Self::Last { last } => {
                let newest = newest?;
                Some(Range {
                    from: aggregation.before(newest, last.checked_sub(1)?)?,
                    to: aggregation.last_day(newest)?,
                })
            }
        }
    }
}

impl Range {
    /// As many days, or months where periods consist of months, that end the day before.
    #[must_use]
    pub fn previous(self, aggregation: Aggregation) -> Option<Self> {
        let months = aggregation
            .months()
            .map_or(0, |step| firsts(self.from, self.to, step) * step);
        let from = if months > 0 {
            self.from.checked_sub_months(Months::new(months))?
        } else {
            // The day before, and as many before that as this one has after its first.
            self.from
                .pred_opt()?
                .checked_sub_signed(self.to - self.from)?
        };
        Some(Self {
            from,
            to: self.from.pred_opt()?,
        })
    }

    #[must_use]
    pub fn holds(self, day: NaiveDate) -> bool {
        (self.from..=self.to).contains(&day)
    }
}

/// How many months that begin a period have their first day here.
fn firsts(from: NaiveDate, to: NaiveDate, step: u32) -> u32 {
    // Months of the calendar, by their number from the year 0.
    let month = |day: NaiveDate| i64::from(day.year()) * 12 + i64::from(day.month0());
    let first = month(from) + i64::from(from.day() > 1);
    let step = i64::from(step);
    // Of so many months from the first one on, those whose number the step divides.
    let count = (month(to)).div_euclid(step) - (first - 1).div_euclid(step);
    u32::try_from(count).unwrap_or(0)
}
