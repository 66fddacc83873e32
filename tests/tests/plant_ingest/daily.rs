//! Pipeline A: what a day becomes.

use super::plant_rows::*;
use super::{keep_all, machines, versions, with_plant};
use anyhow::Result;
use gemba_tests::as_user;
use serde_json::{Value, json};

/// All that is computed of a day.
const DAYS: &str = "SELECT a.source_id, d.report_date, d.oee_percentage AS oee, d.availability_percentage AS a,
    d.performance_percentage AS p, d.performance_raw_percentage AS raw, d.quality_percentage AS q,
    d.actual_output, d.good_count, d.waste_count, d.target_output, d.planned_minutes, d.downtime_minutes,
    d.downtime_loss, d.waste_loss, d.financial_loss_dollars AS loss, d.oee_state, d.estimated
  FROM plant.daily_summaries d JOIN plant.assets a ON a.id = d.asset_id ORDER BY 1, 2";

#[test]
fn days_are_computed() -> Result<()> {
    let (_db, mut client) = with_plant("daily_values")?;
    let rows = json!([
        // Worked example 7, with money of 300 an hour and 5 a unit.
        {"source_id": "P1", "report_date": "2026-01-15", "total_count": 700, "good_count": 600, "downtime_minutes": 80},
        // By id, as texts, with the other name of the total and the waste instead of the good ones.
        {"asset_id": LATHE.to_uppercase(), "report_date": " 2026-01-15 ", "actual_output": "500", "waste_count": "12.0"},
        // A machine of which nothing is known.
        {"source_id": "M7", "report_date": "2026-01-15", "total_count": 4e2},
        // The row's own settings come before the machine's; 12 neither good nor thrown away.
        {"asset_id": PRESS, "source_id": "P1", "report_date": "2026-01-16", "total_count": 100, "good_count": 80,
         "waste_count": 8, "planned_minutes": 60.5, "downtime_minutes": 10.25, "ideal_cycle_seconds": "2.5e1", "target_output": 0},
        // Faster than ideal.
        {"source_id": "P1", "report_date": "2026-01-17", "total_count": 1200, "good_count": 900, "downtime_minutes": 0},
        // Not planned at all.
        {"source_id": "P1", "report_date": "2026-01-18", "total_count": 0, "planned_minutes": 0, "downtime_minutes": 0},
        // Planned, and it stood all day.
        {"source_id": "P1", "report_date": "2026-01-19", "total_count": 0, "good_count": 0, "downtime_minutes": "480"},
        // Blank and null are what is not given.
        {"source_id": "L4", "report_date": "2026-01-16", "total_count": 10, "good_count": null, "waste_count": " ",
         "planned_minutes": "", "ideal_rate": 60, "ideal_cycle_seconds": null, "downtime_minutes": 0},
        // The day on which the clocks go back.
        {"source_id": "P1", "report_date": "2025-10-26", "total_count": 0, "planned_minutes": 1500, "downtime_minutes": 0.5}
    ]);
    let answer = as_user(&mut client, "service_role", None, |tx| {
        ingest(tx, "daily", &rows)
    })?;
    assert_eq!(answer.counts(), (9, 0, 0, 0), "{answer:?}");
    assert_eq!(answer.safety_events, 0);
    assert_eq!(
        table(&mut client, DAYS),
        [
            // 600 minutes at the default of 100 an hour; cost of a unit 10 by default.
            "L4 | 2026-01-15 | 48.80 | 100.00 | 50.00 | 50.00 | 97.60 | 500 | 488 | 12 | - | 600 | 0 | 0.00 | 120.00 | 120.00 | (36000,36000,18000,18000,17568,500,488) | {downtime_minutes,ideal_rate,cost_per_unit}",
            "L4 | 2026-01-16 | 1.67 | 100.00 | 1.67 | 1.67 | 100.00 | 10 | 10 | 0 | - | 600 | 0 | 0.00 | 0.00 | 0.00 | (36000,36000,600,600,600,10,10) | {cost_per_unit,good_count}",
            "M7 | 2026-01-15 | 50.00 | 100.00 | 50.00 | 50.00 | 100.00 | 400 | 400 | 0 | - | 480 | 0 | 0.00 | 0.00 | 0.00 | (28800,28800,14400,14400,14400,400,400) | {planned_minutes,downtime_minutes,ideal_rate,hourly_rate,cost_per_unit,good_count}",
            "P1 | 2025-10-26 | 0.00 | 99.97 | 0.00 | 0.00 | - | 0 | 0 | 0 | - | 1500 | 1 | 2.50 | 0.00 | 2.50 | (90000,89970,0,0,0,0,0) | {good_count}",
            "P1 | 2026-01-15 | 62.50 | 83.33 | 87.50 | 87.50 | 85.71 | 700 | 600 | 100 | - | 480 | 80 | 400.00 | 500.00 | 900.00 | (28800,24000,21000,21000,18000,700,600) | {}",
            // 10.25 minutes at 300 an hour are 51.25.
            "P1 | 2026-01-16 | 55.10 | 83.06 | 82.92 | 82.92 | 80.00 | 100 | 80 | 8 | 0 | 61 | 10 | 51.25 | 40.00 | 91.25 | (3630,3015,2500,2500,2000,100,80) | {}",
            "P1 | 2026-01-17 | 75.00 | 100.00 | 100.00 | 125.00 | 75.00 | 1200 | 900 | 300 | - | 480 | 0 | 0.00 | 1500.00 | 1500.00 | (28800,28800,36000,28800,21600,1200,900) | {}",
            "P1 | 2026-01-18 | - | - | - | - | - | 0 | 0 | 0 | - | 0 | 0 | 0.00 | 0.00 | 0.00 | (0,0,0,0,0,0,0) | {good_count}",
            "P1 | 2026-01-19 | 0.00 | 0.00 | 0.00 | 0.00 | - | 0 | 0 | 0 | - | 480 | 480 | 2400.00 | 0.00 | 2400.00 | (28800,0,0,0,0,0,0) | {}",
        ]
    );
    // The stored state is what the row alone would have given.
    assert_same(
        &mut client,
        "SELECT plant._percent((plant.oee_figures(oee_state)).oee), plant._percent((plant.oee_figures(oee_state)).quality) FROM plant.daily_summaries",
        "SELECT oee_percentage, quality_percentage FROM plant.daily_summaries",
        "stored states",
    );
    Ok(())
}

