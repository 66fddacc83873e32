//! The groups that are open.
//!
//! What tells one from another are the bits of what is grouped by. Values that are equal but look different make
//! several groups of one; the server, which compares them properly, puts them together.

#![expect(unsafe_code, reason = "keeps the server's values")]

use super::tally::Tally;
use crate::engine::history::cursor::memory;
use crate::engine::history::layout::{Layout, Shape};
use crate::postgres::descriptor::{self, storage};
use crate::postgres::varlena;
use pg_sys::Datum;
use pgrx::prelude::*;
use std::collections::HashMap;

/// One group.
pub struct Group {
    /// Of one of its rows.
    pub keys: Vec<Option<Datum>>,
    pub time: i64,
    pub rows: u64,
    pub tallies: Vec<Tally>,
}

pub struct Groups {
    open: HashMap<Box<[u64]>, usize>,
    pub all: Vec<Group>,
    /// Numbers of values that do not fit into 64 bits.
    known: HashMap<Box<[u8]>, u64>,
    /// The keys of the groups.
    memory: pg_sys::MemoryContext,
    works: usize,
}

/// When there are more, they are handed over, and begun anew.
pub const MOST: usize = 8_192;

impl Groups {
    /// Its memory is below the current context.
    pub fn new(works: usize) -> Self {
        Self {
            open: HashMap::new(),
            all: Vec::new(),
            known: HashMap::new(),
            memory: memory(c"gemba history groups"),
            works,
        }
    }

    pub fn is_full(&self) -> bool {
        self.all.len() >= MOST || self.known.len() >= MOST * 4
    }

    pub fn clear(&mut self) {
        self.open.clear();
        self.all.clear();
        self.known.clear();
        // SAFETY: no group refers to it any more.
        unsafe { pg_sys::MemoryContextReset(self.memory) }
    }

    /// What stands for a value, as two numbers.
    ///
    /// # Safety
    /// The datum is of a type that is passed like this.
    pub unsafe fn part(&mut self, value: Option<Datum>, by_value: bool, length: i32) -> [u64; 2] {
        let Some(datum) = value else {
            return [1, 0];
        };
        if by_value {
            return [0, datum.value() as u64];
        }
        // SAFETY: as the caller says.
        let bytes = unsafe {
            match length {
                -1 => varlena::bytes(datum),
                -2 => std::ffi::CStr::from_ptr(datum.cast_mut_ptr()).to_bytes(),
                length => {
                    std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), length.max(0) as usize)
                }
            }
        };
        let next = self.known.len() as u64;
        if let Some(known) = self.known.get(bytes) {
            return [0, *known];
        }
        self.known.insert(bytes.into(), next);
        [0, next]
    }

    /// The group of this identity, made of these keys and this time if it is new.
    ///
    /// # Safety
    /// The keys are of the layout's types.
    pub unsafe fn of(
        &mut self,
        identity: &[u64],
        layout: &Layout,
        keys: &[Option<Datum>],
        time: i64,
    ) -> usize {
        if let Some(&number) = self.open.get(identity) {
            return number;
        }
        let keys = keys
            .iter()
            .zip(&layout.keys)
            .map(|(value, &place)| {
                value.map(|value| {
                    let (by_value, length) = storage(layout.columns[place].type_oid);
                    // SAFETY: as the caller says.
                    unsafe {
                        let before = pg_sys::MemoryContextSwitchTo(self.memory);
                        let copied = if length == -1 {
                            Datum::from(pg_sys::pg_detoast_datum_copy(value.cast_mut_ptr()))
                        } else {
                            descriptor::copy(value, (by_value, length))
                        };
                        pg_sys::MemoryContextSwitchTo(before);
                        copied
                    }
                })
            })
            .collect();
        let number = self.all.len();
        self.all.push(Group {
            keys,
            time,
            rows: 0,
            tallies: vec![Tally::default(); self.works],
        });
        self.open.insert(identity.into(), number);
        number
    }
}

/// Whether values of a key are passed by value, and their length.
pub fn storage_of_key(layout: &Layout, key: usize) -> (bool, i32) {
    let column = &layout.columns[layout.keys[key]];
    match column.shape {
        Some(Shape::Text | Shape::Numeric) => (false, -1),
        _ => storage(column.type_oid),
    }
}
