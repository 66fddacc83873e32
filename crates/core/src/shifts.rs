//! Which shift is on, and how much of its target should be made by now.
//!
//! A *production day* of a date begins on that date when the plant's day starts, at 06:00 for instance,
//! and lasts to the next date's. A shift belongs to the production date in which it starts: a night shift
//! from 22:00 belongs to the date on which it began, one from 02:00 to the date before. It keeps that date
//! to its end, also where it lasts into the next production day.
//!
//! Instants and local times are microseconds as in [`crate::calendar`], dates are days since 2000-01-01.
//! Targets are prorated by real time: a night over a change of the clocks has 7 or 9 hours, not 8.
//! Arithmetic is exact. Instants have to be finite.

use crate::calendar::{DAY, Zone};

/// A shift of a plant, repeated every day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// What people call it.
    pub name: String,
    /// Microseconds after local midnight.
    pub starts: i64,
    /// Microseconds after local midnight. Before `starts` it means the next day; equal, 24 hours.
    pub ends: i64,
}

/// How many units an asset is to make in a shift, or in a production day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Index into the plant's shifts; `None` for the whole production day.
    pub shift: Option<usize>,
    /// The first production date for which it holds; `None` for always. The target in force on a date is
    /// the latest one that has begun by then, and the later one in the slice of two that began together.
    pub effective: Option<i32>,
    /// Units in the whole shift or day.
    pub output: i64,
}

/// What is running at an instant, and its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Index of the shift; `None` for the whole production day.
    pub shift: Option<usize>,
    /// The instant at which the shift, or the production day, began.
    pub from: i64,
    /// The instant at which it ends, not part of it.
    pub to: i64,
    /// The date that it counts towards.
    pub production_date: i32,
    /// Units of all of it.
    pub target: i64,
    /// Units of the part that has elapsed, rounded half up.
    pub prorated: i64,
}

/// With what the live counters restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// With each shift.
    Shift,
    /// With each production day.
    Day,
}

/// The production date that an instant belongs to, when days start `day_starts` microseconds after local
/// midnight: the last one that has begun.
pub fn production_date(at: i64, day_starts: i64, zone: &impl Zone) -> i32 {
    as_date(date_at(at, day_starts, zone))
}

/// The target of one asset at an instant, and how much of it is due by then.
///
/// [`Counting::Shift`]: the shift that covers the instant and has a target on its production date; of
/// several the one that started last, of these the first in the slice. Where no shift has a target on that
/// date, each has the share of the whole day's target that it has of the day's time; outside of all shifts
/// the day counts from its start.
///
/// [`Counting::Day`]: the targets of all shifts of the production date together, each by the part of the
/// shift that has elapsed, rounded by itself. Where no shift has one, the target of the whole day. A shift
/// that outlasts its production day is not complete when the day ends, so days should start with a shift.
///
/// `None` where no target is in force. Targets for shifts that are not in the slice are left out, and sums
/// past an `i64` are clipped to it.
pub fn target_at(
    at: i64,
    shifts: &[Shift],
    targets: &[Target],
    day_starts: i64,
    counting: Counting,
    zone: &impl Zone,
) -> Option<Running> {
    let date = date_at(at, day_starts, zone);
    if counting == Counting::Shift {
        let covering = |target: &dyn Fn(usize, i64) -> Option<i64>| {
            shift_at(at, date, shifts, day_starts, zone, target)
        };
        let own = |index, date| in_force(targets, Some(index), date);
        if let Some(running) = covering(&own) {
            return Some(running);
        }
        if targets_of_shifts(date, shifts, targets).next().is_some() {
            return None;
        }
        if let Some(running) = covering(&|_, date| in_force(targets, None, date)) {
            return Some(share_of_day(running, at, day_starts, zone));
        }
    }
    let from = day_start(date, day_starts, zone);
    let to = day_start(date.saturating_add(1), day_starts, zone);
    let of_shifts = match counting {
        Counting::Shift => None,
        Counting::Day => targets_of_shifts(date, shifts, targets)
            .map(|(shift, target)| {
                let (from, to) = occurrence(shift, date, day_starts, zone);
                (
                    i128::from(target),
                    i128::from(prorate(target, from, to, at)),
                )
            })
            .reduce(|a, b| (a.0 + b.0, a.1 + b.1))
            .map(|(target, prorated)| (clip(target), clip(prorated))),
    };
    let (target, prorated) = of_shifts.or_else(|| {
        let target = in_force(targets, None, date)?;
        Some((target, prorate(target, from, to, at)))
    })?;
    Some(Running {
        shift: None,
        from,
        to,
        production_date: as_date(date),
        target,
        prorated,
    })
}

