//! Reading a compressed partition row by row: its segments, then its late rows.

#![expect(unsafe_code, reason = "called by the server's executor")]

use super::super::layout::Layout;
use super::super::store::{Everything, Store};
use super::super::values::Cells;
use super::places::{Places, Row};
use crate::error::OrRaise;
use gemba_segment::Buffer;
use pgrx::PgMemoryContexts;
use pgrx::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;

pub fn register(routine: &mut pg_sys::FdwRoutine) {
    routine.BeginForeignScan = Some(begin);
    routine.IterateForeignScan = Some(iterate);
    routine.ReScanForeignScan = Some(rescan);
    routine.EndForeignScan = Some(end);
}

/// Does the query change the rows that this reads?
///
/// # Safety
/// Called with the executor's own node.
unsafe fn changed_by(node: *mut pg_sys::ForeignScanState) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        let plan = (*node).ss.ps.plan.cast::<pg_sys::Scan>();
        pg_sys::ExecRelationIsTargetRelation((*node).ss.ps.state, (*plan).scanrelid)
    }
}

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
    /// What tells rows apart, in a query that changes them.
    places: Option<Rc<RefCell<Places>>>,
    place: usize,
}

struct Late {
    relation: pg_sys::Relation,
    scan: pg_sys::TableScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
}

/// # Safety
/// The node is one that `begin` prepared.
unsafe fn state<'a>(node: *mut pg_sys::ForeignScanState) -> &'a mut Scan {
    // SAFETY: as the caller says.
    unsafe { &mut *(*node).fdw_state.cast::<Scan>() }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn begin(node: *mut pg_sys::ForeignScanState, flags: i32) {
    if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0 {
        return;
    }
    // SAFETY: the executor's own structures; the state is dropped with the query's memory.
    unsafe {
        let relation = (*node).ss.ss_currentRelation;
        let layout = Layout::need((*relation).rd_id);
        let stored = layout.stored;
        let store = Store::open(Rc::clone(&layout), pg_sys::AccessShareLock);
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
            places: changed_by(node).then(|| Places::of((*node).ss.ps.state, &layout)),
            place: 0,
        };
        (*node).fdw_state = PgMemoryContexts::For((*(*node).ss.ps.state).es_query_cxt)
            .leak_and_drop_on_delete(scan)
            .cast();
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn iterate(
    node: *mut pg_sys::ForeignScanState,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the slot is of the table's own descriptor.
    unsafe {
        let slot = (*node).ss.ss_ScanTupleSlot;
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
                pg_sys::ExecStoreVirtualTuple(slot);
                if scan.places.is_some() {
                    let (place, row) = (scan.place, scan.row);
                    (*slot).tts_tid = Row::InSegment { place, row }.tid();
                }
                scan.row += 1;
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
        if let Some(places) = &scan.places {
            scan.place = places.borrow_mut().segment(&stored.tid);
        }
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
            return slot;
        }
        let width = store.layout.columns.len();
        store.layout.of_late(
            late.slot,
            std::slice::from_raw_parts_mut((*slot).tts_values, width),
            std::slice::from_raw_parts_mut((*slot).tts_isnull, width),
        );
        pg_sys::ExecStoreVirtualTuple(slot);
        if scan.places.is_some() {
            (*slot).tts_tid = Row::Late((*late.slot).tts_tid).tid();
        }
        slot
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn rescan(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: as above.
    unsafe { finish(state(node)) }
}

/// # Safety
/// The scan's node is alive.
unsafe fn finish(scan: &mut Scan) {
    scan.cells.clear();
    (scan.row, scan.rows) = (0, 0);
    if let Some(segments) = scan.segments.take() {
        segments.end();
    }
    if let Some(late) = scan.late.take() {
        // SAFETY: used for the last time.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(late.slot);
            pg_sys::table_endscan(late.scan);
            pg_sys::table_close(late.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn end(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: `begin` left nothing for EXPLAIN.
    unsafe {
        if (*node).fdw_state.is_null() {
            return;
        }
        let scan = state(node);
        finish(scan);
        if let Some(store) = scan.store.take() {
            store.close();
        }
    }
}
