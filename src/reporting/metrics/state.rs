//! The sums of many objects, in memory of the server's.
//!
//! Objects that follow each other mostly have the same keys. Those of the last one are remembered as they
//! are stored, with the place of each one's sum; an object that has the same is added without looking at a
//! key.

use super::keys::Keys;
use super::{broken, number};
use crate::error::Result;
use crate::postgres::jsonb::{Object, Value, of_numbers};
use crate::postgres::long::{Long, LongSum};
use crate::postgres::memory::{Array, Memory};
use crate::postgres::numeric::Stored;
use gemba_core::metrics::Sum;
use pgrx::pg_sys::Datum;

/// Instead of a place: a key without a number so far.
const NONE: u32 = u32::MAX;

/// Sums by key. A handle, as [`Array`] is.
#[derive(Clone, Copy)]
pub struct State {
    keys: Keys,
    /// A sum for each key.
    sums: Array<Total>,
    /// The last object's keys as they are stored: header and entries, then the keys.
    shape: Array<u8>,
    head: usize,
    /// The place of each of them in the sums.
    places: Array<u32>,
}

#[derive(Clone, Copy)]
struct Total {
    sum: Sum,
    /// What does not fit there.
    rest: LongSum,
}

impl State {
    pub const EMPTY: Self = Self {
        keys: Keys::EMPTY,
        sums: Array::EMPTY,
        shape: Array::EMPTY,
        head: 0,
        places: Array::EMPTY,
    };

    /// Adds an object's numbers.
    ///
    /// # Errors
    /// `22023` when one of its values is neither a number nor null.
    pub fn add(&mut self, memory: Memory, object: &Object) -> Result<()> {
        let (head, keys) = self.shape.split_at(self.head);
        if !object.has_shape(head, keys) {
            self.learn(memory, object)?;
        }
        for (i, value) in object.values(self.shape.len() - self.head).enumerate() {
            match value {
                Value::Number(number) => {
                    if self.total(i).is_none() {
                        self.learn(memory, object)?;
                    }
                    if let Some(total) = self.total(i) {
                        total.add(memory, &number)?;
                    }
                }
                Value::Null => {}
                other => {
                    number(object.keys().nth(i).unwrap_or_default(), other)?;
                }
            }
        }
        Ok(())
    }

    /// The sum of the last object's key.
    #[inline]
    fn total(&mut self, i: usize) -> Option<&mut Total> {
        let place = *self.places.get(i)?;
        self.sums.get_mut(place as usize)
    }

    /// Remembers the object's keys and the places of their sums, which are made for what has a number.
    #[cold]
    fn learn(&mut self, memory: Memory, object: &Object) -> Result<()> {
        let (head, keys) = object.shape().ok_or_else(broken)?;
        self.shape.clear();
        self.shape.extend(memory, head);
        self.shape.extend(memory, keys);
        self.head = head.len();
        self.places.clear();
        let mut next = 0;
        for (key, value) in object.keys().zip(object.values(keys.len())) {
            let place = match (self.keys.find(key, next), number(key, value)?) {
                (None, None) => {
                    self.places.push(memory, NONE);
                    continue;
                }
                (Some(place), _) => place,
                (None, Some(_)) => self.insert(memory, key, Total::NOTHING),
            };
            self.places.push(memory, place as u32);
            next = place + 1;
        }
        Ok(())
    }

    fn insert(&mut self, memory: Memory, key: &[u8], total: Total) -> usize {
        self.sums.push(memory, total);
        self.keys.insert(memory, key)
    }

    /// Adds another state's sums.
    ///
    /// # Errors
    /// `22003` when they are too large for the server.
    pub fn merge(&mut self, memory: Memory, other: &Self) -> Result<()> {
        for (i, (key, theirs)) in other.keys.iter().zip(other.sums.iter()).enumerate() {
            let place = match self.keys.find(key, i) {
                Some(place) => place,
                None => self.insert(memory, key, Total::NOTHING),
            };
            if let Some(ours) = self.sums.get_mut(place) {
                ours.add_sum(memory, theirs.sum)?;
                if let Some(rest) = theirs.rest.get() {
                    ours.rest.add(memory, rest)?;
                }
            }
        }
        Ok(())
    }

    /// The sums as a jsonb.
    ///
    /// # Errors
    /// As for [`Self::merge`].
    pub fn jsonb(&self) -> Result<Datum> {
        let numbers = self
            .keys
            .iter()
            .zip(self.sums.iter())
            .map(|(key, total)| Ok((key, total.number()?)))
            .collect::<Result<_>>()?;
        Ok(of_numbers(numbers))
    }

    /// The sums as bytes that another process makes a state of.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, total) in self.keys.iter().zip(self.sums.iter()) {
            bytes.extend(total.sum.to_bytes());
            for part in [key, total.rest.body()] {
                bytes.extend(part.len().to_ne_bytes());
                bytes.extend(part);
            }
        }
        bytes
    }

    /// The state that these bytes were made of; none when they are not such bytes.
    pub fn from_bytes(memory: Memory, mut bytes: &[u8]) -> Option<Self> {
        let mut state = Self::EMPTY;
        while !bytes.is_empty() {
            let sum = Sum::from_bytes(bytes.split_off(..20)?.first_chunk()?);
            let mut part = || {
                let length = bytes.split_off(..size_of::<usize>())?.first_chunk()?;
                bytes.split_off(..usize::from_ne_bytes(*length))
            };
            let (key, rest) = (part()?, part()?);
            let mut total = Total {
                sum,
                rest: LongSum::NOTHING,
            };
            if !rest.is_empty() {
                total
                    .rest
                    .add(memory, Long::of(&Stored::parse(rest)?))
                    .ok()?;
            }
            state.insert(memory, key, total);
        }
        Some(state)
    }
}

impl Total {
    const NOTHING: Self = Self {
        sum: Sum::ZERO,
        rest: LongSum::NOTHING,
    };

    #[inline]
    fn add(&mut self, memory: Memory, number: &Stored) -> Result<()> {
        match number.sum() {
            Some(sum) => self.add_sum(memory, sum),
            None => self.rest.add(memory, Long::of(number)),
        }
    }

    #[inline]
    fn add_sum(&mut self, memory: Memory, sum: Sum) -> Result<()> {
        self.sum = match self.sum.plus(sum) {
            Some(both) => both,
            // Too far from each other; what comes next is probably more like this one.
            None => {
                self.rest.add(memory, Long::of_sum(self.sum)?)?;
                sum
            }
        };
        Ok(())
    }

    fn number(&self) -> Result<Long> {
        let sum = Long::of_sum(self.sum)?;
        match self.rest.get() {
            Some(rest) => rest.plus(sum),
            None => Ok(sum),
        }
    }
}
