//! The sums of many objects, in memory of the server's.

use super::keys::Keys;
use super::no_number;
use super::shapes::{NONE, Shapes};
use crate::error::Result;
use crate::postgres::jsonb::{Object, Value, of_numbers};
use crate::postgres::long::{Long, LongSum};
use crate::postgres::memory::{Array, Memory};
use crate::postgres::numeric::Stored;
use gemba_core::metrics::Sum;
use pgrx::pg_sys::Datum;

/// Sums by key. A handle, as [`Array`] is.
#[derive(Clone, Copy)]
pub struct State {
    keys: Keys,
    /// A sum for each key.
    sums: Array<Total>,
    shapes: Shapes,
}

#[derive(Clone, Copy)]
struct Total {
    sum: Packed,
    /// What does not fit there.
    rest: LongSum,
}

/// A sum in memory of the server's, which is aligned to eight bytes and not to sixteen.
#[derive(Clone, Copy)]
#[repr(C, packed(8))]
struct Packed(Sum);

impl State {
    pub const EMPTY: Self = Self {
        keys: Keys::EMPTY,
        sums: Array::EMPTY,
        shapes: Shapes::EMPTY,
    };

    /// Adds an object's numbers.
    ///
    /// # Errors
    /// `22023` when one of its values is neither a number nor null.
    pub fn add(&mut self, memory: Memory, object: &Object) -> Result<()> {
        let Some(shape) = self.shapes.recall(object) else {
            return self.add_by_key(memory, object);
        };
        for (i, value) in object.values(shape.keys()).enumerate() {
            match value {
                Value::Number(number) => {
                    match shape.place(i).and_then(|place| self.sums.get_mut(place)) {
                        Some(total) => total.add(memory, number)?,
                        None => return self.add_from(memory, object, i),
                    }
                }
                Value::Null => {}
                other => return Err(no_number(object.key(i).unwrap_or_default(), other)),
            }
        }
        Ok(())
    }

    /// The same for one whose shape is not remembered yet.
    fn add_by_key(&mut self, memory: Memory, object: &Object) -> Result<()> {
        let places = self.shapes.remember(memory, object);
        add(&mut self.keys, &mut self.sums, memory, object, 0, places)
    }

    /// The same from a key on that is remembered without a sum.
    #[cold]
    fn add_from(&mut self, memory: Memory, object: &Object, first: usize) -> Result<()> {
        let places = self.shapes.again();
        add(
            &mut self.keys,
            &mut self.sums,
            memory,
            object,
            first,
            places,
        )
    }

    /// Adds another state's sums.
    ///
    /// # Errors
    /// `22003` when they are too large for the server.
    pub fn merge(&mut self, memory: Memory, other: &Self) -> Result<()> {
        for (i, (key, theirs)) in other.keys.iter().zip(other.sums.iter()).enumerate() {
            let place = match self.keys.find(key, i) {
                Some(place) => place,
                None => insert(&mut self.keys, &mut self.sums, memory, key),
            };
            if let Some(ours) = self.sums.get_mut(place) {
                ours.add_sum(memory, theirs.sum.0)?;
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
            bytes.extend(total.sum.0.to_bytes());
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
                sum: Packed(sum),
                rest: LongSum::NOTHING,
            };
            if !rest.is_empty() {
                total
                    .rest
                    .add(memory, Long::of(Stored::finite(rest)?))
                    .ok()?;
            }
            state.keys.insert(memory, key);
            state.sums.push(memory, total);
        }
        Some(state)
    }
}

/// Adds an object's numbers to the sums of its keys, from the `first` on; those that have a number are put
/// in where they are missing. Notes the place of each.
#[inline(never)]
fn add(
    keys: &mut Keys,
    sums: &mut Array<Total>,
    memory: Memory,
    object: &Object,
    first: usize,
    mut places: Option<&mut Array<u32>>,
) -> Result<()> {
    let mut guess = 0;
    object.each(|i, key, value| {
        let found = keys.find(key, guess);
        let place = match value {
            Value::Number(number) => {
                let place = found.unwrap_or_else(|| insert(keys, sums, memory, key));
                if i >= first
                    && let Some(total) = sums.get_mut(place)
                {
                    total.add(memory, number)?;
                }
                Some(place)
            }
            Value::Null => found,
            other => return Err(no_number(key, other)),
        };
        if let Some(places) = &mut places {
            places.push(memory, place.map_or(NONE, |place| place as u32));
        }
        guess = place.map_or(guess, |place| place + 1);
        Ok(())
    })
}

/// A sum for a key that has none.
fn insert(keys: &mut Keys, sums: &mut Array<Total>, memory: Memory, key: &[u8]) -> usize {
    sums.push(memory, Total::NOTHING);
    keys.insert(memory, key)
}

impl Total {
    const NOTHING: Self = Self {
        sum: Packed(Sum::ZERO),
        rest: LongSum::NOTHING,
    };

    #[inline(always)]
    fn add(&mut self, memory: Memory, number: Stored) -> Result<()> {
        match number.sum() {
            Some(sum) => self.add_sum(memory, sum),
            None => self.rest.add(memory, Long::of(number)),
        }
    }

    #[inline(always)]
    fn add_sum(&mut self, memory: Memory, sum: Sum) -> Result<()> {
        self.sum = Packed(match self.sum.0.plus(sum) {
            Some(both) => both,
            // Too far from each other; what comes next is probably more like this one.
            None => {
                self.rest.add(memory, Long::of_sum(self.sum.0)?)?;
                sum
            }
        });
        Ok(())
    }

    fn number(&self) -> Result<Long> {
        let sum = Long::of_sum(self.sum.0)?;
        match self.rest.get() {
            Some(rest) => rest.plus(sum),
            None => Ok(sum),
        }
    }
}
