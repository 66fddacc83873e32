//! The morning report, its page and the live view, beside hand-written queries over the seed's tables.

use super::machines;
use super::pipelines::{Expected, call, yesterday};
use super::{Side, Size, rate_row, target};
use crate::Options;
use crate::reads::{PROFESSIONAL_USER, WARM_UP, as_user, calls_row};
use crate::report::{Report, factor, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress, time};
use anyhow::{Context, Result, ensure};
use chrono::{NaiveDate, TimeDelta, Utc};
use gemba_tests::Random;
use postgres::Client;
use postgres::types::Type;
use std::io;
use std::time::{Duration, Instant};

/// Days that come in one call when the history is made.
const DAYS_A_CALL: usize = 10;

/// The newest polls that some machines miss.
const MISSED: usize = 8;

const LIVE_LIMIT: Duration = Duration::from_millis(10);
const MORNING_LIMIT: Duration = Duration::from_millis(50);

const MORNING: &str = "SELECT * FROM plant.morning_report($1)";
const PAGE: &str = "SELECT plant.morning_report_html($1)";
const LIVE: &str = "SELECT * FROM plant.live_status()";

pub fn measure(server: &Server, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    let mut owner = fill(server, size, report)?;
    copy(server, &mut owner, size)?;
    drop(owner);
    report.note(&format!(
        "reports: {} days of {} machines, {} snapshots of the last 24 hours (one machine in fifty has been silent for two hours, one in a hundred altogether), {} safety events; {} calls each after {WARM_UP} that do not count, planned anew each time, all rows fetched; the cache is warm. Users: `SET ROLE authenticated` with the claims of a token; their calls and the superuser's take turns. The seed's tables hold the same rows, text included, without row security; the daily one is given planned and effective seconds, without which the trends could not be weighted. Hand-written queries give the same rows, compared text by text, but not availability, performance and quality, which the seed's table does not have",
        size.history,
        thousands(size.machines.into()),
        thousands(size.rows_of_polls()),
        thousands(size.events().into()),
        options.calls
    ));
    let mut people = People {
        owner: server.connect_with_timeout(Side::Gemba.database(), "60s")?,
        user: as_user(
            server.connect_with_timeout(Side::Gemba.database(), "60s")?,
            PROFESSIONAL_USER,
        )?,
        plain: [
            server.connect_with_timeout(Side::Plain.database(), "60s")?,
            server.connect_with_timeout(Side::Plain.database(), "60s")?,
        ],
    };
    morning(&mut people, options, size, report)?;
    live(&mut people, options, size, report)?;
    page(&mut people, options, size, report)?;
    drop(people);
    for side in [Side::Gemba, Side::Plain] {
        server.drop_database(side.database())?;
    }
    Ok(())
}

impl Size {
    /// About one a machine and half a year.
    fn events(self) -> u32 {
        self.machines * 2
    }
}

struct People {
    /// No policy applies to a superuser.
    owner: Client,
    user: Client,
    /// Two ways to ask the seed's tables.
    plain: [Client; 2],
}

/// History, snapshots and safety events, by way of the pipelines.
fn fill(server: &Server, size: Size, report: &mut Report) -> Result<Client> {
    progress(&format!("reports: {} days of history", size.history));
    let mut client = Side::Gemba.create(server, size.machines)?;
    let days = machines::days(yesterday(), size.history, size.machines);
    let texts: Vec<(String, u64)> = days
        .chunks(DAYS_A_CALL)
        .map(|days| {
            let rows = days.iter().map(Vec::len).sum::<usize>() as u64;
            (machines::days_json(days.iter().flatten()), rows)
        })
        .collect();
    let (duration, ()) = time(|| {
        texts.iter().try_for_each(|(text, rows)| {
            call(&mut client, "ingest_daily", text, *rows, Expected::Inserted)
        })
    })?;
    let mut samples = Samples::default();
    samples.push(duration);
    rate_row(
        report,
        &format!(
            "a history of {} days, {DAYS_A_CALL} days a call",
            size.history
        ),
        "gemba: plant.ingest_daily()",
        &samples,
        texts.iter().map(|(_, rows)| rows).sum(),
        &[],
    );
    progress("reports: snapshots and safety events");
    let mut polls = machines::polls(Utc::now(), size.polls, size.machines);
    let newest = polls.len().saturating_sub(MISSED);
    for (number, poll) in polls.iter_mut().enumerate() {
        poll.snapshots.retain(|snapshot| {
            let silent = snapshot.machine % 50 == 7 && number >= newest;
            !silent && snapshot.machine % 100 != 13
        });
        let rows = poll.snapshots.len() as u64;
        call(
            &mut client,
            "ingest_live",
            &poll.json(),
            rows,
            Expected::Inserted,
        )?;
    }
    client.batch_execute(
        &include_str!("../../sql/plant/safety_events.sql")
            .replace("{assets}", &size.machines.to_string())
            .replace("{events}", &size.events().to_string()),
    )?;
    client.batch_execute("SELECT * FROM gemba.refresh_rollups()")?;
    client.batch_execute("VACUUM (ANALYZE)")?;
    client.batch_execute("CHECKPOINT")?;
    Ok(client)
}

