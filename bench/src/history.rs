//! The history tier: compressed partitions beside ordinary ones, the seed's own tables and TimescaleDB's columnstore.
//!
//! - `tiers`: what is compared, and how each comes from CSV to queryable
//! - `suspects`: the long form with what an import finds out about it
//! - `questions`: the queries, as whom and in which words
//! - `asking`: the queries on every side, in turns, compared row by row
//! - `late`: rows that come to a month that is closed, and a month that is opened and closed again
//! - `whole`: the whole data set
//! - `memory`: what a backend takes up while it works

mod asking;
mod late;
mod memory;
mod questions;
mod suspects;
mod tiers;
mod whole;

use crate::Options;
use crate::data::Data;
use crate::report::{Report, factor, thousands};
use crate::samples::show;
use crate::server::{Server, progress};
use anyhow::Result;
use asking::{Answers, Room, Who};
use std::collections::BTreeMap;
use std::time::Duration;
use tiers::{Loads, Tier};

/// How much slower than an ordinary partition a compressed one may be, on any query.
const SLOWER: f64 = 1.2;

/// What policies may add to a query.
const POLICIES: f64 = 0.05;

/// To look up who asks takes some tenths of a millisecond, whatever is asked.
const LONG: Duration = Duration::from_millis(10);

const DAILY_LIMIT: Duration = Duration::from_millis(50);

pub fn measure(
    server: &Server,
    options: &Options,
    timescale: bool,
    report: &mut Report,
) -> Result<()> {
    let data = Data::make(options.readings, &options.work.join("history"))?;
    let mut tiers = vec![Tier::Segments, Tier::Ordinary, Tier::Seed];
    if timescale {
        tiers.extend([Tier::Timescale, Tier::TimescaleDirect]);
    } else {
        report.note("history: **TimescaleDB: not on this server**, so there are no rows of it");
        progress("TimescaleDB: NOT ON THIS SERVER, nothing of it is measured");
    }
    notes(options, &data, report);
    let loads = tiers::measure(server, options, &data, &tiers, report)?;
    // The last one differs from the one before in how it is loaded, and in nothing else.
    tiers.retain(|tier| *tier != Tier::TimescaleDirect);

    let what = format!("{} readings: ", thousands(data.readings));
    let sample = asking::prepare(server, Tier::Segments)?;
    asking::prepare(server, Tier::Ordinary)?;
    for tier in &tiers {
        tier.settle(server)?;
    }
    let threshold = asking::threshold(server, Tier::Segments)?;
    let room = Room::new(&what, &data.sensors, sample, data.range, threshold, options);
    let mut askers = Vec::new();
    for tier in &tiers {
        askers.push(room.asker(server, *tier, Who::Owner)?);
        if tier.is_gemba() {
            askers.push(room.asker(server, *tier, Who::OwnerOfSample)?);
            askers.push(room.asker(server, *tier, Who::Free)?);
        }
    }
    let answers = room.ask(&questions::SMALL, &mut askers, report)?;
    drop(askers);
    targets(&loads, &answers, report);
    late::measure(server, options, &tiers, report)?;
    for tier in &tiers {
        server.drop_database(tier.database())?;
    }
    data.remove()?;
    whole::measure(server, options, report)
}

fn notes(options: &Options, data: &Data, report: &mut Report) {
    report.note(&format!(
        "history: {} readings, {} days of the whole building, in months that are long closed. From CSV to queryable with aggregates: gemba takes import_csv of the wide files, telemetry.refresh() and gemba.maintain_partitions() until it finds nothing left to do, with ordinary partitions after gemba.stop_compressing() on readings, hours and days; the seed's DDL takes COPY of the long form, materialized views and their indexes; TimescaleDB takes COPY, compress_chunk() of every chunk (7 days, by sensor, in order of time) and continuous aggregates, once in that order and once with timescaledb.enable_direct_compress_copy, which writes compressed chunks straight from COPY",
        thousands(data.readings),
        data.range.days()
    ));
    report.note(&format!(
        "history, queries: the same text on every side (but for day and hour, which TimescaleDB is asked for by time_bucket), literals in it, planned anew each time, all rows fetched as text; sides in turns, after VACUUM (ANALYZE), the cache warm; {} calls, or as many as fit into {}, at least {}. What comes back is compared row by row, only `id` aside, which every side hands out for itself. Owners have no row security. Free users: the same query as the owner, restricted to the sensors of the sample, in turns with theirs; p50 to p50",
        options.calls,
        show(asking::budget(options)),
        asking::LEAST_CALLS,
    ));
}

