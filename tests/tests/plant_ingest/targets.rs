//! What is due of a target by a moment: shifts, production days, and clocks that change.

use super::plant_rows::*;
use super::{keep_all, with_plant};
use anyhow::Result;
use gemba_tests::expect_sqlstate;
use postgres::Client;
use serde_json::{Value, json};

/// What a snapshot at this moment is measured against.
fn due(client: &mut Client, at: &str) -> Result<String> {
    client.batch_execute("DELETE FROM plant.live_snapshots")?;
    let answer = ingest(
        client,
        "live",
        &json!([{"source_id": "P1", "snapshot_timestamp": at, "current_output": 0}]),
    )?;
    assert_eq!(answer.inserted, 1, "{at}: {answer:?}");
    Ok(
        table(client, "SELECT target_output FROM plant.live_snapshots")
            .pop()
            .unwrap_or_default(),
    )
}

/// `target_at` of the press: shift, date, local begin and end, target, due.
fn target_at(client: &mut Client, at: &str) -> String {
    table(
        client,
        &format!(
            "SELECT t.shift, t.production_date, t.starts_at AT TIME ZONE s.time_zone, t.ends_at AT TIME ZONE s.time_zone,
                    t.target_output, t.due_output
               FROM plant.settings s, plant.target_at('{PRESS}', '{at}') AS t"
        ),
    )
    .join("\n")
}

#[test]
fn a_shifts_target_by_the_plants_clock() -> Result<()> {
    let (_db, mut client) = with_plant("targets_bangkok")?;
    keep_all(&mut client)?;
    client.batch_execute(&format!(
        "UPDATE plant.settings SET time_zone = 'Asia/Bangkok';
         INSERT INTO plant.shift_targets (asset_id, shift, target_output, effective_date) VALUES
           ('{PRESS}', 'Day', 800, NULL), ('{PRESS}', 'Night', 400, NULL), ('{PRESS}', 'Night', 480, '2026-05-11')"
    ))?;
    for (at, expected) in [
        ("2026-05-10T06:00+07:00", "0"),
        ("2026-05-10T10:00+07:00", "400"),
        ("2026-05-10 03:00:00Z", "400"),
        ("2026-05-10T10:00", "400"),
        ("2026-05-10 10:00:18", "401"),
        ("2026-05-10 10:00:17.999999", "400"),
        ("2026-05-10T13:59:59.999999", "800"),
        // The shift between them has no target, and the day has none.
        ("2026-05-10T14:00", "-"),
        ("2026-05-10T21:59:59", "-"),
        // The night over midnight: half of it, and all but a minute.
        ("2026-05-10T22:00", "0"),
        ("2026-05-11T02:00", "200"),
        ("2026-05-11T05:59", "399"),
        // The next night has another target, and a night's date is that on which it began.
        ("2026-05-11T22:00", "0"),
        ("2026-05-12T02:00", "240"),
        ("2026-05-09T05:00-01:00", "700"),
    ] {
        assert_eq!(due(&mut client, at)?, expected, "{at}");
    }
    for (at, expected) in [
        (
            "2026-05-11 02:00+07",
            "Night | 2026-05-10 | 2026-05-10 22:00:00 | 2026-05-11 06:00:00 | 400 | 200",
        ),
        (
            "2026-05-12 02:00+07",
            "Night | 2026-05-11 | 2026-05-11 22:00:00 | 2026-05-12 06:00:00 | 480 | 240",
        ),
        (
            "2026-05-11 06:00+07",
            "Day | 2026-05-11 | 2026-05-11 06:00:00 | 2026-05-11 14:00:00 | 800 | 0",
        ),
        ("2026-05-11 14:00+07", ""),
    ] {
        assert_eq!(target_at(&mut client, at), expected, "{at}");
    }
    // The day's target is nobody's while shifts have their own …
    client.batch_execute(&format!(
        "INSERT INTO plant.shift_targets (asset_id, target_output) VALUES ('{PRESS}', 2400)"
    ))?;
    assert_eq!(due(&mut client, "2026-05-10T18:00")?, "-");
    assert_eq!(due(&mut client, "2026-05-11T02:00")?, "200");
    // … and otherwise each shift has its share, because the counters start again with it.
    client.batch_execute("DELETE FROM plant.shift_targets WHERE shift IS NOT NULL")?;
    assert_eq!(due(&mut client, "2026-05-10T18:00")?, "400");
    assert_eq!(due(&mut client, "2026-05-11T02:00")?, "400");
    assert_eq!(
        target_at(&mut client, "2026-05-10 18:00+07"),
        "Swing | 2026-05-10 | 2026-05-10 14:00:00 | 2026-05-10 22:00:00 | 800 | 400"
    );
    // The row's own target comes first, zero included.
    for target in [json!(7), json!(0), json!("12")] {
        client.batch_execute("DELETE FROM plant.live_snapshots")?;
        ingest(
            &mut client,
            "live",
            &json!([{"source_id": "P1", "snapshot_timestamp": "2026-05-10T10:00", "current_output": 0, "target_output": target}]),
        )?;
        assert_eq!(
            value(
                &mut client,
                "SELECT target_output FROM plant.live_snapshots"
            ),
            target.to_string().trim_matches('"')
        );
    }
    Ok(())
}