#[test]
fn defaults_are_the_plants() -> Result<()> {
    let (_db, mut client) = with_plant("daily_defaults")?;
    client.batch_execute(
        "UPDATE plant.settings SET default_planned_minutes = 100, default_ideal_rate = 0.5, default_hourly_rate = 12.34,
           default_cost_per_unit = 0.1",
    )?;
    ingest(
        &mut client,
        "daily",
        &json!([{"source_id": "M7", "report_date": "2026-01-15", "total_count": 1, "waste_count": 1, "downtime_minutes": 7}]),
    )?;
    // An item takes 7200 s at ideal speed, and the machine ran 5580: faster than ideal, and nothing was good.
    // 7 / 60 × 12.34 = 1.43967.
    assert_eq!(
        table(&mut client, DAYS),
        [
            "M7 | 2026-01-15 | 0.00 | 93.00 | 100.00 | 129.03 | 0.00 | 1 | 0 | 1 | - | 100 | 7 | 1.44 | 0.10 | 1.54 | (6000,5580,7200,5580,0,1,0) | {planned_minutes,ideal_rate,hourly_rate,cost_per_unit}"
        ]
    );
    Ok(())
}

#[test]
fn targets_are_those_in_force() -> Result<()> {
    let (_db, mut client) = with_plant("daily_targets")?;
    client.batch_execute(&format!(
        "INSERT INTO plant.shift_targets (asset_id, shift, target_output, effective_date) VALUES
           ('{PRESS}', 'Day', 300, NULL), ('{PRESS}', 'Swing', 200, NULL), ('{PRESS}', 'Night', 50, '2026-01-12'),
           ('{PRESS}', 'Day', 400, '2026-01-10'), ('{PRESS}', NULL, 9999, NULL), ('{PRESS}', 'Swing', 0, '2026-01-14'),
           ('{LATHE}', NULL, 500, '2026-01-12'), ('{LATHE}', NULL, 600, '2026-01-13'), ('{LATHE}', 'Day', 10, '2026-01-14')"
    ))?;
    let days: Vec<Value> = (8..=14)
        .flat_map(|day| {
            ["P1", "L4", "M7"].map(|source| {
                json!({"source_id": source, "report_date": format!("2026-01-{day:02}"), "total_count": 1})
            })
        })
        .chain([json!({"source_id": "P1", "report_date": "2026-01-15", "total_count": 1, "target_output": 77})])
        .collect();
    ingest(&mut client, "daily", &Value::Array(days))?;
    assert_eq!(
        table(
            &mut client,
            "SELECT a.source_id, string_agg(coalesce(d.target_output::text, '-'), ' ' ORDER BY d.report_date)
               FROM plant.daily_summaries d JOIN plant.assets a ON a.id = d.asset_id GROUP BY 1 ORDER BY 1"
        ),
        [
            // 8th to 14th: of the whole day where no shift has one.
            "L4 | - - - - 500 600 10",
            "M7 | - - - - - - -",
            "P1 | 500 500 600 600 650 650 450 77",
        ]
    );
    // A target that was set later counts when the day is sent again, and only then.
    client.batch_execute(&format!(
        "INSERT INTO plant.shift_targets (asset_id, target_output) VALUES ('{MILL}', 123)"
    ))?;
    let again = ingest(
        &mut client,
        "daily",
        &json!([{"source_id": "M7", "report_date": "2026-01-08", "total_count": 1}]),
    )?;
    assert_eq!(again.counts(), (0, 1, 0, 0));
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT target_output FROM plant.daily_summaries WHERE asset_id = '{MILL}' ORDER BY report_date LIMIT 2"
            )
        ),
        ["123", "-"]
    );
    Ok(())
}

