//! Beginning and ending runs. All of it with the rights of the extension and a pinned search_path.

use super::timetable;
use crate::error::{Error, Result};
use crate::postgres::subtransaction::Failure;
use crate::postgres::time::{self, ServerZone};
use crate::postgres::{role, spi};
use gemba_core::backoff;
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// A run that ended without a result this often in a row is left to its timetable: its command may be what
/// brings the server down.
const MOST_INTERRUPTIONS: i32 = 3;

/// Retries wait at most this long.
const LONGEST_RETRY_MICROS: i64 = 3_600_000_000;

/// A run that has begun.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: i64,
    pub job: String,
    pub command: String,
    pub run_as: String,
    pub timeout_ms: Option<i32>,
}

/// Who runs it.
#[derive(Debug, Clone, Copy)]
pub enum Runner {
    Worker,
    /// This session, and only what its user could run by SET ROLE: in somebody's session a job meets
    /// somebody's settings.
    Session(pg_sys::Oid),
}

impl Runner {
    fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Session(_) => "session",
        }
    }
}

struct Due {
    id: i64,
    name: String,
    schedule: String,
    time_zone: String,
    command: String,
    owner: String,
    run_as: String,
    anchor: TimestampWithTimeZone,
    next_run_at: TimestampWithTimeZone,
    scheduled_for: Option<TimestampWithTimeZone>,
    attempt: i32,
    on_time: bool,
    timeout: Option<Interval>,
}

/// Begins the runs of up to `most` jobs that were due at `before`, the longest overdue first.
pub fn begin_due(most: i32, before: TimestampWithTimeZone, runner: Runner) -> Result<Vec<Run>> {
    let caller = match runner {
        Runner::Worker => None,
        Runner::Session(caller) => Some(caller),
    };
    let due = spi::write_returning(
        "SELECT j.id, j.name, j.schedule, j.time_zone, j.command, j.owner::text, j.run_as::text, j.anchor,
                j.next_run_at, least(j.next_run_at, j.again_at), j.attempt, j.next_run_at <= $2, j.timeout
           FROM gemba.jobs j
          WHERE j.enabled AND j.run_id IS NULL AND least(j.next_run_at, j.again_at) <= $2
            AND ($3::oid IS NULL OR EXISTS (
                  SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = j.run_as AND pg_catalog.pg_has_role($3, r.oid, 'MEMBER')))
          ORDER BY least(j.next_run_at, j.again_at), j.id
          LIMIT $1 FOR UPDATE OF j SKIP LOCKED",
        &[most.into(), before.into(), caller.into()],
        |row| {
            Ok(Due {
                id: row.get::<i64>(1)?.unwrap_or_default(),
                name: row.get::<String>(2)?.unwrap_or_default(),
                schedule: row.get::<String>(3)?.unwrap_or_default(),
                time_zone: row.get::<String>(4)?.unwrap_or_default(),
                command: row.get::<String>(5)?.unwrap_or_default(),
                owner: row.get::<String>(6)?.unwrap_or_default(),
                run_as: row.get::<String>(7)?.unwrap_or_default(),
                anchor: row.get(8)?.unwrap_or_else(TimestampWithTimeZone::positive_infinity),
                next_run_at: row.get(9)?.unwrap_or_else(TimestampWithTimeZone::positive_infinity),
                scheduled_for: row.get(10)?,
                attempt: row.get::<i32>(11)?.unwrap_or_default(),
                on_time: row.get::<bool>(12)?.unwrap_or_default(),
                timeout: row.get(13)?,
            })
        },
    )?;
    due.into_iter()
        .map(|due| begin(due, before, runner))
        .collect()
}

fn begin(due: Due, now: TimestampWithTimeZone, runner: Runner) -> Result<Run> {
    // What was missed meanwhile is made up for by one run.
    let next_run_at = if due.on_time {
        next_run(&due.schedule, &due.time_zone, due.anchor, now)
    } else {
        due.next_run_at
    };
    let attempt = if due.on_time { 1 } else { due.attempt + 1 };
    let id = spi::write_returning(
        "INSERT INTO gemba.job_runs (job_id, job, owner, run_as, attempt, scheduled_for, started_at, status, runner)
         VALUES ($1, $2, $3::name, $4::name, $5, $6, pg_catalog.clock_timestamp(), 'running', $7) RETURNING id",
        &[
            due.id.into(),
            due.name.as_str().into(),
            due.owner.as_str().into(),
            due.run_as.as_str().into(),
            attempt.into(),
            due.scheduled_for.into(),
            runner.name().into(),
        ],
        |row| Ok(row.get::<i64>(1)?.unwrap_or_default()),
    )?
    .pop()
    .unwrap_or_default();
    spi::write(
        "UPDATE gemba.jobs SET run_id = $2, next_run_at = $3, again_at = NULL WHERE id = $1",
        &[due.id.into(), id.into(), next_run_at.into()],
    )?;
    Ok(Run {
        id,
        job: due.name,
        command: due.command,
        run_as: due.run_as,
        timeout_ms: due.timeout.and_then(milliseconds),
    })
}

