//! What the tests of the refreshes share.

#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

use anyhow::{Context, Result};
pub use gemba_tests::Random;
use postgres::Client;
use postgres::types::{FromSql, ToSql};

/// All values of the first column.
pub fn column<T: for<'a> FromSql<'a>>(
    client: &mut Client,
    sql: &str,
    args: &[&(dyn ToSql + Sync)],
) -> Result<Vec<T>> {
    let rows = client.query(sql, args).with_context(|| sql.to_owned())?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The first column of the only row.
pub fn one<T: for<'a> FromSql<'a>>(client: &mut Client, sql: &str) -> Result<T> {
    Ok(client
        .query_one(sql, &[])
        .with_context(|| sql.to_owned())?
        .get(0))
}

/// Rows as PostgreSQL writes them, one a line.
pub fn rows(client: &mut Client, sql: &str) -> Result<String> {
    let lines: Vec<String> = column(client, &format!("SELECT q::text FROM ({sql}) AS q"), &[])?;
    Ok(lines.join("\n"))
}

/// Tables of elsewhere that are due, in schema x, named a, b, c … or as given; nothing else is registered.
pub fn only(client: &mut Client, names: &[&str]) -> Result<()> {
    client.batch_execute("DELETE FROM sqp.refresh_config")?;
    for name in names {
        client.execute(
            "INSERT INTO sqp.refresh_config (table_schema, table_name, next_refresh_at)
             VALUES ('x', $1, date_trunc('hour', now()) - interval '1 hour')",
            &[name],
        )?;
    }
    Ok(())
}

/// Claims up to so many; returns names and runs.
pub fn claim(client: &mut Client, most: i32) -> Result<Vec<(String, i64)>> {
    let rows = client.query(
        "SELECT table_name, run_id FROM sqp.claim_refresh('test', most => $1)",
        &[&most],
    )?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub fn names(claimed: &[(String, i64)]) -> Vec<&str> {
    claimed.iter().map(|(name, _)| name.as_str()).collect()
}

pub fn complete(client: &mut Client, run: i64) -> Result<String> {
    Ok(client
        .query_one("SELECT status FROM sqp.complete_refresh($1)", &[&run])?
        .get(0))
}

pub fn fail(client: &mut Client, run: i64) -> Result<()> {
    client.execute("SELECT sqp.fail_refresh($1, 'no reason')", &[&run])?;
    Ok(())
}

/// `name state` of every table, in the plan's order.
pub fn plan(client: &mut Client) -> Result<Vec<String>> {
    column(
        client,
        "SELECT table_name || ' ' || state FROM sqp.refresh_plan() ORDER BY position",
        &[],
    )
}

/// Lets those that were put off look again, as the time that passes does.
pub fn look_again(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "UPDATE sqp.refresh_config SET claimable_at = next_refresh_at
          WHERE run_id IS NULL AND attempts = 0 AND parked_at IS NULL",
    )?;
    Ok(())
}

/// Lets everything that has happened be this much longer ago.
pub fn pass(client: &mut Client, time: &str) -> Result<()> {
    client.batch_execute(&format!(
        "UPDATE sqp.refresh_config SET next_refresh_at = next_refresh_at - interval '{time}',
                last_refresh_at = last_refresh_at - interval '{time}',
                last_refresh_started_at = last_refresh_started_at - interval '{time}',
                claimable_at = claimable_at - interval '{time}',
                lease_expires_at = lease_expires_at - interval '{time}'"
    ))?;
    Ok(())
}
