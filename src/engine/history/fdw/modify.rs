//! Writing a compressed partition: what INSERT, COPY, UPDATE and DELETE have in common.
//!
//! The server checks neither constraints nor policies of rows that it hands to a wrapper. Here they are those of an
//! ordinary partition, so they are checked as it does for one.

#![expect(unsafe_code, reason = "called by the server's executor")]

use super::super::late::Late;
use super::super::layout::Layout;
use super::super::store::Store;
use super::super::unique::Probe;
use super::{change, insert, places, truncate};
use crate::error::OrRaise;
use pgrx::PgMemoryContexts;
use pgrx::prelude::*;
use std::rc::Rc;

pub fn register(routine: &mut pg_sys::FdwRoutine) {
    routine.AddForeignUpdateTargets = Some(add_targets);
    routine.BeginForeignModify = Some(begin_modify);
    routine.EndForeignModify = Some(end);
    routine.BeginForeignInsert = Some(begin_insert);
    routine.EndForeignInsert = Some(end);
    routine.GetForeignModifyBatchSize = Some(insert::batch_size);
    routine.ExecForeignInsert = Some(insert::one);
    routine.ExecForeignBatchInsert = Some(insert::many);
    routine.ExecForeignUpdate = Some(change::update);
    routine.ExecForeignDelete = Some(change::delete);
    routine.ExecForeignTruncate = Some(truncate::truncate);
}

/// The names under which the executor finds what tells rows apart.
const ROW: &std::ffi::CStr = c"ctid";
const WHOLE: &std::ffi::CStr = c"wholerow";

/// A partition that is being changed.
pub struct Changer {
    pub layout: Rc<Layout>,
    pub store: Store,
    pub late: Late,
    pub probe: Probe,
    pub modify: *mut pg_sys::ModifyTableState,
    /// `ON CONFLICT DO NOTHING`
    pub do_nothing: bool,
    /// Where in the rows of the plan the row's identity, and its present values, stand.
    pub row_at: pg_sys::AttrNumber,
    pub whole_at: pg_sys::AttrNumber,
}