/// The target of a whole production date in units: the sum over the shifts that have one in force, else the
/// target of the whole day; `None` without either. A sum past an `i64` is clipped to it.
pub fn target_of_day(date: i32, shifts: &[Shift], targets: &[Target]) -> Option<i64> {
    let date = i64::from(date);
    targets_of_shifts(date, shifts, targets)
        .map(|(_, target)| i128::from(target))
        .reduce(|a, b| a + b)
        .map(clip)
        .or_else(|| in_force(targets, None, date))
}

/// A shift that has the target of the whole production day, with its share of it by time.
fn share_of_day(shift: Running, at: i64, day_starts: i64, zone: &impl Zone) -> Running {
    let date = i64::from(shift.production_date);
    let day = day_start(date.saturating_add(1), day_starts, zone)
        .saturating_sub(day_start(date, day_starts, zone));
    let by = |at| prorate(shift.target, shift.from, shift.from.saturating_add(day), at);
    Running {
        target: by(shift.to),
        prorated: by(at),
        ..shift
    }
}

/// The shift with a target that covers an instant of a production day. `target` says what that of a shift
/// is on a date.
fn shift_at(
    at: i64,
    date: i64,
    shifts: &[Shift],
    day_starts: i64,
    zone: &impl Zone,
    target: &dyn Fn(usize, i64) -> Option<i64>,
) -> Option<Running> {
    let mut last: Option<Running> = None;
    // A shift of the day before may still be on. The dates around these two are there for the clocks: a
    // local time that they skip may map past one that comes after it.
    for date in date.saturating_sub(2)..=date.saturating_add(1) {
        for (index, shift) in shifts.iter().enumerate() {
            let Some(target) = target(index, date) else {
                continue;
            };
            let (from, to) = occurrence(shift, date, day_starts, zone);
            if from <= at && at < to && last.is_none_or(|last| from > last.from) {
                last = Some(Running {
                    shift: Some(index),
                    from,
                    to,
                    production_date: as_date(date),
                    target,
                    prorated: prorate(target, from, to, at),
                });
            }
        }
    }
    last
}

/// The shifts that have a target in force on a date, and these.
fn targets_of_shifts<'a>(
    date: i64,
    shifts: &'a [Shift],
    targets: &'a [Target],
) -> impl Iterator<Item = (&'a Shift, i64)> {
    shifts
        .iter()
        .enumerate()
        .filter_map(move |(index, shift)| Some((shift, in_force(targets, Some(index), date)?)))
}

fn in_force(targets: &[Target], shift: Option<usize>, date: i64) -> Option<i64> {
    targets
        .iter()
        .filter(|target| target.shift == shift)
        .filter(|target| {
            target
                .effective
                .is_none_or(|first| i64::from(first) <= date)
        })
        // The last of equals; and `None` comes before every date.
        .max_by_key(|target| target.effective)
        .map(|target| target.output)
}

/// From when to when a shift of a production date is on: its first start at or after the day's.
fn occurrence(shift: &Shift, date: i64, day_starts: i64, zone: &impl Zone) -> (i64, i64) {
    let wait = shift.starts.saturating_sub(day_starts).rem_euclid(DAY);
    let length = match shift.ends.saturating_sub(shift.starts).rem_euclid(DAY) {
        0 => DAY,
        length => length,
    };
    let start = local_start(date, day_starts).saturating_add(wait);
    (
        zone.instant(start),
        zone.instant(start.saturating_add(length)),
    )
}

