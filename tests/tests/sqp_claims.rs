//! Claims: each refresh to one worker, never too many, lost with the lease, on schedule.

mod sqp_support;

use anyhow::{Result, ensure};
use gemba_tests::{as_user, expect_sqlstate, extended};
use sqp_support::*;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

#[test]
fn the_highest_priority_goes_first_and_each_only_once() -> Result<()> {
    let db = extended("claims_order")?;
    let mut client = db.connect()?;
    only(&mut client, &["a", "b", "c", "d", "e"])?;
    client.batch_execute(
        "UPDATE sqp.refresh_config SET priority = 200 WHERE table_name = 'c';
         UPDATE sqp.refresh_config SET next_refresh_at = next_refresh_at - interval '1 hour' WHERE table_name = 'd';
         UPDATE sqp.refresh_config SET next_refresh_at = now() + interval '1 hour' WHERE table_name = 'a';
         UPDATE sqp.refresh_config SET is_enabled = false WHERE table_name = 'e'",
    )?;
    let first = claim(&mut client, 2)?;
    assert_eq!(names(&first), ["c", "d"]);
    let second = claim(&mut client, 10)?;
    assert_eq!(names(&second), ["b"]);
    assert!(claim(&mut client, 10)?.is_empty());
    let told = rows(
        &mut client,
        "SELECT c.table_schema, c.method, c.custom_sync_params, c.attempt, c.last_refresh_at, a.status, a.worker, a.attempt
           FROM sqp.refresh_audit_log a
           JOIN (SELECT r.run_id, r.table_schema, r.method, r.custom_sync_params, r.attempts + 1 AS attempt, r.last_refresh_at
                   FROM sqp.refresh_config r WHERE r.table_name = 'b') AS c ON c.run_id = a.id",
    )?;
    assert_eq!(told, "(x,external,{},1,,running,test,1)");
    for (_, run) in first.iter().chain(&second) {
        assert_eq!(complete(&mut client, *run)?, "success");
    }
    assert!(claim(&mut client, 10)?.is_empty());
    Ok(())
}

#[test]
fn only_the_methods_asked_for() -> Result<()> {
    let db = extended("claims_methods")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '1 hour';
         DELETE FROM sqp.refresh_dependencies",
    )?;
    let found: Vec<String> = column(
        &mut client,
        "SELECT table_name FROM sqp.claim_refresh('w', most => 20, only_methods => '{function, materialized view}') ORDER BY 1",
        &[],
    )?;
    assert_eq!(
        found,
        [
            "monthly_summary",
            "quarterly_summary",
            "search_performance_summary",
            "weekly_summary",
            "yearly_summary"
        ]
    );
    Ok(())
}

#[test]
fn mistakes_are_told_with_a_remedy() -> Result<()> {
    let db = extended("claims_mistakes")?;
    let mut client = db.connect()?;
    for (statement, code) in [
        ("SELECT sqp.claim_refresh('w', most => 0)", "22023"),
        ("SELECT sqp.claim_refresh('w', most => NULL)", "22023"),
        (
            "SELECT sqp.claim_refresh('w', only_methods => '{views}')",
            "22023",
        ),
        ("SELECT sqp.claim_refresh('w', NULL)", "22023"),
        ("SELECT sqp.claim_refresh('w', '-1 minute')", "22023"),
        ("SELECT sqp.claim_refresh('w', '1 year')", "22023"),
        ("SELECT sqp.complete_refresh(4711)", "P0002"),
        ("SELECT sqp.complete_refresh(NULL)", "P0002"),
        ("SELECT sqp.complete_refresh(4711, -1)", "22023"),
        ("SELECT sqp.complete_refreshes('{4711}', '{-1}')", "22023"),
        ("SELECT sqp.fail_refresh(4711, 'no')", "P0002"),
        ("SELECT sqp.heartbeat(4711)", "P0002"),
        ("SELECT sqp.heartbeat(4711, '0')", "22023"),
        ("SELECT sqp.retry_refresh('nowhere')", "42704"),
        ("SELECT sqp.request_refresh('x.nowhere')", "42704"),
    ] {
        let error = expect_sqlstate(client.query(statement, &[]), code);
        assert!(error.detail().is_some(), "{statement}: no detail");
        assert!(error.hint().is_some(), "{statement}: no hint");
        assert_eq!(
            error.message().chars().next().map(char::is_lowercase),
            Some(true),
            "{statement}"
        );
    }
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut tx = client.transaction()?;
        tx.batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}"))?;
        expect_sqlstate(tx.query("SELECT sqp.claim_refresh('w')", &[]), "25001");
        tx.rollback()?;
    }
    Ok(())
}

