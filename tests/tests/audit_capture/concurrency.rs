//! Many writers at once.

use super::audited;
use anyhow::Result;
use gemba_tests::table;
use std::thread;

#[test]
fn sixteen_writers() -> Result<()> {
    let (db, mut client) = audited(
        "audit_writers",
        "CREATE TABLE s.t (id int PRIMARY KEY, n int)",
    )?;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..16)
            .map(|writer| {
                let db = db.clone();
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect()?;
                    for round in 0..20 {
                        let first = writer * 10_000 + round * 100;
                        client.batch_execute(&format!(
                            "INSERT INTO s.t SELECT n, n FROM generate_series({first}, {first} + 99) n;
                             UPDATE s.t SET n = n + 1 WHERE id BETWEEN {first} AND {first} + 9;
                             DELETE FROM s.t WHERE id = {first}"
                        ))?;
                    }
                    Ok(())
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().unwrap_or_else(|_| panic!("a writer broke")))
    })?;
    assert_eq!(
        table(
            &mut client,
            "SELECT operation, count(*), count(DISTINCT id), count(DISTINCT record_id) FROM cloudwatcher.audit_logs
              WHERE operation <> 'AUDIT' GROUP BY 1 ORDER BY 1"
        ),
        ["DELETE | 320 | 320 | 320", "INSERT | 32000 | 32000 | 32000", "UPDATE | 3200 | 3200 | 3200"]
    );
    // Of each row, what came later has the greater id.
    assert_eq!(
        table(
            &mut client,
            "SELECT DISTINCT string_agg(operation, ' ' ORDER BY id) FROM cloudwatcher.audit_logs
              WHERE operation <> 'AUDIT' GROUP BY record_id ORDER BY 1"
        ),
        ["INSERT", "INSERT UPDATE", "INSERT UPDATE DELETE"]
    );
    Ok(())
}

/// Entries name their table as it is called at the time, also where others rename it.
#[test]
fn another_session_renames() -> Result<()> {
    let (db, mut client) = audited(
        "audit_renaming",
        "CREATE TABLE s.t (id int PRIMARY KEY, n int)",
    )?;
    let mut other = db.connect()?;
    client.batch_execute("INSERT INTO s.t VALUES (1, 1)")?;
    other.batch_execute("ALTER TABLE s.t RENAME TO \"T t\"")?;
    client.batch_execute("INSERT INTO s.\"T t\" VALUES (2, 1)")?;
    other.batch_execute("ALTER SCHEMA s RENAME TO other")?;
    client.batch_execute("INSERT INTO other.\"T t\" VALUES (3, 1)")?;
    other.batch_execute(
        "ALTER TABLE other.\"T t\" RENAME n TO m; ALTER TABLE other.\"T t\" ADD x text DEFAULT 'x'",
    )?;
    client.batch_execute("INSERT INTO other.\"T t\" VALUES (4, 1)")?;
    other.batch_execute("SELECT gemba.audit('other.\"T t\"', 'm')")?;
    client.batch_execute("INSERT INTO other.\"T t\" VALUES (5, 1)")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT table_name, new_values FROM cloudwatcher.audit_logs WHERE operation = 'INSERT' ORDER BY id"
        ),
        [
            "s.t | {\"n\": 1, \"id\": 1}",
            "s.\"T t\" | {\"n\": 1, \"id\": 2}",
            "other.\"T t\" | {\"n\": 1, \"id\": 3}",
            "other.\"T t\" | {\"m\": 1, \"x\": \"x\", \"id\": 4}",
            "other.\"T t\" | {\"x\": \"x\", \"id\": 5}",
        ]
    );
    Ok(())
}
