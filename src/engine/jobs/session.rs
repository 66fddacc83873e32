//! Runs what is due here and now, in the caller's transaction: the same work without a worker.
//!
//! Each job runs in a sub-transaction, as its role, in the restricted way in which REFRESH MATERIALIZED VIEW
//! does: it leaves no setting changed and nothing behind that would later run with the caller's rights.
//! Beginning, work and end are one transaction, so a crash leaves the job due, and nothing else.

use super::catalog::{self, Run, Runner};
use crate::error::{OrRaise, Result};
use crate::gucs;
use crate::postgres::subtransaction::{self, Failure};
use crate::postgres::{deadline, role, spi};
use pgrx::prelude::*;

/// What became of one run.
pub struct Outcome {
    pub run: Run,
    pub result: Result<u64, Failure>,
}

/// Runs up to `most` due jobs, those that the caller could run by SET ROLE. One that becomes due again
/// meanwhile waits for the next call.
pub fn run_due(most: i32) -> Result<Vec<Outcome>> {
    role::require_current_snapshots("jobs cannot be run")?;
    let caller = role::current();
    let begun = role::as_extension(|| {
        catalog::end_orphans(&[])?;
        catalog::now()
    })?;
    let mut outcomes = Vec::new();
    if !gucs::RUN_JOBS.get() {
        notice!("gemba: gemba.run_jobs is off in this database: nothing runs");
        return Ok(outcomes);
    }
    while outcomes.len() < usize::try_from(most).unwrap_or(usize::MAX) {
        let run = role::as_extension(|| catalog::begin_due(1, begun, Runner::Session(caller)))?;
        let Some(run) = run.into_iter().next() else {
            break;
        };
        let result = execute(&run);
        role::as_extension(|| match &result {
            Ok(rows) => catalog::succeed(run.id, i64::try_from(*rows).unwrap_or(i64::MAX)),
            Err(failure) => catalog::fail(run.id, failure),
        })?;
        outcomes.push(Outcome { run, result });
    }
    Ok(outcomes)
}

fn execute(run: &Run) -> Result<u64, Failure> {
    deadline::within(run.timeout_ms, || {
        subtransaction::run(|| {
            let run_as = role::as_extension(|| catalog::role_of(run)).or_raise();
            role::as_owner(run_as, || spi::write(&run.command, &[]).or_raise())
        })
        .map_err(|failure| timed_out(failure, deadline::passed()))
    })
}

/// Says what a cancelled run was cancelled for.
pub fn timed_out(failure: Failure, by_deadline: bool) -> Failure {
    if by_deadline && failure.sqlstate == "57014" {
        return Failure {
            message: "the job ran longer than its timeout".to_owned(),
            ..failure
        };
    }
    failure
}
