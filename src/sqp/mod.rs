//! The sqp room: which tables are refreshed when, in which order, by whom, and how that ended (seed 003).
//!
//! What one statement decides — claims, reports, quality — is SQL (`sql/install/sqp/`), because each call
//! is a transaction of its own and the plans stay cached in the session. Here is the rest:
//!
//! - [`plan`]: all tables in the order in which they may run, and why one does not
//! - [`checkpoints`]: where a run that died goes on
//! - [`in_database`]: refreshes that need no worker from outside
//! - [`registration`]: tables register themselves
//! - [`helpers`]: arithmetic and the audit log's partitions, for the SQL
//!
//! The order, the back-off and the median are `gemba_core`'s. Of the engine it uses the partitions.

mod checkpoints;
pub mod helpers;
pub mod in_database;
mod plan;
mod registration;

use crate::engine::migrate::Module;
use crate::migration;

pub const MODULE: Module = Module {
    name: "sqp",
    schema: "sqp",
    description: "refreshes: schedule, dependencies, claims, checkpoints, quality, summaries",
    requires: &["audit"],
    reference_tables: &[
        "settings",
        "watched_schemas",
        "refresh_config",
        "refresh_dependencies",
    ],
    mark: None,
    migrations: &[
        migration!("sqp", 1, "0001_refresh", "refresh"),
        migration!("sqp", 2, "0002_sources", "sources"),
        migration!("sqp", 3, "0003_registration", "registration"),
        migration!("sqp", 4, "0004_jobs", "jobs"),
        migration!("sqp", 5, "0005_audit", "audit"),
    ],
};
