//! What EXPLAIN says about an aggregate on segments.

#![expect(unsafe_code, reason = "called by EXPLAIN")]

use super::node;
use super::spec::Spec;
use pgrx::prelude::*;
use std::ffi::CString;

/// # Safety
/// Called by EXPLAIN.
#[pg_guard]
pub unsafe extern "C-unwind" fn explain(
    scan: *mut pg_sys::ForeignScanState,
    state: *mut pg_sys::ExplainState,
) {
    // SAFETY: as the caller says; texts are copied.
    unsafe {
        let text = |label: &std::ffi::CStr, text: &str| {
            let text = CString::new(text).unwrap_or_default();
            pg_sys::ExplainPropertyText(label.as_ptr(), text.as_ptr(), state);
        };
        text(c"Aggregates", "computed on segments");
        if let Ok(spec) = Spec::read(node::numbers(scan).1) {
            let name = pg_sys::get_rel_name(spec.table);
            if !name.is_null() {
                pg_sys::ExplainPropertyText(c"Partition".as_ptr(), name, state);
            }
        }
        if !(*state).analyze {
            return;
        }
        if let Some(node) = node::state(scan) {
            let number = |label: &std::ffi::CStr, value: u64| {
                pg_sys::ExplainPropertyInteger(
                    label.as_ptr(),
                    std::ptr::null(),
                    value as i64,
                    state,
                );
            };
            let counts = node.counts();
            number(c"Segments Read", counts.read);
            number(c"Segments Answered by Head", node.read.by_head);
            number(c"Segments Decoded", node.read.decoded);
            number(c"Segments Skipped", counts.skipped);
            number(c"Late Rows", counts.late);
        }
    }
}
