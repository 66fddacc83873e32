//! Executes a command as a client's would be: top level, so that procedures may commit and VACUUM works.

#![expect(
    unsafe_code,
    reason = "the server's own way of running a statement, step by step"
)]

use crate::error::{Error, Result};
use pgrx::prelude::*;
use pgrx::{PgList, is_a};

/// Runs the statements of `text` in the transaction that is open; returns the number of rows of the last.
///
/// # Errors
/// `0A000` when it has transaction control of its own. Everything else is raised as PostgreSQL's error.
pub fn execute(text: &core::ffi::CStr) -> Result<u64> {
    // SAFETY: the steps of exec_simple_query(), with everything that has to outlive a COMMIT of the statement's
    // own in a context of its own.
    unsafe {
        let context = pg_sys::AllocSetContextCreateExtended(
            pg_sys::TopMemoryContext,
            c"gemba job".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        pg_sys::MemoryContextSwitchTo(context);
        let statements = PgList::<pg_sys::RawStmt>::from_pg(pg_sys::pg_parse_query(text.as_ptr()));
        for statement in statements.iter_ptr() {
            if is_a((*statement).stmt, pg_sys::NodeTag::T_TransactionStmt) {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "a job's command cannot begin or end transactions",
                )
                .detail("the command is one transaction")
                .hint("CALL a procedure, which may commit"));
            }
            if is_a((*statement).stmt, pg_sys::NodeTag::T_CopyStmt)
                && (*(*statement).stmt.cast::<pg_sys::CopyStmt>())
                    .filename
                    .is_null()
            {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "a job has no client to copy from or to",
                )
                .detail("COPY … FROM STDIN or TO STDOUT")
                .hint("COPY a file of the server, or INSERT … SELECT"));
            }
        }
        let alone = statements.len() == 1;
        let mut rows = 0;
        for statement in statements.iter_ptr() {
            rows = run_one(statement, text, alone);
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CommandCounterIncrement();
        }
        Ok(rows)
    }
}

/// # Safety
/// In a transaction, with the statement in a memory context that outlives it.
unsafe fn run_one(statement: *mut pg_sys::RawStmt, text: &core::ffi::CStr, alone: bool) -> u64 {
    // SAFETY: as the caller vouches; the portal is dropped here, or by the transaction's end after an error.
    unsafe {
        let snapshot = pg_sys::analyze_requires_snapshot(statement);
        if snapshot {
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        let queries = pg_sys::pg_analyze_and_rewrite_fixedparams(
            statement,
            text.as_ptr(),
            std::ptr::null(),
            0,
            std::ptr::null_mut(),
        );
        let plans = pg_sys::pg_plan_queries(
            queries,
            text.as_ptr(),
            pg_sys::CURSOR_OPT_PARALLEL_OK as i32,
            std::ptr::null_mut(),
        );
        if snapshot {
            pg_sys::PopActiveSnapshot();
        }
        let portal = pg_sys::CreatePortal(c"".as_ptr(), true, true);
        (*portal).visible = false;
        pg_sys::PortalDefineQuery(
            portal,
            std::ptr::null(),
            text.as_ptr(),
            pg_sys::CreateCommandTag((*statement).stmt),
            plans,
            std::ptr::null_mut(),
        );
        pg_sys::PortalStart(portal, std::ptr::null_mut(), 0, std::ptr::null_mut());
        let receiver = pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone);
        let mut completion = pg_sys::QueryCompletion::default();
        pg_sys::PortalRun(
            portal,
            core::ffi::c_long::MAX,
            alone,
            #[cfg(not(feature = "pg18"))]
            true,
            receiver,
            receiver,
            &raw mut completion,
        );
        if let Some(destroy) = (*receiver).rDestroy {
            destroy(receiver);
        }
        pg_sys::PortalDrop(portal, false);
        completion.nprocessed
    }
}
