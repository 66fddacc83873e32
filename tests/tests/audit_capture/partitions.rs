//! Partitioned tables: rows are logged under the table's name, whichever way they came.

use super::{audited, logged};
use anyhow::Result;
use gemba_tests::{table, value};

const PARTS: &str = "
  CREATE TABLE s.t (id int, n int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
  -- Its columns stand in another order, with one gone between them.
  CREATE TABLE s.low (n int, gone text, id int NOT NULL); ALTER TABLE s.low DROP COLUMN gone;
  ALTER TABLE s.t ATTACH PARTITION s.low FOR VALUES FROM (0) TO (100);
  CREATE TABLE s.high PARTITION OF s.t FOR VALUES FROM (100) TO (1000) PARTITION BY RANGE (id);
  CREATE TABLE s.higher PARTITION OF s.high FOR VALUES FROM (100) TO (1000)";

#[test]
fn parents_and_leaves_log_alike() -> Result<()> {
    let (_db, mut client) = audited("audit_parts", PARTS)?;
    assert_eq!(
        logged(
            &mut client,
            "INSERT INTO s.t VALUES (1, 1), (101, 1); INSERT INTO s.low VALUES (2, 2); INSERT INTO s.high VALUES (102, 2); INSERT INTO s.higher VALUES (103, 3)"
        ),
        [
            "INSERT | 1 | - | {\"n\": 1, \"id\": 1}",
            "INSERT | 101 | - | {\"n\": 1, \"id\": 101}",
            "INSERT | 2 | - | {\"n\": 2, \"id\": 2}",
            "INSERT | 102 | - | {\"n\": 2, \"id\": 102}",
            "INSERT | 103 | - | {\"n\": 3, \"id\": 103}",
        ]
    );
    assert_eq!(
        logged(
            &mut client,
            "UPDATE s.t SET n = 9 WHERE id IN (1, 101); DELETE FROM s.higher WHERE id = 103"
        ),
        [
            "UPDATE | 1 | {\"n\": 1} | {\"n\": 9}",
            "UPDATE | 101 | {\"n\": 1} | {\"n\": 9}",
            "DELETE | 103 | {\"n\": 3, \"id\": 103} | -",
        ]
    );
    // To another partition and back, several at once.
    assert_eq!(
        logged(&mut client, "UPDATE s.t SET id = id + 200 WHERE id < 100"),
        [
            "UPDATE | 201 | {\"id\": 1} | {\"id\": 201}",
            "UPDATE | 202 | {\"id\": 2} | {\"id\": 202}",
        ]
    );
    assert_eq!(logged(&mut client, "TRUNCATE s.low").len(), 1);
    assert_eq!(
        value(
            &mut client,
            "SELECT string_agg(DISTINCT table_name, ' ') FROM cloudwatcher.audit_logs WHERE operation <> 'AUDIT'"
        ),
        "s.t"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT target, enabled FROM gemba.audited_tables WHERE target::text ~ '^s[.]'"
        ),
        ["s.t | t"]
    );
    client.batch_execute("DROP TRIGGER gemba_audit_delete ON s.higher")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT target, enabled FROM gemba.audited_tables WHERE target::text ~ '^s[.]'"
        ),
        ["s.t | f"]
    );
    assert_eq!(value(&mut client, "SELECT gemba.audit('s.t')"), "t");
    assert_eq!(
        table(
            &mut client,
            "SELECT target, enabled FROM gemba.audited_tables WHERE target::text ~ '^s[.]'"
        ),
        ["s.t | t"]
    );
    assert_eq!(value(&mut client, "SELECT gemba.unaudit('s.t')"), "t");
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
              WHERE c.relnamespace = 's'::regnamespace AND t.tgname LIKE 'gemba_audit%'"
        ),
        "0"
    );
    Ok(())
}

/// A row that leaves for a partition whose trigger swallows it is gone.
#[test]
fn a_row_that_does_not_arrive() -> Result<()> {
    let (_db, mut client) = audited("audit_swallowed", PARTS)?;
    client.batch_execute(
        "CREATE FUNCTION s.swallow() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF NEW.n = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$;
         CREATE TRIGGER swallow BEFORE INSERT ON s.higher FOR EACH ROW EXECUTE FUNCTION s.swallow();
         INSERT INTO s.t VALUES (1, 1), (2, 2), (3, 3), (4, 2), (200, 1), (201, 1)",
    )?;
    // Whose key stays and whose does not, one statement.
    let mut found = logged(
        &mut client,
        "UPDATE s.t SET id = CASE WHEN id < 100 THEN id + 500 ELSE id END, n = CASE WHEN id < 100 THEN n ELSE 7 END",
    );
    found.sort();
    assert_eq!(
        found,
        [
            "DELETE | 1 | {\"n\": 1, \"id\": 1} | -",
            "DELETE | 2 | {\"n\": 2, \"id\": 2} | -",
            "DELETE | 3 | {\"n\": 3, \"id\": 3} | -",
            "DELETE | 4 | {\"n\": 2, \"id\": 4} | -",
            "INSERT | 501 | - | {\"n\": 1, \"id\": 501}",
            "INSERT | 503 | - | {\"n\": 3, \"id\": 503}",
            "UPDATE | 200 | {\"n\": 1} | {\"n\": 7}",
            "UPDATE | 201 | {\"n\": 1} | {\"n\": 7}",
        ]
    );
    Ok(())
}

/// Partitions that the house makes and retires: they come with the triggers and go without.
#[test]
fn managed_partitions_are_followed() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_managed",
        "CREATE TABLE s.t (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         SELECT gemba.manage_partitions('s.t', '1 day', premake => 0, retain => '10 days', on_expire => 'archive')",
    )?;
    client.batch_execute("SELECT gemba.ensure_partitions('s.t', now() - interval '20 days', now() - interval '19 days')")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT target, enabled FROM gemba.audited_tables WHERE target::text ~ '^s[.]'"
        ),
        ["s.t | t"]
    );
    let leaf = value(
        &mut client,
        "SELECT partition FROM gemba.partitions WHERE parent = 's.t'::regclass ORDER BY from_time LIMIT 1",
    );
    assert_eq!(
        logged(&mut client, &format!("INSERT INTO {leaf} SELECT 1, from_time FROM gemba.partitions WHERE partition = '{leaf}'::regclass")).len(),
        1
    );
    client.batch_execute("SELECT gemba.maintain_partitions()")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT DISTINCT c.relnamespace::regnamespace, (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid)
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'gemba_archive'
              WHERE c.relkind = 'r'"
        ),
        ["gemba_archive | 0"]
    );
    Ok(())
}

/// Detached by hand, a partition keeps its triggers and logs under its own name.
#[test]
fn a_partition_on_its_own() -> Result<()> {
    let (_db, mut client) = audited("audit_detached", PARTS)?;
    client.batch_execute(
        "INSERT INTO s.low VALUES (1, 1); ALTER TABLE s.t DETACH PARTITION s.low; INSERT INTO s.low VALUES (2, 2)",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT table_name FROM cloudwatcher.audit_logs WHERE operation = 'INSERT' ORDER BY id"
        ),
        ["s.t", "s.low"]
    );
    assert_eq!(value(&mut client, "SELECT gemba.unaudit('s.low')"), "t");
    Ok(())
}
