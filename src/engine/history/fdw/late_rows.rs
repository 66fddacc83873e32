//! The rows that came, or were changed, since a partition was compressed.

#![expect(unsafe_code, reason = "calls the server's tables and indexes directly")]

use super::super::cursor::clear;
use super::super::layout::Layout;
use super::super::range::TimeRange;
use super::super::store::{IndexScan, Wanted, index_on};
use crate::error::OrRaise;
use crate::postgres::expression;
use pg_sys::Datum;
use pgrx::prelude::*;
use std::rc::Rc;

unsafe extern "C-unwind" {
    fn PredicateLockRelation(relation: pg_sys::Relation, snapshot: pg_sys::Snapshot);
}

const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
const KEEP: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

/// What is wanted of them.
pub struct Request {
    /// With it: looked up by these keys, within the range, in order of time if there is but one.
    pub keys: Option<Vec<Vec<Option<Datum>>>>,
    pub range: TimeRange,
    pub backward: bool,
    pub snapshot: pg_sys::Snapshot,
    /// Conditions that the reader takes off the executor; each may be null.
    pub quals: [*mut pg_sys::ExprState; 2],
    pub context: *mut pg_sys::ExprContext,
}

/// A scan of late rows.
pub struct LateRows {
    layout: Rc<Layout>,
    request: Request,
    relation: pg_sys::Relation,
    source: Source,
    combination: usize,
    /// The row that was read last, by the late table's columns.
    values: Vec<Datum>,
    nulls: Vec<bool>,
    tid: pg_sys::ItemPointerData,
    /// It has been read ahead, and its time.
    pending: Option<i64>,
}

enum Source {
    Empty,
    Table {
        scan: pg_sys::TableScanDesc,
        slot: *mut pg_sys::TupleTableSlot,
    },
    Index {
        index: pg_sys::Relation,
        scan: Option<IndexScan>,
    },
}

