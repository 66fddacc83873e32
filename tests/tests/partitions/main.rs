//! Partition management: what it makes, what it retires, and who has to wait for it (nobody).

mod boundaries;
mod concurrency;
mod errors;
mod leaves;
mod many;
mod retention;

use anyhow::Result;
use gemba_tests::{Database, table, value};
use postgres::{Client, Error};
use std::time::{Duration, Instant};

/// One row that a maintenance function returned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Action {
    parent: String,
    partition: Option<String>,
    action: String,
    detail: Option<String>,
}

/// What a call of one of the maintenance functions did, row by row.
fn actions(client: &mut Client, call: &str) -> Result<Vec<Action>, Error> {
    Ok(client
        .query(
            &format!("SELECT parent, partition, action, detail FROM {call}"),
            &[],
        )?
        .iter()
        .map(|row| Action {
            parent: row.get(0),
            partition: row.get(1),
            action: row.get(2),
            detail: row.get(3),
        })
        .collect())
}

/// The partitions that were treated so, in the order of the rows.
fn partitions_with(actions: &[Action], action: &str) -> Vec<String> {
    actions
        .iter()
        .filter(|a| a.action == action)
        .filter_map(|a| a.partition.clone())
        .collect()
}

/// Names and bounds of a table's partitions as the server itself states them, in order of the bounds.
#[track_caller]
fn bounds(client: &mut Client, parent: &str) -> Vec<String> {
    table(
        client,
        &format!(
            "SELECT c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid)
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
              WHERE i.inhparent = '{parent}'::regclass
              ORDER BY pg_get_expr(c.relpartbound, c.oid)"
        ),
    )
}

/// Waits for something that other sessions bring about; the limit only keeps a broken test from hanging.
#[track_caller]
fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(120);
    while !happened() {
        assert!(Instant::now() < give_up, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn backend(client: &mut Client) -> i32 {
    client
        .query_one("SELECT pg_backend_pid()", &[])
        .map_or(0, |row| row.get(0))
}

/// A table of instants, partitioned by range, in a schema of its own.
fn events(db: &Database) -> Result<Client> {
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE SCHEMA s;
         CREATE TABLE s.events (at timestamptz NOT NULL, kind text) PARTITION BY RANGE (at)",
    )?;
    Ok(client)
}
