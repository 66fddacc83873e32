//! Never more at a time than the settings say, whoever claims and however many.

use super::*;
use anyhow::ensure;
use gemba_tests::{Random, expect_sqlstate, extended};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

#[test]
fn sixteen_claimers_share_the_work_within_both_bounds() -> Result<()> {
    const COLLECTIONS: i32 = 12;
    const WEEKS: i32 = 10;
    const TOTAL: i64 = (COLLECTIONS * WEEKS) as i64;
    const MOST_COLLECTIONS: i64 = 3;
    const MOST_WEEKS: i64 = 5;
    let db = extended("bounds_parallel")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    client.batch_execute(&format!(
        "UPDATE reporting.settings SET max_running_collections = {MOST_COLLECTIONS}, max_running_weeks = {MOST_WEEKS}"
    ))?;
    for flow in more_workflows(&mut client, COLLECTIONS)? {
        backfill(&mut client, &flow, WEEKS)?;
    }
    let (running, most_running, done) = (AtomicI64::new(0), AtomicI64::new(0), AtomicI64::new(0));
    let stop = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(120);
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..16)
            .map(|number| {
                let (db, running, most_running, done) = (&db, &running, &most_running, &done);
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect_as("service_role")?;
                    let mut random = Random::new(number + 1);
                    while done.load(Ordering::SeqCst) < TOTAL {
                        ensure!(Instant::now() < deadline, "not done in time");
                        let Some(week) = claim(&mut client)? else {
                            std::thread::sleep(Duration::from_millis(1 + random.below(3)));
                            continue;
                        };
                        // Counted after the claim and no more before the end: never more than there are.
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        most_running.fetch_max(now, Ordering::SeqCst);
                        if random.one_in(4) {
                            std::thread::sleep(Duration::from_millis(random.below(4)));
                        }
                        running.fetch_sub(1, Ordering::SeqCst);
                        if random.one_in(10) {
                            fail(&mut client, &week)?;
                            if random.one_in(3) {
                                for function in ["pause", "resume"] {
                                    // (Unless somebody has completed its last week meanwhile.)
                                    let _ = client.batch_execute(&format!(
                                        "SELECT reporting.{function}('{}')",
                                        week.collection
                                    ));
                                }
                            }
                        } else {
                            complete(&mut client, &week, Some(&week.start))?;
                            done.fetch_add(1, Ordering::SeqCst);
                        }
                        // Whatever has failed for good is tried again.
                        if random.one_in(20) {
                            call(&mut client, "retry_failed", &week.collection);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let retrier = scope.spawn(|| -> Result<()> {
            let mut client = db.connect()?;
            while !stop.load(Ordering::SeqCst) {
                for collection in table(&mut client, "SELECT collection_id FROM reporting.report_data_collections WHERE status = 'failed'") {
                    call(&mut client, "retry_failed", &collection);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        });
        let watcher = scope.spawn(|| -> Result<(i64, i64)> {
            let mut client = db.connect()?;
            let mut most = (0, 0);
            while !stop.load(Ordering::SeqCst) {
                let row = client.query_one(
                    "SELECT (SELECT count(*) FROM reporting.report_data_collections WHERE status = 'running'),
                            (SELECT count(*) FROM reporting.report_data_weeks WHERE status = 'running')",
                    &[],
                )?;
                most = (most.0.max(row.get(0)), most.1.max(row.get(1)));
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
        let seen = watcher.join().unwrap_or(Ok((i64::MAX, i64::MAX)))?;
        retrier
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))?;
        finished.into_iter().collect::<Result<Vec<_>>>()?;
        ensure!(
            (1..=MOST_COLLECTIONS).contains(&seen.0),
            "{} collections ran at a time",
            seen.0
        );
        ensure!(
            (1..=MOST_WEEKS).contains(&seen.1),
            "{} weeks ran at a time",
            seen.1
        );
        Ok(())
    })?;
    let most = most_running.load(Ordering::SeqCst);
    assert!(most <= MOST_WEEKS, "{most} weeks ran at a time");
    assert_in_order(&mut client, "at the end");
    assert_eq!(
        table(
            &mut client,
            "SELECT status, count(*), sum(weeks_completed) FROM reporting.report_data_collections GROUP BY status"
        ),
        [format!("completed | {COLLECTIONS} | {TOTAL}")]
    );
    Ok(())
}

/// Everybody does everything to the same few collections: nobody waits in a circle, and the counts are right.
#[test]
fn a_crowd_gets_in_nobodys_way() -> Result<()> {
    let db = extended("bounds_crowd")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    client.batch_execute("UPDATE reporting.settings SET max_running_collections = 2, max_attempts = 2, retry_after = '0'")?;
    let flows = more_workflows(&mut client, 4)?;
    let mut collections = Vec::new();
    for flow in &flows {
        collections.push(backfill(&mut client, flow, 30)?);
    }
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..12)
            .map(|number| {
                let (db, collections) = (&db, &collections);
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect_as("service_role")?;
                    let mut random = Random::new(100 + number);
                    for _ in 0..120 {
                        let outcome = match random.below(12) {
                            0 => client.batch_execute(&format!("SELECT reporting.pause('{}')", random.pick(collections))),
                            1 | 2 => client.batch_execute(&format!("SELECT reporting.resume('{}')", random.pick(collections))),
                            3 => client.batch_execute(&format!("SELECT reporting.retry_failed('{}')", random.pick(collections))),
                            4 => client.batch_execute("SELECT reporting.reap_weeks()"),
                            5 if random.one_in(8) => client.batch_execute(&format!("SELECT reporting.cancel('{}')", random.pick(collections))),
                            6 => client.batch_execute(
                                "SELECT reporting.skip_week(id) FROM (SELECT id FROM reporting.report_data_weeks
                                  WHERE status IN ('pending', 'running', 'failed') ORDER BY random() LIMIT 1) AS w",
                            ),
                            7 => client.batch_execute(
                                "UPDATE reporting.report_data_weeks SET error_message = 'looked at'
                                  WHERE id = (SELECT id FROM reporting.report_data_weeks WHERE status = 'pending' ORDER BY random() LIMIT 1)",
                            ),
                            _ => match client.query_opt(&format!("{CLAIM}('crowd', '{} ms')", 1 + random.below(50)), &[]) {
                                Ok(None) => Ok(()),
                                Ok(Some(row)) if random.one_in(3) => fail(&mut client, &claimed(&row)).map(|_| ()),
                                Ok(Some(row)) => complete(&mut client, &claimed(&row), None).map(|_| ()),
                                Err(error) => Err(error),
                            },
                        };
                        if let Err(error) = outcome {
                            expect_sqlstate::<()>(Err(error), "55000");
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        }
        Ok(())
    })?;
    client.batch_execute("SELECT reporting.reap_weeks()")?;
    assert_in_order(&mut client, "after the crowd");
    // Whatever was not cancelled can be brought to its end.
    client.batch_execute(
        "UPDATE reporting.report_data_weeks SET lease_expires_at = now() WHERE status = 'running'",
    )?;
    for _ in 0..20 {
        for collection in &collections {
            if !value(&mut client, &format!("SELECT cancelled_at IS NULL FROM reporting.report_data_collections WHERE collection_id = '{collection}'")).starts_with('f') {
                call(&mut client, "resume", collection);
            }
        }
        work_off(&mut client)?;
    }
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM reporting.report_data_collections WHERE status <> 'completed' AND cancelled_at IS NULL"
        ),
        "0"
    );
    assert_in_order(&mut client, "at the end");
    Ok(())
}

#[test]
fn a_lowered_bound_holds_from_then_on() -> Result<()> {
    let db = extended("bounds_lowered")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    backfill(&mut client, FLOW, 30)?;
    let mut set = |bound: &str| {
        client.batch_execute(&format!(
            "UPDATE reporting.settings SET max_running_weeks = {bound}"
        ))
    };
    set("6")?;
    let mut client = db.connect()?;
    let mut running = Vec::new();
    while let Some(week) = claim(&mut client)? {
        running.push(week);
    }
    assert_eq!(running.len(), 6);
    set("3")?;
    for week in running.drain(..3) {
        assert!(claim(&mut client)?.is_none());
        complete(&mut client, &week, None)?;
    }
    assert!(claim(&mut client)?.is_none());
    complete(&mut client, &running.remove(0), None)?;
    running.push(next(&mut client)?);
    assert!(claim(&mut client)?.is_none());
    set("0")?;
    assert!(claim(&mut client)?.is_none());
    // What began without a bound counts when there is one again.
    set("NULL")?;
    running.push(next(&mut client)?);
    running.push(next(&mut client)?);
    set("5")?;
    assert!(claim(&mut client)?.is_none());
    set("6")?;
    running.push(next(&mut client)?);
    assert!(claim(&mut client)?.is_none());
    assert_eq!(running.len(), 6);
    assert_in_order(&mut client, "at the end");
    Ok(())
}

#[test]
fn collections_wait_for_their_turn() -> Result<()> {
    let db = extended("bounds_collections")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    client.batch_execute("UPDATE reporting.settings SET max_running_collections = 2")?;
    let flows = more_workflows(&mut client, 4)?;
    let mut ids = Vec::new();
    for flow in &flows {
        ids.push(backfill(&mut client, flow, 2)?);
    }
    let states = |client: &mut Client| {
        table(
            client,
            "SELECT status FROM reporting.report_data_collections ORDER BY created_at, id",
        )
        .join(" ")
    };
    let first: Vec<Claimed> = (0..4).map(|_| next(&mut client)).collect::<Result<_>>()?;
    assert_eq!(states(&mut client), "running running pending pending");
    assert!(claim(&mut client)?.is_none());
    // A paused one makes room, and waits when it is to go on and there is none.
    call(&mut client, "pause", &ids[0]);
    assert_eq!(next(&mut client)?.collection, ids[2]);
    assert_eq!(states(&mut client), "paused running running pending");
    fail(&mut client, &first[0])?;
    assert_eq!(call(&mut client, "resume", &ids[0]), "pending");
    assert_eq!(next(&mut client)?.collection, ids[2]);
    assert!(claim(&mut client)?.is_none());
    for week in first.iter().filter(|week| week.collection == ids[1]) {
        complete(&mut client, week, None)?;
    }
    // The oldest comes first.
    assert_eq!(next(&mut client)?.collection, ids[0]);
    assert_eq!(states(&mut client), "running completed running pending");
    client.batch_execute("UPDATE reporting.settings SET max_running_collections = 1")?;
    assert!(claim(&mut client)?.is_none());
    client.batch_execute("UPDATE reporting.settings SET max_running_collections = NULL")?;
    assert_eq!(next(&mut client)?.collection, ids[3]);
    client.batch_execute("UPDATE reporting.settings SET max_running_collections = 3")?;
    assert_in_order(&mut client, "at the end");
    Ok(())
}

#[test]
fn a_claim_that_is_not_committed_waits_for_nobody_and_keeps_nobody() -> Result<()> {
    let db = extended("bounds_open")?;
    let (mut first, mut second) = (db.connect()?, db.connect()?);
    furnish(&mut first)?;
    let id = backfill(&mut first, FLOW, 3)?;
    first.batch_execute("UPDATE reporting.settings SET max_running_weeks = 2")?;
    second.batch_execute("SET lock_timeout = '1s'")?;
    // While one brings the collection in, there is nothing for others.
    let mut open = first.transaction()?;
    assert_eq!(
        claimed(&open.query_one(&format!("{CLAIM}('one')"), &[])?).start,
        "2025-06-08"
    );
    assert!(claim(&mut second)?.is_none());
    open.rollback()?;
    assert_eq!(next(&mut second)?.start, "2025-06-08");
    // One place is about to be taken, the other is: there is none.
    let mut open = first.transaction()?;
    let held = claimed(&open.query_one(&format!("{CLAIM}('one')"), &[])?);
    assert_eq!(held.start, "2025-06-15");
    assert!(claim(&mut second)?.is_none());
    second.batch_execute("UPDATE reporting.settings SET max_running_weeks = 3")?;
    assert_eq!(next(&mut second)?.start, "2025-06-22");
    open.rollback()?;
    assert_eq!(next(&mut second)?.start, "2025-06-15");
    assert_eq!(stands(&mut second, &id), "running 0 0 0 0");
    Ok(())
}
