//! Who queries which table with row level security, and how often: by the hour, for `cloudwatcher.data_access`.
//!
//! The server calls a hook whenever it starts a query, and another one when COPY asks for its table. There a process counts in its
//! own memory, adds that to memory which all share when a transaction ends (once a second at most) or the process
//! does, and `gemba.collect_access()` moves it into the table. Queries write nothing, wait for nobody and fail for
//! nothing of this.
//!
//! What counts is what is done with the caller's own rights: by statements, COPY, and functions that run as their
//! caller, once for each time that a query of theirs is run (EXPLAIN without ANALYZE runs none). What SECURITY DEFINER functions do with their owner's
//! rights (policies, triggers, foreign keys) does not; nor do tables without row level security.
//!
//! It needs shared memory, so the server has to preload the library. What was not collected when the server stops
//! is lost.
//!
//! - `hook`: what is counted
//! - `counts`: the process's own counts
//! - `shared`: those of all
//! - `collect`: into the table

mod api;
mod collect;
mod counts;
mod hook;
mod shared;

use crate::engine::jobs::worker;

/// Called when the library is loaded.
pub fn register() {
    if worker::being_preloaded() {
        shared::register();
        hook::register();
    }
}
