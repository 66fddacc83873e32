//! What happens to weeks, and what their collection makes of it.

use super::*;
use gemba_tests::{Random, expect_sqlstate, extended};
use std::collections::BTreeMap;

#[test]
fn weeks_go_by_date_and_the_collection_follows() -> Result<()> {
    let db = extended("states_order")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 3)?;
    assert_eq!(stands(&mut client, &id), "pending 0 0 0 0");
    let first = next(&mut client)?;
    assert_eq!((first.start.as_str(), first.attempt), ("2025-06-08", 1));
    assert_eq!(first.collection, id);
    assert_eq!(stands(&mut client, &id), "running 0 0 0 0");
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT status, worker, execution_date <= clock_timestamp(), lease, lease_expires_at - execution_date = lease, claim = {}, slot BETWEEN 1 AND 10
                   FROM reporting.report_data_weeks WHERE id = '{}'",
                first.claim, first.week
            )
        ),
        ["running | test | t | 24:00:00 | t | t | t"]
    );
    let second = next(&mut client)?;
    assert_eq!(second.start, "2025-06-15");
    assert_eq!(
        complete(&mut client, &second, Some("b"))?,
        "(completed,,running,33)"
    );
    assert_eq!(
        complete(&mut client, &first, Some("a"))?,
        "(completed,,running,66)"
    );
    let third = next(&mut client)?;
    assert!(claim(&mut client)?.is_none());
    assert_eq!(
        complete(&mut client, &third, None)?,
        "(completed,,completed,100)"
    );
    assert_eq!(stands(&mut client, &id), "completed 100 3 0 0");
    // Said again, all is as it was.
    let before = table(
        &mut client,
        "SELECT * FROM reporting.report_data_weeks ORDER BY id",
    );
    assert_eq!(
        complete(&mut client, &first, Some("a"))?,
        "(completed,,completed,100)"
    );
    assert_eq!(
        complete(&mut client, &third, None)?,
        "(completed,,completed,100)"
    );
    assert_eq!(
        before,
        table(
            &mut client,
            "SELECT * FROM reporting.report_data_weeks ORDER BY id"
        )
    );
    for checksum in [Some("z"), None] {
        let error = expect_sqlstate(complete(&mut client, &first, checksum), "55000");
        assert_eq!(error.message(), "the week has been completed");
    }
    Ok(())
}

#[test]
fn what_a_worker_gets_and_gives() -> Result<()> {
    let db = extended("states_result")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let other = &more_workflows(&mut client, 1)?[0];
    client.batch_execute(&format!(
        "INSERT INTO reporting.workflow_executions (id, workflow_id) VALUES ('{ANNA}', '{FLOW}'), ('{BEN}', '{other}')"
    ))?;
    start(
        &mut client,
        &format!("'{FLOW}', target_weeks => 1, configuration => '{{\"limit\": 1.50}}'"),
    )?;
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT workflow = '{FLOW}', instance = '{ACCOUNT}', week_end - week_start, attempt, configuration, lease_expires_at - now() < '6 min'
                   FROM reporting.claim_week('w', '5 minutes')"
            )
        ),
        ["t | t | 6 | 1 | {\"limit\": 1.50} | t"]
    );
    let week = value(&mut client, "SELECT id FROM reporting.report_data_weeks");
    for (arguments, code) in [
        (format!("'{week}', execution => '{FLOW}'"), "23503"),
        (format!("'{week}', execution => '{BEN}'"), "22023"),
        (format!("'{week}', -1"), "22023"),
        (format!("'{week}', 1, ''"), "22023"),
        (format!("'{week}', 1, repeat('x', 256)"), "22023"),
        (format!("'{FLOW}'"), "P0002"),
        ("NULL".to_owned(), "P0002"),
        (format!("'{week}', claim => 4711"), "55000"),
    ] {
        let error = expect_sqlstate(
            client.query(&format!("SELECT reporting.complete_week({arguments})"), &[]),
            code,
        );
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{arguments}"
        );
    }
    // More rows than an int holds.
    client.batch_execute(&format!(
        "SELECT reporting.complete_week('{week}', 5000000000, 'abc', '{ANNA}')"
    ))?;
    assert_eq!(
        table(
            &mut client,
            "SELECT status, row_count, data_checksum, workflow_execution_id FROM reporting.report_data_weeks"
        ),
        [format!("completed | 5000000000 | abc | {ANNA}")]
    );
    client.batch_execute("DELETE FROM reporting.workflow_executions")?;
    assert_eq!(
        value(
            &mut client,
            "SELECT status FROM reporting.report_data_weeks WHERE workflow_execution_id IS NULL"
        ),
        "completed"
    );
    Ok(())
}

