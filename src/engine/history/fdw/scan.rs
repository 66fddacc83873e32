//! Reading a compressed partition row by row: its segments and its late rows.

#![expect(unsafe_code, reason = "called by the server's executor")]

use super::super::cursor::{self, Counts, Cursor, Place};
use super::super::layout::Layout;
use super::super::select::Order;
use super::super::store::Store;
use super::late_rows::{LateRows, Request};
use super::parallel::Shared;
use super::reader::Reader;
use crate::error::OrRaise;
<<<<<<< HEAD
use pgrx::PgList;
=======
use gemba_segment::Buffer;
use pgrx::PgMemoryContexts;
>>>>>>> main
use pgrx::prelude::*;

pub fn register(routine: &mut pg_sys::FdwRoutine) {
    routine.BeginForeignScan = Some(begin);
    routine.IterateForeignScan = Some(iterate);
    routine.ReScanForeignScan = Some(rescan);
    routine.EndForeignScan = Some(end);
}

<<<<<<< HEAD
/// A scan under way. It is dropped with the query's memory.
pub struct Scan {
    pub store: Option<Store>,
    pub cursor: Cursor,
    reader: Reader,
    late: Late,
    /// What the reader decides of the conditions, for late rows.
    by_reader: *mut pg_sys::ExprState,
    context: *mut pg_sys::ExprContext,
    snapshot: pg_sys::Snapshot,
    /// With other processes of a parallel query.
    pub shared: Option<Shared>,
=======
/// A scan under way. It lies in the query's memory, and is dropped with it.
struct Scan {
    store: Option<Store>,
    segments: Option<Everything>,
    /// What one segment needs, freed when the next one comes. The server frees it with the query's memory, in which it
    /// lies, so that it is nothing that this could own.
    memory: pg_sys::MemoryContext,
    /// One for each stored column.
    buffers: Vec<Buffer>,
    /// Place in the row, and where its values come from. They borrow from `memory` and `buffers`, and are
    /// dropped before these are used again.
    cells: Vec<(usize, Cells<'static>)>,
    row: usize,
    rows: usize,
    late: Option<Late>,
>>>>>>> main
}

enum Late {
    NotYet,
    Rows(LateRows),
    Ended,
}

/// # Safety
/// The node is one that `begin` prepared.
pub unsafe fn state<'a>(node: *mut pg_sys::ForeignScanState) -> Option<&'a mut Scan> {
    // SAFETY: as the caller says; nothing was prepared for EXPLAIN.
    unsafe { (*node).fdw_state.cast::<Scan>().as_mut() }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn begin(node: *mut pg_sys::ForeignScanState, flags: i32) {
    if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0 {
        return;
    }
    // SAFETY: the executor's own structures; the state is dropped with the query's memory, in which its contexts are.
    unsafe {
        let estate = (*node).ss.ps.state;
        let relation = (*node).ss.ss_currentRelation;
        let layout = Layout::need((*relation).rd_id);
<<<<<<< HEAD
        let plan: *mut pg_sys::ForeignScan = (*node).ss.ps.plan.cast();
        let mut query = PgMemoryContexts::For((*estate).es_query_cxt);
        let scan = query.switch_to(|_| {
            let numbers = PgList::<pg_sys::List>::from_pg((*plan).fdw_private).get_ptr(0);
            let chosen = cursor::chosen(numbers.unwrap_or(std::ptr::null_mut()), (*plan).fdw_exprs);
            let backward = chosen.order == Order::Backward;
            let reader = Reader::new(&layout, &chosen.needed, backward, relation, estate).or_raise();
            let by_reader = if PgList::<()>::from_pg(chosen.by_reader).is_empty() {
                std::ptr::null_mut()
            } else {
                pg_sys::ExecInitQual(chosen.by_reader, &raw mut (*node).ss.ps)
            };
            let context = (*node).ss.ps.ps_ExprContext;
            let snapshot = (*estate).es_snapshot;
            let place = Place {
                context,
                slot: (*node).ss.ss_ScanTupleSlot,
                keys: layout.keys.clone(),
                snapshot,
            };
            let cursor =
                Cursor::begin(layout.clone(), chosen, &raw mut (*node).ss.ps, place).or_raise();
            Scan {
                store: Some(Store::open(layout, pg_sys::AccessShareLock)),
                cursor,
                reader,
                late: Late::NotYet,
                by_reader,
                context,
                snapshot,
                shared: None,
            }
        });
        (*node).fdw_state = query.leak_and_drop_on_delete(scan).cast();
=======
        let stored = layout.stored;
        let store = Store::open(layout, pg_sys::AccessShareLock);
        let scan = Scan {
            store: Some(store),
            segments: None,
            memory: pg_sys::AllocSetContextCreateInternal(
                (*(*node).ss.ps.state).es_query_cxt,
                c"gemba history scan".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            ),
            buffers: (0..stored).map(|_| Buffer::default()).collect(),
            cells: Vec::new(),
            row: 0,
            rows: 0,
            late: None,
        };
        (*node).fdw_state = PgMemoryContexts::For((*(*node).ss.ps.state).es_query_cxt)
            .leak_and_drop_on_delete(scan)
            .cast();
>>>>>>> main
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn iterate(
    node: *mut pg_sys::ForeignScanState,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the slot is of the table's own columns.
    unsafe {
        let slot = (*node).ss.ss_ScanTupleSlot;
<<<<<<< HEAD
        let Some(scan) = state(node) else {
            return pg_sys::ExecClearTuple(slot);
        };
        // The common case first: the next row of the segment at hand.
        if !scan.reader.is_at_end() && !matches!(scan.late, Late::Rows(_)) {
            scan.reader.put(slot, scan.context);
=======
        pg_sys::ExecClearTuple(slot);
        let scan = state(node);
        let snapshot = (*(*node).ss.ps.state).es_snapshot;
        // The executor calls in memory that is freed after each row; what is made here lives as long as the query.
        let row_memory = pg_sys::MemoryContextSwitchTo((*(*node).ss.ps.state).es_query_cxt);
        let filled = loop {
            if scan.row < scan.rows {
                let values = (*slot).tts_values;
                let nulls = (*slot).tts_isnull;
                for (place, cells) in &mut scan.cells {
                    let value = cells.get(scan.row);
                    *nulls.add(*place) = value.is_none();
                    *values.add(*place) = value.unwrap_or(pg_sys::Datum::null());
                }
                scan.row += 1;
                pg_sys::ExecStoreVirtualTuple(slot);
                break slot;
            }
            if !next_segment(scan, snapshot, slot) {
                break next_late(scan, snapshot, slot);
            }
        };
        pg_sys::MemoryContextSwitchTo(row_memory);
        filled
    }
}

/// # Safety
/// As for `iterate`.
unsafe fn next_segment(
    scan: &mut Scan,
    snapshot: pg_sys::Snapshot,
    slot: *mut pg_sys::TupleTableSlot,
) -> bool {
    let Some(store) = &scan.store else {
        return false;
    };
    if scan.late.is_some() {
        return false;
    }
    // SAFETY: cells are dropped before what they borrow from is used again.
    unsafe {
        let segments = scan
            .segments
            .get_or_insert_with(|| Everything::begin(store, snapshot));
        scan.cells.clear();
        pg_sys::MemoryContextReset(scan.memory);
        let Some(stored) = segments.next(store) else {
            return false;
        };
        let buffers = &mut scan.buffers;
        let attributes = store.layout.columns.len();
        std::slice::from_raw_parts_mut((*slot).tts_isnull, attributes).fill(true);
        let cells = PgMemoryContexts::For(scan.memory).switch_to(|_| {
            // It lives as long as the slot in which it is pinned, or this memory.
            let segment: gemba_segment::Segment<'static> =
                std::mem::transmute(stored.open(store).or_raise());
            let mut cells = Vec::with_capacity(buffers.len());
            for (place, column) in store.layout.columns.iter().enumerate() {
                if let (Some(number), Some(shape)) = (column.stored, column.shape) {
                    let buffer: &'static mut Buffer = &mut *(&raw mut buffers[number]);
                    let decoded = segment
                        .decode(number, buffer)
                        .map_err(|damage| super::super::store::damaged(store, &stored, &damage))
                        .or_raise();
                    cells.push((place, Cells::new(shape, decoded)));
                }
            }
            cells
        });
        scan.cells = cells;
        scan.row = 0;
        scan.rows = stored.rows;
    }
    true
}

/// # Safety
/// As for `iterate`.
unsafe fn next_late(
    scan: &mut Scan,
    snapshot: pg_sys::Snapshot,
    slot: *mut pg_sys::TupleTableSlot,
) -> *mut pg_sys::TupleTableSlot {
    let Some(store) = &scan.store else {
        return slot;
    };
    // SAFETY: the late table has the columns of the partition, in their order.
    unsafe {
        let late = scan.late.get_or_insert_with(|| {
            let relation = pg_sys::table_open(
                store.layout.late,
                pg_sys::AccessShareLock as pg_sys::LOCKMODE,
            );
            Late {
                relation,
                scan: pg_sys::table_beginscan(relation, snapshot, 0, std::ptr::null_mut()),
                slot: pg_sys::table_slot_create(relation, std::ptr::null_mut()),
            }
        });
        if !pg_sys::table_scan_getnextslot(
            late.scan,
            pg_sys::ScanDirection::ForwardScanDirection,
            late.slot,
        ) {
>>>>>>> main
            return slot;
        }
        scan.advance(slot);
        slot
    }
}

impl Scan {
    /// Puts the next row into the slot, or leaves it empty.
    ///
    /// # Safety
    /// The slot is the scan's own.
    unsafe fn advance(&mut self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: as the caller says.
        unsafe {
            let ordered = self.cursor.chosen.order != Order::None;
            // In order, late rows come between the others.
            if ordered && matches!(self.late, Late::NotYet) {
                self.begin_late();
                if matches!(self.late, Late::Rows(_)) {
                    self.reader.want_times();
                }
            }
            while self.reader.is_at_end() && self.next_segment() {}
            if matches!(self.late, Late::NotYet) && self.reader.is_at_end() {
                self.begin_late();
            }
            if let Late::Rows(late) = &mut self.late {
                let first = match (self.reader.time(), self.reader.is_at_end()) {
                    (_, true) => true,
                    (None, false) => false,
                    (Some(time), false) => late.peek(slot).is_some_and(|late| {
                        if self.cursor.chosen.order == Order::Backward { late > time } else { late < time }
                    }),
                };
                self.reader.refill();
                if first {
                    if late.put(slot) {
                        self.cursor.counts.late += 1;
                    } else {
                        self.end_late();
                    }
                    return;
                }
            }
            if self.reader.is_at_end() {
                cursor::clear(slot);
            } else {
                self.reader.put(slot, self.context);
            }
        }
    }

    fn next_segment(&mut self) -> bool {
        let Some(store) = &self.store else {
            return false;
        };
        let shared = self.shared.as_ref().map(Shared::table);
        self.reader.clear();
        let Some(stored) = self.cursor.next_from(store, shared) else {
            return false;
        };
        self.reader.load(store, &stored, &mut self.cursor);
        true
    }

    /// # Safety
    /// The scan is under way.
    unsafe fn begin_late(&mut self) {
        let (Some(store), true) = (&self.store, self.shared.as_ref().is_none_or(Shared::takes_late)) else {
            self.late = Late::Ended;
            return;
        };
        let Some(keys) = self.cursor.keys() else {
            self.late = Late::Ended;
            return;
        };
        let chosen = &self.cursor.chosen;
        let indexed = chosen.fixed_keys > 0 || chosen.order != Order::None;
        let backward = chosen.order == Order::Backward;
        let request = Request {
            keys: indexed.then_some(keys),
            range: self.cursor.range(),
            backward,
            snapshot: self.snapshot,
            quals: [self.cursor.once_per_segment(), self.by_reader],
            context: self.context,
        };
        // SAFETY: all of it is the query's.
        let late = unsafe { LateRows::begin(store.layout.clone(), request) };
        if late.is_empty() {
            late.end();
            self.late = Late::Ended;
        } else {
            self.late = Late::Rows(late);
        }
    }

    fn end_late(&mut self) {
        if let Late::Rows(late) = std::mem::replace(&mut self.late, Late::Ended) {
            late.end();
        }
    }

    /// Ends what is under way; it can start again.
    fn finish(&mut self) {
        self.reader.clear();
        self.cursor.rescan();
        self.end_late();
        self.late = Late::NotYet;
    }

    /// What has been read so far, by all processes whose counts are known here.
    pub fn counts(&self) -> Counts {
        let own = self.cursor.counts;
        match &self.shared {
            Some(shared) => shared.counts(own),
            None => own,
        }
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn rescan(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: as above.
    if let Some(scan) = unsafe { state(node) } {
        scan.finish();
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn end(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: as above.
    let Some(scan) = (unsafe { state(node) }) else {
        return;
    };
    scan.finish();
    if let Some(store) = scan.store.take() {
        store.close();
    }
}
