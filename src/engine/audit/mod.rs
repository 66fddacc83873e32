//! The audit trail: who changed what in which row, who reads what, and the proof that nobody changed the trail.
//!
//! The log stands where seed 004 puts it, in schema `cloudwatcher`; its tables are a module of their own, so
//! that every room can be audited without that one.
//!
//! - `api`: puts tables under audit
//! - `triggers`, `options`: what makes a table an audited one, and what is logged of it
//! - `capture`: the trigger; `table`: what a process knows about a table
//! - `record`: what an entry calls its row
//! - `log`, `place`, `indexes`: writing entries, and where to; `ids`, `who`: what they all have
//! - `access`: counts who reads what; `seals`: the proof; `history`: what a row was

mod api;
mod capture;
mod ids;
mod indexes;
mod log;
mod options;
mod place;
pub mod record;
mod table;
pub mod triggers;
mod who;

pub mod access;
pub mod history;
pub mod seals;

use crate::engine::migrate::Module;
use crate::migration;
use std::ffi::CStr;

/// Schema and name of the log, as the module's migrations make it.
const LOG: (&CStr, &CStr) = (c"cloudwatcher", c"audit_logs");

pub const MODULE: Module = Module {
    name: "audit",
    schema: "cloudwatcher",
    description: "the audit trail: changes, seals, access",
    requires: &["auth"],
    reference_tables: &[],
    mark: Some("audit trail:"),
    migrations: &[
        migration!("audit", 1, "0001_log", "log"),
        migration!("audit", 2, "0002_seals", "seals"),
        migration!("audit", 3, "0003_access", "access"),
        migration!("audit", 4, "0004_jobs", "jobs"),
    ],
};
