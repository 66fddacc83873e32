//! What is due, what is remembered, and what a dump brings back.

use super::{allow, due, idle, run_due_briefly};
use anyhow::Result;
use gemba_tests::{Cluster, expect_sqlstate, run_ok, table, value};

const SERVICE: &str = ", run_as => 'service_role'";

#[test]
fn what_was_missed_is_made_up_for_by_one_run_and_intervals_do_not_drift() -> Result<()> {
    let (_db, mut client) = idle("missed")?;
    client.batch_execute(
        "SELECT gemba.schedule('hourly', '1 hour', 'SELECT 1', run_as => 'service_role'),
                gemba.schedule('cron', '17 * * * *', 'SELECT 1', run_as => 'service_role');
         UPDATE gemba.jobs SET anchor = anchor - interval '50 hours 7 minutes 3 seconds',
                               next_run_at = next_run_at - interval '50 hours'",
    )?;
    assert_eq!(run_due_briefly(&mut client)?.len(), 2);
    assert_eq!(run_due_briefly(&mut client)?, [""; 0]);
    assert_eq!(
        table(
            &mut client,
            "SELECT name, next_run_at > now(), next_run_at < now() + interval '1 hour 1 second',
                    CASE name WHEN 'cron' THEN extract(minute FROM next_run_at) = 17
                         ELSE extract(epoch FROM next_run_at - anchor)::numeric % 3600 = 0 END
               FROM gemba.jobs ORDER BY name"
        ),
        ["cron | t | t | t", "hourly | t | t | t"]
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT bool_and(scheduled_for < now() - interval '48 hours') FROM gemba.job_runs"
        ),
        "t"
    );
    Ok(())
}

/// An enabled job that is due and a run that was asked for are one run.
#[test]
fn a_run_that_was_asked_for_and_one_that_is_due_are_one() -> Result<()> {
    let (_db, mut client) = idle("asked_and_due")?;
    due(&mut client, "j", "SELECT 1", SERVICE)?;
    client.execute("UPDATE gemba.jobs SET next_run_at = now()", &[])?;
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    assert_eq!(run_due_briefly(&mut client)?, [""; 0]);
    Ok(())
}

/// Asked for beside its timetable, a job keeps it.
#[test]
fn a_run_that_was_asked_for_does_not_move_the_timetable() -> Result<()> {
    let (_db, mut client) = idle("asked")?;
    due(&mut client, "j", "SELECT 1", SERVICE)?;
    let before = value(&mut client, "SELECT next_run_at FROM gemba.jobs");
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    assert_eq!(
        value(&mut client, "SELECT next_run_at FROM gemba.jobs"),
        before
    );
    Ok(())
}

/// The server may know fewer time zones one day, and a restored table may hold anything.
#[test]
fn a_schedule_that_cannot_be_read_any_more_stops_only_itself() -> Result<()> {
    let (_db, mut client) = idle("unreadable")?;
    client.batch_execute(
        "SELECT gemba.schedule('zone', '0 3 * * *', 'SELECT 1', run_as => 'service_role'),
                gemba.schedule('text', '1 hour', 'SELECT 1', run_as => 'service_role'),
                gemba.schedule('good', '1 hour', 'SELECT 1', run_as => 'service_role');
         UPDATE gemba.jobs SET time_zone = 'Mars/Olympus' WHERE name = 'zone';
         UPDATE gemba.jobs SET schedule = 'banana' WHERE name = 'text';
         UPDATE gemba.jobs SET next_run_at = now() - interval '1 minute'",
    )?;
    assert_eq!(
        run_due_briefly(&mut client)?,
        ["zone succeeded", "text succeeded", "good succeeded"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT name, next_run_at = 'infinity' FROM gemba.jobs ORDER BY id"
        ),
        ["zone | t", "text | t", "good | f"]
    );
    // They can still be asked for, looked at and mended.
    client.batch_execute("SELECT gemba.run_job_now('zone')")?;
    assert_eq!(run_due_briefly(&mut client)?, ["zone succeeded"]);
    client.batch_execute("SELECT gemba.unschedule('good')")?;
    assert_eq!(
        table(&mut client, "SELECT due FROM gemba.worker_status()"),
        ["0"]
    );
    client.batch_execute(
        "SELECT gemba.schedule('text', '1 hour', 'SELECT 1', run_as => 'service_role')",
    )?;
    assert_eq!(
        value(
            &mut client,
            "SELECT next_run_at < 'infinity' FROM gemba.jobs WHERE name = 'text'"
        ),
        "t"
    );
    Ok(())
}

