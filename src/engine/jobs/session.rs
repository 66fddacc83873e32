//! Runs what is due here and now, in the caller's transaction: the same work without a worker.
//!
//! Each job runs in a sub-transaction, as its role, in the restricted way in which REFRESH MATERIALIZED VIEW
//! does: it leaves no setting changed and nothing behind that would later run with the caller's rights.
//! Beginning, work and end are one transaction, so a crash leaves the job due, and nothing else.

use super::catalog::{self, Run, Runner};
use crate::error::{Error, OrRaise, Result};
use crate::gucs;
use crate::postgres::subtransaction::{self, Failure};
use crate::postgres::{role, spi, time};
use pgrx::prelude::*;

/// What became of one run.
pub struct Outcome {
    pub run: Run,
    pub result: Result<u64, Failure>,
}

/// Runs up to `most` due jobs, those that the caller could run by SET ROLE. One that becomes due again
/// meanwhile waits for the next call.
pub fn run_due(most: usize) -> Result<Vec<Outcome>> {
    role::require_current_snapshots("jobs cannot be run")?;
    let mut outcomes = Vec::new();
    if !gucs::RUN_JOBS.get() {
        notice!("gemba: gemba.run_jobs is off in this database: nothing runs");
        return Ok(outcomes);
    }
    let caller = role::current();
    role::as_extension(|| {
        catalog::end_orphans(&[])?;
        catalog::settle()
    })?;
    let begun = time::timestamptz(time::now());
    while outcomes.len() < most {
        let run = role::as_extension(|| catalog::begin_due(1, begun, Runner::Session(caller)))?;
        let Some(run) = run.into_iter().next() else {
            break;
        };
        let result = role::as_extension(|| catalog::role_of(&run))
            .map_err(Failure::from)
            .and_then(|run_as| execute(&run, run_as));
        role::as_extension(|| {
            match &result {
                Ok(rows) => catalog::succeed(run.id, i64::try_from(*rows).unwrap_or(i64::MAX))?,
                Err(failure) => catalog::fail(run.id, failure)?,
            }
            catalog::settle()
        })?;
        outcomes.push(Outcome { run, result });
    }
    Ok(outcomes)
}

fn execute(run: &Run, run_as: pg_sys::Oid) -> Result<u64, Failure> {
    subtransaction::run_within(run.timeout_ms, || {
        let before = left_behind().or_raise();
        let rows = role::as_owner(run_as, || {
            // Not this function's own search_path, but the one with which a session begins.
            role::with_session_search_path(|| spi::write(&run.command, &[]).or_raise())
        });
        if left_behind().or_raise() != before {
            Err::<(), _>(
                Error::denied("the job leaves something behind in this session")
                    .detail("a cursor, or an object in pg_temp")
                    .hint("leave it to the background worker, which has a session for each run"),
            )
            .or_raise();
        }
        rows
    })
}

/// What a job could leave in the session for its owner to stumble over: cursors, and types and functions that
/// come before all others in every search_path. (Temporary tables, prepared statements, listening and deferred
/// triggers are refused by the server.)
fn left_behind() -> Result<Option<String>> {
    role::with_pinned_search_path(|| {
        spi::read_one::<String>(
            "SELECT coalesce((SELECT pg_catalog.string_agg(c.name || c.creation_time::text || c.statement, E'\\n' ORDER BY c.name)
                                FROM pg_catalog.pg_cursors c), '')
                 || coalesce((SELECT pg_catalog.string_agg(d.classid::text || '.' || d.objid::text, ',' ORDER BY d.classid, d.objid)
                                FROM pg_catalog.pg_depend d
                               WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
                                 AND d.refobjid = pg_catalog.pg_my_temp_schema()), '')",
            &[],
        )
    })
}
