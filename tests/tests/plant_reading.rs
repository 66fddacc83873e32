//! The questions of a morning meeting, against answers by hand; and who may ask them.

mod plant_rows;

use anyhow::Result;
use gemba_tests::{Database, as_user, extended};
use plant_rows::*;
use postgres::Client;
use serde_json::{Value, json};

fn with_plant(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    plant(&mut client)?;
    Ok((db, client))
}

/// A day with the OEE in percent that is wanted: of 1,000 planned minutes at 60 units an hour, all running.
fn day(source: &str, date: &str, oee: f64, waste: i32) -> Value {
    json!({"source_id": source, "report_date": date, "total_count": (oee * 10.0).round() as i32 + waste, "waste_count": waste,
           "planned_minutes": 1000, "downtime_minutes": 0, "ideal_rate": 60})
}

/// What users see of a question.
fn seen(client: &mut Client, sql: &str) -> Vec<String> {
    table_as(client, "authenticated", sql)
}

#[test]
fn the_columns_of_a_report() -> Result<()> {
    let (_db, mut client) = with_plant("report_columns")?;
    client.batch_execute(&format!(
        "UPDATE plant.assets SET oee_target = 60 WHERE id = '{LATHE}';
         INSERT INTO plant.shift_targets (asset_id, target_output) VALUES ('{PRESS}', 800), ('{LATHE}', 0);
         INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity, is_resolved) VALUES
           ('{PRESS}', '2020-01-01', 'Safety Issue', 'low', false), ('{PRESS}', now(), 'Safety Issue', 'high', false),
           ('{PRESS}', '2026-01-15', 'Safety Issue', 'high', true), ('{LATHE}', '2026-01-15', 'Safety Issue', 'high', true)"
    ))?;
    ingest(
        &mut client,
        "daily",
        &json!([
            {"source_id": "P1", "report_date": "2026-01-15", "total_count": 700, "good_count": 600, "downtime_minutes": 80},
            {"source_id": "L4", "report_date": "2026-01-15", "total_count": 500, "waste_count": 12, "downtime_minutes": 30}
        ]),
    )?;
    let report = seen(
        &mut client,
        "SELECT asset_id, name, area, oee, availability, performance, quality, oee_target, oee_gap, band, actual_output, target_output,
                output_variance, output_variance_percentage, downtime_minutes, waste_count, financial_loss, oee_rank, loss_rank,
                trend_7, trend_30, open_safety_events, priority, estimated, summary
           FROM plant.morning_report('2026-01-15')",
    );
    assert_eq!(
        report,
        [
            // 80 / 60 × 300 + 100 × 5.
            format!(
                "{PRESS} | Press 1 | Stamping | 62.50 | 83.33 | 87.50 | 85.71 | 85.00 | 22.50 | poor | 700 | 800 | -100 | -12.50 | 80 | 100 | 900.00 | 1 | 1 | - | - | 2 | high | {{}} | {}",
                "Press 1 reached an OEE of 62.5%, 22.5 points below its target of 85.0%, and made 700 units (600 good, target 800). The largest loss was downtime: 80 of 480 planned minutes (availability 83.3%). The losses cost 900.00 USD."
            ),
            // 488 good ones of 36 s in 600 minutes; 30 / 60 × 60 + 12 × 10.
            format!(
                "{LATHE} | Lathe 4 | Machining | 48.80 | 95.00 | 52.63 | 97.60 | 60.00 | 11.20 | poor | 500 | 0 | 500 | - | 30 | 12 | 150.00 | 2 | 2 | - | - | 0 | medium | {{ideal_rate,cost_per_unit}} | {}",
                "Lathe 4 reached an OEE of 48.8%, 11.2 points below its target of 60.0%, and made 500 units (488 good, target 0). The largest loss was slow running: 270 minutes lost to speed and small stops (performance 52.6%). The losses cost 150.00 USD; defaults stand in for ideal rate and cost per unit."
            ),
            format!(
                "{MILL} | Mill 7 | - | - | - | - | - | 85.00 | - | no data | - | - | - | - | - | - | - | - | - | - | - | 0 | - | - | -"
            ),
        ]
    );
    // A day of which nobody reported.
    assert_eq!(
        seen(
            &mut client,
            "SELECT name, band, oee_rank, priority, open_safety_events FROM plant.morning_report('2026-01-14') ORDER BY 1"
        ),
        [
            "Lathe 4 | no data | - | - | 0",
            "Mill 7 | no data | - | - | 0",
            "Press 1 | no data | - | - | 2"
        ]
    );
    // Machines out of use are there only on the days on which they were not.
    client.batch_execute(&format!(
        "UPDATE plant.assets SET is_active = false WHERE id IN ('{LATHE}', '{MILL}')"
    ))?;
    assert_eq!(
        seen(
            &mut client,
            "SELECT name FROM plant.morning_report('2026-01-15')"
        ),
        ["Press 1", "Lathe 4"]
    );
    assert_eq!(
        seen(
            &mut client,
            "SELECT name FROM plant.morning_report('2026-01-16')"
        ),
        ["Press 1"]
    );
    Ok(())
}

