//! Where the clocks of a zone change, found by asking it for the local time at instants.
//!
//! A [`Zone`] maps a local time that is repeated to one of its two instants, and one that is skipped to some
//! instant past the gap. Timetables have to know both instants, and which times are skipped. The offsets in
//! force a day before and a day after tell: in the tz database no clocks change twice within three days, nor
//! by more than a day.

use crate::calendar::{DAY, Zone};

/// How far local time is ahead of UTC.
pub fn offset(at: i64, zone: &impl Zone) -> i64 {
    zone.local(at).saturating_sub(at)
}

/// A change of the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The first instant with the new offset.
    pub at: i64,
    pub before: i64,
    pub after: i64,
}

impl Change {
    /// The change after one instant and not after another, at most two days later.
    pub fn between(from: i64, to: i64, zone: &impl Zone) -> Option<Self> {
        let (before, after) = (offset(from, zone), offset(to, zone));
        if before == after {
            return None;
        }
        let (mut old, mut new) = (from, to);
        while old.saturating_add(1) < new {
            let middle = old.midpoint(new);
            if offset(middle, zone) == before {
                old = middle;
            } else {
                new = middle;
            }
        }
        Some(Self {
            at: new,
            before,
            after,
        })
    }

    /// The local time that follows the change: the end of the gap, or the start of what is repeated.
    pub fn local(&self) -> i64 {
        self.at.saturating_add(self.after)
    }
}

/// What becomes of a local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instants {
    /// The first instant at which the clocks show it, and the last, which mostly are the same.
    Shown(i64, i64),
    /// They never do, because of this change.
    Skipped(Change),
    /// They never do, and it cannot be told why: a zone that is none.
    Unknown,
}

impl Instants {
    pub fn of(local: i64, zone: &impl Zone) -> Self {
        let guess = zone.instant(local);
        let (day_before, day_after) = (guess.saturating_sub(DAY), guess.saturating_add(DAY));
        let mut shown: Option<(i64, i64)> = None;
        for probe in [day_before, day_after] {
            let candidate = local.saturating_sub(offset(probe, zone));
            if zone.local(candidate) == local {
                shown = Some(shown.map_or((candidate, candidate), |(first, last)| {
                    (first.min(candidate), last.max(candidate))
                }));
            }
        }
        match shown {
            Some((first, last)) => Self::Shown(first, last),
            None => {
                Change::between(day_before, day_after, zone).map_or(Self::Unknown, Self::Skipped)
            }
        }
    }
}

/// The instant at which something runs that is to run once at a local time: the first at which the clocks
/// show it; where they skip it, as much later as they jump.
pub fn run_once(local: i64, zone: &impl Zone) -> i64 {
    match Instants::of(local, zone) {
        Instants::Shown(first, _) => first,
        Instants::Skipped(gap) => local.saturating_sub(gap.before),
        Instants::Unknown => zone.instant(local),
    }
}