/// The next time of a stored schedule. One that can no longer be read (it was checked when it was stored;
/// the server may know fewer time zones now) is not due any more, and says so.
fn next_run(
    schedule: &str,
    zone: &str,
    anchor: TimestampWithTimeZone,
    now: TimestampWithTimeZone,
) -> TimestampWithTimeZone {
    let next = ServerZone::named(zone).and_then(|zone| {
        let timetable = timetable::parse(schedule, time::micros(anchor))?;
        Ok(timetable::next(&timetable, time::micros(now), &zone))
    });
    next.unwrap_or_else(|_| {
        warning!("gemba: the schedule {schedule:?} in time zone {zone:?} cannot be read any more");
        TimestampWithTimeZone::positive_infinity()
    })
}

/// A timeout as the server's timers take it; none when it is nothing or longer than they can hold.
fn milliseconds(timeout: Interval) -> Option<i32> {
    let micros = i64::from(timeout.months()) * 30 * 86_400_000_000
        + i64::from(timeout.days()) * 86_400_000_000
        + timeout.micros();
    i32::try_from(micros / 1_000).ok().filter(|ms| *ms > 0)
}

/// The role of a run, if the job's owner may still act as it.
pub fn role_of(run: &Run) -> Result<pg_sys::Oid> {
    let owner = spi::read_one::<String>(
        "SELECT owner::text FROM gemba.job_runs WHERE id = $1",
        &[run.id.into()],
    )?
    .unwrap_or_default();
    let refused = |why: String| {
        Error::denied("the job may not run as this role")
            .detail(why)
            .hint("schedule it again, as somebody who is a member of the role")
    };
    let run_as = role::find(&run.run_as)?
        .ok_or_else(|| refused(format!("role {} does not exist", run.run_as)))?;
    let owner_oid =
        role::find(&owner)?.ok_or_else(|| refused(format!("its owner {owner} does not exist")))?;
    if !may_act_as(owner_oid, run_as)? {
        return Err(refused(format!(
            "its owner {owner} is not a member of {}",
            run.run_as
        )));
    }
    Ok(run_as)
}

/// May jobs of `owner` run as this role? As a superuser only those of a superuser.
pub fn may_act_as(owner: pg_sys::Oid, run_as: pg_sys::Oid) -> Result<bool> {
    Ok(spi::read_one::<bool>(
        "SELECT o.rolsuper OR (NOT r.rolsuper AND pg_catalog.pg_has_role(o.oid, r.oid, 'MEMBER'))
           FROM pg_catalog.pg_roles o, pg_catalog.pg_roles r WHERE o.oid = $1 AND r.oid = $2",
        &[owner.into(), run_as.into()],
    )?
    .unwrap_or(false))
}

/// The run of this process: notes which one it is. None when the run was given up meanwhile.
pub fn take_over(run: i64) -> Result<Option<Run>> {
    let taken = spi::write_returning(
        "UPDATE gemba.job_runs r
            SET pid = pg_catalog.pg_backend_pid(),
                process_started_at = (SELECT a.backend_start FROM pg_catalog.pg_stat_activity a
                                       WHERE a.pid = pg_catalog.pg_backend_pid())
           FROM gemba.jobs j
          WHERE r.id = $1 AND r.status = 'running' AND r.pid IS NULL AND j.id = r.job_id
      RETURNING r.id, r.job, j.command, r.run_as::text, j.timeout",
        &[run.into()],
        |row| {
            Ok(Run {
                id: row.get::<i64>(1)?.unwrap_or_default(),
                job: row.get::<String>(2)?.unwrap_or_default(),
                command: row.get::<String>(3)?.unwrap_or_default(),
                run_as: row.get::<String>(4)?.unwrap_or_default(),
                timeout_ms: row.get::<Interval>(5)?.and_then(milliseconds),
            })
        },
    )?;
    Ok(taken.into_iter().next())
}

/// Ends a run well. In the transaction that did the work, so that both or neither are committed.
pub fn succeed(run: i64, rows: i64) -> Result<()> {
    spi::write(
        "UPDATE gemba.job_runs SET status = 'succeeded', finished_at = pg_catalog.clock_timestamp(), rows = $2
          WHERE id = $1 AND status = 'running'",
        &[run.into(), rows.into()],
    )?;
    spi::write(
        "UPDATE gemba.jobs SET run_id = NULL, attempt = 0, interruptions = 0 WHERE run_id = $1",
        &[run.into()],
    )?;
    Ok(())
}

