//! The rows of a segment as the server's values.

#![expect(unsafe_code, reason = "lends memory from one segment to the next")]

use super::store::{Store, Stored, damaged};
use super::values::Cells;
use crate::error::Result;
use gemba_segment::{Buffer, Segment};
use pg_sys::Datum;
use pgrx::PgMemoryContexts;
use pgrx::prelude::*;

/// One segment after the other, all its columns decoded.
pub struct Rows {
    /// Borrows from what follows, and is dropped before that is used again.
    cells: Vec<(usize, Cells<'static>)>,
    buffers: Vec<Buffer>,
    memory: PgMemoryContexts,
    values: Vec<Datum>,
    nulls: Vec<bool>,
}

impl Rows {
    pub fn new() -> Self {
        Self {
            cells: Vec::new(),
            buffers: Vec::new(),
            memory: PgMemoryContexts::new("gemba segment rows"),
            values: Vec::new(),
            nulls: Vec::new(),
        }
    }

    /// Decodes a segment; returns how many rows it has.
    ///
    /// # Errors
    /// As those of [`Stored::open`].
    ///
    /// # Safety
    /// The segment's row stays where it is as long as its rows are asked for.
    pub unsafe fn open(&mut self, store: &Store, stored: &Stored) -> Result<usize> {
        self.cells.clear();
        let layout = &store.layout;
        self.values.clear();
        self.values.resize(layout.columns.len(), Datum::null());
        self.nulls.clear();
        self.nulls.resize(layout.columns.len(), true);
        self.buffers.resize_with(layout.stored, Buffer::default);
        let buffers = &mut self.buffers;
        // SAFETY: nothing borrows from memory and buffers any more; what will is dropped first.
        self.cells = unsafe {
            self.memory.reset();
            self.memory.switch_to(|_| -> Result<_> {
                let segment: Segment<'static> = std::mem::transmute(stored.open(store)?);
                let mut cells = Vec::with_capacity(buffers.len());
                for (place, column) in layout.columns.iter().enumerate() {
                    if let (Some(number), Some(shape)) = (column.stored, column.shape) {
                        let buffer: &'static mut Buffer = &mut *buffers.as_mut_ptr().add(number);
                        let decoded = segment
                            .decode(number, buffer)
                            .map_err(|damage| damaged(store, stored, &damage))?;
                        cells.push((place, Cells::new(shape, decoded)));
                    }
                }
                Ok(cells)
            })?
        };
        Ok(stored.rows)
    }

    /// Values and NULLs of the partition's columns; those that segments do not hold are NULL. They live until the next
    /// row is asked for.
    pub fn get(&mut self, row: usize) -> (&[Datum], &[bool]) {
        for (place, cells) in &mut self.cells {
            let value = cells.get(row);
            self.nulls[*place] = value.is_none();
            self.values[*place] = value.unwrap_or(Datum::null());
        }
        (&self.values, &self.nulls)
    }
}