/// What was wanted of the small case.
fn targets(loads: &Loads, answers: &Answers, report: &mut Report) {
    if let Some((worst, name)) = answers.worst(Tier::Segments, Tier::Ordinary) {
        target(
            report,
            &format!("no query slower than {SLOWER}x the ordinary partitions"),
            worst <= SLOWER,
            &format!(
                "at most {} ({name}), {} of {} queries are faster",
                factor(worst),
                answers.faster(Tier::Segments, Tier::Ordinary),
                questions::SMALL.len()
            ),
        );
    }
    if let Some(p50) = answers.median(questions::DAILY, Tier::Segments, Who::Owner) {
        target(
            report,
            &format!(
                "days of every sensor over the small case in {}",
                show(DAILY_LIMIT)
            ),
            p50 <= DAILY_LIMIT,
            &format!("p50 {}", show(p50)),
        );
    }
    policies(answers, Tier::Segments, report);
    let Some(ours) = loads.get(&Tier::Segments) else {
        return;
    };
    if !loads.contains_key(&Tier::Timescale) {
        return;
    }
    // Of its two ways of loading, the one that does better.
    let their_ways = || {
        [Tier::Timescale, Tier::TimescaleDirect]
            .iter()
            .filter_map(|tier| loads.get(tier))
    };
    let bytes = their_ways().map(|load| load.readings_bytes).min();
    let quickest = their_ways().map(|load| load.total.median()).min();
    let mut at_least = |what: &str, wanted: f64, ratio: f64| {
        target(
            report,
            &format!("{what} TimescaleDB, at least {wanted}x"),
            ratio >= wanted,
            &factor(ratio),
        );
    };
    at_least(
        "readings smaller than those of",
        2.0,
        bytes.unwrap_or_default() as f64 / ours.readings_bytes.max(1) as f64,
    );
    at_least(
        "from CSV to queryable faster than",
        10.0,
        quickest.unwrap_or_default().as_secs_f64() / ours.total.median().as_secs_f64().max(1e-9),
    );
    for name in [questions::TOTAL, questions::DAILY] {
        if let Some(ratio) = answers.ratio(name, Tier::Segments, Tier::Timescale) {
            at_least(&format!("{name}: faster than"), 5.0, 1.0 / ratio.max(1e-9));
        }
    }
}

/// What row security costs, on the worst query: of all, and of those that are long enough for a share to mean much.
fn policies(answers: &Answers, tier: Tier, report: &mut Report) {
    let words = |(share, more, name): (f64, Duration, &str)| {
        format!("{:+.1} %, {} ({name})", 100.0 * share, show(more))
    };
    let Some(worst) = answers.dearest_policies(tier, Duration::ZERO) else {
        return;
    };
    let of_long = answers.dearest_policies(tier, LONG).map_or_else(
        || "there are none".to_owned(),
        |found| format!("at most {}", words(found)),
    );
    target(
        report,
        &format!(
            "{}row security adds at most {:.0} % to any query",
            answers.what,
            100.0 * POLICIES
        ),
        worst.0 <= POLICIES,
        &format!(
            "at most {}; of queries of {} or more {of_long}",
            words(worst),
            show(LONG)
        ),
    );
}

/// What was wanted and what came out.
fn target(report: &mut Report, wanted: &str, met: bool, came_out: &str) {
    let verdict = if met { "met" } else { "**missed**" };
    report.note(&format!("target {verdict}: {wanted}: {came_out}"));
}

/// Medians of named steps, in their order.
fn steps_in_words(steps: &BTreeMap<(usize, &'static str), crate::samples::Samples>) -> String {
    steps
        .iter()
        .map(|((_, name), samples)| format!("{name} {}", show(samples.median())))
        .collect::<Vec<_>>()
        .join(", ")
}
