//! Zones with real rules, and the rules of timetables word by word.

use super::{MINUTE, utc};
use crate::calendar::{DAY, HOUR, Zone};
use chrono::{Datelike, Weekday};

/// A zone as the list of its changes, with PostgreSQL's choices: a local time that is skipped is read with
/// the offset before the change, one that is repeated with the one after it.
#[derive(Debug, Clone)]
pub struct Rules {
    pub first: i64,
    /// From when on, and which offset.
    pub changes: Vec<(i64, i64)>,
    /// Reads a time that is repeated as the first one instead.
    pub first_pass: bool,
}

impl Rules {
    /// One change, at an instant and by an amount.
    pub fn one(at: i64, first: i64, by: i64) -> Self {
        Self {
            first,
            changes: vec![(at, first + by)],
            first_pass: false,
        }
    }

    /// Summer time of some years: the offset without it, by how much it is ahead, and for a year its first
    /// instant and its last one.
    fn summers(first: i64, ahead: i64, change: impl Fn(i32) -> [(i64, bool); 2]) -> Self {
        let years = 1996..2112;
        let changes = years
            .flat_map(change)
            .map(|(at, summer)| (at, if summer { first + ahead } else { first }))
            .collect();
        Self {
            first,
            changes,
            first_pass: false,
        }
    }

    /// The last Sundays of March and October, 01:00 UTC.
    pub fn berlin() -> Self {
        Self::summers(HOUR, HOUR, |year| {
            [(3, true), (10, false)]
                .map(|(month, summer)| (sunday(&format!("{year}-{month:02}-25")) + HOUR, summer))
        })
    }

    /// Half an hour: back on the first Sunday of April at 02:00 of summer (+11), ahead on that of October at
    /// 02:00 (+10:30).
    pub fn lord_howe() -> Self {
        Self::summers(10 * HOUR + 30 * MINUTE, 30 * MINUTE, |year| {
            [
                (
                    sunday(&format!("{year}-04-01")) + 2 * HOUR - 11 * HOUR,
                    false,
                ),
                (
                    sunday(&format!("{year}-10-01")) + 2 * HOUR - 10 * HOUR - 30 * MINUTE,
                    true,
                ),
            ]
        })
    }

    /// As in Lebanon: the clocks skip the hour from midnight, and repeat the one before it.
    pub fn beirut() -> Self {
        Self::summers(2 * HOUR, HOUR, |year| {
            [(3, true), (10, false)].map(|(month, summer)| {
                let midnight = sunday(&format!("{year}-{month:02}-25"));
                (midnight - if summer { 2 } else { 3 } * HOUR, summer)
            })
        })
    }

    /// As in Samoa, which skipped the 30th of December 2011.
    pub fn samoa() -> Self {
        Self::one(utc("2011-12-30T10:00Z"), -10 * HOUR, DAY)
    }

    /// As in Alaska in 1867, when the 18th of October came twice, but in 2011.
    pub fn twice_a_day() -> Self {
        Self::one(utc("2011-10-18T00:00+15"), 15 * HOUR, -DAY)
    }

    pub fn all() -> Vec<Self> {
        vec![
            Self::berlin(),
            Self::lord_howe(),
            Self::beirut(),
            Self::samoa(),
            Self::twice_a_day(),
        ]
    }

    /// Instants, and the offsets before and after.
    pub fn steps(&self) -> impl Iterator<Item = (i64, i64, i64)> {
        let before = std::iter::once(self.first).chain(self.changes.iter().map(|change| change.1));
        self.changes
            .iter()
            .zip(before)
            .map(|(&(at, after), before)| (at, before, after))
    }

    /// When something runs that runs once at a local time.
    pub fn once(&self, local: i64) -> i64 {
        // With the offset that was in force before the first change that is not over by then.
        let change = self
            .steps()
            .find(|&(at, before, after)| local < at + before.max(after));
        match change {
            // Before the change, repeated (the first time), or skipped.
            Some((_, before, _)) => local - before,
            None => local - self.changes.last().map_or(self.first, |change| change.1),
        }
    }
}

impl Zone for Rules {
    fn local(&self, instant: i64) -> i64 {
        let passed = self.changes.partition_point(|&(at, _)| at <= instant);
        let offset = match passed {
            0 => self.first,
            passed => self.changes[passed - 1].1,
        };
        instant + offset
    }

    fn instant(&self, local: i64) -> i64 {
        if self.first_pass {
            return self.once(local);
        }
        let mut offset = self.first;
        for (at, before, after) in self.steps() {
            let skipped = local >= at + before && local < at + after;
            if local < at + after || skipped {
                break;
            }
            offset = after;
        }
        local - offset
    }
}

/// The first Sunday of a month from a date on, midnight UTC.
fn sunday(from: &str) -> i64 {
    let mut date = super::date_time(utc(&format!("{from}T00:00Z"))).unwrap();
    while date.weekday() != Weekday::Sun {
        date += chrono::TimeDelta::days(1);
    }
    super::micros(date).unwrap()
}

#[test]
fn zones_are_as_in_the_world() {
    let cases = [
        (Rules::berlin(), "2026-03-29T01:00Z", HOUR, HOUR),
        (Rules::berlin(), "2026-10-25T01:00Z", 2 * HOUR, -HOUR),
        (
            Rules::lord_howe(),
            "2026-04-04T15:00Z",
            11 * HOUR,
            -30 * MINUTE,
        ),
        (
            Rules::lord_howe(),
            "2026-10-03T15:30Z",
            10 * HOUR + 30 * MINUTE,
            30 * MINUTE,
        ),
        (Rules::beirut(), "2026-03-28T22:00Z", 2 * HOUR, HOUR),
    ];
    for (zone, at, before, by) in cases {
        let at = utc(at);
        assert_eq!(zone.local(at - 1), at - 1 + before);
        assert_eq!(zone.local(at), at + before + by);
        // The middle of what is skipped, or repeated.
        let middle = at + before + by / 2;
        let want = if by > 0 { before } else { before + by };
        assert_eq!(zone.instant(middle), middle - want);
        assert_eq!(zone.once(middle), middle - before);
        assert_eq!(zone.instant(at + before - DAY), at - DAY);
        assert_eq!(zone.instant(at + before + by + DAY), at + DAY);
    }
}
