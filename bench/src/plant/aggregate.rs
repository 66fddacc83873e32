//! `plant.oee_agg` beside the same sums by hand.

use super::{Size, target};
use crate::Options;
use crate::report::{Report, factor, thousands};
use crate::samples::Samples;
use crate::server::{Server, progress, time};
use anyhow::{Context, Result, ensure};
use postgres::Client;
use std::collections::BTreeMap;
use std::time::Duration;

/// How the figures are had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Gemba,
    ByHand,
    ByHandOnce,
    Naive,
    Plpgsql,
    PlpgsqlTuned,
}

/// Those in PL/pgSQL get one row of so many.
const TENTH: u32 = 10;

impl How {
    const ALL: [Self; 6] = [
        Self::Gemba,
        Self::ByHand,
        Self::ByHandOnce,
        Self::Naive,
        Self::Plpgsql,
        Self::PlpgsqlTuned,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Gemba => "gemba: plant.oee_agg",
            Self::ByHand => "the same sums by hand",
            Self::ByHandOnce => "the same by hand, each product once (OFFSET 0)",
            Self::Naive => "five plain sums, which are not the same figures",
            Self::Plpgsql => "PL/pgSQL aggregate, a tenth of the rows, times ten",
            Self::PlpgsqlTuned => "PL/pgSQL aggregate, tuned, a tenth of the rows, times ten",
        }
    }

    /// Slow, and without a parallel form.
    fn is_plpgsql(self) -> bool {
        matches!(self, Self::Plpgsql | Self::PlpgsqlTuned)
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Gemba => include_str!("../../sql/plant/oee.gemba.sql"),
            Self::ByHand => include_str!("../../sql/plant/oee.by_hand.sql"),
            Self::ByHandOnce => include_str!("../../sql/plant/oee.by_hand_once.sql"),
            Self::Naive => include_str!("../../sql/plant/oee.naive.sql"),
            Self::Plpgsql => include_str!("../../sql/plant/oee.plpgsql.sql"),
            Self::PlpgsqlTuned => include_str!("../../sql/plant/oee.plpgsql_tuned.sql"),
        }
    }
}

/// One row or one a machine, and in how many processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    by_machine: bool,
    parallel: bool,
}

impl Question {
    const ALL: [Self; 4] = [
        Self::new(false, false),
        Self::new(false, true),
        Self::new(true, false),
        Self::new(true, true),
    ];

    const fn new(by_machine: bool, parallel: bool) -> Self {
        Self {
            by_machine,
            parallel,
        }
    }

    fn sql(self, how: How, table: &str) -> String {
        let (key, group) = if self.by_machine {
            ("asset_id", "GROUP BY asset_id")
        } else {
            ("0", "")
        };
        how.sql()
            .replace("{key}", key)
            .replace("{group}", group)
            .replace("{table}", table)
    }
}

/// Keys and figures as texts.
type Answer = Vec<(i32, Vec<Option<String>>)>;

fn ask(client: &mut Client, sql: &str) -> Result<Answer> {
    client
        .query(sql, &[])?
        .iter()
        .map(|row| {
            let figures = (1..row.len()).map(|i| row.get(i)).collect();
            Ok((row.get(0), figures))
        })
        .collect()
}

pub fn measure(server: &Server, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    let rows = thousands(size.rows);
    progress(&format!("oee_agg: making {rows} rows"));
    let database = "bench_plant_aggregate";
    server.create_database(database)?;
    let mut client = server.connect(database)?;
    client.batch_execute("CREATE EXTENSION gemba")?;
    client.batch_execute(
        &include_str!("../../sql/plant/production.sql")
            .replace("{rows}", &size.rows.to_string())
            .replace("{assets}", &size.machines.to_string()),
    )?;
    client.batch_execute(include_str!("../../sql/plant/plpgsql_aggregate.sql"))?;
    client.batch_execute("VACUUM (ANALYZE) production, production_tenth")?;
    client.batch_execute("CHECKPOINT")?;
    let workers: String = client
        .query_one("SHOW max_parallel_workers_per_gather", &[])?
        .get(0);
    report.note(&format!(
        "oee_agg: {rows} rows of {} machines in an unlogged table, minutes and cycles numeric, counts bigint; a fifth of the rows is faster than ideal. All sides give availability, performance capped and raw, quality and OEE, and all digits of them are compared. By hand means sum() over expressions, once as one writes it and once so that nothing is computed twice, which keeps it out of parallel plans. The PL/pgSQL aggregate does what oee_agg does, checks included, with a composite type as its state; the tuned one is strict, has one check for everything and builds an array",
        thousands(size.machines.into())
    ));
    let mut times: BTreeMap<(Question, How), Samples> = BTreeMap::new();
    for question in Question::ALL {
        progress(&format!("oee_agg: {question:?}"));
        let setting = if question.parallel {
            "RESET max_parallel_workers_per_gather"
        } else {
            "SET max_parallel_workers_per_gather = 0"
        };
        client.batch_execute(setting)?;
        check(&mut client, question, size)?;
        for run in 0..options.runs {
            for turn in 0..How::ALL.len() {
                let how = How::ALL[(run + turn) % How::ALL.len()];
                if how.is_plpgsql() && question.parallel {
                    continue;
                }
                times
                    .entry((question, how))
                    .or_default()
                    .push(once(&mut client, question, how)?);
            }
        }
        let parallel = How::ALL
            .into_iter()
            .filter(|how| question.parallel && !how.is_plpgsql())
            .map(|how| Ok((how, is_parallel(&mut client, question, how)?)))
            .collect::<Result<_>>()?;
        question_rows(question, &times, &parallel, &workers, &rows, report);
    }
    verdict(&times, &rows, report)?;
    drop(client);
    server.drop_database(database)
}

