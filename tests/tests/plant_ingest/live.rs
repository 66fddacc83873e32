//! Pipeline B: what a snapshot becomes, which times are taken, and the hours that outlive them.

use super::plant_rows::*;
use super::{keep_all, machines, versions, with_plant};
use anyhow::Result;
use gemba_tests::as_user;
use postgres::Client;
use serde_json::{Value, json};

/// Hands over rows that a query makes, one jsonb object each.
fn ingest_query(client: &mut Client, rows: &str) -> Result<Answer> {
    Ok(call(
        client,
        &format!("ingest_live((SELECT coalesce(jsonb_agg(row), '[]') FROM ({rows}) AS r (row)))"),
    )?)
}

#[test]
fn status_at_the_bounds() -> Result<()> {
    let (_db, mut client) = with_plant("live_status_bounds")?;
    let statuses = |client: &mut Client, target: &str, outputs: &[i32]| -> Result<String> {
        client.batch_execute("DELETE FROM plant.live_snapshots")?;
        let outputs: Vec<String> = outputs.iter().map(i32::to_string).collect();
        ingest_query(
            client,
            &format!(
                "SELECT jsonb_build_object('source_id', 'P1', 'snapshot_timestamp', now() - n * interval '1 second', 'current_output', o, 'target_output', {target})
                   FROM unnest(ARRAY[{}]) WITH ORDINALITY AS x (o, n)",
                outputs.join(",")
            ),
        )?;
        Ok(value(
            client,
            "SELECT string_agg(coalesce(status, '-') || ' ' || coalesce(output_variance::text, '-'), ', ' ORDER BY snapshot_timestamp DESC) FROM plant.live_snapshots",
        ))
    };
    for (tolerance, target, outputs, expected) in [
        (
            "5",
            "100",
            &[94, 95, 100, 105, 106][..],
            "behind -6, on_target -5, on_target 0, on_target 5, ahead 6",
        ),
        // 5 % of 30 are 1.5.
        (
            "5",
            "30",
            &[28, 29, 31, 32],
            "behind -2, on_target -1, on_target 1, ahead 2",
        ),
        ("6.67", "30", &[28, 32], "on_target -2, on_target 2"),
        ("6.66", "30", &[28, 32], "behind -2, ahead 2"),
        (
            "0",
            "100",
            &[99, 100, 101],
            "behind -1, on_target 0, ahead 1",
        ),
        (
            "100",
            "10",
            &[0, 20, 21],
            "on_target -10, on_target 10, ahead 11",
        ),
        // Of a target of zero everything is enough.
        ("5", "0", &[0, 50], "on_target 0, on_target 50"),
        ("5", "NULL::int", &[0, 50], "- -, - -"),
        (
            "5",
            "2147483647",
            &[0, 2147483647],
            "behind -2147483647, on_target 0",
        ),
    ] {
        client.batch_execute(&format!(
            "UPDATE plant.settings SET tolerance_pct = {tolerance}"
        ))?;
        assert_eq!(
            statuses(&mut client, target, outputs)?,
            expected,
            "{target} ± {tolerance} %"
        );
    }
    Ok(())
}