#[test]
fn sixteen_claimers_share_the_work_within_the_bound() -> Result<()> {
    const TABLES: i64 = 240;
    const BOUND: i64 = 5;
    let db = extended("claims_parallel")?;
    let mut client = db.connect()?;
    client.batch_execute("DELETE FROM sqp.refresh_config")?;
    client.execute(
        "UPDATE sqp.settings SET max_parallel = $1",
        &[&(BOUND as i32)],
    )?;
    client.execute(
        "INSERT INTO sqp.refresh_config (table_schema, table_name, priority, next_refresh_at)
         SELECT 'x', 't' || n, n % 7, now() - interval '1 hour' FROM generate_series(1, $1) AS n",
        &[&(TABLES as i32)],
    )?;
    let running = AtomicI64::new(0);
    let most_running = AtomicI64::new(0);
    let done = AtomicI64::new(0);
    let stop = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(120);
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..16)
            .map(|number| {
                let (db, running, most_running, done) = (&db, &running, &most_running, &done);
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect_as("service_role")?;
                    let mut random = Random::new(number + 1);
                    while done.load(Ordering::SeqCst) < TABLES {
                        ensure!(Instant::now() < deadline, "not done in time");
                        let claimed = claim(&mut client, 1 + random.below(3) as i32)?;
                        // Counted after the claim and no more before the end: never more than there are.
                        let now = running.fetch_add(claimed.len() as i64, Ordering::SeqCst)
                            + claimed.len() as i64;
                        most_running.fetch_max(now, Ordering::SeqCst);
                        for (_, run) in claimed {
                            if random.one_in(4) {
                                std::thread::sleep(Duration::from_millis(random.below(4)));
                            }
                            running.fetch_sub(1, Ordering::SeqCst);
                            complete(&mut client, run)?;
                            done.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let watcher = scope.spawn(|| -> Result<i64> {
            let mut client = db.connect()?;
            let mut most = 0;
            while !stop.load(Ordering::SeqCst) {
                most = most.max(one::<i64>(
                    &mut client,
                    "SELECT count(*) FROM sqp.refresh_config WHERE run_id IS NOT NULL",
                )?);
            }
            Ok(most)
        });
        let finished: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))
            })
            .collect();
        stop.store(true, Ordering::SeqCst);
        let seen = watcher.join().unwrap_or(Ok(i64::MAX))?;
        finished.into_iter().collect::<Result<Vec<_>>>()?;
        ensure!((1..=BOUND).contains(&seen), "{seen} were running at a time");
        Ok(())
    })?;
    let most = most_running.load(Ordering::SeqCst);
    assert!(most <= BOUND, "{most} were running at a time");
    let told = rows(
        &mut client,
        "SELECT count(*), count(DISTINCT refresh_config_id), count(*) FILTER (WHERE status = 'success') FROM sqp.refresh_audit_log",
    )?;
    assert_eq!(told, format!("({TABLES},{TABLES},{TABLES})"));
    Ok(())
}

#[test]
fn a_lowered_bound_holds_from_then_on() -> Result<()> {
    let db = extended("claims_lowered")?;
    let mut client = db.connect()?;
    only(&mut client, &["a", "b", "c", "d", "e", "f", "g", "h"])?;
    client.batch_execute("UPDATE sqp.settings SET max_parallel = 6")?;
    let running = claim(&mut client, 10)?;
    assert_eq!(running.len(), 6);
    client.batch_execute("UPDATE sqp.settings SET max_parallel = 3")?;
    // Slots 1, 2 and 3 come free while 4, 5 and 6 are still taken.
    for (_, run) in &running[..3] {
        assert!(claim(&mut client, 10)?.is_empty());
        complete(&mut client, *run)?;
    }
    assert!(claim(&mut client, 10)?.is_empty());
    complete(&mut client, running[5].1)?;
    assert_eq!(claim(&mut client, 10)?.len(), 1);
    client.batch_execute("UPDATE sqp.settings SET max_parallel = 0")?;
    assert!(claim(&mut client, 10)?.is_empty());
    client.batch_execute("UPDATE sqp.settings SET max_parallel = NULL")?;
    assert_eq!(claim(&mut client, 10)?.len(), 1);
    Ok(())
}

