//! The reporting room.
//!
//! - `metrics`: `reporting.metrics_sum` beside jsonb_each, sum and jsonb_object_agg
//! - `payload`: `reporting.dashboard_payload` beside a hand-written query for each widget
//! - `listing`: the dashboards that a user may see, beside a policy that asks a function for each row
//! - `queue`: `reporting.claim_week` and `reporting.complete_week` beside a bare SKIP LOCKED queue

mod listing;
mod metrics;
mod payload;
mod queue;

use crate::Options;
use crate::report::Report;
use crate::server::Server;
use anyhow::Result;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Objects of metrics to add up.
    objects: u64,
    /// Workflows with figures, each on two accounts.
    workflows: u32,
    dashboards: u32,
    /// Collections of 52 weeks to work off, by so many clients, so many times.
    collections: u32,
    clients: usize,
    rounds: usize,
}

impl Size {
    fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                objects: 20_000,
                workflows: 50,
                dashboards: 2_000,
                collections: 20,
                clients: 8,
                rounds: 2,
            }
        } else {
            Self {
                objects: 200_000,
                workflows: 500,
                dashboards: 100_000,
                collections: 200,
                clients: 8,
                rounds: 10,
            }
        }
    }
}

pub fn measure(server: &Server, options: &Options, report: &mut Report) -> Result<()> {
    let size = Size::of(options);
    metrics::measure(server, options, size, report)?;
    payload::measure(server, options, size, report)?;
    listing::measure(server, options, size, report)?;
    queue::measure(server, size, report)
}

/// What was wanted and what came out.
fn target(report: &mut Report, wanted: &str, met: bool, came_out: &str) {
    let verdict = if met { "met" } else { "**missed**" };
    report.note(&format!("target {verdict}: {wanted}: {came_out}"));
}
