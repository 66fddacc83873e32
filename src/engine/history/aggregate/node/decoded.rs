//! The columns of the segment at hand, each decoded when it is first needed.

#![expect(unsafe_code, reason = "lends memory from one segment to the next")]

use crate::engine::history::store::{self, Store, Stored};
use crate::error::OrRaise;
use gemba_segment::{Buffer, Column, Segment, Values};
use pgrx::prelude::*;

/// A segment's columns, as far as they were needed.
pub struct Decoded {
    pub memory: pg_sys::MemoryContext,
    pub buffers: Vec<Buffer>,
    pub segment: Option<Segment<'static>>,
    pub columns: Vec<Option<Column<'static>>>,
    pub any: bool,
}

impl Decoded {
    pub fn clear(&mut self) {
        self.columns.fill(None);
        self.segment = None;
        self.any = false;
        // SAFETY: nothing refers to it any more.
        unsafe { pg_sys::MemoryContextReset(self.memory) }
    }

    /// # Safety
    /// What the segment borrows is forgotten before the next one is asked for.
    pub unsafe fn open(&mut self, store: &Store, stored: &Stored) {
        if self.segment.is_none() {
            // SAFETY: its bytes are pinned until the next segment is asked for, or copied into this memory; by then
            // it has been forgotten.
            self.segment = Some(unsafe {
                std::mem::transmute::<Segment<'_>, Segment<'static>>(stored.open(store).or_raise())
            });
        }
    }

    /// A column, decoded once for each segment.
    ///
    /// # Safety
    /// As for [`Self::open`].
    pub unsafe fn column(
        &mut self,
        store: &Store,
        stored: &Stored,
        number: usize,
    ) -> Column<'static> {
        const NOTHING: Column<'static> = Column {
            nulls: None,
            values: Values::Nothing,
        };
        if let Some(Some(column)) = self.columns.get(number) {
            return *column;
        }
        // SAFETY: as the caller says.
        unsafe { self.open(store, stored) }
        self.any = true;
        let column = match &self.segment {
            Some(segment) if number < segment.columns() && number < self.buffers.len() => {
                // SAFETY: each column has a buffer of its own, which is used again only when the column is forgotten.
                let buffer: &'static mut Buffer =
                    unsafe { &mut *self.buffers.as_mut_ptr().add(number) };
                segment
                    .decode(number, buffer)
                    .map_err(|damage| store::damaged(store, stored, &damage))
                    .or_raise()
            }
            // Added since.
            _ => NOTHING,
        };
        if let Some(place) = self.columns.get_mut(number) {
            *place = Some(column);
        }
        column
    }
}
