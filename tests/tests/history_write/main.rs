//! Changing compressed partitions: as if they were ordinary ones.

mod clients;
mod crash;
mod guard;
mod property;
mod rights;
mod statements;

use anyhow::Result;
use gemba_tests::{Database, table, value};
use postgres::Client;

/// January and February 2024, compressed, and March, which is not; beside them the same rows in a table without
/// partitions, and a rollup.
fn months(db: &Database) -> Result<Client> {
    let mut client = db.connect()?;
    client.batch_execute(
        r#"CREATE SCHEMA h;
           CREATE TABLE h.packed (
             sensor int NOT NULL, at timestamptz NOT NULL, value numeric(12,3), note text, level float8, ok boolean,
             doubled numeric GENERATED ALWAYS AS (value * 2) STORED,
             CONSTRAINT sayable CHECK (note IS DISTINCT FROM 'never')) PARTITION BY RANGE (at);
           CREATE INDEX ON h.packed (sensor, at);
           SELECT gemba.manage_partitions('h.packed', '1 month', premake => 0, unique_on => ARRAY['sensor', 'at']);
           SELECT gemba.ensure_partitions('h.packed', '2024-01-01', '2024-04-01');
           SELECT gemba.create_rollup('h.daily', 'h.packed', 'at', '1 day', ARRAY['sensor'],
             '{"rows": {"function": "count"}, "total": {"function": "sum", "column": "value"}}');
           INSERT INTO h.packed
             SELECT s, t, s * 100 + extract(hour FROM t), CASE WHEN s < 3 THEN 'note ' || s % 2 END, s / 7.0, s % 2 = 0
               FROM generate_series(1, 4) AS s,
                    generate_series(timestamptz '2024-01-01', '2024-03-31 23:00', interval '2 hours') AS t;
           CREATE TABLE h.plain (LIKE h.packed INCLUDING GENERATED);
           INSERT INTO h.plain (sensor, at, value, note, level, ok)
             SELECT sensor, at, value, note, level, ok FROM h.packed;
           CREATE UNIQUE INDEX ON h.plain (sensor, at);
           SELECT gemba.compress_after('h.packed', ARRAY['sensor'], 'at', '1 day')"#,
    )?;
    for month in ["2024-01-01", "2024-02-01"] {
        let leaf = leaf(&mut client, month);
        client.batch_execute(&format!("SELECT gemba.compress_partition('{leaf}')"))?;
    }
    refresh(&mut client)?;
    Ok(client)
}

/// The partition of `h.packed` that a time belongs to.
fn leaf(client: &mut Client, at: &str) -> String {
    value(
        client,
        &format!(
            "SELECT leaf::regclass::text FROM gemba._leaves('h.packed'::regclass, 'UTC')
              WHERE from_time <= '{at}' AND to_time > '{at}'"
        ),
    )
}

/// Puts the late rows of a partition into segments.
fn fold(client: &mut Client, month: &str) -> Result<()> {
    let leaf = leaf(client, month);
    client.batch_execute(&format!("SELECT gemba.compress_partition('{leaf}')"))?;
    Ok(())
}

fn refresh(client: &mut Client) -> Result<()> {
    for row in client.query("SELECT error FROM gemba.refresh_rollups()", &[])? {
        assert_eq!(row.get::<_, Option<String>>(0), None);
    }
    Ok(())
}

const COLUMNS: &str = "sensor, at, value::text, note, level, ok, doubled::text";

/// Rows that only one of two queries returns.
#[track_caller]
fn assert_same(client: &mut Client, found: &str, expected: &str, when: &str) {
    let different = table(
        client,
        &format!(
            "WITH found AS ({found}), expected AS ({expected})
             (SELECT 'found' AS side, t.* FROM (SELECT * FROM found EXCEPT ALL SELECT * FROM expected) AS t LIMIT 5)
             UNION ALL
             (SELECT 'expected', t.* FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM found) AS t LIMIT 5)"
        ),
    );
    assert!(different.is_empty(), "{when}: {different:#?}");
}

/// The compressed table has the rows that the plain one has, and its segments are as they have to be.
#[track_caller]
fn assert_rows(client: &mut Client, when: &str) {
    assert_same(
        client,
        &format!("SELECT {COLUMNS} FROM h.packed"),
        &format!("SELECT {COLUMNS} FROM h.plain"),
        when,
    );
    for segments in history_tables(client) {
        let overlaps = value(
            client,
            &format!(
                "SELECT count(*) FROM gemba_history.{segments} a JOIN gemba_history.{segments} b
                    ON a.key_1 = b.key_1 AND a.ctid < b.ctid
                   AND a.first_at <= b.last_at AND b.first_at <= a.last_at"
            ),
        );
        assert_eq!(overlaps, "0", "{when}: segments of {segments} overlap");
    }
}

/// The rollup has what a query over the plain table has.
#[track_caller]
fn assert_rollup(client: &mut Client, when: &str) -> Result<()> {
    refresh(client)?;
    assert_same(
        client,
        "SELECT bucket, sensor, rows, total FROM h.daily",
        "SELECT date_trunc('day', at), sensor, count(*), sum(value) FROM h.plain GROUP BY 1, 2",
        when,
    );
    Ok(())
}

/// Tables of segments.
fn history_tables(client: &mut Client) -> Vec<String> {
    table(
        client,
        "SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'gemba_history'::regnamespace AND relkind = 'r'
            AND relname !~ '_late$' ORDER BY 1",
    )
}

/// How many late rows there are.
fn late_rows(client: &mut Client) -> i64 {
    history_tables(client)
        .iter()
        .map(|segments| {
            let late = format!("{}_late", segments.trim_matches('"'));
            value(
                client,
                &format!("SELECT count(*) FROM gemba_history.\"{late}\""),
            )
            .parse::<i64>()
            .unwrap_or_default()
        })
        .sum()
}

fn backend(client: &mut Client) -> i32 {
    client
        .query_one("SELECT pg_backend_pid()", &[])
        .map_or(0, |row| row.get(0))
}

/// Waits until a session waits for a lock.
#[track_caller]
fn wait_for_lock(watcher: &mut Client, pid: i32) {
    gemba_tests::wait_for(
        watcher,
        &format!("SELECT count(*) > 0 FROM pg_locks WHERE pid = {pid} AND NOT granted"),
        "t",
    );
}