#[test]
fn nights_on_which_the_clocks_change() -> Result<()> {
    let (_db, mut client) = with_plant("targets_berlin")?;
    keep_all(&mut client)?;
    client.batch_execute(&format!(
        "UPDATE plant.settings SET time_zone = 'Europe/Berlin';
         INSERT INTO plant.shift_targets (asset_id, shift, target_output, effective_date) VALUES
           ('{PRESS}', 'Night', 700, NULL), ('{PRESS}', 'Night', 900, '2026-10-01')"
    ))?;
    for (at, expected) in [
        // Seven hours, from 22:00 to 06:00.
        ("2026-03-28T22:00+01:00", "0"),
        ("2026-03-29T01:00+01:00", "300"),
        ("2026-03-29T03:00+02:00", "400"),
        ("2026-03-29T04:00", "500"),
        ("2026-03-29T05:59:59.999999+02:00", "700"),
        ("2026-03-29T04:00Z", "-"),
        // An hour that does not exist, taken as the server takes it.
        ("2026-03-29T02:30", "450"),
        // Nine hours, with 02:30 twice; without a zone it is the second one, as for the server.
        ("2026-10-25T02:30+02:00", "450"),
        ("2026-10-25T02:30+01:00", "550"),
        ("2026-10-25T02:30", "550"),
        ("2026-10-25T03:00", "600"),
        ("2026-10-25T04:59:59.999999Z", "900"),
        // An ordinary night has eight.
        ("2026-10-27T02:00", "450"),
    ] {
        assert_eq!(due(&mut client, at)?, expected, "{at}");
    }
    for at in [
        "2026-03-29 02:30",
        "2026-10-25 02:30",
        "2026-10-25 01:59:59",
        "2026-03-29 03:00",
    ] {
        due(&mut client, at)?;
        assert_eq!(
            value(
                &mut client,
                &format!(
                    "SELECT snapshot_timestamp = timestamp '{at}' AT TIME ZONE 'Europe/Berlin' FROM plant.live_snapshots"
                )
            ),
            "t",
            "{at}"
        );
    }
    Ok(())
}

#[test]
fn counters_of_the_whole_day() -> Result<()> {
    let (_db, mut client) = with_plant("targets_day")?;
    keep_all(&mut client)?;
    client.batch_execute(&format!(
        "UPDATE plant.settings SET time_zone = 'Europe/Berlin', live_counts_per = 'day';
         INSERT INTO plant.shift_targets (asset_id, shift, target_output) VALUES
           ('{PRESS}', 'Day', 800), ('{PRESS}', 'Night', 400), ('{LATHE}', NULL, 240)"
    ))?;
    for (at, expected) in [
        ("2026-05-10T06:00", "0"),
        ("2026-05-10T10:00", "400"),
        // Nothing more is due while the shift without a target is on.
        ("2026-05-10T14:00", "800"),
        ("2026-05-10T20:00", "800"),
        ("2026-05-11T02:00", "1000"),
        ("2026-05-11T05:59:59.9", "1200"),
        ("2026-05-11T06:00", "0"),
    ] {
        assert_eq!(due(&mut client, at)?, expected, "{at}");
    }
    assert_eq!(
        target_at(&mut client, "2026-05-11 02:00+02"),
        "- | 2026-05-10 | 2026-05-10 06:00:00 | 2026-05-11 06:00:00 | 1200 | 1000"
    );
    // A day of its own target has 24 hours, and 23 when the clocks go forward.
    for (at, expected) in [
        ("2026-05-10 18:00+02", "120"),
        ("2026-03-28 17:30+01", "120"),
        ("2026-05-10 06:00+02", "0"),
    ] {
        assert_eq!(
            value(
                &mut client,
                &format!("SELECT due_output FROM plant.target_at('{LATHE}', '{at}')")
            ),
            expected,
            "{at}"
        );
    }
    // With shifts again.
    client.batch_execute("UPDATE plant.settings SET live_counts_per = 'shift'")?;
    assert_eq!(due(&mut client, "2026-05-11T02:00")?, "200");
    Ok(())
}

