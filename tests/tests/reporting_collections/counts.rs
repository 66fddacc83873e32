//! Counts, progress and status are what the weeks say, whoever writes what.

use super::*;
use gemba_tests::{Random, expect_sqlstate, extended};
use std::collections::BTreeMap;

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
