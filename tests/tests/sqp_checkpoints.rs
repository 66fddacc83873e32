//! Checkpoints: what died goes on elsewhere, and never backwards.

mod sqp_support;

use anyhow::{Context, Result, ensure};
use gemba_tests::{expect_sqlstate, extended};
use sqp_support::*;
use std::time::{Duration, Instant};

const STATES: &str =
    "SELECT function_name, last_processed_row, status FROM sqp.refresh_checkpoints ORDER BY id";

#[test]
fn saved_resumed_completed() -> Result<()> {
    let db = extended("checkpoints")?;
    let mut client = db.connect_as("service_role")?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT * FROM sqp.resume_checkpoint('f', 'daily_sqp_data')"
        )?,
        ""
    );
    assert!(one::<bool>(
        &mut client,
        "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{\"n\": 12345678901234567890.000000000000000000001, \"t\": \"ü \\u0041 \\\" \"}', 10)
                BETWEEN now() + interval '59 minutes' AND now() + interval '61 minutes'"
    )?);
    client.query(
        "SELECT sqp.save_checkpoint('g', 'sqp.daily_sqp_data', '[1]', NULL, NULL, '2 days')",
        &[],
    )?;
    client.query(
        "SELECT sqp.save_checkpoint('f', 'sqp.daily_sqp_data', '{\"n\": 1.10}', 20, 100)",
        &[],
    )?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT checkpoint_data, last_processed_row, total_rows FROM sqp.resume_checkpoint('f', 'daily_sqp_data')"
        )?,
        "(\"{\"\"n\"\": 1.10}\",20,100)"
    );
    // What is not said again stays.
    client.query(
        "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', 'null')",
        &[],
    )?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT checkpoint_data, last_processed_row, total_rows FROM sqp.resume_checkpoint('f', 'daily_sqp_data')"
        )?,
        "(null,20,100)"
    );
    assert!(one::<bool>(
        &mut client,
        "SELECT sqp.complete_checkpoint('f', 'daily_sqp_data')"
    )?);
    assert!(!one::<bool>(
        &mut client,
        "SELECT sqp.complete_checkpoint('f', 'daily_sqp_data')"
    )?);
    assert_eq!(
        rows(
            &mut client,
            "SELECT * FROM sqp.resume_checkpoint('f', 'daily_sqp_data')"
        )?,
        ""
    );
    // From the beginning again.
    client.query(
        "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', 0)",
        &[],
    )?;
    assert_eq!(
        rows(&mut client, STATES)?,
        "(f,20,completed)\n(g,,active)\n(f,0,active)"
    );
    Ok(())
}

#[test]
fn numbers_come_back_exactly() -> Result<()> {
    let db = extended("checkpoints_exact")?;
    let mut client = db.connect()?;
    for text in [
        "{\"n\": 12345678901234567890.000000000000000000001}",
        "[0.1, 1e300, -5, true, null, {\"ä\\n\\\"\": []}]",
        "\"just a text\"",
    ] {
        client.execute(
            "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', $1::text::jsonb)",
            &[&text],
        )?;
        let same: bool = client
            .query_one("SELECT checkpoint_data = $1::text::jsonb FROM sqp.resume_checkpoint('f', 'daily_sqp_data')", &[&text])?
            .get(0);
        assert!(same, "{text}");
    }
    Ok(())
}

#[test]
fn mistakes_are_told_with_a_remedy() -> Result<()> {
    let db = extended("checkpoints_mistakes")?;
    let mut client = db.connect()?;
    client.batch_execute("SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', 10)")?;
    for (statement, code) in [
        ("SELECT sqp.save_checkpoint('f', 'nowhere', '{}')", "42704"),
        ("SELECT sqp.resume_checkpoint('f', 'x.nowhere')", "42704"),
        ("SELECT sqp.complete_checkpoint('f', '\"x')", "42704"),
        (
            "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', -1)",
            "22023",
        ),
        (
            "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', 11, 10)",
            "22023",
        ),
        (
            "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', 11, -10)",
            "22023",
        ),
        (
            "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', ttl => '0')",
            "22023",
        ),
        (
            "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', ttl => '-1 hour')",
            "22023",
        ),
        (
            "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', ttl => '1000 years')",
            "22023",
        ),
        (
            "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', 9)",
            "55000",
        ),
    ] {
        let error = expect_sqlstate(client.query(statement, &[]), code);
        assert!(error.detail().is_some(), "{statement}: no detail");
        assert!(error.hint().is_some(), "{statement}: no hint");
    }
    assert_eq!(rows(&mut client, STATES)?, "(f,10,active)");
    Ok(())
}

