//! Processes, servers and whole clusters that die: no run is lost, none runs twice, none runs for ever.

use super::{SCHEDULERS, due, ended, idle, reconnect, runs, schedule, wait_for_worker, working};
use anyhow::{Context, Result};
use gemba_tests::{Cluster, comes_true, signal, table, value, wait_for, wait_until};
use postgres::Client;
use std::time::{Duration, Instant};

/// A server that starts again after a crash.
fn mortal(settings: &[(&str, &str)]) -> Result<Cluster> {
    let mut all = vec![("restart_after_crash", "on")];
    all.extend(settings);
    Cluster::preloaded(&all)
}

/// A job that inserts one row each second, at most.
const OFTEN: &str = "SELECT gemba.schedule('often', '1 second', 'INSERT INTO s.done (what) VALUES (''often''); SELECT pg_sleep(0.05)',
                                           run_as => 'service_role')";

/// Stops a job that runs often, and waits until nothing runs any more.
#[track_caller]
fn quiet(client: &mut Client) {
    client
        .batch_execute("SELECT gemba.enable_job(name, false) FROM gemba.jobs")
        .unwrap_or_else(|error| panic!("{error:?}"));
    wait_for(
        client,
        "SELECT (SELECT count(*) FROM gemba.job_runs WHERE status = 'running')
              + (SELECT count(*) FROM gemba.jobs WHERE run_id IS NOT NULL)",
        "0",
    );
}

/// Each run that succeeded inserted its row, and no other run did.
#[track_caller]
fn assert_exactly_once(client: &mut Client) {
    assert_eq!(
        value(client, "SELECT count(*) FROM s.done"),
        value(
            client,
            "SELECT count(*) FROM gemba.job_runs WHERE status = 'succeeded' AND rows IS NOT NULL"
        )
    );
}

fn pid_of(client: &mut Client, kind: &str) -> Result<i32> {
    client
        .query_one(
            &format!("SELECT {kind}_pid FROM gemba.worker_status()"),
            &[],
        )?
        .try_get::<_, Option<i32>>(0)?
        .with_context(|| format!("no {kind}"))
}

/// The server ends every other process of its own then, and starts again.
#[test]
fn a_killed_job_is_taken_up_again_and_its_work_is_not_doubled() -> Result<()> {
    let cluster = mortal(&[])?;
    let (db, mut client) = idle(&cluster, "killed_job")?;
    wait_for_worker(&mut client);
    due(
        &mut client,
        "j",
        "INSERT INTO s.done (what) VALUES ('j'); SELECT pg_sleep(1.5)",
        "",
    )?;
    let pid = working(&mut client, "j");
    signal("-9", pid)?;
    wait_until("the server is down", || {
        client.simple_query("SELECT 1").is_err()
    });
    let mut client = reconnect(&db);
    wait_for(
        &mut client,
        "SELECT count(*) FROM gemba.job_runs WHERE status = 'succeeded'",
        "1",
    );
    assert_eq!(runs(&mut client, "j").len(), 2);
    assert!(runs(&mut client, "j")[0].starts_with("interrupted"));
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.done"), "1");
    wait_for_worker(&mut client);
    assert_eq!(
        value(&mut client, "SELECT running FROM gemba.worker_status()"),
        "0"
    );
    Ok(())
}

#[test]
fn a_job_that_brings_the_server_down_is_given_up() -> Result<()> {
    let cluster = mortal(&[])?;
    let (db, mut client) = idle(&cluster, "deadly")?;
    wait_for_worker(&mut client);
    due(&mut client, "deadly", "SELECT pg_sleep(600)", "")?;
    for _ in 0..3 {
        let pid = working(&mut client, "deadly");
        signal("-9", pid)?;
        wait_until("the server is down", || {
            client.simple_query("SELECT 1").is_err()
        });
        client = reconnect(&db);
    }
    wait_for(
        &mut client,
        "SELECT count(*) FROM gemba.job_runs WHERE status = 'interrupted'",
        "3",
    );
    due(&mut client, "other", "SELECT 1", "")?;
    assert_eq!(ended(&mut client, "other"), "succeeded");
    assert_eq!(
        runs(&mut client, "deadly").len(),
        3,
        "it is not tried again"
    );
    Ok(())
}

