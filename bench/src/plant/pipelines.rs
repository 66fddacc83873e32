//! `plant.ingest_live` and `plant.ingest_daily`, beside a client that computes and writes to the seed's tables.

use super::machines::{self, Poll};
use super::{Side, Size, rate, rate_row, target};
use crate::Options;
use crate::report::{Report, thousands};
use crate::samples::Samples;
use crate::server::{Server, progress, time};
use anyhow::{Result, anyhow, ensure};
use chrono::{NaiveDate, TimeDelta, Utc};
use postgres::Client;
use postgres::types::Type;
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

/// Sessions that deliver at the same time, where it is not one.
const SESSIONS: usize = 2;

/// Polls of which a statement a row is measured.
const SINGLY: usize = 10;

/// What is wanted of the live pulse.
const LIVE_RATE: f64 = 50_000.0;

/// What a call has to do with each of its rows.
#[derive(Debug, Clone, Copy)]
pub enum Expected {
    Inserted,
    Unchanged,
}

/// Hands a document to one of the pipelines, which has to take all of it.
pub fn call(
    client: &mut Client,
    function: &str,
    json: &str,
    rows: u64,
    expected: Expected,
) -> Result<()> {
    let sql = format!("SELECT inserted, unchanged, rejects::text FROM plant.{function}($1::jsonb)");
    let rows_back = client.query_typed(&sql, &[(&json, Type::TEXT)])?;
    let row = rows_back
        .first()
        .ok_or_else(|| anyhow!("{function} says nothing"))?;
    let done: i64 = match expected {
        Expected::Inserted => row.get(0),
        Expected::Unchanged => row.get(1),
    };
    ensure!(
        done.unsigned_abs() == rows,
        "{function}: {done} of {rows} rows {expected:?}; {}",
        row.get::<_, String>(2)
    );
    Ok(())
}

/// Documents or statements, in the order of their times.
struct Batches {
    side: Side,
    /// Of gemba.
    function: &'static str,
    texts: Vec<String>,
    rows_each: u64,
}

impl Batches {
    fn send(&self, client: &mut Client, text: &str, expected: Expected) -> Result<()> {
        match self.side {
            Side::Plain => Ok(client.batch_execute(text)?),
            Side::Gemba => call(client, self.function, text, self.rows_each, expected),
        }
    }

    /// Sends everything, each batch in a transaction of its own; several sessions take turns.
    fn deliver(&self, clients: &mut [Client], expected: Expected) -> Result<Duration> {
        let step = clients.len();
        let work = || {
            thread::scope(|scope| {
                let sessions: Vec<_> = clients
                    .iter_mut()
                    .enumerate()
                    .map(|(number, client)| {
                        scope.spawn(move || {
                            self.texts
                                .iter()
                                .skip(number)
                                .step_by(step)
                                .try_for_each(|text| self.send(client, text, expected))
                        })
                    })
                    .collect();
                sessions.into_iter().try_for_each(|session| {
                    session
                        .join()
                        .unwrap_or_else(|_| Err(anyhow!("a session panicked")))
                })
            })
        };
        Ok(time(work)?.0)
    }
}

