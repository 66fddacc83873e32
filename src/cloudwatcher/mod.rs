//! The cloudwatcher room: who may do what where, devices' requests, parts and stock, orders and their approval
//! (seed 004).
//!
//! What happens to requests, stock and orders are functions that run with the extension's rights and ask first who
//! calls; tables are for reading, under policies.
//!
//! - [`access`]: what the caller may do and see, for the policies and for those functions
//! - [`forecast`]: how many of a part will be used
//! - [`requests`]: what devices ask for and what they are answered

pub mod access;
pub mod forecast;
pub mod requests;

use crate::engine::migrate::Module;
use crate::migration;

pub const MODULE: Module = Module {
    name: "cloudwatcher",
    schema: "cloudwatcher",
    description: "devices' requests, parts and stock, orders and approvals",
    requires: &["auth", "audit"],
    reference_tables: &["settings", "roles", "role_permissions"],
    mark: None,
    migrations: &[
        migration!("cloudwatcher", 1, "0001_identity", "identity"),
        migration!("cloudwatcher", 2, "0002_requests", "requests"),
        migration!("cloudwatcher", 3, "0003_parts", "parts"),
        migration!("cloudwatcher", 4, "0004_orders", "orders"),
        migration!("cloudwatcher", 5, "0005_jobs", "jobs"),
        migration!("cloudwatcher", 6, "0006_audit", "audit"),
    ],
};
