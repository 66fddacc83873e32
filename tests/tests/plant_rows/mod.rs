//! What the tests of the plant's figures share: queries as text, a small plant, and calls of the pipelines.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses a part of it"
)]

pub use gemba_tests::{Random, table, value};
use gemba_tests::{as_user, expect_sqlstate, lines};
use postgres::error::DbError;
use postgres::{Client, Error, GenericClient};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Ids of the machines of [`plant`], in the order of their names.
pub const PRESS: &str = "00000000-0000-0000-0000-000000000001";
pub const LATHE: &str = "00000000-0000-0000-0000-000000000002";
pub const MILL: &str = "00000000-0000-0000-0000-000000000003";

/// A machine with settings of its own, one with some, one with none.
pub fn plant(client: &mut impl GenericClient) -> Result<(), Error> {
    client.batch_execute(&format!(
        "INSERT INTO plant.assets (id, name, source_id, area, planned_minutes, ideal_rate) VALUES
           ('{PRESS}', 'Press 1', 'P1', 'Stamping', 480, 120), ('{LATHE}', 'Lathe 4', 'L4', 'Machining', 600, NULL),
           ('{MILL}', 'Mill 7', 'M7', NULL, NULL, NULL);
         INSERT INTO plant.cost_centers (asset_id, standard_hourly_rate, cost_per_unit) VALUES
           ('{PRESS}', 300, 5), ('{LATHE}', 60, NULL)"
    ))
}

/// The rows of a query as a role sees them.
#[track_caller]
pub fn table_as(client: &mut Client, role: &str, sql: &str) -> Vec<String> {
    as_user(client, role, None, |tx| Ok(lines(&tx.simple_query(sql)?)))
        .unwrap_or_else(|error| panic!("{error:?}\nas {role} in {sql}"))
}

/// The error of a query as a role meets it.
#[track_caller]
pub fn refused_as(client: &mut Client, role: &str, sql: &str, code: &str) -> DbError {
    expect_sqlstate(
        as_user(client, role, None, |tx| tx.simple_query(sql).map(drop)),
        code,
    )
}

/// The error of a query.
#[track_caller]
pub fn refused(client: &mut Client, sql: &str, code: &str) -> DbError {
    let Err(error) = client.simple_query(sql) else {
        panic!("expected SQLSTATE {code}, but this succeeded: {sql}");
    };
    assert_eq!(
        error.code().map(|code| code.code()),
        Some(code),
        "{error:?}\nin {sql}"
    );
    expect_sqlstate(Err::<(), _>(error), code)
}

/// Rows that only one of two queries has, marked with which; empty when they return the same.
#[track_caller]
pub fn assert_same(client: &mut Client, found: &str, expected: &str, what: &str) {
    let differences = table(
        client,
        &format!(
            "WITH found AS MATERIALIZED ({found}), expected AS MATERIALIZED ({expected})
             (SELECT 'found' AS side, t.* FROM (SELECT * FROM found EXCEPT ALL SELECT * FROM expected) AS t LIMIT 5)
             UNION ALL
             (SELECT 'expected', t.* FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM found) AS t LIMIT 5)
             UNION ALL
             SELECT 'nothing to compare', t.* FROM (SELECT 1) AS one LEFT JOIN found AS t ON true
              WHERE NOT EXISTS (SELECT FROM found)"
        ),
    );
    assert!(differences.is_empty(), "{what}: {differences:#?}");
}

/// A text as an SQL literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What a pipeline answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub read: i64,
    pub accepted: i64,
    pub inserted: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub rejected: i64,
    pub safety_events: i64,
    /// Row, field, reason.
    pub rejects: Vec<(i64, Option<String>, String)>,
}

impl Answer {
    /// Inserted, updated, unchanged, rejected.
    pub fn counts(&self) -> (i64, i64, i64, i64) {
        (self.inserted, self.updated, self.unchanged, self.rejected)
    }

    /// Every row that was read is told of, once.
    #[track_caller]
    pub fn assert_adds_up(&self) {
        assert_eq!(self.read, self.accepted + self.rejected, "{self:?}");
        assert_eq!(
            self.accepted,
            self.inserted + self.updated + self.unchanged,
            "{self:?}"
        );
        assert_eq!(self.rejected as usize, self.rejects.len(), "{self:?}");
    }
}

/// Calls a pipeline: its name and arguments as SQL.
pub fn call(client: &mut impl GenericClient, call: &str) -> Result<Answer, Error> {
    let row = client.query_one(
        &format!(
            "SELECT rows_read, accepted, inserted, updated, unchanged, rejected, safety_events, rejects FROM plant.{call}"
        ),
        &[],
    )?;
    let rejects: Value = row.get(7);
    let answer = Answer {
        read: row.get(0),
        accepted: row.get(1),
        inserted: row.get(2),
        updated: row.get(3),
        unchanged: row.get(4),
        rejected: row.get(5),
        safety_events: row.get(6),
        rejects: rejects
            .as_array()
            .into_iter()
            .flatten()
            .map(|reject| {
                (
                    reject["row"].as_i64().unwrap_or(-1),
                    reject["field"].as_str().map(str::to_owned),
                    reject["reason"].as_str().unwrap_or("no reason").to_owned(),
                )
            })
            .collect(),
    };
    answer.assert_adds_up();
    Ok(answer)
}

/// Hands rows to `ingest_daily` or `ingest_live`.
pub fn ingest(
    client: &mut impl GenericClient,
    pipeline: &str,
    rows: &Value,
) -> Result<Answer, Error> {
    ingest_text(client, pipeline, &rows.to_string())
}

/// The same, with the JSON as written.
pub fn ingest_text(
    client: &mut impl GenericClient,
    pipeline: &str,
    json: &str,
) -> Result<Answer, Error> {
    call(
        client,
        &format!("ingest_{pipeline}({}::jsonb)", literal(json)),
    )
}

/// Waits for something that other sessions bring about; the limit only keeps a broken test from hanging.
#[track_caller]
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(120);
    while !happened() {
        assert!(Instant::now() < give_up, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn backend(client: &mut Client) -> i32 {
    client
        .query_one("SELECT pg_backend_pid()", &[])
        .map_or(0, |row| row.get(0))
}

/// Does this session wait for a lock that another one holds?
pub fn waits(watcher: &mut Client, pid: i32) -> bool {
    value(
        watcher,
        &format!("SELECT count(*) > 0 FROM pg_locks WHERE pid = {pid} AND NOT granted"),
    ) == "t"
}
