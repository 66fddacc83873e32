//! Expressions of a plan, evaluated by the server's executor.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::pg_sys;

/// The value of an expression, in the memory of the current row; none where it is NULL.
///
/// # Safety
/// The expression was prepared for a node of a running query, whose context this is.
pub unsafe fn value(
    state: *mut pg_sys::ExprState,
    context: *mut pg_sys::ExprContext,
) -> Option<pg_sys::Datum> {
    let mut null = false;
    // SAFETY: as the caller says.
    let datum = unsafe { pg_sys::ExecEvalExprSwitchContext(state, context, &raw mut null) };
    (!null).then_some(datum)
}

/// Do all of the conditions hold? Null stands for none.
///
/// # Safety
/// As for [`value`]; the row stands in the context.
pub unsafe fn holds(state: *mut pg_sys::ExprState, context: *mut pg_sys::ExprContext) -> bool {
    // SAFETY: as the caller says.
    state.is_null() || unsafe { pg_sys::ExecQual(state, context) }
}