#[test]
fn an_expired_one_is_never_resumed() -> Result<()> {
    let db = extended("checkpoints_expired")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', 10, ttl => '1 millisecond');
         SELECT sqp.save_checkpoint('g', 'daily_sqp_data', '{}', 10, ttl => '1 millisecond')",
    )?;
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(
        rows(
            &mut client,
            "SELECT * FROM sqp.resume_checkpoint('f', 'daily_sqp_data')"
        )?,
        ""
    );
    // The beginning of a new one, which may lie before it. What expired beside it is marked.
    client.query(
        "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', 1, ttl => '1 millisecond')",
        &[],
    )?;
    assert_eq!(
        rows(&mut client, STATES)?,
        "(f,10,expired)\n(g,10,expired)\n(f,1,active)"
    );
    std::thread::sleep(Duration::from_millis(10));
    assert!(!one::<bool>(
        &mut client,
        "SELECT sqp.complete_checkpoint('f', 'daily_sqp_data')"
    )?);
    client.query(
        "SELECT sqp.save_checkpoint('h', 'daily_sqp_data', '{}', 1, ttl => '1 millisecond')",
        &[],
    )?;
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(
        one::<i64>(&mut client, "SELECT sqp.expire_checkpoints()")?,
        1
    );
    assert_eq!(
        one::<i64>(&mut client, "SELECT sqp.expire_checkpoints()")?,
        0
    );
    Ok(())
}

#[test]
fn many_save_at_once_and_it_only_goes_forwards() -> Result<()> {
    let db = extended("checkpoints_parallel")?;
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..8)
            .map(|number| {
                let db = &db;
                scope.spawn(move || -> Result<(i64, i64)> {
                    let mut client = db.connect_as("service_role")?;
                    let mut random = Random::new(number + 1);
                    let (mut furthest, mut refused) = (0, 0);
                    for _ in 0..60 {
                        let row = random.below(10_000) as i64;
                        match client.execute(
                            "SELECT sqp.save_checkpoint('f', 'daily_sqp_data', '{}', $1)",
                            &[&row],
                        ) {
                            Ok(_) => furthest = furthest.max(row),
                            Err(error) => {
                                ensure!(
                                    error.code().is_some_and(|code| code.code() == "55000"),
                                    "{error:?}"
                                );
                                refused += 1;
                            }
                        }
                    }
                    Ok((furthest, refused))
                })
            })
            .collect();
        let mut furthest = 0;
        let mut refused = 0;
        for worker in workers {
            let (reached, times) = worker
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))?;
            furthest = furthest.max(reached);
            refused += times;
        }
        assert!(refused > 0);
        let mut client = db.connect()?;
        assert_eq!(rows(&mut client, STATES)?, format!("(f,{furthest},active)"));
        Ok(())
    })
}

/// An edge function: it claims, and copies a hundred rows a batch, from its checkpoint on, to the end or until it
/// dies. The target is written in the same transaction as the checkpoint.
fn edge_function(
    client: &mut postgres::Client,
    name: &str,
    dies_after: Option<i64>,
) -> Result<(i64, i64)> {
    const TOTAL: i64 = 1000;
    let deadline = Instant::now() + Duration::from_secs(20);
    let run: i64 = loop {
        let found = client.query(
            "SELECT run_id FROM sqp.claim_refresh($1, '500 milliseconds')",
            &[&name],
        )?;
        if let Some(row) = found.first() {
            break row.get(0);
        }
        ensure!(Instant::now() < deadline, "nothing to claim");
        std::thread::sleep(Duration::from_millis(20));
    };
    let from: i64 = client
        .query_opt(
            "SELECT last_processed_row FROM sqp.resume_checkpoint('copy', 'x.copied')",
            &[],
        )?
        .map_or(0, |row| row.get(0));
    let mut at = from;
    while at < TOTAL {
        let mut batch = client.transaction()?;
        batch.execute(
            "INSERT INTO copied SELECT n FROM generate_series($1::bigint + 1, $1::bigint + 100) AS n",
            &[&at],
        )?;
        at += 100;
        batch.execute("SELECT sqp.save_checkpoint('copy', 'x.copied', jsonb_build_object('by', $1::text), $2, $3)", &[&name, &at, &TOTAL])?;
        batch.execute("SELECT sqp.heartbeat($1)", &[&run])?;
        batch.commit()?;
        if dies_after.is_some_and(|end| at >= end) {
            return Ok((run, from));
        }
    }
    client.execute("SELECT sqp.complete_checkpoint('copy', 'x.copied')", &[])?;
    client.execute(
        "SELECT sqp.complete_refresh($1, $2)",
        &[&run, &(TOTAL - from)],
    )?;
    Ok((run, from))
}

