//! What the worker runs, as whom, and how many at once.

use super::{
    SCHEDULERS, due, ended, idle, install, runs, schedule, server, wait_for_worker, working,
};
use anyhow::Result;
use gemba_tests::{Cluster, Database, comes_true, table, value, wait_for, wait_until};
use postgres::Client;

#[test]
fn due_jobs_run_as_their_roles() -> Result<()> {
    let (db, mut client) = idle(server()?, "roles")?;
    let (plain, login) = (db.role("plain")?, db.role("login")?);
    client.batch_execute(&format!(
        "ALTER ROLE {login} LOGIN; ALTER ROLE {login} SET work_mem = '3MB'"
    ))?;
    let command = "INSERT INTO s.done (what) VALUES (concat_ws(' ', current_setting('is_superuser'), current_setting('role')))";
    for role in ["postgres", "service_role", plain.as_str(), login.as_str()] {
        due(&mut client, role, command, &format!(", run_as => '{role}'"))?;
        assert_eq!(ended(&mut client, role), "succeeded");
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT who, left(what, 3) FROM s.done ORDER BY n"
        ),
        [
            "postgres | on ".to_owned(),
            "service_role | off".to_owned(),
            format!("{plain} | off"),
            format!("{login} | off")
        ]
    );
    // Before 17 a role that cannot log in is connected in another way, which session_user shows.
    if db.cluster().major() >= 17 {
        due(
            &mut client,
            &plain,
            "INSERT INTO s.done (what) VALUES (session_user)",
            &format!(", run_as => '{plain}'"),
        )?;
        assert_eq!(ended(&mut client, &plain), "succeeded");
        assert_eq!(
            value(
                &mut client,
                "SELECT what FROM s.done ORDER BY n DESC LIMIT 1"
            ),
            plain
        );
    }
    // With no more rights than the role has.
    client.batch_execute("CREATE TABLE s.secret (n int); CREATE TABLE public.plain (n int)")?;
    client.batch_execute(&format!("GRANT INSERT ON public.plain TO {plain}, {login}"))?;
    for role in [&plain, &login] {
        let more = format!(", run_as => '{role}'");
        due(&mut client, "reads", "SELECT * FROM s.secret", &more)?;
        assert!(ended(&mut client, "reads").starts_with("failed 42501 "));
        due(&mut client, "path", "INSERT INTO plain VALUES (1)", &more)?;
        assert_eq!(ended(&mut client, "path"), "succeeded");
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT DISTINCT runner, pid IS NOT NULL, process_started_at IS NOT NULL, attempt FROM gemba.job_runs"
        ),
        ["worker | t | t | 1"]
    );
    Ok(())
}

/// Settings of a role are part of what it connects with.
#[test]
fn a_role_that_logs_in_has_its_settings() -> Result<()> {
    let (db, mut client) = idle(server()?, "role_settings")?;
    let login = db.role("login")?;
    client.batch_execute(&format!(
        "ALTER ROLE {login} LOGIN; ALTER ROLE {login} SET work_mem = '3MB'"
    ))?;
    due(
        &mut client,
        "j",
        "INSERT INTO s.done (what) VALUES (current_setting('work_mem'))",
        &format!(", run_as => '{login}'"),
    )?;
    assert_eq!(ended(&mut client, "j"), "succeeded");
    assert_eq!(value(&mut client, "SELECT what FROM s.done"), "3MB");
    Ok(())
}

#[test]
fn several_databases_have_their_jobs_run_at_once() -> Result<()> {
    let cluster = server()?;
    let mut all = Vec::new();
    for name in ["one", "two", "three"] {
        let (db, mut client) = idle(cluster, name)?;
        client.batch_execute(
            "SELECT gemba.schedule('often', '1 second', 'INSERT INTO s.done (what) VALUES (current_database())', run_as => 'service_role')",
        )?;
        all.push((db, client));
    }
    for (db, client) in &mut all {
        wait_for(client, "SELECT count(*) >= 3 FROM s.done", "t");
        assert_eq!(value(client, "SELECT DISTINCT what FROM s.done"), db.name());
        client.batch_execute("SELECT gemba.unschedule('often')")?;
    }
    Ok(())
}

/// The greatest number of runs of `stem…` that were going on at the same time.
fn most_at_once(client: &mut Client, stem: &str) -> String {
    value(
        client,
        &format!(
            "SELECT max(n) FROM (
               SELECT (SELECT count(*) FROM gemba.job_runs o WHERE o.job LIKE '{stem}%'
                          AND o.started_at <= r.started_at AND o.finished_at > r.started_at) AS n
                 FROM gemba.job_runs r WHERE r.job LIKE '{stem}%') AS at_once"
        ),
    )
}

#[test]
fn no_more_jobs_run_at_once_than_allowed_and_a_reload_changes_how_many() -> Result<()> {
    let cluster = Cluster::preloaded(&[("gemba.max_running_jobs", "2")])?;
    let (_db, mut client) = idle(&cluster, "at_once")?;
    wait_for_worker(&mut client);
    for (limit, jobs) in [(2, 7), (5, 15), (1, 3)] {
        client.batch_execute(&format!(
            "ALTER SYSTEM SET gemba.max_running_jobs = {limit}"
        ))?;
        client.batch_execute("SELECT pg_reload_conf()")?;
        wait_for(
            &mut client,
            "SHOW gemba.max_running_jobs",
            &limit.to_string(),
        );
        // The scheduler reads its settings before it looks for work again.
        schedule(&mut client, "settle", "SELECT pg_sleep(0.1)", "")?;
        client.batch_execute("SELECT gemba.run_job_now('settle')")?;
        ended(&mut client, "settle");
        let stem = format!("limit {limit} ");
        client.batch_execute("BEGIN")?;
        for number in 0..jobs {
            due(
                &mut client,
                &format!("{stem}{number}"),
                "SELECT pg_sleep(0.4)",
                "",
            )?;
        }
        client.batch_execute("COMMIT")?;
        wait_for(
            &mut client,
            &format!(
                "SELECT count(*) FROM gemba.job_runs WHERE job LIKE '{stem}%' AND status = 'succeeded'"
            ),
            &jobs.to_string(),
        );
        assert_eq!(most_at_once(&mut client, &stem), limit.to_string());
    }
    Ok(())
}

