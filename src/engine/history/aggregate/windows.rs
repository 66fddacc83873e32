//! Where the buckets of time begin and end.
//!
//! Buckets are found once and kept: for each piece of time that was asked for, up to where it is the same bucket.
//! For the server's functions nothing is assumed about their widths: that a function gives the same at both ends of a
//! piece in which no clock is changed says that it does so in between.

#![expect(
    unsafe_code,
    reason = "evaluates the executor's expressions and asks for the server's time zones"
)]

use crate::engine::history::layout::Shape;
use crate::postgres::expression;
use crate::postgres::time::ServerZone;
use gemba_core::calendar::Step;
use pgrx::pg_sys;
use std::collections::BTreeMap;
use std::ffi::CString;

/// Evaluates expressions of the time alone.
pub struct Clock {
    pub context: *mut pg_sys::ExprContext,
    /// A row in which only the time is filled in, and where.
    pub slot: *mut pg_sys::TupleTableSlot,
    pub position: usize,
    pub shape: Shape,
}

impl Clock {
    /// The value at a time as the bits that are passed; none for NULL.
    ///
    /// # Safety
    /// The expression was prepared for the clock's row, and its type is passed by value.
    unsafe fn at(&self, state: *mut pg_sys::ExprState, time: i64) -> Option<u64> {
        // SAFETY: as the caller says; the slot has that place.
        unsafe {
            *(*self.slot).tts_values.add(self.position) = self.shape.datum(time);
            *(*self.slot).tts_isnull.add(self.position) = false;
            (*self.context).ecxt_scantuple = self.slot;
            let value = expression::value(state, self.context).map(|datum| datum.value() as u64);
            pg_sys::MemoryContextReset((*self.context).ecxt_per_tuple_memory);
            value
        }
    }
}

pub enum Source {
    Calendar {
        step: Step,
        zone: ServerZone,
    },
    Asked {
        value: *mut pg_sys::ExprState,
        inner: *mut pg_sys::ExprState,
        zones: Vec<*mut pg_sys::pg_tz>,
        /// The value is of the time's own type, and so may be the bucket's start.
        is_start: bool,
    },
}

/// A bucket, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first time that is not in it; `i64::MAX` stands for all that come.
    pub end: i64,
    /// What tells it from others.
    pub value: Option<u64>,
}

pub struct Windows {
    source: Source,
    known: BTreeMap<i64, Window>,
    width: i64,
}

/// More than any chart shows; beyond that they are forgotten and found again.
const MOST: usize = 100_000;

impl Windows {
    pub fn new(source: Source) -> Self {
        Self {
            source,
            known: BTreeMap::new(),
            width: 0,
        }
    }

    /// The bucket of a time, up to no later than is needed for all times until `last`.
    ///
    /// # Safety
    /// The expressions were prepared for the clock's row.
    pub unsafe fn of(&mut self, clock: &Clock, time: i64, last: i64) -> Window {
        if let Some((_, window)) = self.known.range(..=time).next_back()
            && time < window.end
        {
            return *window;
        }
        // SAFETY: as the caller says.
        let (from, window) = unsafe { self.find(clock, time, last) };
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(from, window);
        window
    }

    unsafe fn find(&mut self, clock: &Clock, time: i64, last: i64) -> (i64, Window) {
        let (value, inner, zones, is_start) = match &self.source {
            Source::Calendar { .. } if time == i64::MIN || time == i64::MAX => {
                let value = Some(time as u64);
                return (
                    time,
                    Window {
                        end: time.saturating_add(1),
                        value,
                    },
                );
            }
            Source::Calendar { step, zone } => {
                let from = step.floor(time, zone);
                let window = Window {
                    end: step.next(time, zone),
                    value: Some(from as u64),
                };
                return (from, window);
            }
            Source::Asked {
                value,
                inner,
                zones,
                is_start,
            } => (*value, *inner, zones, *is_start),
        };
        // SAFETY: as the caller says.
        unsafe {
            let here = clock.at(value, time);
            let same = clock.at(inner, time);
            let steady_until = |time: i64| {
                zones
                    .iter()
                    .map(|&zone| next_change(zone, time))
                    .min()
                    .unwrap_or(i64::MAX)
            };
            let limit = steady_until(time);
            let mut from = time;
            if let (true, Some(start)) = (is_start, here) {
                let start = clock.shape.int(pg_sys::Datum::from(start as usize));
                if start < time && steady_until(start) > time && clock.at(inner, start) == same {
                    from = start;
                }
            }
            let until = last.saturating_add(1).min(limit);
            // Nothing later than what was asked for is looked at.
            let guess = from.saturating_add(self.width);
            let end = if until <= time.saturating_add(1) || clock.at(inner, until - 1) == same {
                until
            } else if self.width > 0
                && guess > time
                && guess < until
                && clock.at(inner, guess - 1) == same
                && clock.at(inner, guess) != same
            {
                guess
            } else {
                let (mut inside, mut outside) = (time, until - 1);
                while outside - inside > 1 {
                    let middle = inside + (outside - inside) / 2;
                    if clock.at(inner, middle) == same {
                        inside = middle;
                    } else {
                        outside = middle;
                    }
                }
                outside
            };
            if end < until {
                self.width = end - from;
            }
            (
                from,
                Window {
                    end: end.max(time.saturating_add(1)),
                    value: here,
                },
            )
        }
    }
}

/// Seconds from 1970, from which the zones count, to 2000.
const EPOCH: i64 = 946_684_800;
const SECOND: i64 = 1_000_000;

/// When the clocks of a zone are changed next.
fn next_change(zone: *mut pg_sys::pg_tz, time: i64) -> i64 {
    let seconds = time.div_euclid(SECOND) + EPOCH;
    let (mut before, mut before_summer, mut after, mut after_summer) = (0, 0, 0, 0);
    let mut boundary = 0;
    // SAFETY: the zone is one of the server's, and the rest are out-pointers.
    let found = unsafe {
        pg_sys::pg_next_dst_boundary(
            &raw const seconds,
            &raw mut before,
            &raw mut before_summer,
            &raw mut boundary,
            &raw mut after,
            &raw mut after_summer,
            zone,
        )
    };
    match found {
        0 => i64::MAX,
        1 => (boundary - EPOCH).saturating_mul(SECOND),
        // Unknown: row by row.
        _ => time.saturating_add(1),
    }
}

/// A zone by a name of the tz database, which the server understands as nothing else; none for abbreviations and
/// offsets. Of UTC there is nothing to know.
pub enum Named {
    Utc,
    Zone(*mut pg_sys::pg_tz),
    Unknown,
}

pub fn zone(name: &str) -> Named {
    if ServerZone::trusted(name).is_utc() {
        return Named::Utc;
    }
    if !name.contains('/') {
        return Named::Unknown;
    }
    let Ok(name) = CString::new(name) else {
        return Named::Unknown;
    };
    // SAFETY: a string that ends; the server keeps zones for ever.
    let zone = unsafe { pg_sys::pg_tzset(name.as_ptr()) };
    if zone.is_null() {
        Named::Unknown
    } else {
        Named::Zone(zone)
    }
}
