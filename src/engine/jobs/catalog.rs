//! Beginning and ending runs. All of it with the rights of the extension and a pinned search_path.
//!
//! A run's row in `gemba.job_runs` is the truth; what `gemba.jobs` says of it (`run_id`, `again_at`, `attempt`)
//! follows from it and is put right by [`settle`], by whoever comes first: the run's own process, or the
//! scheduler after a crash.

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

/// More of an error's text is kept by nobody.
const LONGEST_TEXT: usize = 8_000;

/// A run that has begun.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: i64,
    pub job: String,
    pub command: String,
    pub owner: String,
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
            -- One whose role is gone is nobody's, and fails for whoever comes first.
            AND ($3::oid IS NULL OR NOT EXISTS (
                  SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = j.run_as AND NOT pg_catalog.pg_has_role($3, r.oid, $4)))
          ORDER BY least(j.next_run_at, j.again_at), j.id
          LIMIT $1 FOR UPDATE OF j SKIP LOCKED",
        &[most.into(), before.into(), caller.into(), role::MAY_SET.into()],
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
    let attempt = if due.on_time {
        1
    } else {
        due.attempt.saturating_add(1)
    };
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
        owner: due.owner,
        run_as: due.run_as,
        timeout_ms: due.timeout.and_then(milliseconds),
    })
}

