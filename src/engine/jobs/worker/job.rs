//! The process of one run: connected as the job's role, it does the work and says how it went.

#![expect(unsafe_code, reason = "the entry point of a process is a C function")]

use super::{command, process};
use crate::engine::jobs::catalog::{self, Run};
use crate::error::{OrRaise, Result};
use crate::postgres::subtransaction::Failure;
use crate::postgres::{deadline, role};
use pgrx::PgTryBuilder;
use pgrx::bgworkers::BackgroundWorker;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::panic::AssertUnwindSafe;

/// A job's process; its argument is the run.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gemba_job_main(argument: pg_sys::Datum) {
    let id = argument.value() as i64;
    let numbers: Vec<u32> = BackgroundWorker::get_extra()
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    let [database, role, can_login] = numbers[..] else {
        return;
    };
    process::begin();
    process::connect_as(database.into(), role.into(), can_login != 0);
    // Whoever gave the run up meanwhile, because this process was slow to start, is believed.
    let Some(run) = process::transaction(|| in_catalog(|| catalog::take_over(id))) else {
        return;
    };
    let text = std::ffi::CString::new(run.command.as_str()).unwrap_or_default();
    process::show(Some(&text));
    if let Err(failure) = perform(&run, &text) {
        log!(
            "gemba: job {:?} failed: {}",
            run.job,
            catalog::shortened(&failure.message)
        );
        process::transaction(|| in_catalog(|| catalog::fail(run.id, &failure)));
    }
    // The run has ended, whatever becomes of this process; if this is not done, the scheduler does it.
    process::transaction(|| in_catalog(catalog::settle));
}

/// The catalog belongs to the extension, and what the session calls `=` or `now()` is the job's affair.
fn in_catalog<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    role::with_pinned_search_path(|| role::as_extension(work))
}

fn perform(run: &Run, text: &core::ffi::CStr) -> Result<(), Failure> {
    // SAFETY: begins and ends a transaction around the work; after an error it is aborted, and the session is
    // as it was before.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        let outcome = deadline::within(run.timeout_ms, || {
            PgTryBuilder::new(AssertUnwindSafe(|| {
                let rows = command::execute(text).or_raise();
                process::allow_writing();
                pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
                in_catalog(|| catalog::succeed(run.id, i64::try_from(rows).unwrap_or(i64::MAX)))
                    .or_raise();
                pg_sys::PopActiveSnapshot();
                // Constraints and triggers that were put off to this moment belong to the work, and can fail.
                pg_sys::CommitTransactionCommand();
                Ok(())
            }))
            .catch_others(|error| Err(Failure::of(&error).of_deadline(deadline::passed())))
            .execute()
        });
        if outcome.is_err() {
            pg_sys::AbortCurrentTransaction();
        }
        outcome
    }
}
