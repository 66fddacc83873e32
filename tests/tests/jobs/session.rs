//! `gemba.run_due_jobs()`: the same work in a session.

use super::{allow, due, idle, run_due, run_due_briefly};
use anyhow::Result;
use gemba_tests::{expect_sqlstate, table, value, wait_until};
use postgres::Error;
use std::thread;
use std::time::{Duration, Instant};

const SERVICE: &str = ", run_as => 'service_role'";

#[test]
fn what_is_due_runs_in_the_order_in_which_it_was_due() -> Result<()> {
    let (_db, mut client) = idle("in_order")?;
    for name in ["b", "a", "c", "later"] {
        client.execute(
            "SELECT gemba.schedule($1, '1 hour', format('INSERT INTO s.done (what) VALUES (%L)', $1::text), run_as => 'service_role')",
            &[&name],
        )?;
    }
    client.batch_execute(
        "UPDATE gemba.jobs SET next_run_at = now() - interval '3 minutes' WHERE name = 'c';
         UPDATE gemba.jobs SET next_run_at = now() - interval '2 minutes' WHERE name = 'a';
         UPDATE gemba.jobs SET again_at = now() - interval '1 minute' WHERE name = 'b'",
    )?;
    let before = value(&mut client, "SELECT clock_timestamp()");
    let outcomes = run_due(&mut client)?;
    assert_eq!(
        outcomes
            .iter()
            .map(|run| run.job.as_str())
            .collect::<Vec<_>>(),
        ["c", "a", "b"]
    );
    for run in &outcomes {
        assert_eq!(
            (run.status.as_str(), run.rows, &run.sqlstate, &run.message),
            ("succeeded", Some(1), &None, &None)
        );
    }
    assert_eq!(
        table(&mut client, "SELECT what, who FROM s.done ORDER BY n"),
        ["c | service_role", "a | service_role", "b | service_role"]
    );
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT job, owner, run_as, attempt, status, runner, rows, sqlstate, message,
                        scheduled_for < '{before}', started_at >= '{before}', finished_at >= started_at
                   FROM gemba.job_runs ORDER BY id"
            )
        ),
        [
            "c | postgres | service_role | 1 | succeeded | session | 1 | - | - | t | t | t",
            "a | postgres | service_role | 1 | succeeded | session | 1 | - | - | t | t | t",
            "b | postgres | service_role | 1 | succeeded | session | 1 | - | - | t | t | t"
        ]
    );
    assert_eq!(run_due_briefly(&mut client)?, [""; 0], "and once only");
    Ok(())
}

#[test]
fn a_failing_job_does_not_stop_the_others() -> Result<()> {
    let (_db, mut client) = idle("failing")?;
    due(
        &mut client,
        "first",
        "INSERT INTO s.done (what) VALUES ('first')",
        SERVICE,
    )?;
    for (number, command) in [
        "SELECT 1 / 0",
        "this is no SQL",
        "SELECT * FROM nothing_of_this_name",
        "SELECT 1 FROM gemba.schema_versions; DROP TABLE s.done",
        "DO $$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'P0002', DETAIL = 'the detail', HINT = 'x'; END $$",
        "DO $$ BEGIN RAISE EXCEPTION '%', repeat('long ', 100000); END $$",
        "SELECT gemba.unschedule('never a job'); SELECT gemba.enable_job('never a job')",
    ]
    .iter()
    .enumerate()
    {
        due(&mut client, &format!("bad {number}"), command, SERVICE)?;
    }
    due(
        &mut client,
        "last",
        "INSERT INTO s.done (what) VALUES ('last')",
        SERVICE,
    )?;
    assert_eq!(
        run_due_briefly(&mut client)?,
        [
            "first succeeded",
            "bad 0 failed 22012",
            "bad 1 failed 42601",
            "bad 2 failed 42P01",
            "bad 3 failed 42501",
            "bad 4 failed P0002",
            "bad 5 failed P0001",
            "bad 6 failed 42704",
            "last succeeded"
        ]
    );
    assert_eq!(
        table(&mut client, "SELECT what FROM s.done ORDER BY n"),
        ["first", "last"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT job, status, message, detail, rows FROM gemba.job_runs WHERE job IN ('bad 0', 'bad 4') ORDER BY id"
        ),
        [
            "bad 0 | failed | division by zero | - | -",
            "bad 4 | failed | mine | the detail | -"
        ]
    );
    Ok(())
}