/// Nothing is lost and nobody fails when the server has no process to give.
#[test]
fn without_a_free_process_jobs_wait() -> Result<()> {
    // The launcher, the scheduler, and one more.
    let cluster = Cluster::preloaded(&[
        ("max_worker_processes", "3"),
        ("max_logical_replication_workers", "0"),
        ("gemba.worker_databases", "'crowded_0'"),
    ])?;
    let (_db, mut client) = idle(&cluster, "crowded")?;
    wait_for_worker(&mut client);
    for number in 0..4 {
        due(
            &mut client,
            &format!("job {number}"),
            &format!("INSERT INTO s.done (what) VALUES ('{number}'); SELECT pg_sleep(0.1)"),
            "",
        )?;
    }
    wait_for(&mut client, "SELECT count(DISTINCT what) FROM s.done", "4");
    wait_for(
        &mut client,
        "SELECT count(*) FROM gemba.jobs WHERE run_id IS NULL AND again_at IS NULL",
        "4",
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT status, attempt, count(*) FROM gemba.job_runs GROUP BY 1, 2"
        ),
        ["succeeded | 1 | 4"]
    );
    Ok(())
}

#[test]
fn only_databases_that_are_named_have_a_worker() -> Result<()> {
    let cluster = Cluster::preloaded(&[("gemba.worker_databases", "' chosen_0 , nowhere'")])?;
    let (_chosen, mut chosen) = idle(&cluster, "chosen")?;
    let (_other, mut other) = idle(&cluster, "other")?;
    wait_for_worker(&mut chosen);
    for client in [&mut chosen, &mut other] {
        due(client, "j", "INSERT INTO s.done (what) VALUES ('j')", "")?;
    }
    assert_eq!(ended(&mut chosen, "j"), "succeeded");
    assert_eq!(
        table(
            &mut other,
            "SELECT state, advice LIKE '%worker_databases%', scheduler_pid, due FROM gemba.worker_status()"
        ),
        ["starting | t | - | 1"]
    );
    // A session does the work there.
    assert_eq!(
        table(&mut other, "SELECT job, status FROM gemba.run_due_jobs()"),
        ["j | succeeded"]
    );
    Ok(())
}

#[test]
fn a_reload_changes_which_databases_have_a_worker() -> Result<()> {
    let cluster = Cluster::preloaded(&[("gemba.worker_databases", "'chosen_0'")])?;
    let (_chosen, mut chosen) = idle(&cluster, "chosen")?;
    let (_other, mut other) = idle(&cluster, "other")?;
    wait_for_worker(&mut chosen);
    due(&mut chosen, "slow", "SELECT pg_sleep(1)", "")?;
    working(&mut chosen, "slow");
    chosen.batch_execute("ALTER SYSTEM SET gemba.worker_databases = 'other_1'")?;
    chosen.batch_execute("SELECT pg_reload_conf()")?;
    wait_for_worker(&mut other);
    due(&mut other, "j", "SELECT 1", "")?;
    assert_eq!(ended(&mut other, "j"), "succeeded");
    // The other one ends; a run that has begun is not lost by that.
    wait_for(&mut chosen, SCHEDULERS, "0");
    wait_for(
        &mut chosen,
        "SELECT status FROM gemba.job_runs ORDER BY id DESC LIMIT 1",
        "succeeded",
    );
    Ok(())
}

#[test]
fn a_database_in_which_jobs_are_switched_off_runs_none() -> Result<()> {
    let cluster = server()?;
    let db = cluster.database("off")?;
    let mut client = db.connect()?;
    client.batch_execute(&format!(
        "ALTER DATABASE {} SET gemba.run_jobs = off",
        db.name()
    ))?;
    let mut client = db.connect()?;
    install(&mut client)?;
    due(&mut client, "j", "SELECT 1", "")?;
    // A scheduler that looks whether it is still so is there for a moment, now and then.
    wait_for(
        &mut client,
        "SELECT concat_ws(' | ', state, advice LIKE '%gemba.run_jobs%', preloaded, running, due) FROM gemba.worker_status()",
        "switched off | t | t | 0 | 1",
    );
    // The launcher looks in vain and goes on looking; a job elsewhere shows that time has passed.
    let (_, mut other) = idle(cluster, "on")?;
    due(&mut other, "j", "SELECT pg_sleep(1)", "")?;
    assert_eq!(ended(&mut other, "j"), "succeeded");
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM gemba.job_runs"),
        "0"
    );
    client.batch_execute(&format!(
        "ALTER DATABASE {} RESET gemba.run_jobs",
        db.name()
    ))?;
    client.batch_execute("SELECT pg_reload_conf()")?;
    let mut client = db.connect()?;
    assert_eq!(ended(&mut client, "j"), "succeeded");
    Ok(())
}

/// As the manual says: switch it off, and the database can be dropped.
#[test]
fn a_database_that_is_switched_off_later_is_let_go() -> Result<()> {
    let (db, mut client) = idle(server()?, "off_later")?;
    wait_for_worker(&mut client);
    client.batch_execute(&format!(
        "ALTER DATABASE {} SET gemba.run_jobs = off",
        db.name()
    ))?;
    client.batch_execute("SELECT pg_reload_conf()")?;
    drop(client);
    let mut client = db.connect()?;
    wait_for(&mut client, SCHEDULERS, "0");
    wait_for(
        &mut client,
        "SELECT state FROM gemba.worker_status()",
        "switched off",
    );
    drop(client);
    let mut maintenance = db.cluster().connect("postgres")?;
    wait_until("it can be dropped", || {
        maintenance
            .batch_execute(&format!("DROP DATABASE {}", db.name()))
            .is_ok()
    });
    Ok(())
}