const DAY_VERSIONS: (&str, &str) = (
    "plant.daily_summaries",
    "(asset_id, report_date, id, created_at, updated_at, smart_summary_text)",
);

#[test]
fn the_same_again_changes_nothing() -> Result<()> {
    let (_db, mut client) = with_plant("daily_repeat")?;
    let day = |source: &str, day: u32, total: u32, good: u32| {
        json!({"source_id": source, "report_date": format!("2026-01-{day:02}"), "total_count": total,
               "good_count": good, "downtime_minutes": 12.345})
    };
    let rows: Vec<Value> = (1..=20)
        .flat_map(|d| [day("P1", d, 700 + d, 600 + d), day("L4", d, 300, 290 - d)])
        .collect();
    let first = ingest(&mut client, "daily", &json!(rows))?;
    assert_eq!(first.counts(), (40, 0, 0, 0));
    let before = versions(&mut client, DAY_VERSIONS.0, DAY_VERSIONS.1);
    assert_eq!(before.len(), 40);
    let mut reversed = rows.clone();
    reversed.reverse();
    for again in [&rows, &reversed] {
        let answer = ingest(&mut client, "daily", &json!(again))?;
        assert_eq!(answer.counts(), (0, 0, 40, 0), "{answer:?}");
        assert_eq!(
            versions(&mut client, DAY_VERSIONS.0, DAY_VERSIONS.1),
            before
        );
    }
    // Written in another way, with the same meaning.
    let answer = ingest_text(
        &mut client,
        "daily",
        &format!(
            r#"[{{"asset_id": "{PRESS}", "report_date": "2026-01-03", "actual_output": "7.03e2", "waste_count": 100,
                 "downtime_minutes": "12.34500", "planned_minutes": 480, "ideal_rate": 120.0}}]"#
        ),
    )?;
    assert_eq!(answer.counts(), (0, 0, 1, 0), "{answer:?}");
    assert_eq!(
        versions(&mut client, DAY_VERSIONS.0, DAY_VERSIONS.1),
        before
    );

    // One day changes: it keeps its id and its time of creation.
    let one = |client: &mut _| {
        table(
            client,
            &format!(
                "SELECT id, created_at, actual_output, updated_at > created_at FROM plant.daily_summaries
                  WHERE asset_id = '{PRESS}' AND report_date = '2026-01-20'"
            ),
        )
    };
    let old = one(&mut client);
    let mut changed = rows.clone();
    changed[38] = day("P1", 20, 721, 620);
    let answer = ingest(&mut client, "daily", &json!(changed))?;
    assert_eq!(answer.counts(), (0, 1, 39, 0), "{answer:?}");
    let new = one(&mut client);
    assert_eq!(new[0], old[0].replace("| 720 | f", "| 721 | t"));
    assert_ne!(new, old);
    let after = versions(&mut client, DAY_VERSIONS.0, DAY_VERSIONS.1);
    let rewritten = after.iter().filter(|row| !before.contains(row)).count();
    assert_eq!(rewritten, 1, "the last day is in nobody's past");
    Ok(())
}