#[test]
fn a_claim_that_is_not_committed_waits_for_nobody_and_keeps_nobody() -> Result<()> {
    let db = extended("claims_open")?;
    let (mut first, mut second) = (db.connect()?, db.connect()?);
    only(&mut first, &["a", "b", "c"])?;
    first.batch_execute("UPDATE sqp.settings SET max_parallel = 2")?;
    second.batch_execute("SET lock_timeout = '1s'")?;
    let mut open = first.transaction()?;
    let held: Vec<String> = open
        .query("SELECT table_name FROM sqp.claim_refresh('one')", &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(held, ["a"]);
    // One slot is about to be taken, so there is one left.
    assert_eq!(names(&claim(&mut second, 5)?), ["b"]);
    assert!(claim(&mut second, 5)?.is_empty());
    open.rollback()?;
    assert_eq!(names(&claim(&mut second, 5)?), ["a"]);
    Ok(())
}

#[test]
fn ends_are_reported_once_or_again() -> Result<()> {
    let db = extended("claims_ends")?;
    let mut client = db.connect()?;
    only(&mut client, &["a", "b"])?;
    let claimed = claim(&mut client, 2)?;
    let (a, b) = (claimed[0].1, claimed[1].1);
    let say = format!(
        "SELECT status, next_refresh_at FROM sqp.complete_refresh({a}, 10, 4, 5, 1, '{{\"n\": 1.50}}', 12.5, 'job')"
    );
    let first = rows(&mut client, &say)?;
    assert_eq!(rows(&mut client, &say)?, first);
    assert_eq!(
        rows(
            &mut client,
            "SELECT rows_processed, rows_inserted, rows_updated, rows_deleted, sync_metadata, memory_used_mb, bigquery_job_id,
                    execution_time_ms >= 0 AND refresh_completed_at >= refresh_started_at
               FROM sqp.refresh_audit_log WHERE status = 'success'"
        )?,
        "(10,4,5,1,\"{\"\"n\"\": 1.50}\",12.50,job,t)"
    );
    expect_sqlstate(
        client.query("SELECT sqp.fail_refresh($1, 'no')", &[&a]),
        "55000",
    );
    expect_sqlstate(client.query("SELECT sqp.heartbeat($1)", &[&a]), "55000");

    let say = format!(
        "SELECT status, attempt, next_attempt_at, parked FROM sqp.fail_refresh({b}, 'no such table', '{{\"code\": 404}}')"
    );
    let first = rows(&mut client, &say)?;
    assert_eq!(rows(&mut client, &say)?, first);
    assert_eq!(
        rows(
            &mut client,
            "SELECT attempts, parked_at, claimable_at - now() BETWEEN '25 s' AND '1 minute' FROM sqp.refresh_config WHERE table_name = 'b'"
        )?,
        "(1,,t)"
    );
    expect_sqlstate(
        client.query("SELECT sqp.complete_refresh($1)", &[&b]),
        "55000",
    );
    // Of a batch, each for itself.
    assert_eq!(
        rows(
            &mut client,
            &format!(
                "SELECT run_id, status, problem FROM sqp.complete_refreshes(ARRAY[{a}, {b}, 4711, NULL, {a}]) ORDER BY run_id"
            )
        )?,
        format!(
            "({a},success,)\n({b},failed,\"the run is not yours any more: no such table\")\n(4711,,\"the run does not exist\")\n(,,\"the run does not exist\")"
        )
    );
    Ok(())
}

#[test]
fn many_are_completed_at_once() -> Result<()> {
    let db = extended("claims_batch")?;
    let mut client = db.connect()?;
    only(&mut client, &["a", "b", "c", "d"])?;
    client.batch_execute(
        "INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id)
         SELECT p.id, c.id FROM sqp.refresh_config p, sqp.refresh_config c WHERE p.table_name IN ('a', 'b') AND c.table_name = 'd'",
    )?;
    let claimed = claim(&mut client, 10)?;
    assert_eq!(names(&claimed), ["a", "b", "c"]);
    let runs: Vec<i64> = claimed.iter().map(|(_, run)| *run).collect();
    let told: Vec<String> = column(
        &mut client,
        "SELECT status FROM sqp.complete_refreshes($1, '{1, 2, NULL}', metadata => ARRAY['{\"a\": 1}', NULL, NULL]::jsonb[])",
        &[&runs],
    )?;
    assert_eq!(told, ["success", "success", "success"]);
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name, rows_processed, sync_metadata FROM sqp.refresh_audit_log ORDER BY id"
        )?,
        "(a,1,\"{\"\"a\"\": 1}\")\n(b,2,{})\n(c,,{})"
    );
    // The child that was put off looks again at once.
    assert_eq!(names(&claim(&mut client, 10)?), ["d"]);
    Ok(())
}

