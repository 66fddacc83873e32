//! ANALYZE: how many rows there are, exactly, and some of them from all over the partition.

#![expect(unsafe_code, reason = "called by the server")]

use super::super::cursor::memory;
use super::super::layout::Layout;
use super::super::store::{Everything, Store, Stored, damaged};
use super::super::values::Cells;
use crate::error::{OrRaise, Result};
use crate::postgres::expression;
use gemba_segment::Buffer;
use pg_sys::Datum;
use pgrx::prelude::*;

pub fn register(routine: &mut pg_sys::FdwRoutine) {
    routine.AnalyzeForeignTable = Some(analyze);
}

/// # Safety
/// Called by ANALYZE.
#[pg_guard]
unsafe extern "C-unwind" fn analyze(
    relation: pg_sys::Relation,
    function: *mut pg_sys::AcquireSampleRowsFunc,
    pages: *mut pg_sys::BlockNumber,
) -> bool {
    // SAFETY: the server's own pointers.
    unsafe {
        let store = Store::open(Layout::need((*relation).rd_id), pg_sys::AccessShareLock);
        *pages = pg_sys::RelationGetNumberOfBlocksInFork(
            store.relation,
            pg_sys::ForkNumber::MAIN_FORKNUM,
        );
        store.close();
        *function = Some(sample);
    }
    true
}

/// # Safety
/// Called by ANALYZE, with room for so many rows.
#[pg_guard]
unsafe extern "C-unwind" fn sample(
    relation: pg_sys::Relation,
    _level: i32,
    rows: *mut pg_sys::HeapTuple,
    wanted: i32,
    total: *mut f64,
    dead: *mut f64,
) -> i32 {
    // SAFETY: as the caller says.
    unsafe {
        let layout = Layout::need((*relation).rd_id);
        let store = Store::open(layout, pg_sys::AccessShareLock);
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
        let mut sample = Sample::new(&store, relation, rows, wanted.max(0) as u64);
        sample.count(&store, snapshot);
        sample.take(&store, snapshot).or_raise();
        *total = sample.total as f64;
        *dead = 0.0;
        let taken = sample.taken;
        sample.end();
        pg_sys::UnregisterSnapshot(snapshot);
        store.close();
        taken as i32
    }
}

struct Sample<'s> {
    store: &'s Store,
    descriptor: pg_sys::TupleDesc,
    rows: *mut pg_sys::HeapTuple,
    wanted: u64,
    taken: u64,
    total: u64,
    random: u64,
    /// The next row to be taken, counted from the first, and how many have been passed.
    next: u64,
    passed: u64,
    memory: pg_sys::MemoryContext,
    generated: Vec<(usize, *mut pg_sys::ExprState)>,
    estate: *mut pg_sys::EState,
    slot: *mut pg_sys::TupleTableSlot,
}

impl<'s> Sample<'s> {
    /// # Safety
    /// There is room for so many rows.
    unsafe fn new(
        store: &'s Store,
        relation: pg_sys::Relation,
        rows: *mut pg_sys::HeapTuple,
        wanted: u64,
    ) -> Self {
        // SAFETY: the relation is open.
        unsafe {
            let estate = pg_sys::CreateExecutorState();
            let generated = store
                .layout
                .columns
                .iter()
                .enumerate()
                .filter(|(_, column)| column.generated && !column.dropped)
                .map(|(place, _)| {
                    (
                        place,
                        pg_sys::build_column_default(relation, place as i32 + 1),
                    )
                })
                .filter(|(_, expression)| !expression.is_null())
                .map(|(place, expression)| {
                    (place, pg_sys::ExecPrepareExpr(expression.cast(), estate))
                })
                .collect();
            Self {
                store,
                descriptor: (*relation).rd_att,
                rows,
                wanted,
                taken: 0,
                total: 0,
                random: 0x9E37_79B9_7F4A_7C15,
                next: 0,
                passed: 0,
                memory: memory(c"gemba history sample"),
                generated,
                estate,
                slot: pg_sys::MakeSingleTupleTableSlot(
                    (*relation).rd_att,
                    &raw const pg_sys::TTSOpsVirtual,
                ),
            }
        }
    }

    /// # Safety
    /// The snapshot is registered.
    unsafe fn count(&mut self, store: &Store, snapshot: pg_sys::Snapshot) {
        // SAFETY: as the caller says.
        unsafe {
            let mut all = Everything::begin(store, snapshot);
            while let Some(stored) = all.next(store) {
                self.total += stored.rows as u64;
            }
            all.end();
            self.each_late(snapshot, |sample, _, _| sample.total += 1);
        }
        self.wanted = self.wanted.min(self.total);
        self.choose();
    }

    /// One row out of each of as many equal parts as rows are wanted: all over the partition, and no row twice.
    fn choose(&mut self) {
        // xorshift: enough to stay out of step with whatever repeats in the data.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let (total, wanted) = (u128::from(self.total), u128::from(self.wanted.max(1)));
        let start = u128::from(self.taken) * total / wanted;
        let end = (u128::from(self.taken) + 1) * total / wanted;
        let within = u128::from(self.random) % (end - start).max(1);
        self.next = (start + within) as u64;
    }