/// Anybody may have codes of their own.
#[test]
fn several_statements_are_all_or_nothing() -> Result<()> {
    let (_db, mut client) = idle("atomic")?;
    due(
        &mut client,
        "half",
        "INSERT INTO s.done (what) VALUES ('half'); SELECT 1 / 0",
        SERVICE,
    )?;
    due(
        &mut client,
        "whole",
        "CREATE TABLE s.made (n int); INSERT INTO s.made VALUES (1), (2); INSERT INTO s.done (what) SELECT 'whole' FROM s.made;",
        ", run_as => 'postgres'",
    )?;
    due(&mut client, "nothing", " ; -- only a remark\n; ", SERVICE)?;
    assert_eq!(
        run_due_briefly(&mut client)?,
        ["half failed 22012", "whole succeeded", "nothing succeeded"]
    );
    assert_eq!(
        table(&mut client, "SELECT what FROM s.done ORDER BY n"),
        ["whole", "whole"]
    );
    Ok(())
}

/// What the worker runs in the public schema runs here as well.
#[test]
fn an_unqualified_name_means_what_it_means_to_the_role() -> Result<()> {
    let (_db, mut client) = idle("unqualified")?;
    client.batch_execute(
        "CREATE TABLE public.plain (n int); GRANT ALL ON public.plain TO service_role",
    )?;
    due(&mut client, "j", "INSERT INTO plain VALUES (1)", SERVICE)?;
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    Ok(())
}

#[test]
fn a_timeout_cancels_the_job_and_nothing_else() -> Result<()> {
    let (_db, mut client) = idle("timeout")?;
    for (name, command) in [
        (
            "sleeps",
            "INSERT INTO s.done (what) VALUES ('undone'); SELECT pg_sleep(600)",
        ),
        ("loops", "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"),
        (
            "catches",
            "DO $$ BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN OTHERS THEN RAISE NOTICE 'caught'; END $$",
        ),
        (
            "spins",
            "SELECT count(*) FROM generate_series(1, 100000000000)",
        ),
    ] {
        due(
            &mut client,
            name,
            command,
            ", run_as => 'service_role', timeout => '200 ms'",
        )?;
    }
    due(
        &mut client,
        "after",
        "INSERT INTO s.done (what) VALUES ('after')",
        SERVICE,
    )?;
    client.batch_execute("SET statement_timeout = '55 s'")?;
    let started = Instant::now();
    let runs = run_due(&mut client)?;
    assert!(started.elapsed() < Duration::from_secs(20), "{runs:?}");
    for run in &runs[..4] {
        assert_eq!(
            (run.status.as_str(), run.sqlstate.as_deref()),
            ("failed", Some("57014")),
            "{run:?}"
        );
        assert!(
            run.message
                .as_deref()
                .is_some_and(|m| m.contains("timeout")),
            "{run:?}"
        );
    }
    assert_eq!(runs[4].status, "succeeded");
    assert_eq!(table(&mut client, "SELECT what FROM s.done"), ["after"]);
    // The session is alive, its own timeout too.
    assert_eq!(value(&mut client, "SHOW statement_timeout"), "55s");
    client.batch_execute("SELECT pg_sleep(0.3)")?;
    client.batch_execute("SET statement_timeout = '300 ms'")?;
    expect_sqlstate(client.batch_execute("SELECT pg_sleep(600)"), "57014");
    Ok(())
}

/// The caller's own timeout ends the call, as it would end any statement.
#[test]
fn the_callers_timeout_ends_the_call_and_nothing_has_happened() -> Result<()> {
    let (_db, mut client) = idle("callers_timeout")?;
    due(
        &mut client,
        "quick",
        "INSERT INTO s.done (what) VALUES ('quick')",
        SERVICE,
    )?;
    due(&mut client, "slow", "SELECT pg_sleep(600)", SERVICE)?;
    client.batch_execute("SET statement_timeout = '500 ms'")?;
    expect_sqlstate(run_due(&mut client), "57014");
    client.batch_execute("RESET statement_timeout")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT due, running FROM gemba.worker_status()"
        ),
        ["2 | 0"]
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT (SELECT count(*) FROM s.done) + (SELECT count(*) FROM gemba.job_runs)"
        ),
        "0"
    );
    Ok(())
}