#[test]
fn many_short_jobs_survive_crash_after_crash() -> Result<()> {
    let cluster = mortal(&[("gemba.max_running_jobs", "6")])?;
    let (db, mut client) = idle(&cluster, "crashes")?;
    for number in 0..8 {
        client.batch_execute(&format!(
            "SELECT gemba.schedule('job {number}', '1 second',
               'INSERT INTO s.done (what) VALUES (''job {number}''); SELECT pg_sleep(0.{number})', run_as => 'service_role')"
        ))?;
    }
    for round in 0..4 {
        let before: i64 = value(&mut client, "SELECT count(*) FROM s.done").parse()?;
        wait_for(
            &mut client,
            &format!("SELECT count(*) >= {} FROM s.done", before + 8),
            "t",
        );
        wait_for(
            &mut client,
            "SELECT count(*) > 0 FROM gemba.job_runs WHERE status = 'running'",
            "t",
        );
        match round {
            // A crash that the postmaster recovers from by itself.
            0 => {
                let pid = pid_of(&mut client, "scheduler")?;
                signal("-9", pid)?;
                wait_until("the server is down", || {
                    client.simple_query("SELECT 1").is_err()
                });
            }
            1 => {
                signal("-9", cluster.postmaster()?)?;
                cluster.start_after_kill()?;
            }
            2 => {
                cluster.crash()?;
                cluster.start()?;
            }
            _ => {
                cluster.stop()?;
                cluster.start()?;
            }
        }
        client = reconnect(&db);
    }
    wait_for_worker(&mut client);
    let before: i64 = value(&mut client, "SELECT count(*) FROM s.done").parse()?;
    wait_for(
        &mut client,
        &format!("SELECT count(*) >= {} FROM s.done", before + 8),
        "t",
    );
    quiet(&mut client);
    assert_exactly_once(&mut client);
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM gemba.job_runs a JOIN gemba.job_runs b ON a.job_id = b.job_id AND a.id < b.id
              WHERE a.status = 'succeeded' AND b.started_at < a.finished_at"
        ),
        "0",
        "two runs of one job at once"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM gemba.jobs AS j WHERE NOT EXISTS (
               SELECT FROM gemba.job_runs r WHERE r.job_id = j.id AND r.status = 'succeeded')"
        ),
        "0",
        "every job has run"
    );
    Ok(())
}

#[test]
fn a_killed_postmaster_leaves_no_run_behind() -> Result<()> {
    let cluster = mortal(&[])?;
    let (db, mut client) = idle(&cluster, "killed_postmaster")?;
    client.batch_execute(OFTEN)?;
    due(
        &mut client,
        "slow",
        "INSERT INTO s.done (what) VALUES ('slow'); SELECT pg_sleep(1.5)",
        "",
    )?;
    working(&mut client, "slow");
    wait_for(&mut client, "SELECT count(*) > 0 FROM s.done", "t");
    signal("-9", cluster.postmaster()?)?;
    cluster.start_after_kill()?;
    let mut client = reconnect(&db);
    wait_for(
        &mut client,
        "SELECT string_agg(status, ' ' ORDER BY id) FROM gemba.job_runs WHERE job = 'slow'",
        "interrupted succeeded",
    );
    quiet(&mut client);
    assert_exactly_once(&mut client);
    Ok(())
}

#[test]
fn an_immediate_shutdown_leaves_no_run_behind() -> Result<()> {
    let cluster = mortal(&[])?;
    let (db, mut client) = idle(&cluster, "immediate")?;
    client.batch_execute(OFTEN)?;
    due(
        &mut client,
        "slow",
        "INSERT INTO s.done (what) VALUES ('slow'); SELECT pg_sleep(1.5)",
        "",
    )?;
    working(&mut client, "slow");
    wait_for(&mut client, "SELECT count(*) > 0 FROM s.done", "t");
    cluster.crash()?;
    cluster.start()?;
    let mut client = reconnect(&db);
    wait_for(
        &mut client,
        "SELECT string_agg(status, ' ' ORDER BY id) FROM gemba.job_runs WHERE job = 'slow'",
        "interrupted succeeded",
    );
    quiet(&mut client);
    assert_exactly_once(&mut client);
    Ok(())
}