#[test]
fn the_default_is_yesterday_by_the_plants_clock() -> Result<()> {
    let (_db, mut client) = with_plant("report_yesterday")?;
    for zone in ["Etc/GMT+12", "UTC", "Asia/Bangkok", "Etc/GMT-14"] {
        // The production day has begun a minute ago, or will in a minute. Around midnight these are other dates.
        for (begins, days) in [("-1", 0), ("1", 1)] {
            client.batch_execute("BEGIN; DELETE FROM plant.daily_summaries")?;
            client.batch_execute(&format!(
                "UPDATE plant.settings SET time_zone = '{zone}', day_starts_at = (now() AT TIME ZONE '{zone}' + interval '{begins} minutes')::time"
            ))?;
            let begun = value(
                &mut client,
                &format!(
                    "SELECT ((now() AT TIME ZONE '{zone}' + interval '{begins} minutes')::date - {days})::text"
                ),
            );
            assert_eq!(
                value(&mut client, "SELECT plant.today()"),
                begun,
                "{zone} {begins}"
            );
            let days: Vec<Value> = [("P1", 1), ("L4", 0), ("M7", 2)]
                .map(|(source, ago)| {
                    let date = value(&mut client, &format!("SELECT plant.today() - {ago}"));
                    day(source, &date, 50.0, 0)
                })
                .to_vec();
            ingest(&mut client, "daily", &json!(days))?;
            for argument in ["", "NULL", "plant.today() - 1"] {
                assert_eq!(
                    table(
                        &mut client,
                        &format!(
                            "SELECT name FROM plant.morning_report({argument}) WHERE band <> 'no data'"
                        )
                    ),
                    ["Press 1"],
                    "{zone} {begins}"
                );
            }
            client.batch_execute("ROLLBACK")?;
        }
    }
    Ok(())
}

#[test]
fn ranks_bands_and_priorities_at_their_bounds() -> Result<()> {
    let (_db, mut client) = with_plant("report_bounds")?;
    client.batch_execute(
        "DELETE FROM plant.assets; UPDATE plant.settings SET oee_target = 80;
         INSERT INTO plant.assets (name, source_id, oee_target) SELECT 'M' || lpad(i::text, 2, '0'), 'M' || i, CASE WHEN i > 5 THEN 0 END FROM generate_series(1, 12) AS i;
         INSERT INTO plant.cost_centers (asset_id, standard_hourly_rate, cost_per_unit) SELECT id, 0, 0.01 FROM plant.assets",
    )?;
    // Losses in cents: waste of 0.01 each. Of an OEE target of zero the gap is never positive.
    let mut rows = vec![
        day("M1", "2026-01-15", 85.0, 0),
        day("M2", "2026-01-15", 84.9, 0),
        day("M3", "2026-01-15", 70.0, 0),
        day("M4", "2026-01-15", 69.9, 0),
        day("M5", "2026-01-15", 60.0, 0),
    ];
    for (source, waste) in [
        ("M6", 500_000),
        ("M7", 499_999),
        ("M8", 200_000),
        ("M9", 199_999),
        ("M10", 100_000),
        ("M11", 99_999),
    ] {
        let mut row = day(source, "2026-01-15", 0.0, waste);
        row["ideal_rate"] = json!(1_000_000);
        rows.push(row);
    }
    rows.push(json!({"source_id": "M12", "report_date": "2026-01-15", "total_count": 0, "planned_minutes": 0, "downtime_minutes": 0}));
    assert_eq!(ingest(&mut client, "daily", &json!(rows))?.inserted, 12);
    assert_eq!(
        seen(
            &mut client,
            "SELECT name, oee, oee_gap, band, financial_loss, oee_rank, loss_rank, priority FROM plant.morning_report('2026-01-15') ORDER BY name"
        ),
        [
            "M01 | 85.00 | -5.00 | good | 0.00 | 1 | 7 | none",
            "M02 | 84.90 | -4.90 | fair | 0.00 | 2 | 7 | none",
            // Ten points below.
            "M03 | 70.00 | 10.00 | fair | 0.00 | 3 | 7 | medium",
            "M04 | 69.90 | 10.10 | poor | 0.00 | 4 | 7 | medium",
            "M05 | 60.00 | 20.00 | poor | 0.00 | 5 | 7 | high",
            // Ties share a rank, and the next one counts them.
            "M06 | 0.00 | 0.00 | poor | 5000.00 | 6 | 1 | high",
            "M07 | 0.00 | 0.00 | poor | 4999.99 | 6 | 2 | medium",
            "M08 | 0.00 | 0.00 | poor | 2000.00 | 6 | 3 | medium",
            "M09 | 0.00 | 0.00 | poor | 1999.99 | 6 | 4 | low",
            "M10 | 0.00 | 0.00 | poor | 1000.00 | 6 | 5 | low",
            "M11 | 0.00 | 0.00 | poor | 999.99 | 6 | 6 | none",
            "M12 | - | - | not planned | 0.00 | - | 7 | none",
        ]
    );
    // Sorted by what was lost, then by name.
    assert_eq!(
        seen(
            &mut client,
            "SELECT string_agg(name, ' ') FROM plant.morning_report('2026-01-15')"
        ),
        ["M06 M07 M08 M09 M10 M11 M01 M02 M03 M04 M05 M12"]
    );
    // All bounds are settings.
    client.batch_execute(
        "UPDATE plant.settings SET good_from = 84.9, fair_from = 60, low_priority_loss = 999.99, medium_priority_loss = 1000, high_priority_loss = 1999.99,
           medium_priority_gap = 10.1, high_priority_gap = 20.01",
    )?;
    assert_eq!(
        seen(
            &mut client,
            "SELECT string_agg(band || ' ' || priority, ', ' ORDER BY name) FROM plant.morning_report('2026-01-15')"
        ),
        [
            "good none, good none, fair none, fair medium, fair medium, poor high, poor high, poor high, poor high, poor medium, poor low, not planned none"
        ]
    );
    Ok(())
}

