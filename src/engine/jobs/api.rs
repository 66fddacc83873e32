//! The SQL functions of jobs.

use super::{catalog, session, timetable, worker};
use crate::error::{Error, Result};
use crate::gucs;
use crate::postgres::time::{self, ServerZone};
use crate::postgres::{backend, role, spi};
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// More would be a mistake.
const MOST_RETRIES: i32 = 100;

/// Hours of an interval, beside its days.
const LONGEST_MICROS: i64 = 24 * 3_600_000_000;

#[expect(
    clippy::too_many_arguments,
    reason = "they have names and defaults in SQL"
)]
#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn schedule(
    name: Option<&str>,
    schedule: Option<&str>,
    command: Option<&str>,
    time_zone: default!(Option<&str>, "'UTC'"),
    run_as: default!(Option<&str>, "NULL"),
    timeout: default!(Option<Interval>, "'1 hour'"),
    retries: default!(Option<i32>, "0"),
    retry_after: default!(Option<Interval>, "'1 minute'"),
    enabled: default!(Option<bool>, "true"),
) -> Result<i64, ErrorReport> {
    let (
        Some(name),
        Some(schedule),
        Some(command),
        Some(time_zone),
        Some(timeout),
        Some(retries),
        Some(retry_after),
        Some(enabled),
    ) = (
        name,
        schedule,
        command,
        time_zone,
        timeout,
        retries,
        retry_after,
        enabled,
    )
    else {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "only run_as may be NULL",
        )
        .detail(format!("job {name:?}, schedule {schedule:?}"))
        .hint("leave an argument out to have its default")
        .into());
    };
    require_primary()?;
    if name.trim().is_empty() || command.trim().is_empty() {
        return Err(Error::invalid("a job needs a name and a command")
            .detail(format!("name {name:?}, command {command:?}"))
            .hint("for instance gemba.schedule('tidy', '0 3 * * *', 'SELECT gemba.maintain_partitions()')")
            .into());
    }
    if !(0..=MOST_RETRIES).contains(&retries) {
        return Err(Error::invalid("retries is out of its range")
            .detail(format!("retries {retries}"))
            .hint(format!(
                "give the number of further attempts, from 0 to {MOST_RETRIES}"
            ))
            .into());
    }
    for (what, interval) in [("timeout", &timeout), ("retry_after", &retry_after)] {
        if interval.months() < 0 || interval.days() < 0 || interval.micros() < 0 {
            return Err(Error::invalid(format!("{what} must not be negative"))
                .detail(format!("{what} {}", time::interval_text(interval)))
                .hint("give an interval such as '10 minutes'; a timeout of 0 is none")
                .into());
        }
        // What the server's timers can hold.
        if interval.months() > 0 || interval.days() > 24 || interval.micros() > LONGEST_MICROS {
            return Err(Error::invalid(format!("{what} is too long"))
                .detail(format!("{what} {}", time::interval_text(interval)))
                .hint("give an interval of up to 24 days; a timeout of 0 is none")
                .into());
        }
    }
    let caller = role::current();
    let run_as = acting_role(caller, run_as)?;
    let now = time::timestamptz(time::now());
    let zone = ServerZone::named(time_zone)?;
    let parsed = timetable::parse(schedule, time::micros(now))?;
    let next = timetable::next(&parsed, time::micros(now), &zone);
    if next == TimestampWithTimeZone::positive_infinity() {
        return Err(Error::invalid("the schedule never comes")
            .detail(format!("schedule {schedule:?} in {time_zone}"))
            .hint("give a date that exists")
            .into());
    }
    let id = role::as_extension(|| {
        let id = spi::write_returning(
            include_str!("schedule.sql"),
            &[
                name.into(),
                schedule.into(),
                time_zone.into(),
                command.into(),
                role::name(caller).into(),
                role::name(run_as).into(),
                timeout.into(),
                retries.into(),
                retry_after.into(),
                enabled.into(),
                now.into(),
                next.into(),
                caller.into(),
                role::MAY_SET.into(),
            ],
            |row| Ok(row.get::<i64>(1)?.unwrap_or_default()),
        )?
        .pop();
        worker::poke()?;
        Ok(id)
    })?;
    id.ok_or_else(|| not_yours(name, caller).into())
}