#[test]
fn commands_that_commit_on_their_own_work() -> Result<()> {
    let (_db, mut client) = idle(server()?, "commits")?;
    client.batch_execute(
        "CREATE TABLE s.t (n int PRIMARY KEY); CREATE MATERIALIZED VIEW s.m AS SELECT n FROM s.t;
         CREATE UNIQUE INDEX ON s.m (n);
         CREATE PROCEDURE s.commits() LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO s.done (what) VALUES ('kept'); COMMIT;
           INSERT INTO s.done (what) VALUES ('undone'); ROLLBACK;
           FOR i IN 1..5 LOOP INSERT INTO s.done (what) VALUES ('loop'); COMMIT; END LOOP;
           INSERT INTO s.done (what) VALUES ('last'); END $$;
         CREATE PROCEDURE s.half() LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO s.done (what) VALUES ('half'); COMMIT;
           INSERT INTO s.done (what) VALUES ('other half'); PERFORM 1 / 0; END $$",
    )?;
    for (name, command) in [
        ("vacuum", "VACUUM (ANALYZE) s.t"),
        ("vacuum with an end", "VACUUM s.t;"),
        ("full", "VACUUM FULL s.t"),
        ("index", "CREATE INDEX CONCURRENTLY later ON s.t (n)"),
        ("reindex", "REINDEX TABLE CONCURRENTLY s.t"),
        ("view", "REFRESH MATERIALIZED VIEW CONCURRENTLY s.m"),
        ("call", "CALL s.commits()"),
        (
            "block",
            "DO $$ BEGIN FOR i IN 1..3 LOOP INSERT INTO s.done (what) VALUES ('block'); COMMIT; END LOOP; END $$",
        ),
        ("analyze", "ANALYZE"),
        ("cluster", "CLUSTER s.t USING t_pkey"),
        (
            "temporary",
            "CREATE TEMP TABLE own (n int) ON COMMIT DROP; INSERT INTO own VALUES (1); INSERT INTO s.done (what) SELECT 'temporary' FROM own",
        ),
        ("empty", "-- only a remark"),
        (
            "explain",
            "EXPLAIN ANALYZE SELECT 1; SHOW ALL; FETCH ALL FROM nothing_of_this_name",
        ),
    ] {
        due(&mut client, name, command, ", run_as => 'postgres'")?;
        let expected = if name == "explain" {
            "failed 34000"
        } else {
            "succeeded"
        };
        let end = ended(&mut client, name);
        assert!(end.starts_with(expected), "{name}: {end}");
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT what, count(*) FROM s.done GROUP BY what ORDER BY what"
        ),
        [
            "block | 3",
            "kept | 1",
            "last | 1",
            "loop | 5",
            "temporary | 1"
        ]
    );
    due(
        &mut client,
        "half",
        "CALL s.half()",
        ", run_as => 'postgres'",
    )?;
    assert_eq!(ended(&mut client, "half"), "failed 22012 division by zero");
    assert_eq!(
        table(
            &mut client,
            "SELECT what FROM s.done WHERE what LIKE '%half'"
        ),
        ["half"],
        "what was committed stays"
    );
    Ok(())
}

#[test]
fn several_statements_are_one_transaction_and_end_none() -> Result<()> {
    let (_db, mut client) = idle(server()?, "statements")?;
    client.batch_execute(
        "CREATE PROCEDURE s.commits() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
    )?;
    let insert = "INSERT INTO s.done (what) VALUES ('x')";
    for (name, command, expected) in [
        ("begin", "BEGIN".to_owned(), "failed 0A000"),
        ("commit", format!("{insert}; COMMIT"), "failed 0A000"),
        ("rollback", format!("{insert}; ROLLBACK; SELECT 1"), "failed 0A000"),
        ("start", format!("START TRANSACTION; {insert}; COMMIT"), "failed 0A000"),
        ("end", format!("{insert}; END"), "failed 0A000"),
        ("savepoint", format!("SAVEPOINT a; {insert}"), "failed 0A000"),
        ("prepare", format!("{insert}; PREPARE TRANSACTION 'x'"), "failed 0A000"),
        ("chain", format!("{insert}; COMMIT AND CHAIN"), "failed 0A000"),
        ("half", format!("{insert}; SELECT 1 / 0"), "failed 22012"),
        ("syntax", format!("{insert}; no SQL at all"), "failed 42601"),
        ("vacuum", format!("{insert}; VACUUM s.done"), "failed 25001"),
        ("call", format!("{insert}; CALL s.commits()"), "failed 2D000"),
        ("made", "CREATE TABLE s.made (n int); INSERT INTO s.made VALUES (1); SELECT 1 / n FROM s.made; DROP TABLE s.made; SELECT 1/0".to_owned(), "failed 22012"),
        ("read only", format!("SET TRANSACTION READ ONLY; {insert}"), "failed 25006"),
        ("listen", "LISTEN x".to_owned(), "failed "),
    ] {
        due(&mut client, name, &command, ", run_as => 'postgres'")?;
        let end = ended(&mut client, name);
        assert!(end.starts_with(expected), "{name}: {end}");
        assert!(!end.contains("XX000"), "{name}: {end}");
    }
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.done"), "0");
    assert_eq!(value(&mut client, "SELECT to_regclass('s.made')"), "-");
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM pg_prepared_xacts"),
        "0"
    );
    Ok(())
}

/// A job has no client: what would be sent to one must not end up in the server's log or come from its input.
#[test]
fn copying_to_or_from_a_client_is_refused() -> Result<()> {
    let (db, mut client) = idle(server()?, "copying")?;
    for (name, command) in [
        ("out", "COPY (SELECT 'forged line of a log') TO STDOUT"),
        ("in", "COPY s.done (what) FROM STDIN"),
    ] {
        due(&mut client, name, command, "")?;
        let end = ended(&mut client, name);
        assert!(end.starts_with("failed "), "{name}: {end}");
    }
    let log = std::fs::read_to_string(db.cluster().log())?;
    assert!(
        !log.lines().any(|line| line == "forged line of a log"),
        "a job wrote to the log"
    );
    Ok(())
}

