//! What a trigger's function is told.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::prelude::*;
use std::ffi::CStr;

/// What the server passes to a trigger.
///
/// # Errors
/// Raises `39P01` when the function was not called as one.
///
/// # Safety
/// `fcinfo` is the argument of a call by PostgreSQL.
pub unsafe fn data(fcinfo: pg_sys::FunctionCallInfo) -> *mut pg_sys::TriggerData {
    // SAFETY: called_as_trigger looks at the node tag before the pointer is used as TriggerData.
    unsafe {
        if !pgrx::trigger_support::called_as_trigger(fcinfo) {
            pgrx::ereport!(
                ERROR,
                PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "this function can only be called as a trigger"
            );
        }
        (*fcinfo).context.cast()
    }
}

/// The n-th argument of a trigger; empty when there is none.
pub fn argument(trigger: &pg_sys::Trigger, index: i16) -> String {
    if index >= trigger.tgnargs {
        return String::new();
    }
    // SAFETY: tgargs holds tgnargs C strings.
    unsafe { CStr::from_ptr(*trigger.tgargs.offset(index as isize)) }
        .to_string_lossy()
        .into_owned()
}