#[test]
fn the_history_keeps_what_the_setting_says() -> Result<()> {
    let (db, mut client) = idle("history")?;
    client.batch_execute(
        "INSERT INTO gemba.job_runs (job_id, job, owner, run_as, attempt, scheduled_for, started_at, finished_at, status, runner)
         SELECT 0, age, 'postgres', 'postgres', 1, now() - age::interval, now() - age::interval,
                CASE status WHEN 'running' THEN NULL ELSE now() - age::interval END, status, 'worker'
           FROM unnest(ARRAY['1 minute', '2 hours', '29 days', '31 days', '10 years']) AS age,
                unnest(ARRAY['running', 'succeeded', 'failed', 'interrupted']) AS status",
    )?;
    let left = "SELECT job, count(*) FROM gemba.job_runs GROUP BY job, job::interval ORDER BY job::interval";
    assert_eq!(value(&mut client, "SHOW gemba.job_history"), "30d");
    assert_eq!(value(&mut client, "SELECT gemba.expire_job_runs()"), "6");
    assert_eq!(
        table(&mut client, left),
        [
            "1 minute | 4",
            "2 hours | 4",
            "29 days | 4",
            "31 days | 1",
            "10 years | 1"
        ]
    );
    // It is everybody's history, so it is not service_role's to say.
    let mut service = db.connect_as("service_role")?;
    assert_eq!(value(&mut service, "SELECT gemba.expire_job_runs()"), "0");
    expect_sqlstate(
        service.batch_execute("SET gemba.job_history = '1 h'"),
        "42501",
    );
    let mut service = db.connect()?;
    value(&mut service, "SELECT gemba.expire_job_runs()");
    service.batch_execute("SET gemba.job_history = '1 h'")?;
    assert_eq!(value(&mut service, "SELECT gemba.expire_job_runs()"), "6");
    assert_eq!(
        table(&mut client, left),
        [
            "1 minute | 4",
            "2 hours | 1",
            "29 days | 1",
            "31 days | 1",
            "10 years | 1"
        ]
    );
    service.batch_execute("SET gemba.job_history = 0")?;
    assert_eq!(value(&mut service, "SELECT gemba.expire_job_runs()"), "3");
    assert_eq!(value(&mut service, "SELECT gemba.expire_job_runs()"), "0");
    service.batch_execute("SET gemba.job_history = '2147483647 min'")?;
    assert_eq!(value(&mut service, "SELECT gemba.expire_job_runs()"), "0");
    expect_sqlstate(service.batch_execute("SET gemba.job_history = -1"), "22023");
    let stranger = db.role("stranger")?;
    allow(&mut client, &stranger)?;
    let error = expect_sqlstate(
        db.connect_as(&stranger)?
            .batch_execute("SELECT gemba.expire_job_runs()"),
        "42501",
    );
    assert!(error.hint().is_some());
    Ok(())
}

/// A run that a worker left behind is ended by whoever comes next, and is taken up again.
#[test]
fn a_run_without_its_process_is_taken_up_again_at_most_three_times() -> Result<()> {
    let (_db, mut client) = idle("orphans")?;
    due(&mut client, "j", "SELECT 1", SERVICE)?;
    // As a scheduler leaves it whose server died.
    let abandon = "WITH run AS (
           INSERT INTO gemba.job_runs (job_id, job, owner, run_as, attempt, scheduled_for, started_at, status, runner, pid, process_started_at)
           SELECT id, name, owner, run_as, attempt + 1, now(), now(), 'running', 'worker', pg_backend_pid(), now() - interval '1 day'
             FROM gemba.jobs RETURNING id)
         UPDATE gemba.jobs SET run_id = run.id, again_at = NULL FROM run";
    for (round, again) in ["t", "t", "f"].iter().enumerate() {
        client.batch_execute(abandon)?;
        client.batch_execute("SELECT * FROM gemba.run_due_jobs(0)")?;
        assert_eq!(
            table(
                &mut client,
                "SELECT run_id, again_at IS NOT NULL, attempt FROM gemba.jobs"
            ),
            [format!("- | {again} | 0")],
            "round {round}"
        );
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT status, message IS NOT NULL, finished_at IS NOT NULL FROM gemba.job_runs"
        ),
        ["interrupted | t | t"; 3]
    );
    // The next time begins to count anew.
    assert_eq!(
        value(&mut client, "SELECT interruptions FROM gemba.jobs"),
        "0"
    );
    client.batch_execute("SELECT gemba.run_job_now('j')")?;
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    Ok(())
}

/// One whose process is there is left to it.
#[test]
fn a_run_with_its_process_is_left_alone() -> Result<()> {
    let (db, mut client) = idle("not_orphans")?;
    due(&mut client, "j", "SELECT 1", SERVICE)?;
    client.batch_execute(
        "WITH run AS (
           INSERT INTO gemba.job_runs (job_id, job, owner, run_as, attempt, scheduled_for, started_at, status, runner, pid, process_started_at)
           SELECT j.id, name, owner, run_as, 1, now(), now(), 'running', 'worker', a.pid, a.backend_start
             FROM gemba.jobs j, pg_stat_activity a WHERE a.pid = pg_backend_pid() RETURNING id)
         UPDATE gemba.jobs SET run_id = run.id, again_at = NULL FROM run;
         -- A process that is still starting has a few seconds for it.
         INSERT INTO gemba.job_runs (job_id, job, owner, run_as, attempt, scheduled_for, started_at, status, runner)
           VALUES (0, 'starting', 'postgres', 'postgres', 1, now(), clock_timestamp(), 'running', 'worker'),
                  (0, 'slow', 'postgres', 'postgres', 1, now(), clock_timestamp() - interval '1 minute', 'running', 'worker')",
    )?;
    // A stranger to the process sees as much.
    let mut service = db.connect_as("service_role")?;
    assert_eq!(run_due_briefly(&mut service)?, [""; 0]);
    assert_eq!(
        table(
            &mut client,
            "SELECT job, status FROM gemba.job_runs ORDER BY id"
        ),
        ["j | running", "starting | running", "slow | interrupted"]
    );
    Ok(())
}

