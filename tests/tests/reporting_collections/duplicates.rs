//! The same result of the same week is kept once.

use super::*;
use gemba_tests::{Database, expect_sqlstate, extended};

/// A collection that has failed with one week to go, and another of the same weeks that has claimed this one.
fn two_of_the_same(db: &Database, client: &mut Client) -> Result<(String, Claimed)> {
    furnish(client)?;
    client.batch_execute("UPDATE reporting.settings SET max_attempts = 1")?;
    backfill(client, FLOW, 2)?;
    let failed = next(client)?;
    fail(client, &failed)?;
    let week = next(client)?;
    complete(client, &week, Some("second week"))?;
    backfill(client, FLOW, 2)?;
    let week = next(client)?;
    assert_eq!(week.start, failed.start);
    let _ = db;
    Ok((failed.week, week))
}

#[test]
fn a_week_with_the_same_result_is_skipped() -> Result<()> {
    let db = extended("duplicates_plain")?;
    let mut client = db.connect()?;
    let (_, first) = two_of_the_same(&db, &mut client)?;
    // Another result, though the collection before had the same weeks.
    assert_eq!(
        complete(&mut client, &first, Some("first week"))?,
        "(completed,,running,50)"
    );
    let second = next(&mut client)?;
    let original = value(
        &mut client,
        "SELECT id FROM reporting.report_data_weeks WHERE data_checksum = 'second week'",
    );
    let answer = format!("(skipped,{original},completed,100)");
    assert_eq!(complete(&mut client, &second, Some("second week"))?, answer);
    assert_eq!(
        complete(&mut client, &second, Some("second week"))?,
        answer,
        "said again"
    );
    expect_sqlstate(
        complete(&mut client, &second, Some("something else")),
        "55000",
    );
    assert_eq!(
        stands(&mut client, &second.collection),
        "completed 100 1 1 0"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT row_count, data_checksum, duplicate_of, error_message FROM reporting.report_data_weeks WHERE status = 'skipped'"
        ),
        [format!(
            "10 | second week | {original} | the same result as another collection's"
        )]
    );
    // Its original goes, and it stays.
    client
        .batch_execute("DELETE FROM reporting.report_data_collections WHERE status = 'failed'")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT status, duplicate_of FROM reporting.report_data_weeks ORDER BY week_start_date"
        ),
        ["completed | -", "skipped | -"]
    );
    assert_in_order(&mut client, "at the end");
    Ok(())
}

#[test]
fn another_result_account_week_or_no_checksum_is_no_duplicate() -> Result<()> {
    let db = extended("duplicates_others")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let flow = more_workflows(&mut client, 1)?.remove(0);
    let mut run = |arguments: &str, checksum: Option<&str>| -> Result<()> {
        let (id, created) = start(&mut client, arguments)?;
        assert!(created, "{arguments}");
        while let Some(week) = claim(&mut client)? {
            assert!(
                complete(&mut client, &week, checksum)?.starts_with("(completed,,"),
                "{arguments}"
            );
        }
        assert!(stands(&mut client, &id).starts_with("completed 100"));
        Ok(())
    };
    run(
        &format!("'{FLOW}', target_weeks => 2, end_date => '2025-06-28'"),
        Some("same"),
    )?;
    // Another workflow, another account, other weeks.
    run(
        &format!("'{flow}', target_weeks => 2, end_date => '2025-06-28'"),
        Some("same"),
    )?;
    run(
        &format!("'{FLOW}', '{OTHER_ACCOUNT}', target_weeks => 2, end_date => '2025-06-28'"),
        Some("same"),
    )?;
    run(
        &format!("'{FLOW}', target_weeks => 2, end_date => '2025-06-14'"),
        Some("same"),
    )?;
    // The same weeks again, one more being new: another result, or nothing said of it.
    run(
        &format!("'{FLOW}', target_weeks => 3, end_date => '2025-07-05'"),
        Some("other"),
    )?;
    run(
        &format!("'{FLOW}', target_weeks => 4, end_date => '2025-07-12'"),
        None,
    )?;
    run(
        &format!("'{FLOW}', target_weeks => 5, end_date => '2025-07-19'"),
        None,
    )?;
    Ok(())
}

/// Somebody else records the same result in a transaction that is still open.
#[test]
fn two_at_once_are_one() -> Result<()> {
    for commits in [true, false] {
        let db = extended(if commits {
            "duplicates_commit"
        } else {
            "duplicates_rollback"
        })?;
        let mut client = db.connect()?;
        let (failed, week) = two_of_the_same(&db, &mut client)?;
        let mut other = db.connect_as("service_role")?;
        let mut open = other.transaction()?;
        open.batch_execute(&format!(
            "UPDATE reporting.report_data_weeks SET status = 'completed', data_checksum = 'same' WHERE id = '{failed}'"
        ))?;
        let answer = std::thread::scope(|scope| -> Result<String> {
            let reporter = scope.spawn(|| -> Result<String> {
                Ok(complete(&mut db.connect()?, &week, Some("same"))?)
            });
            gemba_tests::wait_for(
                &mut client,
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%complete_week%' AND pid <> pg_backend_pid()",
                "1",
            );
            if commits {
                open.commit()?;
            } else {
                open.rollback()?;
            }
            reporter.join().map_err(|_| anyhow::anyhow!("panicked"))?
        })?;
        if commits {
            assert_eq!(answer, format!("(skipped,{failed},running,50)"));
        } else {
            assert_eq!(answer, "(completed,,running,50)");
        }
        assert_in_order(&mut client, "at the end");
    }
    Ok(())
}

#[test]
fn a_direct_update_makes_no_duplicate_either() -> Result<()> {
    let db = extended("duplicates_direct")?;
    let mut client = db.connect()?;
    let (failed, week) = two_of_the_same(&db, &mut client)?;
    complete(&mut client, &week, Some("same"))?;
    expect_sqlstate(
        client.batch_execute(&format!(
            "UPDATE reporting.report_data_weeks SET status = 'completed', data_checksum = 'same' WHERE id = '{failed}'"
        )),
        "23505",
    );
    Ok(())
}