#[test]
fn which_times_are_taken() -> Result<()> {
    let (_db, mut client) = with_plant("live_times")?;
    for (at, expected) in [
        ("now()", ""),
        // As long as its day is kept.
        ("date_trunc('day', now() - interval '24 hours')", ""),
        (
            "date_trunc('day', now() - interval '24 hours') - interval '1 microsecond'",
            "older than what is kept",
        ),
        ("now() - interval '3 days'", "older than what is kept"),
        ("now() + interval '10 minutes'", ""),
        (
            "now() + interval '10 minutes 1 microsecond'",
            "in the future",
        ),
        ("now() + interval '1 day'", "in the future"),
    ] {
        client.batch_execute("DELETE FROM plant.live_snapshots")?;
        let answer = ingest_query(
            &mut client,
            &format!(
                "SELECT jsonb_build_object('source_id', 'P1', 'snapshot_timestamp', {at}, 'current_output', 1)"
            ),
        )?;
        if expected.is_empty() {
            assert_eq!(answer.counts(), (1, 0, 0, 0), "{at}: {answer:?}");
        } else {
            assert_eq!(answer.counts(), (0, 0, 0, 1), "{at}: {answer:?}");
            assert_eq!(answer.rejects[0].1.as_deref(), Some("snapshot_timestamp"));
            assert!(answer.rejects[0].2.contains(expected), "{at}: {answer:?}");
        }
    }
    // How far clocks may be ahead is a setting.
    client.batch_execute("UPDATE plant.settings SET clock_tolerance = '0'")?;
    let ahead = |client: &mut Client, by: &str| {
        ingest_query(
            client,
            &format!(
                "SELECT jsonb_build_object('source_id', 'P1', 'snapshot_timestamp', now() + interval '{by}', 'current_output', 2)"
            ),
        )
    };
    assert_eq!(ahead(&mut client, "0")?.rejected, 0);
    assert_eq!(ahead(&mut client, "1 microsecond")?.rejected, 1);
    client.batch_execute("UPDATE plant.settings SET clock_tolerance = '1 day'")?;
    assert_eq!(ahead(&mut client, "23 hours 59 minutes")?.rejected, 0);
    // And so is how long snapshots are kept.
    let old = "SELECT jsonb_build_object('source_id', 'P1', 'snapshot_timestamp', now() - interval '9 days', 'current_output', 2)";
    assert_eq!(ingest_query(&mut client, old)?.rejected, 1);
    client.batch_execute("SELECT gemba.manage_partitions('plant.live_snapshots', '1 day', premake => 3, retain => '10 days', on_expire => 'drop')")?;
    assert_eq!(ingest_query(&mut client, old)?.rejected, 0);
    keep_all(&mut client)?;
    let answer = ingest(
        &mut client,
        "live",
        &json!([{"source_id": "P1", "snapshot_timestamp": "1900-01-01T00:00:00Z", "current_output": 1}]),
    )?;
    assert_eq!(answer.counts(), (1, 0, 0, 0));
    Ok(())
}

#[test]
fn a_day_is_made_when_it_is_needed() -> Result<()> {
    let (_db, mut client) = with_plant("live_partitions")?;
    keep_all(&mut client)?;
    const DAYS: &str = "SELECT from_time, to_time, rls, no_grants FROM gemba.partitions
        WHERE parent = 'plant.live_snapshots'::regclass AND from_time < '2026-06-01' ORDER BY 1";
    assert_eq!(table(&mut client, DAYS), [""; 0]);
    let rows = json!([
        {"source_id": "P1", "snapshot_timestamp": "2026-05-11T00:00:00Z", "current_output": 1},
        {"source_id": "P1", "snapshot_timestamp": "2026-05-13T23:59:59.999999Z", "current_output": 2},
        {"source_id": "P1", "snapshot_timestamp": "2026-05-13T23:59:59.9999999Z", "current_output": 3},
        {"source_id": "nobody", "snapshot_timestamp": "2026-05-20T12:00:00Z", "current_output": 3}
    ]);
    let answer = as_user(&mut client, "service_role", None, |tx| {
        ingest(tx, "live", &rows)
    })?;
    assert_eq!(answer.counts(), (3, 0, 0, 1), "{answer:?}");
    let expected = [
        "2026-05-11 00:00:00+00 | 2026-05-12 00:00:00+00 | t | t",
        "2026-05-13 00:00:00+00 | 2026-05-14 00:00:00+00 | t | t",
        "2026-05-14 00:00:00+00 | 2026-05-15 00:00:00+00 | t | t",
    ];
    assert_eq!(table(&mut client, DAYS), expected);
    assert_eq!(
        table(
            &mut client,
            "SELECT snapshot_timestamp, current_output FROM plant.live_snapshots ORDER BY 1"
        ),
        [
            "2026-05-11 00:00:00+00 | 1",
            "2026-05-13 23:59:59.999999+00 | 2",
            "2026-05-14 00:00:00+00 | 3"
        ]
    );
    Ok(())
}

const SNAPSHOTS: (&str, &str) = (
    "plant.live_snapshots",
    "(asset_id, snapshot_timestamp, id, current_output, target_output, status, created_at)",
);