#[test]
fn failures_back_off_and_then_park() -> Result<()> {
    let db = extended("claims_park")?;
    let mut client = db.connect()?;
    only(&mut client, &["a"])?;
    client.batch_execute("UPDATE sqp.refresh_config SET retry_base = '1 ms'")?;
    for attempt in 1..=3 {
        std::thread::sleep(Duration::from_millis(20));
        let claimed = claim(&mut client, 1)?;
        assert_eq!(names(&claimed), ["a"], "attempt {attempt}");
        fail(&mut client, claimed[0].1)?;
    }
    assert_eq!(plan(&mut client)?, ["a parked"]);
    pass(&mut client, "30 days")?;
    assert!(claim(&mut client, 1)?.is_empty());
    let error = expect_sqlstate(
        client.query("SELECT sqp.request_refresh('x.a')", &[]),
        "55000",
    );
    assert!(error.hint().unwrap_or_default().contains("retry_refresh"));
    assert!(one::<bool>(&mut client, "SELECT sqp.retry_refresh('x.a')")?);
    assert!(!one::<bool>(
        &mut client,
        "SELECT sqp.retry_refresh('x.a')"
    )?);
    assert_eq!(plan(&mut client)?, ["a due"]);
    let claimed = claim(&mut client, 1)?;
    complete(&mut client, claimed[0].1)?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT attempts, parked_at, last_status FROM sqp.refresh_config"
        )?,
        "(0,,success)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT attempt, status, next_attempt_at IS NULL FROM sqp.refresh_audit_log ORDER BY id"
        )?,
        "(1,failed,f)\n(2,failed,f)\n(3,failed,t)\n(1,success,f)"
    );
    Ok(())
}

#[test]
fn a_lease_is_renewed_or_lost() -> Result<()> {
    let db = extended("claims_lease")?;
    let mut client = db.connect()?;
    only(&mut client, &["a", "b"])?;
    let claimed: Vec<i64> = column(
        &mut client,
        "SELECT run_id FROM sqp.claim_refresh('slow', '300 milliseconds', 2)",
        &[],
    )?;
    client.query("SELECT sqp.heartbeat($1, '1 hour')", &[&claimed[0]])?;
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name, worker, attempts, parked FROM sqp.reap_expired_runs()"
        )?,
        "(b,slow,1,f)"
    );
    assert_eq!(
        rows(&mut client, "SELECT * FROM sqp.reap_expired_runs()")?,
        ""
    );
    for (statement, run) in [
        ("SELECT sqp.heartbeat($1)", claimed[1]),
        ("SELECT sqp.complete_refresh($1)", claimed[1]),
    ] {
        let error = expect_sqlstate(client.query(statement, &[&run]), "55000");
        assert!(
            error
                .detail()
                .unwrap_or_default()
                .contains("the lease expired"),
            "{error:?}"
        );
    }
    let again = client.query_one(
        "SELECT table_name, attempt FROM sqp.claim_refresh('quick')",
        &[],
    )?;
    assert_eq!((again.get::<_, &str>(0), again.get::<_, i32>(1)), ("b", 2));
    // The clock was set back by a day: the lease would hold for as long.
    client.batch_execute(
        "UPDATE sqp.refresh_config SET lease_expires_at = now() + interval '1 day', claimable_at = now() + interval '1 day',
                lease = '100 milliseconds' WHERE table_name = 'a'",
    )?;
    assert_eq!(
        rows(&mut client, "SELECT * FROM sqp.reap_expired_runs()")?,
        ""
    );
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(names(&claim(&mut client, 5)?), ["a"]);
    Ok(())
}

