//! Everybody at once.

use super::plant_rows::*;
use super::{keep_all, machines, with_plant};
use anyhow::Result;
use gemba_tests::{Database, expect_sqlstate};
use postgres::Client;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const CLIENTS: u64 = 8;

/// Every client sends its batches; returns all answers.
fn send(
    db: &Database<'_>,
    pipeline: &'static str,
    batches: Vec<Vec<Vec<Value>>>,
) -> Result<Vec<Answer>> {
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for batches in batches {
            let mut session = db.connect()?;
            clients.push(scope.spawn(move || {
                batches
                    .iter()
                    .map(|batch| ingest(&mut session, pipeline, &json!(batch)))
                    .collect::<Result<Vec<Answer>, _>>()
            }));
        }
        let mut answers = Vec::new();
        for client in clients {
            answers.extend(
                client
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
            );
        }
        Ok(answers)
    })
}

/// Overlapping batches for each client, out of these rows, in orders of its own.
fn overlapping(rows: &[Value], batches: u64, size: usize) -> Vec<Vec<Vec<Value>>> {
    (0..CLIENTS)
        .map(|client| {
            let mut random = Random::new(client + 1);
            (0..batches)
                .map(|_| {
                    let mut some = rows.to_vec();
                    random.shuffle(&mut some);
                    some.truncate(size);
                    some
                })
                .collect()
        })
        .collect()
}

/// How many different rows were sent, by the text of what they are about.
fn distinct(batches: &[Vec<Vec<Value>>], about: &[&str]) -> usize {
    batches
        .iter()
        .flatten()
        .flatten()
        .map(|row| {
            about
                .iter()
                .map(|field| row[*field].to_string())
                .collect::<Vec<_>>()
        })
        .collect::<BTreeSet<_>>()
        .len()
}

fn sum(answers: &[Answer], of: fn(&Answer) -> i64) -> i64 {
    answers.iter().map(of).sum()
}

/// Snapshots of ten machines in one hour of each of these days.
fn snapshots(days: &[u32]) -> Vec<Value> {
    let mut rows = Vec::new();
    for day in days {
        for machine in 1..=10 {
            for minute in 0..30 {
                rows.push(json!({"source_id": format!("A{machine}"), "snapshot_timestamp": format!("2026-05-{day:02}T10:{minute:02}:00Z"),
                                 "current_output": machine * minute, "target_output": 100}));
            }
        }
    }
    rows
}

#[test]
fn the_same_snapshots_from_everybody() -> Result<()> {
    let (db, mut client) = with_plant("many_same_snapshots")?;
    keep_all(&mut client)?;
    machines(&mut client, 10)?;
    client.batch_execute(
        "SELECT gemba.ensure_partitions('plant.live_snapshots', '2026-05-10', '2026-05-13')",
    )?;
    let batches = overlapping(&snapshots(&[10, 11, 12]), 12, 300);
    let rows = distinct(&batches, &["source_id", "snapshot_timestamp"]);
    let answers = send(&db, "live", batches)?;
    assert_eq!(sum(&answers, |a| a.read), 8 * 12 * 300);
    assert_eq!(sum(&answers, |a| a.rejected), 0);
    assert_eq!(sum(&answers, |a| a.inserted), rows as i64);
    assert_eq!(
        sum(&answers, |a| a.updated),
        0,
        "what is the same is left alone"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), count(DISTINCT (asset_id, snapshot_timestamp)),
                    count(*) FILTER (WHERE current_output IS DISTINCT FROM substr(a.name, 9)::int * extract(minute FROM snapshot_timestamp))
               FROM plant.live_snapshots l JOIN plant.assets a ON a.id = l.asset_id"
        ),
        [format!("{rows} | {rows} | 0")]
    );
    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    assert_eq!(
        value(&mut client, "SELECT sum(snapshots) FROM plant.live_hourly"),
        rows.to_string()
    );
    Ok(())
}