#[test]
fn snapshots_are_upserted() -> Result<()> {
    let (_db, mut client) = with_plant("live_upsert")?;
    keep_all(&mut client)?;
    machines(&mut client, 40)?;
    const BATCH: &str = "SELECT jsonb_build_object('source_id', 'A' || m, 'snapshot_timestamp', '2026-05-10 06:00Z'::timestamptz + n * interval '15 minutes',
          'current_output', m * n, 'target_output', 50) FROM generate_series(1, 40) AS m, generate_series(0, 99) AS n";
    assert_eq!(ingest_query(&mut client, BATCH)?.counts(), (4000, 0, 0, 0));
    let before = versions(&mut client, SNAPSHOTS.0, SNAPSHOTS.1);
    assert_eq!(before.len(), 4000);
    for order in ["n, m", "random()", "m DESC"] {
        let again = ingest_query(&mut client, &format!("{BATCH} ORDER BY {order}"))?;
        assert_eq!(again.counts(), (0, 0, 4000, 0));
    }
    assert_eq!(versions(&mut client, SNAPSHOTS.0, SNAPSHOTS.1), before);
    // A tenth of them with other numbers, and ten new ones.
    let answer = ingest_query(
        &mut client,
        &BATCH
            .replace("m * n,", "m * n + (n % 10 = 3)::int,")
            .replace("(0, 99)", "(0, 99 + (m < 11)::int)"),
    )?;
    assert_eq!(answer.counts(), (10, 400, 3600, 0), "{answer:?}");
    let after = versions(&mut client, SNAPSHOTS.0, SNAPSHOTS.1);
    assert_eq!(
        after.iter().filter(|row| before.contains(row)).count(),
        3600
    );
    assert_same(
        &mut client,
        "SELECT a.source_id, l.snapshot_timestamp, l.current_output, l.output_variance FROM plant.live_snapshots l JOIN plant.assets a ON a.id = l.asset_id",
        "SELECT 'A' || m, '2026-05-10 06:00Z'::timestamptz + n * interval '15 minutes', m * n + (n % 10 = 3)::int, m * n + (n % 10 = 3)::int - 50
           FROM generate_series(1, 40) AS m, generate_series(0, 99 + (m < 11)::int) AS n",
        "after the update",
    );
    // Ids and times of creation stay.
    assert_eq!(
        value(
            &mut client,
            "SELECT count(DISTINCT created_at) FROM plant.live_snapshots"
        ),
        "2"
    );
    Ok(())
}

#[test]
fn of_several_rows_for_a_moment_the_last_counts() -> Result<()> {
    let (_db, mut client) = with_plant("live_superseded")?;
    keep_all(&mut client)?;
    let at = |time: &str, output: i32| json!({"source_id": "P1", "snapshot_timestamp": time, "current_output": output});
    let answer = ingest(
        &mut client,
        "live",
        &json!([
            at("2026-05-10T10:00Z", 1),
            at("2026-05-10T12:00+02:00", 2),
            {"asset_id": PRESS, "snapshot_timestamp": "2026-05-10 10:00:00.0000001", "current_output": "2"},
            at("2026-05-10T10:01Z", 1)
        ]),
    )?;
    assert_eq!(answer.counts(), (2, 0, 1, 1), "{answer:?}");
    assert_eq!(
        answer.rejects,
        [(
            1,
            None,
            "superseded by a later row of the same call for this asset and moment".to_owned()
        )]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT current_output FROM plant.live_snapshots ORDER BY snapshot_timestamp"
        ),
        ["2", "1"]
    );
    Ok(())
}

