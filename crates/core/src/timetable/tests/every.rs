//! Intervals from an anchor.

use super::*;
use std::collections::BTreeSet;

fn every(months: i32, days: i32, micros: i64, anchor: &str) -> Timetable {
    Timetable::every(months, days, micros, utc(anchor)).unwrap()
}

#[test]
fn intervals_that_are_none_are_refused() {
    use TimetableError::{Anchor, Mixed, NotPositive, TooLong, TooShort};
    for (months, days, micros, error) in [
        (0, 0, 0, NotPositive),
        (-1, 0, 0, NotPositive),
        (0, 1, -HOUR, NotPositive),
        (1, 1, 0, Mixed),
        (0, 1, HOUR, Mixed),
        (1, 0, HOUR, Mixed),
        (0, 0, SECOND - 1, TooShort),
        (1_201, 0, 0, TooLong),
        (0, 36_526, 0, TooLong),
        (0, 0, 36_525 * DAY + 1, TooLong),
        (i32::MIN, i32::MIN, i64::MIN, NotPositive),
        (i32::MAX, 0, 0, TooLong),
        (0, 0, i64::MAX, TooLong),
    ] {
        assert_eq!(Timetable::every(months, days, micros, 0), Err(error));
    }
    for anchor in [i64::MIN, i64::MAX] {
        assert_eq!(Timetable::every(0, 1, 0, anchor), Err(Anchor));
    }
    assert!(Timetable::every(1_200, 0, 0, 0).is_ok());
    assert!(Timetable::every(0, 0, SECOND, 0).is_ok());
}

#[test]
fn the_anchor_is_the_first_run() {
    for timetable in [
        every(0, 0, 7 * HOUR, "2026-01-31T10:00Z"),
        every(0, 1, 0, "2026-01-31T10:00Z"),
        every(1, 0, 0, "2026-01-31T10:00Z"),
    ] {
        let first = shown(&timetable, "1999-01-01T00:00Z", 1, &Rules::berlin());
        assert_eq!(first, ["2026-01-31 10:00:00"]);
    }
}

#[test]
fn times_pass_on_the_line_of_instants() {
    let timetable = every(0, 0, 7 * HOUR, "2026-03-28T10:00Z");
    assert_eq!(
        shown(&timetable, "2026-03-28T23:59Z", 3, &Rules::berlin()),
        [
            "2026-03-29 00:00:00",
            "2026-03-29 07:00:00",
            "2026-03-29 14:00:00"
        ]
    );
    let day = every(0, 0, 24 * HOUR, "2026-03-28T10:00Z");
    assert_eq!(
        shown(&day, "2026-03-29T00:00Z", 1, &Rules::berlin()),
        ["2026-03-29 10:00:00"]
    );
}

#[test]
fn ends_of_months_do_not_stay_clamped() {
    let timetable = every(1, 0, 0, "2027-01-31T09:30Z");
    assert_eq!(
        shown(&timetable, "2027-01-31T09:30Z", 5, &UTC),
        [
            "2027-02-28 09:30:00",
            "2027-03-31 09:30:00",
            "2027-04-30 09:30:00",
            "2027-05-31 09:30:00",
            "2027-06-30 09:30:00"
        ]
    );
    assert_eq!(
        shown(&timetable, "2028-01-31T09:30Z", 1, &UTC),
        ["2028-02-29 09:30:00"]
    );
    let leap = every(12, 0, 0, "2096-02-29T00:00Z");
    assert_eq!(
        shown(&leap, "2099-01-01T00:00Z", 6, &UTC).concat(),
        [
            "2099-02-28",
            "2100-02-28",
            "2101-02-28",
            "2102-02-28",
            "2103-02-28",
            "2104-02-29"
        ]
        .map(|date| format!("{date} 00:00:00"))
        .concat()
    );
}

