//! How large a compressed partition is, and by which ways it can be read.

#![expect(unsafe_code, reason = "called by the server's planner")]

use super::super::layout::Layout;
use pgrx::prelude::*;

pub fn register(routine: &mut pg_sys::FdwRoutine) {
    routine.GetForeignRelSize = Some(relation_size);
    routine.GetForeignPaths = Some(paths);
    routine.GetForeignPlan = Some(plan);
}

/// # Safety
/// Called by the planner.
#[pg_guard]
unsafe extern "C-unwind" fn relation_size(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    table: pg_sys::Oid,
) {
    let _layout = Layout::need(table);
    // SAFETY: the planner's own structures.
    unsafe {
        (*rel).rows = clamp((*rel).tuples)
            * pg_sys::clauselist_selectivity(
                root,
                (*rel).baserestrictinfo,
                0,
                pg_sys::JoinType::JOIN_INNER,
                std::ptr::null_mut(),
            );
        (*rel).rows = clamp((*rel).rows);
    }
}

fn clamp(rows: f64) -> f64 {
    rows.max(1.0).round()
}

/// # Safety
/// Called by the planner.
#[pg_guard]
unsafe extern "C-unwind" fn paths(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    _table: pg_sys::Oid,
) {
    // SAFETY: the planner's own structures.
    unsafe {
        let cost = (*rel).tuples.max(1.0) * pg_sys::cpu_tuple_cost;
        let path = pg_sys::create_foreignscan_path(
            root,
            rel,
            std::ptr::null_mut(),
            (*rel).rows,
            #[cfg(feature = "pg18")]
            0,
            0.0,
            cost,
            std::ptr::null_mut(),
            (*rel).lateral_relids,
            std::ptr::null_mut(),
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        pg_sys::add_path(rel, path.cast());
    }
}

/// # Safety
/// Called by the planner.
#[pg_guard]
unsafe extern "C-unwind" fn plan(
    _root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    _table: pg_sys::Oid,
    _path: *mut pg_sys::ForeignPath,
    tlist: *mut pg_sys::List,
    clauses: *mut pg_sys::List,
    outer: *mut pg_sys::Plan,
) -> *mut pg_sys::ForeignScan {
    // SAFETY: the planner's own structures.
    unsafe {
        pg_sys::make_foreignscan(
            tlist,
            pg_sys::extract_actual_clauses(clauses, false),
            (*rel).relid,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            outer,
        )
    }
}