/// The next time of a stored schedule. One that can no longer be read (it was checked when it was stored;
/// the server may know fewer time zones now) is not due any more, and says so.
pub fn next_run(
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
pub fn milliseconds(timeout: Interval) -> Option<i32> {
    i32::try_from(time::interval_micros(&timeout) / 1_000)
        .ok()
        .filter(|ms| *ms > 0)
}

/// The role of a run, if the job's owner may still act as it.
pub fn role_of(run: &Run) -> Result<pg_sys::Oid> {
    let refused = |why: String, hint: String| {
        Error::denied("the job may not run as this role")
            .detail(why)
            .hint(hint)
    };
    let again = "schedule it again, as somebody who could take the role by SET ROLE".to_owned();
    let run_as = role::find(&run.run_as)?
        .ok_or_else(|| refused(format!("role {} does not exist", run.run_as), again.clone()))?;
    let owner = role::find(&run.owner)?.ok_or_else(|| {
        refused(
            format!("its owner {} does not exist", run.owner),
            again.clone(),
        )
    })?;
    if !may_act_as(owner, run_as)? {
        return Err(refused(
            format!(
                "its owner {} could not take the role {}",
                run.owner, run.run_as
            ),
            again,
        ));
    }
    let may_connect = spi::read_one::<bool>(
        "SELECT pg_catalog.has_database_privilege($1::oid, pg_catalog.current_database()::text, 'CONNECT')",
        &[run_as.into()],
    )?;
    if may_connect != Some(true) {
        return Err(refused(
            format!("role {} may not connect to this database", run.run_as),
            format!("GRANT CONNECT ON DATABASE … TO {}", spi::ident(&run.run_as)),
        ));
    }
    Ok(run_as)
}

/// May jobs of `owner` run as this role? As a superuser only those of a superuser.
pub fn may_act_as(owner: pg_sys::Oid, run_as: pg_sys::Oid) -> Result<bool> {
    Ok(spi::read_one::<bool>(
        "SELECT o.rolsuper OR (NOT r.rolsuper AND pg_catalog.pg_has_role(o.oid, r.oid, $3))
           FROM pg_catalog.pg_roles o, pg_catalog.pg_roles r WHERE o.oid = $1 AND r.oid = $2",
        &[owner.into(), run_as.into(), role::MAY_SET.into()],
    )?
    .unwrap_or(false))
}

/// The run of this process: notes which one it is. None when the run was given up meanwhile, or the job was
/// changed so that this process has the wrong role for it.
pub fn take_over(run: i64) -> Result<Option<Run>> {
    let taken = spi::write_returning(
        "UPDATE gemba.job_runs r
            SET pid = pg_catalog.pg_backend_pid(),
                process_started_at = (SELECT a.backend_start FROM pg_catalog.pg_stat_activity a
                                       WHERE a.pid = pg_catalog.pg_backend_pid())
           FROM gemba.jobs j
          WHERE r.id = $1 AND r.status = 'running' AND r.pid IS NULL
            AND j.id = r.job_id AND j.run_id = r.id AND j.run_as = r.run_as AND j.owner = r.owner
      RETURNING r.id, r.job, j.command, r.owner::text, r.run_as::text, j.timeout",
        &[run.into()],
        |row| {
            Ok(Run {
                id: row.get::<i64>(1)?.unwrap_or_default(),
                job: row.get::<String>(2)?.unwrap_or_default(),
                command: row.get::<String>(3)?.unwrap_or_default(),
                owner: row.get::<String>(4)?.unwrap_or_default(),
                run_as: row.get::<String>(5)?.unwrap_or_default(),
                timeout_ms: row.get::<Interval>(6)?.and_then(milliseconds),
            })
        },
    )?;
    Ok(taken.into_iter().next())
}

/// Ends a run well. In the transaction that did the work, so that both or neither are committed; it touches the
/// run's own row only, which nobody else has a reason to hold.
///
/// # Errors
/// When the run was given up meanwhile: then its work must not count, because somebody else does it.
pub fn succeed(run: i64, rows: i64) -> Result<()> {
    let ended = spi::write(
        "UPDATE gemba.job_runs SET status = 'succeeded', finished_at = pg_catalog.clock_timestamp(), rows = $2
          WHERE id = $1 AND status = 'running'",
        &[run.into(), rows.into()],
    )?;
    if ended == 1 {
        return Ok(());
    }
    Err(Error::state("the run was given up while it went on")
        .detail(format!("run {run}"))
        .hint("see gemba.job_runs"))
}

/// Ends a run badly.
pub fn fail(run: i64, failure: &Failure) -> Result<()> {
    spi::write(
        "UPDATE gemba.job_runs
            SET status = 'failed', finished_at = pg_catalog.clock_timestamp(), sqlstate = $2, message = $3, detail = $4
          WHERE id = $1 AND status = 'running'",
        &[
            run.into(),
            failure.sqlstate.as_str().into(),
            shortened(&failure.message).into(),
            failure.detail.as_deref().map(shortened).into(),
        ],
    )?;
    Ok(())
}

/// At most so much of a text.
pub fn shortened(text: &str) -> &str {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

struct Ended {
    job: i64,
    status: String,
    attempt: i32,
    retries: i32,
    retry_after: i64,
    interruptions: i32,
}

/// Lets jobs whose run has ended go on: a failed one is tried again while it has retries left, each time after a
/// longer wait; an interrupted one at once. Jobs that somebody holds are left to the next call.
pub fn settle() -> Result<()> {
    let ended = spi::write_returning(
        "SELECT j.id, coalesce(r.status, 'interrupted'), coalesce(r.attempt, 1), j.retries, j.retry_after, j.interruptions
           FROM gemba.jobs j
           LEFT JOIN gemba.job_runs r ON r.id = j.run_id
          WHERE j.run_id IS NOT NULL AND r.status IS DISTINCT FROM 'running'
          ORDER BY j.id FOR UPDATE OF j SKIP LOCKED",
        &[],
        |row| {
            Ok(Ended {
                job: row.get::<i64>(1)?.unwrap_or_default(),
                status: row.get::<String>(2)?.unwrap_or_default(),
                attempt: row.get::<i32>(3)?.unwrap_or(1),
                retries: row.get::<i32>(4)?.unwrap_or(0),
                retry_after: row.get::<Interval>(5)?.map_or(0, |interval| time::interval_micros(&interval)),
                interruptions: row.get::<i32>(6)?.unwrap_or(0),
            })
        },
    )?;
    for run in ended {
        // Attempts so far, interruptions in a row, and when it is tried again.
        let (attempt, interruptions, again) = match run.status.as_str() {
            "failed" if run.attempt <= run.retries => {
                let base = run.retry_after;
                let wait = backoff::delay(
                    run.attempt.unsigned_abs(),
                    base,
                    LONGEST_RETRY_MICROS.max(base),
                    random(),
                );
                (run.attempt, 0, Some(wait))
            }
            "interrupted" if run.interruptions + 1 < MOST_INTERRUPTIONS => {
                (run.attempt - 1, run.interruptions + 1, Some(0))
            }
            _ => (0, 0, None),
        };
        spi::write(
            "UPDATE gemba.jobs
                SET run_id = NULL, attempt = $2, interruptions = $3,
                    again_at = coalesce(again_at, pg_catalog.clock_timestamp() + $4 * interval '1 microsecond')
              WHERE id = $1",
            &[run.job.into(), attempt.into(), interruptions.into(), again.into()],
        )?;
    }
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
    // Otherwise the processes would be those of when this transaction first looked.
    spi::read_one::<bool>("SELECT pg_catalog.pg_stat_clear_snapshot() IS NULL", &[])?;
    spi::write_returning(
        include_str!("end_orphans.sql"),
        &[ours.to_vec().into()],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )
}

/// Is there anything that a look would change? Asked first, so that an idle scheduler uses up nothing.
pub fn anything_to_do(ours: &[i64], now: TimestampWithTimeZone) -> Result<bool> {
    Ok(spi::read_one::<bool>(
        "SELECT EXISTS (SELECT FROM gemba.jobs j
                         WHERE j.enabled AND j.run_id IS NULL AND least(j.next_run_at, j.again_at) <= $2)
             OR EXISTS (SELECT FROM gemba.job_runs r
                         WHERE r.status = 'running' AND r.runner = 'worker' AND r.id <> ALL ($1))
             OR EXISTS (SELECT FROM gemba.jobs j
                         WHERE j.run_id IS NOT NULL
                           AND NOT EXISTS (SELECT FROM gemba.job_runs r WHERE r.id = j.run_id AND r.status = 'running'))",
        &[ours.to_vec().into(), now.into()],
    )?
    .unwrap_or(false))
}

/// Runs of workers that go on.
pub fn running() -> Result<i32> {
    Ok(spi::read_one::<i32>(
        "SELECT pg_catalog.count(*)::int FROM gemba.job_runs WHERE status = 'running' AND runner = 'worker'",
        &[],
    )?
    .unwrap_or(0))
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
    let now = time::timestamptz(time::now());
    // A retry waits an hour at most, or its own time if that is longer.
    spi::write(
        "UPDATE gemba.jobs SET again_at = $1
          WHERE id IN (SELECT id FROM gemba.jobs
                        WHERE again_at > $1 + greatest(interval '1 hour', retry_after) + interval '1 minute'
                          FOR UPDATE SKIP LOCKED)",
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
        // An interval has no runs before its anchor.
        let anchor = if time::micros(anchor) > time::micros(now) {
            now
        } else {
            anchor
        };
        let next = next_run(&schedule, &zone, anchor, now);
        if time::micros(next) < time::micros(next_run_at) {
            spi::write(
                "UPDATE gemba.jobs SET next_run_at = $2, anchor = $3
                  WHERE id IN (SELECT id FROM gemba.jobs WHERE id = $1 FOR UPDATE SKIP LOCKED)",
                &[id.into(), next.into(), anchor.into()],
            )?;
        }
    }
    Ok(())
}