/// The same rows in the seed's tables.
fn copy(server: &Server, from: &mut Client, size: Size) -> Result<()> {
    progress("reports: the seed's tables");
    let mut to = Side::Plain.create(server, size.machines)?;
    to.batch_execute(
        "ALTER TABLE daily_summaries ADD planned_seconds numeric, ADD effective_seconds numeric",
    )?;
    for (table, columns, select) in [
        (
            "daily_summaries",
            "id, asset_id, report_date, oee_percentage, actual_output, target_output, downtime_minutes, waste_count,
             financial_loss_dollars, smart_summary_text, planned_seconds, effective_seconds",
            "SELECT id, asset_id, report_date, oee_percentage, actual_output, target_output, downtime_minutes,
                    waste_count, financial_loss_dollars, smart_summary_text, (oee_state).planned_seconds,
                    (oee_state).effective_seconds
               FROM plant.daily_summaries ORDER BY report_date, asset_id",
        ),
        (
            "live_snapshots",
            "id, asset_id, snapshot_timestamp, current_output, target_output, status",
            "SELECT id, asset_id, snapshot_timestamp, current_output, target_output, status
               FROM plant.live_snapshots ORDER BY snapshot_timestamp, asset_id",
        ),
        (
            "safety_events",
            "id, asset_id, event_timestamp, reason_code, severity, description, is_resolved, resolved_at",
            "SELECT id, asset_id, event_timestamp, reason_code, severity, description, is_resolved, resolved_at
               FROM plant.safety_events",
        ),
    ] {
        let mut reader = from.copy_out(&format!("COPY ({select}) TO STDOUT"))?;
        let mut writer = to.copy_in(&format!("COPY {table} ({columns}) FROM STDIN"))?;
        io::copy(&mut reader, &mut writer)?;
        writer.finish()?;
    }
    to.batch_execute("VACUUM (ANALYZE)")?;
    to.batch_execute("CHECKPOINT")?;
    Ok(())
}

/// One call, all rows fetched; returns how many there were.
fn ask(client: &mut Client, sql: &str, day: Option<NaiveDate>) -> Result<(Duration, usize)> {
    let begin = Instant::now();
    let rows = match &day {
        Some(day) => client.query_typed(sql, &[(day, Type::DATE)])?,
        None => client.query_typed(sql, &[])?,
    };
    Ok((begin.elapsed(), rows.len()))
}