#[test]
fn safety_rows() -> Result<()> {
    let (_db, mut client) = with_plant("live_safety")?;
    keep_all(&mut client)?;
    client.batch_execute(
        "INSERT INTO plant.safety_codes VALUES ('Guard open', 'medium'), ('Émergence', NULL)",
    )?;
    let rows = json!([
        // Only an event, with the plant's severity.
        {"source_id": "P1", "snapshot_timestamp": "2026-05-10T10:00Z", "reason_code": "Safety Issue"},
        // An event and a snapshot, with the row's severity, and blanks around the code.
        {"source_id": "P1", "snapshot_timestamp": "2026-05-10T10:15Z", "current_output": 5, "reason_code": " Safety Issue ",
         "severity": "low", "description": "hand in \"the\" press\n<b>", "duration_minutes": 12.345, "financial_impact": "99.995"},
        // The code's severity.
        {"source_id": "L4", "snapshot_timestamp": "2026-05-10T10:15Z", "reason_code": "Guard open", "source_record_id": "R-1"},
        {"source_id": "L4", "snapshot_timestamp": "2026-05-10T10:15Z", "reason_code": "Émergence", "source_record_id": 77},
        // No safety code: a snapshot like any other.
        {"source_id": "M7", "snapshot_timestamp": "2026-05-10T10:15Z", "current_output": 5, "reason_code": "Lunch", "severity": "high"},
        // The same record of the source, told of another moment.
        {"source_id": "L4", "snapshot_timestamp": "2026-05-10T10:30Z", "reason_code": "Guard open", "source_record_id": "R-1"},
        // The same machine, moment and code, without a number of the source.
        {"source_id": "P1", "snapshot_timestamp": "2026-05-10T12:00+02", "reason_code": "Safety Issue", "severity": "high"}
    ]);
    let answer = ingest(&mut client, "live", &rows)?;
    assert_eq!(
        (answer.counts(), answer.safety_events),
        ((2, 0, 5, 0), 4),
        "{answer:?}"
    );
    const EVENTS: &str = "SELECT a.source_id, to_char(e.event_timestamp, 'HH24:MI'), e.reason_code, e.severity, e.description, e.source_record_id,
        e.duration_minutes, e.financial_impact, e.is_resolved FROM plant.safety_events e JOIN plant.assets a ON a.id = e.asset_id ORDER BY 1, 2, e.reason_code COLLATE \"C\"";
    let expected = [
        "L4 | 10:15 | Guard open | medium | - | R-1 | - | - | f",
        "L4 | 10:15 | Émergence | critical | - | 77 | - | - | f",
        "P1 | 10:00 | Safety Issue | critical | - | - | - | - | f",
        "P1 | 10:15 | Safety Issue | low | hand in \"the\" press\n<b> | - | 12.35 | 100.00 | f",
    ];
    assert_eq!(table(&mut client, EVENTS), expected);
    // Safe to repeat, also in pieces; what became of an event since then stays.
    client.batch_execute(
        "UPDATE plant.safety_events SET is_resolved = true WHERE source_record_id = 'R-1'",
    )?;
    let again = ingest(&mut client, "live", &rows)?;
    assert_eq!(
        (again.counts(), again.safety_events),
        ((0, 0, 7, 0), 0),
        "{again:?}"
    );
    let pieces: Vec<Value> = rows.as_array().cloned().unwrap_or_default();
    for piece in &pieces {
        assert_eq!(
            ingest(&mut client, "live", &json!([piece]))?.safety_events,
            0
        );
    }
    assert_eq!(
        table(&mut client, EVENTS),
        expected.map(|row| if row.contains("R-1") {
            row.replace("| f", "| t")
        } else {
            row.to_owned()
        })
    );
    // The default severity is the plant's to choose, and a code's own comes first.
    client.batch_execute("UPDATE plant.settings SET default_severity = 'high'")?;
    ingest(
        &mut client,
        "live",
        &json!([{"source_id": "M7", "snapshot_timestamp": "2026-05-10T11:00Z", "reason_code": "Safety Issue"},
                {"source_id": "M7", "snapshot_timestamp": "2026-05-10T11:00Z", "reason_code": "Guard open"}]),
    )?;
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT reason_code, severity FROM plant.safety_events WHERE asset_id = '{MILL}' ORDER BY 1"
            )
        ),
        ["Guard open | medium", "Safety Issue | high"]
    );
    Ok(())
}

/// An event is worth more than the snapshot that it came with.
/// A row that is given back for its event's sake supersedes nothing.
#[test]
fn a_remark_costs_no_other_row() -> Result<()> {
    let (_db, mut client) = with_plant("live_remark")?;
    keep_all(&mut client)?;
    for output in [5, 6] {
        client.batch_execute("DELETE FROM plant.live_snapshots")?;
        let answer = ingest(
            &mut client,
            "live",
            &json!([
                {"source_id": "P1", "snapshot_timestamp": "2026-05-10T10:00Z", "current_output": 5},
                {"source_id": "P1", "snapshot_timestamp": "2026-05-10T10:00Z", "current_output": output,
                 "reason_code": "Safety Issue", "severity": "urgent"}
            ]),
        )?;
        assert_eq!(answer.counts(), (1, 0, 0, 1), "{answer:?}");
        assert_eq!(answer.rejects[0].0, 2);
        assert_eq!(
            value(
                &mut client,
                "SELECT current_output FROM plant.live_snapshots"
            ),
            "5"
        );
    }
    Ok(())
}