#[test]
fn trends_are_weighted_by_planned_time() -> Result<()> {
    let (_db, mut client) = with_plant("report_trends")?;
    // By hand: 100 minutes at 80 % and 300 at 45 % are 53.75 %.
    let of = |date: &str, minutes: i32, good: i32| json!({"source_id": "P1", "report_date": date, "planned_minutes": minutes, "downtime_minutes": 0, "total_count": good, "ideal_rate": 60});
    ingest(
        &mut client,
        "daily",
        &json!([
            of("2026-01-15", 100, 60),
            of("2026-01-14", 100, 80),
            of("2026-01-08", 300, 135),
            // Outside of the seven days, and of the thirty.
            of("2026-01-07", 400, 400),
            of("2025-12-16", 400, 0),
            of("2025-12-15", 1000, 1000)
        ]),
    )?;
    const TRENDS: &str =
        "SELECT trend_7, trend_30 FROM plant.morning_report('2026-01-15') WHERE name = 'Press 1'";
    // Thirty days: (80 + 135 + 400 + 0) / 1200 = 51.25 %.
    assert_eq!(seen(&mut client, TRENDS), ["6.25 | 8.75"]);
    // The day itself is not among them, nor later ones; and a day without a plan weighs nothing.
    ingest(
        &mut client,
        "daily",
        &json!([of("2026-01-16", 1000, 1), of("2026-01-13", 0, 0)]),
    )?;
    assert_eq!(seen(&mut client, TRENDS), ["6.25 | 8.75"]);
    // Nothing to compare with, or nothing to compare.
    assert_eq!(
        seen(
            &mut client,
            "SELECT trend_7, trend_30 FROM plant.morning_report('2026-01-13') WHERE name = 'Press 1'"
        ),
        ["- | -"]
    );
    assert_eq!(
        seen(
            &mut client,
            "SELECT trend_7, trend_30 FROM plant.morning_report('2025-12-15') WHERE name = 'Press 1'"
        ),
        ["- | -"]
    );

    // Random histories, against the sums of what was handed over.
    client.batch_execute(
        "DELETE FROM plant.daily_summaries; CREATE TABLE public.sent (source text, day date, planned int, good int); SELECT setseed(0.3);
         INSERT INTO public.sent SELECT s, date '2026-01-01' + n, 100 + (random() * 900)::int, 0
           FROM unnest(ARRAY['P1', 'L4', 'M7']) AS s, generate_series(0, 60) AS n WHERE random() < 0.7;
         UPDATE public.sent SET good = planned * random()",
    )?;
    call(
        &mut client,
        "ingest_daily((SELECT jsonb_agg(jsonb_build_object('source_id', source, 'report_date', day, 'planned_minutes', planned,
           'downtime_minutes', 0, 'total_count', good, 'ideal_rate', 60)) FROM public.sent))",
    )?;
    for date in [
        "2026-01-01",
        "2026-01-05",
        "2026-01-20",
        "2026-02-10",
        "2026-03-02",
        "2026-03-10",
    ] {
        assert_same(
            &mut client,
            &format!("SELECT name::text, oee, trend_7, trend_30 FROM plant.morning_report('{date}')"),
            &format!(
                "SELECT a.name::text, o.oee, round(o.oee - w.oee, 2), round(o.oee - m.oee, 2) FROM plant.assets a
                   LEFT JOIN LATERAL (SELECT round(100.0 * good / planned, 2) AS oee FROM public.sent WHERE source = a.source_id AND day = '{date}') AS o ON true
                  CROSS JOIN LATERAL (SELECT 100.0 * sum(good) / sum(planned) AS oee FROM public.sent WHERE source = a.source_id AND day BETWEEN date '{date}' - 7 AND date '{date}' - 1) AS w
                  CROSS JOIN LATERAL (SELECT 100.0 * sum(good) / sum(planned) AS oee FROM public.sent WHERE source = a.source_id AND day BETWEEN date '{date}' - 30 AND date '{date}' - 1) AS m"
            ),
            date,
        );
    }
    Ok(())
}

