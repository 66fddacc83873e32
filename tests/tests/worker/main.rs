//! The background worker, on servers that preload the library.

mod faults;
mod standby;
mod worker;

use anyhow::Result;
use gemba_tests::{Cluster, Database, table, wait_for};
use postgres::{Client, Error};
use std::sync::OnceLock;

/// The server that tests share which leave its processes and settings alone.
fn server() -> Result<&'static Cluster> {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::preloaded(&[]).map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("the preloaded cluster did not start: {error}"))
}

/// A database with the engine, the worker and no job. Everybody may write to `s.done`.
fn idle<'a>(cluster: &'a Cluster, name: &str) -> Result<(Database<'a>, Client)> {
    let db = cluster.database(name)?;
    let mut client = db.connect()?;
    install(&mut client)?;
    client.batch_execute(
        "CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO PUBLIC;
         CREATE TABLE s.done (n bigint GENERATED ALWAYS AS IDENTITY, what text, who name DEFAULT current_user,
                              pid int DEFAULT pg_backend_pid());
         GRANT SELECT, INSERT ON s.done TO PUBLIC",
    )?;
    Ok((db, client))
}

/// The extension with neither modules nor the engine's own jobs.
fn install(client: &mut Client) -> Result<(), Error> {
    client.batch_execute(
        "SET gemba.deploy = 'none'; CREATE EXTENSION gemba; RESET gemba.deploy;
         SELECT gemba.unschedule(name) FROM gemba.jobs",
    )
}

/// A job of service_role that nothing but [`run`] makes due.
fn schedule(client: &mut Client, name: &str, command: &str, more: &str) -> Result<(), Error> {
    let run_as = if more.contains("run_as") {
        ""
    } else {
        ", run_as => 'service_role'"
    };
    client.execute(
        &format!("SELECT gemba.schedule($1, '1 hour', $2 {run_as} {more})"),
        &[&name, &command],
    )?;
    Ok(())
}

/// A job that is due at once, once.
fn due(client: &mut Client, name: &str, command: &str, more: &str) -> Result<(), Error> {
    schedule(client, name, command, more)?;
    client.execute("SELECT gemba.run_job_now($1)", &[&name])?;
    Ok(())
}

/// Waits until the newest run of a job has ended; returns its status, code and message.
#[track_caller]
fn ended(client: &mut Client, job: &str) -> String {
    wait_for(
        client,
        &format!(
            "SELECT count(*) FROM gemba.job_runs AS r JOIN gemba.jobs AS j ON j.id = r.job_id
              WHERE j.name = '{job}' AND j.run_id IS NULL AND j.again_at IS NULL AND r.finished_at IS NOT NULL
                AND r.id = (SELECT max(id) FROM gemba.job_runs WHERE job = '{job}')"
        ),
        "1",
    );
    runs(client, job).pop().unwrap_or_default()
}

/// Status, code and message of a job's runs, oldest first.
#[track_caller]
fn runs(client: &mut Client, job: &str) -> Vec<String> {
    table(
        client,
        &format!(
            "SELECT concat_ws(' ', status, sqlstate, message) FROM gemba.job_runs WHERE job = '{job}' ORDER BY id"
        ),
    )
}

/// The process of a job that has begun its work.
#[track_caller]
fn working(client: &mut Client, job: &str) -> i32 {
    let mut pid = 0;
    gemba_tests::wait_until(&format!("{job} works"), || {
        let found = client
            .query_opt(
                "SELECT a.pid FROM gemba.job_runs r JOIN pg_stat_activity a ON a.pid = r.pid AND a.backend_start = r.process_started_at
                  WHERE r.job = $1 AND r.status = 'running' AND a.wait_event = 'PgSleep'",
                &[&job],
            )
            .unwrap_or_else(|error| panic!("{error:?}"));
        pid = found.map_or(0, |row| row.get(0));
        pid != 0
    });
    pid
}

/// Waits until the worker looks after this database.
#[track_caller]
fn wait_for_worker(client: &mut Client) {
    wait_for(client, "SELECT state FROM gemba.worker_status()", "running");
}

const SCHEDULERS: &str = "SELECT count(*) FROM pg_stat_activity
     WHERE backend_type = 'gemba scheduler' AND datname = current_database()";

/// A session after a crash, when the server has come back.
#[track_caller]
fn reconnect(db: &Database) -> Client {
    let mut session = None;
    gemba_tests::wait_until("the server is back", || {
        session = db.connect().ok();
        session.is_some()
    });
    session.unwrap_or_else(|| unreachable!("waited for"))
}