/// The work and the word that it is done are one commit, whatever happens in between.
#[test]
fn an_orderly_shutdown_interrupts_what_runs_within_moments() -> Result<()> {
    let cluster = mortal(&[])?;
    let (db, mut client) = idle(&cluster, "fast")?;
    for (name, command) in [
        ("sleeps", "SELECT pg_sleep(1000)"),
        (
            "loops",
            "DO $$ BEGIN LOOP PERFORM pg_sleep(0.001); END LOOP; END $$",
        ),
        (
            "catches",
            "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$",
        ),
    ] {
        due(&mut client, name, command, "")?;
    }
    for name in ["sleeps", "catches"] {
        working(&mut client, name);
    }
    drop(client);
    let started = Instant::now();
    cluster.stop()?;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "the stop took {took:?}");
    cluster.start()?;
    let mut client = reconnect(&db);
    // They are taken up again.
    for name in ["sleeps", "loops", "catches"] {
        wait_for(
            &mut client,
            &format!(
                "SELECT string_agg(status, ' ' ORDER BY id) FROM gemba.job_runs WHERE job = '{name}'"
            ),
            "interrupted running",
        );
    }
    Ok(())
}

#[test]
fn a_terminated_scheduler_comes_back_and_its_jobs_go_on() -> Result<()> {
    let cluster = mortal(&[("gemba.max_running_jobs", "2")])?;
    let (_db, mut client) = idle(&cluster, "scheduler")?;
    wait_for_worker(&mut client);
    client.batch_execute("BEGIN")?;
    for number in 0..5 {
        due(
            &mut client,
            &format!("slow {number}"),
            &format!("INSERT INTO s.done (what) VALUES ('slow {number}'); SELECT pg_sleep(2.5)"),
            "",
        )?;
    }
    client.batch_execute("COMMIT")?;
    working(&mut client, "slow 0");
    let pid = pid_of(&mut client, "scheduler")?;
    client.batch_execute(&format!("SELECT pg_terminate_backend({pid})"))?;
    wait_for(
        &mut client,
        &format!(
            "SELECT scheduler_pid <> {pid} FROM gemba.worker_status() WHERE scheduler_pid IS NOT NULL UNION ALL SELECT false LIMIT 1"
        ),
        "t",
    );
    wait_for(
        &mut client,
        "SELECT count(*) FROM gemba.job_runs WHERE status = 'succeeded'",
        "5",
    );
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM gemba.job_runs"),
        "5",
        "those that ran were left to themselves"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT max(n) FROM (
               SELECT (SELECT count(*) FROM gemba.job_runs o WHERE o.started_at <= r.started_at AND o.finished_at > r.started_at) AS n
                 FROM gemba.job_runs r) AS at_once"
        ),
        "2",
        "the new one counts what the old one began"
    );
    assert_exactly_once(&mut client);
    Ok(())
}

#[test]
fn a_terminated_launcher_comes_back_and_each_database_keeps_one_scheduler() -> Result<()> {
    let cluster = mortal(&[])?;
    let (_db, mut client) = idle(&cluster, "launcher")?;
    wait_for_worker(&mut client);
    client.batch_execute(OFTEN)?;
    for _ in 0..2 {
        let pid = pid_of(&mut client, "launcher")?;
        client.batch_execute(&format!("SELECT pg_terminate_backend({pid})"))?;
        wait_for(
            &mut client,
            &format!("SELECT coalesce(launcher_pid, {pid}) <> {pid} FROM gemba.worker_status()"),
            "t",
        );
        wait_for_worker(&mut client);
    }
    due(&mut client, "j", "SELECT 1", "")?;
    assert_eq!(ended(&mut client, "j"), "succeeded");
    // A second one may begin, look, and go.
    wait_for(&mut client, SCHEDULERS, "1");
    client.batch_execute("SELECT pg_sleep(2)")?;
    wait_for(&mut client, SCHEDULERS, "1");
    quiet(&mut client);
    Ok(())
}