/// Random moments, against the plain reckoning of a plant whose three shifts share the day.
#[test]
fn random_moments() -> Result<()> {
    let (_db, mut client) = with_plant("targets_random")?;
    keep_all(&mut client)?;
    client.batch_execute(&format!(
        "UPDATE plant.settings SET day_starts_at = '05:30';
         UPDATE plant.shifts SET starts_at = '05:30', ends_at = '13:45' WHERE name = 'Day';
         UPDATE plant.shifts SET starts_at = '13:45', ends_at = '21:15' WHERE name = 'Swing';
         UPDATE plant.shifts SET starts_at = '21:15', ends_at = '05:30' WHERE name = 'Night';
         INSERT INTO plant.shift_targets (asset_id, shift, target_output, effective_date)
           SELECT '{PRESS}', s.name, 100 + 77 * length(s.name) + 13 * i, CASE WHEN i > 0 THEN date '2026-01-01' + 31 * i END
             FROM plant.shifts s, generate_series(0, 8) AS i WHERE s.name <> 'Swing' OR i > 2"
    ))?;
    let mut random = Random::new(11);
    for zone in [
        "Europe/Berlin",
        "Asia/Bangkok",
        "America/New_York",
        "Australia/Lord_Howe",
    ] {
        client.batch_execute("DELETE FROM plant.live_snapshots")?;
        client.execute("UPDATE plant.settings SET time_zone = $1", &[&zone])?;
        // Most of them on days when some of these clocks change.
        let rows: Vec<Value> = (0..600)
            .map(|i| {
                let day = match i % 6 {
                    0 => "2026-03-08",
                    1 => "2026-03-28",
                    2 => "2026-03-29",
                    3 => "2026-10-25",
                    4 => "2026-04-05",
                    _ => "2026-01-31",
                };
                let second = random.below(86_400);
                let at = format!(
                    "{day}T{:02}:{:02}:{:02}.{i:06}Z",
                    second / 3600,
                    second / 60 % 60,
                    second % 60
                );
                json!({"source_id": "P1", "snapshot_timestamp": at, "current_output": i})
            })
            .collect();
        assert_eq!(ingest(&mut client, "live", &json!(rows))?.inserted, 600);
        assert_same(
            &mut client,
            "SELECT snapshot_timestamp, target_output FROM plant.live_snapshots",
            &format!(
                "WITH moments AS (
                   SELECT snapshot_timestamp AS at, day FROM plant.live_snapshots, LATERAL (
                     SELECT ((snapshot_timestamp AT TIME ZONE '{zone}')::date - back) AS day FROM generate_series(0, 1) AS back) AS d
                 ), shifts AS (
                   SELECT m.at, m.day, s.name, (m.day + s.starts_at) AT TIME ZONE '{zone}' AS f,
                          (m.day + (s.ends_at <= s.starts_at)::int + s.ends_at) AT TIME ZONE '{zone}' AS t
                     FROM moments m CROSS JOIN plant.shifts s
                 )
                 SELECT l.snapshot_timestamp,
                        (SELECT floor(t.target_output * extract(epoch FROM s.at - s.f) / extract(epoch FROM s.t - s.f) + 0.5)::int
                           FROM shifts s JOIN plant.shift_targets t ON t.shift = s.name AND coalesce(t.effective_date, '-infinity') <= s.day
                          WHERE s.at = l.snapshot_timestamp AND s.at >= s.f AND s.at < s.t
                          ORDER BY t.effective_date DESC NULLS LAST LIMIT 1)
                   FROM plant.live_snapshots l"
            ),
            zone,
        );
    }
    Ok(())
}

#[test]
fn no_settings_no_target() -> Result<()> {
    let (_db, mut client) = with_plant("targets_settings")?;
    client.batch_execute("DELETE FROM plant.settings")?;
    for call in [
        "target_at(NULL::uuid, now())".replace("NULL::uuid", &format!("'{PRESS}'")),
        "ingest_live('[]')".to_owned(),
        "ingest_daily('[]')".to_owned(),
    ] {
        let error = expect_sqlstate(
            client.execute(&format!("SELECT * FROM plant.{call}"), &[]),
            "55000",
        );
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{error:?}"
        );
    }
    Ok(())
}