/// The machines' ids by their numbers, which a client that writes to its own tables keeps at hand.
fn ids(client: &mut Client) -> Result<Vec<String>> {
    Ok(client
        .query(
            "SELECT id::text FROM assets ORDER BY substr(source_id, 2)::int",
            &[],
        )?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

/// What stands in the table, which has to be the same on both sides.
fn digest(client: &mut Client, side: Side, table: &str, sql: &str) -> Result<String> {
    let sql = sql.replace(&format!("{{{table}}}"), &side.table(table));
    Ok(client.query_one(&sql, &[])?.get(0))
}

/// The first one asked says what the others have to say too.
fn agree(
    expected: &mut BTreeMap<&'static str, String>,
    what: &'static str,
    side: Side,
    found: String,
) -> Result<()> {
    let wanted = expected.entry(what).or_insert_with(|| found.clone());
    ensure!(
        *wanted == found,
        "{what}, {side:?}: {found}; expected {wanted}"
    );
    Ok(())
}

const LIVE: &str = include_str!("../../sql/plant/live_digest.sql");
const DAILY: &str = include_str!("../../sql/plant/daily_digest.sql");

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Live,
    LiveAgain,
    LiveTogether,
    Singly,
    Daily,
    DailyAgain,
}

type Times = BTreeMap<(Step, Side), Samples>;

pub fn measure(server: &Server, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    let polls = machines::polls(Utc::now(), size.polls, size.machines);
    let mut times = Times::new();
    let mut expected = BTreeMap::new();
    let sides = [Side::Gemba, Side::Plain];
    for run in 0..options.runs {
        for turn in 0..sides.len() {
            let side = sides[(run + turn) % sides.len()];
            progress(&format!(
                "live and daily rows, run {} of {}: {side:?}",
                run + 1,
                options.runs
            ));
            live(server, side, &polls, size, &mut times, &mut expected)?;
            daily(server, side, size, &mut times, &mut expected)?;
        }
    }
    for side in sides {
        server.drop_database(side.database())?;
    }
    live_rows(size, &times, report);
    daily_rows(size, &times, report);
    Ok(())
}

fn live(
    server: &Server,
    side: Side,
    polls: &[Poll],
    size: Size,
    times: &mut Times,
    expected: &mut BTreeMap<&'static str, String>,
) -> Result<()> {
    let mut note = |step, duration: Duration| {
        progress(&format!("  {step:?}: {:.3} s", duration.as_secs_f64()));
        times.entry((step, side)).or_default().push(duration);
    };
    let ready = || -> Result<Client> {
        let mut client = side.create(server, size.machines)?;
        if side == Side::Gemba
            && let (Some(first), Some(last)) = (polls.first(), polls.last())
        {
            client.query(
                "SELECT * FROM gemba.ensure_partitions('plant.live_snapshots', $1, $2)",
                &[&first.at, &(last.at + TimeDelta::days(1))],
            )?;
        }
        client.batch_execute("CHECKPOINT")?;
        Ok(client)
    };
    let mut client = ready()?;
    let ids = if side == Side::Plain {
        ids(&mut client)?
    } else {
        Vec::new()
    };
    let batches = Batches {
        side,
        function: "ingest_live",
        texts: polls
            .iter()
            .map(|poll| match side {
                Side::Gemba => poll.json(),
                Side::Plain => poll.upsert(&ids),
            })
            .collect(),
        rows_each: size.machines.into(),
    };
    let mut sessions = [client];
    note(
        Step::Live,
        batches.deliver(&mut sessions, Expected::Inserted)?,
    );
    let [client] = &mut sessions;
    let found = digest(client, side, "live_snapshots", LIVE)?;
    agree(expected, "live", side, found)?;
    note(
        Step::LiveAgain,
        batches.deliver(&mut sessions, Expected::Unchanged)?,
    );
    let [client] = &mut sessions;
    let found = digest(client, side, "live_snapshots", LIVE)?;
    agree(expected, "live", side, found)?;
    drop(sessions);

    let mut sessions = vec![ready()?];
    while sessions.len() < SESSIONS {
        sessions.push(server.connect(side.database())?);
    }
    note(
        Step::LiveTogether,
        batches.deliver(&mut sessions, Expected::Inserted)?,
    );
    let found = digest(&mut sessions[0], side, "live_snapshots", LIVE)?;
    agree(expected, "live", side, found)?;
    drop(sessions);

    if side == Side::Plain {
        let mut client = ready()?;
        let (duration, ()) = time(|| {
            polls
                .iter()
                .take(SINGLY)
                .try_for_each(|poll| singly(&mut client, poll, &ids))
        })?;
        note(Step::Singly, duration);
    }
    Ok(())
}

/// A statement a row, prepared once, in a transaction a poll.
fn singly(client: &mut Client, poll: &Poll, ids: &[String]) -> Result<()> {
    let mut transaction = client.transaction()?;
    let statement = transaction.prepare(
        "INSERT INTO live_snapshots (asset_id, snapshot_timestamp, current_output, target_output, status)
         VALUES ($1::text::uuid, $2, $3, $4, $5)
         ON CONFLICT (asset_id, snapshot_timestamp) DO UPDATE
           SET current_output = excluded.current_output, target_output = excluded.target_output,
               status = excluded.status",
    )?;
    for snapshot in &poll.snapshots {
        let (output, target) = (
            i32::try_from(snapshot.output)?,
            i32::try_from(snapshot.target)?,
        );
        transaction.execute(
            &statement,
            &[
                &ids[snapshot.machine as usize],
                &poll.at,
                &output,
                &target,
                &snapshot.status,
            ],
        )?;
    }
    Ok(transaction.commit()?)
}

/// Yesterday, as far as the plant's clock goes: its days begin at six.
pub fn yesterday() -> NaiveDate {
    (Utc::now() - TimeDelta::hours(6)).date_naive() - TimeDelta::days(1)
}

fn daily(
    server: &Server,
    side: Side,
    size: Size,
    times: &mut Times,
    expected: &mut BTreeMap<&'static str, String>,
) -> Result<()> {
    let mut note = |step, duration: Duration| {
        progress(&format!("  {step:?}: {:.3} s", duration.as_secs_f64()));
        times.entry((step, side)).or_default().push(duration);
    };
    let mut client = side.create(server, size.machines)?;
    let days = machines::days(yesterday(), size.days, size.machines);
    let texts = match side {
        Side::Gemba => days.iter().map(machines::days_json).collect(),
        Side::Plain => {
            let ids = ids(&mut client)?;
            days.iter()
                .map(|day| machines::days_upsert(day, &ids))
                .collect()
        }
    };
    let batches = Batches {
        side,
        function: "ingest_daily",
        texts,
        rows_each: size.machines.into(),
    };
    client.batch_execute("CHECKPOINT")?;
    let mut sessions = [client];
    for (step, outcome) in [
        (Step::Daily, Expected::Inserted),
        (Step::DailyAgain, Expected::Unchanged),
    ] {
        note(step, batches.deliver(&mut sessions, outcome)?);
        let [client] = &mut sessions;
        let found = digest(client, side, "daily_summaries", DAILY)?;
        agree(expected, "daily", side, found)?;
    }
    Ok(())
}

fn live_rows(size: Size, times: &Times, report: &mut Report) {
    report.note(&format!(
        "live pulse: {} polls of all machines, one a quarter of an hour, each a batch and a transaction. Gemba gets JSON with the source system's name, the time and the output; it finds machine, shift and target, prorates, classifies, and keeps hours as a rollup. The seed's table gets one INSERT … ON CONFLICT DO UPDATE a batch, by a client that knows ids and targets and has computed everything. Texts are made beforehand on both sides. A statement a row: prepared, in a transaction a poll. The tables are compared row by row",
        size.polls
    ));
    let all = size.rows_of_polls();
    let get = |step, side| times.get(&(step, side));
    for (step, what, sessions) in [
        (Step::Live, "live pulse, rows that are new", 1),
        (
            Step::LiveTogether,
            "live pulse, rows that are new, two sessions",
            SESSIONS,
        ),
        (Step::LiveAgain, "live pulse, the same rows again", 1),
    ] {
        let what = format!("{what}: batches of {}", thousands(size.machines.into()));
        let plain = get(step, Side::Plain).map(|samples| rate(samples, all));
        let singly_rows = u64::from(size.machines) * (size.polls as usize).min(SINGLY) as u64;
        let singly = get(Step::Singly, Side::Plain)
            .filter(|_| step == Step::Live)
            .map(|samples| (samples, rate(samples, singly_rows)));
        if let Some(samples) = get(step, Side::Gemba) {
            let baselines: Vec<_> = [
                ("one INSERT a batch", plain),
                ("a statement a row", singly.map(|(_, rate)| rate)),
            ]
            .into_iter()
            .filter_map(|(name, rate)| Some((name, rate?)))
            .collect();
            rate_row(
                report,
                &what,
                "gemba: plant.ingest_live()",
                samples,
                all,
                &baselines,
            );
        }
        if let Some(samples) = get(step, Side::Plain) {
            rate_row(
                report,
                &what,
                "seed's table: one INSERT … ON CONFLICT DO UPDATE a batch",
                samples,
                all,
                &[],
            );
        }
        if let Some((samples, _)) = singly {
            rate_row(
                report,
                &what,
                "seed's table: a statement a row",
                samples,
                singly_rows,
                &[],
            );
        }
        if let Some(samples) = get(step, Side::Gemba)
            && step != Step::LiveAgain
        {
            let reached = rate(samples, all);
            target(
                report,
                &format!(
                    "ingest_live takes at least {} rows/s in batches of {} ({sessions} session{})",
                    thousands(LIVE_RATE as u64),
                    thousands(size.machines.into()),
                    if sessions == 1 { "" } else { "s" }
                ),
                reached >= LIVE_RATE,
                &format!("{} rows/s", thousands(reached as u64)),
            );
        }
    }
}

fn daily_rows(size: Size, times: &Times, report: &mut Report) {
    report.note(
        "days: JSON with downtime and counts; gemba computes OEE and its parts, loss and target, and writes the sentences of the day, which look at the seven days before. The client of the seed's table has computed OEE, loss and target, and writes no text",
    );
    let all = u64::from(size.machines) * u64::from(size.days);
    for (step, what) in [
        (Step::Daily, "days that are new"),
        (Step::DailyAgain, "the same days again"),
    ] {
        let what = format!(
            "{what}: {} days in batches of {} machines",
            size.days,
            thousands(size.machines.into())
        );
        let plain = times.get(&(step, Side::Plain));
        let baselines: Vec<_> = plain
            .map(|samples| ("one INSERT a batch, without texts", rate(samples, all)))
            .into_iter()
            .collect();
        if let Some(samples) = times.get(&(step, Side::Gemba)) {
            rate_row(
                report,
                &what,
                "gemba: plant.ingest_daily()",
                samples,
                all,
                &baselines,
            );
        }
        if let Some(samples) = plain {
            rate_row(
                report,
                &what,
                "seed's table: one INSERT … ON CONFLICT DO UPDATE a batch",
                samples,
                all,
                &[],
            );
        }
    }
}