#[test]
fn a_job_that_takes_too_long_is_cancelled_and_tried_again() -> Result<()> {
    let (_db, mut client) = idle(server()?, "timeouts")?;
    for (name, command) in [
        (
            "sleeps",
            "INSERT INTO s.done (what) VALUES ('undone'); SELECT pg_sleep(600)",
        ),
        ("loops", "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"),
    ] {
        due(
            &mut client,
            name,
            command,
            ", timeout => '200 ms', retries => 1, retry_after => '0 s'",
        )?;
        wait_for(
            &mut client,
            &format!(
                "SELECT count(*) FROM gemba.job_runs WHERE job = '{name}' AND status = 'failed'"
            ),
            "2",
        );
        assert_eq!(
            table(
                &mut client,
                &format!(
                    "SELECT attempt, sqlstate, message LIKE '%timeout%' FROM gemba.job_runs WHERE job = '{name}' ORDER BY id"
                )
            ),
            ["1 | 57014 | t", "2 | 57014 | t"]
        );
    }
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.done"), "0");
    Ok(())
}

/// What a run puts off to its commit is a part of the run.
#[test]
fn a_timeout_holds_for_deferred_triggers() -> Result<()> {
    let (_db, mut client) = idle(server()?, "late_timeout")?;
    client.batch_execute(
        "CREATE FUNCTION s.sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON s.done DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION s.sleep()",
    )?;
    due(
        &mut client,
        "j",
        "INSERT INTO s.done (what) VALUES ('j')",
        ", timeout => '300 ms'",
    )?;
    let came = comes_true(|| {
        runs(&mut client, "j")
            .iter()
            .any(|run| run.starts_with("failed 57014"))
    });
    client.batch_execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'gemba job' AND datname = current_database();
         SELECT gemba.unschedule('j')",
    )?;
    assert!(came, "the run went on after its timeout");
    Ok(())
}

/// A job that runs jobs: the limit of the outer one holds although the inner has one of its own.
#[test]
fn a_job_that_runs_due_jobs_keeps_its_timeout() -> Result<()> {
    let (_db, mut client) = idle(server()?, "nested")?;
    schedule(&mut client, "inner", "SELECT 1", ", timeout => '10 s'")?;
    // The inner job is due for this transaction only.
    due(
        &mut client,
        "outer",
        "SELECT gemba.run_job_now('inner'); SELECT * FROM gemba.run_due_jobs(); SELECT pg_sleep(600)",
        ", run_as => 'postgres', timeout => '1 s'",
    )?;
    let came = comes_true(|| {
        runs(&mut client, "outer")
            .iter()
            .any(|run| run.starts_with("failed 57014"))
    });
    client.batch_execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'gemba job' AND datname = current_database();
         SELECT gemba.unschedule('outer')",
    )?;
    assert!(came, "the run went on after its timeout");
    Ok(())
}

#[test]
fn a_failing_job_is_tried_again_and_then_waits_for_its_next_time() -> Result<()> {
    let (_db, mut client) = idle(server()?, "retries")?;
    due(
        &mut client,
        "j",
        "SELECT 1 / 0",
        ", retries => 2, retry_after => '100 ms'",
    )?;
    wait_for(
        &mut client,
        "SELECT count(*) FROM gemba.job_runs WHERE status = 'failed'",
        "3",
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT attempt, sqlstate, message, finished_at >= started_at FROM gemba.job_runs ORDER BY id"
        ),
        [1, 2, 3].map(|attempt| format!("{attempt} | 22012 | division by zero | t"))
    );
    // The job itself is settled a moment after its run.
    wait_for(
        &mut client,
        "SELECT count(*) FROM gemba.jobs WHERE run_id IS NULL",
        "1",
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT attempt, again_at, run_id, interruptions, next_run_at > now() FROM gemba.jobs"
        ),
        ["0 | - | - | 0 | t"]
    );
    Ok(())
}

/// Not at the scheduler's next look, which is seconds away.
#[test]
fn a_job_that_is_asked_for_begins_at_once() -> Result<()> {
    let (_db, mut client) = idle(server()?, "at_once")?;
    wait_for_worker(&mut client);
    schedule(&mut client, "asked", "SELECT 1", "")?;
    for _ in 0..5 {
        client.batch_execute("SELECT gemba.run_job_now('asked')")?;
        assert_eq!(ended(&mut client, "asked"), "succeeded");
    }
    for number in 0..5 {
        client.batch_execute(&format!(
            "SELECT gemba.schedule('new {number}', '1 second', 'SELECT 1', run_as => 'service_role')"
        ))?;
        wait_for(
            &mut client,
            &format!("SELECT count(*) > 0 FROM gemba.job_runs WHERE job = 'new {number}'"),
            "t",
        );
        client.batch_execute(&format!("SELECT gemba.unschedule('new {number}')"))?;
    }
    // Enabling is asking as well.
    client.batch_execute(
        "SELECT gemba.schedule('off', '1 hour', 'SELECT 1', run_as => 'service_role', enabled => false);
         SELECT gemba.run_job_now('off'); SELECT gemba.enable_job('off')",
    )?;
    assert_eq!(ended(&mut client, "off"), "succeeded");
    assert_eq!(
        table(
            &mut client,
            "SELECT job, started_at - scheduled_for FROM gemba.job_runs
              WHERE job <> 'off' AND started_at - scheduled_for > interval '4 seconds'"
        ),
        [""; 0]
    );
    Ok(())
}

#[test]
fn a_run_that_is_asked_for_while_the_job_runs_follows_it() -> Result<()> {
    let (_db, mut client) = idle(server()?, "follows")?;
    due(&mut client, "j", "SELECT pg_sleep(1)", "")?;
    working(&mut client, "j");
    client.batch_execute("SELECT gemba.run_job_now('j')")?;
    wait_for(
        &mut client,
        "SELECT count(*) FROM gemba.job_runs WHERE status = 'succeeded'",
        "2",
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT max(started_at) >= min(finished_at) FROM gemba.job_runs"
        ),
        "t",
        "one run at a time"
    );
    Ok(())
}

#[test]
fn a_job_that_is_unscheduled_while_it_runs_ends_as_it_would() -> Result<()> {
    let (_db, mut client) = idle(server()?, "unscheduled")?;
    due(
        &mut client,
        "j",
        "SELECT pg_sleep(1); INSERT INTO s.done (what) VALUES ('j')",
        "",
    )?;
    working(&mut client, "j");
    assert_eq!(value(&mut client, "SELECT gemba.unschedule('j')"), "t");
    wait_for(
        &mut client,
        "SELECT status FROM gemba.job_runs",
        "succeeded",
    );
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.done"), "1");
    Ok(())
}