/// Ends a run badly: it is tried again while it has retries left, each time after a longer wait.
pub fn fail(run: i64, failure: &Failure) -> Result<()> {
    spi::write(
        "UPDATE gemba.job_runs
            SET status = 'failed', finished_at = pg_catalog.clock_timestamp(), sqlstate = $2, message = $3, detail = $4
          WHERE id = $1 AND status = 'running'",
        &[
            run.into(),
            failure.sqlstate.as_str().into(),
            failure.message.as_str().into(),
            failure.detail.as_deref().into(),
        ],
    )?;
    let attempts = spi::read_row(
        "SELECT r.attempt, j.retries, j.retry_after
           FROM gemba.job_runs r JOIN gemba.jobs j ON j.run_id = r.id WHERE r.id = $1",
        &[run.into()],
        |row| {
            Ok((
                row.get::<i32>(1)?.unwrap_or(1),
                row.get::<i32>(2)?.unwrap_or(0),
                row.get::<Interval>(3)?,
            ))
        },
    )?;
    let Some((attempt, retries, retry_after)) = attempts else {
        return Ok(());
    };
    let again = (attempt <= retries).then(|| {
        let base = retry_after.map_or(0, |wait| {
            i64::from(wait.days()) * 86_400_000_000 + wait.micros()
        });
        backoff::delay(
            attempt.unsigned_abs(),
            base,
            LONGEST_RETRY_MICROS.max(base),
            random(),
        )
    });
    spi::write(
        "UPDATE gemba.jobs
            SET run_id = NULL, interruptions = 0, attempt = CASE WHEN $2 IS NULL THEN 0 ELSE $3 END,
                again_at = coalesce(again_at, pg_catalog.clock_timestamp() + $2 * interval '1 microsecond')
          WHERE run_id = $1",
        &[run.into(), again.into(), attempt.into()],
    )?;
    Ok(())
}

/// Between 0 and 1, different in each process.
fn random() -> f64 {
    spi::read_one::<f64>("SELECT pg_catalog.random()", &[])
        .ok()
        .flatten()
        .unwrap_or(0.5)
}

/// Puts a run back that could not be given a process.
pub fn give_back(run: i64) -> Result<()> {
    spi::write(
        "UPDATE gemba.jobs SET run_id = NULL, again_at = pg_catalog.clock_timestamp(), attempt = r.attempt - 1
           FROM gemba.job_runs r WHERE r.id = $1 AND run_id = r.id",
        &[run.into()],
    )?;
    spi::write(
        "DELETE FROM gemba.job_runs WHERE id = $1 AND status = 'running'",
        &[run.into()],
    )?;
    Ok(())
}

/// Ends runs that say they are running but have no process any more, other than those of `ours`, whose
/// process may still be starting. Returns the names of their jobs.
pub fn end_orphans(ours: &[i64]) -> Result<Vec<String>> {
    spi::write_returning(
        include_str!("end_orphans.sql"),
        &[ours.to_vec().into(), MOST_INTERRUPTIONS.into()],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )
}

/// When the next job is due, if any is.
pub fn next_due() -> Result<Option<TimestampWithTimeZone>> {
    spi::read_one(
        "SELECT pg_catalog.min(least(next_run_at, again_at)) FROM gemba.jobs WHERE enabled AND run_id IS NULL",
        &[],
    )
}

/// Brings forward what lies further ahead than its timetable says, because the clock was set back.
pub fn follow_clock() -> Result<()> {
    let now = now()?;
    // An interval has no runs before its anchor.
    spi::write(
        "UPDATE gemba.jobs SET anchor = $1 WHERE anchor > $1",
        &[now.into()],
    )?;
    let jobs = spi::read_all(
        "SELECT id, schedule, time_zone, anchor, next_run_at FROM gemba.jobs WHERE enabled AND next_run_at > $1",
        &[now.into()],
        |row| {
            Ok((
                row.get::<i64>(1)?.unwrap_or_default(),
                row.get::<String>(2)?.unwrap_or_default(),
                row.get::<String>(3)?.unwrap_or_default(),
                row.get::<TimestampWithTimeZone>(4)?.unwrap_or(now),
                row.get::<TimestampWithTimeZone>(5)?.unwrap_or(now),
            ))
        },
    )?;
    for (id, schedule, zone, anchor, next_run_at) in jobs {
        let next = next_run(&schedule, &zone, anchor, now);
        if time::micros(next) < time::micros(next_run_at) {
            spi::write(
                "UPDATE gemba.jobs SET next_run_at = $2 WHERE id = $1 AND next_run_at = $3",
                &[id.into(), next.into(), next_run_at.into()],
            )?;
        }
    }
    Ok(())
}

/// The present moment, not the transaction's beginning.
pub fn now() -> Result<TimestampWithTimeZone> {
    Ok(spi::read_one("SELECT pg_catalog.clock_timestamp()", &[])?
        .unwrap_or_else(TimestampWithTimeZone::positive_infinity))
}
