//! The executor's side: segments and late rows in, groups out.
//!
//! - [`decoded`]: the columns of the segment at hand
//! - [`intake`]: what segments and late rows add to their groups

#![expect(unsafe_code, reason = "called by the server's executor")]

mod decoded;
mod intake;

use super::functions::{self, Function};
use super::groups::Groups;
use super::spec::{self, Spec};
use super::tally::{Wanted, Work};
use super::windows::{self, Clock, Named, Source, Windows};
use crate::engine::history::cursor::{self, Counts, Cursor, Place, clear, memory};
use crate::engine::history::layout::{Layout, Shape};
use crate::engine::history::store::Store;
use crate::error::OrRaise;
use crate::postgres::descriptor::storage;
use crate::postgres::expression;
use crate::postgres::time::{self, ServerZone};
use decoded::Decoded;
use gemba_segment::Buffer;
use pg_sys::Datum;
use pgrx::PgList;
use pgrx::PgMemoryContexts;
use pgrx::datum::Interval;
use pgrx::prelude::*;
use std::rc::Rc;

/// Counts for EXPLAIN.
#[derive(Debug, Clone, Copy, Default)]
pub struct Read {
    /// Segments that were not decoded.
    pub by_head: u64,
    pub decoded: u64,
}

/// An aggregate under way. It is dropped with the query's memory.
pub struct Node {
    layout: Rc<Layout>,
    store: Option<Store>,
    pub cursor: Cursor,
    works: Vec<Work>,
    /// Function, which work it takes, and the shape of its column.
    outputs: Vec<(Function, Option<usize>, Shape)>,
    /// Places of the columns behind them.
    columns: Vec<usize>,
    grouping: Vec<spec::Group>,
    expressions: Vec<Expression>,
    once: *mut pg_sys::ExprState,
    by_row: *mut pg_sys::ExprState,
    /// All conditions, for late rows.
    of_late: *mut pg_sys::ExprState,
    /// Places of the columns that conditions by row read, and where they stand.
    tested: Vec<(usize, usize)>,
    context: *mut pg_sys::ExprContext,
    snapshot: pg_sys::Snapshot,
    /// A row like those that come out, for evaluating.
    slot: *mut pg_sys::TupleTableSlot,
    /// One like those of the partition.
    late_slot: *mut pg_sys::TupleTableSlot,
    clock: Clock,
    buckets: Vec<Bucket>,
    groups: Groups,
    decoded: Decoded,
    /// Transition values of the group that was handed over last.
    made: pg_sys::MemoryContext,
    phase: Phase,
    /// The next group to be handed over.
    next: Option<usize>,
    identity: Vec<u64>,
    pub read: Read,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Start,
    Segments,
    Late,
    Ended,
}

/// An expression of a group.
struct Expression {
    node: *mut pg_sys::Expr,
    state: *mut pg_sys::ExprState,
}

/// How rows of a segment are told apart, by what is grouped by.
enum Bucket {
    Key(usize),
    Windows(Windows),
    Each {
        state: *mut pg_sys::ExprState,
        by_value: bool,
        length: i32,
        of_keys: bool,
    },
}

/// # Safety
/// The node was prepared by [`begin`].
pub unsafe fn state<'a>(scan: *mut pg_sys::ForeignScanState) -> Option<&'a mut Node> {
    // SAFETY: as the caller says; nothing was prepared for EXPLAIN alone.
    unsafe { (*scan).fdw_state.cast::<Node>().as_mut() }
}

/// Both lists of numbers of the plan.
///
/// # Safety
/// A node that was planned by [`super::plan`].
pub unsafe fn numbers(
    scan: *mut pg_sys::ForeignScanState,
) -> (*mut pg_sys::List, *mut pg_sys::List) {
    // SAFETY: as the caller says.
    unsafe {
        let plan: *mut pg_sys::ForeignScan = (*scan).ss.ps.plan.cast();
        let lists = PgList::<pg_sys::List>::from_pg((*plan).fdw_private);
        let list = |number| lists.get_ptr(number).unwrap_or(std::ptr::null_mut());
        (list(0), list(1))
    }
}