#[test]
fn its_status_tells_what_runs_and_what_is_due() -> Result<()> {
    let (db, mut client) = idle(server()?, "status")?;
    wait_for_worker(&mut client);
    due(&mut client, "j", "SELECT pg_sleep(600)", "")?;
    let pid = working(&mut client, "j");
    schedule(&mut client, "later", "SELECT 1", "")?;
    let mut service = db.connect_as("service_role")?;
    for session in [&mut client, &mut service] {
        assert_eq!(
            table(
                session,
                "SELECT state, advice, preloaded, launcher_pid > 0, scheduler_pid > 0, running, due, overdue_by,
                        next_run_at > now() AND next_run_at < now() + interval '1 hour' FROM gemba.worker_status()"
            ),
            ["running | - | t | t | t | 1 | 0 | - | t"]
        );
    }
    // The process shows what it does.
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT backend_type, query, usename, state FROM pg_stat_activity WHERE pid = {pid}"
            )
        )[0]
        .split(" | ")
        .take(2)
        .collect::<Vec<_>>(),
        ["gemba job", "SELECT pg_sleep(600)"]
    );
    client.batch_execute(&format!(
        "SELECT gemba.unschedule('j'), pg_terminate_backend({pid})"
    ))?;
    wait_for(
        &mut client,
        "SELECT running FROM gemba.worker_status()",
        "0",
    );
    Ok(())
}

#[test]
fn the_extension_can_be_dropped_and_made_again_under_the_worker() -> Result<()> {
    let (db, mut client) = idle(server()?, "dropped_extension")?;
    wait_for_worker(&mut client);
    for round in 0..3 {
        due(&mut client, "slow", "SELECT pg_sleep(1)", "")?;
        client.batch_execute(
            "SELECT gemba.schedule('often', '1 second', 'SELECT 1', run_as => 'service_role')",
        )?;
        working(&mut client, "slow");
        let dropped = comes_true(|| client.batch_execute("DROP EXTENSION gemba").is_ok());
        assert!(dropped, "round {round}");
        wait_for(
            &mut client,
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'gemba job' AND datname = current_database()",
            "0",
        );
        if round == 1 {
            // Long enough for the scheduler to have noticed and gone.
            wait_for(&mut client, SCHEDULERS, "0");
        }
        // Whatever the old version's library kept in this session is of no use to the new one.
        client = db.connect()?;
        install(&mut client)?;
        wait_for_worker(&mut client);
        due(
            &mut client,
            "j",
            "INSERT INTO s.done (what) VALUES ('j')",
            "",
        )?;
        assert_eq!(ended(&mut client, "j"), "succeeded", "round {round}");
    }
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.done"), "3");
    Ok(())
}

#[test]
fn a_database_can_be_dropped_under_the_worker() -> Result<()> {
    let cluster = server()?;
    let (_, mut other) = idle(cluster, "survivor")?;
    for _ in 0..3 {
        let (db, mut client) = idle(cluster, "dropped")?;
        due(&mut client, "slow", "SELECT pg_sleep(600)", "")?;
        client.batch_execute(
            "SELECT gemba.schedule('often', '1 second', 'SELECT 1', run_as => 'service_role')",
        )?;
        working(&mut client, "slow");
        drop(client);
        cluster
            .connect("postgres")?
            .batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", db.name()))?;
        due(&mut other, "j", "SELECT 1", "")?;
        assert_eq!(ended(&mut other, "j"), "succeeded");
    }
    assert_eq!(
        value(
            &mut other,
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND backend_type = 'gemba job'
                AND datname LIKE 'dropped%'"
        ),
        "0"
    );
    Ok(())
}

#[test]
fn a_cancelled_job_has_failed() -> Result<()> {
    let (_db, mut client) = idle(server()?, "cancelled")?;
    due(
        &mut client,
        "j",
        "INSERT INTO s.done (what) VALUES ('undone'); SELECT pg_sleep(600)",
        "",
    )?;
    let pid = working(&mut client, "j");
    client.batch_execute(&format!("SELECT pg_cancel_backend({pid})"))?;
    let end = ended(&mut client, "j");
    assert!(
        end.starts_with("failed 57014 ") && !end.contains("timeout"),
        "{end}"
    );
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.done"), "0");
    Ok(())
}

#[test]
fn a_terminated_job_is_taken_up_again_at_most_three_times_in_a_row() -> Result<()> {
    let (_db, mut client) = idle(server()?, "terminated")?;
    due(
        &mut client,
        "j",
        "INSERT INTO s.done (what) VALUES ('undone'); SELECT pg_sleep(600)",
        "",
    )?;
    for round in 1..=3 {
        let pid = working(&mut client, "j");
        client.batch_execute(&format!("SELECT pg_terminate_backend({pid})"))?;
        wait_for(
            &mut client,
            "SELECT count(*) FROM gemba.job_runs WHERE status = 'interrupted'",
            &round.to_string(),
        );
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT run_id, again_at, interruptions, attempt, next_run_at > now() FROM gemba.jobs"
        ),
        ["- | - | 0 | 0 | t"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT status, message IS NOT NULL, finished_at IS NOT NULL, attempt FROM gemba.job_runs ORDER BY id"
        ),
        ["interrupted | t | t | 1"; 3]
    );
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.done"), "0");
    // One that succeeds in between begins a new row.
    client.batch_execute(
        "UPDATE gemba.jobs SET command = 'SELECT pg_sleep(0.5)'; SELECT gemba.run_job_now('j')",
    )?;
    let pid = working(&mut client, "j");
    client.batch_execute(&format!("SELECT pg_terminate_backend({pid})"))?;
    assert_eq!(ended(&mut client, "j"), "succeeded");
    assert_eq!(
        value(&mut client, "SELECT interruptions FROM gemba.jobs"),
        "0"
    );
    Ok(())
}

