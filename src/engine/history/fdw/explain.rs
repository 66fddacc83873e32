//! What EXPLAIN says of a scan: how its segments are found, which conditions leave some out, and how many that were.

#![expect(unsafe_code, reason = "called by the server")]

use super::super::cursor;
use super::super::layout::Layout;
use super::super::select::{Chosen, Order, Use};
use super::scan::state;
use pgrx::PgList;
use pgrx::prelude::*;
use std::ffi::{CStr, CString};

pub fn register(routine: &mut pg_sys::FdwRoutine) {
    routine.ExplainForeignScan = Some(explain);
}

/// # Safety
/// Called by EXPLAIN.
#[pg_guard]
unsafe extern "C-unwind" fn explain(
    node: *mut pg_sys::ForeignScanState,
    output: *mut pg_sys::ExplainState,
) {
    // SAFETY: the plan is one of ours, and lives as long as its node.
    unsafe {
        let relation = (*node).ss.ss_currentRelation;
        if relation.is_null() {
            return;
        }
        let layout = Layout::need((*relation).rd_id);
        let plan: *mut pg_sys::ForeignScan = (*node).ss.ps.plan.cast();
        let numbers = PgList::<pg_sys::List>::from_pg((*plan).fdw_private).get_ptr(0);
        let chosen = cursor::chosen(numbers.unwrap_or(std::ptr::null_mut()), (*plan).fdw_exprs);
        text(output, c"Segments by", &found_by(&layout, &chosen));
        let printer = Printer { node, output };
        let of = |purpose: fn(Use) -> bool| {
            let conditions = chosen
                .conditions
                .iter()
                .filter(|found| purpose(found.purpose));
            let clauses = conditions
                .map(|found| found.clause)
                .filter(|clause| !clause.is_null());
            printer.print(clauses)
        };
        for (label, found) in [
            (c"Keys", of(|purpose| matches!(purpose, Use::Key(_)))),
            (c"Time", of(|purpose| purpose == Use::Time)),
            (
                c"Segment Filter",
                printer.print(PgList::from_pg(chosen.by_segment).iter_ptr()),
            ),
            (c"Column Filter", of(|purpose| purpose == Use::Filter)),
        ] {
            if let Some(found) = found {
                text(output, label, &found);
            }
        }
        if !(*output).analyze {
            return;
        }
        let Some(scan) = state(node) else {
            return;
        };
        let counts = scan.counts();
        if (*output).format == pg_sys::ExplainFormat::EXPLAIN_FORMAT_TEXT {
            let summary = format!("{} read, {} skipped", counts.read, counts.skipped);
            text(output, c"Segments", &summary);
            if counts.late > 0 {
                integer(output, c"Late Rows", counts.late);
            }
        } else {
            integer(output, c"Segments Read", counts.read);
            integer(output, c"Segments Skipped", counts.skipped);
            integer(output, c"Late Rows", counts.late);
        }
    }
}

/// How segments are found.
fn found_by(layout: &Layout, chosen: &Chosen) -> String {
    let order = match chosen.order {
        Order::None => "",
        Order::Forward => ", in order of time",
        Order::Backward => ", in order of time, backward",
    };
    if chosen.fixed_keys == 0 {
        return format!("all{order}");
    }
    let keys: Vec<_> = layout
        .keys
        .iter()
        .take(chosen.fixed_keys)
        .map(|&place| layout.columns[place].name.as_str())
        .collect();
    format!("key look-up ({}){order}", keys.join(", "))
}

struct Printer {
    node: *mut pg_sys::ForeignScanState,
    output: *mut pg_sys::ExplainState,
}

impl Printer {
    /// Conditions as SQL; none where there are none.
    ///
    /// # Safety
    /// They are of the node's plan.
    unsafe fn print(&self, clauses: impl Iterator<Item = *mut pg_sys::Expr>) -> Option<String> {
        let mut list = PgList::<pg_sys::Expr>::new();
        for clause in clauses {
            list.push(clause);
        }
        if list.is_empty() {
            return None;
        }
        // SAFETY: as the caller says; the text is palloc'd.
        unsafe {
            let all = pg_sys::make_ands_explicit(list.into_pg());
            let context = pg_sys::set_deparse_context_plan(
                (*self.output).deparse_cxt,
                (*self.node).ss.ps.plan,
                std::ptr::null_mut(),
            );
            let prefix = PgList::<()>::from_pg((*self.output).rtable).len() > 1;
            let printed = pg_sys::deparse_expression(all.cast(), context, prefix, false);
            Some(CStr::from_ptr(printed).to_string_lossy().into_owned())
        }
    }
}

/// # Safety
/// The output is EXPLAIN's.
unsafe fn text(output: *mut pg_sys::ExplainState, label: &CStr, value: &str) {
    let value = CString::new(value).unwrap_or_default();
    // SAFETY: both are read before this returns.
    unsafe { pg_sys::ExplainPropertyText(label.as_ptr(), value.as_ptr(), output) }
}

/// # Safety
/// The output is EXPLAIN's.
unsafe fn integer(output: *mut pg_sys::ExplainState, label: &CStr, value: u64) {
    // SAFETY: as the caller says.
    unsafe {
        pg_sys::ExplainPropertyInteger(label.as_ptr(), std::ptr::null(), value as i64, output);
    }
}