#[test]
fn the_live_view_never_calls_old_news_good() -> Result<()> {
    let (_db, mut client) = with_plant("live_status")?;
    client.batch_execute(
        "INSERT INTO plant.assets (id, name, source_id, area, is_active) VALUES
           ('00000000-0000-0000-0000-000000000004', 'Oven 2', 'O2', 'Heat', true), ('00000000-0000-0000-0000-000000000005', 'Retired', 'R5', 'Heat', false),
           ('00000000-0000-0000-0000-000000000006', 'Silent', 'S6', NULL, true)",
    )?;
    // In one transaction, for which now() stands still.
    client.batch_execute("BEGIN")?;
    let send = |client: &mut Client,
                source: &str,
                ago: &str,
                output: i32,
                target: &str|
     -> Result<()> {
        let answer = call(
            client,
            &format!(
                "ingest_live(jsonb_build_array(jsonb_build_object('source_id', '{source}', 'snapshot_timestamp', now() - interval '{ago}', 'current_output', {output}, 'target_output', {target})))"
            ),
        )?;
        assert_eq!(answer.rejected, 0, "{answer:?}");
        Ok(())
    };
    for (source, ago, output, target) in [
        ("P1", "2 hours", 1, "100"),
        ("P1", "10 minutes", 94, "100"),
        ("L4", "30 minutes", 100, "100"),
        ("M7", "30 minutes 1 microsecond", 100, "100"),
        ("O2", "-5 minutes", 7, "NULL::int"),
        ("R5", "1 minute", 7, "7"),
    ] {
        send(&mut client, source, ago, output, target)?;
    }
    const STATUS: &str = "SELECT name, area, now() - snapshot_timestamp, current_output, target_output, output_variance, output_variance_percentage, status, CASE WHEN snapshot_timestamp IS NOT NULL THEN age END FROM plant.live_status()";
    assert_eq!(
        table(&mut client, STATUS),
        [
            "Lathe 4 | Machining | 00:30:00 | 100 | 100 | 0 | 0.00 | on_target | 00:30:00",
            "Mill 7 | - | 00:30:00.000001 | 100 | 100 | 0 | 0.00 | stale | 00:30:00.000001",
            // A clock that is ahead makes no negative age.
            "Oven 2 | Heat | -00:05:00 | 7 | - | - | - | no target | 00:00:00",
            "Press 1 | Stamping | 00:10:00 | 94 | 100 | -6 | -6.00 | behind | 00:10:00",
            "Silent | - | - | - | - | - | - | no data | -",
        ]
    );
    const NAMES: &str = "SELECT string_agg(name || ' ' || status, ', ') FROM plant.live_status()";
    client.batch_execute("UPDATE plant.settings SET live_window = '9 minutes'")?;
    assert_eq!(
        value(&mut client, NAMES),
        "Lathe 4 stale, Mill 7 stale, Oven 2 no target, Press 1 stale, Silent no data"
    );
    client.batch_execute("UPDATE plant.settings SET live_window = '1 day'")?;
    assert_eq!(
        value(&mut client, NAMES),
        "Lathe 4 on_target, Mill 7 on_target, Oven 2 no target, Press 1 behind, Silent no data"
    );
    // The latest counts, not the last to arrive.
    send(&mut client, "P1", "20 minutes", 500, "100")?;
    assert_eq!(
        value(
            &mut client,
            "SELECT status FROM plant.live_status() WHERE name = 'Press 1'"
        ),
        "behind"
    );
    send(&mut client, "P1", "1 minute", 106, "100")?;
    assert_eq!(
        value(
            &mut client,
            "SELECT status || output_variance_percentage FROM plant.live_status() WHERE name = 'Press 1'"
        ),
        "ahead6.00"
    );
    send(&mut client, "P1", "30 seconds", 106, "0")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT status, output_variance, output_variance_percentage FROM plant.live_status() WHERE name = 'Press 1'"
        ),
        ["on_target | 106 | -"]
    );
    client.batch_execute("COMMIT")?;
    assert_eq!(
        seen(&mut client, "SELECT count(*) FROM plant.live_status()"),
        ["5"]
    );
    Ok(())
}

/// What never reported is of no age, rather than of none at all.
#[test]
fn a_machine_without_data_has_no_age() -> Result<()> {
    let (_db, mut client) = with_plant("live_no_age")?;
    assert_eq!(
        seen(
            &mut client,
            "SELECT status, age FROM plant.live_status() LIMIT 1"
        ),
        ["no data | -"]
    );
    Ok(())
}

/// Sixty days of three machines with holes, and what was sent as a table.
fn history(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "CREATE TABLE public.sent (source text, day date, planned int, down int, total int, waste int); SELECT setseed(0.7);
         INSERT INTO public.sent SELECT s, date '2025-12-20' + n, 300 + (random() * 500)::int, (random() * 90)::int, 200 + (random() * 500)::int, (random() * 100)::int
           FROM unnest(ARRAY['P1', 'L4', 'M7']) AS s, generate_series(0, 70) AS n WHERE random() < 0.8 AND n NOT BETWEEN 20 AND 33",
    )?;
    let answer = call(
        client,
        "ingest_daily((SELECT jsonb_agg(jsonb_build_object('source_id', source, 'report_date', day, 'planned_minutes', planned,
           'downtime_minutes', down, 'total_count', total, 'waste_count', waste, 'ideal_cycle_seconds', 20)) FROM public.sent))",
    )?;
    assert_eq!(answer.rejected, 0);
    Ok(())
}