#[test]
fn a_cancelled_call_has_done_nothing() -> Result<()> {
    let (db, mut client) = idle("cancelled")?;
    due(&mut client, "slow", "SELECT pg_sleep(600)", SERVICE)?;
    let mut session = db.connect()?;
    let pid = value(&mut session, "SELECT pg_backend_pid()");
    let call = thread::spawn(move || run_due(&mut session).map(|_| ()));
    wait_until("the job runs", || {
        value(
            &mut client,
            &format!(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'"
            ),
        ) == "1"
    });
    client.batch_execute(&format!("SELECT pg_cancel_backend({pid})"))?;
    let outcome = call
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    expect_sqlstate(outcome, "57014");
    assert_eq!(
        table(
            &mut client,
            "SELECT due, running FROM gemba.worker_status()"
        ),
        ["1 | 0"]
    );
    Ok(())
}

/// A job that runs jobs: the limit of the outer one holds although the inner has one of its own.
#[test]
fn a_job_that_runs_due_jobs_keeps_its_timeout() -> Result<()> {
    let (_db, mut client) = idle("nested")?;
    client.batch_execute("SET statement_timeout = '20 s'")?;
    due(
        &mut client,
        "outer",
        "SELECT * FROM gemba.run_due_jobs(); SELECT pg_sleep(600)",
        ", run_as => 'service_role', timeout => '1 s'",
    )?;
    due(
        &mut client,
        "inner",
        "SELECT 1",
        ", run_as => 'service_role', timeout => '10 s'",
    )?;
    let runs = run_due_briefly(&mut client)?;
    // What the inner call did was undone with the outer job; it runs again, now outside.
    assert_eq!(runs, ["outer failed 57014", "inner succeeded"]);
    Ok(())
}

#[test]
fn a_failed_job_is_tried_again_after_longer_and_longer_waits() -> Result<()> {
    let (_db, mut client) = idle("retries")?;
    due(
        &mut client,
        "j",
        "SELECT 1 / 0",
        ", run_as => 'service_role', retries => 2, retry_after => '10 minutes'",
    )?;
    let wait = "SELECT attempt, again_at > now() + $low AND again_at < now() + $high, run_id, interruptions FROM gemba.jobs";
    for (low, high, attempt) in [
        ("interval '4 minutes'", "interval '16 minutes'", 1),
        ("interval '9 minutes'", "interval '31 minutes'", 2),
    ] {
        assert_eq!(run_due_briefly(&mut client)?, ["j failed 22012"]);
        assert_eq!(run_due_briefly(&mut client)?, [""; 0], "not at once");
        assert_eq!(
            table(
                &mut client,
                &wait.replace("$low", low).replace("$high", high)
            ),
            [format!("{attempt} | t | - | 0")]
        );
        client.execute("UPDATE gemba.jobs SET again_at = now()", &[])?;
    }
    assert_eq!(run_due_briefly(&mut client)?, ["j failed 22012"]);
    assert_eq!(
        table(
            &mut client,
            "SELECT attempt, again_at, run_id, next_run_at > now() FROM gemba.jobs"
        ),
        ["0 | - | - | t"],
        "then it waits for its timetable"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT attempt, status FROM gemba.job_runs ORDER BY id"
        ),
        ["1 | failed", "2 | failed", "3 | failed"]
    );
    // A success ends the row of attempts.
    client.batch_execute(
        "SELECT gemba.run_job_now('j'); SELECT * FROM gemba.run_due_jobs();
         UPDATE gemba.jobs SET again_at = now(), command = 'SELECT 1'",
    )?;
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    assert_eq!(
        table(&mut client, "SELECT attempt, again_at FROM gemba.jobs"),
        ["0 | -"]
    );
    Ok(())
}

#[test]
fn retries_wait_for_days_when_they_are_told_to() -> Result<()> {
    let (_db, mut client) = idle("long_retries")?;
    for wait in ["3 days", "24 days"] {
        due(
            &mut client,
            wait,
            "SELECT 1 / 0",
            &format!(", run_as => 'service_role', retries => 5, retry_after => '{wait}'"),
        )?;
    }
    run_due_briefly(&mut client)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT name FROM gemba.jobs WHERE again_at > now() + name::interval * 0.45 AND again_at < now() + name::interval * 1.6
              ORDER BY id"
        ),
        ["3 days", "24 days"]
    );
    Ok(())
}

#[test]
fn a_run_of_the_timetable_ends_the_retries_of_the_one_before() -> Result<()> {
    let (_db, mut client) = idle("on_time")?;
    due(
        &mut client,
        "j",
        "SELECT 1 / 0",
        ", run_as => 'service_role', retries => 5, retry_after => '1 day'",
    )?;
    run_due_briefly(&mut client)?;
    client.execute("UPDATE gemba.jobs SET next_run_at = now()", &[])?;
    run_due_briefly(&mut client)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT attempt, status FROM gemba.job_runs ORDER BY id"
        ),
        ["1 | failed", "1 | failed"]
    );
    Ok(())
}