/// All rows as one text, in their order.
fn rows_text(client: &mut Client, sql: &str, day: Option<NaiveDate>) -> Result<Vec<String>> {
    let sql = format!("SELECT q::text FROM ({sql}) AS q");
    let rows = match &day {
        Some(day) => client.query_typed(&sql, &[(day, Type::DATE)])?,
        None => client.query_typed(&sql, &[])?,
    };
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn same(what: &str, wanted: &[String], found: &[String]) -> Result<()> {
    let differing = wanted
        .iter()
        .zip(found)
        .find(|(wanted, found)| wanted != found);
    ensure!(
        wanted.len() == found.len() && differing.is_none(),
        "{what}: {} rows, expected {}; {differing:?}",
        found.len(),
        wanted.len()
    );
    Ok(())
}

/// Days that have a month before them, as far as there is one.
fn random_days(size: Size, number: usize) -> Vec<NaiveDate> {
    let mut random = Random::new(4);
    let most = u64::from(size.history.saturating_sub(30).max(1));
    (0..number)
        .filter_map(|_| i64::try_from(random.below(most)).ok())
        .map(|back| yesterday() - TimeDelta::days(back))
        .collect()
}

/// Asks the same of several, another one first each time.
fn take_turns(
    clients: &mut [(&mut Client, &str)],
    days: &[Option<NaiveDate>],
) -> Result<Vec<(Samples, usize)>> {
    let mut results = vec![(Samples::default(), 0); clients.len()];
    for (number, day) in days.iter().enumerate() {
        for turn in 0..clients.len() {
            let who = (number + turn) % clients.len();
            let (client, sql) = &mut clients[who];
            let (duration, rows) = ask(client, sql, *day).context("a report")?;
            if number >= WARM_UP {
                results[who].0.push(duration);
                results[who].1 += rows;
            }
        }
    }
    let rows = results.first().map(|(_, rows)| *rows);
    ensure!(
        results.iter().all(|(_, found)| Some(*found) == rows),
        "some got another number of rows than others"
    );
    Ok(results)
}

/// The rows of one report; the first is gemba's as superuser, the second the user's, others follow.
fn rows(
    report: &mut Report,
    what: &str,
    labels: &[&str],
    results: &[(Samples, usize)],
    detail: &str,
) {
    let Some((owner, _)) = results.first() else {
        return;
    };
    for (number, (label, (samples, rows))) in labels.iter().zip(results).enumerate() {
        let ratio = samples.median().as_secs_f64() / owner.median().as_secs_f64().max(1e-9);
        let detail = if detail.is_empty() {
            format!(
                "{:.0} rows a call",
                *rows as f64 / samples.count().max(1) as f64
            )
        } else {
            detail.to_owned()
        };
        calls_row(
            report,
            what,
            label,
            samples,
            detail,
            match number {
                0 => String::new(),
                1 => format!("row security: {} the superuser's time", factor(ratio)),
                _ => format!("{} the time of gemba's superuser", factor(ratio)),
            },
        );
    }
}

/// Both of gemba's readers within the limit, 95 times of 100.
fn verdict(report: &mut Report, what: &str, limit: Duration, results: &[(Samples, usize)]) {
    let [owner, user] = [0, 1].map(|who| {
        results
            .get(who)
            .map_or(Duration::MAX, |(samples, _)| samples.percentile(95))
    });
    target(
        report,
        &format!("{what} in less than {} (p95)", show(limit)),
        owner.max(user) < limit,
        &format!(
            "{} as superuser, {} as authenticated",
            show(owner),
            show(user)
        ),
    );
}

fn morning(people: &mut People, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    progress("reports: the morning report");
    let plain = include_str!("../../sql/plant/morning.plain.sql");
    for day in random_days(size, 5) {
        let wanted = rows_text(
            &mut people.owner,
            include_str!("../../sql/plant/morning.same.sql"),
            Some(day),
        )?;
        let found = rows_text(&mut people.plain[0], plain, Some(day))?;
        same(&format!("the morning report of {day}"), &wanted, &found)?;
    }
    let days: Vec<_> = random_days(size, options.calls + WARM_UP)
        .into_iter()
        .map(Some)
        .collect();
    let results = take_turns(
        &mut [
            (&mut people.owner, MORNING),
            (&mut people.user, MORNING),
            (&mut people.plain[0], plain),
        ],
        &days,
    )?;
    let what = format!(
        "morning report, {} machines × {} days",
        thousands(size.machines.into()),
        size.history
    );
    rows(
        report,
        &what,
        &[
            "gemba: plant.morning_report(), superuser",
            "gemba: plant.morning_report(), authenticated",
            "seed's tables, by hand",
        ],
        &results,
        "",
    );
    verdict(report, &what, MORNING_LIMIT, &results);
    Ok(())
}

fn live(people: &mut People, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    progress("reports: the live view");
    let distinct = include_str!("../../sql/plant/live.distinct.sql");
    let lateral = include_str!("../../sql/plant/live.lateral.sql");
    // The age is another one each time.
    let without_age = |sql: &str| {
        format!(
            "SELECT asset_id, name, area, snapshot_timestamp, current_output, target_output, output_variance,
                    output_variance_percentage, status
               FROM ({sql}) AS l"
        )
    };
    let wanted = rows_text(&mut people.owner, &without_age(LIVE), None)?;
    for (what, sql) in [("DISTINCT ON", distinct), ("LATERAL", lateral)] {
        let found = rows_text(&mut people.plain[0], &without_age(sql), None)?;
        same(&format!("the live view by {what}"), &wanted, &found)?;
    }
    let calls = vec![None; options.calls + WARM_UP];
    let [first, second] = &mut people.plain;
    let results = take_turns(
        &mut [
            (&mut people.owner, LIVE),
            (&mut people.user, LIVE),
            (first, distinct),
            (second, lateral),
        ],
        &calls,
    )?;
    let what = format!(
        "live view, {} machines × {} snapshots",
        thousands(size.machines.into()),
        size.polls
    );
    rows(
        report,
        &what,
        &[
            "gemba: plant.live_status(), superuser",
            "gemba: plant.live_status(), authenticated",
            "seed's table, DISTINCT ON",
            "seed's table, LATERAL",
        ],
        &results,
        "",
    );
    verdict(report, &what, LIVE_LIMIT, &results);
    Ok(())
}

fn page(people: &mut People, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    progress("reports: the page");
    let text: String = people.owner.query_one(PAGE, &[&yesterday()])?.get(0);
    ensure!(
        text.starts_with("<!doctype html>") || text.starts_with("<!DOCTYPE html>"),
        "the page begins with {:?}",
        text.chars().take(40).collect::<String>()
    );
    let days: Vec<_> = random_days(size, options.calls + WARM_UP)
        .into_iter()
        .map(Some)
        .collect();
    let results = take_turns(
        &mut [(&mut people.owner, PAGE), (&mut people.user, PAGE)],
        &days,
    )?;
    rows(
        report,
        &format!(
            "morning report as a page, {} machines × {} days",
            thousands(size.machines.into()),
            size.history
        ),
        &[
            "gemba: plant.morning_report_html(), superuser",
            "gemba: plant.morning_report_html(), authenticated",
        ],
        &results,
        &format!("{} kB a page", thousands(text.len() as u64 / 1_000)),
    );
    Ok(())
}
