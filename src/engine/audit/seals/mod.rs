//! Seals: the proof that nobody changed the trail afterwards.
//!
//! A seal names the rows of a batch by their hashes and the seal before it by its own, so that whoever changes a
//! row has to change every seal from there on, and the last of them may have been written down elsewhere.
//!
//! Writers know nothing of it. Rows get into a batch some time after their transaction has ended: `upto` moves
//! forward to the oldest transaction that is still running, and everything between the last `upto` and this one
//! is the next batch. Nobody waits for anybody, and each row is in exactly one batch.
//!
//! Transactions are numbered by a cluster, so that this holds only for rows that were written in this one. The
//! first seal after a restore into another cluster therefore takes all rows that no seal names yet.
//!
//! - `row`: a row of the log, and its hash
//! - `sealing`: `gemba.seal_audit()`
//! - `verify`: `gemba.verify_audit()`, with `batch` for the rows of a seal and `beyond` for those of none

mod api;
mod batch;
mod beyond;
mod chain;
mod row;
mod sealing;
mod verify;

use crate::error::{Error, Result};
use crate::postgres::spi;

/// Refuses before the tables are there, or when they are gone.
fn require_tables() -> Result<()> {
    let there = spi::read_one::<bool>(
        "SELECT pg_catalog.to_regclass('cloudwatcher.audit_seals') IS NOT NULL",
        &[],
    )?;
    if there == Some(true) {
        return Ok(());
    }
    Err(Error::state("the audit trail is not deployed")
        .detail("there is no table cloudwatcher.audit_seals")
        .hint("SELECT gemba.deploy('audit')"))
}
