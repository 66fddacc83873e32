//! Begins what is due in one database, and takes up what a crash left behind.

#![expect(unsafe_code, reason = "the entry point of a process is a C function")]

use super::process;
use crate::engine::jobs::catalog::{self, Run, Runner};
use crate::error::Result;
use crate::gucs;
use crate::postgres::subtransaction::Failure;
use crate::postgres::{role, spi, time};
use pgrx::bgworkers::DynamicBackgroundWorker;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::time::{Duration, Instant};

/// It sleeps until the next job is due, but never longer: somebody may have changed the tables by hand, or
/// the clock.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// How often it looks whether the clock was set back.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

struct Child {
    run: i64,
    process: DynamicBackgroundWorker,
}

/// What one look at the tables found.
struct Look {
    /// To be started, with their roles.
    begun: Vec<(Run, pg_sys::Oid, bool)>,
    sleep: Duration,
}

/// The scheduler's process; its argument is the database.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gemba_scheduler_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    process::begin();
    process::connect(Some(database));
    process::transaction(|| {
        process::pin_search_path();
        Ok(())
    });
    let mut children: Vec<Child> = Vec::new();
    let mut clock_checked: Option<Instant> = None;
    loop {
        children.retain(|child| !process::ended(&child.process));
        let check_clock = clock_checked.is_none_or(|at| at.elapsed() > CLOCK_CHECK);
        if check_clock {
            clock_checked = Some(Instant::now());
        }
        let Some(look) = process::transaction(|| look(&children, check_clock)) else {
            // No extension, or switched off: the launcher asks again later.
            return;
        };
        for (run, role, can_login) in look.begun {
            launch(database, run, role, can_login, &mut children);
        }
        process::show(None);
        process::wait(look.sleep);
    }
}

fn look(children: &[Child], check_clock: bool) -> Result<Option<Look>> {
    let installed = spi::read_one::<bool>(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'gemba')
            AND pg_catalog.to_regclass('gemba.job_runs') IS NOT NULL",
        &[],
    )?;
    if installed != Some(true) || !gucs::RUN_JOBS.get() {
        return Ok(None);
    }
    let ours: Vec<i64> = children.iter().map(|child| child.run).collect();
    for job in catalog::end_orphans(&ours)? {
        log!("gemba: the run of job {job:?} was interrupted");
    }
    if check_clock {
        catalog::follow_clock()?;
    }
    let room = gucs::MAX_RUNNING_JOBS.get() - i32::try_from(children.len()).unwrap_or(i32::MAX);
    let now = catalog::now()?;
    let mut begun = Vec::new();
    if room > 0 {
        for run in catalog::begin_due(room, now, Runner::Worker)? {
            match catalog::role_of(&run) {
                Ok(oid) => {
                    let can_login = role::can_login(oid)?;
                    begun.push((run, oid, can_login));
                }
                Err(error) => catalog::fail(run.id, &Failure::from(error))?,
            }
        }
    }
    // Without room the end of a child wakes this process.
    let sleep = match catalog::next_due()? {
        Some(next) if room > 0 => {
            let wait = time::micros(next).saturating_sub(time::micros(now)).max(0);
            Duration::from_micros(wait.unsigned_abs() + 999).min(LONGEST_SLEEP)
        }
        _ => LONGEST_SLEEP,
    };
    Ok(Some(Look { begun, sleep }))
}

fn launch(
    database: pg_sys::Oid,
    run: Run,
    role: pg_sys::Oid,
    can_login: bool,
    children: &mut Vec<Child>,
) {
    let extra = format!(
        "{} {} {}",
        database.to_u32(),
        role.to_u32(),
        u8::from(can_login)
    );
    match process::start("gemba job", "gemba_job_main", run.id, &extra) {
        Some(process) => children.push(Child {
            run: run.id,
            process,
        }),
        None => {
            warning!(
                "gemba: no process is free for job {:?}; raise max_worker_processes, or lower gemba.max_running_jobs",
                run.job
            );
            process::transaction(|| catalog::give_back(run.id));
            // Not at once again: nothing tells when a process becomes free.
            process::wait(Duration::from_secs(1));
        }
    }
}
