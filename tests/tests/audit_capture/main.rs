//! What the audit trail's triggers write: one entry for each row that a statement changed, as it was and as it is.

mod altered_log;
mod api;
mod concurrency;
mod definition;
mod keys;
mod limits;
mod operations;
mod options;
mod partitions;
mod restore;
mod roles;
mod types;
mod who;

use anyhow::Result;
use gemba_tests::{Database, extended, table};
use postgres::Client;

/// A database with an audited table, and a superuser's session.
fn audited(name: &str, definition: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    client.batch_execute(&format!(
        "CREATE SCHEMA s; {definition}; SELECT gemba.audit('s.t')"
    ))?;
    Ok((db, client))
}

/// The entries about changes, in their order: operation, record, old and new values.
#[track_caller]
fn entries(client: &mut Client) -> Vec<String> {
    table(
        client,
        "SELECT operation, record_id, old_values, new_values FROM cloudwatcher.audit_logs
          WHERE operation NOT IN ('AUDIT', 'UNAUDIT') ORDER BY id",
    )
}

/// The entries that a statement brings.
#[track_caller]
fn logged(client: &mut Client, statement: &str) -> Vec<String> {
    let before = entries(client).len();
    client
        .batch_execute(statement)
        .unwrap_or_else(|error| panic!("{error:?}\nin {statement}"));
    entries(client).split_off(before)
}
