//! The questions that a dashboard asks, against answers by hand; and what they cost the planner.

mod telemetry_support;

use anyhow::{Result, ensure};
use gemba_tests::{Database, as_user, expect_sqlstate, extended};
use postgres::{Client, Error, GenericClient};
use std::io::Write as _;
use std::sync::OnceLock;
use telemetry_support::*;

/// Three sensors with holes, at the turn of a year, a month and a week; refreshed up to the last hours.
fn holes() -> Result<Database<'static>> {
    static HOLES: OnceLock<Result<Database<'static>, String>> = OnceLock::new();
    HOLES
        .get_or_init(|| made().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn made() -> Result<Database<'static>> {
    let db = extended("holes")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "INSERT INTO telemetry.sensors (sensor_id, floor_number, equipment_type, unit, sample_interval) VALUES
           ('a', 1, 'HVAC', 'kW', '10 minutes'), ('b', 1, 'HVAC', 'kW', '10 minutes'),
           ('c', 2, 'lighting', 'kW', '10 minutes'), ('d', 2, NULL, NULL, '1 hour'), ('silent', 3, 'HVAC', 'kW', '1 hour');
         SELECT telemetry.ensure_partitions('2018-11-01 00:00+07', '2019-03-01 00:00+07');
         INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, equipment_type, unit, reading_value, status)
           SELECT t, s.sensor_id, s.floor_number, s.equipment_type, s.unit,
                  CASE WHEN n % 11 = 0 THEN NULL ELSE (n * 7919 % 1000) / 8.0 + length(s.sensor_id) END,
                  CASE WHEN n % 97 = 0 THEN 'suspect' ELSE 'normal' END
             FROM telemetry.sensors s,
                  LATERAL (SELECT n, '2018-12-05 00:00+07'::timestamptz + n * interval '10 minutes' + ascii(s.sensor_id) * interval '1 second' AS t
                             FROM generate_series(1, 8000) n) g
            WHERE s.sensor_id <> 'silent'
              AND NOT t BETWEEN '2018-12-24 10:20+07' AND '2018-12-24 15:40+07'
              AND NOT t BETWEEN '2019-01-10 23:30+07' AND '2019-01-13 02:00+07'
              AND (s.sensor_id <> 'b' OR extract(day FROM t) > 9)
              AND (s.sensor_id <> 'd' OR n % 6 = 0);
         SELECT telemetry.refresh()",
    )?;
    // What no refresh has seen: new rows, a change, a removal.
    client.batch_execute(
        "INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, equipment_type, unit, reading_value)
           SELECT '2019-01-31 20:00+07'::timestamptz + n * interval '10 minutes', 'a', 1, 'HVAC', 'kW', n FROM generate_series(1, 100) n;
         UPDATE telemetry.sensor_readings SET reading_value = 500 WHERE sensor_id = 'c' AND \"timestamp\" BETWEEN '2018-12-31 16:00Z' AND '2018-12-31 17:30Z';
         DELETE FROM telemetry.sensor_readings WHERE sensor_id = 'b' AND \"timestamp\" BETWEEN '2019-01-20 03:00Z' AND '2019-01-20 09:00Z'",
    )?;
    Ok(db)
}

/// Start of the bucket that an expression lies in, without the extension's calendar.
fn bucket_of(bucket: &str, zone: &str, t: &str) -> String {
    match bucket {
        "1 day" => format!("date_trunc('day', {t}, '{zone}')"),
        "1 month" => format!("date_trunc('month', {t}, '{zone}')"),
        "7 days" => format!(
            "date_bin('7 days', {t} AT TIME ZONE '{zone}', '2001-01-01') AT TIME ZONE '{zone}'"
        ),
        _ => format!("date_bin('{bucket}', {t}, '2000-01-01 00:00Z')"),
    }
}

