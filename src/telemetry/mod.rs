//! The telemetry room: sensor time series (seed 001).
//!
//! It uses the engine's partitions for readings and its rollups for hours and days.

mod access;
mod api;
mod import;
mod sample;

use crate::engine::migrate::Module;
use crate::migration;

pub const MODULE: Module = Module {
    name: "telemetry",
    schema: "telemetry",
    description: "sensor time series: readings, aggregates, subscriptions, CSV import",
    requires: &["auth", "audit"],
    reference_tables: &["plausible_ranges"],
    mark: None,
    migrations: &[
        migration!("telemetry", 1, "0001_sensors", "sensors"),
        migration!("telemetry", 2, "0002_readings", "readings"),
        migration!("telemetry", 3, "0003_aggregates", "aggregates"),
        migration!("telemetry", 4, "0004_import", "import"),
        migration!("telemetry", 5, "0005_jobs", "jobs"),
        migration!("telemetry", 6, "0006_audit", "audit"),
        migration!("telemetry", 7, "0007_history", "history"),
    ],
};
