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

/// Refuses a log whose columns are not those that seals are made of.
fn require_columns() -> Result<()> {
    let other = spi::read_row(
        "SELECT w.name, w.type::regtype::text, coalesce(pg_catalog.format_type(a.atttypid, NULL), 'not there')
           FROM (VALUES ('id', 'uuid'), ('table_name', 'text'), ('operation', 'varchar'), ('record_id', 'text'), ('user_id', 'uuid'),
                        ('role_name', 'text'), ('old_values', 'jsonb'), ('new_values', 'jsonb'), ('change_reason', 'text'),
                        ('ip_address', 'inet'), ('transaction_id', 'int8'), ('system_id', 'int8'),
                        ('statement_at', 'timestamptz'), ('created_at', 'timestamptz')) AS w (name, type)
           LEFT JOIN pg_catalog.pg_attribute a
                  ON a.attrelid = 'cloudwatcher.audit_logs'::regclass AND a.attname = w.name::name AND NOT a.attisdropped
          WHERE a.atttypid IS DISTINCT FROM w.type::regtype LIMIT 1",
        &[],
        |row| {
            let text = |column| -> Result<String> { Ok(row.get::<String>(column)?.unwrap_or_default()) };
            Ok([text(1)?, text(2)?, text(3)?])
        },
    )?;
    let Some([name, wanted, found]) = other else {
        return Ok(());
    };
    Err(Error::state("the log of the audit trail has been altered")
        .detail(format!(
            "column {name} of cloudwatcher.audit_logs: {found} instead of {wanted}"
        ))
        .hint("seals are made of the columns that gemba.deploy('audit') makes"))
}
