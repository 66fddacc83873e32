//! Who may change what.

use super::{assert_rows, history_tables, leaf, months, value};
use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};

#[test]
fn policies_and_grants_hold() -> Result<()> {
    let db = extended("write_rights")?;
    let mut client = months(&db)?;
    let (writer, reader) = (db.role("writer")?, db.role("reader")?);
    client.batch_execute(&format!(
        "GRANT USAGE ON SCHEMA h TO {writer}, {reader};
         GRANT SELECT, INSERT, UPDATE, DELETE ON h.packed TO {writer};
         GRANT SELECT ON h.packed TO {reader};
         ALTER TABLE h.packed ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON h.packed FOR ALL TO {writer} USING (sensor < 3) WITH CHECK (sensor < 3 AND value IS DISTINCT FROM 13);
         CREATE POLICY first ON h.packed FOR SELECT TO {reader} USING (sensor = 1)"
    ))?;
    let (january, segments) = (
        leaf(&mut client, "2024-01-01"),
        history_tables(&mut client).remove(0),
    );
    let mut session = db.connect_as(&writer)?;
    session.batch_execute("INSERT INTO h.packed (sensor, at, value) VALUES (1, '2024-01-10 00:30', 1), (2, '2024-02-10 00:30', 1)")?;
    for refused in [
        "INSERT INTO h.packed (sensor, at) VALUES (3, '2024-01-10 00:31')",
        "INSERT INTO h.packed (sensor, at, value) VALUES (1, '2024-01-10 00:32', 1), (1, '2024-01-10 00:33', 13)",
        "INSERT INTO h.packed (sensor, at, value) VALUES (1, '2024-01-10 00:32', 13) ON CONFLICT DO NOTHING",
        "UPDATE h.packed SET sensor = 3, at = at + interval '1 second' WHERE at = '2024-01-05'",
        "UPDATE h.packed SET value = 13 WHERE at = '2024-01-10 00:30'",
        // Wherever a row is moved.
        "UPDATE h.packed SET at = at + interval '29 days 1 second', value = 13 WHERE at = '2024-01-05'",
        "UPDATE h.packed SET at = at + interval '60 days 1 second', value = 13 WHERE at = '2024-01-05'",
        "UPDATE h.packed SET at = at - interval '60 days 1 second', value = 13 WHERE at = '2024-03-05'",
        "TRUNCATE h.packed",
    ] {
        expect_sqlstate(session.batch_execute(refused), "42501");
    }
    // What one may not see, one cannot change; and who is told of a duplicate is not told which.
    assert_eq!(
        session.execute(
            "UPDATE h.packed SET value = value + 1 WHERE at = '2024-01-05'",
            &[]
        )?,
        2
    );
    assert_eq!(
        session.execute("DELETE FROM h.packed WHERE at = '2024-01-06'", &[])?,
        2
    );
    let error = expect_sqlstate(
        session.batch_execute("INSERT INTO h.packed (sensor, at) VALUES (1, '2024-01-07')"),
        "23505",
    );
    assert_eq!(error.detail(), None);
    for refused in [
        format!("INSERT INTO {january} (sensor, at) VALUES (1, '2024-01-10 00:34')"),
        format!("UPDATE {january} SET value = 1"),
        format!("DELETE FROM {january}"),
        format!("TRUNCATE {january}"),
        format!("SELECT FROM {january}"),
        format!("SELECT FROM gemba_history.{segments}"),
        format!(
            "INSERT INTO gemba_history.{segments}_late (sensor, at) VALUES (1, '2024-01-10 00:35')"
        ),
        format!("SELECT gemba.compress_partition('{january}')"),
    ] {
        expect_sqlstate(session.batch_execute(&refused), "42501");
    }
    let mut session = db.connect_as(&reader)?;
    for refused in [
        "INSERT INTO h.packed (sensor, at) VALUES (1, '2024-01-10 00:36')",
        "UPDATE h.packed SET value = 1",
        "DELETE FROM h.packed",
    ] {
        expect_sqlstate(session.batch_execute(refused), "42501");
    }
    assert_eq!(
        value(
            &mut session,
            "SELECT count(*) FROM h.packed WHERE at < '2024-01-02'"
        ),
        "12"
    );
    client.batch_execute(
        "INSERT INTO h.plain (sensor, at, value) VALUES (1, '2024-01-10 00:30', 1), (2, '2024-02-10 00:30', 1);
         UPDATE h.plain SET value = value + 1 WHERE at = '2024-01-05' AND sensor < 3;
         DELETE FROM h.plain WHERE at = '2024-01-06' AND sensor < 3",
    )?;
    assert_rows(&mut client, "after all");
    Ok(())
}
