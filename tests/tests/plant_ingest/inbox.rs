//! The pipelines for clients that COPY.

use super::plant_rows::*;
use super::{keep_all, machines, with_plant};
use anyhow::Result;
use gemba_tests::{as_user, expect_sqlstate};
use postgres::Client;
use serde_json::json;
use std::io::Write as _;
use std::thread;

/// COPYs into a table as the application's server does.
fn copy(client: &mut Client, into: &str, data: &str) -> Result<u64> {
    Ok(as_user(client, "service_role", None, |tx| {
        let mut writer = tx.copy_in(&format!("COPY plant.{into}"))?;
        writer
            .write_all(data.as_bytes())
            .unwrap_or_else(|error| panic!("{error}"));
        writer.finish()
    })?)
}

fn process(client: &mut Client, function: &str) -> Result<Answer> {
    Ok(as_user(client, "service_role", None, |tx| {
        call(tx, function)
    })?)
}

#[test]
fn days_from_csv_and_text() -> Result<()> {
    let (_db, mut client) = with_plant("inbox_daily")?;
    let rows = copy(
        &mut client,
        "daily_inbox (source_id, report_date, total_count, good_count, downtime_minutes) FROM STDIN WITH (FORMAT csv, HEADER)",
        "source,date,total,good,down\r\nP1,2026-01-15,700,600,80\r\n\"L4\",2026-01-15,\"500\",,0\r\nP1,2026-01-16,,,\r\n\
         \"no,\"\"such\"\"\",2026-01-15,1,1,1\r\nP1,2026-01-17,7e2,\" 600 \",\r\nM7,2026-01-15,abc,1,1\r\n",
    )?;
    assert_eq!(rows, 6);
    let rows = copy(
        &mut client,
        "daily_inbox (asset_id, report_date, total_count, waste_count, planned_minutes, ideal_cycle_seconds, target_output) FROM STDIN",
        &format!(
            "{MILL}\t2026-01-16\t100\t10\t100\t30\t\\N\n{MILL}\t2026-01-17\t100\t\\N\t\\N\t\\N\t5\nx\\ty\t2026-01-17\t1\t\\N\t\\N\t\\N\t\\N\n"
        ),
    )?;
    assert_eq!(rows, 3);
    let answer = process(&mut client, "process_daily()")?;
    assert_eq!(
        (answer.read, answer.counts()),
        (9, (5, 0, 0, 4)),
        "{answer:?}"
    );
    let told: Vec<(i64, Option<&str>)> = answer
        .rejects
        .iter()
        .map(|r| (r.0, r.1.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            (3, Some("total_count")),
            (4, Some("source_id")),
            (6, Some("total_count")),
            (9, Some("asset_id"))
        ]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT a.source_id, d.report_date, d.oee_percentage, d.actual_output, d.good_count, d.target_output, d.downtime_minutes, d.estimated
               FROM plant.daily_summaries d JOIN plant.assets a ON a.id = d.asset_id ORDER BY 1, 2"
        ),
        [
            "L4 | 2026-01-15 | 50.00 | 500 | 500 | - | 0 | {ideal_rate,cost_per_unit,good_count}",
            "M7 | 2026-01-16 | 45.00 | 100 | 90 | - | 0 | {downtime_minutes,hourly_rate,cost_per_unit}",
            "M7 | 2026-01-17 | 12.50 | 100 | 100 | 5 | 0 | {planned_minutes,downtime_minutes,ideal_rate,hourly_rate,cost_per_unit,good_count}",
            "P1 | 2026-01-15 | 62.50 | 700 | 600 | - | 80 | {}",
            "P1 | 2026-01-17 | 62.50 | 700 | 600 | - | 0 | {downtime_minutes}",
        ]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT row_number, raw::jsonb FROM plant.ingest_rejects WHERE field <> 'total_count' ORDER BY 1"
        ),
        [
            r#"4 | {"source_id": "no,\"such\"", "good_count": "1", "report_date": "2026-01-15", "total_count": "1", "downtime_minutes": "1"}"#,
            r#"9 | {"asset_id": "x\ty", "report_date": "2026-01-17", "total_count": "1"}"#,
        ]
    );
    // Nothing waits any more.
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.daily_inbox"),
        "0"
    );
    assert_eq!(process(&mut client, "process_daily()")?, Answer::default());
    Ok(())
}