#[test]
fn the_schedule_never_drifts() -> Result<()> {
    let db = extended("claims_drift")?;
    let mut client = db.connect()?;
    only(&mut client, &["a"])?;
    client.batch_execute(
        "UPDATE sqp.refresh_config SET refresh_frequency_hours = 6, next_refresh_at = '2025-01-01 05:30:00.000001+00'",
    )?;
    let grid = "SELECT (extract(epoch FROM next_refresh_at - '2025-01-01 05:30:00.000001+00') % 21600)::text
                       || ' ' || (next_refresh_at - now() BETWEEN '0' AND '6 hours')::text FROM sqp.refresh_config";
    let mut random = Random::new(7);
    for round in 0..30 {
        let claimed = claim(&mut client, 1)?;
        assert_eq!(claimed.len(), 1, "round {round}");
        // Some rounds fail first, and some are asked for early.
        if random.one_in(3) {
            fail(&mut client, claimed[0].1)?;
            client.query("SELECT sqp.retry_refresh('x.a')", &[])?;
            continue;
        }
        complete(&mut client, claimed[0].1)?;
        assert_eq!(
            one::<String>(&mut client, grid)?,
            "0.000000 true",
            "round {round}"
        );
        if random.one_in(2) {
            client.query("SELECT sqp.request_refresh('x.a')", &[])?;
        } else {
            // Time passes in whole turns here, so that the grid stays where it is.
            pass(
                &mut client,
                &format!("{} hours", 6 * (1 + random.below(50))),
            )?;
        }
    }
    // Moved by hand while it runs: that is what counts.
    client.query("SELECT sqp.request_refresh('x.a')", &[])?;
    let claimed = claim(&mut client, 1)?;
    client.batch_execute(
        "UPDATE sqp.refresh_config SET next_refresh_at = date_trunc('day', now()) + interval '3 days'",
    )?;
    complete(&mut client, claimed[0].1)?;
    assert!(one::<bool>(
        &mut client,
        "SELECT next_refresh_at = date_trunc('day', now()) + interval '3 days' AND claimable_at = next_refresh_at FROM sqp.refresh_config"
    )?);
    Ok(())
}

#[test]
fn a_changed_schedule_takes_effect() -> Result<()> {
    let db = extended("claims_changed")?;
    let mut client = db.connect()?;
    only(&mut client, &["a"])?;
    client.batch_execute(
        "UPDATE sqp.refresh_config SET next_refresh_at = now() + interval '1 day'",
    )?;
    assert!(claim(&mut client, 1)?.is_empty());
    client.batch_execute("UPDATE sqp.refresh_config SET next_refresh_at = now()")?;
    let claimed = claim(&mut client, 1)?;
    assert_eq!(names(&claimed), ["a"]);
    fail(&mut client, claimed[0].1)?;
    assert!(claim(&mut client, 1)?.is_empty());
    client.batch_execute("UPDATE sqp.refresh_config SET next_refresh_at = now()")?;
    assert_eq!(names(&claim(&mut client, 1)?), ["a"]);
    // Moved into the future while it runs, it does not come back for a second try before then.
    let moved = one::<i64>(&mut client, "SELECT run_id FROM sqp.refresh_config")?;
    client.batch_execute("UPDATE sqp.refresh_config SET next_refresh_at = now() + interval '1 day', retry_base = '1 ms'")?;
    fail(&mut client, moved)?;
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(plan(&mut client)?, ["a scheduled"]);
    assert!(claim(&mut client, 1)?.is_empty());
    client.batch_execute(
        "SELECT sqp.retry_refresh('x.a'); UPDATE sqp.refresh_config SET next_refresh_at = now()",
    )?;
    assert_eq!(names(&claim(&mut client, 1)?), ["a"]);
    // Deleted meanwhile: the run cannot be completed, and its history stays.
    let run: i64 = one(&mut client, "SELECT run_id FROM sqp.refresh_config")?;
    client.batch_execute("DELETE FROM sqp.refresh_config")?;
    let error = expect_sqlstate(
        client.query("SELECT sqp.complete_refresh($1)", &[&run]),
        "55000",
    );
    assert!(
        error.detail().unwrap_or_default().contains("taken out"),
        "{error:?}"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name, status, refresh_config_id FROM sqp.refresh_audit_log ORDER BY id"
        )?,
        "(a,failed,)\n(a,failed,)\n(a,failed,)"
    );
    Ok(())
}

#[test]
fn a_month_without_maintenance_costs_nothing() -> Result<()> {
    let db = extended("claims_partition")?;
    let mut client = db.connect()?;
    only(&mut client, &["a"])?;
    // As if the partitions had been made long ago, for other months.
    client.batch_execute(
        "DO $$ DECLARE p regclass; BEGIN
           FOR p IN SELECT partition FROM gemba.partitions WHERE parent = 'sqp.refresh_audit_log'::regclass LOOP
             EXECUTE format('DROP TABLE %s', p);
           END LOOP; END $$",
    )?;
    let claimed = as_user(&mut client, "service_role", None, |tx| {
        tx.query("SELECT run_id FROM sqp.claim_refresh('w')", &[])
    })?;
    assert_eq!(claimed.len(), 1);
    complete(&mut client, claimed[0].get(0))?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT count(*), bool_and(rls AND no_grants) FROM gemba.partitions WHERE parent = 'sqp.refresh_audit_log'::regclass"
        )?,
        "(1,t)"
    );
    Ok(())
}