#[test]
fn oee_by_day_week_and_month() -> Result<()> {
    let (_db, mut client) = with_plant("oee_trend")?;
    history(&mut client)?;
    client.batch_execute("GRANT SELECT ON public.sent TO authenticated")?;
    for (bucket, start, step) in [
        ("1 day", "day", "1 day"),
        ("7 days", "date_trunc('week', day)::date", "7 days"),
        ("1 month", "date_trunc('month', day)::date", "1 month"),
    ] {
        for (asset, source) in [
            ("NULL".to_owned(), "true"),
            (format!("'{LATHE}'"), "source = 'L4'"),
        ] {
            for (from, to) in [
                ("2025-12-15", "2026-02-28"),
                ("2026-01-06", "2026-01-06"),
                ("2026-01-07", "2026-01-25"),
            ] {
                let first = match bucket {
                    "7 days" => format!("date_trunc('week', date '{from}')::date"),
                    "1 month" => format!("date_trunc('month', date '{from}')::date"),
                    _ => format!("date '{from}'"),
                };
                assert_same(
                    &mut client,
                    &format!(
                        "SELECT bucket_start, oee, availability, performance, quality, planned_minutes, downtime_minutes, actual_output, waste_count, days
                           FROM plant.oee_trend({asset}, '{from}', '{to}', '{bucket}')"
                    ),
                    &format!(
                        "WITH known AS (
                           SELECT {start} AS bucket_start, round(100 * sum(effective)::numeric(60,30) / sum(planned * 60), 2) AS oee,
                                  round(100 * sum(run)::numeric(60,30) / sum(planned * 60), 2) AS availability, round(100 * sum(net)::numeric(60,30) / sum(run), 2) AS performance,
                                  round(100 * sum(effective)::numeric(60,30) / sum(net), 2) AS quality, sum(planned) AS planned, sum(down) AS down,
                                  sum(total) AS total, sum(waste) AS waste, count(DISTINCT day) AS days
                             FROM (SELECT *, least(20 * total, run) AS net, CASE WHEN 20 * total <= run THEN 20.0 * (total - waste) ELSE round(run * (total - waste)::numeric(60,30) / total, 12) END AS effective
                                     FROM (SELECT *, (planned - down) * 60 AS run FROM public.sent WHERE {source} AND day BETWEEN '{from}' AND '{to}') AS x) AS y GROUP BY 1
                         )
                         SELECT g::date, k.oee, k.availability, k.performance, k.quality, k.planned, k.down, k.total, k.waste, coalesce(k.days, 0)
                           FROM generate_series({first}, date '{to}', '{step}') AS g LEFT JOIN known k ON k.bucket_start = g::date"
                    ),
                    &format!("{bucket} {asset} {from} {to}"),
                );
            }
        }
    }
    // Money, and gaps.
    assert_same(
        &mut client,
        "SELECT bucket_start, financial_loss FROM plant.oee_trend(NULL, '2026-01-01', '2026-01-31')",
        "SELECT g::date, (SELECT sum(financial_loss_dollars) FROM plant.daily_summaries WHERE report_date = g::date) FROM generate_series(date '2026-01-01', '2026-01-31', '1 day') AS g",
        "money",
    );
    assert_eq!(
        seen(
            &mut client,
            "SELECT * FROM plant.oee_trend(NULL, '2026-01-15', '2026-01-16')"
        ),
        [
            "2026-01-15 | - | - | - | - | - | - | - | - | - | 0",
            "2026-01-16 | - | - | - | - | - | - | - | - | - | 0"
        ]
    );
    // Nobody has this id.
    assert_eq!(
        seen(
            &mut client,
            "SELECT bucket_start, oee, days FROM plant.oee_trend('00000000-0000-0000-0000-00000000beef', '2026-01-06', '2026-01-06')"
        ),
        ["2026-01-06 | - | 0"]
    );
    Ok(())
}

/// Days are the shortest time of which there is an OEE.
#[test]
fn a_trend_has_no_buckets_below_a_day() -> Result<()> {
    let (_db, mut client) = with_plant("oee_trend_bad")?;
    for bucket in ["0", "-1 day", "-1 month"] {
        let error = refused(
            &mut client,
            &format!("SELECT * FROM plant.oee_trend(NULL, '2026-01-01', '2026-01-31', '{bucket}')"),
            "22023",
        );
        assert!(error.hint().is_some());
    }
    for bucket in ["1 hour", "1 minute", "1 day 1 hour"] {
        let error = refused(
            &mut client,
            &format!("SELECT * FROM plant.oee_trend(NULL, '2026-01-01', '2026-01-31', '{bucket}')"),
            "22023",
        );
        assert!(error.hint().is_some());
    }
    Ok(())
}

