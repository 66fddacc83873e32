//! A set of keys in memory of the server's, each with a number: the place at which it was put in.

use crate::postgres::memory::{Array, Memory};
use std::hash::{DefaultHasher, Hasher};

/// So many keys are searched one by one.
const FEW: usize = 16;

/// In the table: nothing is here.
const NONE: u32 = u32::MAX;

/// A handle, as [`Array`] is.
#[derive(Clone, Copy)]
pub struct Keys {
    /// All keys, one after the other, and where each ends.
    bytes: Array<u8>,
    ends: Array<usize>,
    /// Of many keys, the place of each: a hash table with room to spare, whose size is a power of two.
    table: Array<u32>,
}

impl Keys {
    pub const EMPTY: Self = Self {
        bytes: Array::EMPTY,
        ends: Array::EMPTY,
        table: Array::EMPTY,
    };

    /// The key at a place.
    fn get(&self, place: usize) -> Option<&[u8]> {
        let end = *self.ends.get(place)?;
        self.bytes.get(self.start(place)..end)
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map_while(|place| self.get(place))
    }

    /// The place of a key; most probably it is the one that is guessed, or soon after it.
    #[inline(always)]
    pub fn find(&self, key: &[u8], guess: usize) -> Option<usize> {
        let soon = guess.saturating_add(FEW);
        self.search(key, guess, soon).or_else(|| {
            if self.table.is_empty() {
                return self.search(key, 0, guess);
            }
            let place = self.table[self.seat(key)] as usize;
            (place < self.ends.len()).then_some(place)
        })
    }

    /// The place of a key among those between two places.
    #[inline(always)]
    fn search(&self, key: &[u8], from: usize, to: usize) -> Option<usize> {
        let ends = self.ends.get(from..to.min(self.ends.len()))?;
        let mut start = self.start(from);
        let there = ends.iter().position(|&end| {
            let it = end - start == key.len() && self.bytes[start..end] == *key;
            start = end;
            it
        })?;
        Some(from + there)
    }

    /// Where the key at a place begins.
    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Puts a key in that is not there. Returns its place.
    pub fn insert(&mut self, memory: Memory, key: &[u8]) -> usize {
        let place = self.ends.len();
        self.bytes.extend(memory, key);
        self.ends.push(memory, self.bytes.len());
        if self.ends.len() * 2 <= self.table.len() {
            let seat = self.seat(key);
            self.table[seat] = place as u32;
        } else if self.ends.len() > FEW {
            self.seat_all(memory);
        }
        place
    }

    /// Where the key is in the table, or would be.
    fn seat(&self, key: &[u8]) -> usize {
        let mask = self.table.len() - 1;
        let mut seat = hash(key) & mask;
        while let Some(other) = self.get(self.table[seat] as usize)
            && other != key
        {
            seat = (seat + 1) & mask;
        }
        seat
    }

    fn seat_all(&mut self, memory: Memory) {
        let size = (self.ends.len() * 4).next_power_of_two();
        self.table.clear();
        self.table.reserve(memory, size);
        for _ in 0..size {
            self.table.push(memory, NONE);
        }
        for place in 0..self.ends.len() {
            if let Some(seat) = self.get(place).map(|key| self.seat(key)) {
                self.table[seat] = place as u32;
            }
        }
    }
}

fn hash(key: &[u8]) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish() as usize
}