#[test]
fn an_event_is_taken_when_its_snapshot_is_not() -> Result<()> {
    let (_db, mut client) = with_plant("live_event_only")?;
    let rows = json!([
        {"source_id": "P1", "snapshot_timestamp": "2020-02-03T10:00Z", "current_output": 5, "reason_code": "SAFETY ISSUE", "severity": " High "},
        {"source_id": "P1", "snapshot_timestamp": "2020-02-03T10:01Z", "reason_code": "safety issue", "source_record_id": " R 1 "},
        {"source_id": "P1", "snapshot_timestamp": "2020-02-03T10:02Z", "current_output": -5, "reason_code": "Safety Issue"},
        {"source_id": "P1", "snapshot_timestamp": "2020-02-03T10:03Z", "current_output": 5, "reason_code": "Lunch"},
        // A time that cannot be refuses both; what else is wrong with an event is left out of it.
        {"source_id": "P1", "snapshot_timestamp": "2199-02-03T10:04Z", "current_output": 5, "reason_code": "Safety Issue"},
        {"source_id": "P1", "snapshot_timestamp": "2020-02-03T10:05Z", "current_output": 5, "reason_code": "Safety Issue", "duration_minutes": "x"}
    ]);
    for events in [4, 0] {
        let answer = ingest(&mut client, "live", &rows)?;
        assert_eq!(
            (answer.counts(), answer.safety_events),
            ((0, 0, 1, 5), events),
            "{answer:?}"
        );
        let told: Vec<(i64, &str, bool)> = answer
            .rejects
            .iter()
            .map(|(row, field, reason)| {
                let taken = reason.contains("only the safety event was taken");
                (*row, field.as_deref().unwrap_or_default(), taken)
            })
            .collect();
        assert_eq!(
            told,
            [
                (1, "snapshot_timestamp", true),
                (3, "current_output", true),
                (4, "snapshot_timestamp", false),
                (5, "snapshot_timestamp", false),
                (6, "duration_minutes", true),
            ]
        );
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT to_char(event_timestamp, 'MI'), reason_code, severity, source_record_id FROM plant.safety_events ORDER BY 1"
        ),
        [
            "00 | Safety Issue | high | -",
            "01 | Safety Issue | critical | R 1",
            "02 | Safety Issue | critical | -",
            "05 | Safety Issue | critical | -",
        ]
    );
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.live_snapshots"),
        "0"
    );
    Ok(())
}

/// What the hours should be: the last snapshot of each, and how the variance moved.
const HOURS: &str = "SELECT date_trunc('hour', snapshot_timestamp) AS bucket, asset_id, count(*) AS snapshots,
    (array_agg(current_output ORDER BY snapshot_timestamp DESC) FILTER (WHERE current_output IS NOT NULL))[1] AS current_output,
    (array_agg(target_output ORDER BY snapshot_timestamp DESC) FILTER (WHERE target_output IS NOT NULL))[1] AS target_output,
    (array_agg(status ORDER BY snapshot_timestamp DESC) FILTER (WHERE status IS NOT NULL))[1] AS status,
    min(output_variance) AS lowest_variance, max(output_variance) AS highest_variance, round(avg(output_variance), 10) AS average_variance
  FROM plant.live_snapshots GROUP BY 1, 2";