#[test]
fn mistakes_are_told_with_a_remedy() -> Result<()> {
    let db = extended("states_mistakes")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 1)?;
    let week = value(&mut client, "SELECT id FROM reporting.report_data_weeks");
    for (call, code) in [
        ("claim_week(NULL)".to_owned(), "22023"),
        ("claim_week('')".to_owned(), "22023"),
        ("claim_week('w', '0')".to_owned(), "22023"),
        ("claim_week('w', '-1 minute')".to_owned(), "22023"),
        ("claim_week('w', '1 year')".to_owned(), "22023"),
        (format!("heartbeat_week('{FLOW}')"), "P0002"),
        (format!("heartbeat_week('{week}')"), "55000"),
        (format!("heartbeat_week('{week}', '0')"), "22023"),
        (format!("complete_week('{week}')"), "55000"),
        (format!("fail_week('{week}', 'no')"), "55000"),
        (format!("fail_week('{FLOW}', 'no')"), "P0002"),
        (format!("skip_week('{FLOW}')"), "P0002"),
        ("skip_week(NULL)".to_owned(), "P0002"),
        ("pause('coll_0')".to_owned(), "P0002"),
        ("resume(NULL)".to_owned(), "P0002"),
        ("retry_failed('coll_0')".to_owned(), "P0002"),
        ("cancel('coll_0')".to_owned(), "P0002"),
    ] {
        let error = expect_sqlstate(client.query(&format!("SELECT reporting.{call}"), &[]), code);
        assert!(error.detail().is_some(), "{call}: no detail");
        assert!(error.hint().is_some(), "{call}: no hint");
        assert_eq!(
            error.message().chars().next().map(char::is_lowercase),
            Some(true),
            "{call}"
        );
    }
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        for call in ["claim_week('w')", "reap_weeks()"] {
            let mut tx = client.transaction()?;
            tx.batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}"))?;
            expect_sqlstate(tx.query(&format!("SELECT reporting.{call}"), &[]), "25001");
            tx.rollback()?;
        }
    }
    assert_eq!(stands(&mut client, &id), "pending 0 0 0 0");
    Ok(())
}

#[test]
fn three_tries_and_then_it_has_failed() -> Result<()> {
    let db = extended("states_fail")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 2)?;
    for (attempt, answer) in [(1, "pending 1 t"), (2, "pending 2 t"), (3, "failed 3 f")] {
        let week = next(&mut client)?;
        assert_eq!((week.start.as_str(), week.attempt), ("2025-06-15", attempt));
        assert_eq!(fail(&mut client, &week)?, answer);
        assert_eq!(fail(&mut client, &week)?, answer, "said again");
        expect_sqlstate(complete(&mut client, &week, None), "55000");
    }
    assert_eq!(stands(&mut client, &id), "running 0 0 0 1");
    let last = next(&mut client)?;
    assert_eq!(last.start, "2025-06-22");
    complete(&mut client, &last, None)?;
    assert_eq!(stands(&mut client, &id), "failed 50 1 0 1");
    assert_eq!(
        value(
            &mut client,
            "SELECT error_message FROM reporting.report_data_collections"
        ),
        "1 of 2 weeks failed"
    );
    assert!(claim(&mut client)?.is_none());
    // From the beginning.
    assert_eq!(call(&mut client, "retry_failed", &id), "1");
    assert_eq!(call(&mut client, "retry_failed", &id), "0");
    assert_eq!(stands(&mut client, &id), "running 50 1 0 0");
    let week = next(&mut client)?;
    assert_eq!((week.start.as_str(), week.attempt), ("2025-06-15", 1));
    complete(&mut client, &week, None)?;
    assert_eq!(stands(&mut client, &id), "completed 100 2 0 0");
    assert_eq!(
        value(
            &mut client,
            "SELECT error_message IS NULL FROM reporting.report_data_collections"
        ),
        "t"
    );
    assert_eq!(call(&mut client, "retry_failed", &id), "0");
    assert_eq!(call(&mut client, "resume", &id), "completed");
    Ok(())
}