/// Nobody has made the days before.
#[test]
fn new_days_from_everybody() -> Result<()> {
    let (db, mut client) = with_plant("many_new_days")?;
    keep_all(&mut client)?;
    // Only one at a time makes partitions, and the others wait for as long as this says.
    client.batch_execute(&format!(
        "ALTER DATABASE \"{}\" SET gemba.lock_patience = '120s'",
        db.name()
    ))?;
    machines(&mut client, 10)?;
    let days: Vec<u32> = (1..=28).collect();
    let batches = overlapping(&snapshots(&days), 6, 200);
    let rows = distinct(&batches, &["source_id", "snapshot_timestamp"]);
    let answers = send(&db, "live", batches)?;
    assert_eq!(sum(&answers, |a| a.inserted), rows as i64);
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.live_snapshots"),
        rows.to_string()
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM gemba.partitions WHERE parent = 'plant.live_snapshots'::regclass AND from_time < '2026-06-01'"
        ),
        "28"
    );
    Ok(())
}

#[test]
fn differing_snapshots_and_events_from_everybody() -> Result<()> {
    let (db, mut client) = with_plant("many_differing")?;
    keep_all(&mut client)?;
    machines(&mut client, 10)?;
    client.batch_execute(
        "SELECT gemba.ensure_partitions('plant.live_snapshots', '2026-05-10', '2026-05-12')",
    )?;
    let mut batches = overlapping(&snapshots(&[10, 11]), 12, 250);
    for (client, batches) in batches.iter_mut().enumerate() {
        for (number, row) in batches.iter_mut().flatten().enumerate() {
            row["current_output"] = json!(1000 * (client + 1) + number % 3);
            // Some are events as well, half of these with a number that others use, too.
            if number % 5 == 0 {
                row["reason_code"] = json!("Safety Issue");
                if number % 2 == 0 {
                    row["source_record_id"] = json!(format!("R-{}", number % 70));
                }
            }
        }
    }
    let rows = distinct(&batches, &["source_id", "snapshot_timestamp"]);
    let events: BTreeSet<String> = batches
        .iter()
        .flatten()
        .flatten()
        .filter(|row| row["reason_code"].is_string())
        .map(|row| match row["source_record_id"].as_str() {
            Some(record) => record.to_owned(),
            None => format!("{} {}", row["source_id"], row["snapshot_timestamp"]),
        })
        .collect();
    let answers = send(&db, "live", batches)?;
    assert_eq!(sum(&answers, |a| a.read), 8 * 12 * 250);
    assert_eq!(sum(&answers, |a| a.rejected), 0);
    assert_eq!(sum(&answers, |a| a.inserted), rows as i64);
    assert!(sum(&answers, |a| a.updated) > rows as i64);
    assert_eq!(sum(&answers, |a| a.safety_events), events.len() as i64);
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), count(DISTINCT (asset_id, snapshot_timestamp)), count(*) FILTER (WHERE current_output NOT BETWEEN 1000 AND 8002)
               FROM plant.live_snapshots"
        ),
        [format!("{rows} | {rows} | 0")]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), (SELECT count(*) FROM plant.safety_event_log) FROM plant.safety_events"
        ),
        [format!("{0} | {0}", events.len())]
    );
    Ok(())
}

#[test]
fn overlapping_days_from_everybody() -> Result<()> {
    let (db, mut client) = with_plant("many_days")?;
    machines(&mut client, 10)?;
    let rows: Vec<Value> = (0..300)
        .map(|i| {
            json!({"source_id": format!("A{}", 1 + i % 10), "report_date": format!("2026-01-{:02}", 1 + i / 10),
                   "total_count": 500 + i, "good_count": 400 + (i * i) % 99, "downtime_minutes": 5})
        })
        .collect();
    let batches = overlapping(&rows, 5, 120);
    let sent = distinct(&batches, &["source_id", "report_date"]);
    let answers = send(&db, "daily", batches)?;
    assert_eq!(sum(&answers, |a| a.read), 8 * 5 * 120);
    assert_eq!(sum(&answers, |a| a.inserted), sent as i64);
    assert_eq!(
        (sum(&answers, |a| a.updated), sum(&answers, |a| a.rejected)),
        (0, 0)
    );
    // The sentences are those of one call that knows everything.
    let found = "SELECT asset_id, report_date, actual_output, oee_percentage, smart_summary_text FROM plant.daily_summaries";
    client.batch_execute(&format!(
        "CREATE TABLE public.many AS {found}; DELETE FROM plant.daily_summaries"
    ))?;
    ingest(&mut client, "daily", &json!(rows))?;
    assert_same(
        &mut client,
        "SELECT * FROM public.many",
        &format!(
            "SELECT * FROM ({found}) AS alone WHERE (asset_id, report_date) IN (SELECT asset_id, report_date FROM public.many)"
        ),
        "many against one",
    );
    assert_eq!(sent, 300, "so that none is missing from anybody's past");
    Ok(())
}

