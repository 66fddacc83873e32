//! Where segments are cut: at the edges of a step of the table's calendar, and where the key changes.

use crate::engine::partitions::set::Set;
use crate::postgres::time::ServerZone;
use gemba_core::calendar::{DAY, HOUR, Step};
use std::ops::Range;

/// A segment has no more rows than a synthetic tid can tell apart.
pub const MOST_ROWS: usize = 65_000;

/// Rows that a segment had best have: enough for what is the same in all of them to weigh little, few enough to be read
/// quickly.
const GOOD_ROWS: f64 = 1_500.0;

/// A series of so many rows in a step is cut there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    Hour,
    Day,
    Week,
    Month,
    /// As long as the partition.
    Partition,
}

impl Span {
    const CUTTING: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// As the option `cut` of a compressed partition says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Partition => "partition",
        }
    }

    /// A name that is not known means the whole partition, which is always right.
    pub fn named(name: &str) -> Self {
        Self::CUTTING
            .into_iter()
            .find(|span| span.name() == name)
            .unwrap_or(Self::Partition)
    }

    fn step(self) -> Option<Step> {
        match self {
            Self::Hour => Some(Step::Fixed(HOUR)),
            Self::Day => Some(Step::Days(1)),
            Self::Week => Some(Step::Days(7)),
            Self::Month => Some(Step::Months(1)),
            Self::Partition => None,
        }
    }

    fn about_micros(self) -> Option<i64> {
        match self {
            Self::Hour => Some(HOUR),
            Self::Day => Some(DAY),
            Self::Week => Some(7 * DAY),
            Self::Month => Some(30 * DAY),
            Self::Partition => None,
        }
    }

    /// The span whose segments come nearest to [`GOOD_ROWS`], where one series has so many rows in a microsecond.
    pub fn choose(partition: Range<i64>, rate: f64) -> Self {
        let length = partition.end.saturating_sub(partition.start);
        let distance = |micros: i64| ((rate * micros as f64).max(1e-9) / GOOD_ROWS).ln().abs();
        Self::CUTTING
            .into_iter()
            .filter_map(|span| Some((span, span.about_micros()?)))
            .filter(|&(_, micros)| micros < length)
            .chain([(Self::Partition, length)])
            .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
            .map_or(Self::Partition, |(span, _)| span)
    }
}

/// A span on a table's calendar.
#[derive(Debug, Clone)]
pub struct Cut {
    pub span: Span,
    zone: ServerZone,
    /// Times of a date column are days, all others microseconds.
    unit: i64,
}

impl Cut {
    pub fn new(set: &Set, span: Span, of_dates: bool) -> Self {
        Self {
            span,
            zone: set.grid.clone(),
            unit: if of_dates { DAY } else { 1 },
        }
    }

    /// The first time that does not belong to the segment of this one any more.
    pub fn after(&self, time: i64) -> i64 {
        let Some(step) = self.span.step() else {
            return i64::MAX;
        };
        match time.checked_mul(self.unit) {
            Some(micros) if Self::REGULAR.contains(&micros) => {
                let next = step.next(micros, &self.zone);
                next.div_euclid(self.unit).max(time + 1)
            }
            // The infinities, and times beyond any calendar, are segments of their own.
            _ => time.saturating_add(1),
        }
    }

    /// The first time that belongs to the segment of this one.
    pub fn start(&self, time: i64) -> i64 {
        let Some(step) = self.span.step() else {
            return i64::MIN;
        };
        match time.checked_mul(self.unit) {
            Some(micros) if Self::REGULAR.contains(&micros) => {
                let start = step.floor(micros, &self.zone);
                start.div_euclid(self.unit).min(time)
            }
            _ => time,
        }
    }

    /// No cuts: what is written stays in one segment.
    pub fn nowhere() -> Self {
        Self {
            span: Span::Partition,
            zone: ServerZone::trusted("UTC"),
            unit: 1,
        }
    }

    /// Years 1 to 9999: where calendars are defined.
    const REGULAR: Range<i64> = -63_082_281_600_000_000..252_455_616_000_000_000;
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::Span;
    use gemba_core::calendar::DAY;
    use pgrx::prelude::*;

    #[pg_test]
    fn a_span_fits_the_rate_of_a_series() {
        let month = 0..31 * DAY;
        let rate = |seconds: f64| 1.0 / (seconds * 1e6);
        assert_eq!(Span::choose(month.clone(), rate(1.0)), Span::Hour);
        assert_eq!(Span::choose(month.clone(), rate(60.0)), Span::Day);
        assert_eq!(Span::choose(month.clone(), rate(600.0)), Span::Week);
        assert_eq!(Span::choose(month.clone(), rate(3_600.0)), Span::Partition);
        assert_eq!(Span::choose(0..365 * DAY, rate(3_600.0)), Span::Month);
        assert_eq!(Span::choose(month, rate(86_400.0)), Span::Partition);
        assert_eq!(Span::choose(0..DAY, rate(600.0)), Span::Partition);
        for span in [
            Span::Hour,
            Span::Day,
            Span::Week,
            Span::Month,
            Span::Partition,
        ] {
            assert_eq!(Span::named(span.name()), span);
        }
    }
}
