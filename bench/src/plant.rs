//! The plant's room: its aggregate, its pipelines and its reports, beside what somebody would write instead.
//!
//! - `machines`: what machines report, and what a client of its own would compute from it
//! - `aggregate`: `plant.oee_agg` beside hand-written sums and a PL/pgSQL aggregate
//! - `pipelines`: `plant.ingest_live` and `plant.ingest_daily` beside INSERTs into the seed's tables
//! - `reading`: the morning report and the live view beside hand-written queries

mod aggregate;
mod machines;
mod pipelines;
mod reading;

use crate::Options;
use crate::report::{Report, factor, thousands};
use crate::samples::{Samples, show};
use crate::server::Server;
use anyhow::Result;
use postgres::Client;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Rows to aggregate.
    rows: u64,
    machines: u32,
    /// Polls of the live pulse, a quarter of an hour apart.
    polls: u32,
    /// Days that arrive one by one.
    days: u32,
    /// Days that the reports look back on.
    history: u32,
}

impl Size {
    fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                rows: 100_000,
                machines: 100,
                polls: 16,
                days: 5,
                history: 60,
            }
        } else {
            Self {
                rows: 10_000_000,
                machines: 1_000,
                polls: 96,
                days: 30,
                history: 400,
            }
        }
    }

    /// Snapshots of all polls together.
    fn rows_of_polls(self) -> u64 {
        u64::from(self.machines) * u64::from(self.polls)
    }
}

/// Who takes what machines report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Gemba,
    /// The seed's own tables.
    Plain,
}

impl Side {
    fn database(self) -> &'static str {
        match self {
            Self::Gemba => "bench_plant",
            Self::Plain => "bench_plant_plain",
        }
    }

    /// A new database with machines that have reported nothing.
    fn create(self, server: &Server, machines: u32) -> Result<Client> {
        server.create_database(self.database())?;
        let mut client = server.connect(self.database())?;
        let sql = match self {
            Self::Gemba => {
                client.batch_execute("CREATE EXTENSION gemba")?;
                include_str!("../sql/plant/assets.gemba.sql")
            }
            Self::Plain => {
                client.batch_execute(include_str!("../sql/plant/plain_tables.sql"))?;
                include_str!("../sql/plant/assets.plain.sql")
            }
        };
        client.batch_execute(&sql.replace("{assets}", &machines.to_string()))?;
        Ok(client)
    }

    fn table(self, name: &str) -> String {
        match self {
            Self::Gemba => format!("plant.{name}"),
            Self::Plain => format!("public.{name}"),
        }
    }
}

pub fn measure(server: &Server, options: &Options, report: &mut Report) -> Result<()> {
    let size = Size::of(options);
    report.note(&format!(
        "the plant: {} machines with targets for three shifts. \"The seed's tables\" are its DDL with its indexes and UNIQUE (asset_id, snapshot_timestamp) in place of the plain index on these two; no row security there. {} runs of each write, each on new tables, another side first each time; a CHECKPOINT before each",
        thousands(size.machines.into()),
        options.runs
    ));
    aggregate::measure(server, options, size, report)?;
    pipelines::measure(server, options, size, report)?;
    reading::measure(server, options, size, report)
}

/// Rows a second.
fn rate(samples: &Samples, rows: u64) -> f64 {
    rows as f64 / samples.median().as_secs_f64().max(1e-9)
}

/// A row of the table that is compared by its rate, because not every side did all of it.
fn rate_row(
    report: &mut Report,
    what: &str,
    side: &str,
    samples: &Samples,
    rows: u64,
    baselines: &[(&str, f64)],
) {
    let rate = rate(samples, rows);
    let ratios: Vec<_> = baselines
        .iter()
        .map(|(name, baseline)| format!("{} as fast as {name}", factor(rate / baseline.max(1e-9))))
        .collect();
    report.row(
        what,
        side,
        format!("{} rows/s", thousands(rate as u64)),
        match samples.spread() {
            several if several.contains("to") || several.contains(',') => {
                format!("{} rows: {several}", thousands(rows))
            }
            _ => format!("{} rows: {}", thousands(rows), show(samples.median())),
        },
        samples.count(),
        ratios.join("; "),
    );
}

/// What was wanted and what came out.
fn target(report: &mut Report, wanted: &str, met: bool, came_out: &str) {
    let verdict = if met { "met" } else { "**missed**" };
    report.note(&format!("target {verdict}: {wanted}: {came_out}"));
}