/// A series by hand: bucket, average, extremes, count, filled.
fn series_by_hand(
    sensor: &str,
    from: &str,
    to: &str,
    bucket: &str,
    fill: &str,
    zone: &str,
) -> String {
    let start = bucket_of(bucket, zone, &format!("'{from}'::timestamptz"));
    let of_reading = bucket_of(bucket, zone, "\"timestamp\"");
    let of_step = bucket_of(bucket, zone, "g");
    // Carried from before: the last value, or the average of the last hour where hours answer.
    let before = if bucket == "15 minutes" {
        format!(
            "SELECT reading_value AS mean FROM telemetry.sensor_readings
              WHERE sensor_id = '{sensor}' AND \"timestamp\" < {start} AND reading_value IS NOT NULL
              ORDER BY \"timestamp\" DESC LIMIT 1"
        )
    } else {
        format!(
            "SELECT avg(reading_value) AS mean FROM telemetry.sensor_readings
              WHERE sensor_id = '{sensor}' AND date_trunc('hour', \"timestamp\", 'UTC') =
                    (SELECT max(date_trunc('hour', \"timestamp\", 'UTC')) FROM telemetry.sensor_readings
                      WHERE sensor_id = '{sensor}' AND \"timestamp\" < {start} AND reading_value IS NOT NULL)"
        )
    };
    format!(
        "WITH known AS (
           SELECT {of_reading} AS b, avg(reading_value) AS mean, min(reading_value) AS low, max(reading_value) AS high,
                  count(reading_value) AS n
             FROM telemetry.sensor_readings
            WHERE sensor_id = '{sensor}' AND \"timestamp\" >= {start} AND \"timestamp\" < '{to}' GROUP BY 1
         ), step AS (
           SELECT DISTINCT {of_step} AS b FROM generate_series({start}, '{to}'::timestamptz - interval '1 second', '15 minutes') g
         ), before AS ({before})
         SELECT b, round(CASE WHEN mean IS NULL AND '{fill}' = 'previous'
                              THEN coalesce((SELECT k.mean FROM known k WHERE k.b < s.b AND k.mean IS NOT NULL ORDER BY k.b DESC LIMIT 1),
                                            (SELECT mean FROM before))
                              ELSE mean END, 8) AS avg,
                low, high, coalesce(n, 0) AS n, mean IS NULL AND '{fill}' = 'previous' AS filled
           FROM step s LEFT JOIN known USING (b) WHERE '{fill}' <> 'none' OR n > 0 ORDER BY b"
    )
}

fn series(sensor: &str, from: &str, to: &str, bucket: &str, fill: &str, zone: &str) -> String {
    format!(
        "SELECT bucket_start, round(avg_value, 8), min_value, max_value, reading_count, filled
           FROM telemetry.series('{sensor}', '{from}', '{to}', '{bucket}', '{fill}', '{zone}')"
    )
}

fn expect_same(
    client: &mut impl GenericClient,
    found: &str,
    by_hand: &str,
    what: &str,
) -> Result<usize> {
    let (found, want) = (rows(client, found)?, rows(client, by_hand)?);
    for (row, (a, b)) in found.iter().zip(&want).enumerate() {
        ensure!(a == b, "{what}: row {row} is {a}, by hand {b}");
    }
    ensure!(
        found.len() == want.len(),
        "{what}: {} rows, by hand {}",
        found.len(),
        want.len()
    );
    Ok(found.len())
}

const BANGKOK: &str = "Asia/Bangkok";
const FILLS: [&str; 3] = ["none", "null", "previous"];

#[test]
fn a_series_is_what_a_hand_would_count() -> Result<()> {
    let db = holes()?;
    let mut client = db.connect()?;
    for (from, to, buckets) in [
        (
            "2018-12-24 08:00+07",
            "2018-12-24 18:00+07",
            &["15 minutes", "1 hour"][..],
        ),
        // Begins within the gap: carried from before.
        (
            "2019-01-12 00:00+07",
            "2019-01-14 00:00+07",
            &["15 minutes", "1 hour", "1 day"],
        ),
        // Before everything, and beyond.
        (
            "2018-12-03 00:00+07",
            "2018-12-06 00:00+07",
            &["15 minutes", "1 hour", "1 day"],
        ),
        (
            "2019-01-29 00:00+07",
            "2019-02-03 00:00+07",
            &["1 hour", "1 day"],
        ),
        (
            "2018-12-10 00:00+07",
            "2019-02-04 00:00+07",
            &["1 day", "7 days"],
        ),
        (
            "2018-11-01 00:00+07",
            "2019-03-01 00:00+07",
            &["7 days", "1 month"],
        ),
        // Begins within a bucket.
        (
            "2018-12-31 23:20+07",
            "2019-01-02 00:00+07",
            &["1 hour", "1 day", "7 days", "1 month"],
        ),
    ] {
        for bucket in buckets {
            for fill in FILLS {
                for sensor in ["a", "b", "c", "d"] {
                    let what = format!("{sensor} {from} {to} {bucket} {fill}");
                    expect_same(
                        &mut client,
                        &series(sensor, from, to, bucket, fill, BANGKOK),
                        &series_by_hand(sensor, from, to, bucket, fill, BANGKOK),
                        &what,
                    )?;
                }
            }
        }
    }
    // Days and months of another zone, whole hours from UTC.
    for zone in ["UTC", "Europe/Berlin", "America/New_York"] {
        for (bucket, to) in [
            ("1 day", "2019-02-01 00:00"),
            ("1 month", "2019-03-01 00:00"),
        ] {
            let (from, to) = (format!("2018-12-01 00:00 {zone}"), format!("{to} {zone}"));
            let n = expect_same(
                &mut client,
                &series("a", &from, &to, bucket, "null", zone),
                &series_by_hand("a", &from, &to, bucket, "null", zone),
                &format!("{zone} {bucket}"),
            )?;
            assert!(n >= 3);
        }
    }
    Ok(())
}

#[test]
fn a_series_of_a_zone_that_is_no_whole_hours_from_utc() -> Result<()> {
    let db = holes()?;
    let mut client = db.connect()?;
    for zone in ["Asia/Kolkata", "Asia/Kathmandu"] {
        let (from, to) = (
            format!("2018-12-20 00:00 {zone}"),
            format!("2018-12-28 00:00 {zone}"),
        );
        expect_same(
            &mut client,
            &series("a", &from, &to, "1 day", "null", zone),
            &series_by_hand("a", &from, &to, "1 day", "null", zone),
            zone,
        )?;
    }
    Ok(())
}

/// `to_ts` is the first instant that is not asked for, also within an hour.
#[test]
fn a_series_ends_where_it_is_told() -> Result<()> {
    let db = holes()?;
    let mut client = db.connect()?;
    let (from, to) = ("2018-12-20 08:00+07", "2018-12-20 16:25+07");
    for bucket in ["15 minutes", "1 hour", "1 day"] {
        expect_same(
            &mut client,
            &series("a", from, to, bucket, "null", BANGKOK),
            &series_by_hand("a", from, to, bucket, "null", BANGKOK),
            bucket,
        )?;
    }
    Ok(())
}

#[test]
fn series_edges() -> Result<()> {
    let db = holes()?;
    let mut client = db.connect()?;
    let day = ("2018-12-20 00:00+07", "2018-12-21 00:00+07");
    // Of nothing: no rows, or empty buckets.
    for (fill, want) in [("none", 0), ("null", 24), ("previous", 24)] {
        for sensor in ["silent", "unknown"] {
            let call = format!(
                "telemetry.series('{sensor}', '{}', '{}', '1 hour', '{fill}')",
                day.0, day.1
            );
            assert_eq!(count(&mut client, &call)?, want, "{call}");
            assert_eq!(
                count(
                    &mut client,
                    &format!("{call} WHERE avg_value IS NOT NULL OR reading_count <> 0")
                )?,
                0
            );
        }
    }
    assert_eq!(
        count(
            &mut client,
            &format!("telemetry.series('a', '{}', '{}')", day.1, day.0)
        )?,
        0
    );
    assert_eq!(
        count(
            &mut client,
            &format!("telemetry.series('a', '{}', '{}')", day.0, day.0)
        )?,
        0
    );
    // The defaults: hours, gaps as NULL, the site's zone.
    assert_eq!(
        rows(
            &mut client,
            &format!(
                "SELECT * FROM telemetry.series('a', '{}', '{}')",
                day.0, day.1
            )
        )?,
        rows(
            &mut client,
            &format!(
                "SELECT * FROM telemetry.series('a', '{}', '{}', '1 hour', 'null', 'Asia/Bangkok')",
                day.0, day.1
            )
        )?
    );
    for (more, code) in [
        (", '1 hour', 'linear'", "22023"),
        (", '1 hour', NULL", "22023"),
        (", '0 hours'", "22023"),
        (", '-1 hour'", "22023"),
        (", '7 hours'", "22023"),
        (", '36 hours'", "22023"),
        (", '1 hour', 'null', 'Asia/Atlantis'", "22023"),
    ] {
        let call = format!(
            "SELECT * FROM telemetry.series('a', '{}', '{}'{more})",
            day.0, day.1
        );
        let error = expect_sqlstate(client.query(&call, &[]), code);
        assert!(
            error.hint().is_some() || more.contains("Atlantis"),
            "{more}: {error:?}"
        );
    }
    Ok(())
}

/// What is carried forward was there before the window: not a later value, and also when no refresh has seen it.
#[test]
fn what_is_carried_forward_is_from_before() -> Result<()> {
    let db = extended("carried")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "INSERT INTO telemetry.sensors (sensor_id, floor_number) VALUES ('s', 1);
         SELECT telemetry.ensure_partitions('2019-01-01 00:00+07', '2019-02-01 00:00+07');
         INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
           VALUES ('2019-01-05 10:00+07', 's', 1, 1), ('2019-01-05 10:50+07', 's', 1, 100)",
    )?;
    let first = |bucket: &str, from: &str| {
        format!(
            "SELECT round(avg_value) FROM telemetry.series('s', '2019-01-05 {from}+07', '2019-01-05 23:00+07', '{bucket}', 'previous') LIMIT 1"
        )
    };
    // Not refreshed yet.
    let unrefreshed = one(&mut client, &first("1 hour", "12:00"))?;
    client.batch_execute("SELECT telemetry.refresh()")?;
    assert_eq!(
        one(&mut client, &first("1 hour", "12:00"))?,
        unrefreshed,
        "a refresh changes the answer"
    );
    // At 10:15 nobody knows of 10:50.
    assert_eq!(one(&mut client, &first("15 minutes", "10:15"))?, "1");
    Ok(())
}

#[test]
fn totals_are_what_a_hand_would_count() -> Result<()> {
    let db = holes()?;
    let mut client = db.connect()?;
    let by_hand = |from: &str, to: &str, bucket: &str, zone: &str| {
        let of = bucket_of(bucket, zone, "r.\"timestamp\"");
        let start = bucket_of(bucket, zone, &format!("'{from}'::timestamptz"));
        format!(
            "SELECT b, floor_number, equipment_type, unit, count(*), round(sum(mean), 8), min(low), max(high), sum(n)::bigint
               FROM (SELECT {of} AS b, s.floor_number, s.equipment_type, s.unit, s.sensor_id, avg(reading_value) AS mean,
                            min(reading_value) AS low, max(reading_value) AS high, count(reading_value) AS n
                       FROM telemetry.sensor_readings r JOIN telemetry.sensors s USING (sensor_id)
                      WHERE r.\"timestamp\" >= {start} AND r.\"timestamp\" < '{to}' GROUP BY 1, 2, 3, 4, 5) q
              GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        )
    };
    let call = |from: &str, to: &str, bucket: &str, zone: &str| {
        format!(
            "SELECT bucket_start, floor_number, equipment_type, unit, sensors, round(total, 8), min_value, max_value, reading_count
               FROM telemetry.totals('{from}', '{to}', '{bucket}', '{zone}')"
        )
    };
    for (from, to, bucket, zone) in [
        (
            "2018-12-31 00:00+07",
            "2019-01-02 00:00+07",
            "1 hour",
            BANGKOK,
        ),
        (
            "2018-12-31 00:00+07",
            "2019-01-02 00:00+07",
            "6 hours",
            BANGKOK,
        ),
        (
            "2018-12-05 00:00+07",
            "2019-02-05 00:00+07",
            "1 day",
            BANGKOK,
        ),
        (
            "2018-12-03 00:00+07",
            "2019-02-04 00:00+07",
            "7 days",
            BANGKOK,
        ),
        (
            "2018-12-01 00:00+07",
            "2019-03-01 00:00+07",
            "1 month",
            BANGKOK,
        ),
        (
            "2018-12-31 05:00+07",
            "2019-01-05 00:00+07",
            "1 day",
            BANGKOK,
        ),
        ("2018-12-20 00:00Z", "2019-02-01 00:00Z", "1 day", "UTC"),
        (
            "2018-12-20 00:00+01",
            "2019-02-01 00:00+01",
            "1 day",
            "Europe/Berlin",
        ),
    ] {
        let n = expect_same(
            &mut client,
            &call(from, to, bucket, zone),
            &by_hand(from, to, bucket, zone),
            &format!("{from} {to} {bucket} {zone}"),
        )?;
        assert!(n > 3);
    }
    assert_eq!(
        count(&mut client, "telemetry.totals('2030-01-01', '2031-01-01')")?,
        0
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT * FROM telemetry.totals('2018-12-31 00:00+07', '2019-01-02 00:00+07')"
        )?,
        rows(
            &mut client,
            "SELECT * FROM telemetry.totals('2018-12-31 00:00+07', '2019-01-02 00:00+07', '24 hours', 'Asia/Bangkok')"
        )?
    );
    Ok(())
}

/// An end within a day means the same in every zone, whether days are kept ready for it or not.
#[test]
fn totals_end_alike_in_every_zone() -> Result<()> {
    let db = holes()?;
    let mut client = db.connect()?;
    let of = |zone: &str| {
        format!(
            "SELECT * FROM telemetry.totals('2018-12-31 00:00+07', '2019-01-01 12:00+07', '1 day', '{zone}')"
        )
    };
    // Jakarta's clocks show the same as Bangkok's.
    let n = expect_same(&mut client, &of(BANGKOK), &of("Asia/Jakarta"), "Jakarta")?;
    assert!(n > 3);
    Ok(())
}

/// Below the hour there are no aggregates: an answer by hand, or an error that says so.
#[test]
fn totals_below_the_hour_are_right_or_refused() -> Result<()> {
    let db = holes()?;
    let mut client = db.connect()?;
    let found = client.query(
        "SELECT 1 FROM telemetry.totals('2018-12-10 00:00+07', '2018-12-10 02:00+07', '30 minutes') WHERE floor_number = 1",
        &[],
    );
    match found {
        Ok(found) => assert_eq!(found.len(), 4, "two hours have four half hours"),
        Err(_) => drop(expect_sqlstate(found, "22023")),
    }
    let zone = "Asia/Kolkata";
    let found = client.query(
        &format!("SELECT sum(reading_count)::bigint FROM telemetry.totals('2018-12-10 00:00 {zone}', '2018-12-11 00:00 {zone}', '1 day', '{zone}')"),
        &[],
    );
    let want = count(
        &mut client,
        &format!(
            "telemetry.sensor_readings WHERE reading_value IS NOT NULL AND \"timestamp\" >= '2018-12-10 00:00 {zone}' AND \"timestamp\" < '2018-12-11 00:00 {zone}'"
        ),
    )?;
    match found {
        Ok(found) => assert_eq!(found[0].get::<_, Option<i64>>(0), Some(want)),
        Err(_) => drop(expect_sqlstate(found, "22023")),
    }
    Ok(())
}

#[test]
fn latest_values() -> Result<()> {
    let db = holes()?;
    let mut client = db.connect()?;
    let by_hand =
        "SELECT DISTINCT ON (sensor_id) sensor_id, \"timestamp\", reading_value, unit, status
                     FROM telemetry.sensor_readings ORDER BY sensor_id, \"timestamp\" DESC";
    assert_eq!(
        expect_same(
            &mut client,
            "SELECT * FROM telemetry.latest_values()",
            by_hand,
            "all"
        )?,
        4
    );
    for (named, want) in [
        ("ARRAY['c', 'a', 'silent', 'unknown', 'a']", vec!["a", "c"]),
        ("ARRAY['silent']", vec![]),
        ("'{}'", vec![]),
        ("ARRAY[NULL, 'b']", vec!["b"]),
    ] {
        let found: Vec<String> = client
            .query(
                &format!("SELECT sensor_id FROM telemetry.latest_values({named})"),
                &[],
            )?
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(found, want, "{named}");
    }
    // A sensor whose newest reading lies partitions back, and one whose newest has no value.
    let mut tx = client.transaction()?;
    tx.batch_execute(
        "INSERT INTO telemetry.sensors (sensor_id, floor_number, unit) VALUES ('old', 1, 'lux'), ('null', 1, 'lux');
         INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value, status)
           VALUES ('2018-11-02 00:00+07', 'old', 1, 5, 'suspect'), ('2018-12-02 00:00+07', 'null', 1, 5, 'normal'), ('2018-12-02 00:01+07', 'null', 1, NULL, 'normal')",
    )?;
    assert_eq!(
        rows(
            &mut tx,
            "SELECT sensor_id, \"timestamp\" AT TIME ZONE 'Asia/Bangkok', reading_value, unit, status FROM telemetry.latest_values(ARRAY['old', 'null'])"
        )?,
        [
            "(null,\"2018-12-02 00:01:00\",,lux,normal)",
            "(old,\"2018-11-02 00:00:00\",5.0000,lux,suspect)"
        ]
    );
    tx.rollback()?;
    Ok(())
}

#[test]
fn data_quality_counts_holes_and_suspects() -> Result<()> {
    let db = holes()?;
    let mut client = db.connect()?;
    let by_hand = |from: &str, to: &str| {
        format!(
            "SELECT s.sensor_id, d::date AS day, e.n AS expected, coalesce(r.n, 0) AS readings,
                    greatest(e.n - coalesce(r.n, 0), 0) AS missing, coalesce(r.odd, 0) AS suspect
               FROM telemetry.sensors s
              CROSS JOIN generate_series('{from}'::date, '{to}'::date - 1, '1 day') d
              CROSS JOIN LATERAL (SELECT (86400 / extract(epoch FROM s.sample_interval))::bigint AS n) e
               LEFT JOIN (SELECT sensor_id, (\"timestamp\" AT TIME ZONE 'Asia/Bangkok')::date AS day, count(reading_value) AS n,
                                 count(*) FILTER (WHERE status = 'suspect') AS odd
                            FROM telemetry.sensor_readings GROUP BY 1, 2) r ON r.sensor_id = s.sensor_id AND r.day = d::date
              ORDER BY 1, 2"
        )
    };
    let call = |from: &str, to: &str| {
        format!("SELECT * FROM telemetry.data_quality('{from} 00:00+07', '{to} 00:00+07')")
    };
    let n = expect_same(
        &mut client,
        &call("2018-12-03", "2019-02-04"),
        &by_hand("2018-12-03", "2019-02-04"),
        "two months",
    )?;
    assert_eq!(n, 5 * 63);
    // The hole that was made: a day of it whole, and a sensor that never said anything.
    assert_eq!(
        rows(
            &mut client,
            "SELECT day, expected, readings, missing, suspect FROM telemetry.data_quality('2019-01-11 00:00+07', '2019-01-12 00:00+07', ARRAY['a', 'silent', 'unknown'])"
        )?,
        ["(2019-01-11,144,0,144,0)", "(2019-01-11,24,0,24,0)"]
    );
    // A time within a day asks for that day whole.
    assert_eq!(
        rows(
            &mut client,
            "SELECT * FROM telemetry.data_quality('2018-12-24 09:00+07', '2018-12-24 12:00+07', ARRAY['a'])"
        )?,
        rows(
            &mut client,
            "SELECT * FROM telemetry.data_quality('2018-12-24 00:00+07', '2018-12-25 00:00+07', ARRAY['a'])"
        )?
    );
    Ok(())
}

#[test]
fn data_quality_of_a_slice_of_the_data_set() -> Result<()> {
    let db = extended("quality")?;
    let dir = folder(&db, "data")?;
    slice(&dir, "2018-09-11", "2018-09-13", &[1])?;
    let (columns, all) = said(&dir.join("2018Floor1.csv"))?;
    let mut client = db.connect()?;
    import(&mut client, &dir)?;
    for refreshed in [false, true] {
        if refreshed {
            client.batch_execute("SELECT telemetry.refresh()")?;
        }
        let found = client.query(
            "SELECT sensor_id, day::text, expected, readings, missing, suspect
               FROM telemetry.data_quality('2018-09-11 00:00+07', '2018-09-13 00:00+07')",
            &[],
        )?;
        assert_eq!(found.len(), 2 * columns.len());
        for row in found {
            let (sensor, day): (&str, &str) = (row.get(0), row.get(1));
            let of = all
                .iter()
                .filter(|r| r.sensor == sensor && r.time.starts_with(day));
            let (held, odd) = of.fold((0, 0), |(n, odd), r| {
                (n + 1, odd + i64::from(r.status == "suspect"))
            });
            let want: (i64, i64, i64, i64) = (1_440, held, 1_440 - held, odd);
            assert_eq!(
                (row.get(2), row.get(3), row.get(4), row.get(5)),
                want,
                "{sensor} {day}"
            );
        }
    }
    Ok(())
}

#[test]
fn copied_readings_make_their_sensors_known() -> Result<()> {
    let db = extended("copied")?;
    let mut client = db.connect()?;
    let plan = folder(&db, "data")?;
    slice(&plan, "2018-09-11", "2018-09-12", &[1])?;
    let (_, all) = said(&plan.join("2018Floor1.csv"))?;
    client.batch_execute(
        "SELECT telemetry.ensure_partitions('2018-09-01 00:00+07', '2018-10-01 00:00+07');
         SET ROLE service_role",
    )?;
    let mut copy = client.copy_in("COPY telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, equipment_type, reading_value, unit, status) FROM STDIN")?;
    for r in &all {
        writeln!(
            copy,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}",
            r.time, r.sensor, r.floor, r.equipment, r.value, r.unit, r.status
        )?;
    }
    writeln!(
        copy,
        "2018-09-11 00:00+07\tgadget\t-1\tteapot\t5\t\\N\tnormal"
    )?;
    copy.finish()?;
    assert_eq!(count(&mut client, "telemetry.sensors")?, 0);
    client.batch_execute("SELECT telemetry.refresh()")?;
    let known = rows(
        &mut client,
        "SELECT sensor_id, floor_number, equipment_type, unit, source FROM telemetry.sensors WHERE floor_number < 0 OR sensor_id = 'F1.z3.Light.kW' ORDER BY 1",
    )?;
    assert_eq!(
        known,
        [
            "(F1.z3.Light.kW,1,lighting,kW,\"written as readings\")",
            "(gadget,-1,,,\"written as readings\")"
        ]
    );
    let mut sensors: Vec<&str> = all.iter().map(|r| r.sensor.as_str()).collect();
    sensors.sort_unstable();
    sensors.dedup();
    assert_eq!(
        count(&mut client, "telemetry.sensors")?,
        sensors.len() as i64 + 1
    );
    assert_eq!(
        count(&mut client, "telemetry.latest_values()")?,
        sensors.len() as i64 + 1
    );
    let share: f64 = client
        .query_one("SELECT telemetry.choose_sample()", &[])?
        .get(0);
    assert!(share > 0.0);
    // The file then adds nothing but what it knows better is not forgotten either.
    client.batch_execute("RESET ROLE")?;
    let report = import(&mut client, &plan)?.remove(0);
    assert_eq!((report.inserted, report.duplicates), (0, all.len() as i64));
    expect_exact_aggregates(&mut client)
}

// Plans ------------------------------------------------------------------------------------------

/// A month with two floors' days in it, and users.
fn month() -> Result<Database<'static>> {
    static MONTH: OnceLock<Result<Database<'static>, String>> = OnceLock::new();
    MONTH
        .get_or_init(|| {
            let make = || -> Result<Database<'static>> {
                let db = extended("month")?;
                let dir = folder(&db, "data")?;
                slice(&dir, "2019-06-10", "2019-06-14", &[1, 2, 3])?;
                let mut client = db.connect()?;
                import(&mut client, &dir)?;
                client.batch_execute("SELECT telemetry.refresh()")?;
                user(&mut client, 2, &[("free", "active", None)])?;
                user(&mut client, 3, &[("professional", "active", None)])?;
                client.batch_execute("VACUUM ANALYZE telemetry.sensor_readings")?;
                Ok(db)
            };
            make().map_err(|error| format!("{error:#}"))
        })
        .clone()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn plan(client: &mut impl GenericClient, options: &str, sql: &str) -> Result<String, Error> {
    let lines = client.query(&format!("EXPLAIN ({options}) {sql}"), &[])?;
    Ok(lines
        .iter()
        .map(|row| row.get::<_, String>(0))
        .collect::<Vec<_>>()
        .join("\n"))
}

