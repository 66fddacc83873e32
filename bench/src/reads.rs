//! Dashboard queries: each with random parameters, from a client, as different people.

use crate::Options;
use crate::data::{Data, Range};
use crate::report::{Report, factor};
use crate::samples::{Samples, show};
use crate::server::{Server, progress};
use crate::sides::Side;
use crate::writes::Kept;
use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use gemba_tests::Random;
use postgres::Client;
use postgres::types::Type;
use std::time::{Duration, Instant};

/// Calls before those that count: a pooled connection has its catalog at hand.
pub const WARM_UP: usize = 3;

pub const FREE_USER: &str = "00000000-0000-0000-0000-0000000000f1";
pub const PROFESSIONAL_USER: &str = "00000000-0000-0000-0000-0000000000a1";

/// A question that a dashboard asks. Parameters: sensor, from, to.
struct Query {
    name: &'static str,
    gemba: &'static str,
    plain: &'static str,
    days: u64,
    /// About one sensor, so that a free user gets as much as anybody.
    one_sensor: bool,
}

macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("../sql/queries/", $name, ".sql"))
    };
}

const QUERIES: [Query; 8] = [
    Query {
        name: "latest value of every sensor",
        gemba: sql!("latest.gemba"),
        plain: sql!("latest.plain"),
        days: 1,
        one_sensor: false,
    },
    Query {
        name: "one sensor, a day by hour",
        gemba: sql!("series_by_hour.gemba"),
        plain: sql!("series_by_hour.plain"),
        days: 1,
        one_sensor: true,
    },
    Query {
        name: "one sensor, a year by day",
        gemba: sql!("series_by_day.gemba"),
        plain: sql!("series_by_day.plain"),
        days: 365,
        one_sensor: true,
    },
    Query {
        name: "one sensor, a year by hour",
        gemba: sql!("series_by_hour.gemba"),
        plain: sql!("series_by_hour.plain"),
        days: 365,
        one_sensor: true,
    },
    Query {
        name: "totals of a day by floor and equipment type",
        gemba: sql!("totals.gemba"),
        plain: sql!("totals.plain"),
        days: 1,
        one_sensor: false,
    },
    Query {
        name: "one sensor, a day of readings",
        gemba: sql!("raw"),
        plain: sql!("raw"),
        days: 1,
        one_sensor: true,
    },
    Query {
        name: "one sensor, count and average of 30 days from hours",
        gemba: sql!("month.gemba"),
        plain: sql!("month.plain"),
        days: 30,
        one_sensor: true,
    },
    Query {
        name: "data quality of a day, every sensor",
        gemba: sql!("quality.gemba"),
        plain: sql!("quality.plain"),
        days: 1,
        one_sensor: false,
    },
];

