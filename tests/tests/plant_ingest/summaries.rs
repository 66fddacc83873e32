//! The sentences of a day, and whose they change.

use super::plant_rows::*;
use super::with_plant;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn sentences() -> Result<()> {
    let (_db, mut client) = with_plant("summary_texts")?;
    client.batch_execute(&format!(
        "UPDATE plant.settings SET currency = 'EUR';
         UPDATE plant.assets SET oee_target = 62.5 WHERE id = '{LATHE}';
         INSERT INTO plant.shift_targets (asset_id, shift, target_output) VALUES ('{PRESS}', 'Day', 800)"
    ))?;
    ingest(
        &mut client,
        "daily",
        &json!([
            {"source_id": "P1", "report_date": "2026-01-14", "total_count": 760, "good_count": 700, "downtime_minutes": 35},
            {"source_id": "P1", "report_date": "2026-01-15", "total_count": 700, "good_count": 600, "downtime_minutes": 80},
            {"source_id": "P1", "report_date": "2026-01-16", "total_count": 960, "good_count": 960, "downtime_minutes": 0},
            {"source_id": "P1", "report_date": "2026-01-17", "total_count": 0, "downtime_minutes": 480},
            {"source_id": "P1", "report_date": "2026-01-18", "total_count": 0, "planned_minutes": 0, "downtime_minutes": 0, "good_count": 0},
            {"source_id": "P1", "report_date": "2026-01-19", "total_count": 900, "waste_count": 500, "downtime_minutes": 0.26},
            {"source_id": "L4", "report_date": "2026-01-15", "total_count": 625, "good_count": 625, "downtime_minutes": 0},
            {"source_id": "M7", "report_date": "2026-01-15", "total_count": 1}
        ]),
    )?;
    let text = |client: &mut _, source: &str, day: u32| {
        value(
            client,
            &format!(
                "SELECT d.smart_summary_text FROM plant.daily_summaries d JOIN plant.assets a ON a.id = d.asset_id
                  WHERE a.source_id = '{source}' AND d.report_date = '2026-01-{day}'"
            ),
        )
    };
    for (source, day, expected) in [
        // 21,000 of 28,800 s were effective. Lost: 35 min, 65 min to speed (26,700 − 22,800 s), 30 min to waste.
        (
            "P1",
            14,
            "Press 1 reached an OEE of 72.9%, 12.1 points below its target of 85.0%, and made 760 units (700 good, target 800). \
             The largest loss was slow running: 65 minutes lost to speed and small stops (performance 85.4%). \
             The losses cost 475.00 EUR.",
        ),
        // Example 7. The day before had 72.92.
        (
            "P1",
            15,
            "Press 1 reached an OEE of 62.5%, 22.5 points below its target of 85.0%, and made 700 units (600 good, target 800). \
             OEE was down 10.4 points on the day before, 10.4 below the median of the last 7 days. \
             The largest loss was downtime: 80 of 480 planned minutes (availability 83.3%). \
             The losses cost 900.00 EUR.",
        ),
        // Median of 72.92 and 62.50: 67.71.
        (
            "P1",
            16,
            "Press 1 reached an OEE of 100.0%, 15.0 points above its target of 85.0%, and made 960 units (all good, target 800). \
             OEE was up 37.5 points on the day before, 32.3 above the median of the last 7 days. \
             There were no losses.",
        ),
        // Median of 62.50, 72.92, 100.
        (
            "P1",
            17,
            "Press 1 made nothing (target 800) in 480 planned minutes: its OEE was 0.0%, 85.0 points below its target of 85.0%. \
             OEE was down 100.0 points on the day before, 72.9 below the median of the last 7 days. \
             The largest loss was downtime: 480 of 480 planned minutes (availability 0.0%). \
             The losses cost 2400.00 EUR; defaults stand in for good count.",
        ),
        (
            "P1",
            18,
            "Press 1 was not planned to run. It made nothing (target 800).",
        ),
        // Of the day before no OEE is known. Median of 0, 62.50, 72.92, 100: 67.71. 400 good of 900 are
        // 12,000 of 28,800 s; 500 thrown away took 250 min; 0.26 / 60 × 300 = 1.30.
        (
            "P1",
            19,
            "Press 1 reached an OEE of 41.7%, 43.3 points below its target of 85.0%, and made 900 units (400 good, target 800). \
             OEE was 26.0 points below the median of the last 7 days. \
             The largest loss was waste: 500 of 900 units (quality 44.4%). \
             The losses cost 2501.30 EUR.",
        ),
        // On its own target to the tenth; speed lost 225 of 600 minutes.
        (
            "L4",
            15,
            "Lathe 4 reached an OEE of 62.5%, on its target of 62.5%, and made 625 units (all good). \
             The largest loss was slow running: 225 minutes lost to speed and small stops (performance 62.5%). \
             Defaults stand in for ideal rate and cost per unit.",
        ),
        (
            "M7",
            15,
            "Mill 7 reached an OEE of 0.1%, 84.9 points below its target of 85.0%, and made 1 unit (1 good). \
             The largest loss was slow running: 479.4 minutes lost to speed and small stops (performance 0.1%). \
             Defaults stand in for planned minutes, downtime minutes, ideal rate, hourly rate, cost per unit and good count.",
        ),
    ] {
        assert_eq!(
            text(&mut client, source, day),
            expected,
            "{source} on the {day}th"
        );
    }
    Ok(())
}

