//! One segment after the other becomes rows.

#![expect(unsafe_code, reason = "fills the executor's rows")]

use super::super::cursor::{Cursor, memory};
use super::super::filter::{Rows, Verdict};
use super::super::layout::{Layout, Shape};
use super::super::select::columns_of;
use super::super::store::{self, Store, Stored};
use super::super::values::Cells;
use crate::error::{Error, OrRaise};
use crate::postgres::expression;
use gemba_segment::{Buffer, Column, Segment, Values};
use pg_sys::Datum;
use pgrx::prelude::*;

/// A column that is computed from others: its place, and how.
struct Generated {
    place: usize,
    state: *mut pg_sys::ExprState,
}

/// The segment at hand. What its values borrow from (`memory`, `buffers`) outlives them: they are forgotten before
/// either is used for the next one.
pub struct Reader {
    needed: Vec<(usize, usize, Shape)>,
    generated: Vec<Generated>,
    /// Merging with late rows needs each row's time.
    times_wanted: bool,
    order: (usize, Shape),
    backward: bool,
    /// What one segment needs.
    memory: pg_sys::MemoryContext,
    /// One for each stored column.
    buffers: Vec<Buffer>,
    decoded: Vec<Option<Column<'static>>>,
    /// Values that are the same in all rows of the segment.
    fixed: Vec<(usize, Option<Datum>)>,
    cells: Vec<(usize, Cells<'static>)>,
    refill: bool,
    rows: Rows,
    next: usize,
}

impl Reader {
    /// `needed` are places of columns whose values are wanted.
    ///
    /// # Errors
    /// `0A000` where a column that was added later must not be NULL.
    ///
    /// # Safety
    /// Called when a scan begins, in the query's memory.
    pub unsafe fn new(
        layout: &Layout,
        needed: &[usize],
        backward: bool,
        relation: pg_sys::Relation,
        estate: *mut pg_sys::EState,
    ) -> Result<Self, Error> {
        let mut places: Vec<usize> = needed.to_vec();
        let mut generated = Vec::new();
        for &place in needed {
            let Some(column) = layout.columns.get(place) else {
                continue;
            };
            if column.stored.is_some() || column.dropped {
                continue;
            }
            if column.generated {
                // SAFETY: the table has an expression for such a column; only base columns are in it.
                unsafe {
                    let expression = pg_sys::build_column_default(relation, place as i32 + 1);
                    if expression.is_null() {
                        continue;
                    }
                    for number in columns_of(expression, 1) {
                        if let Ok(place) = usize::try_from(number - 1) {
                            places.push(place);
                        }
                    }
                    generated.push(Generated {
                        place,
                        state: pg_sys::ExecPrepareExpr(expression.cast(), estate),
                    });
                }
            } else if column.not_null {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "a column that must not be NULL was added after the partition was compressed",
                )
                .detail(format!("column {:?}", column.name))
                .hint("allow NULL: ALTER TABLE ... ALTER COLUMN ... DROP NOT NULL"));
            }
        }
        places.sort_unstable();
        places.dedup();
        let needed = places
            .into_iter()
            .filter_map(|place| {
                let column = layout.columns.get(place)?;
                Some((place, column.stored?, column.shape?))
            })
            .collect();
        Ok(Self {
            needed,
            generated,
            times_wanted: false,
            order: (
                layout.columns[layout.order].stored.unwrap_or(0),
                layout.order_shape(),
            ),
            backward,
            memory: memory(c"gemba history segment"),
            buffers: (0..layout.stored).map(|_| Buffer::default()).collect(),
            decoded: vec![None; layout.stored],
            fixed: Vec::new(),
            cells: Vec::new(),
            refill: false,
            rows: Rows::default(),
            next: 0,
        })
    }

    /// From the next segment on each row's time is known.
    pub fn want_times(&mut self) {
        self.times_wanted = true;
    }

    /// Forgets the segment at hand.
    pub fn clear(&mut self) {
        self.cells.clear();
        self.fixed.clear();
        self.decoded.fill(None);
        self.rows.reset(0..0);
        self.next = 0;
        // SAFETY: nothing refers to it any more.
        unsafe { pg_sys::MemoryContextReset(self.memory) }
    }

    /// Takes the rows of a segment that pass. Nothing is decoded that no row needs.
    pub fn load(&mut self, store: &Store, stored: &Stored, cursor: &mut Cursor) {
        self.clear();
        // SAFETY: what is made for the segment is in its memory.
        let before = unsafe { pg_sys::MemoryContextSwitchTo(self.memory) };
        self.take(store, stored, cursor);
        // SAFETY: as it was.
        unsafe { pg_sys::MemoryContextSwitchTo(before) };
    }

    fn take(&mut self, store: &Store, stored: &Stored, cursor: &mut Cursor) {
        let range = cursor.range();
        let covered = range.covers(stored.first, stored.last);
        if covered && cursor.filters().is_empty() && self.needed.is_empty() && !self.times_wanted {
            cursor.counts.read += 1;
            self.rows.reset(0..stored.rows);
            // A row of nothing but NULL: the server may make a tuple of it.
            self.refill = true;
            return;
        }
        // SAFETY: the bytes are pinned until the next segment is asked for, or copied into this memory; by then
        // all that borrows from them has been forgotten.
        let segment: Segment<'static> =
            unsafe { std::mem::transmute(stored.open(store).or_raise()) };
        let verdict = cursor.verdict(&segment);
        if verdict == Verdict::No {
            cursor.counts.skipped += 1;
            return;
        }
        cursor.counts.read += 1;
        let mut rows = std::mem::take(&mut self.rows);
        if covered {
            rows.reset(0..stored.rows);
        } else {
            let times = self.decode(store, stored, &segment, self.order.0);
            rows.reset(range.rows(&times, stored.rows));
        }
        if verdict == Verdict::Maybe {
            for filter in cursor.filters() {
                let head = super::super::cursor::stats(&segment, filter.stored);
                if !rows.is_empty() && filter.head(&head, stored.rows) != Verdict::Yes {
                    let column = self.decode(store, stored, &segment, filter.stored);
                    filter.keep(&column, &mut rows);
                }
            }
        }
        self.rows = rows;
        if self.rows.is_empty() {
            return;
        }
        if self.times_wanted {
            self.decode(store, stored, &segment, self.order.0);
        }
        for number in 0..self.needed.len() {
            let (place, column, shape) = self.needed[number];
            let decoded = self.decode(store, stored, &segment, column);
            let mut cells = Cells::new(shape, decoded);
            match (decoded.values, decoded.nulls) {
                (Values::Nothing, _) => self.fixed.push((place, None)),
                (Values::Constant(_), None) => self.fixed.push((place, cells.get(0))),
                _ => self.cells.push((place, cells)),
            }
        }
        self.refill = true;
    }

    /// A column, decoded once for each segment.
    fn decode(
        &mut self,
        store: &Store,
        stored: &Stored,
        segment: &Segment<'static>,
        number: usize,
    ) -> Column<'static> {
        if let Some(column) = self.decoded[number] {
            return column;
        }
        let column = if number < segment.columns() {
            // SAFETY: each column has a buffer of its own, which is used again only after `clear`.
            let buffer: &'static mut Buffer =
                unsafe { &mut *self.buffers.as_mut_ptr().add(number) };
            segment
                .decode(number, buffer)
                .map_err(|damage| store::damaged(store, stored, &damage))
                .or_raise()
        } else {
            Column {
                nulls: None,
                values: Values::Nothing,
            }
        };
        self.decoded[number] = Some(column);
        column
    }

    #[inline(always)]
    pub fn is_at_end(&self) -> bool {
        self.next >= self.rows.len()
    }

    #[inline(always)]
    fn row(&self) -> usize {
        let position = if self.backward {
            self.rows.len() - 1 - self.next
        } else {
            self.next
        };
        self.rows.at(position)
    }

    /// The time of the row that comes next, if times are wanted and one does.
    pub fn time(&self) -> Option<i64> {
        if self.is_at_end() {
            return None;
        }
        match self.decoded[self.order.0]?.values {
            Values::Ints(times) => times.get(self.row()).copied(),
            Values::Constant(gemba_segment::Scalar::Int(time)) => Some(time),
            _ => None,
        }
    }

    /// The next rows go into a slot that somebody else has written to.
    pub fn refill(&mut self) {
        self.refill = true;
    }

    /// Puts the next row into the slot; returns its number in the segment.
    ///
    /// # Safety
    /// There is one; the slot is virtual and of the table's columns.
    #[inline(always)]
    pub unsafe fn put(
        &mut self,
        slot: *mut pg_sys::TupleTableSlot,
        context: *mut pg_sys::ExprContext,
    ) -> usize {
        let row = self.row();
        self.next += 1;
        // SAFETY: as the caller says. A virtual row is stored by saying so: what the server's functions do
        // for that, without what it takes to call them.
        unsafe {
            let slot = &mut *slot;
            if self.refill || u32::from(slot.tts_flags) & pg_sys::TTS_FLAG_SHOULDFREE != 0 {
                self.fill(slot);
            }
            for (place, cells) in &mut self.cells {
                let value = cells.get(row);
                *slot.tts_isnull.add(*place) = value.is_none();
                *slot.tts_values.add(*place) = value.unwrap_or(Datum::null());
            }
            slot.tts_flags &= !(pg_sys::TTS_FLAG_EMPTY as u16);
            slot.tts_nvalid = (*slot.tts_tupleDescriptor).natts as i16;
            if !self.generated.is_empty() {
                self.compute(slot, context);
            }
        }
        row
    }

    /// # Safety
    /// As for [`Self::put`].
    #[cold]
    unsafe fn fill(&mut self, slot: &mut pg_sys::TupleTableSlot) {
        // SAFETY: as the caller says.
        unsafe {
            super::super::cursor::clear(slot);
            for (place, value) in &self.fixed {
                *slot.tts_isnull.add(*place) = value.is_none();
                *slot.tts_values.add(*place) = value.unwrap_or(Datum::null());
            }
        }
        self.refill = false;
    }

    /// # Safety
    /// As for [`Self::put`].
    unsafe fn compute(&self, slot: *mut pg_sys::TupleTableSlot, context: *mut pg_sys::ExprContext) {
        // SAFETY: the row has all columns that the expressions are on.
        unsafe {
            (*context).ecxt_scantuple = slot;
            for generated in &self.generated {
                let value = expression::value(generated.state, context);
                *(*slot).tts_isnull.add(generated.place) = value.is_none();
                *(*slot).tts_values.add(generated.place) = value.unwrap_or(Datum::null());
            }
        }
    }
}