fn local_start(date: i64, day_starts: i64) -> i64 {
    date.saturating_mul(DAY).saturating_add(day_starts)
}

fn day_start(date: i64, day_starts: i64, zone: &impl Zone) -> i64 {
    zone.instant(local_start(date, day_starts))
}

/// The last date whose production day has begun.
fn date_at(at: i64, day_starts: i64, zone: &impl Zone) -> i64 {
    let mut date = zone.local(at).saturating_sub(day_starts).div_euclid(DAY);
    // Where the day starts in an hour that the clocks skip or repeat, its reading alone is a day off. The
    // steps are bounded for the sake of the ends of time, where there is no next day.
    for _ in 0..2 {
        if day_start(date, day_starts, zone) <= at {
            break;
        }
        date = date.saturating_sub(1);
    }
    for _ in 0..2 {
        if day_start(date.saturating_add(1), day_starts, zone) > at {
            break;
        }
        date = date.saturating_add(1);
    }
    date
}

/// Target × elapsed / length, rounded half up; all of it once the end is reached.
fn prorate(target: i64, from: i64, to: i64, at: i64) -> i64 {
    if at < from {
        return 0;
    }
    if at >= to {
        return target;
    }
    // Below 2^63 × 2^64, and the length is above 0.
    let length = i128::from(to) - i128::from(from);
    let product = i128::from(target) * (i128::from(at) - i128::from(from));
    let round_up = product.rem_euclid(length) * 2 >= length;
    clip(product.div_euclid(length) + i128::from(round_up))
}