    /// # Safety
    /// As for [`Self::count`].
    unsafe fn take(&mut self, store: &Store, snapshot: pg_sys::Snapshot) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe {
            let mut buffers: Vec<Buffer> = (0..store.layout.stored)
                .map(|_| Buffer::default())
                .collect();
            let mut all = Everything::begin(store, snapshot);
            while let Some(stored) = all.next(store) {
                pg_sys::vacuum_delay_point(
                    #[cfg(feature = "pg18")]
                    true,
                );
                let end = self.passed + stored.rows as u64;
                if self.taken < self.wanted && self.next < end {
                    let before = pg_sys::MemoryContextSwitchTo(self.memory);
                    let done = self.take_from(store, &stored, &mut buffers, before);
                    pg_sys::MemoryContextSwitchTo(before);
                    pg_sys::MemoryContextReset(self.memory);
                    done?;
                }
                self.passed = end;
            }
            all.end();
            let places: Vec<_> = store
                .layout
                .columns
                .iter()
                .map(|column| column.late)
                .collect();
            self.each_late(snapshot, |sample, values, nulls| {
                if sample.taken < sample.wanted && sample.next == sample.passed {
                    super::super::cursor::clear(sample.slot);
                    for (place, from) in places.iter().enumerate() {
                        if let Some(from) = from.filter(|&from| from < values.len()) {
                            *(*sample.slot).tts_values.add(place) = values[from];
                            *(*sample.slot).tts_isnull.add(place) = nulls[from];
                        }
                    }
                    sample.keep();
                }
                sample.passed += 1;
            });
        }
        Ok(())
    }

    /// # Safety
    /// As for [`Self::count`]; called in memory that is freed after each segment.
    unsafe fn take_from(
        &mut self,
        store: &Store,
        stored: &Stored,
        buffers: &mut [Buffer],
        outside: pg_sys::MemoryContext,
    ) -> Result<()> {
        let segment = stored.open(store)?;
        let mut cells = Vec::new();
        for (place, column) in store.layout.columns.iter().enumerate() {
            if let (Some(number), Some(shape)) = (column.stored, column.shape)
                && number < segment.columns()
            {
                cells.push((place, number, shape));
            }
        }
        let mut decoded = Vec::with_capacity(cells.len());
        let mut rest: Vec<_> = buffers.iter_mut().enumerate().collect();
        for (place, number, shape) in cells {
            let Some(at) = rest.iter().position(|(buffer, _)| *buffer == number) else {
                continue;
            };
            let (_, buffer) = rest.swap_remove(at);
            let column = segment
                .decode(number, buffer)
                .map_err(|damage| damaged(store, stored, &damage))?;
            decoded.push((place, Cells::new(shape, column)));
        }
        let end = self.passed + stored.rows as u64;
        // SAFETY: the slot has the columns of the layout.
        unsafe {
            while self.taken < self.wanted && self.next < end {
                let row = (self.next - self.passed) as usize;
                super::super::cursor::clear(self.slot);
                for (place, cells) in &mut decoded {
                    let value = cells.get(row);
                    *(*self.slot).tts_isnull.add(*place) = value.is_none();
                    *(*self.slot).tts_values.add(*place) = value.unwrap_or(Datum::null());
                }
                let inside = pg_sys::MemoryContextSwitchTo(outside);
                self.keep();
                pg_sys::MemoryContextSwitchTo(inside);
            }
        }
        Ok(())
    }

    /// Keeps the row in the slot, and chooses the next one.
    ///
    /// # Safety
    /// The slot holds the values of a row; called in the memory that rows are kept in.
    unsafe fn keep(&mut self) {
        // SAFETY: as the caller says.
        unsafe {
            pg_sys::ExecStoreVirtualTuple(self.slot);
            if !self.generated.is_empty() {
                let context = pg_sys::MakePerTupleExprContext(self.estate);
                (*context).ecxt_scantuple = self.slot;
                for &(place, state) in &self.generated {
                    let value = expression::value(state, context);
                    *(*self.slot).tts_isnull.add(place) = value.is_none();
                    *(*self.slot).tts_values.add(place) = value.unwrap_or(Datum::null());
                }
            }
            let tuple = pg_sys::heap_form_tuple(
                self.descriptor,
                (*self.slot).tts_values,
                (*self.slot).tts_isnull,
            );
            *self.rows.add(self.taken as usize) = tuple;
            if !(*self.estate).es_per_tuple_exprcontext.is_null() {
                pg_sys::MemoryContextReset(
                    (*(*self.estate).es_per_tuple_exprcontext).ecxt_per_tuple_memory,
                );
            }
        }
        self.taken += 1;
        self.choose();
    }

    /// # Safety
    /// As for [`Self::count`].
    unsafe fn each_late(
        &mut self,
        snapshot: pg_sys::Snapshot,
        mut row: impl FnMut(&mut Self, &[Datum], &[bool]),
    ) {
        // SAFETY: as the caller says; the tuple stays pinned until the next one.
        unsafe {
            let relation = pg_sys::table_open(
                self.store.layout.late,
                pg_sys::AccessShareLock as pg_sys::LOCKMODE,
            );
            let columns = (*(*relation).rd_att).natts as usize;
            let (mut values, mut nulls) = (vec![Datum::null(); columns], vec![true; columns]);
            let scan = pg_sys::table_beginscan(relation, snapshot, 0, std::ptr::null_mut());
            let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            while pg_sys::table_scan_getnextslot(scan, forward, slot) {
                let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, std::ptr::null_mut());
                pg_sys::heap_deform_tuple(
                    tuple,
                    (*relation).rd_att,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                );
                row(self, &values, &nulls);
            }
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::table_endscan(scan);
            pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }

    fn end(self) {
        // SAFETY: used for the last time.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::FreeExecutorState(self.estate);
            pg_sys::MemoryContextDelete(self.memory);
        }
    }
}
