//! Jobs without a worker: their timetable, their rights, and running them in a session.

mod runs;
mod schedule;
mod security;
mod session;

use anyhow::Result;
use gemba_tests::{Database, empty};
use postgres::{Client, Error};

/// A database with the engine and no job. Everybody may write to `s.done`.
fn idle(name: &str) -> Result<(Database<'static>, Client)> {
    let db = empty(name)?;
    let mut client = db.connect()?;
    client.batch_execute(
        "SET gemba.deploy = 'none'; CREATE EXTENSION gemba; RESET gemba.deploy;
         SELECT gemba.unschedule(name) FROM gemba.jobs;
         CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO PUBLIC;
         CREATE TABLE s.done (n bigint GENERATED ALWAYS AS IDENTITY, what text, who name DEFAULT current_user);
         GRANT SELECT, INSERT ON s.done TO PUBLIC",
    )?;
    Ok((db, client))
}

/// Lets a role schedule and run jobs and look at them, without service_role.
fn allow(client: &mut Client, role: &str) -> Result<(), Error> {
    client.batch_execute(&format!(
        "GRANT USAGE ON SCHEMA gemba TO {role}; GRANT SELECT ON gemba.jobs, gemba.job_runs TO {role};
         GRANT EXECUTE ON FUNCTION gemba.schedule, gemba.unschedule, gemba.enable_job, gemba.run_job_now,
           gemba.run_due_jobs, gemba.expire_job_runs, gemba.worker_status TO {role}"
    ))
}

/// A job that is due at once, once.
fn due(client: &mut Client, name: &str, command: &str, more: &str) -> Result<(), Error> {
    client.execute(
        &format!("SELECT gemba.schedule($1, '1 hour', $2 {more})"),
        &[&name, &command],
    )?;
    client.execute("SELECT gemba.run_job_now($1)", &[&name])?;
    Ok(())
}

/// What became of a run in a session.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    job: String,
    status: String,
    rows: Option<i64>,
    sqlstate: Option<String>,
    message: Option<String>,
}

fn run_due(client: &mut Client) -> Result<Vec<Outcome>, Error> {
    Ok(client
        .query(
            "SELECT job, status, rows, sqlstate, message FROM gemba.run_due_jobs()",
            &[],
        )?
        .iter()
        .map(|row| Outcome {
            job: row.get(0),
            status: row.get(1),
            rows: row.get(2),
            sqlstate: row.get(3),
            message: row.get(4),
        })
        .collect())
}

/// `job status`, or `job status sqlstate`, of each run.
fn run_due_briefly(client: &mut Client) -> Result<Vec<String>, Error> {
    Ok(run_due(client)?
        .into_iter()
        .map(|run| match run.sqlstate {
            None => format!("{} {}", run.job, run.status),
            Some(sqlstate) => format!("{} {} {sqlstate}", run.job, run.status),
        })
        .collect())
}