fn once(client: &mut Client, question: Question, how: How) -> Result<Duration> {
    let tenth = how.is_plpgsql();
    let table = if tenth {
        "production_tenth"
    } else {
        "production"
    };
    let sql = question.sql(how, table);
    let (duration, _) = time(|| ask(client, &sql))?;
    Ok(if tenth { duration * TENTH } else { duration })
}

/// All sides give the same figures; also what comes first finds the table in the cache.
fn check(client: &mut Client, question: Question, size: Size) -> Result<()> {
    let mut same = |table, sides: &[How]| -> Result<()> {
        let wanted = ask(client, &question.sql(How::Gemba, table))?;
        let number = if question.by_machine {
            size.machines as usize
        } else {
            1
        };
        ensure!(
            wanted.len() == number,
            "oee_agg gives {} rows for {number}",
            wanted.len()
        );
        for side in sides {
            let found = ask(client, &question.sql(*side, table))?;
            let differing = wanted
                .iter()
                .zip(&found)
                .find(|(wanted, found)| wanted != found);
            ensure!(
                found.len() == wanted.len() && differing.is_none(),
                "{question:?}: oee_agg and {} differ: {differing:?}",
                side.label()
            );
        }
        Ok(())
    };
    same("production", &[How::ByHand, How::ByHandOnce])?;
    if !question.parallel {
        same("production_tenth", &[How::Plpgsql, How::PlpgsqlTuned])?;
    }
    Ok(())
}

fn is_parallel(client: &mut Client, question: Question, how: How) -> Result<bool> {
    let plan = client.query(&format!("EXPLAIN {}", question.sql(how, "production")), &[])?;
    Ok(plan
        .iter()
        .any(|row| row.get::<_, String>(0).contains("Gather")))
}

fn question_rows(
    question: Question,
    times: &BTreeMap<(Question, How), Samples>,
    parallel: &BTreeMap<How, bool>,
    workers: &str,
    rows: &str,
    report: &mut Report,
) {
    let what = format!(
        "OEE of {rows} rows{}, {}",
        if question.by_machine {
            " by machine"
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
        let label = match parallel.get(&how) {
            Some(false) => format!("{}, not parallel", how.label()),
            _ => how.label().to_owned(),
        };
        let ratio = match gemba {
            Some(gemba) if how != How::Gemba => format!(
                "oee_agg is {} as fast",
                factor(samples.median().as_secs_f64() / gemba.as_secs_f64().max(1e-9))
            ),
            _ => String::new(),
        };
        report.row(
            &what,
            &label,
            crate::samples::show(samples.median()),
            samples.spread(),
            samples.count(),
            ratio,
        );
    }
}

fn verdict(
    times: &BTreeMap<(Question, How), Samples>,
    rows: &str,
    report: &mut Report,
) -> Result<()> {
    let median = |question, how| -> Result<f64> {
        let samples = times.get(&(question, how)).context("a side is missing")?;
        Ok(samples.median().as_secs_f64().max(1e-9))
    };
    let mut least = f64::INFINITY;
    for question in Question::ALL {
        let by_hand = median(question, How::ByHand)?.min(median(question, How::ByHandOnce)?);
        least = least.min(by_hand / median(question, How::Gemba)?);
    }
    target(
        report,
        &format!("oee_agg over {rows} rows at least as fast as the faster of the sums by hand"),
        least >= 1.0,
        &format!("{} in the worst of the four cases", factor(least)),
    );
    for (how, name) in [
        (How::Plpgsql, "a PL/pgSQL aggregate"),
        (How::PlpgsqlTuned, "a tuned PL/pgSQL aggregate"),
    ] {
        let mut least = f64::INFINITY;
        for question in Question::ALL.into_iter().filter(|q| !q.parallel) {
            least = least.min(median(question, how)? / median(question, How::Gemba)?);
        }
        target(
            report,
            &format!("oee_agg at least 10 times as fast as {name}"),
            least >= 10.0,
            &format!("{} in the worse of the two cases", factor(least)),
        );
    }
    Ok(())
}
