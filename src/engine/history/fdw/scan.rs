//! Reading a compressed partition row by row: its segments and its late rows.

#![expect(unsafe_code, reason = "called by the server's executor")]

use super::super::cursor::{self, Counts, Cursor, Place};
use super::super::layout::Layout;
use super::super::select::Order;
use super::super::store::Store;
use super::late_rows::{LateRows, Request};
use super::parallel::Shared;
use super::places::{Places, Row, place};
use super::reader::Reader;
use crate::error::{Error, OrRaise, Result};
use crate::postgres::relation;
use pgrx::prelude::*;
use pgrx::{PgList, PgMemoryContexts};
use std::cell::RefCell;
use std::rc::Rc;

pub fn register(routine: &mut pg_sys::FdwRoutine) {
    routine.BeginForeignScan = Some(begin);
    routine.IterateForeignScan = Some(iterate);
    routine.ReScanForeignScan = Some(rescan);
    routine.EndForeignScan = Some(end);
}

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
    /// What tells rows apart, in a query that changes them, and the number of the segment at hand.
    places: Option<Rc<RefCell<Places>>>,
    place: Option<usize>,
}

enum Late {
    NotYet,
    Rows(Box<LateRows>),
    Ended,
}

/// Does the query change the rows that this reads?
///
/// # Safety
/// Called with the executor's own node.
unsafe fn is_changed_by(node: *mut pg_sys::ForeignScanState) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        let plan = (*node).ss.ps.plan.cast::<pg_sys::Scan>();
        pg_sys::ExecRelationIsTargetRelation((*node).ss.ps.state, (*plan).scanrelid)
    }
}

/// `SELECT … FOR UPDATE` and its sisters would lock nothing here, and whoever relies on it would not notice.
///
/// # Errors
/// `0A000` for them.
///
/// # Safety
/// Called with the executor's own node.
unsafe fn refuse_locking(node: *mut pg_sys::ForeignScanState) -> Result<()> {
    // SAFETY: the executor has a place for each table of the query, which is empty where nothing is to be locked.
    let locks = unsafe {
        let marks = (*(*node).ss.ps.state).es_rowmarks;
        let number = (*(*node).ss.ps.plan.cast::<pg_sys::Scan>()).scanrelid as usize;
        if marks.is_null() || number == 0 {
            false
        } else {
            let mark = *marks.add(number - 1);
            !mark.is_null() && (*mark).strength != pg_sys::LockClauseStrength::LCS_NONE
        }
    };
    if !locks {
        return Ok(());
    }
    // SAFETY: the relation is open.
    let table = unsafe { relation::name_of((*node).ss.ss_currentRelation) };
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "rows of a compressed partition cannot be locked by a query",
    )
    .detail(format!("partition {table}"))
    .hint("UPDATE and DELETE lock them; leave compressed partitions out by a condition on time, or decompress them"))
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
        refuse_locking(node).or_raise();
        let estate = (*node).ss.ps.state;
        let relation = (*node).ss.ss_currentRelation;
        let layout = Layout::need((*relation).rd_id);
        let plan: *mut pg_sys::ForeignScan = (*node).ss.ps.plan.cast();
        let mut query = PgMemoryContexts::For((*estate).es_query_cxt);
        let scan = query.switch_to(|_| {
            let numbers = PgList::<pg_sys::List>::from_pg((*plan).fdw_private).get_ptr(0);
            let chosen = cursor::chosen(numbers.unwrap_or(std::ptr::null_mut()), (*plan).fdw_exprs);
            let backward = chosen.order == Order::Backward;
            let reader =
                Reader::new(&layout, &chosen.needed, backward, relation, estate).or_raise();
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
            let places = is_changed_by(node).then(|| Places::of(estate, &layout));
            Scan {
                store: Some(Store::open(layout, pg_sys::AccessShareLock)),
                cursor,
                reader,
                late: Late::NotYet,
                by_reader,
                context,
                snapshot,
                shared: None,
                places,
                place: None,
            }
        });
        (*node).fdw_state = query.leak_and_drop_on_delete(scan).cast();
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
        let Some(scan) = state(node) else {
            return pg_sys::ExecClearTuple(slot);
        };
        // The common case first: the next row of the segment at hand.
        if !scan.reader.is_at_end() && !matches!(scan.late, Late::Rows(_)) {
            scan.put(slot);
            return slot;
        }
        // The executor calls in memory that is freed after each row; what is opened here lives longer.
        let before = pg_sys::MemoryContextSwitchTo((*(*node).ss.ps.state).es_query_cxt);
        scan.advance(slot);
        pg_sys::MemoryContextSwitchTo(before);
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
                        if self.cursor.chosen.order == Order::Backward {
                            late > time
                        } else {
                            late < time
                        }
                    }),
                };
                self.reader.refill();
                if first {
                    if late.put(slot) {
                        self.cursor.counts.late += 1;
                        (*slot).tts_tid = Row::Late(late.tid()).tid();
                    } else {
                        self.end_late();
                    }
                    return;
                }
            }
            if self.reader.is_at_end() {
                cursor::clear(slot);
            } else {
                self.put(slot);
            }
        }
    }

    /// Puts the next row of the segment at hand into the slot.
    ///
    /// # Safety
    /// There is one, and the slot is the scan's own.
    #[inline(always)]
    unsafe fn put(&mut self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: as the caller says.
        unsafe {
            let row = self.reader.put(slot, self.context);
            if let Some(place) = self.place {
                (*slot).tts_tid = Row::InSegment { place, row }.tid();
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
        self.place = match &self.places {
            Some(places) => Some(places.borrow_mut().segment(&stored.tid).or_raise()),
            None => place(&stored.tid),
        };
        self.reader.load(store, &stored, &mut self.cursor);
        true
    }

    /// # Safety
    /// The scan is under way.
    unsafe fn begin_late(&mut self) {
        let (Some(store), true) = (
            &self.store,
            self.shared.as_ref().is_none_or(Shared::takes_late),
        ) else {
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
            self.late = Late::Rows(Box::new(late));
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
