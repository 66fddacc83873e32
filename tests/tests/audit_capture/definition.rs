//! A table's definition changes between two statements of one session, which remembers what it knew of it.

use super::{audited, logged};
use anyhow::Result;
use gemba_tests::table;

#[test]
fn columns_come_go_and_change() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_columns",
        "CREATE TABLE s.t (id int PRIMARY KEY, n int, note text)",
    )?;
    let mut row = 0;
    let mut next = |client: &mut postgres::Client, change: &str| {
        row += 1;
        logged(
            client,
            &format!("{change}; INSERT INTO s.t (id) VALUES ({row})"),
        )
        .into_iter()
        .map(|entry| entry.split(" | ").last().unwrap_or_default().to_owned())
        .collect::<Vec<_>>()
        .join(", ")
    };
    for (change, found) in [
        ("SELECT 1", "{\"n\": null, \"id\": 1, \"note\": null}"),
        (
            "ALTER TABLE s.t DROP COLUMN note",
            "{\"n\": null, \"id\": 2}",
        ),
        (
            "ALTER TABLE s.t ADD COLUMN later text DEFAULT 'x'",
            "{\"n\": null, \"id\": 3, \"later\": \"x\"}",
        ),
        (
            "ALTER TABLE s.t ALTER COLUMN n TYPE numeric(6,2), ALTER COLUMN n SET DEFAULT 5",
            "{\"n\": 5.00, \"id\": 4, \"later\": \"x\"}",
        ),
        (
            "ALTER TABLE s.t ALTER COLUMN n TYPE text",
            "{\"n\": \"5\", \"id\": 5, \"later\": \"x\"}",
        ),
        (
            "ALTER TABLE s.t ALTER COLUMN n DROP DEFAULT",
            "{\"n\": null, \"id\": 6, \"later\": \"x\"}",
        ),
        (
            "ALTER TABLE s.t RENAME COLUMN later TO a",
            "{\"a\": \"x\", \"n\": null, \"id\": 7}",
        ),
        (
            "BEGIN; ALTER TABLE s.t DROP COLUMN a; ROLLBACK",
            "{\"a\": \"x\", \"n\": null, \"id\": 8}",
        ),
    ] {
        assert_eq!(next(&mut client, change), found, "{change}");
    }
    // Rows of before are logged as what they are now.
    assert_eq!(
        logged(&mut client, "DELETE FROM s.t WHERE id = 1"),
        ["DELETE | 1 | {\"a\": \"x\", \"n\": null, \"id\": 1} | -"]
    );
    Ok(())
}

#[test]
fn keys_come_and_go() -> Result<()> {
    let (_db, mut client) = audited("audit_new_keys", "CREATE TABLE s.t (id int, n int)")?;
    client.batch_execute(
        "INSERT INTO s.t VALUES (1, 2);
         ALTER TABLE s.t ADD CONSTRAINT k PRIMARY KEY (n) DEFERRABLE INITIALLY DEFERRED; INSERT INTO s.t VALUES (1, 3);
         ALTER TABLE s.t DROP CONSTRAINT k; ALTER TABLE s.t ADD PRIMARY KEY (id, n); INSERT INTO s.t VALUES (1, 4)",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT record_id FROM cloudwatcher.audit_logs WHERE operation = 'INSERT' ORDER BY id"
        ),
        ["-", "3", "[\"1\", \"4\"]"]
    );
    Ok(())
}

#[test]
fn types_change_their_looks() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_new_casts",
        "CREATE TYPE s.mood AS ENUM ('ok'); CREATE TABLE s.t (id int PRIMARY KEY, m s.mood)",
    )?;
    assert_eq!(
        logged(
            &mut client,
            "INSERT INTO s.t VALUES (1, 'ok');
             CREATE FUNCTION s.j(s.mood) RETURNS json LANGUAGE sql IMMUTABLE AS 'SELECT to_json(7)';
             CREATE CAST (s.mood AS json) WITH FUNCTION s.j(s.mood);
             INSERT INTO s.t VALUES (2, 'ok');
             DROP CAST (s.mood AS json);
             INSERT INTO s.t VALUES (3, 'ok')"
        ),
        [
            "INSERT | 1 | - | {\"m\": \"ok\", \"id\": 1}",
            "INSERT | 2 | - | {\"m\": 7, \"id\": 2}",
            "INSERT | 3 | - | {\"m\": \"ok\", \"id\": 3}",
        ]
    );
    Ok(())
}
