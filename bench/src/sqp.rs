//! The refreshes' room and the job worker.
//!
//! - `queue`: `sqp.claim_refresh` and `sqp.complete_refresh` beside a bare SKIP LOCKED queue
//! - `plan`: `sqp.refresh_plan` of many tables and dependencies
//! - `worker`: how late a due job starts, and what an idle worker costs

mod plan;
mod queue;
mod worker;

use crate::Options;
use crate::report::Report;
use crate::server::Server;
use anyhow::Result;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    tables: u32,
    edges: u32,
    clients: usize,
    /// Times that every table is refreshed, one claim at a time.
    rounds: usize,
    /// The same with claims of many.
    rounds_of_batches: usize,
    batch: i32,
    /// Seconds that the worker is watched.
    watch: u64,
}

impl Size {
    fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                tables: 500,
                edges: 2_000,
                clients: 8,
                rounds: 2,
                rounds_of_batches: 2,
                batch: 50,
                watch: 3,
            }
        } else {
            Self {
                tables: 10_000,
                edges: 50_000,
                clients: 8,
                rounds: 10,
                // Together with the others a million claims.
                rounds_of_batches: 90,
                batch: 50,
                watch: 20,
            }
        }
    }
}

pub fn measure(server: &Server, options: &Options, report: &mut Report) -> Result<()> {
    let size = Size::of(options);
    queue::measure(server, size, report)?;
    plan::measure(server, options, size, report)?;
    worker::measure(server, size, report)
}

fn target(report: &mut Report, wanted: &str, met: bool, came_out: &str) {
    let verdict = if met { "met" } else { "**missed**" };
    report.note(&format!("target {verdict}: {wanted}: {came_out}"));
}
