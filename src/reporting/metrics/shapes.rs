//! The keys of the objects that came before, and where the sum of each of them is: most objects have the
//! same keys as one before, and are added without looking at a key.

use crate::postgres::jsonb::Object;
use crate::postgres::memory::{Array, Memory};

/// So many are remembered.
const REMEMBERED: usize = 8;

/// And when there are that many, one in so many others takes the place of one of them: where objects have
/// ever other keys, remembering them would cost more than it saves.
const SELDOM: usize = 16;

/// Instead of a place: a key without a number so far.
pub const NONE: u32 = u32::MAX;

/// A handle, as [`Array`] is.
#[derive(Clone, Copy)]
pub struct Shapes {
    shapes: Array<Shape>,
    /// The one that came last.
    last: usize,
    /// How many objects had another one.
    others: usize,
}

/// What an object says of its keys, and the place of each one's sum.
#[derive(Clone, Copy)]
pub struct Shape {
    mark: u32,
    /// Header and entries as they are stored, then the keys.
    stored: Array<u8>,
    head: usize,
    places: Array<u32>,
}

impl Shapes {
    pub const EMPTY: Self = Self {
        shapes: Array::EMPTY,
        last: 0,
        others: 0,
    };

    /// The one that the object has.
    #[inline(always)]
    pub fn recall(&mut self, object: &Object) -> Option<&mut Shape> {
        let last = self.shapes.get(self.last);
        if !last.is_some_and(|shape| shape.is_of(object)) {
            let mark = object.mark();
            let is_it = |shape: &Shape| shape.mark == mark && shape.is_of(object);
            self.last = self.shapes.iter().position(is_it)?;
        }
        self.shapes.get_mut(self.last)
    }

    /// Begins to remember the object's, whose places are to be put in. None when it is not worth it.
    pub fn remember(&mut self, memory: Memory, object: &Object) -> Option<&mut Array<u32>> {
        self.others += 1;
        if self.shapes.len() < REMEMBERED {
            self.last = self.shapes.len();
            self.shapes.push(memory, Shape::EMPTY);
        } else if self.others.is_multiple_of(SELDOM) {
            self.last = self.others / SELDOM % REMEMBERED;
        } else {
            return None;
        }
        let (head, keys) = object.shape()?;
        let shape = self.shapes.get_mut(self.last)?;
        shape.mark = object.mark();
        shape.head = head.len();
        shape.stored.clear();
        shape.stored.reserve(memory, head.len() + keys.len());
        shape.stored.extend(memory, head);
        shape.stored.extend(memory, keys);
        shape.places.clear();
        shape.places.reserve(memory, object.len());
        Some(&mut shape.places)
    }

    /// The places of the one that came last, to be put in anew.
    pub fn again(&mut self) -> Option<&mut Array<u32>> {
        let shape = self.shapes.get_mut(self.last)?;
        shape.places.clear();
        Some(&mut shape.places)
    }
}

impl Shape {
    const EMPTY: Self = Self {
        mark: 0,
        stored: Array::EMPTY,
        head: 0,
        places: Array::EMPTY,
    };

    #[inline(always)]
    fn is_of(&self, object: &Object) -> bool {
        let (head, keys) = self.stored.split_at(self.head);
        object.has_shape(head, keys)
    }

    /// Bytes that the keys take up.
    #[inline(always)]
    pub fn keys(&self) -> usize {
        self.stored.len() - self.head
    }

    /// The place of the sum of the key of this number, if it has one.
    #[inline(always)]
    pub fn place(&self, key: usize) -> Option<usize> {
        self.places.get(key).map(|place| *place as usize)
    }
}
