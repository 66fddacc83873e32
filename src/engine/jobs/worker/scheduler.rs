//! Begins what is due in one database, and takes up what a crash left behind.

#![expect(unsafe_code, reason = "the entry point of a process is a C function")]

use super::process::{self, Child};
use crate::engine::jobs::catalog::{self, Run, Runner};
use crate::error::Result;
use crate::gucs;
use crate::postgres::subtransaction::Failure;
use crate::postgres::{role, spi, time};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::time::{Duration, Instant};

/// It sleeps until the next job is due, but never longer: somebody may have changed the tables by hand, or
/// the clock.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// When something is due that could not be begun, because somebody holds it.
const HELD: Duration = Duration::from_secs(1);
/// How often it looks whether the clock was set back.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// A run and its process.
struct Going {
    run: i64,
    process: Child,
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
    let first = process::transaction(|| {
        process::pin_settings();
        is_the_first()
    });
    if !first {
        return;
    }
    let mut children: Vec<Going> = Vec::new();
    let mut clock_checked: Option<Instant> = None;
    // One without a launcher would be joined by that of the next.
    while process::parent_lives() {
        children.retain(|child| !child.process.ended());
        let check_clock = clock_checked.is_none_or(|at| at.elapsed() > CLOCK_CHECK);
        if check_clock {
            clock_checked = Some(Instant::now());
        }
        let Some(look) = process::transaction(|| look(&children, check_clock)) else {
            // No extension, or switched off: the launcher asks again later.
            return;
        };
        let all = launch(database, look.begun, &mut children);
        process::show(None);
        // Nothing tells when a process becomes free.
        process::wait(if all { look.sleep } else { HELD });
    }
}

fn look(children: &[Going], check_clock: bool) -> Result<Option<Look>> {
    if !installed()? || !gucs::RUN_JOBS.get() || !as_it_was_when_connected()? {
        return Ok(None);
    }
    let ours: Vec<i64> = children.iter().map(|child| child.run).collect();
    let now = time::timestamptz(time::now());
    if check_clock {
        catalog::follow_clock()?;
    }
    let mut begun = Vec::new();
    let mut room = true;
    if catalog::anything_to_do(&ours, now)? {
        for job in catalog::end_orphans(&ours)? {
            log!("gemba: the run of job {job:?} was interrupted");
        }
        catalog::settle()?;
        // Those of a scheduler before this one count too.
        let most = gucs::MAX_RUNNING_JOBS.get() - catalog::running()?;
        room = most > 0;
        if room {
            begun = begin(most, now)?;
        }
    }
    // Without room the end of a child wakes this process.
    let sleep = match catalog::next_due()? {
        Some(next) if room => {
            let wait = time::micros(next).saturating_sub(time::micros(now));
            if wait <= 0 && begun.is_empty() {
                HELD
            } else {
                Duration::from_micros(wait.max(0).unsigned_abs() + 999).min(LONGEST_SLEEP)
            }
        }
        _ => LONGEST_SLEEP,
    };
    Ok(Some(Look { begun, sleep }))
}

fn begin(most: i32, now: TimestampWithTimeZone) -> Result<Vec<(Run, pg_sys::Oid, bool)>> {
    let mut begun = Vec::new();
    for run in catalog::begin_due(most, now, Runner::Worker)? {
        match catalog::role_of(&run) {
            Ok(oid) => {
                let can_login = role::can_login(oid)?;
                begun.push((run, oid, can_login));
            }
            Err(error) => {
                catalog::fail(run.id, &Failure::from(error))?;
                catalog::settle()?;
            }
        }
    }
    Ok(begun)
}

/// The launcher before this one's may have left a scheduler here, which goes as soon as it looks up.
fn is_the_first() -> Result<bool> {
    Ok(spi::read_one::<bool>(
        "SELECT NOT EXISTS (
           SELECT FROM pg_catalog.pg_stat_activity a, pg_catalog.pg_stat_activity me
            WHERE me.pid = pg_catalog.pg_backend_pid() AND a.backend_type = 'gemba scheduler' AND a.datid = me.datid
              AND (a.backend_start, a.pid) < (me.backend_start, me.pid))",
        &[],
    )? == Some(true))
}

fn installed() -> Result<bool> {
    Ok(spi::read_one::<bool>(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'gemba')
            AND pg_catalog.to_regclass('gemba.job_runs') IS NOT NULL",
        &[],
    )? == Some(true))
}

/// Has nobody switched this database's jobs on or off since? A session does not hear of ALTER DATABASE … SET; the
/// one that the launcher starts next does.
fn as_it_was_when_connected() -> Result<bool> {
    Ok(spi::read_one::<bool>(
        "SELECT coalesce((SELECT pg_catalog.bool_and(pg_catalog.split_part(c, '=', 2)::pg_catalog.bool)
                            FROM pg_catalog.pg_db_role_setting s
                            JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase AND d.datname = pg_catalog.current_database()
                           CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c
                           WHERE s.setrole = 0 AND c LIKE 'gemba.run_jobs=%'), true)",
        &[],
    )? != Some(false))
}

fn launch(
    database: pg_sys::Oid,
    begun: Vec<(Run, pg_sys::Oid, bool)>,
    children: &mut Vec<Going>,
) -> bool {
    let mut full = false;
    for (run, role, can_login) in begun {
        let extra = format!(
            "{} {} {}",
            database.to_u32(),
            role.to_u32(),
            u8::from(can_login)
        );
        let process = if full {
            None
        } else {
            Child::start("gemba job", "gemba_job_main", run.id, &extra)
        };
        match process {
            Some(process) => children.push(Going {
                run: run.id,
                process,
            }),
            None => {
                full = true;
                process::transaction(|| catalog::give_back(run.id));
            }
        }
    }
    if full {
        warning!(
            "gemba: no process is free for a job; raise max_worker_processes, or lower gemba.max_running_jobs"
        );
    }
    !full
}
