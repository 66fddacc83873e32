//! UPDATE and DELETE. A row is made this transaction's own first; then one of a segment is marked, and a late one
//! changed as any row of an ordinary table. New versions of rows in segments are late rows.

#![expect(unsafe_code, reason = "called by the server's executor")]

use super::super::unique::duplicate;
use super::claim::{Claim, Old};
use super::modify::{Changer, check_new_row, state};
use super::moved;
use super::places::{Places, Row};
use super::witness::require_no_witness;
use crate::error::{OrRaise, Result};
use crate::postgres::descriptor;
use pgrx::prelude::*;

unsafe extern "C-unwind" {
    fn ExecComputeStoredGenerated(
        target: *mut pg_sys::ResultRelInfo,
        estate: *mut pg_sys::EState,
        slot: *mut pg_sys::TupleTableSlot,
        operation: pg_sys::CmdType::Type,
    );
}

/// Computes the generated columns of a row.
///
/// # Safety
/// The slot holds a row for this table.
pub unsafe fn compute_generated(
    target: *mut pg_sys::ResultRelInfo,
    estate: *mut pg_sys::EState,
    slot: *mut pg_sys::TupleTableSlot,
    operation: pg_sys::CmdType::Type,
) {
    // SAFETY: as the caller says.
    unsafe {
        let constraints = (*(*(*target).ri_RelationDesc).rd_att).constr;
        if !constraints.is_null() && (*constraints).has_generated_stored {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                ExecComputeStoredGenerated(target, estate, slot, operation)
            });
        }
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn delete(
    estate: *mut pg_sys::EState,
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    plan_slot: *mut pg_sys::TupleTableSlot,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the executor's own structures.
    unsafe {
        let Some(changer) = state(target) else {
            return std::ptr::null_mut();
        };
        let (row, old) = changer.row_of(target, plan_slot).or_raise();
        let row = match changer.claim(estate, target, row, &old).or_raise() {
            Claim::Gone => return std::ptr::null_mut(),
            Claim::Same(row) => {
                if !(*target).ri_projectReturning.is_null() {
                    // Its head lies here only as long as this call.
                    let copy = pg_sys::heap_copytuple(&raw const old.tuple as *mut _);
                    pg_sys::ExecForceStoreHeapTuple(copy, slot, true);
                }
                row
            }
            Claim::Changed(row, newest) => {
                require_no_witness(target, pg_sys::TRIGGER_TYPE_DELETE).or_raise();
                // The slot is emptied by the second look.
                if !(*target).ri_projectReturning.is_null() {
                    pg_sys::ExecCopySlot(slot, newest);
                }
                if is_empty(changer.second_look(target, newest)) {
                    return std::ptr::null_mut();
                }
                row
            }
        };
        changer.take_away(estate, row).or_raise();
        slot
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn update(
    estate: *mut pg_sys::EState,
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    plan_slot: *mut pg_sys::TupleTableSlot,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the executor's own structures.
    unsafe {
        let Some(changer) = state(target) else {
            return std::ptr::null_mut();
        };
        let (row, old) = changer.row_of(target, plan_slot).or_raise();
        let mut slot = slot;
        let mut same = true;
        let row = match changer.claim(estate, target, row, &old).or_raise() {
            Claim::Gone => return std::ptr::null_mut(),
            Claim::Same(row) => row,
            Claim::Changed(row, newest) => {
                require_no_witness(target, pg_sys::TRIGGER_TYPE_UPDATE).or_raise();
                same = false;
                pg_sys::ExecCopySlot((*target).ri_oldTupleSlot, newest);
                let still = changer.second_look(target, newest);
                if is_empty(still) {
                    return std::ptr::null_mut();
                }
                slot = pg_sys::ExecGetUpdateNewTuple(target, still, (*target).ri_oldTupleSlot);
                (*slot).tts_tableOid = (*(*target).ri_RelationDesc).rd_id;
                compute_generated(target, estate, slot, pg_sys::CmdType::CMD_UPDATE);
                row
            }
        };
        let relation = (*target).ri_RelationDesc;
        let stays = !(*(*relation).rd_rel).relispartition
            || (*target).ri_RootResultRelInfo.is_null()
            || pg_sys::ExecPartitionCheck(target, slot, estate, false);
        if !stays {
            changer.take_away(estate, row).or_raise();
            moved::insert(changer.modify, estate, target, slot, plan_slot);
            return slot;
        }
        check_new_row(target, slot, estate, true);
        let looked_for = same && !changer.has_other_key(&old, slot);
        match row {
            Row::InSegment { .. } => {
                changer.take_away(estate, row).or_raise();
                if !looked_for {
                    changer.refuse_duplicate(estate, slot).or_raise();
                }
                changer.late.insert(&[slot], estate);
            }
            Row::Late(tid) => {
                if !looked_for {
                    changer.refuse_duplicate(estate, slot).or_raise();
                }
                changer.late.update(tid, slot, estate);
            }
        }
        slot
    }
}

/// # Safety
/// The slot is one of the executor's, or none.
unsafe fn is_empty(slot: *mut pg_sys::TupleTableSlot) -> bool {
    // SAFETY: as the caller says.
    unsafe { slot.is_null() || (*slot).tts_flags & pg_sys::TTS_FLAG_EMPTY as u16 != 0 }
}

impl Changer {
    /// Whether a row that somebody else has changed is still one that was asked for: the plan's row for it, or none.
    ///
    /// # Safety
    /// The slot has what the row is now.
    unsafe fn second_look(
        &mut self,
        target: *mut pg_sys::ResultRelInfo,
        newest: *mut pg_sys::TupleTableSlot,
    ) -> *mut pg_sys::TupleTableSlot {
        // SAFETY: as the caller says; the executor has made the node ready for this.
        unsafe {
            pg_sys::EvalPlanQual(
                &raw mut (*self.modify).mt_epqstate,
                (*target).ri_RelationDesc,
                (*target).ri_RangeTableIndex,
                newest,
            )
        }
    }

    /// # Safety
    /// This transaction has claimed the row.
    unsafe fn take_away(&mut self, estate: *mut pg_sys::EState, row: Row) -> Result<()> {
        match row {
            Row::InSegment { place, row } => Places::of(estate, &self.layout)
                .borrow_mut()
                .mark(place, row)?,
            // SAFETY: as the caller says.
            Row::Late(tid) => unsafe { self.late.delete(tid, estate) },
        }
        Ok(())
    }

    /// # Safety
    /// The slot holds a row of this partition.
    unsafe fn refuse_duplicate(
        &mut self,
        estate: *mut pg_sys::EState,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe {
            if self.taken(estate, &[slot])?.contains(&true) {
                return Err(duplicate(&self.late, self.key_of(slot)));
            }
        }
        Ok(())
    }

    /// # Safety
    /// The slot holds a row of this partition.
    unsafe fn has_other_key(&self, old: &Old, slot: *mut pg_sys::TupleTableSlot) -> bool {
        let layout = &self.layout;
        // SAFETY: as the caller says; both rows have the types of the partition's columns.
        unsafe {
            pg_sys::slot_getallattrs(slot);
            layout.keys.iter().chain([&layout.order]).any(|&place| {
                let (value, null) = (
                    *(*slot).tts_values.add(place),
                    *(*slot).tts_isnull.add(place),
                );
                null != old.nulls[place]
                    || !null
                        && !descriptor::same(
                            value,
                            old.values[place],
                            descriptor::storage(layout.columns[place].type_oid),
                        )
            })
        }
    }
}