impl LateRows {
    /// # Safety
    /// The snapshot is the query's, and the expressions belong to its node.
    pub unsafe fn begin(layout: Rc<Layout>, request: Request) -> Self {
        // SAFETY: the table exists as long as the partition, which is locked; the context is the node's own.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo((*request.context).ecxt_per_query_memory);
            let relation = pg_sys::table_open(layout.late, LOCK);
            let blocks =
                pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
            let source = if blocks == 0 {
                // What a scan would say of itself to transactions that are to be serializable.
                pg_sys::ffi::pg_guard_ffi_boundary(|| {
                    PredicateLockRelation(relation, request.snapshot)
                });
                Source::Empty
            } else if request.keys.is_some() {
                let columns: Vec<i16> = attributes(&layout)
                    .into_iter()
                    .map(|attribute| attribute as i16)
                    .collect();
                Source::Index {
                    index: index_on(relation, &columns, LOCK).or_raise(),
                    scan: None,
                }
            } else {
                Source::Table {
                    scan: pg_sys::table_beginscan(
                        relation,
                        request.snapshot,
                        0,
                        std::ptr::null_mut(),
                    ),
                    slot: pg_sys::table_slot_create(relation, std::ptr::null_mut()),
                }
            };
            pg_sys::MemoryContextSwitchTo(before);
            let columns = (*(*relation).rd_att).natts as usize;
            Self {
                layout,
                request,
                relation,
                source,
                combination: 0,
                values: vec![Datum::null(); columns],
                nulls: vec![true; columns],
                tid: pg_sys::ItemPointerData::default(),
                pending: None,
            }
        }
    }

    /// Surely none.
    pub fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty)
    }

    /// The time of the next row, which is read for that.
    ///
    /// # Safety
    /// The slot is the scan's own, and may be written to.
    pub unsafe fn peek(&mut self, slot: *mut pg_sys::TupleTableSlot) -> Option<i64> {
        // SAFETY: as the caller says.
        if self.pending.is_none() && unsafe { self.read(slot) } {
            let order = self.layout.order;
            let place = self.layout.columns[order].late.unwrap_or(order);
            self.pending = Some(self.layout.order_shape().int(self.values[place]));
        }
        self.pending
    }

    /// Where the row that was put last is.
    pub fn tid(&self) -> pg_sys::ItemPointerData {
        self.tid
    }

    /// Puts the next row into the slot, if there is one.
    ///
    /// # Safety
    /// As for [`Self::peek`].
    pub unsafe fn put(&mut self, slot: *mut pg_sys::TupleTableSlot) -> bool {
        // SAFETY: as the caller says.
        unsafe {
            if self.pending.take().is_some() {
                self.fill(slot);
                return true;
            }
            self.read(slot)
        }
    }

    /// # Safety
    /// As for [`Self::peek`].
    unsafe fn read(&mut self, slot: *mut pg_sys::TupleTableSlot) -> bool {
        // SAFETY: the tuple stays until the next is asked for.
        unsafe {
            while let Some(tuple) = self.advance() {
                self.tid = (*tuple).t_self;
                pg_sys::heap_deform_tuple(
                    tuple,
                    (*self.relation).rd_att,
                    self.values.as_mut_ptr(),
                    self.nulls.as_mut_ptr(),
                );
                self.fill(slot);
                let context = self.request.context;
                (*context).ecxt_scantuple = slot;
                if self
                    .request
                    .quals
                    .iter()
                    .all(|&qual| expression::holds(qual, context))
                {
                    return true;
                }
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            }
            clear(slot);
            false
        }
    }

    /// # Safety
    /// As for [`Self::peek`].
    unsafe fn fill(&self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the slot has the columns of the layout, and the values those of the late table.
        unsafe {
            clear(slot);
            for (place, column) in self.layout.columns.iter().enumerate() {
                if let Some(from) = column.late.filter(|&from| from < self.values.len()) {
                    *(*slot).tts_values.add(place) = self.values[from];
                    *(*slot).tts_isnull.add(place) = self.nulls[from];
                }
            }
            pg_sys::ExecStoreVirtualTuple(slot);
        }
    }

    /// # Safety
    /// The scan is under way.
    unsafe fn advance(&mut self) -> Option<pg_sys::HeapTuple> {
        // As for the cursor: what scans open lives longer than a row.
        // SAFETY: the context is the node's own.
        let before =
            unsafe { pg_sys::MemoryContextSwitchTo((*self.request.context).ecxt_per_query_memory) };
        // SAFETY: as the caller says.
        let found = unsafe { self.find() };
        // SAFETY: as it was.
        unsafe { pg_sys::MemoryContextSwitchTo(before) };
        found
    }

    /// # Safety
    /// As for [`Self::advance`].
    unsafe fn find(&mut self) -> Option<pg_sys::HeapTuple> {
        pgrx::check_for_interrupts!();
        // SAFETY: scans and slots belong together.
        unsafe {
            loop {
                let scan = match &mut self.source {
                    Source::Empty => return None,
                    Source::Table { scan, slot } => {
                        let forward = pg_sys::ScanDirection::ForwardScanDirection;
                        return pg_sys::table_scan_getnextslot(*scan, forward, *slot).then(|| {
                            pg_sys::ExecFetchSlotHeapTuple(*slot, false, std::ptr::null_mut())
                        });
                    }
                    Source::Index { scan, .. } => scan,
                };
                if let Some(found) = scan.as_mut().and_then(IndexScan::next) {
                    return Some(found);
                }
                if let Some(ended) = scan.take() {
                    ended.end();
                }
                if !self.look_up() {
                    return None;
                }
            }
        }
    }

    /// Begins to look up the next combination of keys.
    ///
    /// # Safety
    /// The scan is under way.
    unsafe fn look_up(&mut self) -> bool {
        let keys = self
            .request
            .keys
            .as_ref()
            .and_then(|all| all.get(self.combination));
        let (Some(keys), Source::Index { index, scan }) = (keys, &mut self.source) else {
            return false;
        };
        self.combination += 1;
        let attributes = attributes(&self.layout);
        let mut wanted: Vec<Wanted> = keys
            .iter()
            .zip(&attributes)
            .map(|(value, &attribute)| (attribute, pg_sys::BTEqualStrategyNumber, *value))
            .collect();
        let range = self.request.range;
        let time = attributes.last().copied().unwrap_or(0);
        let shape = self.layout.order_shape();
        if range.low > i64::MIN {
            wanted.push((
                time,
                pg_sys::BTGreaterEqualStrategyNumber,
                Some(shape.datum(range.low)),
            ));
        }
        if range.high < i64::MAX {
            wanted.push((
                time,
                pg_sys::BTLessEqualStrategyNumber,
                Some(shape.datum(range.high)),
            ));
        }
        // SAFETY: the values are of the columns' types.
        *scan = Some(unsafe {
            IndexScan::begin(
                self.relation,
                *index,
                &wanted,
                self.request.backward,
                self.request.snapshot,
            )
        });
        true
    }

    pub fn end(self) {
        // SAFETY: used for the last time.
        unsafe {
            match self.source {
                Source::Empty => {}
                Source::Table { scan, slot } => {
                    pg_sys::ExecDropSingleTupleTableSlot(slot);
                    pg_sys::table_endscan(scan);
                }
                Source::Index { index, scan } => {
                    if let Some(scan) = scan {
                        scan.end();
                    }
                    pg_sys::index_close(index, KEEP);
                }
            }
            pg_sys::table_close(self.relation, KEEP);
        }
    }
}

/// Attribute numbers of keys and time in the table of late rows.
fn attributes(layout: &Layout) -> Vec<usize> {
    layout
        .keys
        .iter()
        .chain([&layout.order])
        .map(|&place| layout.columns[place].late.unwrap_or(place) + 1)
        .collect()
}
