//! Lets the planner aggregate partition by partition where that is what compressed partitions are good at.
//!
//! The server asks for partial aggregates of partitions only where `enable_partitionwise_aggregate` is on, which by
//! default it is not. It looks at the setting after the ways to read each partition are known
//! (create_grouping_paths comes after set_base_rel_pathlists), so it is on from the moment in which a compressed
//! partition offers its own until this level of the query is planned. Subqueries were planned before, and
//! whatever else is planned meanwhile, a function that is evaluated for an estimate for instance, finds it as the
//! user has it.

#![expect(
    unsafe_code,
    reason = "called by the server's planner, whose setting it changes"
)]

use pgrx::prelude::*;
use std::cell::Cell;

/// The hooks that were there before; written once, when the library is loaded.
static mut PLANNER_BEFORE: pg_sys::planner_hook_type = None;
static mut UPPER_BEFORE: pg_sys::create_upper_paths_hook_type = None;

thread_local! {
    /// What the user has, while it is on for a query.
    static USERS: Cell<Option<bool>> = const { Cell::new(None) };
}

pub fn register() {
    // SAFETY: the library is loaded once, in one thread; the callbacks are there as long as it is.
    unsafe {
        PLANNER_BEFORE = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(planner);
        UPPER_BEFORE = pg_sys::create_upper_paths_hook;
        pg_sys::create_upper_paths_hook = Some(upper_paths);
        // The query that loads the library is planned outside of the hook: an error in it ends here.
        pg_sys::RegisterXactCallback(Some(transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction), std::ptr::null_mut());
    }
}

/// Called when a compressed partition has offered its paths.
///
/// # Safety
/// The planner's own structures.
pub unsafe fn turn_on(root: *mut pg_sys::PlannerInfo, rel: *mut pg_sys::RelOptInfo) {
    // SAFETY: as the caller says.
    unsafe {
        let query = &*(*root).parse;
        let aggregates = query.hasAggs || !query.groupClause.is_null();
        if !aggregates
            || !query.groupingSets.is_null()
            || (*root).hasNonPartialAggs
            || (*root).hasNonSerialAggs
            || (*rel).reloptkind != pg_sys::RelOptKind::RELOPT_OTHER_MEMBER_REL
            || pg_sys::bms_membership((*root).all_baserels) != pg_sys::BMS_Membership::BMS_SINGLETON
            || USERS.get().is_some()
        {
            return;
        }
        USERS.set(Some(pg_sys::enable_partitionwise_aggregate));
        pg_sys::enable_partitionwise_aggregate = true;
    }
}

fn turn_back() {
    if let Some(users) = USERS.take() {
        // SAFETY: the server's variable, in its one thread.
        unsafe { pg_sys::enable_partitionwise_aggregate = users }
    }
}

// As the server has it. An error of any query's planning passes here, and what pgrx does around calls would take away
// some of what it says.
unsafe extern "C-unwind" {
    fn standard_planner(
        query: *mut pg_sys::Query,
        text: *const std::ffi::c_char,
        options: i32,
        parameters: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;
}

/// Plans a query with the setting as the user has it, and leaves it as it was. After an error the end of the transaction
/// or sub-transaction does that; a query that was being planned around it then goes on with the user's setting. Nothing
/// here needs to be dropped.
///
/// # Safety
/// Called by the server.
unsafe extern "C-unwind" fn planner(
    query: *mut pg_sys::Query,
    text: *const std::ffi::c_char,
    options: i32,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the server's variable; the hook that was there before, or what the server would have called.
    unsafe {
        let outer = USERS.take();
        let was_on = pg_sys::enable_partitionwise_aggregate;
        if let Some(users) = outer {
            pg_sys::enable_partitionwise_aggregate = users;
        }
        let plan = match PLANNER_BEFORE {
            Some(before) => before(query, text, options, parameters),
            None => standard_planner(query, text, options, parameters),
        };
        turn_back();
        if outer.is_some() {
            USERS.set(outer);
            pg_sys::enable_partitionwise_aggregate = was_on;
        }
        plan
    }
}

/// # Safety
/// Called by the server.
#[pg_guard]
unsafe extern "C-unwind" fn upper_paths(
    root: *mut pg_sys::PlannerInfo,
    stage: pg_sys::UpperRelationKind::Type,
    input: *mut pg_sys::RelOptInfo,
    output: *mut pg_sys::RelOptInfo,
    extra: *mut std::ffi::c_void,
) {
    if stage == pg_sys::UpperRelationKind::UPPERREL_FINAL {
        turn_back();
    }
    // SAFETY: the hook that was there before.
    unsafe {
        if let Some(before) = UPPER_BEFORE {
            before(root, stage, input, output, extra);
        }
    }
}

unsafe extern "C-unwind" fn transaction(event: pg_sys::XactEvent::Type, _: *mut std::ffi::c_void) {
    if event == pg_sys::XactEvent::XACT_EVENT_ABORT
        || event == pg_sys::XactEvent::XACT_EVENT_PARALLEL_ABORT
    {
        turn_back();
    }
}

unsafe extern "C-unwind" fn subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _: pg_sys::SubTransactionId,
    _: pg_sys::SubTransactionId,
    _: *mut std::ffi::c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        turn_back();
    }
}