fn clip(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn as_date(date: i64) -> i32 {
    i32::try_from(date).unwrap_or(if date < 0 { i32::MIN } else { i32::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{FixedOffset, HOUR, SECOND};
    use crate::instant::{Instant, parse, parse_date};
    use proptest::prelude::*;

    const MINUTE: i64 = 60 * SECOND;
    const SIX: i64 = 6 * HOUR;
    const UTC: FixedOffset = FixedOffset(0);
    const BANGKOK: FixedOffset = FixedOffset(7 * HOUR);

    /// Clocks that go ahead at one instant and back at another, with PostgreSQL's choices: a time that is
    /// skipped reads as before the change, one that is repeated as after it.
    #[derive(Debug, Clone, Copy)]
    struct Clocks {
        ahead: i64,
        back: i64,
        by: i64,
    }

    impl Zone for Clocks {
        fn local(&self, instant: i64) -> i64 {
            if (self.ahead..self.back).contains(&instant) {
                instant + HOUR + self.by
            } else {
                instant + HOUR
            }
        }
        fn instant(&self, local: i64) -> i64 {
            let (winter, summer) = (local - HOUR, local - HOUR - self.by);
            if summer >= self.ahead && winter < self.back {
                summer
            } else {
                winter
            }
        }
    }

    fn berlin() -> Clocks {
        Clocks {
            ahead: utc("2026-03-29T01:00Z"),
            back: utc("2026-10-25T01:00Z"),
            by: HOUR,
        }
    }

    fn utc(text: &str) -> i64 {
        match parse(text) {
            Ok(Instant::Absolute(at)) => at,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn date(text: &str) -> i32 {
        parse_date(text).unwrap()
    }

    fn shift(name: &str, starts: i64, ends: i64) -> Shift {
        Shift {
            name: name.to_owned(),
            starts: starts * HOUR,
            ends: ends * HOUR,
        }
    }

    fn three() -> Vec<Shift> {
        vec![
            shift("Early", 6, 14),
            shift("Late", 14, 22),
            shift("Night", 22, 6),
        ]
    }

    fn always(shift: Option<usize>, output: i64) -> Target {
        Target {
            shift,
            effective: None,
            output,
        }
    }

    fn from(day: &str, shift: Option<usize>, output: i64) -> Target {
        Target {
            effective: Some(date(day)),
            ..always(shift, output)
        }
    }

    #[test]
    fn production_days_start_at_six() {
        for (at, want) in [
            ("2026-03-02T05:59:59.999999+07", "2026-03-01"),
            ("2026-03-02T06:00+07", "2026-03-02"),
            ("2026-03-03T05:59+07", "2026-03-02"),
            ("1999-12-31T23:00+07", "1999-12-31"),
        ] {
            assert_eq!(production_date(utc(at), SIX, &BANGKOK), date(want), "{at}");
        }
    }

    /// The day starts in the hour that is skipped in March and repeated in October.
    #[test]
    fn production_days_start_when_the_clocks_change() {
        let start = 2 * HOUR + 30 * MINUTE;
        for (at, want) in [
            // Skipped: 02:30 is read as 03:30 of summer.
            ("2026-03-29T01:29Z", "2026-03-28"),
            ("2026-03-29T01:30Z", "2026-03-29"),
            // Repeated: the second 02:30 counts.
            ("2026-10-25T00:45Z", "2026-10-24"),
            ("2026-10-25T01:29Z", "2026-10-24"),
            ("2026-10-25T01:30Z", "2026-10-25"),
        ] {
            assert_eq!(
                production_date(utc(at), start, &berlin()),
                date(want),
                "{at}"
            );
        }
    }

    /// As in Samoa, which had no 30th of December 2011.
    #[test]
    fn a_date_that_was_skipped_has_no_instants() {
        let samoa = Clocks {
            ahead: utc("2011-12-29T23:00Z"),
            back: i64::MAX,
            by: DAY,
        };
        let seen: Vec<i32> = (0..6)
            .map(|n| production_date(utc("2011-12-29T00:00Z") + n * DAY / 2, SIX, &samoa))
            .collect();
        assert!(!seen.contains(&date("2011-12-30")), "{seen:?}");
        assert!(seen.contains(&date("2011-12-29")) && seen.contains(&date("2011-12-31")));
        let whole = [always(None, 100)];
        for n in 0..24 * 6 {
            let at = utc("2011-12-28T00:00Z") + n * HOUR;
            let running = target_at(at, &three(), &whole, SIX, Counting::Day, &samoa).unwrap();
            assert!(running.from <= at && at < running.to);
        }
    }

    #[test]
    fn the_night_belongs_to_the_date_on_which_it_began() {
        let targets = [
            always(Some(0), 300),
            always(Some(1), 200),
            always(Some(2), 101),
        ];
        let at = |text| {
            target_at(
                utc(text),
                &three(),
                &targets,
                SIX,
                Counting::Shift,
                &BANGKOK,
            )
        };
        assert_eq!(
            at("2026-03-02T02:00+07"),
            Some(Running {
                shift: Some(2),
                from: utc("2026-03-01T22:00+07"),
                to: utc("2026-03-02T06:00+07"),
                production_date: date("2026-03-01"),
                target: 101,
                // 50.5, half up.
                prorated: 51,
            })
        );
        let early = at("2026-03-02T06:00+07").unwrap();
        assert_eq!((early.shift, early.prorated), (Some(0), 0));
        assert_eq!(early.production_date, date("2026-03-02"));
    }

    #[test]
    fn a_shift_before_the_day_starts_belongs_to_the_date_before() {
        let shifts = [shift("Dawn", 2, 6)];
        let targets = [always(Some(0), 40)];
        let at = utc("2026-03-02T03:00Z");
        let running = target_at(at, &shifts, &targets, SIX, Counting::Shift, &UTC).unwrap();
        assert_eq!(running.production_date, date("2026-03-01"));
        assert_eq!(running.prorated, 10);
    }

    #[test]
    fn a_shift_keeps_its_date_into_the_next_production_day() {
        let shifts = [shift("Odd", 4, 12)];
        let targets = [always(Some(0), 80)];
        let at = utc("2026-03-02T10:00Z");
        let running = target_at(at, &shifts, &targets, SIX, Counting::Shift, &UTC).unwrap();
        assert_eq!(running.production_date, date("2026-03-01"));
        assert_eq!(running.prorated, 60);
        // The counters of the day began anew at 06:00, and the shift of that day has not begun.
        let running = target_at(at, &shifts, &targets, SIX, Counting::Day, &UTC).unwrap();
        assert_eq!(running.production_date, date("2026-03-02"));
        assert_eq!((running.target, running.prorated), (80, 0));
    }

    #[test]
    fn nights_over_a_change_of_the_clocks_are_an_hour_off() {
        let targets = [always(Some(2), 63)];
        for (at, hours, prorated) in [
            // 01:00 winter time: three of seven hours.
            ("2026-03-29T00:00Z", 7, 27),
            // The second 02:00: five of nine hours.
            ("2026-10-25T01:00Z", 9, 35),
            ("2026-10-26T01:00Z", 8, 32),
        ] {
            let running =
                target_at(utc(at), &three(), &targets, SIX, Counting::Shift, &berlin()).unwrap();
            assert_eq!(running.to - running.from, hours * HOUR, "{at}");
            assert_eq!(running.prorated, prorated, "{at}");
        }
        let whole = [always(None, 23)];
        let at = utc("2026-03-28T05:00Z") + HOUR;
        let day = target_at(at, &three(), &whole, SIX, Counting::Day, &berlin()).unwrap();
        assert_eq!((day.to - day.from, day.prorated), (23 * HOUR, 1));
    }

    /// At 01:10Z the clocks have just skipped 02:00 to 03:00.
    #[test]
    fn a_shift_in_the_skipped_hour_is_found_beside_its_day() {
        let at = utc("2026-03-29T01:10Z");
        let of = |starts: i64, ends: i64, day_starts: i64| {
            let shifts = [Shift {
                name: String::new(),
                starts: starts * MINUTE,
                ends: ends * MINUTE,
            }];
            let targets = [always(Some(0), 1)];
            let day_starts = day_starts * MINUTE;
            let running = target_at(
                at,
                &shifts,
                &targets,
                day_starts,
                Counting::Shift,
                &berlin(),
            )
            .unwrap();
            (
                production_date(at, day_starts, &berlin()),
                running.production_date,
            )
        };
        // 02:45 to 02:40, and the day starts at 03:00: the shift began two production days ago.
        assert_eq!(of(165, 160, 180), (date("2026-03-29"), date("2026-03-27")));
        // 03:00 to 11:00, and the day starts at 02:30, which is read as 03:30.
        assert_eq!(of(180, 660, 150), (date("2026-03-28"), date("2026-03-29")));
    }

    #[test]
    fn shifts_end_where_they_end() {
        let targets = [always(Some(0), 10)];
        let at = |text| target_at(utc(text), &three(), &targets, SIX, Counting::Shift, &UTC);
        assert!(at("2026-03-02T13:59:59.999999Z").is_some());
        assert_eq!(at("2026-03-02T14:00Z"), None);
    }

    #[test]
    fn of_overlapping_shifts_the_last_to_start_is_on() {
        let shifts = [
            shift("Late", 12, 20),
            shift("Day", 8, 16),
            shift("Round the clock", 7, 7),
            shift("Late too", 12, 20),
        ];
        let targets: Vec<_> = (0..4).map(|i| always(Some(i), 10)).collect();
        let on = |text, targets: &[Target]| {
            target_at(utc(text), &shifts, targets, SIX, Counting::Shift, &UTC).unwrap()
        };
        assert_eq!(on("2026-03-02T13:00Z", &targets).shift, Some(0));
        assert_eq!(on("2026-03-02T11:00Z", &targets).shift, Some(1));
        assert_eq!(on("2026-03-02T23:00Z", &targets).shift, Some(2));
        let dawn = on("2026-03-02T06:30Z", &targets);
        assert_eq!(dawn.production_date, date("2026-03-01"));
        assert_eq!(dawn.to - dawn.from, DAY);
        // Shifts without a target do not count.
        assert_eq!(on("2026-03-02T13:00Z", &targets[1..3]).shift, Some(1));
    }

    #[test]
    fn the_latest_effective_target_holds() {
        let shifts = three();
        let targets = [
            from("2026-03-05", Some(0), 3),
            always(Some(0), 1),
            from("2026-03-03", Some(0), 2),
            from("2026-03-05", Some(0), 4),
            always(None, 99),
            always(Some(7), 1_000),
        ];
        for (day, want) in [
            ("2026-03-02", 1),
            ("2026-03-03", 2),
            ("2026-03-04", 2),
            ("2026-03-05", 4),
            ("2027-01-01", 4),
        ] {
            assert_eq!(
                target_of_day(date(day), &shifts, &targets),
                Some(want),
                "{day}"
            );
        }
        // The night that began on the 2nd keeps the target of the 2nd.
        let night = [always(Some(2), 10), from("2026-03-03", Some(2), 20)];
        let at = utc("2026-03-03T05:00Z");
        let running = target_at(at, &shifts, &night, SIX, Counting::Shift, &UTC).unwrap();
        assert_eq!(running.target, 10);
    }

    #[test]
    fn the_whole_day_stands_in() {
        let shifts = three();
        let whole = [always(None, 240)];
        let at = utc("2026-03-02T05:00Z");
        // By the shift, the night has a third of it, of which seven hours of eight have passed.
        for (counting, shifts, want) in [
            (Counting::Shift, shifts.as_slice(), (Some(2), 80, 70)),
            (Counting::Shift, &[], (None, 240, 230)),
            (Counting::Day, &shifts, (None, 240, 230)),
        ] {
            let running = target_at(at, shifts, &whole, SIX, counting, &UTC).unwrap();
            assert_eq!((running.shift, running.target, running.prorated), want);
            assert_eq!(running.production_date, date("2026-03-01"));
            assert_eq!(target_at(at, shifts, &[], SIX, counting, &UTC), None);
        }
        // One shift with a target of its own, and the day's is nobody's.
        let both = [always(None, 240), always(Some(0), 10)];
        assert_eq!(
            target_at(at, &shifts, &both, SIX, Counting::Shift, &UTC),
            None
        );
        assert_eq!(target_of_day(0, &shifts, &whole), Some(240));
        assert_eq!(target_of_day(0, &shifts, &[]), None);
        // Only the early shift has a target, and it is over.
        let early = [always(Some(0), 10)];
        assert_eq!(
            target_at(at, &shifts, &early, SIX, Counting::Shift, &UTC),
            None
        );
        let running = target_at(at, &shifts, &early, SIX, Counting::Day, &UTC).unwrap();
        assert_eq!((running.target, running.prorated), (10, 10));
        // Not yet in force.
        let later = [from("2026-03-02", None, 1)];
        assert_eq!(
            target_at(at, &shifts, &later, SIX, Counting::Day, &UTC),
            None
        );
    }

    #[test]
    fn a_day_adds_its_shifts_up() {
        let targets = [
            always(Some(0), 100),
            always(Some(1), 80),
            always(Some(2), 60),
        ];
        for (at, want) in [
            ("2026-03-02T06:00Z", 0),
            ("2026-03-02T10:00Z", 50),
            ("2026-03-02T14:00Z", 100),
            ("2026-03-02T20:00Z", 160),
            ("2026-03-03T02:00Z", 210),
            ("2026-03-03T05:59:59Z", 240),
        ] {
            let running = target_at(utc(at), &three(), &targets, SIX, Counting::Day, &UTC).unwrap();
            assert_eq!((running.target, running.prorated), (240, want), "{at}");
        }
    }

    #[test]
    fn extremes_do_not_panic() {
        let shifts = [
            shift("", 6, 14),
            Shift {
                name: String::new(),
                starts: i64::MIN,
                ends: i64::MAX,
            },
            Shift {
                name: String::new(),
                starts: i64::MAX,
                ends: i64::MIN,
            },
        ];
        let targets: Vec<_> = (0..9)
            .map(|i| {
                always(
                    (i < 8).then_some(i),
                    if i % 2 == 0 { i64::MAX } else { i64::MIN },
                )
            })
            .collect();
        for at in [i64::MIN, -1, 0, i64::MAX] {
            for day_starts in [i64::MIN, 0, SIX, i64::MAX] {
                for counting in [Counting::Shift, Counting::Day] {
                    let _ = target_at(at, &shifts, &targets, day_starts, counting, &BANGKOK);
                }
                production_date(at, day_starts, &BANGKOK);
            }
        }
        let most = [always(Some(0), i64::MAX), always(Some(1), i64::MAX)];
        assert_eq!(target_of_day(0, &three(), &most), Some(i64::MAX));
        assert_eq!(
            prorate(i64::MAX, i64::MIN, i64::MAX, i64::MAX - 1),
            i64::MAX
        );
        assert_eq!(prorate(i64::MIN, i64::MIN, i64::MAX, -1), i64::MIN / 2);
    }

    /// On a grid of quarter hours, within days of a change of the clocks.
    fn clocks() -> impl Strategy<Value = Clocks> {
        (
            0_i64..400,
            4_i64..400,
            prop::sample::select(vec![2_i64, 4, 8]),
        )
            .prop_map(|(ahead, after, by)| Clocks {
                ahead: ahead * 15 * MINUTE,
                back: (ahead + after) * 15 * MINUTE + by * 15 * MINUTE,
                by: by * 15 * MINUTE,
            })
    }

    /// On the grid, or anywhere.
    fn instants() -> impl Strategy<Value = i64> {
        prop_oneof![
            (-96_i64..600).prop_map(|n| n * 15 * MINUTE),
            -DAY..6 * DAY + 6 * HOUR
        ]
    }

    fn shifts() -> impl Strategy<Value = Vec<Shift>> {
        prop::collection::vec((0_i64..96, 0_i64..=96), 0..5).prop_map(|shifts| {
            shifts
                .into_iter()
                .map(|(starts, ends)| Shift {
                    name: String::new(),
                    starts: starts * 15 * MINUTE,
                    ends: ends * 15 * MINUTE,
                })
                .collect()
        })
    }

    fn targets() -> impl Strategy<Value = Vec<Target>> {
        let target = (
            prop::option::weighted(0.8, 0_usize..6),
            prop::option::of(-2_i32..12),
            0_i64..10_000_000,
        );
        prop::collection::vec(target, 0..12).prop_map(|targets| {
            targets
                .into_iter()
                .map(|(shift, effective, output)| Target {
                    shift,
                    effective,
                    output,
                })
                .collect()
        })
    }

    fn counting() -> impl Strategy<Value = Counting> {
        prop_oneof![Just(Counting::Shift), Just(Counting::Day)]
    }

    proptest! {
        #[test]
        fn production_days_tile_the_line(
            zone in clocks(), at in instants(), start in 0_i64..96,
        ) {
            let start = start * 15 * MINUTE;
            let date = i64::from(production_date(at, start, &zone));
            prop_assert!(day_start(date, start, &zone) <= at);
            prop_assert!(at < day_start(date + 1, start, &zone));
        }

        /// The definitions word by word, over many more dates than can matter.
        #[test]
        fn agrees_with_a_plain_search(
            zone in clocks(), at in instants(), start in 0_i64..96, shifts in shifts(), targets in targets(),
        ) {
            let start = start * 15 * MINUTE;
            let mut want: Option<(i64, usize, i64, i64)> = None;
            for day in -10_i64..20 {
                for (index, shift) in shifts.iter().enumerate() {
                    let mut begins = day * DAY + shift.starts;
                    if shift.starts < start { begins += DAY; }
                    let mut ends = begins - shift.starts + shift.ends;
                    if shift.ends <= shift.starts { ends += DAY; }
                    let (from, to) = (zone.instant(begins), zone.instant(ends));
                    let mut target: Option<Target> = None;
                    for t in &targets {
                        if t.shift == Some(index)
                            && i64::from(t.effective.unwrap_or(i32::MIN)) <= day
                            && target.is_none_or(|best| best.effective <= t.effective)
                        {
                            target = Some(*t);
                        }
                    }
                    if let Some(target) = target
                        && (from..to).contains(&at)
                        && want.is_none_or(|best| best.0 < from)
                    {
                        want = Some((from, index, day, target.output));
                    }
                }
            }
            let got = target_at(at, &shifts, &targets, start, Counting::Shift, &zone);
            match want {
                Some((from, index, day, target)) => {
                    let got = got.unwrap();
                    prop_assert_eq!(
                        (got.from, got.shift, i64::from(got.production_date), got.target),
                        (from, Some(index), day, target)
                    );
                }
                None => {
                    let date = date_at(at, start, &zone);
                    let own = targets_of_shifts(date, &shifts, &targets).next().is_some();
                    prop_assert!(got.is_none_or(|_| !own && targets.iter().any(|t| t.shift.is_none())));
                }
            }
        }

        #[test]
        fn prorated_rises_from_nothing_to_the_target(
            zone in clocks(), at in instants(), later in 0..DAY, start in 0_i64..96,
            shifts in shifts(), targets in targets(), counting in counting(),
        ) {
            let start = start * 15 * MINUTE;
            let of = |at| target_at(at, &shifts, &targets, start, counting, &zone);
            if let Some(now) = of(at) {
                prop_assert!(now.from <= at && at < now.to);
                prop_assert!((0..=now.target).contains(&now.prorated));
                let same = |then: &Running| (then.shift, then.from) == (now.shift, now.from);
                if let Some(then) = of(at + later).filter(same) {
                    prop_assert_eq!(then.target, now.target);
                    prop_assert!(now.prorated <= then.prorated);
                }
                // At its start and its end, as far as no other shift is on there.
                if let Some(first) = of(now.from).filter(same).filter(|first| first.shift.is_some()) {
                    prop_assert_eq!(first.prorated, 0);
                }
                if let Some(last) = of(now.to - 1).filter(same).filter(|last| last.shift.is_some()) {
                    // A share of the day's target is rounded at its end too, a microsecond later.
                    prop_assert!(now.target - last.prorated <= 1);
                }
            }
        }

        /// Three shifts that tile the day: nothing at its start, everything at its end.
        #[test]
        fn shifts_of_a_day_add_up_to_its_target(
            zone in clocks(), at in instants(), cuts in (0_i64..96, 1_i64..32, 1_i64..32), targets in targets(),
        ) {
            let quarter = |n: i64| n.rem_euclid(96) * 15 * MINUTE;
            let ends = [cuts.0, cuts.0 + cuts.1, cuts.0 + cuts.1 + cuts.2, cuts.0 + 96];
            let shifts: Vec<_> = ends
                .windows(2)
                .map(|pair| Shift {
                    name: String::new(),
                    starts: quarter(pair[0]),
                    ends: quarter(pair[1]),
                })
                .collect();
            let start = quarter(cuts.0);
            let of = |at, counting| target_at(at, &shifts, &targets, start, counting, &zone);
            if let Some(now) = of(at, Counting::Day) {
                let day = target_of_day(now.production_date, &shifts, &targets);
                prop_assert_eq!(Some(now.target), day);
                let last = of(now.to - 1, Counting::Day).unwrap();
                prop_assert_eq!(last.prorated, last.target);
                // A shift that starts in a skipped hour may lie past it.
                let whole = shifts
                    .iter()
                    .map(|shift| occurrence(shift, i64::from(now.production_date), start, &zone))
                    .all(|(from, to)| now.from <= from && from < to && to <= now.to);
                if whole {
                    prop_assert_eq!(of(now.from, Counting::Day).unwrap().prorated, 0);
                }
            }
        }
    }
}
