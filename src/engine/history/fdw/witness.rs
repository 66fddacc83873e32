//! Triggers that were shown a row as it is no more.
//!
//! For an ordinary table the server locks a row before it calls BEFORE triggers. Rows of a wrapper it hands over
//! as they were read, and keeps them for AFTER triggers and transition tables. Who then had to wait for another
//! transaction, and found the row changed, cannot take that back.

#![expect(unsafe_code, reason = "reads the executor's structures")]

use super::super::late::serialization;
use crate::error::Result;
use pgrx::prelude::*;

/// # Errors
/// `40001` when triggers, other than gemba's own, see rows that this kind of statement changes.
///
/// # Safety
/// The target is the executor's; the event is `TRIGGER_TYPE_UPDATE` or `TRIGGER_TYPE_DELETE`.
pub unsafe fn require_no_witness(target: *mut pg_sys::ResultRelInfo, event: u32) -> Result<()> {
    // SAFETY: as the caller says. Transition tables belong to the table that the statement names.
    unsafe {
        let root = (*target).ri_RootResultRelInfo;
        let seen = [target, if root.is_null() { target } else { root }]
            .into_iter()
            .any(|table| {
                triggers_of(table)
                    .iter()
                    .any(|trigger| sees_rows(trigger, event) && fires(trigger) && !is_own(trigger))
            });
        if seen {
            return Err(serialization());
        }
    }
    Ok(())
}

/// # Safety
/// The table is the executor's, and outlives what is returned.
unsafe fn triggers_of<'a>(table: *mut pg_sys::ResultRelInfo) -> &'a [pg_sys::Trigger] {
    // SAFETY: as the caller says; a descriptor has so many triggers.
    unsafe {
        let triggers = (*table).ri_TrigDesc;
        if triggers.is_null() || (*triggers).triggers.is_null() {
            return &[];
        }
        std::slice::from_raw_parts((*triggers).triggers, (*triggers).numtriggers as usize)
    }
}

/// One by one, or those of a statement as they were.
fn sees_rows(trigger: &pg_sys::Trigger, event: u32) -> bool {
    let kind = trigger.tgtype as u32;
    kind & event != 0 && (kind & pg_sys::TRIGGER_TYPE_ROW != 0 || !trigger.tgoldtable.is_null())
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

/// Those of rollups note the times of rows, which are the same before and after: an UPDATE that changes them is a
/// deletion to whoever waited.
fn is_own(trigger: &pg_sys::Trigger) -> bool {
    // SAFETY: look-ups in the catalog.
    unsafe {
        pg_sys::getExtensionOfObject(pg_sys::ProcedureRelationId, trigger.tgfoid)
            == pg_sys::get_extension_oid(c"gemba".as_ptr(), true)
    }
}
