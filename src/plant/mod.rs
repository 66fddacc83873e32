//! The plant room: OEE, the morning report, the live pulse, safety events (seed 000).
//!
//! The arithmetic is `gemba_core`'s; the page is `gemba_report`'s. It uses the engine's partitions for
//! snapshots and a rollup for the hours that outlive them.

mod aggregate;
mod formulas;
mod ingest;
mod page;
mod states;
mod targets;

use crate::engine::migrate::Module;
use crate::error::Error;
use crate::migration;
use gemba_core::oee::Invalid;

pub const MODULE: Module = Module {
    name: "plant",
    schema: "plant",
    description: "OEE next to the data: daily summaries, live snapshots, machine states, safety events",
    requires: &["auth", "audit"],
    reference_tables: &["settings", "shifts", "safety_codes"],
    mark: None,
    migrations: &[
        migration!("plant", 1, "0001_model", "model"),
        migration!("plant", 2, "0002_daily", "daily"),
        migration!("plant", 3, "0003_live", "live"),
        migration!("plant", 4, "0004_safety", "safety"),
        migration!("plant", 5, "0005_states", "states"),
        migration!("plant", 6, "0006_inbox", "inbox"),
        migration!("plant", 7, "0007_jobs", "jobs"),
        migration!("plant", 8, "0008_audit", "audit"),
    ],
};

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(invalid.to_string())
            .detail(format!("{} {}", invalid.field, invalid.value))
            .hint("times and counts are at least zero, downtime at most what was planned, good at most the total, speeds above zero")
    }
}
