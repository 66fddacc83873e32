//! `gemba-bench`: measures gemba beside the seed's own tables, and beside TimescaleDB where the server
//! has it, on a server that `scripts/bench.sh` has started with the same settings for all.
//!
//! - `data`: the files that every side loads
//! - `sides`: what is compared, and how each side does the same work
//! - `writes`: loading, first builds, refreshes
//! - `reads`: dashboard queries
//! - `full`: the whole data set, in ordinary partitions
//! - `history`: compressed partitions beside ordinary ones and columnstores, the whole data set included
//! - `plant`: the plant's aggregate, pipelines and reports, beside the seed's tables and hand-written SQL
//! - `queue`: rounds of work that several clients take from one queue
//! - `sqp`: claiming and planning refreshes beside a bare queue, and the job worker
//! - `reporting`: the reports' aggregate and dashboards beside hand-written SQL, and their weeks beside a bare queue
//! - `audit`: what an audited table costs, beside a trigger for each row and supa_audit
//! - `cloudwatcher`: the seed's queries under policies
//! - `report`: the table
//!
//! Every measurement is repeated on fresh tables and reported as the median with its extremes. Sides
//! that must agree are compared, and the benchmark stops when they do not.

mod audit;
mod cloudwatcher;
mod data;
mod full;
mod history;
mod plant;
mod queue;
mod reads;
mod report;
mod reporting;
mod samples;
mod server;
mod sides;
mod sqp;
mod writes;

use anyhow::{Context, Result, bail, ensure};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: gemba-bench --socket DIR --work DIR --out FILE [options]
  --socket DIR    folder of the server's socket
  --work DIR      folder for data files, readable by the server
  --out FILE      where the table goes besides standard output
  --readings N    readings of the small case (default: 5000000)
  --runs N        fresh repetitions of each write (default: 3)
  --calls N       calls of each query (default: 200)
  --quick         200000 readings, 2 runs, 50 calls, and a day as the whole data set: shows that it works,
                  measures nothing
  --full          also all 124.9 million readings, in ordinary partitions; the room history has them anyway
  --full-seed     with --full: the seed's own tables with all readings too (long)
  --only ROOM     telemetry, history, plant, reporting, sqp, cloudwatcher or audit (default: all)";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Audit,
    Cloudwatcher,
    History,
    Telemetry,
    Plant,
    Reporting,
    Sqp,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    socket: PathBuf,
    work: PathBuf,
    out: PathBuf,
    readings: u64,
    runs: usize,
    calls: usize,
    quick: bool,
    full: bool,
    full_seed: bool,
    only: Option<Room>,
}

impl Options {
    fn wants(&self, room: Room) -> bool {
        self.only.is_none_or(|only| only == room)
    }
}

fn main() -> ExitCode {
    let outcome = match options() {
        Ok(Some(options)) => measure(&options),
        Ok(None) => {
            println!("{USAGE}");
            Ok(())
        }
        Err(error) => Err(error.context(USAGE)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gemba-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Option<Options>> {
    use lexopt::prelude::*;
    let (mut socket, mut work, mut out) = (None, None, None);
    let (mut readings, mut runs, mut calls) = (None, None, None);
    let (mut quick, mut full, mut full_seed) = (false, false, false);
    let mut only = None;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("socket") => socket = Some(PathBuf::from(parser.value()?)),
            Long("work") => work = Some(PathBuf::from(parser.value()?)),
            Long("out") => out = Some(PathBuf::from(parser.value()?)),
            Long("readings") => readings = Some(parser.value()?.parse::<u64>()?),
            Long("runs") => runs = Some(parser.value()?.parse::<usize>()?),
            Long("calls") => calls = Some(parser.value()?.parse::<usize>()?),
            Long("quick") => quick = true,
            Long("full") => full = true,
            Long("full-seed") => full_seed = true,
            Long("only") => {
                only = Some(match parser.value()?.string()?.as_str() {
                    "telemetry" => Room::Telemetry,
                    "history" => Room::History,
                    "plant" => Room::Plant,
                    "reporting" => Room::Reporting,
                    "sqp" => Room::Sqp,
                    "audit" => Room::Audit,
                    "cloudwatcher" => Room::Cloudwatcher,
                    other => bail!(
                        "--only {other}: there are telemetry, history, plant, reporting, sqp, cloudwatcher and audit"
                    ),
                });
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let options = Options {
        socket: socket.context("--socket is missing")?,
        work: work.context("--work is missing")?,
        out: out.context("--out is missing")?,
        readings: readings.unwrap_or(if quick { 200_000 } else { 5_000_000 }),
        runs: runs.unwrap_or(if quick { 2 } else { 3 }),
        calls: calls.unwrap_or(if quick { 50 } else { 200 }),
        quick,
        full: full || full_seed,
        full_seed,
        only,
    };
    ensure!(
        options.readings > 0 && options.runs > 0 && options.calls > 0,
        "a count is zero"
    );
    ensure!(
        !options.full || options.wants(Room::Telemetry),
        "--full is about telemetry, and --only leaves that out"
    );
    Ok(Some(options))
}

fn measure(options: &Options) -> Result<()> {
    let server = server::Server::new(&options.socket);
    let facts = server.facts()?;
    let mut report = Report::new(&facts, options);
    if options.wants(Room::Telemetry) {
        telemetry(&server, options, facts.timescaledb.is_some(), &mut report)?;
    }
    if options.wants(Room::History) {
        history::measure(&server, options, facts.timescaledb.is_some(), &mut report)?;
    }
    if options.wants(Room::Plant) {
        plant::measure(&server, options, &mut report)?;
    }
    if options.wants(Room::Reporting) {
        reporting::measure(&server, options, &mut report)?;
    }
    if options.wants(Room::Sqp) {
        sqp::measure(&server, options, &mut report)?;
    }
    if options.wants(Room::Cloudwatcher) {
        cloudwatcher::measure(&server, options, &mut report)?;
    }
    if options.wants(Room::Audit) {
        audit::measure(&server, options, &mut report)?;
    }
    report.finish(&options.out)
}

fn telemetry(
    server: &server::Server,
    options: &Options,
    timescale: bool,
    report: &mut Report,
) -> Result<()> {
    if !timescale {
        report.note("**TimescaleDB: not on this server**, so there are no rows of it");
        server::progress("TimescaleDB: NOT ON THIS SERVER, nothing of it is measured");
    }
    report.note(
        "telemetry: ordinary partitions, after gemba.stop_compressing() on readings, hours and days; compressed ones are the room history's",
    );
    let data = data::Data::make(options.readings, &options.work.join("small"))?;
    let kept = writes::measure(server, options, &data, timescale, report)?;
    reads::measure_small(server, options, &data, &kept, report)?;
    for database in kept.all() {
        server.drop_database(database)?;
    }
    data.remove()?;
    if options.full {
        full::measure(server, options, report)?;
    }
    Ok(())
}