#[test]
fn a_failed_week_waits_before_it_is_tried_again() -> Result<()> {
    let db = extended("states_wait")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    client.batch_execute("UPDATE reporting.settings SET retry_after = '1 hour'")?;
    backfill(&mut client, FLOW, 2)?;
    let week = next(&mut client)?;
    fail(&mut client, &week)?;
    assert_eq!(next(&mut client)?.start, "2025-06-22");
    assert!(claim(&mut client)?.is_none());
    client.batch_execute("UPDATE reporting.report_data_weeks SET claimable_at = claimable_at - interval '1 hour' WHERE claimable_at IS NOT NULL")?;
    assert_eq!(next(&mut client)?.start, "2025-06-15");
    Ok(())
}

#[test]
fn a_paused_collection_hands_nothing_out() -> Result<()> {
    let db = extended("states_pause")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 4)?;
    let (a, b, c) = (next(&mut client)?, next(&mut client)?, next(&mut client)?);
    complete(&mut client, &a, None)?;
    client.batch_execute(&format!(
        "UPDATE reporting.report_data_weeks SET status = 'failed' WHERE id = '{}'",
        b.week
    ))?;
    assert_eq!(call(&mut client, "pause", &id), "paused");
    assert_eq!(call(&mut client, "pause", &id), "paused");
    assert!(claim(&mut client)?.is_none());
    assert_in_order(&mut client, "paused");
    // What runs goes on, also when it fails.
    client.query(
        "SELECT reporting.heartbeat_week($1::text::uuid)",
        &[&c.week],
    )?;
    assert_eq!(fail(&mut client, &c)?, "pending 1 f");
    assert_in_order(&mut client, "failed while paused");
    assert!(claim(&mut client)?.is_none());
    assert_eq!(call(&mut client, "retry_failed", &id), "1");
    assert_eq!(stands(&mut client, &id), "paused 25 1 0 0");
    client.batch_execute(&format!(
        "UPDATE reporting.report_data_weeks SET status = 'failed' WHERE id = '{}'",
        b.week
    ))?;
    // Pending and failed ones, by date and from their first try; progress stands.
    assert_eq!(call(&mut client, "resume", &id), "running");
    assert_eq!(call(&mut client, "resume", &id), "running");
    assert_eq!(stands(&mut client, &id), "running 25 1 0 0");
    for start in [&b.start, &c.start, "2025-06-22"] {
        let week = next(&mut client)?;
        assert_eq!((week.start.as_str(), week.attempt), (start as &str, 1));
        complete(&mut client, &week, None)?;
    }
    assert_eq!(stands(&mut client, &id), "completed 100 4 0 0");
    expect_sqlstate(
        client.query(&format!("SELECT reporting.pause('{id}')"), &[]),
        "55000",
    );
    Ok(())
}

#[test]
fn a_paused_collection_whose_last_week_is_completed_is_complete() -> Result<()> {
    let db = extended("states_pause_end")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 1)?;
    let week = next(&mut client)?;
    call(&mut client, "pause", &id);
    assert_eq!(
        complete(&mut client, &week, None)?,
        "(completed,,completed,100)"
    );
    // And one that was never begun waits for its turn again.
    let flow = &more_workflows(&mut client, 1)?[0];
    let id = backfill(&mut client, flow, 1)?;
    assert_eq!(call(&mut client, "pause", &id), "paused");
    assert!(claim(&mut client)?.is_none());
    assert_eq!(call(&mut client, "resume", &id), "pending");
    next(&mut client)?;
    // All of it failed while it was paused: it stays so, and resuming tries them again.
    let flow = &more_workflows(&mut client, 1)?[0];
    let id = backfill(&mut client, flow, 1)?;
    let week = next(&mut client)?;
    call(&mut client, "pause", &id);
    client.batch_execute("UPDATE reporting.settings SET max_attempts = 1")?;
    assert_eq!(fail(&mut client, &week)?, "failed 1 f");
    assert_eq!(stands(&mut client, &id), "paused 0 0 0 1");
    assert_eq!(call(&mut client, "resume", &id), "running");
    assert_eq!(weeks(&mut client, &id), "pending");
    assert_in_order(&mut client, "resumed");
    Ok(())
}