/// Ingestion while partitions are made and dropped: nobody fails, and nothing that was accepted is missing.
#[test]
fn while_partitions_are_maintained() -> Result<()> {
    let (db, mut client) = with_plant("ingest_maintained")?;
    machines(&mut client, 10)?;
    const BATCH: &str = "ingest_live((SELECT jsonb_agg(jsonb_build_object('source_id', 'A' || m, 'snapshot_timestamp',
        now() - interval '1 hour' * (n % 24) - interval '1 microsecond' * n, 'current_output', n)) FROM generate_series(1, 5) AS m, generate_series(%FROM%, %TO%) AS n))";
    let stop = AtomicBool::new(false);
    let accepted = thread::scope(|scope| -> Result<i64> {
        let mut maintainers = Vec::new();
        for _ in 0..2 {
            let (mut session, stop) = (db.connect()?, &stop);
            maintainers.push(scope.spawn(move || -> Result<Vec<String>, postgres::Error> {
                let mut errors = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    for row in session.query("SELECT partition, action, detail FROM gemba.maintain_partitions() WHERE action = 'failed'", &[])? {
                        errors.push(format!("{:?} {:?}", row.get::<_, Option<String>>(0), row.get::<_, Option<String>>(2)));
                    }
                }
                Ok(errors)
            }));
        }
        // Somebody who makes days of long ago again and again, which are then dropped.
        let (mut session, stopped) = (db.connect()?, &stop);
        let maker = scope.spawn(move || -> Result<i64, postgres::Error> {
            let mut made = 0;
            while !stopped.load(Ordering::Relaxed) {
                made += session.query(
                    "SELECT * FROM gemba.ensure_partitions('plant.live_snapshots', now() - interval '9 days', now() - interval '7 days')", &[])?.len() as i64;
            }
            Ok(made)
        });
        let mut clients = Vec::new();
        for number in 0..4 {
            let mut session = db.connect()?;
            clients.push(scope.spawn(move || -> Result<i64, postgres::Error> {
                let mut inserted = 0;
                for turn in 0..25 {
                    let from = number * 100_000 + turn * 100;
                    let answer = call(
                        &mut session,
                        &BATCH
                            .replace("%FROM%", &from.to_string())
                            .replace("%TO%", &(from + 59).to_string()),
                    )?;
                    assert_eq!(answer.rejected, 0, "{answer:?}");
                    inserted += answer.inserted;
                }
                Ok(inserted)
            }));
        }
        let outcomes: Vec<_> = clients
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        stop.store(true, Ordering::Relaxed);
        let mut sum = 0;
        for outcome in outcomes {
            sum += outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        for maintainer in maintainers {
            let errors = maintainer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            assert_eq!(errors, [""; 0]);
        }
        let made = maker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        assert!(made > 1, "days were made and dropped again: {made}");
        Ok(sum)
    })?;
    assert!(accepted > 4 * 25 * 250, "{accepted}");
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.live_snapshots"),
        accepted.to_string()
    );
    Ok(())
}

