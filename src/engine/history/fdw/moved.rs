//! An UPDATE that moves a row out of a compressed partition. The server moves rows out of ordinary partitions only;
//! this does what it does then: the new row goes to the partition that it belongs to, with that partition's triggers,
//! constraints and indexes.

#![expect(unsafe_code, reason = "works with the server's executor")]

use super::change::compute_generated;
use super::modify::check_policies;
use pgrx::prelude::*;

unsafe extern "C-unwind" {
    fn ExecSetupPartitionTupleRouting(
        estate: *mut pg_sys::EState,
        root: pg_sys::Relation,
    ) -> *mut pg_sys::PartitionTupleRouting;
    fn ExecFindPartition(
        modify: *mut pg_sys::ModifyTableState,
        root: *mut pg_sys::ResultRelInfo,
        routing: *mut pg_sys::PartitionTupleRouting,
        slot: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
    ) -> *mut pg_sys::ResultRelInfo;
}

/// # Safety
/// The slot holds a row of the partition `from`, for which it is not, and which the query changes through its parent.
pub unsafe fn insert(
    modify: *mut pg_sys::ModifyTableState,
    estate: *mut pg_sys::EState,
    from: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    plan_slot: *mut pg_sys::TupleTableSlot,
) {
    // SAFETY: as the caller says; the server cleans up what hangs on the node.
    unsafe {
        check_policies(from, slot, estate, true);
        let root = (*modify).rootResultRelInfo;
        if (*modify).mt_partition_tuple_routing.is_null() {
            let before = pg_sys::MemoryContextSwitchTo((*estate).es_query_cxt);
            (*modify).mt_partition_tuple_routing = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                ExecSetupPartitionTupleRouting(estate, (*root).ri_RelationDesc)
            });
            (*modify).mt_root_tuple_slot =
                pg_sys::table_slot_create((*root).ri_RelationDesc, std::ptr::null_mut());
            pg_sys::MemoryContextSwitchTo(before);
        }
        let map = pg_sys::ExecGetChildToRootMap(from);
        let of_root = if map.is_null() {
            slot
        } else {
            pg_sys::execute_attr_map_slot((*map).attrMap, slot, (*modify).mt_root_tuple_slot)
        };
        let routing = (*modify).mt_partition_tuple_routing;
        let to = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            ExecFindPartition(modify, root, routing, of_root, estate)
        });
        let map = map_to(to, estate);
        let row = if map.is_null() {
            // A copy: what is computed for the other partition is nothing of this one.
            let copy = pg_sys::ExecGetReturningSlot(estate, to);
            pg_sys::ExecCopySlot(copy, of_root)
        } else {
            pg_sys::execute_attr_map_slot((*map).attrMap, of_root, (*to).ri_PartitionTupleSlot)
        };
        insert_into(estate, to, row, plan_slot);
    }
}

/// # Safety
/// A partition that the server found.
unsafe fn map_to(
    to: *mut pg_sys::ResultRelInfo,
    estate: *mut pg_sys::EState,
) -> *mut pg_sys::TupleConversionMap {
    // SAFETY: as the caller says.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            let _ = estate;
            (*to).ri_RootToPartitionMap
        }
        #[cfg(not(feature = "pg15"))]
        pg_sys::ExecGetRootToChildMap(to, estate)
    }
}

/// # Safety
/// The slot holds a row for the partition.
unsafe fn insert_into(
    estate: *mut pg_sys::EState,
    to: *mut pg_sys::ResultRelInfo,
    mut row: *mut pg_sys::TupleTableSlot,
    plan_slot: *mut pg_sys::TupleTableSlot,
) {
    // SAFETY: as the caller says.
    unsafe {
        let relation = (*to).ri_RelationDesc;
        let triggers = (*to).ri_TrigDesc;
        if (*(*relation).rd_rel).relhasindex && (*to).ri_IndexRelationDescs.is_null() {
            pg_sys::ExecOpenIndices(to, false);
        }
        pg_sys::ExecMaterializeSlot(row);
        (*row).tts_tableOid = (*relation).rd_id;
        let before_row = !triggers.is_null() && (*triggers).trig_insert_before_row;
        if before_row && !pg_sys::ExecBRInsertTriggers(estate, to, row) {
            return;
        }
        compute_generated(to, estate, row, pg_sys::CmdType::CMD_INSERT);
        let mut recheck = std::ptr::null_mut();
        let wrapper = (*to).ri_FdwRoutine;
        if wrapper.is_null() {
            check_policies(to, row, estate, true);
            if !(*(*relation).rd_att).constr.is_null() {
                pg_sys::ExecConstraints(to, row, estate);
            }
            if before_row {
                pg_sys::ExecPartitionCheck(to, row, estate, true);
            }
            pg_sys::table_tuple_insert(
                relation,
                row,
                (*estate).es_output_cid,
                0,
                std::ptr::null_mut(),
            );
            if (*to).ri_NumIndices > 0 {
                recheck = pg_sys::ExecInsertIndexTuples(
                    to,
                    row,
                    estate,
                    false,
                    false,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    #[cfg(not(feature = "pg15"))]
                    false,
                );
            }
        } else if let Some(insert) = (*wrapper).ExecForeignInsert {
            row = insert(estate, to, row, plan_slot);
            if row.is_null() {
                return;
            }
        }
        pg_sys::ExecARInsertTriggers(estate, to, row, recheck, std::ptr::null_mut());
    }
}
