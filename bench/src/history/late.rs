//! Rows that come to a month that is closed, and a month that is opened and closed again.

use super::asking::{Digest, fetch};
use super::tiers::Tier;
use crate::Options;
use crate::data::LONG_COLUMNS;
use crate::report::{Report, factor, thousands};
use crate::samples::Samples;
use crate::server::{Server, progress, time};
use crate::sides::Side;
use anyhow::{Context, Result, ensure};
use postgres::Client;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Days of one sensor that are deleted, one after the other.
const DELETED: usize = 10;

/// Times that everything is read while late rows lie beside the segments.
const READS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Copy,
    Insert,
    Read,
    Delete,
    Fold,
    ReadFolded,
}

impl Step {
    fn name(self, rows: u64) -> String {
        let rows = thousands(rows);
        match self {
            Self::Copy => format!("COPY of {rows} late rows all over a closed month"),
            Self::Insert => format!("INSERT … SELECT of {rows} late rows all over a closed month"),
            Self::Read => "days of every sensor while these rows are late".to_owned(),
            Self::Delete => {
                "DELETE of a day of one sensor in a closed month, late rows and all".to_owned()
            }
            Self::Fold => "compress_partition() of that month: late rows merged".to_owned(),
            Self::ReadFolded => "days of every sensor after that".to_owned(),
        }
    }
}

/// The month, as the side with segments names it.
struct Month {
    partition: String,
    from: String,
    to: String,
}

pub fn measure(
    server: &Server,
    options: &Options,
    tiers: &[Tier],
    report: &mut Report,
) -> Result<()> {
    let wanted: i64 = if options.quick { 5_000 } else { 100_000 };
    let mut segments = server.connect(Tier::Segments.database())?;
    let month = month(&mut segments)?;
    let mut ordinary = server.connect(Tier::Ordinary.database())?;
    let first = file(options, &mut ordinary, &month, 30, wanted)?;
    let second = file(options, &mut ordinary, &month, 45, wanted)?;
    let days = days(&mut ordinary, &month)?;
    drop(ordinary);

    let mut times: BTreeMap<(Step, Tier), Samples> = BTreeMap::new();
    let mut expected: BTreeMap<Step, Digest> = BTreeMap::new();
    for tier in tiers.iter().copied().filter(|tier| *tier != Tier::Seed) {
        progress(&format!("late rows: {}", tier.label()));
        let mut client = server.connect(tier.database())?;
        client.batch_execute("CHECKPOINT")?;
        let mut note = |step, duration: Duration| {
            progress(&format!("  {step:?}: {:.4} s", duration.as_secs_f64()));
            times.entry((step, tier)).or_default().push(duration);
        };
        let (duration, rows) = time(|| tier.side().copy(&mut client, &first))?;
        ensure!(rows.cast_signed() == wanted, "{rows} late rows copied");
        note(Step::Copy, duration);

        let (duration, rows) = insert(tier.side(), &mut client, &second)?;
        ensure!(rows.cast_signed() == wanted, "{rows} late rows inserted");
        note(Step::Insert, duration);

        let mut read = |client: &mut Client, step, note: &mut dyn FnMut(Step, Duration)| {
            for _ in 0..READS {
                let (duration, found) = everything(tier.side(), client)?;
                note(step, duration);
                let wanted = expected.entry(step).or_insert_with(|| found.clone());
                ensure!(
                    *wanted == found,
                    "{step:?}: {} found {found:?} instead of {wanted:?}",
                    tier.label()
                );
            }
            anyhow::Ok(())
        };
        read(&mut client, Step::Read, &mut note)?;
        for (sensor, from, to) in &days {
            let sql = format!(
                r#"DELETE FROM {} WHERE sensor_id = $1 AND "timestamp" >= $2::text::timestamptz AND "timestamp" < $3::text::timestamptz"#,
                tier.side().table("sensor_readings")
            );
            let (duration, rows) = time(|| Ok(client.execute(&sql, &[sensor, from, to])?))?;
            ensure!(rows > 0, "{}: nothing was deleted", tier.label());
            note(Step::Delete, duration);
        }
        if tier == Tier::Segments {
            note(
                Step::Fold,
                time(|| call(&mut client, "compress_partition", &month))?.0,
            );
        }
        read(&mut client, Step::ReadFolded, &mut note)?;
    }
    rows(tiers, &times, wanted.unsigned_abs(), report);
    open_and_close(&mut segments, &month, report)
}

/// The one with the most rows.
fn month(client: &mut Client) -> Result<Month> {
    let row = client
        .query_opt(
            "SELECT h.partition::text, p.from_time::text, p.to_time::text
               FROM gemba.history h JOIN gemba.partitions p USING (partition)
              WHERE h.parent = 'telemetry.sensor_readings'::regclass ORDER BY h.rows DESC LIMIT 1",
            &[],
        )?
        .context("no month of readings is compressed")?;
    Ok(Month {
        partition: row.get(0),
        from: row.get(1),
        to: row.get(2),
    })
}

/// Rows of the month, taken here and there, so many seconds later.
fn file(
    options: &Options,
    client: &mut Client,
    month: &Month,
    seconds: u32,
    rows: i64,
) -> Result<PathBuf> {
    let path = options
        .work
        .join("history")
        .join(format!("late{seconds}.csv"));
    let mut reader = client.copy_out(&format!(
        r#"COPY (SELECT "timestamp" + interval '{seconds} seconds' AS "timestamp", sensor_id, floor_number, equipment_type,
                        reading_value, unit, status
                   FROM telemetry.sensor_readings
                  WHERE "timestamp" >= '{}' AND "timestamp" < timestamptz '{}' - interval '1 minute'
                  ORDER BY pg_catalog.hashtextextended(sensor_id || "timestamp", {seconds}) LIMIT {rows})
             TO STDOUT WITH (FORMAT csv, HEADER)"#,
        month.from, month.to
    ))?;
    io::copy(&mut reader, &mut File::create(&path)?)?;
    Ok(path)
}