/// Refreshes of the hours in between do not lose a row.
#[test]
fn while_hours_are_refreshed() -> Result<()> {
    let (db, mut client) = with_plant("ingest_refreshed")?;
    keep_all(&mut client)?;
    machines(&mut client, 10)?;
    client.batch_execute(
        "SELECT gemba.ensure_partitions('plant.live_snapshots', '2026-05-10', '2026-05-12')",
    )?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let (mut session, stopped) = (db.connect()?, &stop);
        let refresher = scope.spawn(move || -> Result<usize, postgres::Error> {
            let mut turns = 0;
            while !stopped.load(Ordering::Relaxed) {
                for row in session.query("SELECT error FROM gemba.refresh_rollups()", &[])? {
                    assert_eq!(row.get::<_, Option<String>>(0), None);
                }
                turns += 1;
            }
            Ok(turns)
        });
        let mut batches = overlapping(&snapshots(&[10, 11]), 8, 150);
        for (client, batches) in batches.iter_mut().enumerate() {
            for row in batches.iter_mut().flatten() {
                row["current_output"] = json!(client);
            }
        }
        let sent = send(&db, "live", batches);
        stop.store(true, Ordering::Relaxed);
        let turns = refresher
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        assert!(turns > 0);
        sent.map(drop)
    })?;
    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    assert_same(
        &mut client,
        "SELECT bucket, asset_id, snapshots, current_output, lowest_variance, highest_variance FROM plant.live_hourly",
        "SELECT date_trunc('hour', snapshot_timestamp), asset_id, count(*), (array_agg(current_output ORDER BY snapshot_timestamp DESC))[1],
                min(output_variance), max(output_variance) FROM plant.live_snapshots GROUP BY 1, 2",
        "hours",
    );
    Ok(())
}

/// A call of either pipeline for the press and the lathe.
fn both(client: &mut Client, pipeline: &str) -> Result<Answer, postgres::Error> {
    let rows = if pipeline == "daily" {
        json!([{"source_id": "P1", "report_date": "2026-01-15", "total_count": 1}, {"source_id": "L4", "report_date": "2026-01-15", "total_count": 1}])
    } else {
        json!([{"source_id": "P1", "snapshot_timestamp": "2026-05-10T10:00Z", "current_output": 1},
               {"source_id": "L4", "snapshot_timestamp": "2026-05-10T10:00Z", "current_output": 1}])
    };
    ingest(client, pipeline, &rows)
}

#[test]
fn a_machine_that_is_deleted_meanwhile() -> Result<()> {
    let (db, mut client) = with_plant("ingest_deleted")?;
    keep_all(&mut client)?;
    client.batch_execute(
        "SELECT gemba.ensure_partitions('plant.live_snapshots', '2026-05-10', '2026-05-11')",
    )?;
    for pipeline in ["daily", "live"] {
        // Deleted first: ingestion waits, and then the machine is unknown to it.
        thread::scope(|scope| -> Result<()> {
            let mut deleter = db.connect()?;
            deleter.batch_execute(&format!(
                "BEGIN; DELETE FROM plant.assets WHERE id = '{PRESS}'"
            ))?;
            let mut session = db.connect()?;
            let pid = backend(&mut session);
            let run = scope.spawn(move || both(&mut session, pipeline));
            wait_until("ingestion waits", || waits(&mut client, pid));
            deleter.batch_execute("COMMIT")?;
            let answer = run
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            assert_eq!(answer.counts(), (1, 0, 0, 1), "{answer:?}");
            assert_eq!(answer.rejects[0].1.as_deref(), Some("source_id"));
            Ok(())
        })?;
        client.batch_execute(&format!(
            "INSERT INTO plant.assets (id, name, source_id) VALUES ('{PRESS}', 'Press 1', 'P1')"
        ))?;
        // Ingested first: the deletion waits, and takes along what came.
        thread::scope(|scope| -> Result<()> {
            let mut ingester = db.connect()?;
            ingester.batch_execute("BEGIN")?;
            assert_eq!(both(&mut ingester, pipeline)?.counts(), (1, 0, 1, 0));
            let mut session = db.connect()?;
            let pid = backend(&mut session);
            let run = scope.spawn(move || {
                session.execute("DELETE FROM plant.assets WHERE source_id = 'P1'", &[])
            });
            wait_until("the deletion waits", || waits(&mut client, pid));
            ingester.batch_execute("COMMIT")?;
            assert_eq!(
                run.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                1
            );
            Ok(())
        })?;
        let relation = if pipeline == "daily" {
            "daily_summaries"
        } else {
            "live_snapshots"
        };
        assert_eq!(
            value(
                &mut client,
                &format!("SELECT count(*) FROM plant.{relation}")
            ),
            "1"
        );
        client.batch_execute(&format!(
            "INSERT INTO plant.assets (id, name, source_id) VALUES ('{PRESS}', 'Press 1', 'P1')"
        ))?;
    }
    // A machine with safety events stays.
    ingest(
        &mut client,
        "live",
        &json!([{"source_id": "P1", "snapshot_timestamp": "2026-05-10T11:00Z", "reason_code": "Safety Issue"}]),
    )?;
    let code = if db.cluster().major() < 18 {
        "23503"
    } else {
        "23001"
    };
    expect_sqlstate(
        client.execute("DELETE FROM plant.assets WHERE source_id = 'P1'", &[]),
        code,
    );
    Ok(())
}

