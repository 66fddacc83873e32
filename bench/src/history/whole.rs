//! The whole data set.

use super::asking::{self, Room, Who};
use super::memory;
use super::questions;
use super::tiers::{Tier, database_bytes, fill_gemba, gemba_bytes};
use super::{policies, target};
use crate::Options;
use crate::data::FullData;
use crate::report::{Report, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress, time};
use anyhow::{Result, ensure};
use postgres::Client;
use std::fs;
use std::time::Duration;

const LOAD_LIMIT: Duration = Duration::from_secs(60);
const DATABASE_LIMIT: f64 = 150e6;
const BYTES_LIMIT: f64 = 1.0;

/// Of medians, whoever asks.
const QUERY_LIMITS: [(&str, Duration); 3] = [
    (questions::DAILY, Duration::from_secs(2)),
    (questions::HOURLY_YEAR, Duration::from_millis(20)),
    (questions::SENSOR_DAY, Duration::from_micros(500)),
];

pub fn measure(server: &Server, options: &Options, report: &mut Report) -> Result<()> {
    progress("history, the whole data set: making the files");
    let data = FullData::make(&options.work.join("history_full"), options.quick)?;
    let all = thousands(data.readings);
    let tier = Tier::Segments;
    server.create_database(tier.database())?;
    let mut client = server.connect(tier.database())?;
    client.batch_execute("CREATE EXTENSION gemba")?;
    client.batch_execute("CHECKPOINT")?;
    let steps = fill_gemba(&mut client, &data.wide, data.readings)?;
    fs::remove_dir_all(&data.wide)?;
    let mut total = Samples::default();
    total.push(steps.iter().map(|(_, duration)| *duration).sum());
    let words: Vec<_> = steps
        .iter()
        .map(|(name, duration)| format!("{name} {}", show(*duration)))
        .collect();
    report.row(
        &format!("from CSV to queryable with aggregates, all {all} readings"),
        tier.label(),
        show(total.median()),
        words.join(", "),
        1,
        String::new(),
    );
    target(
        report,
        &format!(
            "all {all} readings from CSV to queryable with aggregates in {}",
            show(LOAD_LIMIT)
        ),
        total.median() <= LOAD_LIMIT,
        &show(total.median()),
    );
    sizes(&mut client, &data, report)?;
    drop(client);

    let what = format!("all {all} readings: ");
    let sample = asking::prepare(server, tier)?;
    tier.settle(server)?;
    let room = Room::new(
        &what,
        &data.sensors,
        sample,
        data.range,
        String::new(),
        options,
    );
    let mut askers = [Who::Owner, Who::Professional, Who::OwnerOfSample, Who::Free]
        .into_iter()
        .map(|who| room.asker(server, tier, who))
        .collect::<Result<Vec<_>>>()?;
    let answers = room.ask(&questions::WHOLE, &mut askers, report)?;
    drop(askers);
    for (question, limit) in QUERY_LIMITS {
        if let Some((slowest, words)) = answers.everybody(question) {
            target(
                report,
                &format!("{what}{question} in {} (p50), whoever asks", show(limit)),
                slowest <= limit,
                &words,
            );
        }
    }
    policies(&answers, tier, report);
    scan(server, &data, report)?;
    server.drop_database(tier.database())
}

fn sizes(client: &mut Client, data: &FullData, report: &mut Report) -> Result<()> {
    let (readings, database) = (gemba_bytes(client)?, database_bytes(client)?);
    let each = |bytes: i64| bytes as f64 / data.readings as f64;
    let all = thousands(data.readings);
    report.row(
        &format!("bytes a reading, all {all} readings, indexes included"),
        Tier::Segments.label(),
        format!("{:.2}", each(readings)),
        format!(
            "{:.1} MB; the whole database {:.1} MB, {:.2} bytes a reading",
            readings as f64 / 1e6,
            database as f64 / 1e6,
            each(database)
        ),
        1,
        String::new(),
    );
    target(
        report,
        &format!(
            "the database with all {all} readings and aggregates in {:.0} MB",
            DATABASE_LIMIT / 1e6
        ),
        database as f64 <= DATABASE_LIMIT,
        &format!("{:.1} MB", database as f64 / 1e6),
    );
    target(
        report,
        &format!("at most {BYTES_LIMIT:.1} bytes a reading, indexes included"),
        each(readings) <= BYTES_LIMIT,
        &format!("{:.2}", each(readings)),
    );
    Ok(())
}

/// Every row with every column, in one process, and what that takes up.
fn scan(server: &Server, data: &FullData, report: &mut Report) -> Result<()> {
    let mut client = server.connect(Tier::Segments.database())?;
    client.batch_execute("SET max_parallel_workers_per_gather = 0")?;
    let ((duration, rows), peak) = memory::watch(&mut client, |client| {
        time(|| {
            // No aggregate that could be computed without rows.
            let row = client.query_one(
                r#"SELECT count(*) FILTER (WHERE num_nonnulls(id, "timestamp", sensor_id, floor_number, equipment_type,
                                                              reading_value, unit, status) > 0)
                     FROM telemetry.sensor_readings"#,
                &[],
            )?;
            Ok(row.get::<_, i64>(0))
        })
    })?;
    ensure!(
        rows.unsigned_abs() == data.readings,
        "{rows} of {} rows read",
        data.readings
    );
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let detail = peak.map_or_else(
        || "the system does not tell what it took up".to_owned(),
        |peak| {
            format!(
                "the backend's own memory (RssAnon, looked at every 5 ms) {} before, at most {} meanwhile; resident at most {} (VmHWM), shared buffers that it has touched included",
                megabytes(peak.before),
                megabytes(peak.own),
                megabytes(peak.resident)
            )
        },
    );
    let mut samples = Samples::default();
    samples.push(duration);
    let rate = data.readings as f64 / duration.as_secs_f64().max(1e-9);
    report.row(
        "every row and column read, one process",
        Tier::Segments.label(),
        format!(
            "{} ({} rows/s)",
            show(samples.median()),
            thousands(rate as u64)
        ),
        detail,
        1,
        String::new(),
    );
    Ok(())
}