#[test]
fn snapshots_from_csv_and_text() -> Result<()> {
    let (_db, mut client) = with_plant("inbox_live")?;
    keep_all(&mut client)?;
    client.batch_execute("UPDATE plant.settings SET time_zone = 'Europe/Berlin'")?;
    copy(
        &mut client,
        "live_inbox (source_id, snapshot_timestamp, current_output, target_output, reason_code, description, source_record_id) FROM STDIN WITH (FORMAT csv)",
        "P1,2026-05-10 10:00,100,100,,,\nP1,2026-05-10T10:15:00Z,90,100,Safety Issue,\"two\nlines, \"\"quoted\"\"\",S-1\n\
         L4,2026-05-10 10:00,,,Safety Issue,,S-2\nL4,2026-05-10 10:00,,,Lunch,,\n",
    )?;
    copy(
        &mut client,
        "live_inbox (asset_id, snapshot_timestamp, current_output) FROM STDIN",
        &format!("{MILL}\t2026-05-10 10:00:00.5+05:30\t7\n{MILL}\tsoon\t7\n"),
    )?;
    let answer = process(&mut client, "process_live()")?;
    assert_eq!(
        (answer.counts(), answer.safety_events),
        ((3, 0, 1, 2), 2),
        "{answer:?}"
    );
    let told: Vec<(i64, Option<&str>)> = answer
        .rejects
        .iter()
        .map(|r| (r.0, r.1.as_deref()))
        .collect();
    assert_eq!(
        told,
        [(4, Some("current_output")), (6, Some("snapshot_timestamp"))]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT a.source_id, l.snapshot_timestamp, l.current_output, l.status FROM plant.live_snapshots l JOIN plant.assets a ON a.id = l.asset_id ORDER BY 1, 2"
        ),
        [
            "M7 | 2026-05-10 04:30:00.5+00 | 7 | -",
            "P1 | 2026-05-10 08:00:00+00 | 100 | on_target",
            "P1 | 2026-05-10 10:15:00+00 | 90 | behind",
        ]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT source_record_id, event_timestamp, description FROM plant.safety_events ORDER BY 1"
        ),
        [
            "S-1 | 2026-05-10 10:15:00+00 | two\nlines, \"quoted\"",
            "S-2 | 2026-05-10 08:00:00+00 | -"
        ]
    );
    Ok(())
}

#[test]
fn some_at_a_time_and_the_oldest_first() -> Result<()> {
    let (_db, mut client) = with_plant("inbox_some")?;
    let lines: String = (1..=25)
        .map(|n| format!("P1\t2026-01-{n:02}\t{n}\n"))
        .collect();
    copy(
        &mut client,
        "daily_inbox (source_id, report_date, total_count) FROM STDIN",
        &lines,
    )?;
    for (most, read) in [(10, 10), (1, 1), (10, 10), (10_000, 4), (1, 0)] {
        let done =
            value(&mut client, "SELECT count(*) FROM plant.daily_summaries").parse::<i64>()?;
        assert_eq!(
            process(&mut client, &format!("process_daily({most})"))?.inserted,
            read
        );
        assert_eq!(
            value(
                &mut client,
                "SELECT coalesce(max(actual_output), 0) FROM plant.daily_summaries"
            ),
            (done + read).to_string()
        );
    }
    for most in ["0", "-1", "-2147483648"] {
        for pipeline in ["daily", "live"] {
            let error = refused(
                &mut client,
                &format!("SELECT plant.process_{pipeline}({most})"),
                "22023",
            );
            assert_eq!(error.detail(), Some(format!("max_rows {most}").as_str()));
            assert!(error.hint().is_some());
        }
    }
    // However the server joins, no more than were asked for.
    copy(
        &mut client,
        "daily_inbox (source_id, report_date, total_count) FROM STDIN",
        &lines,
    )?;
    client.batch_execute("ANALYZE plant.daily_inbox")?;
    for settings in [
        "SET enable_hashjoin = off; SET enable_mergejoin = off",
        "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_material = off",
        "RESET ALL; SET enable_nestloop = off; SET enable_hashjoin = off",
        "RESET ALL; SET enable_nestloop = off",
    ] {
        client.batch_execute(settings)?;
        assert_eq!(
            process(&mut client, "process_daily(5)")?.counts(),
            (0, 0, 5, 0),
            "{settings}"
        );
    }
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.daily_inbox"),
        "5"
    );
    Ok(())
}