#[test]
fn rights_that_are_gone_make_the_run_fail_with_a_reason() -> Result<()> {
    let (db, mut client) = idle(server()?, "gone")?;
    let (owner, group, dropped) = (db.role("owner")?, db.role("group")?, db.role("dropped")?);
    client.batch_execute(&format!(
        "GRANT USAGE ON SCHEMA gemba TO {owner}; GRANT EXECUTE ON FUNCTION gemba.schedule TO {owner};
         GRANT {group} TO {owner}; SET ROLE {owner}"
    ))?;
    client.batch_execute(&format!(
        "SELECT gemba.schedule('revoked', '1 hour', 'SELECT 1', run_as => '{group}')"
    ))?;
    client.batch_execute("RESET ROLE")?;
    schedule(
        &mut client,
        "dropped",
        "SELECT 1",
        &format!(", run_as => '{dropped}'"),
    )?;
    client.batch_execute(&format!("REVOKE {group} FROM {owner}; DROP ROLE {dropped}"))?;
    for (job, named) in [("revoked", &group), ("dropped", &dropped)] {
        client.batch_execute(&format!("SELECT gemba.run_job_now('{job}')"))?;
        let end = ended(&mut client, job);
        assert!(end.starts_with("failed 42501 "), "{end}");
        let detail = value(
            &mut client,
            &format!("SELECT detail FROM gemba.job_runs WHERE job = '{job}'"),
        );
        assert!(detail.contains(named.as_str()), "{detail}");
    }
    Ok(())
}

/// Many a database is closed to PUBLIC. Whether a role runs jobs there or not, nobody is left guessing.
#[test]
fn a_role_that_may_not_connect_is_told_so() -> Result<()> {
    let (db, mut client) = idle(server()?, "closed")?;
    client.batch_execute(&format!(
        "REVOKE CONNECT ON DATABASE {} FROM PUBLIC",
        db.name()
    ))?;
    due(&mut client, "j", "SELECT 1", "")?;
    wait_for(
        &mut client,
        "SELECT count(*) > 0 FROM gemba.job_runs WHERE status IN ('succeeded', 'failed')",
        "t",
    );
    let first = runs(&mut client, "j").remove(0);
    assert!(
        first == "succeeded" || first.starts_with("failed 42501 "),
        "{first}"
    );
    Ok(())
}

/// A role for reports is often made read-only by a setting. Its jobs end like others.
#[test]
fn the_bookkeeping_is_not_bound_by_the_roles_settings() -> Result<()> {
    let (db, mut client) = idle(server()?, "reports")?;
    for (number, setting) in [
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        "default_transaction_deferrable = on",
        "row_security = off",
        "search_path = s",
        "lock_timeout = '1ms'",
        "statement_timeout = '1ms'",
        "datestyle = 'SQL, DMY'",
    ]
    .iter()
    .enumerate()
    {
        let role = db.role(&format!("report{number}"))?;
        client.batch_execute(&format!(
            "ALTER ROLE {role} LOGIN; ALTER ROLE {role} SET {setting}"
        ))?;
        for (what, command) in [
            ("reads", "SELECT count(*) FROM s.done"),
            ("fails", "SELECT 1 / 0"),
        ] {
            due(
                &mut client,
                &format!("{what} with {setting}"),
                command,
                &format!(", run_as => '{role}'"),
            )?;
        }
    }
    // A failure after the job itself has turned such a setting on.
    client.batch_execute(
        "CREATE PROCEDURE s.turns() LANGUAGE plpgsql AS
           $$ BEGIN SET default_transaction_read_only = on; COMMIT; PERFORM 1 / 0; END $$",
    )?;
    due(&mut client, "fails after a turn", "CALL s.turns()", "")?;
    comes_true(|| {
        value(
            &mut client,
            "SELECT count(*) FROM gemba.jobs WHERE run_id IS NOT NULL OR again_at IS NOT NULL",
        ) == "0"
    });
    assert_eq!(
        table(
            &mut client,
            "SELECT j.name, r.status, r.sqlstate, r.message
               FROM gemba.jobs AS j LEFT JOIN gemba.job_runs AS r ON r.job_id = j.id
              WHERE (r.status, coalesce(r.sqlstate, '')) IS DISTINCT FROM
                    (CASE WHEN j.name LIKE 'fails%' THEN 'failed' ELSE 'succeeded' END,
                     CASE WHEN j.name LIKE 'fails%' THEN '22012' ELSE '' END)
              ORDER BY r.id"
        ),
        [""; 0]
    );
    Ok(())
}

/// A job in one snapshot must not collide with whoever changes the job meanwhile.
#[test]
fn a_job_in_one_snapshot_succeeds_although_it_was_asked_for_again() -> Result<()> {
    let (_db, mut client) = idle(server()?, "snapshot")?;
    due(
        &mut client,
        "j",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM s.done; SELECT pg_sleep(1)",
        "",
    )?;
    working(&mut client, "j");
    client.batch_execute("SELECT gemba.run_job_now('j')")?;
    wait_for(
        &mut client,
        "SELECT count(*) FROM gemba.job_runs WHERE finished_at IS NOT NULL",
        "2",
    );
    assert_eq!(runs(&mut client, "j"), ["succeeded", "succeeded"]);
    Ok(())
}

