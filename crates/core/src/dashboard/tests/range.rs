//! Which days a period stands for.

use super::*;
use chrono::{Datelike, NaiveDate, TimeDelta};
use proptest::prelude::*;

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}

fn range(from: &str, to: &str) -> Range {
    Range {
        from: day(from),
        to: day(to),
    }
}

use Aggregation::{Monthly, Quarterly, Weekly};

#[test]
fn the_last_periods_end_with_the_newest() {
    for (aggregation, newest, last, from, to) in [
        (Weekly, "2026-01-05", 1, "2026-01-05", "2026-01-11"),
        (Weekly, "2026-01-05", 3, "2025-12-22", "2026-01-11"),
        (Monthly, "2026-02-01", 1, "2026-02-01", "2026-02-28"),
        (Monthly, "2026-02-01", 12, "2025-03-01", "2026-02-28"),
        (Quarterly, "2026-01-01", 5, "2025-01-01", "2026-03-31"),
    ] {
        let shown = Period::Last { last }.range(aggregation, Some(day(newest)));
        assert_eq!(shown, Some(range(from, to)), "{aggregation:?} {last}");
    }
    assert_eq!(Period::Last { last: 3 }.range(Weekly, None), None);
    let (from, to) = (day("2026-01-02"), day("2026-01-02"));
    let between = Period::Between { from, to };
    assert_eq!(between.range(Monthly, None), Some(Range { from, to }));
    // Far out of the calendar.
    let first = Period::Last { last: 520 }.range(Quarterly, Some(NaiveDate::MIN));
    assert_eq!(first, None);
}

#[test]
fn the_days_before_are_as_many() {
    for (aggregation, from, to, before, until) in [
        (
            Weekly,
            "2026-01-05",
            "2026-01-25",
            "2025-12-15",
            "2026-01-04",
        ),
        (
            Weekly,
            "2026-01-05",
            "2026-01-05",
            "2026-01-04",
            "2026-01-04",
        ),
        (
            Monthly,
            "2026-01-01",
            "2026-03-31",
            "2025-10-01",
            "2025-12-31",
        ),
        (
            Monthly,
            "2026-01-15",
            "2026-03-31",
            "2025-11-15",
            "2026-01-14",
        ),
        // No month begins there.
        (
            Monthly,
            "2026-01-15",
            "2026-01-20",
            "2026-01-09",
            "2026-01-14",
        ),
        (
            Quarterly,
            "2026-01-01",
            "2026-03-31",
            "2025-10-01",
            "2025-12-31",
        ),
        (
            Quarterly,
            "2025-11-01",
            "2026-04-30",
            "2025-05-01",
            "2025-10-31",
        ),
    ] {
        let previous = range(from, to).previous(aggregation);
        assert_eq!(
            previous,
            Some(range(before, until)),
            "{aggregation:?} {from}"
        );
    }
    let first = Range {
        from: NaiveDate::MIN,
        to: NaiveDate::MAX,
    };
    for aggregation in [Weekly, Monthly, Quarterly] {
        assert_eq!(first.previous(aggregation), None);
    }
}

/// Periods that begin within.
fn beginnings(range: Range, aggregation: Aggregation) -> usize {
    let first = |day: &NaiveDate| match aggregation {
        Weekly => day.num_days_from_ce() % 7 == 3,
        Monthly => day.day() == 1,
        Quarterly => day.day() == 1 && day.month0().is_multiple_of(3),
    };
    range
        .from
        .iter_days()
        .take_while(|day| *day <= range.to)
        .filter(first)
        .count()
}

proptest! {
    #[test]
    fn the_days_before_have_as_many_periods(start in 0_i64..40_000, days in 0_i64..900, weeks in 1_i64..60) {
        let from = day("1950-01-01") + TimeDelta::days(start);
        for aggregation in [Monthly, Quarterly] {
            let shown = Range { from, to: from + TimeDelta::days(days) };
            let previous = shown.previous(aggregation).expect("in the calendar");
            prop_assert_eq!(previous.to.succ_opt(), Some(shown.from));
            if beginnings(shown, aggregation) > 0 {
                prop_assert_eq!(beginnings(previous, aggregation), beginnings(shown, aggregation));
            }
        }
        let shown = Range { from, to: from + TimeDelta::days(weeks * 7 - 1) };
        let previous = shown.previous(Weekly).expect("in the calendar");
        prop_assert_eq!(beginnings(previous, Weekly), beginnings(shown, Weekly));
        prop_assert!(shown.holds(shown.from) && shown.holds(shown.to) && !shown.holds(previous.to));
    }
}