fn require_primary() -> Result<()> {
    if !backend::in_recovery() {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        "jobs cannot be changed or run on a standby",
    )
    .detail("the server is in recovery")
    .hint("call it on the primary"))
}

/// As whom the job is to run: a superuser has to say so.
fn acting_role(caller: pg_sys::Oid, run_as: Option<&str>) -> Result<pg_sys::Oid> {
    let Some(name) = run_as else {
        if !role::is_superuser(caller) {
            return Ok(caller);
        }
        notice!(
            "gemba: the job runs as service_role; run_as => '{}' makes it run as a superuser",
            role::name(caller)
        );
        return role::find("service_role")?.ok_or_else(|| unknown_role("service_role"));
    };
    let run_as = role::find(name)?.ok_or_else(|| unknown_role(name))?;
    if catalog::may_act_as(caller, run_as)? {
        return Ok(run_as);
    }
    Err(Error::denied("the job may not run as this role")
        .detail(format!(
            "run_as {name}, scheduled by {}",
            role::name(caller)
        ))
        .hint("only members of a role may schedule for it, and only a superuser for a superuser"))
}

fn unknown_role(name: &str) -> Error {
    Error::missing("the role does not exist")
        .detail(format!("role {name:?}"))
        .hint("see pg_roles")
}

fn not_yours(name: &str, caller: pg_sys::Oid) -> Error {
    Error::denied("the job belongs to somebody else")
        .detail(format!("job {name:?}, called by {}", role::name(caller)))
        .hint("choose another name, or SET ROLE to its owner")
}

/// The job of this name, when the caller may change it.
///
/// # Errors
/// `42704` when there is none, `42501` when it is somebody else's.
fn own_job(name: &str) -> Result<Option<i64>> {
    require_primary()?;
    let caller = role::current();
    let found = role::as_extension(|| {
        spi::read_row(
            "SELECT j.id, EXISTS (SELECT FROM pg_catalog.pg_roles r
                                   WHERE r.rolname = j.owner AND pg_catalog.pg_has_role($2, r.oid, $3))
                       OR (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid = $2)
               FROM gemba.jobs j WHERE j.name = $1",
            &[name.into(), caller.into(), role::MAY_SET.into()],
            |row| Ok((row.get::<i64>(1)?.unwrap_or_default(), row.get::<bool>(2)?)),
        )
    })?;
    match found {
        None => Ok(None),
        Some((id, Some(true))) => Ok(Some(id)),
        Some(_) => Err(not_yours(name, caller)),
    }
}