#[test]
fn who_may_do_what() -> Result<()> {
    let db = extended("claims_roles")?;
    let mut client = db.connect()?;
    only(&mut client, &["a"])?;
    for role in ["anon", "authenticated"] {
        let mut user = db.connect_as(role)?;
        for statement in [
            "SELECT sqp.claim_refresh('w')",
            "SELECT sqp.heartbeat(1)",
            "SELECT sqp.complete_refresh(1)",
            "SELECT sqp.complete_refreshes('{1}')",
            "SELECT sqp.fail_refresh(1, 'no')",
            "SELECT sqp.reap_expired_runs()",
            "SELECT sqp.retry_refresh('x.a')",
            "SELECT sqp.request_refresh('x.a')",
            "SELECT sqp.add_dependency('x.a', 'x.a')",
            "SELECT sqp.remove_dependency('x.a', 'x.a')",
            "SELECT sqp.save_checkpoint('f', 'x.a', '{}')",
            "SELECT sqp.resume_checkpoint('f', 'x.a')",
            "SELECT sqp.complete_checkpoint('f', 'x.a')",
            "SELECT sqp.expire_checkpoints()",
            "SELECT sqp.record_quality(1, 'm', 1)",
            "SELECT sqp.measure_quality(1)",
            "SELECT sqp.set_refresh_function('x.a', NULL)",
            "SELECT sqp.refresh_in_database(1)",
            "SELECT sqp.refresh_due()",
            "CALL sqp.refresh_all_due()",
            "SELECT sqp.watch_schema('public')",
            "SELECT sqp.unwatch_schema('sqp')",
            "SELECT sqp.register_existing()",
            "SELECT sqp.build_weekly_summary()",
            "UPDATE sqp.refresh_config SET priority = 1",
            "DELETE FROM sqp.refresh_audit_log",
            "INSERT INTO sqp.watched_schemas VALUES ('public')",
        ] {
            expect_sqlstate(user.batch_execute(statement), "42501");
        }
    }
    let mut anon = db.connect_as("anon")?;
    for statement in [
        "SELECT FROM sqp.refresh_plan()",
        "SELECT FROM sqp.staleness",
        "SELECT FROM sqp.refresh_config",
        "SELECT FROM sqp.search_performance_summary",
    ] {
        expect_sqlstate(anon.batch_execute(statement), "42501");
    }
    let mut reader = db.connect_as("authenticated")?;
    assert_eq!(plan(&mut reader)?, ["a due"]);
    assert_eq!(
        rows(&mut reader, "SELECT table_name, stale FROM sqp.staleness")?,
        "(a,f)"
    );
    let mut service = db.connect_as("service_role")?;
    let claimed = claim(&mut service, 1)?;
    service.query("SELECT sqp.heartbeat($1)", &[&claimed[0].1])?;
    complete(&mut service, claimed[0].1)?;
    assert_eq!(
        rows(&mut reader, "SELECT status FROM sqp.refresh_audit_log")?,
        "(success)"
    );
    Ok(())
}

/// What runs beyond a bound that was lowered, or since there was none, counts.
#[test]
fn a_bound_that_comes_later_holds() -> Result<()> {
    let db = extended("claims_lowered")?;
    let mut client = db.connect()?;
    let tables: Vec<String> = (0..60).map(|number| format!("t{number}")).collect();
    only(
        &mut client,
        &tables.iter().map(String::as_str).collect::<Vec<_>>(),
    )?;
    for bound in ["100", "NULL"] {
        client.batch_execute(&format!("UPDATE sqp.settings SET max_parallel = {bound}"))?;
        for _ in 0..5 {
            assert_eq!(claim(&mut client, 1)?.len(), 1);
        }
    }
    client.batch_execute("UPDATE sqp.settings SET max_parallel = 10")?;
    for most in [1, 1, 1, 5] {
        assert_eq!(claim(&mut client, most)?.len(), 0);
    }
    client.batch_execute("UPDATE sqp.settings SET max_parallel = 12")?;
    assert_eq!(claim(&mut client, 1)?.len(), 1);
    assert_eq!(claim(&mut client, 5)?.len(), 1);
    assert_eq!(claim(&mut client, 1)?.len(), 0);
    Ok(())
}