/// Databases are often given settings of their own; the scheduler goes on in each.
#[test]
fn the_scheduler_works_whatever_the_databases_settings_are() -> Result<()> {
    let cluster = server()?;
    let mut all = Vec::new();
    for (number, setting) in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        "search_path = ''",
        "row_security = off",
        "datestyle = 'German'",
        "intervalstyle = 'iso_8601'",
        "timezone = 'Asia/Kathmandu'",
        "statement_timeout = '1ms'",
        "enable_indexscan = off",
    ]
    .iter()
    .enumerate()
    {
        let db = cluster.database(&format!("setting{number}"))?;
        cluster
            .connect("postgres")?
            .batch_execute(&format!("ALTER DATABASE {} SET {setting}", db.name()))?;
        let mut client = db.connect()?;
        client.batch_execute(
            // (An extension made with row_security off is taken for a restored one, whose jobs are off.)
            "SET statement_timeout = 0; SET default_transaction_isolation = 'read committed'; SET row_security = on",
        )?;
        install(&mut client)?;
        for job in 0..4 {
            client.batch_execute(&format!(
                "SELECT gemba.schedule('job {job}', '1 second', 'SELECT 1', run_as => 'service_role', time_zone => 'Asia/Bangkok')"
            ))?;
        }
        all.push((setting, client));
    }
    let mut wrong = Vec::new();
    for (setting, client) in &mut all {
        let ran = comes_true(|| {
            value(
                client,
                "SELECT count(*) FROM (SELECT FROM gemba.job_runs WHERE status = 'succeeded' GROUP BY job HAVING count(*) > 1) AS j",
            ) == "4"
        });
        client.batch_execute("SELECT gemba.unschedule(name) FROM gemba.jobs")?;
        let failed = table(
            client,
            "SELECT DISTINCT concat_ws(' ', status, sqlstate, message) FROM gemba.job_runs WHERE status NOT IN ('running', 'succeeded')",
        );
        if !ran || !failed.is_empty() {
            wrong.push(format!("{setting}: {failed:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// One mad job must not stop the scheduler, and so all others.
#[test]
fn a_mad_job_stops_only_itself() -> Result<()> {
    let (_db, mut client) = idle(server()?, "mad")?;
    wait_for_worker(&mut client);
    for (number, more) in [
        ", timeout => '178000000 years'",
        ", timeout => '2147483647 days'",
        ", retries => 1, retry_after => '178000000 years'",
        ", retries => 1, retry_after => '2147483647 days'",
    ]
    .iter()
    .enumerate()
    {
        // What is refused does no harm.
        let _ = due(&mut client, &format!("mad {number}"), "SELECT 1 / 0", more);
    }
    client.batch_execute(
        "SELECT gemba.schedule('zone', '0 3 * * *', 'SELECT 1', run_as => 'service_role'),
                gemba.schedule('text', '1 hour', 'SELECT 1', run_as => 'service_role');
         UPDATE gemba.jobs SET time_zone = 'Mars/Olympus', next_run_at = now() WHERE name = 'zone';
         UPDATE gemba.jobs SET schedule = 'banana', next_run_at = now() WHERE name = 'text'",
    )?;
    for number in 0..3 {
        let name = format!("sane {number}");
        due(&mut client, &name, "SELECT 1", "")?;
        assert_eq!(ended(&mut client, &name), "succeeded");
    }
    for name in ["zone", "text"] {
        assert_eq!(ended(&mut client, name), "succeeded");
    }
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM gemba.job_runs WHERE status = 'interrupted'"
        ),
        "0"
    );
    Ok(())
}

/// Somebody's transaction holds a job that is due, for instance one that runs it in its session.
#[test]
fn a_job_that_somebody_holds_does_not_keep_the_scheduler_busy() -> Result<()> {
    let (db, mut client) = idle(server()?, "held")?;
    wait_for_worker(&mut client);
    schedule(&mut client, "j", "SELECT 1", "")?;
    client.batch_execute("UPDATE gemba.jobs SET next_run_at = now() + interval '1 second'")?;
    let mut holder = db.connect()?;
    holder.batch_execute("BEGIN; SELECT FROM gemba.jobs FOR UPDATE")?;
    // The scheduler is woken while the job is due and held.
    client.batch_execute("SELECT pg_sleep(1.5)")?;
    schedule(&mut client, "other", "SELECT 1", "")?;
    let transactions = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    let count = |client: &mut Client| -> Result<i64> {
        // The scheduler's own numbers come with its next report.
        client.batch_execute("SELECT pg_sleep(1.2)")?;
        Ok(value(client, transactions).parse()?)
    };
    let before = count(&mut client)?;
    client.batch_execute("SELECT pg_sleep(2)")?;
    let looks = count(&mut client)? - before;
    holder.batch_execute("ROLLBACK")?;
    assert_eq!(ended(&mut client, "j"), "succeeded");
    assert!(looks < 200, "{looks} transactions in some three seconds");
    Ok(())
}

// -- What a job can do to the worker ----------------------------------------------------------------

/// A role without rights that cannot log in, and one that can, each with a schema to write code in.
fn intruders(db: &Database, client: &mut Client) -> Result<[String; 2]> {
    let roles = [db.role("nologin")?, db.role("login")?];
    client.batch_execute(&format!("ALTER ROLE {} LOGIN", roles[1]))?;
    for (number, role) in roles.iter().enumerate() {
        client.batch_execute(&format!("CREATE SCHEMA evil{number} AUTHORIZATION {role}"))?;
    }
    Ok(roles)
}

/// Before 17 the process of a role that cannot log in begins as a superuser's: there is no way back.
#[test]
fn a_job_cannot_become_anybody_else() -> Result<()> {
    let (db, mut client) = idle(server()?, "become")?;
    for role in intruders(&db, &mut client)? {
        let mut attempts = String::new();
        for attempt in [
            "RESET ROLE",
            "SET ROLE postgres",
            "SET ROLE NONE",
            "SET LOCAL ROLE postgres",
            "SET SESSION AUTHORIZATION DEFAULT",
            "SET SESSION AUTHORIZATION postgres",
            "SET LOCAL SESSION AUTHORIZATION postgres",
            "RESET SESSION AUTHORIZATION",
            "RESET ALL",
            "ALTER ROLE CURRENT_USER SUPERUSER",
            "ALTER ROLE SESSION_USER SUPERUSER",
            "SELECT set_config(''role'', ''postgres'', false)",
            "SELECT set_config(''role'', ''none'', false)",
            "SELECT set_config(''session_authorization'', ''postgres'', false)",
            "UPDATE pg_settings SET setting = ''postgres'' WHERE name = ''role''",
            "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SET role = postgres AS $f$ SELECT $f$",
            "CREATE FUNCTION pg_temp.c() RETURNS void LANGUAGE c AS ''x'', ''y''",
            "COPY s.done TO PROGRAM ''true''",
        ] {
            attempts.push_str(&format!(
                "BEGIN EXECUTE '{attempt}'; EXCEPTION WHEN OTHERS THEN NULL; END;
                 INSERT INTO s.done (what) VALUES ('{}');\n",
                attempt.replace('\'', "")
            ));
        }
        // In an exception handler, after a COMMIT, after a ROLLBACK, and after an error of a sub-transaction.
        let body = format!(
            "{attempts} COMMIT; {attempts} ROLLBACK;
             BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN {attempts} END;
             COMMIT; {attempts}"
        );
        let command = format!("DO $do$ BEGIN {body} END $do$");
        let more = format!(", run_as => '{role}'");
        due(&mut client, "block", &command, &more)?;
        assert_eq!(ended(&mut client, "block"), "succeeded");
        // At the top level as well: nothing follows that would run as anybody else.
        for (number, attempt) in [
            "RESET ROLE",
            "SET ROLE NONE",
            "SET ROLE postgres",
            "SET SESSION AUTHORIZATION DEFAULT",
            "RESET SESSION AUTHORIZATION",
            "DISCARD ALL",
            "RESET ALL",
            "ALTER SYSTEM SET work_mem = '1GB'",
        ]
        .iter()
        .enumerate()
        {
            let name = format!("top {number}");
            due(
                &mut client,
                &name,
                &format!(
                    "{attempt}; INSERT INTO s.done (what) VALUES ('top'); INSERT INTO s.done (what) VALUES (session_user)"
                ),
                &more,
            )?;
            ended(&mut client, &name);
            let name = format!("alone {number}");
            due(&mut client, &name, attempt, &more)?;
            ended(&mut client, &name);
        }
        assert_eq!(
            table(&mut client, "SELECT DISTINCT who FROM s.done"),
            [role.as_str()],
            "somebody else's rights"
        );
        assert_eq!(
            value(
                &mut client,
                &format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{role}'")
            ),
            "f"
        );
        client.batch_execute("TRUNCATE s.done")?;
    }
    Ok(())
}

/// What the process does for itself after the job must not be read with the job's names.
#[test]
fn names_of_a_job_are_not_used_by_the_bookkeeping() -> Result<()> {
    let (db, mut client) = idle(server()?, "bookkeeping")?;
    for (number, role) in intruders(&db, &mut client)?.iter().enumerate() {
        let schema = format!("evil{number}");
        let mut evil = format!("SET ROLE {role};");
        for kind in [
            "bigint",
            "int",
            "text",
            "name",
            "oid",
            "timestamptz",
            "boolean",
            "interval",
        ] {
            for (number, operator) in ["=", "<=", "<", ">", "<>"].iter().enumerate() {
                evil.push_str(&format!(
                    "CREATE FUNCTION {schema}.op{number}_{kind}(a {kind}, b {kind}) RETURNS boolean LANGUAGE plpgsql AS
                       $$ BEGIN INSERT INTO s.done (what) VALUES ('operator {operator} {kind}'); RETURN a OPERATOR(pg_catalog.{operator}) b; END $$;
                     CREATE OPERATOR {schema}.{operator} (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = {schema}.op{number}_{kind});"
                ));
            }
        }
        for function in [
            "now",
            "clock_timestamp",
            "random",
            "pg_backend_pid",
            "current_database",
        ] {
            evil.push_str(&format!(
                "CREATE FUNCTION {schema}.{function}() RETURNS timestamptz LANGUAGE plpgsql AS
                   $$ BEGIN INSERT INTO s.done (what) VALUES ('{function}'); RETURN pg_catalog.now(); END $$;"
            ));
        }
        evil.push_str(&format!(
            "CREATE TABLE {schema}.job_runs (id bigint); CREATE DOMAIN {schema}.interval AS text; CREATE DOMAIN {schema}.name AS text;
             RESET ROLE; ALTER ROLE {role} SET search_path = {schema}, pg_catalog"
        ));
        client.batch_execute(&evil)?;
        let turn = format!("SET search_path = {schema}, pg_catalog");
        for (name, command, expected) in [
            (
                "ends well",
                format!("INSERT INTO s.done (what) VALUES ('here'); {turn}"),
                "succeeded",
            ),
            (
                "fails",
                format!(
                    "{turn}; SELECT pg_catalog.set_config('search_path', '{schema}, pg_catalog', false), 1 / 0"
                ),
                "failed 22012",
            ),
            (
                "commits",
                format!("DO $$ BEGIN {turn}; COMMIT; {turn}; END $$"),
                "succeeded",
            ),
            (
                "commits and fails",
                format!("DO $$ BEGIN {turn}; COMMIT; PERFORM 1 / 0; END $$"),
                "failed 22012",
            ),
        ] {
            due(
                &mut client,
                name,
                &command,
                &format!(", run_as => '{role}', retries => 1, retry_after => '0 s'"),
            )?;
            wait_for(
                &mut client,
                &format!(
                    "SELECT count(*) FROM gemba.jobs WHERE name = '{name}' AND run_id IS NULL AND again_at IS NULL"
                ),
                "1",
            );
            let end = ended(&mut client, name);
            assert!(end.starts_with(expected), "{name}: {end}");
        }
        assert_eq!(
            table(
                &mut client,
                &format!("SELECT DISTINCT what, who FROM s.done WHERE who <> '{role}'")
            ),
            [""; 0],
            "the job's code ran as somebody else"
        );
        client.batch_execute("TRUNCATE s.done")?;
    }
    Ok(())
}

/// What the job puts off to the commit runs then, still as the job's role.
#[test]
fn deferred_triggers_of_a_job_run_as_its_role() -> Result<()> {
    let (db, mut client) = idle(server()?, "deferred")?;
    for (number, role) in intruders(&db, &mut client)?.iter().enumerate() {
        let schema = format!("evil{number}");
        client.batch_execute(&format!(
            "SET ROLE {role};
             CREATE TABLE {schema}.t (n int);
             CREATE FUNCTION {schema}.later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN NULL; END;
               INSERT INTO s.done (what) VALUES ('deferred'); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER later AFTER INSERT ON {schema}.t DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION {schema}.later();
             RESET ROLE"
        ))?;
        due(
            &mut client,
            "j",
            &format!("INSERT INTO {schema}.t VALUES (1)"),
            &format!(", run_as => '{role}'"),
        )?;
        assert_eq!(ended(&mut client, "j"), "succeeded");
        assert_eq!(
            table(&mut client, "SELECT what, who FROM s.done"),
            [format!("deferred | {role}")]
        );
        client.batch_execute("TRUNCATE s.done")?;
    }
    Ok(())
}