#[test]
fn eight_callers_at_once_run_each_job_once() -> Result<()> {
    const JOBS: i32 = 60;
    let (db, mut client) = idle("callers")?;
    for number in 0..JOBS {
        due(
            &mut client,
            &format!("job {number}"),
            &format!("INSERT INTO s.done (what) VALUES ('job {number}'); SELECT pg_sleep(0.01)"),
            SERVICE,
        )?;
    }
    let ran = thread::scope(|scope| -> Result<usize> {
        let mut callers = Vec::new();
        for _ in 0..8 {
            let mut session = db.connect_as("service_role")?;
            callers.push(scope.spawn(move || -> Result<usize, Error> {
                let mut ran = 0;
                for _ in 0..5 {
                    // In small steps, so that everybody has something to do.
                    ran += session
                        .query("SELECT * FROM gemba.run_due_jobs(3)", &[])?
                        .len();
                }
                while session
                    .query("SELECT * FROM gemba.run_due_jobs(1)", &[])?
                    .len()
                    == 1
                {
                    ran += 1;
                }
                Ok(ran)
            }));
        }
        let mut ran = 0;
        for caller in callers {
            ran += caller
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(ran)
    })?;
    assert_eq!(ran, JOBS as usize);
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), count(DISTINCT what) FROM s.done
             UNION ALL SELECT count(*), count(DISTINCT job) FROM gemba.job_runs WHERE status = 'succeeded'"
        ),
        [format!("{JOBS} | {JOBS}"), format!("{JOBS} | {JOBS}")]
    );
    Ok(())
}

/// A job that runs in another session, which has not ended, is neither run again nor waited for.
#[test]
fn a_job_that_runs_elsewhere_is_passed_over() -> Result<()> {
    let (db, mut client) = idle("elsewhere")?;
    due(&mut client, "a", "SELECT 1", SERVICE)?;
    let mut other = db.connect()?;
    other.batch_execute("BEGIN; SELECT * FROM gemba.run_due_jobs()")?;
    due(&mut client, "b", "SELECT 1", SERVICE)?;
    client.batch_execute("SET statement_timeout = '20 s'")?;
    assert_eq!(run_due_briefly(&mut client)?, ["b succeeded"]);
    other.batch_execute("ROLLBACK")?;
    assert_eq!(run_due_briefly(&mut client)?, ["a succeeded"]);
    Ok(())
}

#[test]
fn a_caller_who_rolls_back_has_run_nothing() -> Result<()> {
    let (_db, mut client) = idle("rolls_back")?;
    due(
        &mut client,
        "j",
        "INSERT INTO s.done (what) VALUES ('j')",
        SERVICE,
    )?;
    client.batch_execute("BEGIN")?;
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    client.batch_execute("ROLLBACK")?;
    assert_eq!(
        value(
            &mut client,
            "SELECT (SELECT count(*) FROM s.done) + (SELECT count(*) FROM gemba.job_runs)"
        ),
        "0"
    );
    // In a sub-transaction as well.
    client.batch_execute("BEGIN; SAVEPOINT a")?;
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    client.batch_execute("ROLLBACK TO a; COMMIT")?;
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    Ok(())
}

#[test]
fn no_more_run_than_asked_for() -> Result<()> {
    let (_db, mut client) = idle("most")?;
    for name in ["a", "b", "c"] {
        due(&mut client, name, "SELECT 1", SERVICE)?;
    }
    let count = |client: &mut postgres::Client, most: i32| {
        client
            .query("SELECT * FROM gemba.run_due_jobs($1)", &[&most])
            .map(|rows| rows.len())
    };
    assert_eq!(count(&mut client, 0)?, 0);
    // Less than none is a mistake or none, never all.
    if let Ok(ran) = count(&mut client, -1) {
        assert_eq!(ran, 0);
    }
    assert_eq!(count(&mut client, 2)?, 2);
    assert_eq!(count(&mut client, 2)?, 1);
    assert_eq!(count(&mut client, i32::MAX)?, 0);
    Ok(())
}