#[test]
fn of_several_rows_for_a_day_the_last_counts() -> Result<()> {
    let (_db, mut client) = with_plant("daily_superseded")?;
    let day = |total: i32| json!({"source_id": "P1", "report_date": "2026-01-15", "total_count": total, "good_count": 1});
    let by_id =
        json!({"asset_id": PRESS, "report_date": "2026-01-15", "total_count": 3, "good_count": 1});
    let other = json!({"source_id": "L4", "report_date": "2026-01-15", "total_count": 9});
    let answer = ingest(
        &mut client,
        "daily",
        &json!([day(1), day(2), other, day(2), by_id]),
    )?;
    // Row 2 said what row 4 says; both are superseded, of which one is told.
    assert_eq!(answer.counts(), (2, 0, 1, 2), "{answer:?}");
    let numbers: Vec<i64> = answer.rejects.iter().map(|reject| reject.0).collect();
    assert_eq!(numbers.first(), Some(&1));
    assert!(numbers == [1, 4] || numbers == [1, 2], "{answer:?}");
    for (_, field, reason) in &answer.rejects {
        assert_eq!(*field, None);
        assert_eq!(
            reason,
            "superseded by a later row of the same call for this asset and date"
        );
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT actual_output FROM plant.daily_summaries ORDER BY 1"
        ),
        ["3", "9"]
    );
    // A later row that is bad supersedes nothing.
    let answer = ingest(&mut client, "daily", &json!([day(5), day(-1)]))?;
    assert_eq!(answer.counts(), (0, 1, 0, 1), "{answer:?}");
    assert_eq!(answer.rejects[0].0, 2);
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM plant.ingest_rejects WHERE pipeline = 'daily'"
        ),
        "3"
    );
    Ok(())
}

/// Nor does it matter how the session writes dates, times and texts.
#[test]
fn the_sessions_settings_do_not_matter() -> Result<()> {
    let (_db, mut client) = with_plant("ingest_session")?;
    keep_all(&mut client)?;
    client.batch_execute(&format!(
        "UPDATE plant.settings SET time_zone = 'Europe/Berlin';
         INSERT INTO plant.shift_targets (asset_id, shift, target_output, effective_date) VALUES ('{PRESS}', 'Day', 800, '2026-02-03')"
    ))?;
    let days = json!([
        {"source_id": "P1", "report_date": "2026-02-03", "total_count": 700, "good_count": 600, "downtime_minutes": 80.5},
        {"source_id": "M7", "report_date": "2026-02-02", "total_count": 1}
    ]);
    let snapshots = json!([
        {"source_id": "P1", "snapshot_timestamp": "2026-02-03 10:00", "current_output": 380},
        {"source_id": "P1", "snapshot_timestamp": "2026-02-03T10:01:00.000001Z", "reason_code": "Safety Issue", "duration_minutes": 1.5}
    ]);
    const ALL: &str = "SELECT asset_id::text, to_char(report_date, 'YYYYMMDD'), oee_percentage, target_output, financial_loss_dollars, oee_state::text,
            array_to_string(estimated, ','), smart_summary_text FROM plant.daily_summaries
        UNION ALL SELECT asset_id::text, extract(epoch FROM snapshot_timestamp)::text, current_output, target_output, output_variance, status, NULL, NULL FROM plant.live_snapshots
        UNION ALL SELECT asset_id::text, extract(epoch FROM event_timestamp)::text, duration_minutes, NULL, NULL, severity, NULL, NULL FROM plant.safety_events ORDER BY 1, 2";
    let mut expected = Vec::new();
    for settings in [
        "",
        "SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape'",
        "SET DateStyle = 'German'; SET TimeZone = 'America/St_Johns'; SET search_path = ''; SET extra_float_digits = -15",
        "SET DateStyle = 'Postgres, MDY'; SET TimeZone = 'PST8PDT'; SET IntervalStyle = 'iso_8601'; SET array_nulls = off; SET quote_all_identifiers = on",
        "SET backslash_quote = off; SET transform_null_equals = on; SET enable_hashjoin = off; SET lc_numeric = 'C'",
    ] {
        client.batch_execute(
            "RESET ALL; DELETE FROM plant.daily_summaries; DELETE FROM plant.live_snapshots; DELETE FROM plant.safety_events",
        )?;
        client.batch_execute(settings)?;
        for (pipeline, rows) in [("daily", &days), ("live", &snapshots)] {
            let answer = ingest(&mut client, pipeline, rows)?;
            assert_eq!(answer.rejected, 0, "{settings}: {answer:?}");
        }
        client.batch_execute("RESET ALL")?;
        let found = table(&mut client, ALL);
        if expected.is_empty() {
            assert_eq!(found.len(), 4);
            assert!(
                found[0].contains("| 380 | 400 | -20 | on_target")
                    || found[1].contains("| 380 | 400 | -20 | on_target"),
                "{found:#?}"
            );
            expected = found;
        } else {
            assert_eq!(found, expected, "{settings}");
        }
    }
    Ok(())
}

