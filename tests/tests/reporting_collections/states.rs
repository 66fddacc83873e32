//! What happens to weeks, and what their collection makes of it.

use super::*;
use gemba_tests::{expect_sqlstate, extended};
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
