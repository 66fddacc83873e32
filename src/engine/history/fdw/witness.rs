//! Triggers that were shown a row as it is no more.
//!
//! For an ordinary table the server locks a row before it calls BEFORE triggers. Rows of a wrapper it hands over
//! as they were read, and keeps them for AFTER triggers. Who then had to wait for another transaction, and found the
//! row changed, cannot take that back. (Transition tables there are none: the server refuses them.)

#![expect(unsafe_code, reason = "reads the executor's structures")]

use super::super::late::serialization;
use crate::error::Result;
use pgrx::prelude::*;

/// # Errors
/// `40001` when triggers, other than rollups' own, see rows that this kind of statement changes.
///
/// # Safety
/// The target is the executor's; the event is `TRIGGER_TYPE_UPDATE` or `TRIGGER_TYPE_DELETE`.
pub unsafe fn require_no_witness(target: *mut pg_sys::ResultRelInfo, event: u32) -> Result<()> {
    // SAFETY: as the caller says; a descriptor has so many triggers.
    let triggers = unsafe {
        let triggers = (*target).ri_TrigDesc;
        if triggers.is_null() || (*triggers).triggers.is_null() {
            return Ok(());
        }
        std::slice::from_raw_parts((*triggers).triggers, (*triggers).numtriggers as usize)
    };
    let wanted = event | pg_sys::TRIGGER_TYPE_ROW;
    if triggers.iter().any(|trigger| {
        trigger.tgtype as u32 & wanted == wanted && fires(trigger) && !is_own(trigger)
    }) {
        return Err(serialization());
    }
    Ok(())
}

fn fires(trigger: &pg_sys::Trigger) -> bool {
    // SAFETY: reads a global of this backend.
    let replica = unsafe { pg_sys::SessionReplicationRole }
        == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as i32;
    match trigger.tgenabled as u8 {
        pg_sys::TRIGGER_FIRES_ALWAYS => true,
        pg_sys::TRIGGER_FIRES_ON_REPLICA => replica,
        pg_sys::TRIGGER_FIRES_ON_ORIGIN => !replica,
        _ => false,
    }
}

/// Those of rollups do not mind: they note the times of rows, and an UPDATE that changes these is a deletion to
/// whoever waited for it.
fn is_own(trigger: &pg_sys::Trigger) -> bool {
    // SAFETY: look-ups in the system caches.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"gemba_internal".as_ptr(), true);
        schema != pg_sys::InvalidOid && pg_sys::get_func_namespace(trigger.tgfoid) == schema
    }
}