#[test]
fn floor_and_equipment_filters_can_use_an_index() -> Result<()> {
    let db = month()?;
    let mut client = db.connect()?;
    client.batch_execute(
        "SELECT gemba.decompress_partition('telemetry.sensor_readings_p20190601');
         SET enable_seqscan = off; SET max_parallel_workers_per_gather = 0",
    )?;
    for (filter, brin) in [
        ("floor_number = 3", true),
        ("equipment_type = 'lighting'", true),
        ("floor_number = 3 AND equipment_type = 'HVAC'", true),
        (
            "\"timestamp\" >= '2019-06-11 00:00+07' AND \"timestamp\" < '2019-06-11 06:00+07' AND floor_number = 2",
            true,
        ),
        (
            "sensor_id = 'F1.z1.Light.kW' AND \"timestamp\" >= '2019-06-11 00:00+07'",
            false,
        ),
        ("sensor_id = 'F1.z1.Light.kW' AND status = 'suspect'", false),
    ] {
        let sql =
            format!("SELECT count(*) FROM telemetry.sensor_readings_p20190601 WHERE {filter}");
        let found = plan(&mut client, "COSTS OFF", &sql)?;
        let index = found
            .lines()
            .filter(|line| line.contains("Index"))
            .collect::<Vec<_>>()
            .join("\n");
        assert!(
            !index.is_empty() && !found.contains("Seq Scan"),
            "{filter}: {found}"
        );
        if brin {
            let name = one(
                &mut client,
                "SELECT relname FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_am a ON a.oid = c.relam
                  WHERE i.indrelid = 'telemetry.sensor_readings_p20190601'::regclass AND amname = 'brin'",
            )?;
            assert!(found.contains(&name), "{filter}: {found}");
        }
        let by_index = count(
            &mut client,
            &format!("telemetry.sensor_readings WHERE {filter}"),
        )?;
        client.batch_execute("SET enable_seqscan = on; SET enable_bitmapscan = off; SET enable_indexscan = off; SET enable_indexonlyscan = off")?;
        assert_eq!(
            count(
                &mut client,
                &format!("telemetry.sensor_readings WHERE {filter}")
            )?,
            by_index,
            "{filter}"
        );
        client.batch_execute(
            "RESET ALL; SET enable_seqscan = off; SET max_parallel_workers_per_gather = 0",
        )?;
    }
    // One floor's file is one stretch of the partition: the summary leaves most of it out.
    let found = plan(
        &mut client,
        "ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF",
        "SELECT count(*) FROM telemetry.sensor_readings_p20190601 WHERE floor_number = 1",
    )?;
    let pages: i64 = client
        .query_one(
            "SELECT pg_relation_size('telemetry.sensor_readings_p20190601') / 8192",
            &[],
        )?
        .get(0);
    let read: i64 = found
        .split("lossy=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(pages);
    assert!(read * 2 < pages, "{read} of {pages} pages: {found}");
    Ok(())
}

#[test]
fn policies_ask_once_a_query() -> Result<()> {
    let db = month()?;
    let mut client = db.connect()?;
    client.batch_execute("SET track_functions = 'all'; SET max_parallel_workers_per_gather = 0")?;
    let queries = [
        "SELECT count(*) FROM telemetry.sensor_readings",
        "SELECT count(*) FROM telemetry.sensor_readings WHERE sensor_id = 'F1.z1.Light.kW'",
        "SELECT count(*) FROM telemetry.hourly_aggregates",
        "SELECT count(*) FROM telemetry.daily_aggregates",
        "SELECT count(*) FROM telemetry.sensors",
    ];
    let calls = |client: &mut Client| -> Result<i64> {
        // Counted when the transaction is over, at the latest when asked for.
        client.batch_execute("SELECT pg_stat_force_next_flush()")?;
        Ok(client
            .query_one(
                "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_user_functions
                  WHERE schemaname = 'telemetry' AND funcname IN ('sees_everything', 'sample_sensor_ids', 'access_tier')",
                &[],
            )?
            .get(0))
    };
    for (number, most) in [(2, 4), (3, 2)] {
        let id = format!("00000000-0000-0000-0000-{number:012}");
        for query in queries {
            let before = calls(&mut client)?;
            let found = as_user(&mut client, "authenticated", Some(&id), |tx| {
                let found = plan(tx, "COSTS OFF", query)?;
                tx.query(query, &[])?;
                Ok(found)
            })?;
            let asked = calls(&mut client)? - before;
            assert!(
                (1..=most).contains(&asked),
                "{query}: the policies asked {asked} times\n{found}"
            );
            assert!(found.contains("InitPlan"), "{query}: {found}");
            for line in found
                .lines()
                .filter(|line| line.contains("SubPlan") && line.contains("Filter"))
            {
                assert!(line.contains("hashed SubPlan"), "{query}: {found}");
            }
        }
        // Many partitions, many rows, one answer: the same number of questions.
        let before = calls(&mut client)?;
        as_user(&mut client, "authenticated", Some(&id), |tx| {
            tx.query(
                "SELECT * FROM telemetry.latest_values(ARRAY['F1.z1.Light.kW', 'F2.z1.Light.kW'])",
                &[],
            )
        })?;
        let asked = calls(&mut client)? - before;
        assert!(asked <= 24, "latest_values asked {asked} times");
    }
    Ok(())
}

/// What the planner expects of the live views decides how it joins them, and from `jit_above_cost` on whether a
/// query of a millisecond is compiled for half a second first.
#[test]
fn live_views_are_not_taken_for_monsters() -> Result<()> {
    let db = month()?;
    let mut client = db.connect()?;
    let limit: f64 = client
        .query_one(
            "SELECT boot_val::float8 FROM pg_settings WHERE name = 'jit_above_cost'",
            &[],
        )?
        .get(0);
    for query in [
        "SELECT * FROM telemetry.hourly_aggregates_live",
        "SELECT * FROM telemetry.daily_aggregates_live",
    ] {
        let found = plan(&mut client, "COSTS ON", query)?;
        let cost: f64 = found
            .split("..")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .unwrap_or(f64::MAX);
        assert!(cost < limit, "{query}: {cost}\n{found}");
    }
    Ok(())
}
