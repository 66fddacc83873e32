//! What cron expressions and intervals have in common, and the zones that they are tried in.

mod cron;
mod every;
mod zones;

use super::*;
use crate::calendar::{FixedOffset, HOUR, SECOND};
use crate::instant::{Instant, parse};
use proptest::prelude::*;
use zones::Rules;

pub const MINUTE: i64 = 60 * SECOND;
pub const UTC: FixedOffset = FixedOffset(0);

/// An instant, from a text with an offset or a `Z`.
pub fn utc(text: &str) -> i64 {
    match parse(text) {
        Ok(Instant::Absolute(at)) => at,
        other => panic!("{text}: {other:?}"),
    }
}

pub fn cron(text: &str) -> Timetable {
    Timetable::parse_cron(text).unwrap()
}

/// The runs after an instant, up to another.
pub fn runs(timetable: &Timetable, from: i64, to: i64, zone: &impl Zone) -> Vec<i64> {
    let next = |&at: &i64| timetable.next_after(at, zone);
    std::iter::successors(next(&from), next)
        .take_while(|&run| run <= to)
        .collect()
}

/// The first runs after an instant, as texts without a zone.
pub fn shown(timetable: &Timetable, from: &str, count: usize, zone: &impl Zone) -> Vec<String> {
    let next = |&at: &i64| timetable.next_after(at, zone);
    std::iter::successors(next(&utc(from)), next)
        .take(count)
        .map(|run| {
            date_time(run)
                .unwrap()
                .format("%Y-%m-%d %H:%M:%S")
                .to_string()
        })
        .collect()
}

#[test]
fn the_ends_of_time_have_no_runs() {
    let timetables = [
        cron("* * * * * *"),
        cron("0 0 29 2 *"),
        Timetable::every(0, 0, SECOND, 0).unwrap(),
        Timetable::every(0, 1, 0, RANGE.end - 1).unwrap(),
        Timetable::every(1_200, 0, 0, RANGE.start).unwrap(),
    ];
    for timetable in &timetables {
        for at in [
            i64::MIN,
            i64::MAX,
            RANGE.start - 1,
            RANGE.end,
            RANGE.end - 1,
        ] {
            assert_eq!(timetable.next_after(at, &UTC), None, "{timetable:?} {at}");
        }
        assert!(timetable.next_after(RANGE.start, &UTC).is_some());
    }
    // Years that the library of expressions does not know: a leap day before a
    // century is followed by the one eight years on.
    let leap_day = cron("0 12 29 2 *");
    for cycle in [-14, 20, 600] {
        let at = utc("2096-02-29T12:00Z") + cycle * 146_097 * DAY;
        assert_eq!(leap_day.next_after(at, &UTC), Some(at + 2_921 * DAY));
    }
}

proptest! {
    #[test]
    fn no_instant_panics(
        at in any::<i64>(), anchor in any::<i64>(), near in any::<bool>(),
        months in prop::sample::select(vec![0, 1, 7, 1_200, i32::MAX, i32::MIN]),
        days in prop::sample::select(vec![0, 1, 36_525, i32::MAX, i32::MIN]),
        micros in prop_oneof![Just(0), any::<i64>(), 1_i64..DAY],
    ) {
        // Both within the range, where something may come of it.
        let (at, anchor) = if near { (at % RANGE.end, anchor % -RANGE.start) } else { (at, anchor) };
        let zone = Rules::one(0, HOUR, -HOUR);
        let interval = [(months, 0, 0), (0, days, 0), (0, 0, micros), (months, days, micros)];
        let every = interval.map(|(m, d, u)| Timetable::every(m, d, u, anchor));
        let all = every.into_iter().flatten().chain([cron("* 3 29 2 *"), cron("* * * * *")]);
        for timetable in all {
            let run = timetable.next_after(at, &zone);
            prop_assert!(run.is_none_or(|run| run > at && RANGE.contains(&run)));
            prop_assert!(run.is_none() || RANGE.contains(&at));
        }
    }
}