/// Random parameters of one call.
struct Call {
    sensor: String,
    sample_sensor: String,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

fn calls(
    query: &Query,
    range: Range,
    sensors: &[String],
    sample: &[String],
    number: usize,
) -> Result<Vec<Call>> {
    ensure!(!sensors.is_empty(), "no sensors");
    ensure!(!sample.is_empty(), "no sensors in the sample");
    let mut random = Random::new(1);
    (0..number)
        .map(|_| {
            // Where the data is shorter than the window, the rest of the window is a gap.
            let starts = range.days().saturating_sub(query.days - 1).max(1);
            let from = range.from + TimeDelta::days(i64::try_from(random.below(starts))?);
            Ok(Call {
                sensor: random.pick(sensors).clone(),
                sample_sensor: random.pick(sample).clone(),
                from,
                to: from + TimeDelta::days(i64::try_from(query.days)?),
            })
        })
        .collect()
}

/// One call, all rows fetched; returns how many there were.
fn ask(client: &mut Client, sql: &str, sensor: &str, call: &Call) -> Result<(Duration, usize)> {
    let begin = Instant::now();
    let rows = client.query_typed(
        sql,
        &[
            (&sensor, Type::VARCHAR),
            (&call.from, Type::TIMESTAMPTZ),
            (&call.to, Type::TIMESTAMPTZ),
        ],
    )?;
    Ok((begin.elapsed(), rows.len()))
}

/// The queries on every side that the writes have left behind.
pub fn measure_small(
    server: &Server,
    options: &Options,
    data: &Data,
    kept: &Kept,
    report: &mut Report,
) -> Result<()> {
    report.note(&format!(
        "queries: {} calls each after {WARM_UP} that do not count, random sensors and days, planned anew each time, all rows fetched; the cache is warm. Users: `SET ROLE authenticated` with the claims of a token, among 10,000 others with subscriptions; the free user asks about sensors of the sample. The owner has no row security. Row security's cost: the same calls as the owner and as the user, in turns, p50 to p50. Seed and TimescaleDB: hand-written equivalents over their aggregates, no row security, and given a table of sensors that the seed does not have; they answer as of the last refresh, while gemba's functions also look for changes that no refresh has seen (here there are none)",
        options.calls
    ));
    for side in [Side::Seed, Side::Gemba, Side::Timescale] {
        if kept.has(side) {
            progress(&format!("queries: {} is made ready", side.label()));
            let mut client = server.connect(side.database())?;
            side.register_sensors(&mut client, &data.sensors)?;
            side.settle(&mut client)?;
            client.batch_execute(&format!(
                "VACUUM (ANALYZE) {}",
                if side == Side::Timescale {
                    String::new()
                } else {
                    format!(
                        "{}, {}",
                        side.table("hourly_aggregates"),
                        side.table("daily_aggregates")
                    )
                }
            ))?;
        }
    }
    let what = format!(
        "over {} readings: ",
        crate::report::thousands(data.readings)
    );
    let mut plain = vec![(Side::Seed, Side::Seed.label())];
    if kept.has(Side::Timescale) {
        plain.push((Side::Timescale, "TimescaleDB, not compressed"));
    }
    measure(server, options.calls, data.range, &what, &plain, report)
}

/// The queries as gemba's users and on the given other sides, in databases that are ready for them.
pub fn measure(
    server: &Server,
    calls_wanted: usize,
    range: Range,
    what: &str,
    plain: &[(Side, &str)],
    report: &mut Report,
) -> Result<()> {
    let mut owner = session(server, Side::Gemba)?;
    let sample = prepare_readers(&mut owner, what, report)?;
    let sensors: Vec<String> = names(
        &mut owner,
        "SELECT sensor_id::text FROM telemetry.sensors ORDER BY 1",
    )?;
    let mut sampled_owner = session(server, Side::Gemba)?;
    let mut professional = as_user(session(server, Side::Gemba)?, PROFESSIONAL_USER)?;
    let mut free = as_user(session(server, Side::Gemba)?, FREE_USER)?;
    visible(&mut professional, sensors.len())?;
    visible(&mut free, sample.len())?;
    let mut others = plain
        .iter()
        .map(|(side, label)| Ok((*side, *label, session(server, *side)?)))
        .collect::<Result<Vec<_>>>()?;

    for query in &QUERIES {
        progress(&format!("{what}{}", query.name));
        let calls = calls(query, range, &sensors, &sample, calls_wanted + WARM_UP)?;
        // Owner and professional ask the same, and so do the free user and the owner again.
        let mut people = [
            (&mut owner, false, Samples::default(), 0),
            (&mut professional, false, Samples::default(), 0),
            (&mut sampled_owner, true, Samples::default(), 0),
            (&mut free, true, Samples::default(), 0),
        ];
        for (number, call) in calls.iter().enumerate() {
            for turn in 0..people.len() {
                // Another one meets the cold cache each time.
                let (client, of_sample, samples, rows) = &mut people[(number + turn) % 4];
                let sensor = if *of_sample {
                    &call.sample_sensor
                } else {
                    &call.sensor
                };
                let (duration, found) =
                    ask(client, query.gemba, sensor, call).with_context(|| query.name)?;
                if number >= WARM_UP {
                    samples.push(duration);
                    *rows += found;
                }
            }
        }
        let [
            owner_result,
            professional_result,
            sampled_owner_result,
            free_result,
        ] = people.map(|(_, _, samples, rows)| (samples, rows));
        ensure!(
            owner_result.1 == professional_result.1
                && (!query.one_sensor || sampled_owner_result.1 == free_result.1),
            "{}: readers with full access got another number of rows than the owner",
            query.name
        );
        let title = format!("{what}{}", query.name);
        let cost = |with: &Samples, without: &Samples| {
            let ratio = with.median().as_secs_f64() / without.median().as_secs_f64().max(1e-9);
            format!("row security: {} the owner's time", factor(ratio))
        };
        query_row(
            report,
            &title,
            "gemba, owner (no row security)",
            &owner_result,
            String::new(),
        );
        let ratio = cost(&professional_result.0, &owner_result.0);
        query_row(
            report,
            &title,
            "gemba, professional user",
            &professional_result,
            ratio,
        );
        let ratio = if query.one_sensor {
            cost(&free_result.0, &sampled_owner_result.0)
        } else {
            "sees a tenth of the sensors".to_owned()
        };
        query_row(report, &title, "gemba, free user", &free_result, ratio);

        for (_, label, client) in &mut others {
            let (mut samples, mut rows) = (Samples::default(), 0);
            for (number, call) in calls.iter().enumerate() {
                let (duration, found) = ask(client, query.plain, &call.sensor, call)
                    .with_context(|| format!("{label}: {}", query.name))?;
                if number >= WARM_UP {
                    samples.push(duration);
                    rows += found;
                }
            }
            ensure!(
                rows == owner_result.1,
                "{label}: {}: {rows} rows, {} in gemba",
                query.name,
                owner_result.1
            );
            let ratio =
                samples.median().as_secs_f64() / owner_result.0.median().as_secs_f64().max(1e-9);
            query_row(
                report,
                &title,
                label,
                &(samples, rows),
                format!("{} the time of gemba's owner", factor(ratio)),
            );
        }
    }
    Ok(())
}

fn query_row(
    report: &mut Report,
    what: &str,
    side: &str,
    (samples, rows): &(Samples, usize),
    ratio: String,
) {
    let detail = format!(
        "{:.0} rows a call",
        *rows as f64 / samples.count().max(1) as f64
    );
    calls_row(report, what, side, samples, detail, ratio);
}

/// A row of many short calls.
pub fn calls_row(
    report: &mut Report,
    what: &str,
    side: &str,
    samples: &Samples,
    detail: String,
    ratio: String,
) {
    report.row(
        what,
        side,
        format!(
            "p50 {}, p95 {}, max {}",
            show(samples.percentile(50)),
            show(samples.percentile(95)),
            show(samples.max())
        ),
        detail,
        samples.count(),
        ratio,
    );
}

fn session(server: &Server, side: Side) -> Result<Client> {
    let mut client = server.connect_with_timeout(side.database(), "60s")?;
    if side == Side::Gemba {
        client.batch_execute("SET search_path = telemetry, public")?;
    }
    Ok(client)
}

/// As PostgREST does it: the token's claims in a setting, then the role.
pub fn as_user(mut client: Client, user: &str) -> Result<Client> {
    client.batch_execute(&format!(
        r#"SELECT set_config('request.jwt.claims', '{{"role": "authenticated", "sub": "{user}"}}', false);
           SET ROLE authenticated"#
    ))?;
    Ok(client)
}

/// Users with subscriptions, and the sample that free ones see; returns the sample's sensors.
fn prepare_readers(owner: &mut Client, what: &str, report: &mut Report) -> Result<Vec<String>> {
    owner.batch_execute(include_str!("../sql/subscribers.sql"))?;
    owner.batch_execute("SELECT telemetry.choose_sample(); ANALYZE telemetry.sensors")?;
    let share: f64 = owner
        .query_one(
            "SELECT (sum(d.reading_count) FILTER (WHERE s.in_sample) / sum(d.reading_count))::float8
               FROM telemetry.daily_aggregates d JOIN telemetry.sensors s USING (sensor_id)",
            &[],
        )?
        .get(0);
    let sample = names(
        owner,
        "SELECT sensor_id::text FROM telemetry.sensors WHERE in_sample ORDER BY 1",
    )?;
    report.note(&format!(
        "{what}the free user's sample is {} sensors with {:.1} % of the readings",
        sample.len(),
        share * 100.0
    ));
    Ok(sample)
}

fn names(client: &mut Client, sql: &str) -> Result<Vec<String>> {
    Ok(client
        .query(sql, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

/// A reader that sees nothing would be fast.
fn visible(reader: &mut Client, sensors: usize) -> Result<()> {
    let seen: i64 = reader
        .query_one("SELECT count(*) FROM telemetry.sensors", &[])?
        .get(0);
    ensure!(
        seen.unsigned_abs() as usize == sensors,
        "a reader sees {seen} of {sensors} sensors"
    );
    Ok(())
}
