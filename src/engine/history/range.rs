//! A range of time within which rows are wanted.

use super::select::Test;
use gemba_segment::{Column, Scalar, Values};
use std::ops::Range;

/// Both ends belong to it, so that the infinities can be in it as well. Empty where `low > high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    pub low: i64,
    pub high: i64,
}

impl TimeRange {
    pub const ALL: Self = Self {
        low: i64::MIN,
        high: i64::MAX,
    };

    const NONE: Self = Self { low: 1, high: 0 };

    pub fn is_empty(self) -> bool {
        self.low > self.high
    }

    /// What of it is left where `time <test> value` holds as well.
    pub fn narrowed(self, test: Test, value: i64) -> Self {
        let Self { low, high } = self;
        match test {
            Test::Less => match value.checked_sub(1) {
                Some(last) => Self {
                    low,
                    high: high.min(last),
                },
                None => Self::NONE,
            },
            Test::LessEqual => Self {
                low,
                high: high.min(value),
            },
            Test::Equal => Self {
                low: low.max(value),
                high: high.min(value),
            },
            Test::GreaterEqual => Self {
                low: low.max(value),
                high,
            },
            Test::Greater => match value.checked_add(1) {
                Some(first) => Self {
                    low: low.max(first),
                    high,
                },
                None => Self::NONE,
            },
            Test::AnyOf | Test::Null | Test::NotNull => self,
        }
    }

    /// Can rows between these two times be in it?
    pub fn touches(self, first: i64, last: i64) -> bool {
        first <= self.high && last >= self.low
    }

    /// Are all rows between these two times in it?
    pub fn covers(self, first: i64, last: i64) -> bool {
        self.low <= first && last <= self.high
    }

    /// Which of a segment's first rows are in it, by the segment's column of times, which ascend.
    pub fn rows(self, times: &Column, rows: usize) -> Range<usize> {
        match times.values {
            Values::Ints(times) => {
                let times = &times[..rows.min(times.len())];
                let start = times.partition_point(|&time| time < self.low);
                let end = times.partition_point(|&time| time <= self.high);
                start..end.max(start)
            }
            Values::Constant(Scalar::Int(time)) if self.touches(time, time) => 0..rows,
            _ => 0..0,
        }
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::{Test, TimeRange};
    use pgrx::prelude::*;

    #[pg_test]
    fn ranges_narrow_to_their_very_ends() {
        let all = TimeRange::ALL;
        assert!(all.narrowed(Test::Less, i64::MIN).is_empty());
        assert!(all.narrowed(Test::Greater, i64::MAX).is_empty());
        assert!(!all.narrowed(Test::LessEqual, i64::MIN).is_empty());
        let day = all
            .narrowed(Test::GreaterEqual, 10)
            .narrowed(Test::Less, 20);
        assert_eq!((day.low, day.high), (10, 19));
        assert!(day.covers(10, 19) && !day.covers(10, 20) && !day.covers(9, 19));
        assert!(
            day.touches(0, 10) && day.touches(19, 30) && !day.touches(0, 9) && !day.touches(20, 30)
        );
        assert!(day.narrowed(Test::Equal, 20).is_empty());
        assert_eq!(
            day.narrowed(Test::Equal, 12),
            TimeRange { low: 12, high: 12 }
        );
    }
}
