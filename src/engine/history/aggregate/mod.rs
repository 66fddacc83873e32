//! Aggregates of a compressed partition, computed on its segments without making rows of them.
//!
//! The server plans them itself: where it aggregates partition by partition, it asks each compressed one for
//! *partial* aggregates, and combines what comes back with that of the others. What is asked for is answered
//! from a segment's head (rows, NULLs, sum, least and greatest value) if the segment lies within one group
//! and no row has to be left out, and from its decoded columns otherwise.
//!
//! - [`switch`]: the setting that makes the server ask
//! - [`plan`], [`spec`]: which queries can be answered, and what of it stands in the plan
//! - [`times`], [`windows`]: buckets of time in the query, and where they begin and end
//! - [`functions`], [`tally`]: the aggregates' transition values, and what the rows of a group come to
//! - [`groups`]: the groups that are open
//! - [`node`]: the executor's side
//! - [`explain`]: what EXPLAIN says

#![expect(unsafe_code, reason = "called by the server")]

mod explain;
mod functions;
mod groups;
mod node;
mod plan;
mod spec;
pub mod switch;
mod tally;
mod times;
mod windows;

use pgrx::prelude::*;
use std::sync::OnceLock;

/// The functions for rows, to which everything goes that is no aggregate.
struct OfRows {
    paths: pg_sys::GetForeignPaths_function,
    plan: pg_sys::GetForeignPlan_function,
    begin: pg_sys::BeginForeignScan_function,
}

static OF_ROWS: OnceLock<OfRows> = OnceLock::new();

/// Called last, with all that reads rows in its place: the server calls the same functions for aggregates.
pub fn register(routine: &mut pg_sys::FdwRoutine) {
    OF_ROWS.get_or_init(|| OfRows {
        paths: routine.GetForeignPaths,
        plan: routine.GetForeignPlan,
        begin: routine.BeginForeignScan,
    });
    routine.GetForeignPaths = Some(paths);
    routine.GetForeignPlan = Some(plan_of);
    routine.GetForeignUpperPaths = Some(plan::upper_paths);
    routine.BeginForeignScan = Some(begin);
}

/// # Safety
/// Called by the planner.
#[pg_guard]
unsafe extern "C-unwind" fn paths(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    table: pg_sys::Oid,
) {
    // SAFETY: as the caller says.
    unsafe {
        if let Some(paths) = OF_ROWS.get().and_then(|of_rows| of_rows.paths) {
            paths(root, rel, table);
        }
        switch::turn_on(root, rel);
    }
}

/// # Safety
/// Called by the planner.
#[pg_guard]
unsafe extern "C-unwind" fn plan_of(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    table: pg_sys::Oid,
    path: *mut pg_sys::ForeignPath,
    tlist: *mut pg_sys::List,
    clauses: *mut pg_sys::List,
    outer: *mut pg_sys::Plan,
) -> *mut pg_sys::ForeignScan {
    // SAFETY: as the caller says.
    unsafe {
        match OF_ROWS.get().and_then(|of_rows| of_rows.plan) {
            Some(plan) if (*rel).relid != 0 => plan(root, rel, table, path, tlist, clauses, outer),
            _ => plan::plan(path, tlist, outer),
        }
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn begin(scan: *mut pg_sys::ForeignScanState, flags: i32) {
    // SAFETY: as the caller says. A node that scans no table of its own has been given a list of functions of its
    // own as well.
    unsafe {
        if (*(*scan).ss.ps.plan.cast::<pg_sys::ForeignScan>())
            .scan
            .scanrelid
            == 0
        {
            let routine = &mut *(*scan).fdwroutine;
            routine.IterateForeignScan = Some(node::iterate);
            routine.ReScanForeignScan = Some(node::rescan);
            routine.EndForeignScan = Some(node::end);
            routine.ShutdownForeignScan = None;
            routine.ExplainForeignScan = Some(explain::explain);
            node::begin(scan, flags);
        } else if let Some(begin) = OF_ROWS.get().and_then(|of_rows| of_rows.begin) {
            begin(scan, flags);
        }
    }
}