/// What fails leaves its rows where they were.
#[test]
fn a_failure_leaves_the_rows_waiting() -> Result<()> {
    let (_db, mut client) = with_plant("inbox_failure")?;
    keep_all(&mut client)?;
    copy(
        &mut client,
        "live_inbox (source_id, snapshot_timestamp, current_output) FROM STDIN",
        "P1\t2026-05-10 10:00\t1\nbad\t2026-05-10 10:00\t2\n",
    )?;
    copy(
        &mut client,
        "daily_inbox (source_id, report_date, total_count) FROM STDIN",
        "P1\t2026-05-10\t1\nbad\t2026-05-10\t1\n",
    )?;
    client.batch_execute(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON plant.live_snapshots FOR EACH ROW EXECUTE FUNCTION public.refuse();
         CREATE TRIGGER refuse BEFORE INSERT ON plant.daily_summaries FOR EACH ROW EXECUTE FUNCTION public.refuse()",
    )?;
    let waiting = "SELECT (SELECT count(*) FROM plant.live_inbox), (SELECT count(*) FROM plant.daily_inbox), (SELECT count(*) FROM plant.ingest_rejects)";
    for pipeline in ["live", "daily"] {
        expect_sqlstate(
            client.execute(&format!("SELECT * FROM plant.process_{pipeline}()"), &[]),
            "53100",
        );
        assert_eq!(table(&mut client, waiting), ["2 | 2 | 0"]);
    }
    client.batch_execute(
        "DROP TRIGGER refuse ON plant.live_snapshots; DROP TRIGGER refuse ON plant.daily_summaries",
    )?;
    for pipeline in ["live", "daily"] {
        assert_eq!(
            process(&mut client, &format!("process_{pipeline}()"))?.counts(),
            (1, 0, 0, 1)
        );
    }
    assert_eq!(table(&mut client, waiting), ["0 | 0 | 2"]);
    Ok(())
}

#[test]
fn two_at_once_take_turns() -> Result<()> {
    let (db, mut client) = with_plant("inbox_shared")?;
    keep_all(&mut client)?;
    machines(&mut client, 10)?;
    // Making a day's partition is work of its own, which only one can do.
    client.batch_execute(
        "SELECT gemba.ensure_partitions('plant.live_snapshots', '2026-05-10', '2026-05-11')",
    )?;
    for pipeline in ["live", "daily"] {
        let (into, lines): (&str, String) = if pipeline == "live" {
            (
                "live_inbox (source_id, snapshot_timestamp, current_output) FROM STDIN",
                (0..200)
                    .map(|n| format!("A{}\t2026-05-10 10:{:02}\t{n}\n", 1 + n % 10, n / 10))
                    .collect(),
            )
        } else {
            (
                "daily_inbox (source_id, report_date, total_count) FROM STDIN",
                (0..200)
                    .map(|n| format!("A{}\t2026-01-{:02}\t{n}\n", 1 + n % 10, 1 + n / 10))
                    .collect(),
            )
        };
        copy(&mut client, into, &lines)?;
        thread::scope(|scope| -> Result<()> {
            let mut first = db.connect()?;
            first.batch_execute("BEGIN")?;
            let taken = call(&mut first, &format!("process_{pipeline}(80)"))?;
            assert_eq!(taken.counts(), (80, 0, 0, 0));
            // The second one waits for its turn, so that no older row comes after a newer one.
            let mut second = db.connect()?;
            let pid = backend(&mut second);
            let run = scope.spawn(move || call(&mut second, &format!("process_{pipeline}(1000)")));
            wait_until("the second one waits", || waits(&mut client, pid));
            first.batch_execute("ROLLBACK")?;
            let others = run
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            // What the first one undid was waiting again.
            assert_eq!(others.counts(), (200, 0, 0, 0), "{pipeline}: {others:?}");
            Ok(())
        })?;
        assert_eq!(
            process(&mut client, &format!("process_{pipeline}()"))?.counts(),
            (0, 0, 0, 0)
        );
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT (SELECT count(*) || ' ' || sum(current_output) FROM plant.live_snapshots), (SELECT count(*) || ' ' || sum(actual_output) FROM plant.daily_summaries)"
        ),
        ["200 19900 | 200 19900"]
    );
    Ok(())
}