/// A cancel is for a statement, and no reason to end for long.
#[test]
fn a_cancelled_scheduler_or_launcher_goes_on() -> Result<()> {
    let cluster = mortal(&[])?;
    let (_db, mut client) = idle(&cluster, "cancels")?;
    wait_for_worker(&mut client);
    client.batch_execute(
        "SELECT pg_cancel_backend(scheduler_pid), pg_cancel_backend(launcher_pid) FROM gemba.worker_status()",
    )?;
    due(&mut client, "j", "SELECT 1", "")?;
    assert_eq!(ended(&mut client, "j"), "succeeded");
    wait_for(
        &mut client,
        "SELECT launcher_pid > 0 FROM gemba.worker_status()",
        "t",
    );
    Ok(())
}

/// A new extension is noticed although the launcher was killed meanwhile.
#[test]
fn a_database_that_is_made_after_the_launcher_came_back_is_noticed() -> Result<()> {
    let cluster = mortal(&[])?;
    let (_db, mut client) = idle(&cluster, "before")?;
    wait_for_worker(&mut client);
    client.batch_execute("SELECT pg_terminate_backend(launcher_pid) FROM gemba.worker_status()")?;
    let (_db, mut other) = idle(&cluster, "after")?;
    due(&mut other, "j", "SELECT 1", "")?;
    assert_eq!(ended(&mut other, "j"), "succeeded");
    Ok(())
}

#[test]
fn a_constraint_that_fails_at_the_commit_makes_the_run_fail() -> Result<()> {
    let (_db, mut client) = idle(super::server()?, "constraint")?;
    client.batch_execute(
        "CREATE TABLE s.parent (n int PRIMARY KEY);
         CREATE TABLE s.child (n int REFERENCES s.parent DEFERRABLE INITIALLY DEFERRED);
         GRANT ALL ON s.parent, s.child TO service_role",
    )?;
    due(
        &mut client,
        "j",
        "INSERT INTO s.done (what) VALUES ('undone'); INSERT INTO s.child VALUES (1)",
        ", retries => 1, retry_after => '0 s'",
    )?;
    wait_for(
        &mut client,
        "SELECT count(*) FROM gemba.job_runs WHERE status = 'failed' AND sqlstate = '23503'",
        "2",
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT (SELECT count(*) FROM s.done) + (SELECT count(*) FROM s.child)"
        ),
        "0"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT attempt, rows, detail IS NOT NULL FROM gemba.job_runs ORDER BY id"
        ),
        ["1 | - | t", "2 | - | t"]
    );
    // The job itself is settled a moment after its run.
    wait_for(
        &mut client,
        "SELECT count(*) FROM gemba.jobs WHERE run_id IS NULL AND again_at IS NULL",
        "1",
    );
    Ok(())
}

/// As if the clock had been set back: what was planned lies further ahead than any timetable says.
/// A scheduler looks at this when it starts, and now and then.
#[test]
fn jobs_follow_a_clock_that_was_set_back() -> Result<()> {
    let cluster = mortal(&[])?;
    let (_db, mut client) = idle(&cluster, "clock")?;
    wait_for_worker(&mut client);
    for (name, schedule) in [
        ("interval", "1 hour"),
        ("cron", "*/5 * * * *"),
        ("month", "1 month"),
        ("in time", "1 hour"),
        ("never", "1 hour"),
    ] {
        client.execute(
            "SELECT gemba.schedule($1, $2, 'SELECT 1', run_as => 'service_role')",
            &[&name, &schedule],
        )?;
    }
    client.batch_execute(
        "UPDATE gemba.jobs SET next_run_at = next_run_at + interval '3 years', anchor = anchor + interval '3 years'
          WHERE name IN ('interval', 'cron', 'month');
         UPDATE gemba.jobs SET next_run_at = 'infinity' WHERE name = 'never'",
    )?;
    let kept = "SELECT next_run_at FROM gemba.jobs WHERE name = 'in time'";
    let before = value(&mut client, kept);
    client
        .batch_execute("SELECT pg_terminate_backend(scheduler_pid) FROM gemba.worker_status()")?;
    for (name, longest) in [
        ("interval", "1 hour"),
        ("cron", "5 minutes"),
        ("month", "31 days"),
        ("never", "1 hour"),
    ] {
        wait_for(
            &mut client,
            &format!(
                "SELECT next_run_at > now() - interval '1 minute' AND next_run_at <= now() + interval '{longest}' AND anchor <= now()
                   FROM gemba.jobs WHERE name = '{name}'"
            ),
            "t",
        );
    }
    assert_eq!(value(&mut client, kept), before);
    Ok(())
}