#[test]
fn cancelled_is_for_good() -> Result<()> {
    let db = extended("states_cancel")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 3)?;
    let (a, b) = (next(&mut client)?, next(&mut client)?);
    complete(&mut client, &a, None)?;
    assert_eq!(call(&mut client, "cancel", &id), "failed");
    let before = table(
        &mut client,
        "SELECT * FROM reporting.report_data_collections",
    );
    assert_eq!(call(&mut client, "cancel", &id), "failed");
    assert_eq!(
        before,
        table(
            &mut client,
            "SELECT * FROM reporting.report_data_collections"
        )
    );
    assert_eq!(weeks(&mut client, &id), "completed pending pending");
    assert_eq!(stands(&mut client, &id), "failed 33 1 0 0");
    assert_eq!(
        table(
            &mut client,
            "SELECT error_message, cancelled_at IS NOT NULL, (SELECT count(*) FROM reporting.report_data_weeks WHERE worker IS NOT NULL) FROM reporting.report_data_collections"
        ),
        ["cancelled | t | 1"]
    );
    assert!(claim(&mut client)?.is_none());
    let error = expect_sqlstate(complete(&mut client, &b, None), "55000");
    assert_eq!(error.message(), "the week is not yours any more");
    expect_sqlstate(
        client.query(
            "SELECT reporting.heartbeat_week($1::text::uuid)",
            &[&b.week],
        ),
        "55000",
    );
    for function in ["pause", "resume", "retry_failed"] {
        expect_sqlstate(
            client.query(&format!("SELECT reporting.{function}('{id}')"), &[]),
            "55000",
        );
    }
    expect_sqlstate(
        client.query("SELECT reporting.skip_week($1::text::uuid)", &[&b.week]),
        "55000",
    );
    assert_in_order(&mut client, "cancelled");
    // Another may begin; a complete one cannot be cancelled.
    let again = backfill(&mut client, FLOW, 3)?;
    work_off(&mut client)?;
    expect_sqlstate(
        client.query(&format!("SELECT reporting.cancel('{again}')"), &[]),
        "55000",
    );
    Ok(())
}

#[test]
fn a_failed_collection_does_not_come_back_beside_another() -> Result<()> {
    let db = extended("states_two")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    client.batch_execute("UPDATE reporting.settings SET max_attempts = 1")?;
    let failed = backfill(&mut client, FLOW, 2)?;
    for _ in 0..2 {
        let week = next(&mut client)?;
        fail(&mut client, &week)?;
    }
    assert_eq!(stands(&mut client, &failed), "failed 0 0 0 2");
    let other = backfill(&mut client, FLOW, 2)?;
    for function in ["resume", "retry_failed"] {
        let error = expect_sqlstate(
            client.query(&format!("SELECT reporting.{function}('{failed}')"), &[]),
            "55000",
        );
        assert!(
            error.detail().unwrap_or_default().contains(&other),
            "{error:?}"
        );
    }
    call(&mut client, "cancel", &other);
    assert_eq!(call(&mut client, "resume", &failed), "running");
    assert_eq!(work_off(&mut client)?, 2);
    assert_eq!(stands(&mut client, &failed), "completed 100 2 0 0");
    Ok(())
}

#[test]
fn a_week_can_be_left_out() -> Result<()> {
    let db = extended("states_skip")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    client.batch_execute("UPDATE reporting.settings SET max_attempts = 1")?;
    let id = backfill(&mut client, FLOW, 4)?;
    let (failed, running) = (next(&mut client)?, next(&mut client)?);
    fail(&mut client, &failed)?;
    let mut skip = |week: &str, reason: &str| {
        value(
            &mut client,
            &format!("SELECT reporting.skip_week('{week}', {reason})"),
        )
    };
    assert_eq!(skip(&failed.week, "'not worth it'"), "(skipped,running,25)");
    assert_eq!(skip(&failed.week, "'again'"), "(skipped,running,25)");
    assert_eq!(skip(&running.week, "NULL"), "(skipped,running,50)");
    let error = expect_sqlstate(complete(&mut client, &running, None), "55000");
    assert_eq!(error.message(), "the week is not running");
    expect_sqlstate(complete(&mut client, &failed, Some("x")), "55000");
    assert_eq!(work_off(&mut client)?, 2);
    assert_eq!(stands(&mut client, &id), "completed 100 2 2 0");
    let done = value(
        &mut client,
        "SELECT id FROM reporting.report_data_weeks WHERE status = 'completed' LIMIT 1",
    );
    expect_sqlstate(
        client.query(&format!("SELECT reporting.skip_week('{done}')"), &[]),
        "55000",
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT error_message FROM reporting.report_data_weeks WHERE status = 'skipped' ORDER BY week_start_date"
        ),
        ["not worth it", "skipped"]
    );
    Ok(())
}