#[test]
fn a_worker_that_dies_is_taken_over_from_its_checkpoint() -> Result<()> {
    let db = extended("checkpoints_killed")?;
    let mut client = db.connect()?;
    only(&mut client, &["copied"])?;
    client.batch_execute(
        "CREATE TABLE copied (n bigint PRIMARY KEY); GRANT INSERT ON copied TO service_role",
    )?;
    let mut first = db.connect_as("service_role")?;
    let (dead, _) = edge_function(&mut first, "edge-1", Some(400))?;
    // In the middle of its next batch.
    first.batch_execute("BEGIN; INSERT INTO copied VALUES (401)")?;
    let pid: i32 = one(&mut first, "SELECT pg_backend_pid()")?;
    client.execute("SELECT pg_terminate_backend($1, 5000)", &[&pid])?;

    let mut second = db.connect_as("service_role")?;
    let (run, from) = edge_function(&mut second, "edge-2", None)?;
    assert_eq!(from, 400);
    assert_eq!(
        rows(&mut client, "SELECT count(*), min(n), max(n) FROM copied")?,
        "(1000,1,1000)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT worker, attempt, status, rows_processed FROM sqp.refresh_audit_log ORDER BY id"
        )?,
        "(edge-1,1,failed,)\n(edge-2,2,success,600)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT attempts, run_id, last_status FROM sqp.refresh_config"
        )?,
        "(0,,success)"
    );
    // It was not dead after all, only slow.
    let mut zombie = db.connect_as("service_role")?;
    let error = expect_sqlstate(
        zombie.query("SELECT sqp.complete_refresh($1)", &[&dead]),
        "55000",
    );
    let detail = error.detail().context("a detail")?;
    assert!(detail.contains("the lease expired"), "{detail}");
    expect_sqlstate(zombie.query("SELECT sqp.heartbeat($1)", &[&dead]), "55000");
    assert_ne!(run, dead);
    Ok(())
}

#[test]
fn they_belong_to_a_turn_a_table_and_a_run() -> Result<()> {
    let db = extended("checkpoints_turn")?;
    let mut client = db.connect()?;
    only(&mut client, &["a", "b"])?;
    let resumed = "SELECT last_processed_row FROM sqp.resume_checkpoint('f', 'x.a')";
    // The next turn begins at its beginning.
    let first = claim(&mut client, 1)?;
    client.batch_execute("SELECT sqp.save_checkpoint('f', 'x.a', '{}', 9000)")?;
    assert_eq!(rows(&mut client, resumed)?, "(9000)");
    complete(&mut client, first[0].1)?;
    assert_eq!(rows(&mut client, resumed)?, "");
    // Nor is it another table's that gets the name.
    client.batch_execute(
        "SELECT sqp.save_checkpoint('f', 'x.a', '{}', 5), sqp.save_checkpoint('f', 'x.b', '{}', 7);
         UPDATE sqp.refresh_config SET table_name = 'old' WHERE table_name = 'a';
         UPDATE sqp.refresh_config SET table_name = 'a' WHERE table_name = 'b'",
    )?;
    assert_eq!(rows(&mut client, resumed)?, "(7)");
    assert_eq!(
        rows(
            &mut client,
            "SELECT last_processed_row FROM sqp.resume_checkpoint('f', 'x.old')"
        )?,
        "(5)"
    );
    client.batch_execute("DELETE FROM sqp.refresh_config WHERE table_name = 'a'; INSERT INTO sqp.refresh_config (table_schema, table_name) VALUES ('x', 'a')")?;
    assert_eq!(rows(&mut client, resumed)?, "");
    // Whoever says which run it is, and has lost it, is refused.
    let run = claim(&mut client, 1)?[0].1;
    client.batch_execute(&format!(
        "SELECT sqp.save_checkpoint('f', 'x.a', '{{}}', 1, run => {run})"
    ))?;
    client.batch_execute(&format!("SELECT sqp.fail_refresh({run}, 'gone')"))?;
    expect_sqlstate(
        client.batch_execute(&format!(
            "SELECT sqp.save_checkpoint('f', 'x.a', '{{}}', 2, run => {run})"
        )),
        "55000",
    );
    for call in [
        "SELECT sqp.save_checkpoint(NULL, 'x.a', '{}')",
        "SELECT sqp.save_checkpoint('f', NULL, '{}')",
        "SELECT sqp.save_checkpoint('f', 'x.a', NULL)",
        "SELECT sqp.save_checkpoint('f', 'x.a', '{}', ttl => NULL)",
    ] {
        expect_sqlstate(client.batch_execute(call), "22004");
    }
    Ok(())
}