/// Forty days of one machine, all different.
fn days() -> Vec<Value> {
    (0..40)
        .map(|day| {
            json!({"source_id": "P1", "report_date": format!("2026-{:02}-{:02}", 1 + day / 31, 1 + day % 31),
                   "total_count": 900, "good_count": 300 + (day * day * 131) % 577, "downtime_minutes": 0})
        })
        .collect()
}

const TEXTS: &str =
    "SELECT report_date, smart_summary_text FROM plant.daily_summaries ORDER BY report_date";

#[test]
fn texts_do_not_depend_on_the_order_of_arrival() -> Result<()> {
    let (_db, mut client) = with_plant("summary_order")?;
    ingest(&mut client, "daily", &json!(days()))?;
    let in_order = table(&mut client, TEXTS);
    assert_eq!(in_order.len(), 40);
    for text in in_order.iter().skip(1) {
        assert!(
            text.contains("the day before") && text.contains("the median of the last 7 days"),
            "{text}"
        );
    }
    for seed in 0..3 {
        client.batch_execute("DELETE FROM plant.daily_summaries")?;
        let mut random = Random::new(seed);
        let mut shuffled = days();
        random.shuffle(&mut shuffled);
        while !shuffled.is_empty() {
            let some =
                shuffled.split_off(shuffled.len().saturating_sub(1 + random.below(6) as usize));
            ingest(&mut client, "daily", &json!(some))?;
        }
        assert_eq!(table(&mut client, TEXTS), in_order, "seed {seed}");
    }
    Ok(())
}

#[test]
fn a_late_day_rewrites_the_seven_after_it() -> Result<()> {
    let (_db, mut client) = with_plant("summary_late")?;
    let mut others: Vec<Value> = days()
        .into_iter()
        .map(|mut day| {
            day["source_id"] = json!("L4");
            day
        })
        .collect();
    let mut all = days();
    // Its best day is missing, so that the medians after it are others.
    all[14]["good_count"] = json!(900);
    let late = all.remove(14);
    others.append(&mut all);
    ingest(&mut client, "daily", &json!(others))?;
    let state = |client: &mut _| -> BTreeSet<String> {
        table(
            client,
            "SELECT a.source_id, d.report_date, d.xmin, d.ctid, d.smart_summary_text
               FROM plant.daily_summaries d JOIN plant.assets a ON a.id = d.asset_id",
        )
        .into_iter()
        .collect()
    };
    let before = state(&mut client);
    assert_eq!(before.len(), 79);
    let answer = ingest(&mut client, "daily", &json!([late]))?;
    assert_eq!(answer.counts(), (1, 0, 0, 0));
    let dates = |rows: &BTreeSet<String>, than: &BTreeSet<String>| -> Vec<String> {
        rows.difference(than)
            .map(|row| row[..15].to_owned())
            .collect()
    };
    let after = state(&mut client);
    let seven: Vec<String> = (16..=22).map(|day| format!("P1 | 2026-01-{day}")).collect();
    assert_eq!(dates(&before, &after), seven, "rewritten");
    assert_eq!(
        dates(&after, &before),
        [&["P1 | 2026-01-15".to_owned()], seven.as_slice()].concat(),
        "new"
    );
    // Sent again it changes nothing, and another one changes the same seven.
    ingest(&mut client, "daily", &json!([late]))?;
    assert_eq!(state(&mut client), after);
    let mut corrected = late;
    corrected["good_count"] = json!(0);
    ingest(&mut client, "daily", &json!([corrected]))?;
    assert_eq!(
        dates(&after, &state(&mut client)),
        [&["P1 | 2026-01-15".to_owned()], seven.as_slice()].concat()
    );
    Ok(())
}