/// # Safety
/// Called by the planner.
#[pg_guard]
unsafe extern "C-unwind" fn add_targets(
    root: *mut pg_sys::PlannerInfo,
    rti: pg_sys::Index,
    _entry: *mut pg_sys::RangeTblEntry,
    _relation: pg_sys::Relation,
) {
    // SAFETY: the planner's own structures. The whole row is what RETURNING and triggers show, and by which the row is
    // found again when somebody else has changed its segment.
    unsafe {
        let row = pg_sys::makeVar(
            rti as _,
            pg_sys::SelfItemPointerAttributeNumber as i16,
            pg_sys::TIDOID,
            -1,
            pg_sys::InvalidOid,
            0,
        );
        pg_sys::add_row_identity_var(root, row, rti, ROW.as_ptr());
        let whole = pg_sys::makeVar(
            rti as _,
            pg_sys::InvalidAttrNumber as i16,
            pg_sys::RECORDOID,
            -1,
            pg_sys::InvalidOid,
            0,
        );
        pg_sys::add_row_identity_var(root, whole, rti, WHOLE.as_ptr());
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn begin_modify(
    modify: *mut pg_sys::ModifyTableState,
    target: *mut pg_sys::ResultRelInfo,
    _private: *mut pg_sys::List,
    _subplan: i32,
    flags: i32,
) {
    if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0 {
        return;
    }
    // SAFETY: the executor's own structures.
    unsafe { begin(modify, target) }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn begin_insert(
    modify: *mut pg_sys::ModifyTableState,
    target: *mut pg_sys::ResultRelInfo,
) {
    // SAFETY: the executor's own structures. An UPDATE may move rows into a partition that it changes too.
    unsafe {
        if (*target).ri_FdwState.is_null() {
            begin(modify, target);
        }
    }
}

/// # Safety
/// Node and relation are the executor's.
unsafe fn begin(modify: *mut pg_sys::ModifyTableState, target: *mut pg_sys::ResultRelInfo) {
    // SAFETY: as the caller says. COPY has a state without a plan. The state is dropped with the query's memory.
    unsafe {
        let plan = (*modify).ps.plan.cast::<pg_sys::ModifyTable>();
        let memory = (*(*modify).ps.state).es_query_cxt;
        let do_nothing = !plan.is_null()
            && (*plan).onConflictAction == pg_sys::OnConflictAction::ONCONFLICT_NOTHING;
        let (mut row_at, mut whole_at) = (0, 0);
        if matches!(
            (*modify).operation,
            pg_sys::CmdType::CMD_UPDATE | pg_sys::CmdType::CMD_DELETE
        ) && !(*modify).ps.lefttree.is_null()
        {
            let columns = (*(*(*modify).ps.lefttree).plan).targetlist;
            row_at = pg_sys::ExecFindJunkAttributeInTlist(columns, ROW.as_ptr());
            whole_at = pg_sys::ExecFindJunkAttributeInTlist(columns, WHOLE.as_ptr());
        }
        let before = pg_sys::MemoryContextSwitchTo(memory);
        let layout = Layout::need((*(*target).ri_RelationDesc).rd_id);
        let changer = Changer {
            store: Store::open(Rc::clone(&layout), pg_sys::RowExclusiveLock),
            late: Late::open(&layout, memory, do_nothing).or_raise(),
            probe: Probe::new(memory),
            layout,
            modify,
            do_nothing,
            row_at,
            whole_at,
        };
        (*target).ri_FdwState = PgMemoryContexts::For(memory)
            .leak_and_drop_on_delete(Some(changer))
            .cast();
        pg_sys::MemoryContextSwitchTo(before);
    }
}

/// # Safety
/// The partition is one that `begin` prepared.
pub unsafe fn state<'a>(target: *mut pg_sys::ResultRelInfo) -> Option<&'a mut Changer> {
    // SAFETY: as the caller says.
    unsafe {
        (*target)
            .ri_FdwState
            .cast::<Option<Changer>>()
            .as_mut()
            .and_then(Option::as_mut)
    }
}

/// # Safety
/// Called by the executor; for a partition that rows were moved into as well as changed, twice.
#[pg_guard]
unsafe extern "C-unwind" fn end(estate: *mut pg_sys::EState, target: *mut pg_sys::ResultRelInfo) {
    // SAFETY: the state is as `begin` left it, or empty.
    unsafe {
        let state = (*target).ri_FdwState.cast::<Option<Changer>>();
        if state.is_null() {
            return;
        }
        places::write(estate);
        if let Some(changer) = (*state).take() {
            changer.store.close();
            changer.late.close();
        }
        (*target).ri_FdwState = std::ptr::null_mut();
    }
}

/// Checks what the server leaves to a wrapper: policies, NOT NULL and CHECK, and that the row belongs here.
///
/// # Safety
/// The slot holds a row for this partition.
pub unsafe fn check_new_row(
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    estate: *mut pg_sys::EState,
    of_update: bool,
) {
    // SAFETY: as the caller says.
    unsafe {
        let relation = (*target).ri_RelationDesc;
        (*slot).tts_tableOid = (*relation).rd_id;
        check_policies(target, slot, estate, of_update);
        if !(*(*relation).rd_att).constr.is_null() {
            pg_sys::ExecConstraints(target, slot, estate);
        }
        let triggers = (*target).ri_TrigDesc;
        let may_be_elsewhere = (*target).ri_RootResultRelInfo.is_null()
            || (!triggers.is_null() && (*triggers).trig_insert_before_row)
            || of_update;
        if (*(*relation).rd_rel).relispartition && may_be_elsewhere {
            pg_sys::ExecPartitionCheck(target, slot, estate, true);
        }
    }
}

/// # Safety
/// As for [`check_new_row`].
pub unsafe fn check_policies(
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    estate: *mut pg_sys::EState,
    of_update: bool,
) {
    let kind = if of_update {
        pg_sys::WCOKind::WCO_RLS_UPDATE_CHECK
    } else {
        pg_sys::WCOKind::WCO_RLS_INSERT_CHECK
    };
    // SAFETY: as the caller says.
    unsafe {
        if !(*target).ri_WithCheckOptions.is_null() {
            pg_sys::ExecWithCheckOptions(kind, target, slot, estate);
        }
    }
}