#[test]
fn switched_off_nothing_runs_and_it_says_so() -> Result<()> {
    let (db, mut client) = idle("switched_off")?;
    due(&mut client, "j", "SELECT 1", SERVICE)?;
    client.batch_execute(&format!(
        "ALTER DATABASE {} SET gemba.run_jobs = off",
        db.name()
    ))?;
    let (mut noting, notices) = db.connect_noting()?;
    assert_eq!(run_due_briefly(&mut noting)?, [""; 0]);
    let heard = notices.take();
    assert!(
        heard.iter().any(|n| n.message().contains("gemba.run_jobs")),
        "{heard:?}"
    );
    noting.batch_execute("SET gemba.run_jobs = on")?;
    assert_eq!(run_due_briefly(&mut noting)?, ["j succeeded"]);
    Ok(())
}

#[test]
fn transactions_in_which_it_could_not_be_right_are_refused() -> Result<()> {
    let (_db, mut client) = idle("isolation")?;
    due(&mut client, "j", "SELECT 1", SERVICE)?;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}"))?;
        let error = expect_sqlstate(run_due(&mut client), "25001");
        assert!(error.detail().is_some() && error.hint().is_some());
        client.batch_execute("ROLLBACK")?;
    }
    client.batch_execute("BEGIN READ ONLY")?;
    expect_sqlstate(run_due(&mut client), "25006");
    client.batch_execute("ROLLBACK")?;
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    Ok(())
}

/// A procedure that commits needs the worker; it fails here and says why.
#[test]
fn what_needs_a_transaction_of_its_own_fails_here() -> Result<()> {
    let (_db, mut client) = idle("own_transaction")?;
    client.batch_execute(
        "CREATE PROCEDURE s.commits() LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO s.done (what) VALUES ('committed'); COMMIT; END $$",
    )?;
    for (name, command) in [
        ("procedure", "CALL s.commits()"),
        ("vacuum", "VACUUM s.done"),
        ("begin", "BEGIN"),
        ("commit", "INSERT INTO s.done (what) VALUES ('x'); COMMIT"),
    ] {
        due(&mut client, name, command, ", run_as => 'postgres'")?;
    }
    let mut wrong = Vec::new();
    for run in run_due(&mut client)? {
        let sqlstate = run.sqlstate.clone().unwrap_or_default();
        if run.status != "failed" || !["0A000", "2D000", "25001"].contains(&sqlstate.as_str()) {
            wrong.push(run);
        }
    }
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.done"), "0");
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// A job may change its own timetable, or end it, while it runs.
#[test]
fn a_job_changes_itself() -> Result<()> {
    let (_db, mut client) = idle("itself")?;
    for (name, command) in [
        ("once", "SELECT gemba.unschedule('once')"),
        ("off", "SELECT gemba.enable_job('off', false)"),
        ("again", "SELECT gemba.run_job_now('again')"),
        (
            "moved",
            "SELECT gemba.schedule('moved', '2 days', 'SELECT 2')",
        ),
    ] {
        due(&mut client, name, command, SERVICE)?;
    }
    // Their owner has to be who runs them.
    client.batch_execute("UPDATE gemba.jobs SET owner = 'service_role'")?;
    assert_eq!(
        run_due_briefly(&mut client)?,
        [
            "once succeeded",
            "off succeeded",
            "again succeeded",
            "moved succeeded"
        ]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT name, enabled, again_at IS NOT NULL, command LIKE '%2', run_id FROM gemba.jobs ORDER BY id"
        ),
        [
            "off | f | f | f | -",
            "again | t | t | f | -",
            "moved | t | f | t | -"
        ]
    );
    assert_eq!(run_due_briefly(&mut client)?, ["again succeeded"]);
    Ok(())
}

#[test]
fn a_member_runs_the_job_with_the_jobs_rights_and_no_others() -> Result<()> {
    let (db, mut client) = idle("members_rights")?;
    let (member, group) = (db.role("member")?, db.role("group")?);
    allow(&mut client, &member)?;
    client.batch_execute(&format!(
        "GRANT {group} TO {member};
         CREATE TABLE s.of_member (n int); GRANT ALL ON s.of_member TO {member};
         CREATE TABLE s.of_group (n int); GRANT ALL ON s.of_group TO {group}"
    ))?;
    let mut session = db.connect_as(&member)?;
    let more = format!(", run_as => '{group}'");
    due(
        &mut session,
        "may",
        "INSERT INTO s.of_group VALUES (1)",
        &more,
    )?;
    due(
        &mut session,
        "may not",
        "INSERT INTO s.of_member VALUES (1)",
        &more,
    )?;
    assert_eq!(
        run_due_briefly(&mut session)?,
        ["may succeeded", "may not failed 42501"]
    );
    Ok(())
}
