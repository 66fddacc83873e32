//! How large a compressed partition is, and the plan of the way that was chosen to read it.

#![expect(unsafe_code, reason = "called by the server's planner")]

use super::super::layout::Layout;
use super::super::select::{Order, Selection, columns_of};
use super::super::store::{Everything, Store};
use super::paths;
use pgrx::PgList;
use pgrx::itemptr::item_pointer_get_block_number_no_check;
use pgrx::prelude::*;

pub fn register(routine: &mut pg_sys::FdwRoutine) {
    routine.GetForeignRelSize = Some(relation_size);
    routine.GetForeignPaths = Some(paths::paths);
    routine.GetForeignPlan = Some(plan);
    routine.IsForeignScanParallelSafe = Some(parallel_safe);
}

/// What the planner needs to know of the segment table; in its memory, behind the relation's `fdw_private`.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub pages: f64,
    pub segments: f64,
}

/// # Safety
/// Called by the planner.
#[pg_guard]
unsafe extern "C-unwind" fn relation_size(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    table: pg_sys::Oid,
) {
    // SAFETY: the planner's own structures; what is kept is in its memory.
    unsafe {
        let (size, rows) = measure(table, (*rel).tuples);
        let kept: *mut Size = pg_sys::palloc(size_of::<Size>()).cast();
        kept.write(size);
        (*rel).fdw_private = kept.cast();
        (*rel).tuples = rows;
        (*rel).rows = (rows
            * pg_sys::clauselist_selectivity(
                root,
                (*rel).baserestrictinfo,
                0,
                pg_sys::JoinType::JOIN_INNER,
                std::ptr::null_mut(),
            ))
        .max(1.0)
        .round();
    }
}

/// How many segments are looked at where nothing is known.
const SAMPLE: usize = 100;

/// Pages and segments, and rows: those that ANALYZE counted, or as many as some of the segments let expect.
///
/// # Safety
/// Called while a query is planned, which has a snapshot.
unsafe fn measure(table: pg_sys::Oid, analyzed: f64) -> (Size, f64) {
    let store = Store::open(Layout::need(table), pg_sys::AccessShareLock);
    // SAFETY: the table is open; the snapshot is the planner's.
    unsafe {
        let pages = f64::from(pg_sys::RelationGetNumberOfBlocksInFork(
            store.relation,
            pg_sys::ForkNumber::MAIN_FORKNUM,
        ));
        let counted = f64::from((*(*store.relation).rd_rel).reltuples);
        let (segments, rows) = if analyzed > 0.0 && counted > 0.0 {
            (counted, analyzed)
        } else if pages == 0.0 {
            (0.0, analyzed)
        } else {
            let (segments, rows) = sample(&store, pages);
            (segments, if analyzed > 0.0 { analyzed } else { rows })
        };
        store.close();
        (Size { pages, segments }, rows.max(0.0))
    }
}

/// Segments and rows, by the first of them.
///
/// # Safety
/// As for [`measure`].
unsafe fn sample(store: &Store, pages: f64) -> (f64, f64) {
    // SAFETY: as the caller says.
    unsafe {
        let mut all = Everything::begin(store, pg_sys::GetActiveSnapshot());
        let (mut segments, mut rows, mut seen) = (0.0, 0.0, 1.0);
        let mut ended = true;
        while let Some(stored) = all.next(store) {
            segments += 1.0;
            rows += stored.rows as f64;
            seen = f64::from(item_pointer_get_block_number_no_check(stored.tid)) + 1.0;
            if segments as usize >= SAMPLE {
                ended = false;
                break;
            }
        }
        all.end();
        let scale = if ended { 1.0 } else { (pages / seen).max(1.0) };
        (segments * scale, rows * scale)
    }
}

/// # Safety
/// Called by the planner.
#[pg_guard]
unsafe extern "C-unwind" fn parallel_safe(
    _root: *mut pg_sys::PlannerInfo,
    _rel: *mut pg_sys::RelOptInfo,
    _entry: *mut pg_sys::RangeTblEntry,
) -> bool {
    true
}

/// Conditions of the planner's as an array.
///
/// # Safety
/// A list of them.
pub unsafe fn conditions(list: *mut pg_sys::List) -> Vec<*mut pg_sys::RestrictInfo> {
    // SAFETY: as the caller says.
    unsafe { PgList::from_pg(list).iter_ptr().collect() }
}

/// # Safety
/// Called by the planner.
#[pg_guard]
unsafe extern "C-unwind" fn plan(
    _root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    table: pg_sys::Oid,
    path: *mut pg_sys::ForeignPath,
    tlist: *mut pg_sys::List,
    clauses: *mut pg_sys::List,
    outer: *mut pg_sys::Plan,
) -> *mut pg_sys::ForeignScan {
    // SAFETY: the planner's own structures; the path is one of ours.
    unsafe {
        let layout = Layout::need(table);
        let relid = (*rel).relid;
        let way = paths::Way::of((*path).fdw_private);
        let selection = Selection::of(&layout, relid, &conditions(clauses), way.look_up);
        let mut quals = PgList::<pg_sys::Expr>::new();
        for clause in &selection.by_row {
            quals.push(*clause);
        }
        let quals = quals.into_pg();
        let needed = needed(&layout, rel, quals);
        let order = if selection.is_one_series(&layout) {
            way.order
        } else {
            Order::None
        };
        let numbers = selection.numbers(order, &needed);
        pg_sys::make_foreignscan(
            tlist,
            quals,
            relid,
            selection.expressions(),
            pg_sys::lappend(std::ptr::null_mut(), numbers.cast()),
            std::ptr::null_mut(),
            selection.recheck(),
            outer,
        )
    }
}

/// Places of the columns whose values somebody looks at.
///
/// # Safety
/// The planner's own structures.
unsafe fn needed(
    layout: &Layout,
    rel: *mut pg_sys::RelOptInfo,
    quals: *mut pg_sys::List,
) -> Vec<usize> {
    // SAFETY: as the caller says.
    let mut numbers = unsafe { columns_of((*(*rel).reltarget).exprs.cast(), (*rel).relid) };
    // SAFETY: as above.
    numbers.extend(unsafe { columns_of(quals.cast(), (*rel).relid) });
    let whole = numbers.contains(&0);
    (0..layout.columns.len())
        .filter(|&place| !layout.columns[place].dropped)
        .filter(|&place| whole || numbers.contains(&(place as i32 + 1)))
        .collect()
}