/// # Safety
/// Called by the executor.
pub unsafe fn begin(scan: *mut pg_sys::ForeignScanState, flags: i32) {
    if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0 {
        return;
    }
    // SAFETY: the executor's own structures; the state is dropped with the query's memory, in which its contexts are.
    unsafe {
        let mut query = PgMemoryContexts::For((*(*scan).ss.ps.state).es_query_cxt);
        let node = query.switch_to(|_| Node::begin(scan));
        (*scan).fdw_state = query.leak_and_drop_on_delete(node).cast();
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn iterate(
    scan: *mut pg_sys::ForeignScanState,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: as the caller says.
    unsafe {
        let slot = (*scan).ss.ss_ScanTupleSlot;
        pg_sys::ExecClearTuple(slot);
        // The executor calls in memory that is freed after each row; a scan that is begun here goes on after it.
        let before = pg_sys::MemoryContextSwitchTo((*(*scan).ss.ps.state).es_query_cxt);
        if let Some(node) = state(scan) {
            node.put_next(slot);
        }
        pg_sys::MemoryContextSwitchTo(before);
        slot
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn rescan(scan: *mut pg_sys::ForeignScanState) {
    // SAFETY: as the caller says.
    unsafe {
        if let Some(node) = state(scan) {
            node.decoded.clear();
            node.groups.clear();
            node.cursor.rescan();
            (node.phase, node.next) = (Phase::Start, None);
        }
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn end(scan: *mut pg_sys::ForeignScanState) {
    // SAFETY: as the caller says; slots are dropped once.
    unsafe {
        if let Some(node) = state(scan) {
            node.decoded.clear();
            node.groups.clear();
            node.cursor.finish();
            if let Some(store) = node.store.take() {
                store.close();
                pg_sys::ExecDropSingleTupleTableSlot(node.slot);
                pg_sys::ExecDropSingleTupleTableSlot(node.late_slot);
            }
        }
    }
}

impl Node {
    /// # Safety
    /// The executor's node, with its plan.
    unsafe fn begin(scan: *mut pg_sys::ForeignScanState) -> Self {
        // SAFETY: as the caller says.
        unsafe {
            let plan: *mut pg_sys::ForeignScan = (*scan).ss.ps.plan.cast();
            let parent = &raw mut (*scan).ss.ps;
            let context = (*scan).ss.ps.ps_ExprContext;
            let snapshot = (*(*scan).ss.ps.state).es_snapshot;
            let (of_selection, own) = numbers(scan);
            let spec = Spec::read(own).or_raise();
            let chosen = cursor::chosen(of_selection, (*plan).fdw_exprs);
            // The executor locks the query's tables, but a worker only those that it opens.
            pg_sys::LockRelationOid(spec.table, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let layout = Layout::need(spec.table);
            let all = PgList::<pg_sys::Expr>::from_pg((*plan).fdw_exprs);
            let own: Vec<_> = all.iter_ptr().skip(chosen.expressions).collect();
            let (once, rest) = own.split_at(spec.once.min(own.len()));
            let (by_row, of_groups) = rest.split_at(spec.by_row.min(rest.len()));
            let conditions = |parts: &[*mut pg_sys::Expr]| {
                if parts.is_empty() {
                    return std::ptr::null_mut();
                }
                let mut list = PgList::<pg_sys::Expr>::new();
                for &part in parts {
                    list.push(part);
                }
                pg_sys::ExecInitQual(list.into_pg(), parent)
            };
            let mut late: Vec<_> = PgList::<pg_sys::Expr>::from_pg(chosen.by_segment)
                .iter_ptr()
                .collect();
            late.extend(PgList::<pg_sys::Expr>::from_pg(chosen.by_reader).iter_ptr());
            late.extend(by_row);
            let before = spec.aggregates.len();
            let position = |place: usize| {
                spec.columns
                    .iter()
                    .position(|&column| column == place)
                    .map_or(0, |at| before + at)
            };
            let descriptor = (*(*scan).ss.ss_ScanTupleSlot).tts_tupleDescriptor;
            let slot =
                pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual);
            let keys_slot =
                pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual);
            let store = Store::open(layout.clone(), pg_sys::AccessShareLock);
            let late_slot = {
                let table = pg_sys::table_open(spec.table, pg_sys::NoLock as pg_sys::LOCKMODE);
                let descriptor = pg_sys::CreateTupleDescCopy((*table).rd_att);
                pg_sys::table_close(table, pg_sys::NoLock as pg_sys::LOCKMODE);
                pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual)
            };
            let place = Place {
                context,
                slot: keys_slot,
                keys: layout.keys.iter().map(|&place| position(place)).collect(),
                snapshot,
            };
            let (works, outputs) = works(&layout, &spec);
            Self {
                once: conditions(once),
                by_row: conditions(by_row),
                of_late: conditions(&late),
                tested: if by_row.is_empty() {
                    Vec::new()
                } else {
                    spec.columns
                        .iter()
                        .map(|&place| (place, position(place)))
                        .collect()
                },
                expressions: of_groups
                    .iter()
                    .map(|&node| Expression {
                        node,
                        state: pg_sys::ExecInitExpr(node, parent),
                    })
                    .collect(),
                cursor: Cursor::begin(layout.clone(), chosen, parent, place).or_raise(),
                clock: Clock {
                    context,
                    slot,
                    position: position(layout.order),
                    shape: layout.order_shape(),
                },
                decoded: Decoded {
                    memory: memory(c"gemba history segment"),
                    buffers: (0..layout.stored).map(|_| Buffer::default()).collect(),
                    segment: None,
                    columns: vec![None; layout.stored],
                    any: false,
                },
                groups: Groups::new(works.len()),
                made: memory(c"gemba history states"),
                store: Some(store),
                works,
                outputs,
                columns: spec.columns,
                grouping: spec.groups,
                context,
                snapshot,
                slot,
                late_slot,
                buckets: Vec::new(),
                phase: Phase::Start,
                next: None,
                identity: Vec::new(),
                read: Read::default(),
                layout,
            }
        }
    }

    /// Puts the next group into the slot, or leaves it empty.
    ///
    /// # Safety
    /// The node's own slot, empty.
    unsafe fn put_next(&mut self, slot: *mut pg_sys::TupleTableSlot) {
        loop {
            if let Some(number) = self.next {
                if number < self.groups.all.len() {
                    self.next = Some(number + 1);
                    // SAFETY: as the caller says.
                    return unsafe { self.put(slot, number) };
                }
                self.groups.clear();
                self.next = None;
            }
            if self.phase == Phase::Ended {
                return;
            }
            while self.phase != Phase::Ended && !self.groups.is_full() {
                // SAFETY: as the caller says.
                unsafe { self.advance() }
            }
            self.next = Some(0);
        }
    }

    /// # Safety
    /// As for [`Self::put_next`].
    unsafe fn put(&mut self, slot: *mut pg_sys::TupleTableSlot, number: usize) {
        // SAFETY: the slot has a place for each aggregate and each column.
        unsafe {
            clear(slot);
            pg_sys::MemoryContextReset(self.made);
            let before = pg_sys::MemoryContextSwitchTo(self.made);
            let group = &self.groups.all[number];
            let set = |place: usize, value: Option<Datum>| {
                *(*slot).tts_values.add(place) = value.unwrap_or(Datum::null());
                *(*slot).tts_isnull.add(place) = value.is_none();
            };
            let none = super::tally::Tally::default();
            for (place, &(function, work, shape)) in self.outputs.iter().enumerate() {
                let tally = work.map_or(&none, |work| &group.tallies[work]);
                set(place, functions::state(function, shape, group.rows, tally));
            }
            for (at, &place) in self.columns.iter().enumerate() {
                let place_in_row = self.outputs.len() + at;
                if let Some(key) = self.layout.key_at(place) {
                    set(place_in_row, group.keys[key]);
                } else if place == self.layout.order {
                    set(place_in_row, Some(self.clock.shape.datum(group.time)));
                }
            }
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::ExecStoreVirtualTuple(slot);
        }
    }

    /// Takes in the next segment, or all late rows.
    ///
    /// # Safety
    /// As for [`Self::put_next`].
    unsafe fn advance(&mut self) {
        pgrx::check_for_interrupts!();
        // SAFETY: as the caller says.
        unsafe {
            match self.phase {
                Phase::Start => {
                    self.phase = Phase::Segments;
                    if !self.once.is_null() {
                        clear(self.slot);
                        (*self.context).ecxt_scantuple = self.slot;
                        if !expression::holds(self.once, self.context) {
                            self.phase = Phase::Ended;
                        }
                        pg_sys::MemoryContextReset((*self.context).ecxt_per_tuple_memory);
                    }
                    self.buckets = self.make_buckets();
                }
                Phase::Segments => {
                    self.decoded.clear();
                    let Some(store) = self.store.take() else {
                        self.phase = Phase::Ended;
                        return;
                    };
                    match self.cursor.next(&store) {
                        Some(stored) => {
                            let before = pg_sys::MemoryContextSwitchTo(self.decoded.memory);
                            self.take_in(&store, &stored);
                            pg_sys::MemoryContextSwitchTo(before);
                        }
                        None => self.phase = Phase::Late,
                    }
                    self.store = Some(store);
                }
                Phase::Late => {
                    self.take_in_late();
                    self.phase = Phase::Ended;
                }
                Phase::Ended => {}
            }
        }
    }

    /// # Safety
    /// As for [`Self::put_next`].
    unsafe fn make_buckets(&self) -> Vec<Bucket> {
        // SAFETY: expressions of the node's plan, of which the constant ones need no row.
        unsafe {
            let each = |whole: usize, of_keys: bool| {
                let expression = &self.expressions[whole];
                let (by_value, length) = storage(pg_sys::exprType(expression.node.cast()));
                Bucket::Each {
                    state: expression.state,
                    by_value,
                    length,
                    of_keys,
                }
            };
            self.grouping
                .iter()
                .map(|group| match *group {
                    spec::Group::Key(key) => Bucket::Key(key),
                    spec::Group::Each { whole, of_keys } => each(whole, of_keys),
                    spec::Group::Calendar { whole, width, zone } => {
                        match (
                            self.constant::<Interval>(width),
                            self.constant::<String>(zone),
                        ) {
                            // What is wrong with either is said when the first row is there.
                            (Some(width), Some(zone)) => time::step(&width).ok().map(|step| {
                                let zone = ServerZone::trusted(&zone);
                                Bucket::Windows(Windows::new(Source::Calendar { step, zone }))
                            }),
                            _ => None,
                        }
                        .unwrap_or_else(|| each(whole, false))
                    }
                    spec::Group::Asked {
                        whole,
                        inner,
                        zones,
                        session,
                    } => {
                        let mut found = Vec::new();
                        if session {
                            found.push(pg_sys::session_timezone);
                        }
                        for zone in zones.0..zones.1 {
                            match self
                                .constant::<String>(zone)
                                .map(|name| windows::zone(&name))
                            {
                                Some(Named::Utc) => {}
                                Some(Named::Zone(zone)) => found.push(zone),
                                Some(Named::Unknown) | None => return each(whole, false),
                            }
                        }
                        let of_time = self.layout.columns[self.layout.order].type_oid;
                        Bucket::Windows(Windows::new(Source::Asked {
                            value: self.expressions[whole].state,
                            inner: self.expressions[inner].state,
                            zones: found,
                            is_start: pg_sys::exprType(self.expressions[whole].node.cast())
                                == of_time,
                        }))
                    }
                })
                .collect()
        }
    }

    /// # Safety
    /// An expression of that type which needs no row.
    unsafe fn constant<T: FromDatum>(&self, number: usize) -> Option<T> {
        // SAFETY: as the caller says.
        unsafe {
            let value = expression::value(self.expressions[number].state, self.context)?;
            T::from_datum(value, false)
        }
    }
}

impl Bucket {
    fn is_of_time(&self) -> bool {
        match self {
            Self::Key(_) => false,
            Self::Windows(_) => true,
            Self::Each { of_keys, .. } => !of_keys,
        }
    }
}

/// The columns that are worked on, each once, and what is made of them.
fn works(layout: &Layout, spec: &Spec) -> (Vec<Work>, Vec<(Function, Option<usize>, Shape)>) {
    let mut works: Vec<Work> = Vec::new();
    let mut outputs = Vec::new();
    for aggregate in &spec.aggregates {
        let column = &layout.columns[aggregate.place.min(layout.columns.len() - 1)];
        let (Some(stored), Some(shape), true) = (
            column.stored,
            column.shape,
            aggregate.function != Function::CountRows,
        ) else {
            outputs.push((aggregate.function, None, Shape::Int8));
            continue;
        };
        let number = works
            .iter()
            .position(|work| work.place == aggregate.place)
            .unwrap_or_else(|| {
                works.push(Work {
                    place: aggregate.place,
                    stored,
                    shape,
                    wanted: Wanted::default(),
                });
                works.len() - 1
            });
        let wanted = aggregate.function.wanted();
        let work = &mut works[number].wanted;
        *work = Wanted {
            sum: work.sum || wanted.sum,
            low: work.low || wanted.low,
            high: work.high || wanted.high,
        };
        outputs.push((aggregate.function, Some(number), shape));
    }
    (works, outputs)
}

impl Node {
    pub fn counts(&self) -> Counts {
        self.cursor.counts
    }
}
