//! The times and ids of entries: of one process they never go back, ids not even between two rows of one
//! statement, so that the order of ids is the order of changes.

use crate::postgres::time;
use std::cell::Cell;

/// Microseconds from 1970 to 2000, where the server begins to count.
const EPOCH: i64 = 946_684_800_000_000;

/// Rows that one microsecond has ids for; the next one is taken ahead of time when a statement has more.
const COUNTS: u64 = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Last {
    /// When the last entry was made.
    at: i64,
    /// The microsecond that ids are made of, and how many it has given.
    tick: i64,
    count: u64,
    random: u64,
}

thread_local! {
    static LAST: Cell<Last> = const {
        Cell::new(Last { at: i64::MIN, tick: i64::MIN, count: 0, random: 0 })
    };
}

/// The present moment, or that of the last entry if the clock was set back.
pub fn moment() -> i64 {
    let mut last = LAST.get();
    last.at = last.at.max(time::now());
    if last.at > last.tick {
        last.tick = last.at;
        last.count = 0;
    }
    LAST.set(last);
    last.at
}

/// The next id, of [`moment`]'s time.
pub fn next() -> [u8; 16] {
    let mut last = LAST.get();
    if last.random == 0 {
        last.random = seed();
    }
    last.count += 1;
    if last.count == COUNTS {
        last.tick += 1;
        last.count = 0;
    }
    // Xorshift: what other processes make in the same microsecond shall differ, not be unforeseeable.
    last.random ^= last.random << 13;
    last.random ^= last.random >> 7;
    last.random ^= last.random << 17;
    LAST.set(last);
    version_7(last.tick, last.count, last.random)
}

/// A UUID of version 7: milliseconds, the fraction of the millisecond in 12 bits, 20 bits that count, the rest
/// random.
fn version_7(tick: i64, count: u64, random: u64) -> [u8; 16] {
    let micros = tick.saturating_add(EPOCH).max(0) as u64;
    let milliseconds = micros / 1_000;
    let fraction = (micros % 1_000) * 4_096 / 1_000;
    let high = milliseconds << 16 | 0x7000 | fraction;
    let low = 0x8000_0000_0000_0000 | count << 42 | random >> 22;
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library seeds its hashes from the system's random numbers.
    RandomState::new().hash_one(std::process::id()) | 1
}
