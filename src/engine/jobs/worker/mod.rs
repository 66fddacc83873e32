//! The background worker, for servers that preload the library.
//!
//! Three kinds of processes, none of which keeps anything that is not in a table:
//!
//! - one [`launcher`], started by the postmaster once recovery is over (so never on a standby, and on a
//!   promoted one at once). It reads which databases there are and keeps a scheduler in each of those that
//!   `gemba.worker_databases` names and that have the extension.
//! - a [`scheduler`] for each such database. It begins the runs that are due, starts a process for each, and
//!   takes up again what a crash left behind.
//! - a [`job`] process for each run, connected as the role of the job, so that what it does is limited by what
//!   that role may do, and a mistake or a crash in it stays its own.
//!
//! A process that fails ends; the one above it starts another. The launcher is restarted by the postmaster.

mod command;
mod databases;
mod job;
mod launcher;
mod process;
mod scheduler;

use crate::error::Result;
use crate::gucs;
use crate::postgres::spi;
pub use launcher::register;
pub use process::{being_preloaded, preloaded};

/// What `gemba.worker_status()` says, and what to do about it.
pub fn state(
    launcher: Option<i32>,
    scheduler: Option<i32>,
    standby: bool,
) -> (&'static str, Option<&'static str>) {
    if standby {
        return (
            "standby",
            Some("jobs run on the primary; here they begin with a promotion"),
        );
    }
    if !preloaded() {
        return (
            "not preloaded",
            Some(
                "add gemba to shared_preload_libraries and restart, or call gemba.run_due_jobs() from outside",
            ),
        );
    }
    match (launcher, scheduler) {
        (_, Some(_)) => ("running", None),
        _ if !gucs::RUN_JOBS.get() => (
            "switched off",
            Some(
                "gemba.run_jobs is off in this database, perhaps since it was restored; ALTER DATABASE … RESET gemba.run_jobs",
            ),
        ),
        (Some(_), None) => (
            "starting",
            Some(
                "if it stays so: see gemba.worker_databases, max_worker_processes and the server's log",
            ),
        ),
        (None, None) => (
            "stopped",
            Some("it starts again by itself within seconds; see the server's log"),
        ),
    }
}

/// Tells the worker, once this transaction commits, that there may be something to do. Returns whether there
/// is a worker for this database.
pub fn poke() -> Result<bool> {
    let pids = spi::read_all(
        "SELECT a.pid, a.backend_type = 'gemba scheduler'
           FROM pg_catalog.pg_stat_activity a
          WHERE a.backend_type = 'gemba launcher'
             OR (a.backend_type = 'gemba scheduler' AND a.datname = pg_catalog.current_database())",
        &[],
        |row| {
            Ok((
                row.get::<i32>(1)?.unwrap_or(0),
                row.get::<bool>(2)?.unwrap_or(false),
            ))
        },
    )?;
    let scheduler = pids
        .iter()
        .find(|(_, is_scheduler)| *is_scheduler)
        .map(|(pid, _)| *pid);
    let launcher = pids
        .iter()
        .find(|(_, is_scheduler)| !*is_scheduler)
        .map(|(pid, _)| *pid);
    process::wake_at_commit(scheduler, launcher);
    Ok(scheduler.is_some())
}