/// A session of old, for which backslashes in strings are escapes.
#[test]
fn backslashes_as_escapes() -> Result<()> {
    let (_db, mut client) = with_plant("ingest_backslashes")?;
    keep_all(&mut client)?;
    client.batch_execute("SET standard_conforming_strings = off")?;
    for (row, inserted) in [(1, 1), (2, 0)] {
        let answer = ingest(
            &mut client,
            "live",
            &json!([{"source_id": "P1", "snapshot_timestamp": "2026-02-03 10:00", "current_output": row}]),
        )?;
        assert_eq!(answer.inserted, inserted, "{answer:?}");
    }
    Ok(())
}

#[test]
fn thousands_of_days_in_one_call() -> Result<()> {
    let (_db, mut client) = with_plant("daily_thousands")?;
    machines(&mut client, 60)?;
    const CALL: &str = "ingest_daily((SELECT jsonb_agg(jsonb_build_object('source_id', 'A' || m, 'report_date', date '2026-01-01' + d,
        'total_count', 500 + (m * 37 + d * 11) % 300, 'good_count', 400 + (m * 13 + d * 7) % 100,
        'downtime_minutes', (m * 3 + d) % 90 + 0.5)) FROM generate_series(1, 60) AS m, generate_series(0, 99) AS d))";
    let answer = call(&mut client, CALL)?;
    assert_eq!(answer.counts(), (6000, 0, 0, 0));
    assert_same(
        &mut client,
        "SELECT substr(a.source_id, 2)::int AS m, d.report_date - date '2026-01-01' AS d, d.oee_percentage, d.financial_loss_dollars
           FROM plant.daily_summaries d JOIN plant.assets a ON a.id = d.asset_id",
        // 480 minutes at 100 an hour, an item takes 36 s; 100 an hour, 10 a unit.
        "SELECT m, d, round(100 * CASE WHEN ideal <= run THEN 36.0 * good ELSE run * good / total END / 28800, 2),
                round(down * 100 / 60, 2) + (total - good) * 10
           FROM (SELECT m, d, total, good, down, (480 - down) * 60 AS run, total * 36.0 AS ideal
                   FROM (SELECT m, d, 500 + (m * 37 + d * 11) % 300 AS total, 400 + (m * 13 + d * 7) % 100 AS good,
                                (m * 3 + d) % 90 + 0.5 AS down
                           FROM generate_series(1, 60) AS m, generate_series(0, 99) AS d) AS a) AS b",
        "thousands",
    );
    let before = versions(&mut client, DAY_VERSIONS.0, DAY_VERSIONS.1);
    assert_eq!(call(&mut client, CALL)?.counts(), (0, 0, 6000, 0));
    assert_eq!(
        versions(&mut client, DAY_VERSIONS.0, DAY_VERSIONS.1),
        before
    );
    Ok(())
}

#[test]
fn what_is_no_array_of_rows() -> Result<()> {
    let (_db, mut client) = with_plant("ingest_no_array")?;
    for pipeline in ["daily", "live"] {
        for text in [
            "{}",
            "null",
            "1",
            "\"[]\"",
            "true",
            r#"{"source_id": "P1"}"#,
        ] {
            let error = refused(
                &mut client,
                &format!("SELECT * FROM plant.ingest_{pipeline}('{text}')"),
                "22023",
            );
            assert!(
                error.detail().is_some() && error.hint().is_some(),
                "{error:?}"
            );
        }
        assert_eq!(
            ingest(&mut client, pipeline, &json!([]))?,
            Answer::default()
        );
    }
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.ingest_rejects"),
        "0"
    );
    Ok(())
}

/// What `jsonb_agg` makes of no rows is no rows, and has an answer.
#[test]
fn null_is_an_array_of_none() -> Result<()> {
    let (_db, mut client) = with_plant("ingest_null")?;
    for pipeline in ["daily", "live"] {
        assert_eq!(
            call(&mut client, &format!("ingest_{pipeline}(NULL)"))?,
            Answer::default()
        );
    }
    Ok(())
}

#[test]
fn who_may_ingest() -> Result<()> {
    let (_db, mut client) = with_plant("ingest_roles")?;
    for call in [
        "ingest_daily('[]')",
        "ingest_live('[]')",
        "process_daily()",
        "process_live()",
    ] {
        for role in ["authenticated", "anon"] {
            refused_as(
                &mut client,
                role,
                &format!("SELECT * FROM plant.{call}"),
                "42501",
            );
        }
        assert_eq!(
            table_as(
                &mut client,
                "service_role",
                &format!("SELECT * FROM plant.{call}")
            ),
            ["0 | 0 | 0 | 0 | 0 | 0 | 0 | []"]
        );
    }
    Ok(())
}