#[test]
fn days_follow_the_clocks_of_the_zone() {
    // 02:30 local, which is skipped in March and repeated in October.
    let timetable = every(0, 1, 0, "2026-01-01T01:30Z");
    let berlin = Rules::berlin();
    assert_eq!(
        shown(&timetable, "2026-03-28T00:00Z", 3, &berlin),
        [
            "2026-03-28 01:30:00",
            "2026-03-29 01:30:00",
            "2026-03-30 00:30:00"
        ]
    );
    assert_eq!(
        shown(&timetable, "2026-10-24T00:00Z", 3, &berlin),
        [
            "2026-10-24 00:30:00",
            "2026-10-25 00:30:00",
            "2026-10-26 01:30:00"
        ]
    );
    // Anchored in the second pass, the first run is the anchor none the less.
    let second = every(0, 1, 0, "2026-10-25T01:30Z");
    assert_eq!(
        shown(&second, "2026-10-25T00:00Z", 2, &berlin),
        ["2026-10-25 01:30:00", "2026-10-26 01:30:00"]
    );
    // A day that comes twice runs once.
    let noon = every(0, 1, 0, "2011-10-13T21:00Z");
    assert_eq!(
        shown(&noon, "2011-10-17T10:00Z", 1, &Rules::twice_a_day()),
        ["2011-10-18 21:00:00"]
    );
    // The day that Samoa skipped runs with the one after it.
    let noon = every(0, 1, 0, "2011-12-28T22:00Z");
    assert_eq!(
        shown(&noon, "2011-12-28T22:00Z", 3, &Rules::samoa()),
        [
            "2011-12-29 22:00:00",
            "2011-12-30 22:00:00",
            "2011-12-31 22:00:00"
        ]
    );
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A local time some months after the start of a day in 2008.
fn months_after(day_of_year: i64, time: i64, months: i64) -> i64 {
    let (mut year, mut month, mut day) = (2008, 1, day_of_year);
    while day > days_of(year, month) {
        day -= days_of(year, month);
        month += 1;
    }
    let target = month - 1 + months;
    (year, month) = (year + target / 12, target % 12 + 1);
    day = day.min(days_of(year, month));
    let date = format!("{year:04}-{month:02}-{day:02}T00:00Z");
    utc(&date) + time
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every run is so many steps from the anchor, none is missing, and the next after any instant is the
    /// first of them that is later.
    #[test]
    fn runs_never_drift(
        zone in prop::sample::select(Rules::all()),
        day in 1_i64..=366, minute in 0_i64..1_440, step in 1_i64..40, unit in 0..3,
        at in 0_i64..10_000 * 1_440 * 60,
    ) {
        let (time, months) = (minute * MINUTE, step as i32);
        let anchor = zone.once(months_after(day, time, 0));
        let local = zone.local(anchor);
        // An anchor is an instant: where the clocks skip the time that was drawn, it has another.
        prop_assume!(local == months_after(day, time, 0));
        let (timetable, last) = match unit {
            0 => (Timetable::every(months, 0, 0, anchor), 40),
            1 => (Timetable::every(0, months, 0, anchor), 400),
            _ => (Timetable::every(0, 0, step * 7 * HOUR + SECOND / 2, anchor), 400),
        };
        let timetable = timetable.unwrap();
        let mut want: BTreeSet<i64> = (1..=last)
            .map(|k| match unit {
                0 => zone.once(months_after(day, time, k * step)),
                1 => zone.once(local + k * step * DAY),
                _ => anchor + k * (step * 7 * HOUR + SECOND / 2),
            })
            .collect();
        want.insert(anchor);
        let end = *want.last().unwrap();
        let got = runs(&timetable, anchor - 1, end, &zone);
        prop_assert_eq!(&got, &want.iter().copied().collect::<Vec<_>>());
        let at = anchor + at * SECOND % (end - anchor);
        prop_assert_eq!(timetable.next_after(at, &zone), want.range(at + 1..).next().copied());
    }
}