/// A retry never waits longer than an hour (or its own retry_after), so one in years is of another clock.
#[test]
fn retries_follow_a_clock_that_was_set_back() -> Result<()> {
    let cluster = mortal(&[])?;
    let (_db, mut client) = idle(&cluster, "clock_of_retries")?;
    wait_for_worker(&mut client);
    schedule(&mut client, "retry", "SELECT 1", "")?;
    client.batch_execute(
        "UPDATE gemba.jobs SET again_at = now() + interval '3 years', next_run_at = now() + interval '1 hour' WHERE name = 'retry';
         SELECT pg_terminate_backend(scheduler_pid) FROM gemba.worker_status()",
    )?;
    wait_for(
        &mut client,
        "SELECT coalesce(again_at < now() + interval '1 hour 1 minute', true) FROM gemba.jobs WHERE name = 'retry'",
        "t",
    );
    Ok(())
}

/// What somebody changes in the tables by hand is seen without being told.
#[test]
fn a_job_that_was_made_due_by_hand_runs() -> Result<()> {
    let (_db, mut client) = idle(super::server()?, "by_hand")?;
    wait_for_worker(&mut client);
    schedule(&mut client, "j", "SELECT 1", "")?;
    client.batch_execute("UPDATE gemba.jobs SET next_run_at = now()")?;
    assert_eq!(ended(&mut client, "j"), "succeeded");
    Ok(())
}

/// A server that is restored from a dump while its worker runs: nothing is lost, nothing collides.
#[test]
fn a_dump_is_restored_under_a_running_worker() -> Result<()> {
    use gemba_tests::run_ok;
    let cluster = super::server()?;
    let (db, mut client) = idle(cluster, "dumped")?;
    client.batch_execute(OFTEN)?;
    for number in 0..5 {
        due(
            &mut client,
            &format!("job {number}"),
            &format!("INSERT INTO s.done (what) VALUES ('{number}')"),
            "",
        )?;
    }
    wait_for(&mut client, "SELECT count(*) >= 7 FROM s.done", "t");
    for (number, jobs) in ["1", "4"].iter().enumerate() {
        let file = cluster.dir().join(format!("under_worker_{number}.dump"));
        run_ok(db.tool("pg_dump").arg("-Fc").arg("-f").arg(&file))?;
        let target = cluster.database("restored")?;
        run_ok(
            target
                .tool("pg_restore")
                .args(["--exit-on-error", "-j", jobs, "-d", target.name()])
                .arg(&file),
        )?;
        let mut restored = target.connect()?;
        let before: i64 = value(&mut restored, "SELECT count(*) FROM s.done").parse()?;
        assert!(before >= 7);
        // Not by itself: the copy would do the original's work, and begin before all rows are there.
        assert_eq!(
            value(&mut restored, "SELECT state FROM gemba.worker_status()"),
            "switched off"
        );
        restored.batch_execute(&format!(
            "ALTER DATABASE {} RESET gemba.run_jobs; SELECT pg_reload_conf()",
            target.name()
        ))?;
        let went_on = comes_true(|| {
            value(
                &mut restored,
                &format!("SELECT count(*) > {before} + 1 FROM s.done"),
            ) == "t"
        });
        assert!(
            went_on,
            "the worker does not look after the restored database"
        );
        quiet(&mut restored);
        assert_exactly_once(&mut restored);
    }
    quiet(&mut client);
    Ok(())
}
