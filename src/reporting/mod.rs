//! The reporting room: dashboards and who may see them, collections of a year's weeks, aggregates, insights
//! (seed 002).
//!
//! Access is decided by the tables' policies. What they ask for each query — which dashboards were shared
//! with me, which workflows may I look at — is native:
//!
//! - [`access`]: the caller's dashboards, for the policies
//! - [`ids`]: ids that people can read and nobody can guess
//! - [`insights`]: what stands out in the figures
//! - [`metrics`]: JSON objects of numbers, and their exact sums
//! - [`periods`]: what the keys of periods say
//! - [`serving`]: dashboards with their figures, in one answer
//! - [`shown`]: the workflows that dashboards show to the caller, for the policies
//! - [`widgets`]: what a widget may hold and where it may stand, for the triggers

mod access;
pub mod ids;
mod insights;
mod metrics;
pub mod periods;
mod serving;
mod shown;
pub mod widgets;

use crate::engine::migrate::Module;
use crate::migration;

pub const MODULE: Module = Module {
    name: "reporting",
    schema: "reporting",
    description: "reports: dashboards, collections of weeks, aggregates, insights",
    requires: &["auth", "audit"],
    reference_tables: &["settings", "metric_definitions"],
    mark: None,
    migrations: &[
        migration!("reporting", 1, "0001_sources", "sources"),
        migration!("reporting", 2, "0002_dashboards", "dashboards"),
        migration!("reporting", 3, "0003_collections", "collections"),
        migration!("reporting", 4, "0004_aggregates", "aggregates"),
        migration!("reporting", 5, "0005_insights", "insights"),
        migration!("reporting", 6, "0006_jobs", "jobs"),
        migration!("reporting", 7, "0007_audit", "audit"),
    ],
};