#[test]
fn a_lease_is_renewed_or_lost() -> Result<()> {
    let db = extended("states_lease")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 2)?;
    let row = client.query_one(&format!("{CLAIM}('short', '10 minutes')"), &[])?;
    let (lost, kept) = (claimed(&row), next(&mut client)?);
    client.batch_execute(
        "UPDATE reporting.report_data_weeks SET lease_expires_at = now() WHERE worker = 'short'",
    )?;
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT reporting.heartbeat_week('{}', '2 hours', {}) - now() BETWEEN '1 h 59 min' AND '2 h 1 min'",
                kept.week, kept.claim
            )
        ),
        "t"
    );
    assert_eq!(value(&mut client, "SELECT reporting.reap_weeks()"), "1");
    assert_eq!(value(&mut client, "SELECT reporting.reap_weeks()"), "0");
    assert_eq!(
        table(
            &mut client,
            "SELECT status, attempts, error_message LIKE 'the lease of short expired at %' FROM reporting.report_data_weeks WHERE worker = 'short'"
        ),
        ["pending | 1 | t"]
    );
    let error = expect_sqlstate(complete(&mut client, &lost, None), "55000");
    assert_eq!(error.message(), "the week is not yours any more");
    let again = next(&mut client)?;
    assert_eq!((&again.week, again.attempt), (&lost.week, 2));
    // Who lost it does not report for who has it now.
    expect_sqlstate(complete(&mut client, &lost, None), "55000");
    expect_sqlstate(fail(&mut client, &lost), "55000");
    expect_sqlstate(
        client.query(
            "SELECT reporting.heartbeat_week($1::text::uuid, claim => $2)",
            &[&lost.week, &lost.claim],
        ),
        "55000",
    );
    // Once too often, and the next claim finds it failed.
    client.batch_execute("UPDATE reporting.settings SET max_attempts = 2; UPDATE reporting.report_data_weeks SET lease_expires_at = now() WHERE attempts = 1")?;
    assert!(claim(&mut client)?.is_none());
    assert_eq!(stands(&mut client, &id), "running 0 0 0 1");
    // The clock was set back by a day: nobody waits that long.
    client.batch_execute("UPDATE reporting.report_data_weeks SET lease_expires_at = lease_expires_at + interval '1 day' WHERE status = 'running'")?;
    client.query("SELECT reporting.reap_weeks()", &[])?;
    assert_eq!(
        value(
            &mut client,
            "SELECT lease_expires_at - now() <= '2 h' FROM reporting.report_data_weeks WHERE status = 'running'"
        ),
        "t"
    );
    Ok(())
}

#[test]
fn collections_take_turns() -> Result<()> {
    let db = extended("states_turns")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    client.batch_execute("UPDATE reporting.settings SET max_running_weeks = NULL")?;
    let flows = more_workflows(&mut client, 3)?;
    let mut names = BTreeMap::new();
    for (name, flow) in ["a", "b"].iter().zip(&flows) {
        names.insert(backfill(&mut client, flow, 6)?, *name);
    }
    let mut order = String::new();
    for _ in 0..4 {
        order += names[&next(&mut client)?.collection];
    }
    assert_eq!(order, "abab");
    // One that comes later is not before all others, and not after them.
    names.insert(backfill(&mut client, &flows[2], 2)?, "c");
    let mut order = String::new();
    while let Some(week) = claim(&mut client)? {
        order += names[&week.collection];
    }
    assert_eq!(order, "abcabcabab");
    Ok(())
}