#[test]
fn a_dump_brings_jobs_and_runs_back_and_they_go_on() -> Result<()> {
    let (db, mut client) = idle("dumped")?;
    due(
        &mut client,
        "it's \"one\"",
        "INSERT INTO s.done (what) VALUES ('one')",
        SERVICE,
    )?;
    due(
        &mut client,
        "failing",
        "SELECT 1 / 0",
        ", 'Asia/Bangkok', 'service_role', '20 days 00:00:03', 4, '7 minutes'",
    )?;
    run_due_briefly(&mut client)?;
    due(
        &mut client,
        "unfinished",
        "INSERT INTO s.done (what) VALUES ('unfinished')",
        SERVICE,
    )?;
    client.batch_execute(
        "SELECT gemba.schedule('off', '0 3 * * *', 'SELECT 1', run_as => 'service_role', enabled => false);
         WITH run AS (
           INSERT INTO gemba.job_runs (job_id, job, owner, run_as, attempt, scheduled_for, started_at, status, runner, pid, process_started_at)
           SELECT id, name, owner, run_as, 1, now(), now(), 'running', 'worker', 1, now()
             FROM gemba.jobs WHERE name = 'unfinished' RETURNING id, job_id)
         UPDATE gemba.jobs AS j SET run_id = run.id, again_at = NULL FROM run WHERE j.id = run.job_id",
    )?;
    let jobs = "SELECT * FROM gemba.jobs ORDER BY id";
    let runs = "SELECT * FROM gemba.job_runs ORDER BY id";
    let (jobs_before, runs_before) = (table(&mut client, jobs), table(&mut client, runs));
    assert_eq!((jobs_before.len(), runs_before.len()), (4, 3));
    for format in ["-Fc", "-Fp"] {
        let file = db.cluster().dir().join(format!("jobs{format}.dump"));
        run_ok(db.tool("pg_dump").arg(format).arg("-f").arg(&file))?;
        let elsewhere = Cluster::new()?;
        let target = elsewhere.database("restored")?;
        if format == "-Fc" {
            run_ok(
                target
                    .tool("pg_restore")
                    .args(["--exit-on-error", "-d", target.name()])
                    .arg(&file),
            )?;
        } else {
            run_ok(
                target
                    .tool("psql")
                    .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
                    .arg(&file),
            )?;
        }
        let mut restored = target.connect()?;
        assert_eq!(run_due_briefly(&mut restored)?, [""; 0], "{format}");
        restored.batch_execute(&format!(
            "ALTER DATABASE {} RESET gemba.run_jobs",
            target.name()
        ))?;
        let mut restored = target.connect()?;
        assert_eq!(table(&mut restored, jobs), jobs_before, "{format}");
        assert_eq!(table(&mut restored, runs), runs_before, "{format}");
        // What ran elsewhere did not run here.
        assert_eq!(
            run_due_briefly(&mut restored)?,
            ["unfinished succeeded"],
            "{format}"
        );
        assert_eq!(
            table(
                &mut restored,
                "SELECT job, status FROM gemba.job_runs ORDER BY id OFFSET 2"
            ),
            ["unfinished | interrupted", "unfinished | succeeded"]
        );
        due(&mut restored, "new", "SELECT 1", SERVICE)?;
        assert_eq!(run_due_briefly(&mut restored)?, ["new succeeded"]);
    }
    Ok(())
}

/// The engine's own jobs are ordinary: changed, switched off or removed, they stay so in a dump.
#[test]
fn the_built_in_jobs_are_there_and_run() -> Result<()> {
    let db = gemba_tests::extended("built_in")?;
    let mut client = db.connect()?;
    assert_eq!(
        table(
            &mut client,
            "SELECT name FROM gemba.jobs WHERE name LIKE 'gemba: %' ORDER BY name COLLATE \"C\""
        ),
        [
            "gemba: access",
            "gemba: audit seals",
            "gemba: job history",
            "gemba: partitions",
            "gemba: rollups"
        ]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT DISTINCT owner, run_as, enabled, again_at FROM gemba.jobs"
        ),
        ["postgres | service_role | t | -"]
    );
    client.execute("UPDATE gemba.jobs SET next_run_at = now()", &[])?;
    for run in super::run_due(&mut client)? {
        assert_eq!(run.status, "succeeded", "{run:?}");
    }
    Ok(())
}
