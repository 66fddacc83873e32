//! Rollups: exact after every refresh, and their live views at any moment.

mod catalog;
mod concurrency;
mod crash;
mod errors;
mod expired;
mod live;
mod model;
mod partitioned;
mod property;
mod security;
mod values;

use anyhow::Result;
use gemba_tests::{Database, table, value};
use postgres::{Client, Error};
use std::time::{Duration, Instant};

/// What one rollup's refresh reported.
#[derive(Debug, Clone, PartialEq)]
struct Refreshed {
    rollup: String,
    ranges: i64,
    rows_written: i64,
    rows_removed: i64,
    ranges_frozen: i64,
    error: Option<String>,
}

fn refreshed(client: &mut Client, call: &str) -> Result<Vec<Refreshed>, Error> {
    Ok(client
        .query(
            &format!("SELECT rollup, ranges, rows_written, rows_removed, ranges_frozen, error FROM {call}"),
            &[],
        )?
        .iter()
        .map(|row| Refreshed {
            rollup: row.get(0),
            ranges: row.get(1),
            rows_written: row.get(2),
            rows_removed: row.get(3),
            ranges_frozen: row.get(4),
            error: row.get(5),
        })
        .collect())
}

/// Refreshes every rollup of the schema `s`, none of which may fail.
fn refresh(client: &mut Client) -> Result<(), Error> {
    for done in refreshed(client, "gemba.refresh_rollups()")? {
        assert_eq!(done.error, None, "{done:?}");
    }
    Ok(())
}

/// Rows that only one of two queries has, marked with which; empty when they return the same.
#[track_caller]
fn differences(client: &mut Client, found: &str, expected: &str) -> Vec<String> {
    table(
        client,
        &format!(
            "WITH found AS ({found}), expected AS ({expected})
             (SELECT 'found' AS side, t.* FROM (SELECT * FROM found EXCEPT ALL SELECT * FROM expected) AS t LIMIT 5)
             UNION ALL
             (SELECT 'expected', t.* FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM found) AS t LIMIT 5)"
        ),
    )
}

#[track_caller]
fn assert_same(client: &mut Client, found: &str, expected: &str, when: &str) {
    let differences = differences(client, found, expected);
    assert!(
        differences.is_empty(),
        "{when}: {differences:#?}\nfound: {found}"
    );
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

/// Does this session wait for a lock that another one holds?
fn waits(watcher: &mut Client, pid: i32) -> bool {
    value(
        watcher,
        &format!("SELECT count(*) > 0 FROM pg_locks WHERE pid = {pid} AND NOT granted"),
    ) == "t"
}

/// `s.raw`, partitioned by day from the first to the seventh of January 2024, and its hourly rollup.
fn simple(db: &Database) -> Result<Client> {
    simple_by(db, "NULL")
}

/// How the rollup of [`simple_by`] is kept: in one table, or in partitions.
const EITHER_WAY: [&str; 2] = ["NULL", "'1 day'"];

/// [`simple`], with partitions of the rollup's own if any are given.
fn simple_by(db: &Database, partition_by: &str) -> Result<Client> {
    let mut client = db.connect()?;
    client.batch_execute(&format!(
        r#"CREATE SCHEMA s;
           CREATE TABLE s.raw (at timestamptz NOT NULL, kind text, n int) PARTITION BY RANGE (at);
           SELECT gemba.manage_partitions('s.raw', '1 day', premake => 0);
           SELECT gemba.ensure_partitions('s.raw', '2024-01-01', '2024-01-08');
           SELECT gemba.create_rollup('s.hourly', 's.raw', 'at', '1 hour', ARRAY['kind'],
             '{{"rows": {{"function": "count"}}, "total": {{"function": "sum", "column": "n"}}}}', 'UTC', {partition_by})"#,
    ))?;
    Ok(client)
}

/// What `s.hourly` of [`simple`] holds, and what a plain query says it should hold.
const HOURLY: &str = "SELECT bucket, kind, rows, total FROM s.hourly";
const HOURLY_LIVE: &str = "SELECT bucket, kind, rows, total FROM s.hourly_live";
const PLAIN: &str = "SELECT date_trunc('hour', at) AS bucket, kind, count(*) AS rows, sum(n) AS total FROM s.raw GROUP BY 1, 2";