#[test]
fn hours_are_the_group_by() -> Result<()> {
    let (_db, mut client) = with_plant("live_hours")?;
    keep_all(&mut client)?;
    machines(&mut client, 20)?;
    const BATCH: &str = "SELECT jsonb_build_object('source_id', 'A' || m, 'snapshot_timestamp', '2026-05-09 20:07Z'::timestamptz + n * interval '7 minutes',
          'current_output', m * n, 'target_output', 20 + n * m / 2) FROM generate_series(1, 20) AS m, generate_series(0, 199) AS n";
    const KEPT: &str = "SELECT bucket, asset_id, snapshots, current_output, target_output, status, lowest_variance, highest_variance, round(average_variance, 10) AS average_variance";
    let same = |client: &mut Client, when: &str| {
        assert_same(
            client,
            &format!("{KEPT} FROM plant.live_hourly_live"),
            HOURS,
            &format!("live view {when}"),
        );
        client
            .batch_execute("SELECT gemba.refresh_rollups()")
            .unwrap_or_else(|error| panic!("{error:?}"));
        assert_same(
            client,
            &format!("{KEPT} FROM plant.live_hourly"),
            HOURS,
            &format!("hours {when}"),
        );
    };
    ingest_query(&mut client, BATCH)?;
    same(&mut client, "at first");
    // Changed rows, late rows, and rows of new hours.
    ingest_query(
        &mut client,
        &format!("{} WHERE n % 9 = 0", BATCH.replace("m * n,", "m * n + 5,")),
    )?;
    same(&mut client, "after changes");
    ingest_query(&mut client, &BATCH.replace("20:07Z", "17:03Z"))?;
    same(&mut client, "after late rows");
    // Nothing new is nothing to refresh.
    ingest_query(&mut client, &BATCH.replace("20:07Z", "17:03Z"))?;
    assert_eq!(
        value(
            &mut client,
            "SELECT coalesce(sum(ranges), 0) FROM gemba.refresh_rollups() WHERE rollup = 'plant.live_hourly'"
        ),
        "0"
    );
    // A machine that is gone takes its snapshots along, and then its hours.
    client.batch_execute("DELETE FROM plant.assets WHERE source_id = 'A7'")?;
    same(&mut client, "without a machine");
    // The hours outlive the snapshots.
    let hours = table(
        &mut client,
        &format!("{KEPT} FROM plant.live_hourly ORDER BY 1, 2"),
    );
    assert!(hours.len() > 19 * 23);
    client.batch_execute("SELECT gemba.manage_partitions('plant.live_snapshots', '1 day', premake => 3, retain => '24 hours', on_expire => 'drop')")?;
    client.batch_execute("SELECT gemba.maintain_partitions()")?;
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.live_snapshots"),
        "0"
    );
    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    assert_eq!(
        table(
            &mut client,
            &format!("{KEPT} FROM plant.live_hourly ORDER BY 1, 2")
        ),
        hours
    );
    // And readers see them.
    assert_eq!(
        table_as(
            &mut client,
            "authenticated",
            "SELECT count(*) FROM plant.live_hourly"
        ),
        [hours.len().to_string()]
    );
    refused_as(
        &mut client,
        "anon",
        "SELECT count(*) FROM plant.live_hourly",
        "42501",
    );
    Ok(())
}

#[test]
fn a_rollback_leaves_nothing() -> Result<()> {
    let (db, mut client) = with_plant("ingest_rollback")?;
    keep_all(&mut client)?;
    const LEFT: &str = "SELECT (SELECT count(*) FROM plant.live_snapshots) + (SELECT count(*) FROM plant.safety_events)
        + (SELECT count(*) FROM plant.daily_summaries) + (SELECT count(*) FROM plant.ingest_rejects)
        + (SELECT count(*) FROM gemba.partitions WHERE parent = 'plant.live_snapshots'::regclass AND from_time < '2026-06-01')
        + (SELECT count(*) FROM plant.safety_event_log)";
    let work = |client: &mut Client| -> Result<()> {
        client.batch_execute("BEGIN")?;
        ingest(
            client,
            "live",
            &json!([1, {"source_id": "P1", "snapshot_timestamp": "2026-05-10T10:00Z", "current_output": 1, "reason_code": "Safety Issue"}]),
        )?;
        ingest(
            client,
            "daily",
            &json!([{"source_id": "P1", "report_date": "2026-05-10", "total_count": 1}]),
        )?;
        assert_eq!(value(client, LEFT), "6");
        Ok(())
    };
    work(&mut client)?;
    client.batch_execute("ROLLBACK")?;
    assert_eq!(value(&mut client, LEFT), "0");
    // A session that dies in the middle of it.
    let mut other = db.connect()?;
    work(&mut other)?;
    let pid = backend(&mut other);
    client.execute("SELECT pg_terminate_backend($1, 60000)", &[&pid])?;
    assert_eq!(value(&mut client, LEFT), "0");
    work(&mut client)?;
    client.batch_execute("COMMIT")?;
    assert_eq!(value(&mut client, LEFT), "6");
    Ok(())
}