/// While another session makes the day that a row needs, and stays open, the row waits in the inbox.
#[test]
fn a_day_that_somebody_else_is_making() -> Result<()> {
    let (db, mut client) = with_plant("inbox_new_day")?;
    keep_all(&mut client)?;
    copy(
        &mut client,
        "live_inbox (source_id, snapshot_timestamp, current_output) FROM STDIN",
        "P1\t2026-05-10 10:00\t1\nP1\t2026-05-10 10:01\t2\n",
    )?;
    let mut first = db.connect()?;
    first.batch_execute("BEGIN")?;
    assert_eq!(call(&mut first, "process_live(1)")?.inserted, 1);
    client.batch_execute("SET gemba.lock_patience = '50ms'")?;
    let row =
        json!([{"source_id": "P1", "snapshot_timestamp": "2026-05-10 10:02", "current_output": 3}]);
    let error = expect_sqlstate(
        client.execute("SELECT * FROM plant.ingest_live($1)", &[&row]),
        "55P03",
    );
    assert!(error.hint().is_some(), "{error:?}");
    first.batch_execute("COMMIT")?;
    assert_eq!(
        process(&mut client, "process_live()")?.counts(),
        (1, 0, 0, 0)
    );
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.live_snapshots"),
        "2"
    );
    Ok(())
}

/// Several sessions that take small portions until nothing is left.
#[test]
fn many_processors_take_each_row_once() -> Result<()> {
    let (db, mut client) = with_plant("inbox_many")?;
    keep_all(&mut client)?;
    machines(&mut client, 20)?;
    let lines: String = (0..4000)
        .map(|n| {
            format!(
                "A{}\t2026-05-10 {:02}:{:02}\t{n}\n",
                1 + n % 20,
                n / 20 / 60,
                n / 20 % 60
            )
        })
        .collect();
    copy(
        &mut client,
        "live_inbox (source_id, snapshot_timestamp, current_output) FROM STDIN",
        &lines,
    )?;
    let taken: i64 = thread::scope(|scope| -> Result<i64> {
        let mut runs = Vec::new();
        for portion in [7, 50, 113, 400] {
            let mut session = db.connect()?;
            runs.push(scope.spawn(move || -> Result<i64, postgres::Error> {
                let mut inserted = 0;
                loop {
                    let answer = call(&mut session, &format!("process_live({portion})"))?;
                    assert!(answer.read <= portion, "{answer:?}");
                    assert_eq!(answer.inserted, answer.read, "{answer:?}");
                    if answer.read == 0 {
                        return Ok(inserted);
                    }
                    inserted += answer.inserted;
                }
            }));
        }
        let mut sum = 0;
        for run in runs {
            sum += run
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(sum)
    })?;
    assert_eq!(taken, 4000);
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) || ' ' || sum(current_output) FROM plant.live_snapshots"
        ),
        format!("4000 {}", (0..4000).sum::<i32>())
    );
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.live_inbox"),
        "0"
    );
    Ok(())
}

#[test]
fn who_may_put_rows_there() -> Result<()> {
    let (_db, mut client) = with_plant("inbox_roles")?;
    for inbox in ["daily_inbox", "live_inbox"] {
        for role in ["authenticated", "anon"] {
            refused_as(
                &mut client,
                role,
                &format!("INSERT INTO plant.{inbox} (source_id) VALUES ('P1')"),
                "42501",
            );
            refused_as(
                &mut client,
                role,
                &format!("SELECT * FROM plant.{inbox}"),
                "42501",
            );
        }
        as_user(&mut client, "service_role", None, |tx| {
            tx.batch_execute(&format!(
                "INSERT INTO plant.{inbox} (source_id) VALUES ('P1'); DELETE FROM plant.{inbox}"
            ))
        })?;
    }
    refused_as(
        &mut client,
        "authenticated",
        "SELECT * FROM plant.ingest_rejects",
        "42501",
    );
    ingest(&mut client, "daily", &json!([1]))?;
    assert_eq!(
        table_as(
            &mut client,
            "service_role",
            "SELECT raw FROM plant.ingest_rejects"
        ),
        ["1"]
    );
    Ok(())
}
