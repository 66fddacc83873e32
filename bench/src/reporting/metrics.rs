//! `reporting.metrics_sum` beside the same sums by hand.

use super::{Size, target};
use crate::Options;
use crate::report::{Report, factor, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress, time};
use anyhow::{Context, Result, ensure};
use postgres::Client;
use std::collections::BTreeMap;
use std::time::Duration;

const DATABASE: &str = "bench_reporting_metrics";

/// As many times as fast as by hand.
const WANTED: f64 = 10.0;

/// How the sums are had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Gemba,
    ByHand,
    ByName,
}

impl How {
    const ALL: [Self; 3] = [Self::Gemba, Self::ByHand, Self::ByName];

    fn label(self) -> &'static str {
        match self {
            Self::Gemba => "gemba: reporting.metrics_sum",
            Self::ByHand => "jsonb_each, sum, jsonb_object_agg",
            Self::ByName => "a sum for each key by its name, which have to be known",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Gemba => include_str!("../../sql/reporting/sum.gemba.sql"),
            Self::ByHand => include_str!("../../sql/reporting/sum.by_hand.sql"),
            Self::ByName => include_str!("../../sql/reporting/sum.by_name.sql"),
        }
    }
}

/// What is summed: objects with the keys of their workflow's kind, or each with some of its own; in one sum or
/// by workflow; in one process or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    by_kind: bool,
    by_workflow: bool,
    parallel: bool,
}

impl Question {
    fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self {
            by_kind: bits & 4 == 0,
            by_workflow: bits & 2 != 0,
            parallel: bits & 1 != 0,
        })
    }

    fn sql(self, how: How) -> String {
        let table = if self.by_kind {
            "metrics_kinds"
        } else {
            "metrics_drawn"
        };
        let key = if self.by_workflow { "workflow" } else { "0" };
        how.sql().replace("{key}", key).replace("{table}", table)
    }
}

/// Keys and sums as texts.
fn ask(client: &mut Client, sql: &str) -> Result<Vec<(i32, String)>> {
    let rows = client.query(sql, &[])?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub fn measure(server: &Server, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    let objects = thousands(size.objects);
    progress(&format!("metrics_sum: making {objects} objects"));
    server.create_database(DATABASE)?;
    let mut client = server.connect(DATABASE)?;
    client.batch_execute("CREATE EXTENSION gemba")?;
    client.batch_execute(
        &include_str!("../../sql/reporting/metrics.sql")
            .replace("{objects}", &size.objects.to_string()),
    )?;
    client.batch_execute("VACUUM (ANALYZE) metrics_kinds, metrics_drawn")?;
    client.batch_execute("CHECKPOINT")?;
    let workers: String = client
        .query_one("SHOW max_parallel_workers_per_gather", &[])?
        .get(0);
    report.note(&format!(
        "metrics_sum: {objects} objects of 1,000 workflows in unlogged tables, counts and amounts with two decimals. Each has 8 to 12 of 16 keys: those of one of five kinds of workflow, which is how reports come, or ever others, drawn for each, which is the worst case. All digits of all sides are compared"
    ));
    let mut times: BTreeMap<(Question, How), Samples> = BTreeMap::new();
    for question in Question::all() {
        progress(&format!("metrics_sum: {question:?}"));
        client.batch_execute(if question.parallel {
            "RESET max_parallel_workers_per_gather"
        } else {
            "SET max_parallel_workers_per_gather = 0"
        })?;
        check(&mut client, question)?;
        for run in 0..options.runs.max(3) {
            for turn in 0..How::ALL.len() {
                let how = How::ALL[(run + turn) % How::ALL.len()];
                times
                    .entry((question, how))
                    .or_default()
                    .push(once(&mut client, question, how)?);
            }
        }
        rows(question, &times, &objects, &workers, report);
    }
    verdict(&times, &objects, report)?;
    drop(client);
    server.drop_database(DATABASE)
}

fn once(client: &mut Client, question: Question, how: How) -> Result<Duration> {
    Ok(time(|| ask(client, &question.sql(how)))?.0)
}

/// All sides give the same sums; also what comes first finds the table in the cache.
fn check(client: &mut Client, question: Question) -> Result<()> {
    let wanted = ask(client, &question.sql(How::ByHand))?;
    ensure!(!wanted.is_empty(), "there is nothing to sum");
    for how in [How::Gemba, How::ByName] {
        let found = ask(client, &question.sql(how))?;
        let differing = wanted.iter().zip(&found).find(|(a, b)| a != b);
        ensure!(
            found.len() == wanted.len() && differing.is_none(),
            "{question:?}: by hand and {} differ: {differing:?}",
            how.label()
        );
    }
    Ok(())
}

fn rows(
    question: Question,
    times: &BTreeMap<(Question, How), Samples>,
    objects: &str,
    workers: &str,
    report: &mut Report,
) {
    let what = format!(
        "metrics of {objects} objects with keys {}{}, {}",
        if question.by_kind {
            "of five kinds"
        } else {
            "drawn for each"
        },
        if question.by_workflow {
            " by workflow"
        } else {
            ""
        },
        if question.parallel {
            format!("max_parallel_workers_per_gather = {workers}")
        } else {
            "one process".to_owned()
        }
    );
    let gemba = times.get(&(question, How::Gemba)).map(Samples::median);
    for how in How::ALL {
        let Some(samples) = times.get(&(question, how)) else {
            continue;
        };
        let ratio = match gemba {
            Some(gemba) if how != How::Gemba => format!(
                "metrics_sum is {} as fast",
                factor(samples.median().as_secs_f64() / gemba.as_secs_f64().max(1e-9))
            ),
            _ => String::new(),
        };
        report.row(
            &what,
            how.label(),
            show(samples.median()),
            samples.spread(),
            samples.count(),
            ratio,
        );
    }
}

fn verdict(
    times: &BTreeMap<(Question, How), Samples>,
    objects: &str,
    report: &mut Report,
) -> Result<()> {
    let median = |question, how| -> Result<f64> {
        let samples = times.get(&(question, how)).context("a side is missing")?;
        Ok(samples.median().as_secs_f64().max(1e-9))
    };
    for (by_kind, which) in [(true, "of five kinds"), (false, "drawn for each")] {
        for (parallel, how) in [(false, "in one process"), (true, "in parallel")] {
            let mut least = f64::INFINITY;
            for question in
                Question::all().filter(|q| q.by_kind == by_kind && q.parallel == parallel)
            {
                least = least.min(median(question, How::ByHand)? / median(question, How::Gemba)?);
            }
            target(
                report,
                &format!(
                    "metrics_sum of {objects} objects with keys {which} at least {WANTED} times as fast as by hand, {how}"
                ),
                least >= WANTED,
                &format!("{} in the worse of the two cases", factor(least)),
            );
        }
    }
    Ok(())
}