/// Sensors and days in the middle of the month's readings.
fn days(client: &mut Client, month: &Month) -> Result<Vec<(String, String, String)>> {
    let rows = client.query(
        r#"WITH days AS (
             SELECT min("timestamp") + (max("timestamp") - min("timestamp")) / 2 AS middle
               FROM telemetry.sensor_readings
              WHERE "timestamp" >= $1::text::timestamptz AND "timestamp" < $2::text::timestamptz)
           SELECT r.sensor_id::text, date_trunc('day', d.middle, 'Asia/Bangkok')::text,
                  (date_trunc('day', d.middle, 'Asia/Bangkok') + interval '1 day')::text
             FROM days d CROSS JOIN LATERAL (
               SELECT sensor_id FROM telemetry.sensor_readings
                WHERE "timestamp" >= date_trunc('day', d.middle, 'Asia/Bangkok')
                  AND "timestamp" < date_trunc('day', d.middle, 'Asia/Bangkok') + interval '1 day'
                GROUP BY 1 ORDER BY 1 LIMIT $3) AS r"#,
        &[&month.from, &month.to, &(DELETED as i64)],
    )?;
    ensure!(!rows.is_empty(), "the month has no rows in its middle");
    Ok(rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect())
}

/// From a table that has the rows already.
fn insert(side: Side, client: &mut Client, file: &Path) -> Result<(Duration, u64)> {
    let readings = side.table("sensor_readings");
    client.batch_execute(&format!(
        "CREATE TEMP TABLE late AS SELECT {LONG_COLUMNS} FROM {readings} WITH NO DATA"
    ))?;
    client.batch_execute(&format!(
        "COPY late FROM '{}' WITH (FORMAT csv, HEADER)",
        file.to_string_lossy().replace('\'', "''")
    ))?;
    let result = time(|| {
        Ok(client.execute(
            &format!("INSERT INTO {readings} ({LONG_COLUMNS}) SELECT {LONG_COLUMNS} FROM late"),
            &[],
        )?)
    })?;
    client.batch_execute("DROP TABLE late")?;
    Ok(result)
}

fn everything(side: Side, client: &mut Client) -> Result<(Duration, Digest)> {
    fetch(
        client,
        &format!(
            r#"SELECT sensor_id, date_trunc('day', "timestamp", 'Asia/Bangkok') AS day, count(*), sum(reading_value),
                      min(reading_value), max(reading_value)
                 FROM {} GROUP BY 1, 2"#,
            side.table("sensor_readings")
        ),
    )
}

/// Calls a function of the engine on the month; returns its rows.
fn call(client: &mut Client, function: &str, month: &Month) -> Result<i64> {
    Ok(client
        .query_one(
            &format!("SELECT gemba.{function}($1::text::regclass)"),
            &[&month.partition],
        )?
        .get(0))
}

fn rows(tiers: &[Tier], times: &BTreeMap<(Step, Tier), Samples>, late: u64, report: &mut Report) {
    for step in [
        Step::Copy,
        Step::Insert,
        Step::Read,
        Step::Delete,
        Step::Fold,
        Step::ReadFolded,
    ] {
        let ordinary = times.get(&(step, Tier::Ordinary)).map(Samples::median);
        for tier in tiers {
            let Some(samples) = times.get(&(step, *tier)) else {
                continue;
            };
            let items = matches!(step, Step::Copy | Step::Insert).then_some(late);
            let baselines: Vec<_> = ordinary
                .filter(|_| *tier != Tier::Ordinary)
                .map(|median| (Tier::Ordinary.label(), median))
                .into_iter()
                .collect();
            report.timing(&step.name(late), tier.label(), samples, items, &baselines);
        }
    }
}

/// A month as an ordinary table again, and back.
fn open_and_close(client: &mut Client, month: &Month, report: &mut Report) -> Result<()> {
    let (opened, rows) = time(|| call(client, "decompress_partition", month))?;
    let ordinary: i64 = client
        .query_one(
            "SELECT pg_total_relation_size($1::text::regclass)",
            &[&month.partition],
        )?
        .get(0);
    client.batch_execute("CHECKPOINT")?;
    let (closed, again) = time(|| call(client, "compress_partition", month))?;
    ensure!(
        rows == again,
        "{rows} rows decompressed, {again} compressed"
    );
    let stored: i64 = client
        .query_one(
            "SELECT stored_bytes FROM gemba.history WHERE partition = $1::text::regclass",
            &[&month.partition],
        )?
        .get(0);
    for (what, duration) in [
        ("decompress_partition() of one month", opened),
        ("compress_partition() of one month", closed),
    ] {
        let mut samples = Samples::default();
        samples.push(duration);
        report.timing(
            what,
            Tier::Segments.label(),
            &samples,
            Some(rows.unsigned_abs()),
            &[],
        );
    }
    report.row(
        "that month, before and after",
        Tier::Segments.label(),
        format!(
            "{:.1} MB, {:.2} MB",
            ordinary as f64 / 1e6,
            stored as f64 / 1e6
        ),
        format!("{} rows", thousands(rows.unsigned_abs())),
        1,
        format!("{} smaller", factor(ordinary as f64 / stored.max(1) as f64)),
    );
    Ok(())
}