fn existing_job(name: &str) -> Result<i64> {
    own_job(name)?.ok_or_else(|| {
        Error::missing("the job does not exist")
            .detail(format!("job {name:?}"))
            .hint("see gemba.jobs")
    })
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn unschedule(name: &str) -> Result<bool, ErrorReport> {
    let Some(id) = own_job(name)? else {
        return Ok(false);
    };
    let removed = role::as_extension(|| {
        let removed = spi::write("DELETE FROM gemba.jobs WHERE id = $1", &[id.into()])?;
        worker::poke()?;
        Ok(removed)
    })?;
    Ok(removed > 0)
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn enable_job(name: &str, enabled: default!(bool, "true")) -> Result<bool, ErrorReport> {
    let id = existing_job(name)?;
    let now = time::timestamptz(time::now());
    let changed = role::as_extension(|| {
        let timetable = spi::read_row(
            "SELECT schedule, time_zone, anchor, next_run_at FROM gemba.jobs WHERE id = $1",
            &[id.into()],
            |row| {
                let anchor = row.get::<TimestampWithTimeZone>(3)?.unwrap_or(now);
                let next = row.get::<TimestampWithTimeZone>(4)?.unwrap_or(now);
                let (schedule, zone) = (row.get::<String>(1)?, row.get::<String>(2)?);
                Ok((
                    schedule.unwrap_or_default(),
                    zone.unwrap_or_default(),
                    anchor,
                    next,
                ))
            },
        )?;
        // What was missed meanwhile was meant to be: it goes on at its next time.
        let next = timetable.map(|(schedule, zone, anchor, next)| {
            if time::micros(next) > time::micros(now) {
                return next;
            }
            catalog::next_run(&schedule, &zone, anchor, now)
        });
        let changed = spi::write(
            "UPDATE gemba.jobs SET enabled = $2, updated_at = $3, next_run_at = coalesce($4, next_run_at)
              WHERE id = $1 AND enabled <> $2",
            &[id.into(), enabled.into(), now.into(), next.into()],
        )?;
        worker::poke()?;
        Ok(changed)
    })?;
    Ok(changed > 0)
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn run_job_now(name: &str) -> Result<TimestampWithTimeZone, ErrorReport> {
    let id = existing_job(name)?;
    let now = time::timestamptz(time::now());
    let (enabled, working) = role::as_extension(|| {
        let enabled = spi::write_returning(
            "UPDATE gemba.jobs SET again_at = $2, attempt = 0 WHERE id = $1 RETURNING enabled",
            &[id.into(), now.into()],
            |row| Ok(row.get::<bool>(1)?.unwrap_or(false)),
        )?;
        Ok((enabled == [true], worker::poke()?))
    })?;
    if !enabled {
        notice!("gemba: the job is switched off; it runs once gemba.enable_job() lets it");
    } else if !working {
        notice!("gemba: no worker looks after this database; gemba.run_due_jobs() runs the job");
    }
    Ok(now)
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn run_due_jobs(
    most: default!(i32, "1000"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(run_id, i64),
            name!(job, String),
            name!(status, String),
            name!(rows, Option<i64>),
            name!(sqlstate, Option<String>),
            name!(message, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let most = usize::try_from(most).map_err(|_| {
        Error::invalid("most must not be negative")
            .detail(format!("most {most}"))
            .hint("give the number of jobs to run at most")
    })?;
    require_primary()?;
    let outcomes = session::run_due(most)?;
    Ok(TableIterator::new(outcomes.into_iter().map(|outcome| {
        let (status, rows, failure) = match outcome.result {
            Ok(rows) => ("succeeded", i64::try_from(rows).ok(), None),
            Err(failure) => ("failed", None, Some(failure)),
        };
        (
            outcome.run.id,
            outcome.run.job,
            status.to_owned(),
            rows,
            failure.as_ref().map(|failure| failure.sqlstate.clone()),
            failure.map(|failure| failure.message),
        )
    })))
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn expire_job_runs() -> Result<i64, ErrorReport> {
    role::require_membership("service_role")?;
    require_primary()?;
    let minutes = gucs::JOB_HISTORY_MINUTES.get();
    let removed = role::as_extension(|| {
        spi::write(
            "DELETE FROM gemba.job_runs
              WHERE finished_at < pg_catalog.clock_timestamp() - $1 * interval '1 minute'",
            &[minutes.into()],
        )
    })?;
    Ok(i64::try_from(removed).unwrap_or(i64::MAX))
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn worker_status() -> Result<
    TableIterator<
        'static,
        (
            name!(state, String),
            name!(advice, Option<String>),
            name!(preloaded, bool),
            name!(launcher_pid, Option<i32>),
            name!(scheduler_pid, Option<i32>),
            name!(running, i64),
            name!(due, i64),
            name!(overdue_by, Option<Interval>),
            name!(next_run_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let facts = role::as_extension(|| {
        spi::read_row(include_str!("worker_status.sql"), &[], |row| {
            Ok((
                row.get::<i32>(1)?,
                row.get::<i32>(2)?,
                row.get::<bool>(3)?.unwrap_or(false),
                row.get::<i64>(4)?.unwrap_or(0),
                row.get::<i64>(5)?.unwrap_or(0),
                row.get::<Interval>(6)?,
                row.get::<TimestampWithTimeZone>(7)?,
            ))
        })
    })?;
    let rows = facts.map(
        |(launcher, scheduler, standby, running, due, overdue, next)| {
            let (state, advice) = worker::state(launcher, scheduler, standby);
            (
                state.to_owned(),
                advice.map(str::to_owned),
                worker::preloaded(),
                launcher,
                scheduler,
                running,
                due,
                overdue,
                next,
            )
        },
    );
    Ok(TableIterator::new(rows))
}