/// A deletion that has locked its machine, but has not come to the machine's days yet.
#[test]
fn a_deletion_that_is_under_way() -> Result<()> {
    let (db, mut client) = with_plant("ingest_deletion_order")?;
    keep_all(&mut client)?;
    client.batch_execute(
        "SELECT gemba.ensure_partitions('plant.live_snapshots', '2026-05-10', '2026-05-11')",
    )?;
    for pipeline in ["live", "daily"] {
        thread::scope(|scope| -> Result<()> {
            let mut deleter = db.connect()?;
            deleter.batch_execute(&format!(
                "BEGIN; SELECT FROM plant.assets WHERE id = '{PRESS}' FOR UPDATE"
            ))?;
            let mut session = db.connect()?;
            let pid = backend(&mut session);
            let run = scope.spawn(move || both(&mut session, pipeline));
            wait_until("ingestion waits", || waits(&mut client, pid));
            let deleted = deleter.execute("DELETE FROM plant.assets WHERE source_id = 'P1'", &[]);
            deleter.batch_execute("COMMIT")?;
            let answer = run
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // Neither of them is the other's deadlock.
            assert_eq!(deleted?, 1, "{pipeline}");
            assert_eq!(answer?.rejected, 1, "{pipeline}");
            Ok(())
        })?;
        client.batch_execute(&format!(
            "INSERT INTO plant.assets (id, name, source_id) VALUES ('{PRESS}', 'Press 1', 'P1')"
        ))?;
    }
    Ok(())
}

/// A transaction that cannot see what others wrote fails, rather than write on top of it.
#[test]
fn a_snapshot_from_before() -> Result<()> {
    let (db, mut client) = with_plant("ingest_old_snapshot")?;
    keep_all(&mut client)?;
    client.batch_execute(
        "SELECT gemba.ensure_partitions('plant.live_snapshots', '2026-05-10', '2026-05-11')",
    )?;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        for pipeline in ["daily", "live"] {
            client.batch_execute(
                "DELETE FROM plant.daily_summaries; DELETE FROM plant.live_snapshots",
            )?;
            let mut old = db.connect()?;
            old.batch_execute(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM plant.assets"
            ))?;
            assert_eq!(both(&mut client, pipeline)?.inserted, 2);
            if pipeline == "daily" {
                // Its sentences would compare with days that it cannot see.
                let error = expect_sqlstate(both(&mut old, pipeline), "25001");
                assert!(
                    error
                        .hint()
                        .is_some_and(|hint| hint.contains("READ COMMITTED"))
                );
                continue;
            }
            expect_sqlstate(both(&mut old, pipeline), "40001");
            old.batch_execute("ROLLBACK")?;
            // With a new one all is well.
            old.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}"))?;
            assert_eq!(both(&mut old, pipeline)?.counts(), (0, 0, 2, 0));
            old.batch_execute("COMMIT")?;
        }
    }
    Ok(())
}