#[test]
fn ranges_the_wrong_way_round() -> Result<()> {
    let (_db, mut client) = with_plant("reading_ranges")?;
    // All of them say so, or none of them does.
    let codes: Vec<(String, String)> = [
        "oee_trend(NULL, '2026-01-31', '2026-01-01')".to_owned(),
        "loss_pareto('2026-01-31', '2026-01-01')".to_owned(),
        "loss_pareto('2026-01-31', '2026-01-01', 'reason')".to_owned(),
        "safety_summary('2026-01-31', '2026-01-01')".to_owned(),
    ]
    .into_iter()
    .map(|call| {
        let code = match client.simple_query(&format!("SELECT * FROM plant.{call}")) {
            Ok(_) => "no error".to_owned(),
            Err(error) => error
                .code()
                .map(|code| code.code().to_owned())
                .unwrap_or_default(),
        };
        (call, code)
    })
    .collect();
    assert!(
        codes.iter().all(|(_, code)| *code == codes[0].1),
        "{codes:#?}"
    );
    Ok(())
}

#[test]
fn what_lost_most() -> Result<()> {
    let (_db, mut client) = with_plant("loss_pareto")?;
    client.batch_execute(
        "INSERT INTO plant.assets (id, name, source_id, area) VALUES ('00000000-0000-0000-0000-000000000004', 'Press 1', 'P2', 'Stamping')",
    )?;
    let row = |source: &str, date: &str, down: f64, waste: i32| json!({"source_id": source, "report_date": date, "total_count": 1000, "waste_count": waste, "downtime_minutes": down});
    ingest(
        &mut client,
        "daily",
        &json!([
            // 300 an hour and 5 a unit; the second one of that name has the defaults, 100 and 10.
            row("P1", "2026-01-10", 60.0, 10),
            row("P1", "2026-01-12", 30.5, 0),
            row("P2", "2026-01-11", 6.0, 4),
            row("L4", "2026-01-10", 45.0, 0),
            row("M7", "2026-01-12", 0.0, 0),
            // Outside.
            row("P1", "2026-01-09", 400.0, 900),
            row("P1", "2026-01-13", 400.0, 900)
        ]),
    )?;
    let pareto = |client: &mut Client, by: &str| {
        seen(
            client,
            &format!(
                "SELECT rank, name, loss, minutes, share, cumulative_share FROM plant.loss_pareto('2026-01-10', '2026-01-12'{by})"
            ),
        )
    };
    // 300 + 50 + 152.50, 10 + 40, 45.
    let by_asset = [
        "1 | Press 1 | 502.50 | 91.00 | 84.10 | 84.10",
        "2 | Press 1 | 50.00 | 6.00 | 8.37 | 92.47",
        "3 | Lathe 4 | 45.00 | 45.00 | 7.53 | 100.00",
    ];
    assert_eq!(pareto(&mut client, ""), by_asset);
    assert_eq!(pareto(&mut client, ", 'asset'"), by_asset);
    assert_eq!(
        pareto(&mut client, ", 'area'"),
        [
            "1 | Stamping | 552.50 | 97.00 | 92.47 | 92.47",
            "2 | Machining | 45.00 | 45.00 | 7.53 | 100.00"
        ]
    );
    assert_eq!(
        pareto(&mut client, ", 'kind'"),
        [
            "1 | downtime | 507.50 | 142.00 | 84.94 | 84.94",
            "2 | waste | 90.00 | 0.00 | 15.06 | 100.00"
        ]
    );
    // Stops between the begin of the first production day and the end of the last one, by the plant's clock.
    client.batch_execute(&format!(
        "UPDATE plant.settings SET time_zone = 'Asia/Bangkok';
         INSERT INTO plant.machine_states (asset_id, started_at, ended_at, state, reason_code) VALUES
           ('{PRESS}', '2026-01-10 05:00+07', '2026-01-10 07:00+07', 'stopped', 'jam'), ('{PRESS}', '2026-01-13 05:30+07', '2026-01-13 06:30+07', 'stopped', NULL),
           ('{MILL}', '2026-01-11 12:00+07', '2026-01-11 12:30+07', 'stopped', 'jam'), ('{LATHE}', '2026-01-11 12:00+07', '2026-01-11 12:30+07', 'stopped', 'no reason'),
           ('{MILL}', '2026-01-11 13:00+07', '2026-01-11 19:30+07', 'planned_stop', 'break'), ('{LATHE}', '2026-01-09 12:00+07', '2026-01-09 13:00+07', 'stopped', 'before')"
    ))?;
    // An hour at 300 and half an hour at 100; half an hour at 300 without a reason, and one called that.
    assert_eq!(
        pareto(&mut client, ", 'reason'"),
        [
            "1 | jam | 350.00 | 90.00 | 66.04 | 66.04",
            "2 | no reason | 150.00 | 30.00 | 28.30 | 94.34",
            "3 | no reason | 30.00 | 30.00 | 5.66 | 100.00",
        ]
    );
    for by in ["", "'Asset'", "NULL", "'asset; DROP TABLE plant.assets'"] {
        let by = if by.is_empty() { "''" } else { by };
        let error = refused(
            &mut client,
            &format!("SELECT * FROM plant.loss_pareto('2026-01-10', '2026-01-12', {by})"),
            "22023",
        );
        assert!(
            error.detail().is_some() && error.hint().is_some_and(|hint| hint.contains("reason")),
            "{error:?}"
        );
    }
    for by in ["asset", "area", "kind", "reason"] {
        assert_eq!(
            seen(
                &mut client,
                &format!("SELECT * FROM plant.loss_pareto('2025-01-10', '2025-01-12', '{by}')")
            ),
            [""; 0]
        );
    }
    Ok(())
}