#[test]
fn nobody_makes_the_counts_lie() -> Result<()> {
    let db = extended("states_lies")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 4)?;
    let week = next(&mut client)?;
    complete(&mut client, &week, Some("a"))?;
    let running = next(&mut client)?;
    let mut service = db.connect_as("service_role")?;
    for (statement, code) in [
        ("UPDATE reporting.report_data_collections SET weeks_completed = 4", "42501"),
        ("UPDATE reporting.report_data_collections SET progress_percentage = 100", "42501"),
        ("UPDATE reporting.report_data_collections SET status = 'completed'", "42501"),
        ("UPDATE reporting.report_data_collections SET target_weeks = 1", "42501"),
        ("UPDATE reporting.report_data_collections SET cancelled_at = NULL", "42501"),
        ("DELETE FROM reporting.report_data_weeks", "42501"),
        ("TRUNCATE reporting.report_data_weeks", "42501"),
        ("UPDATE reporting.report_data_weeks SET status = 'pending' WHERE status = 'completed'", "55000"),
        ("UPDATE reporting.report_data_weeks SET status = 'failed' WHERE status = 'completed'", "55000"),
        ("UPDATE reporting.report_data_weeks SET status = 'skipped' WHERE status = 'completed'", "55000"),
        ("UPDATE reporting.report_data_weeks SET status = 'running' WHERE status = 'pending'", "55000"),
        ("UPDATE reporting.report_data_weeks SET status = 'lost' WHERE status = 'pending'", "23514"),
        ("UPDATE reporting.report_data_weeks SET status = NULL WHERE status = 'pending'", "23502"),
        ("UPDATE reporting.report_data_weeks SET row_count = -1", "23514"),
        ("UPDATE reporting.report_data_weeks SET collection_id = gen_random_uuid()", "55000"),
        ("UPDATE reporting.report_data_weeks SET week_end_date = week_end_date - 1", "55000"),
        ("UPDATE reporting.report_data_weeks SET slot = NULL WHERE status = 'running'", "55000"),
        ("INSERT INTO reporting.report_data_weeks (collection_id, week_start_date, week_end_date, status)
          SELECT id, '2024-01-01', '2024-01-08', 'completed' FROM reporting.report_data_collections", "23514"),
        ("INSERT INTO reporting.report_data_weeks (collection_id, week_start_date, week_end_date)
          VALUES (gen_random_uuid(), '2024-01-01', '2024-01-07')", "23503"),
        ("INSERT INTO reporting.report_data_collections (workflow_id, instance_id, collection_type, target_weeks, start_date, end_date, weeks_completed)
          SELECT workflow_id, instance_id, 'backfill', 1, '2024-01-01', '2024-01-07', 1 FROM reporting.report_data_collections", "42501"),
        ("INSERT INTO reporting.report_data_collections (workflow_id, instance_id, collection_type, target_weeks, start_date, end_date)
          SELECT workflow_id, instance_id, 'backfill', 1, '2024-01-01', '2024-01-07' FROM reporting.report_data_collections", "23505"),
    ] {
        expect_sqlstate(service.batch_execute(statement), code);
    }
    // Not even the owner of the tables.
    for (statement, code) in [
        ("UPDATE reporting.report_data_collections SET weeks_completed = 4", "55000"),
        ("UPDATE reporting.report_data_collections SET weeks_failed = 1, progress_percentage = 99", "55000"),
        ("UPDATE reporting.report_data_collections SET status = 'completed'", "23514"),
        ("UPDATE reporting.report_data_collections SET status = 'failed'", "23514"),
        ("UPDATE reporting.report_data_collections SET target_weeks = 1", "55000"),
        ("UPDATE reporting.report_data_collections SET end_date = end_date + 7", "55000"),
        ("DELETE FROM reporting.report_data_weeks", "55000"),
        ("INSERT INTO reporting.report_data_collections (collection_id, workflow_id, instance_id, collection_type, target_weeks, start_date, end_date)
          SELECT 'x', workflow_id, instance_id, 'backfill', 1, '2024-01-01', '2024-01-07' FROM reporting.report_data_collections", "23514"),
    ] {
        expect_sqlstate(client.batch_execute(statement), code);
    }
    assert_eq!(stands(&mut client, &id), "running 25 1 0 0");
    assert_in_order(&mut client, "after all that");
    // What an application does with its own hands is counted.
    let pending = value(
        &mut client,
        "SELECT id FROM reporting.report_data_weeks WHERE status = 'pending' ORDER BY week_start_date LIMIT 1",
    );
    for (statement, after) in [
        (
            format!(
                "UPDATE reporting.report_data_weeks SET status = 'failed' WHERE id = '{pending}'"
            ),
            "running 25 1 0 1",
        ),
        (
            format!(
                "UPDATE reporting.report_data_weeks SET status = 'failed' WHERE id = '{}'",
                running.week
            ),
            "running 25 1 0 2",
        ),
        (
            format!(
                "UPDATE reporting.report_data_weeks SET status = 'pending' WHERE id = '{}'",
                running.week
            ),
            "running 25 1 0 1",
        ),
        (
            "UPDATE reporting.report_data_weeks SET status = 'skipped' WHERE status = 'pending'"
                .to_owned(),
            "failed 75 1 2 1",
        ),
        (
            format!(
                "UPDATE reporting.report_data_weeks SET status = 'pending' WHERE id = '{pending}'"
            ),
            "pending 75 1 2 0",
        ),
        (
            format!(
                "UPDATE reporting.report_data_weeks SET status = 'completed' WHERE id = '{pending}'"
            ),
            "completed 100 2 2 0",
        ),
    ] {
        service.batch_execute(&statement)?;
        assert_eq!(stands(&mut client, &id), after, "{statement}");
        assert_in_order(&mut client, &statement);
    }
    // One that is made by hand, with its weeks, is as good as any.
    service.batch_execute(&format!(
        "INSERT INTO reporting.report_data_collections (collection_id, workflow_id, instance_id, user_id, collection_type, target_weeks, start_date, end_date)
         VALUES ('coll_by_hand', '{FLOW}', '{OTHER_ACCOUNT}', '{ANNA}', 'backfill', 3, '2024-01-01', '2024-01-21');
         INSERT INTO reporting.report_data_weeks (collection_id, week_start_date, week_end_date, status)
         SELECT id, d, d + 6, s FROM reporting.report_data_collections, (VALUES (date '2024-01-01', 'completed'), ('2024-01-08', 'pending'), ('2024-01-15', 'failed')) AS v (d, s)
          WHERE collection_id = 'coll_by_hand'"
    ))?;
    assert_eq!(stands(&mut client, "coll_by_hand"), "pending 33 1 0 1");
    assert_eq!(work_off(&mut client)?, 1);
    assert_eq!(stands(&mut client, "coll_by_hand"), "failed 66 2 0 1");
    assert_in_order(&mut client, "by hand");
    // Weeks go with their collection.
    service.batch_execute("DELETE FROM reporting.report_data_collections")?;
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM reporting.report_data_weeks"
        ),
        "0"
    );
    Ok(())
}

/// Anything that can be done, in any order: the counts are what the weeks say, and progress never falls.
#[test]
fn whatever_happens_the_counts_are_right() -> Result<()> {
    let db = extended("states_property")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let flows = more_workflows(&mut client, 5)?;
    client.batch_execute("UPDATE reporting.settings SET max_running_collections = 2, max_running_weeks = 3, max_attempts = 2")?;
    for seed in 0..6 {
        let mut random = Random::new(seed);
        client.batch_execute("DELETE FROM reporting.report_data_collections")?;
        let mut held: Vec<Claimed> = Vec::new();
        let mut progress: BTreeMap<String, i32> = BTreeMap::new();
        for step in 0..250 {
            let when = format!("seed {seed}, step {step}");
            let collections = table(
                &mut client,
                "SELECT collection_id FROM reporting.report_data_collections ORDER BY created_at, id",
            );
            let what = random.below(24);
            let done = match what {
                0 | 1 => {
                    let flow = random.pick(&flows).clone();
                    start(&mut client, &format!("'{flow}', target_weeks => {}, end_date => '2025-06-28'", 1 + random.below(5))).map(|_| ())
                }
                2..=5 if !collections.is_empty() => {
                    let function = random.pick(&["pause", "resume", "resume", "retry_failed"]);
                    client.batch_execute(&format!("SELECT reporting.{function}('{}')", random.pick(&collections)))
                }
                6 if !collections.is_empty() && random.one_in(3) => {
                    client.batch_execute(&format!("SELECT reporting.cancel('{}')", random.pick(&collections)))
                }
                7 => client.batch_execute("UPDATE reporting.report_data_weeks SET lease_expires_at = now() WHERE status = 'running'"),
                8 => client.batch_execute("SELECT reporting.reap_weeks()"),
                9 => client.batch_execute(
                    "SELECT reporting.skip_week(id) FROM (SELECT id FROM reporting.report_data_weeks ORDER BY random() LIMIT 1) AS w",
                ),
                10 => client.batch_execute(
                    "UPDATE reporting.report_data_weeks SET status = 'pending'
                      WHERE id = (SELECT id FROM reporting.report_data_weeks WHERE status = 'failed' ORDER BY random() LIMIT 1)",
                ),
                11..=14 if !held.is_empty() => {
                    let week = held.swap_remove(random.below(held.len() as u64) as usize);
                    complete(&mut client, &week, Some("same")).map(|_| ())
                }
                15..=17 if !held.is_empty() => {
                    let week = held.swap_remove(random.below(held.len() as u64) as usize);
                    fail(&mut client, &week).map(|_| ())
                }
                _ => claim(&mut client).map(|week| held.extend(week)),
            };
            if let Err(error) = done {
                let code = error.code().map(|code| code.code().to_owned());
                // What is refused is refused for a reason that is told.
                assert!(
                    matches!(code.as_deref(), Some("55000" | "23505" | "22023")),
                    "{when}, {what}: {error:?}"
                );
            }
            assert_in_order(&mut client, &format!("{when}, {what}"));
            for row in client.query(
                "SELECT collection_id, progress_percentage FROM reporting.report_data_collections",
                &[],
            )? {
                let (id, now): (String, i32) = (row.get(0), row.get(1));
                let before = progress.insert(id, now).unwrap_or(0);
                assert!(before <= now, "{when}: {before} fell to {now}");
            }
        }
        assert!(
            progress.values().any(|&done| done == 100),
            "seed {seed}: nothing was ever completed"
        );
    }
    Ok(())
}

#[test]
fn progress_shows_who_is_at_work_and_what_is_stuck() -> Result<()> {
    let db = extended("states_progress")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 5)?;
    for (worker, end) in [("a", "complete_week"), ("a", ""), ("b", "")] {
        let row = client.query_one(&format!("{CLAIM}('{worker}')"), &[])?;
        if !end.is_empty() {
            client.batch_execute(&format!(
                "SELECT reporting.{end}('{}')",
                row.get::<_, String>(0)
            ))?;
        }
    }
    let shown = "SELECT collection_id, status, progress_percentage, pending, running, completed, skipped, failed, workers,
                        oldest_lease <= now(), next_week, stuck FROM reporting.collection_progress";
    assert_eq!(
        table(&mut client, shown),
        [format!(
            "{id} | running | 20 | 2 | 2 | 1 | 0 | 0 | 2 | t | 2025-06-15 | f"
        )]
    );
    let stuck =
        |client: &mut Client| value(client, "SELECT stuck FROM reporting.collection_progress");
    client.batch_execute("UPDATE reporting.report_data_weeks SET lease_expires_at = now() - interval '1 s' WHERE worker = 'a' AND status = 'running'")?;
    assert_eq!(stuck(&mut client), "t");
    client.batch_execute("SELECT reporting.reap_weeks()")?;
    assert_eq!(stuck(&mut client), "f");
    // Nobody has come for longer than a lease.
    client.batch_execute(
        "UPDATE reporting.settings SET lease = '1 ms';
         UPDATE reporting.report_data_weeks SET status = 'pending' WHERE status = 'running'",
    )?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(stuck(&mut client), "t");
    call(&mut client, "pause", &id);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(stuck(&mut client), "f");
    Ok(())
}

#[test]
fn abandoned_weeks_are_looked_for_by_a_job() -> Result<()> {
    let db = extended("states_job")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    backfill(&mut client, FLOW, 1)?;
    client.query(&format!("{CLAIM}('w', '1 ms')"), &[])?;
    std::thread::sleep(std::time::Duration::from_millis(10));
    client.batch_execute("SELECT gemba.run_job_now('reporting: abandoned weeks')")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT status, message FROM gemba.run_due_jobs() WHERE job = 'reporting: abandoned weeks'"
        ),
        ["succeeded | -"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT status, attempts FROM reporting.report_data_weeks"
        ),
        ["pending | 1"]
    );
    Ok(())
}

/// A collection has the weeks that it says it has, however they are written.
#[test]
fn nobody_adds_a_week_that_is_none_of_the_collections() -> Result<()> {
    let db = extended("collections_extra")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let collection = backfill(&mut client, FLOW, 2)?;
    let first = value(
        &mut client,
        "SELECT start_date FROM reporting.report_data_collections",
    );
    for days in ["-7, -1", "14, 20", "3, 5", "0, 0"] {
        let (from, to) = days.split_once(", ").unwrap_or_default();
        let insert = format!(
            "INSERT INTO reporting.report_data_weeks (collection_id, week_start_date, week_end_date)
             SELECT id, date '{first}' + {from}, date '{first}' + {to} FROM reporting.report_data_collections"
        );
        let error = expect_sqlstate(client.batch_execute(&insert), "23514");
        assert_eq!(error.message(), "the week is none of the collection's");
    }
    // Of a paused one nothing can be claimed, whoever says so.
    call(&mut client, "pause", &collection);
    client.batch_execute("UPDATE reporting.report_data_weeks SET claimable_at = now()")?;
    assert!(claim(&mut client)?.is_none());
    call(&mut client, "resume", &collection);
    assert!(claim(&mut client)?.is_some());
    Ok(())
}