/// Shares of many losses: each by hand, and 100 at the end.
#[test]
fn shares_end_at_a_hundred() -> Result<()> {
    let (_db, mut client) = with_plant("pareto_shares")?;
    history(&mut client)?;
    for (from, to) in [("2025-12-20", "2026-02-28"), ("2026-01-03", "2026-01-03")] {
        for by in ["asset", "area", "kind"] {
            assert_eq!(
                value(
                    &mut client,
                    &format!(
                        "SELECT max(cumulative_share) = 100 AND count(*) = max(rank) AND bool_and(loss > 0) FROM plant.loss_pareto('{from}', '{to}', '{by}')"
                    )
                ),
                "t"
            );
            assert_same(
                &mut client,
                &format!("SELECT sum(loss) FROM plant.loss_pareto('{from}', '{to}', '{by}')"),
                &format!(
                    "SELECT sum(financial_loss_dollars) FROM plant.daily_summaries WHERE report_date BETWEEN '{from}' AND '{to}'"
                ),
                by,
            );
        }
    }
    Ok(())
}

/// A caller that forgot its dates learns so in the same way from every one of them, and never from a panic.
#[test]
fn forgotten_dates() -> Result<()> {
    let (_db, mut client) = with_plant("reading_nulls")?;
    for call in [
        "loss_pareto(NULL, '2026-01-12', 'reason')",
        "loss_pareto('2026-01-10', NULL, 'reason')",
        "loss_pareto(NULL, NULL)",
        "oee_trend(NULL, NULL, NULL)",
        "oee_trend(NULL, '2026-01-10', '2026-01-12', NULL)",
        "safety_summary(NULL, '2026-01-12')",
        "target_at(NULL, NULL)",
    ] {
        if let Err(error) = client.simple_query(&format!("SELECT * FROM plant.{call}")) {
            let code = error
                .code()
                .map(|code| code.code().to_owned())
                .unwrap_or_default();
            assert!(
                ["22004", "22023"].contains(&code.as_str()),
                "{call}: {error:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn safety_by_severity_and_code() -> Result<()> {
    let (_db, mut client) = with_plant("safety_summary")?;
    client.batch_execute(&format!(
        "UPDATE plant.settings SET time_zone = 'Asia/Bangkok', day_starts_at = '00:00';
         INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity, is_resolved, resolved_at, duration_minutes, financial_impact) VALUES
           ('{PRESS}', '2026-01-10 00:00+07', 'Guard', 'low', false, NULL, 10, 100),
           ('{PRESS}', '2026-01-10 12:00+07', 'Guard', 'critical', true, '2026-01-10 13:00+07', NULL, NULL),
           ('{LATHE}', '2026-01-10 14:00+07', 'Guard', 'critical', true, '2026-01-10 17:00+07', 2.5, 1.25),
           ('{LATHE}', '2026-01-11 08:00+07', 'Guard', 'critical', false, NULL, 1.5, NULL),
           ('{LATHE}', '2026-01-11 07:00+07', 'Alarm', 'critical', false, NULL, NULL, NULL),
           ('{LATHE}', '2026-01-12 23:59:59.999999+07', 'Alarm', 'high', false, NULL, NULL, NULL),
           ('{PRESS}', '2026-01-09 23:59:59.999999+07', 'Guard', 'low', false, NULL, 10, 100),
           ('{PRESS}', '2026-01-13 00:00+07', 'Guard', 'low', false, NULL, 10, 100)"
    ))?;
    assert_eq!(
        seen(
            &mut client,
            "SELECT severity, reason_code, events, open, resolved, assets, oldest_open AT TIME ZONE 'Asia/Bangkok', mean_time_to_resolve, duration_minutes, financial_impact
               FROM plant.safety_summary('2026-01-10', '2026-01-12')"
        ),
        [
            "critical | Alarm | 1 | 1 | 0 | 1 | 2026-01-11 07:00:00 | - | - | -",
            "critical | Guard | 3 | 1 | 2 | 2 | 2026-01-11 08:00:00 | 02:00:00 | 4.00 | 1.25",
            "high | Alarm | 1 | 1 | 0 | 1 | 2026-01-12 23:59:59.999999 | - | - | -",
            "low | Guard | 1 | 1 | 0 | 1 | 2026-01-10 00:00:00 | - | 10.00 | 100.00",
        ]
    );
    assert_eq!(
        seen(
            &mut client,
            "SELECT * FROM plant.safety_summary('2027-01-10', '2027-01-12')"
        ),
        [""; 0]
    );
    // The days are the plant's: what happens at night belongs to the day before.
    client.batch_execute("UPDATE plant.settings SET day_starts_at = '06:00'")?;
    assert_eq!(
        seen(
            &mut client,
            "SELECT severity, reason_code, events, oldest_open AT TIME ZONE 'Asia/Bangkok'
               FROM plant.safety_summary('2026-01-12', '2026-01-12')"
        ),
        [
            "high | Alarm | 1 | 2026-01-12 23:59:59.999999",
            "low | Guard | 1 | 2026-01-13 00:00:00",
        ]
    );
    Ok(())
}

#[test]
fn the_page_has_the_data_and_escapes_it() -> Result<()> {
    let (_db, mut client) = with_plant("report_page")?;
    const HOSTILE: &str = "<script>window.hacked=1</script>\"><img src=x onerror=alert(1)>";
    client.execute(
        "UPDATE plant.assets SET name = $1, area = '</td><b>' WHERE source_id = 'L4'",
        &[&HOSTILE],
    )?;
    client.execute(
        "UPDATE plant.settings SET plant_name = $1, currency = 'EUR'",
        &[&HOSTILE],
    )?;
    client.execute(
        &format!("INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity, description) VALUES ('{LATHE}', '2026-01-15 10:00Z', '<i>code', 'high', $1)"),
        &[&HOSTILE],
    )?;
    ingest(
        &mut client,
        "daily",
        &json!([
            {"source_id": "P1", "report_date": "2026-01-15", "total_count": 700, "good_count": 600, "downtime_minutes": 80},
            {"source_id": "L4", "report_date": "2026-01-15", "total_count": 500, "waste_count": 12, "downtime_minutes": 30}
        ]),
    )?;
    const PAGE: &str = "SELECT plant.morning_report_html('2026-01-15')";
    let page = as_user(&mut client, "authenticated", None, |tx| {
        Ok(tx.query_one(PAGE, &[])?.get::<_, String>(0))
    })?;
    assert!(
        page.starts_with("<!DOCTYPE html>") || page.starts_with("<!doctype html>"),
        "{}",
        &page[..60]
    );
    for shown in [
        "Press 1",
        "Mill 7",
        "62.5",
        "48.8",
        "900.00",
        "EUR",
        "15 January 2026",
        "The largest loss was downtime: 80 of 480 planned minutes",
        "&lt;script&gt;window.hacked=1&lt;/script&gt;",
        "&lt;i&gt;code",
    ] {
        let escaped = shown.replace("&lt;", "&#60;").replace("&gt;", "&#62;");
        assert!(
            page.contains(shown) || page.contains(&escaped),
            "no {shown}"
        );
    }
    for raw in [
        "<script",
        "<img",
        "</td><b>",
        "<i>code",
        "http-equiv=\"refresh\"",
        " onerror=alert(1)>",
    ] {
        assert!(!page.contains(raw), "{raw} in the page");
    }
    // Nobody's day is a page, too; so is a plant without machines.
    for (date, shown) in [
        ("'2020-01-01'", "1 January 2020"),
        ("NULL", "Press 1"),
        ("plant.today()", "Press 1"),
    ] {
        let page = value(
            &mut client,
            &format!("SELECT plant.morning_report_html({date})"),
        );
        assert!(
            page.contains(shown) && page.trim_end().ends_with("</html>"),
            "{date}"
        );
    }
    client.batch_execute("DELETE FROM plant.safety_events; DELETE FROM plant.assets")?;
    assert!(value(&mut client, PAGE).contains("no assets"));
    // What a reader may not see is not on the page.
    plant(&mut client)?;
    client.batch_execute("DROP POLICY assets_reader_select ON plant.assets")?;
    assert!(!seen(&mut client, PAGE).join("").contains("Press 1"));
    client.batch_execute("DELETE FROM plant.settings")?;
    let error = refused(&mut client, PAGE, "55000");
    assert!(error.hint().is_some());
    Ok(())
}

#[test]
fn who_may_read() -> Result<()> {
    let (_db, mut client) = with_plant("reading_roles")?;
    client.batch_execute("GRANT USAGE ON SCHEMA plant TO anon")?;
    for call in [
        "morning_report()",
        "morning_report('2026-01-15')",
        "live_status()",
        "oee_trend(NULL, '2026-01-01', '2026-01-02')",
        "loss_pareto('2026-01-01', '2026-01-02')",
        "loss_pareto('2026-01-01', '2026-01-02', 'reason')",
        "safety_summary('2026-01-01', '2026-01-02')",
        "morning_report_html()",
        "today()",
        "target_at('00000000-0000-0000-0000-000000000001', now())",
    ] {
        let sql = format!("SELECT count(*) FROM plant.{call}");
        refused_as(&mut client, "anon", &sql, "42501");
        let count = table(&mut client, &sql);
        for role in ["authenticated", "service_role"] {
            assert_eq!(table_as(&mut client, role, &sql), count, "{role}: {call}");
        }
    }
    Ok(())
}
