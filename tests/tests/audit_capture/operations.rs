//! Every way in which rows change.

use super::{audited, entries, logged};
use anyhow::Result;
use gemba_tests::{table, value};
use std::io::Write as _;

const PLAIN: &str = "CREATE TABLE s.t (id int PRIMARY KEY, n int, note text)";

#[test]
fn insert_update_delete_truncate() -> Result<()> {
    let (_db, mut client) = audited("audit_plain", PLAIN)?;
    assert_eq!(
        logged(
            &mut client,
            "INSERT INTO s.t VALUES (1, 10, 'a'), (2, NULL, 'b')"
        ),
        [
            "INSERT | 1 | - | {\"n\": 10, \"id\": 1, \"note\": \"a\"}",
            "INSERT | 2 | - | {\"n\": null, \"id\": 2, \"note\": \"b\"}",
        ]
    );
    assert_eq!(
        logged(&mut client, "UPDATE s.t SET n = coalesce(n, 0) + 1"),
        [
            "UPDATE | 1 | {\"n\": 10} | {\"n\": 11}",
            "UPDATE | 2 | {\"n\": null} | {\"n\": 1}",
        ]
    );
    assert_eq!(
        logged(&mut client, "DELETE FROM s.t WHERE id = 1"),
        ["DELETE | 1 | {\"n\": 11, \"id\": 1, \"note\": \"a\"} | -"]
    );
    assert_eq!(
        logged(&mut client, "TRUNCATE s.t"),
        ["TRUNCATE | - | - | -"]
    );
    Ok(())
}

#[test]
fn what_changes_nothing_leaves_no_entry() -> Result<()> {
    let (_db, mut client) = audited("audit_nothing", PLAIN)?;
    client.batch_execute("INSERT INTO s.t VALUES (1, 10, 'a'), (2, 20, NULL)")?;
    for statement in [
        "UPDATE s.t SET n = n, note = note",
        "UPDATE s.t SET n = 0 WHERE false",
        "DELETE FROM s.t WHERE id = 7",
        "INSERT INTO s.t SELECT * FROM s.t WHERE false",
        "INSERT INTO s.t VALUES (1) ON CONFLICT DO NOTHING",
    ] {
        assert_eq!(logged(&mut client, statement), [""; 0], "{statement}");
    }
    // Of many rows, only those that changed.
    assert_eq!(
        logged(&mut client, "UPDATE s.t SET n = 20"),
        ["UPDATE | 1 | {\"n\": 10} | {\"n\": 20}"]
    );
    Ok(())
}

#[test]
fn copy_upsert_merge_and_returning() -> Result<()> {
    let (_db, mut client) = audited("audit_ways", PLAIN)?;
    let mut copy = client.copy_in("COPY s.t FROM STDIN")?;
    for n in 0..2_500 {
        writeln!(copy, "{n}\t{n}\tcopied")?;
    }
    copy.finish()?;
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) || ' ' || count(DISTINCT record_id) || ' ' || bool_and(new_values ->> 'id' = record_id) || ' ' || count(DISTINCT created_at)
               FROM cloudwatcher.audit_logs WHERE operation = 'INSERT'"
        ),
        "2500 2500 true 1"
    );
    client.batch_execute("DELETE FROM s.t")?;
    assert_eq!(
        logged(
            &mut client,
            "INSERT INTO s.t VALUES (1, 1, 'x'); \
             INSERT INTO s.t VALUES (1, 2, 'y'), (2, 2, 'y') ON CONFLICT (id) DO UPDATE SET n = excluded.n",
        ),
        [
            "INSERT | 1 | - | {\"n\": 1, \"id\": 1, \"note\": \"x\"}",
            // The server fires the triggers of the UPDATE first.
            "UPDATE | 1 | {\"n\": 1} | {\"n\": 2}",
            "INSERT | 2 | - | {\"n\": 2, \"id\": 2, \"note\": \"y\"}",
        ]
    );
    let mut merged = logged(
        &mut client,
        "MERGE INTO s.t USING (VALUES (1, 5), (2, 6), (3, 7)) AS v (id, n) ON t.id = v.id
         WHEN MATCHED AND t.id = 1 THEN DELETE
         WHEN MATCHED THEN UPDATE SET n = v.n
         WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.n, 'm')",
    );
    merged.sort();
    assert_eq!(
        merged,
        [
            "DELETE | 1 | {\"n\": 2, \"id\": 1, \"note\": \"x\"} | -",
            "INSERT | 3 | - | {\"n\": 7, \"id\": 3, \"note\": \"m\"}",
            "UPDATE | 2 | {\"n\": 2} | {\"n\": 6}",
        ]
    );
    assert_eq!(
        logged(
            &mut client,
            "WITH gone AS (DELETE FROM s.t WHERE id = 3 RETURNING *) INSERT INTO s.t SELECT id + 10, n, note FROM gone"
        )
        .len(),
        2
    );
    Ok(())
}

/// Many rows of long values are written in batches; none is lost at their borders.
#[test]
fn many_and_large_rows() -> Result<()> {
    let (_db, mut client) = audited("audit_many", PLAIN)?;
    client.batch_execute(
        "INSERT INTO s.t SELECT n, n, repeat('x', n % 5000) FROM generate_series(1, 10000) n;
         UPDATE s.t SET n = -n, note = note || 'y';
         DELETE FROM s.t",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT operation, count(*), count(DISTINCT id), count(DISTINCT record_id),
                    sum((coalesce(new_values, old_values) ->> 'n')::bigint),
                    sum(length(coalesce(new_values, old_values) ->> 'note'))
               FROM cloudwatcher.audit_logs WHERE operation <> 'AUDIT' GROUP BY 1 ORDER BY 1"
        ),
        [
            "DELETE | 10000 | 10000 | 10000 | -50005000 | 25005000",
            "INSERT | 10000 | 10000 | 10000 | 50005000 | 24995000",
            "UPDATE | 10000 | 10000 | 10000 | -50005000 | 25005000",
        ]
    );
    // The indexes know every one of them.
    client.batch_execute("SET enable_seqscan = off")?;
    for (index, condition) in [
        (
            "table_name_record_id",
            "table_name = 's.t' AND record_id IS NOT NULL",
        ),
        (
            "operation",
            "operation = 'UPDATE' OR operation = 'INSERT' OR operation = 'DELETE'",
        ),
        (
            "created_at",
            "created_at > '2000-01-01' AND operation <> 'AUDIT'",
        ),
        (
            "transaction_id",
            "transaction_id > 0 AND operation <> 'AUDIT'",
        ),
    ] {
        assert_eq!(
            value(
                &mut client,
                &format!("SELECT count(*) FROM cloudwatcher.audit_logs WHERE {condition}")
            ),
            "30000",
            "{index}"
        );
    }
    Ok(())
}

#[test]
fn ids_follow_the_changes() -> Result<()> {
    let (_db, mut client) = audited("audit_order", PLAIN)?;
    client.batch_execute(
        "DO $$ BEGIN
           FOR i IN 1..300 LOOP
             INSERT INTO s.t VALUES (i, i); UPDATE s.t SET n = n + 1 WHERE id = i; DELETE FROM s.t WHERE id = i;
           END LOOP;
         END $$",
    )?;
    let found = table(
        &mut client,
        "SELECT operation, record_id FROM cloudwatcher.audit_logs WHERE operation <> 'AUDIT' ORDER BY id",
    );
    let wanted: Vec<_> = (1..=300)
        .flat_map(|i| ["INSERT", "UPDATE", "DELETE"].map(|operation| format!("{operation} | {i}")))
        .collect();
    assert_eq!(found, wanted);
    assert_eq!(
        value(
            &mut client,
            "SELECT bool_and(substr(id::text, 15, 1) = '7' AND substr(id::text, 20, 1) IN ('8', '9', 'a', 'b')
                       AND abs(('x' || replace(substr(id::text, 1, 13), '-', ''))::bit(48)::bigint - extract(epoch FROM created_at) * 1000) < 2000)
               FROM cloudwatcher.audit_logs"
        ),
        "t"
    );
    Ok(())
}

#[test]
fn foreign_keys_cascade() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_cascade",
        "CREATE TABLE s.parent (id int PRIMARY KEY);
         CREATE TABLE s.t (id int PRIMARY KEY, parent int REFERENCES s.parent ON DELETE CASCADE ON UPDATE CASCADE);
         INSERT INTO s.parent VALUES (1), (2); INSERT INTO s.t VALUES (10, 1), (20, 2)",
    )?;
    assert_eq!(
        logged(&mut client, "UPDATE s.parent SET id = 3 WHERE id = 1"),
        ["UPDATE | 10 | {\"parent\": 1} | {\"parent\": 3}"]
    );
    assert_eq!(
        logged(&mut client, "DELETE FROM s.parent WHERE id = 2"),
        ["DELETE | 20 | {\"id\": 20, \"parent\": 2} | -"]
    );
    assert_eq!(
        logged(&mut client, "TRUNCATE s.parent CASCADE"),
        ["TRUNCATE | - | - | -"]
    );
    Ok(())
}

#[test]
fn keys_of_several_columns_and_none() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_keys",
        "CREATE TABLE s.t (b text, a int, n int, PRIMARY KEY (a, b)); CREATE TABLE s.bare (n int)",
    )?;
    client.batch_execute("SELECT gemba.audit('s.bare')")?;
    assert_eq!(
        logged(
            &mut client,
            "INSERT INTO s.t VALUES ('x \"y\" é', 1, 0); UPDATE s.t SET a = 2, n = 5; INSERT INTO s.bare VALUES (1); DELETE FROM s.bare"
        ),
        [
            "INSERT | [\"1\", \"x \\\"y\\\" é\"] | - | {\"a\": 1, \"b\": \"x \\\"y\\\" é\", \"n\": 0}",
            "UPDATE | [\"2\", \"x \\\"y\\\" é\"] | {\"a\": 1, \"n\": 0} | {\"a\": 2, \"n\": 5}",
            "INSERT | - | - | {\"n\": 1}",
            "DELETE | - | {\"n\": 1} | -",
        ]
    );
    // It is the text of a jsonb.
    assert_eq!(
        value(
            &mut client,
            "SELECT bool_and(record_id = record_id::jsonb::text) FROM cloudwatcher.audit_logs WHERE table_name = 's.t' AND record_id IS NOT NULL"
        ),
        "t"
    );
    Ok(())
}

#[test]
fn rollbacks_take_their_entries_along() -> Result<()> {
    let (_db, mut client) = audited("audit_rollback", PLAIN)?;
    client.batch_execute(
        "BEGIN; INSERT INTO s.t VALUES (1); ROLLBACK;
         BEGIN; INSERT INTO s.t VALUES (2); SAVEPOINT a; INSERT INTO s.t VALUES (3); ROLLBACK TO a; INSERT INTO s.t VALUES (4); COMMIT;
         DO $$ BEGIN
           BEGIN INSERT INTO s.t VALUES (5); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;
           INSERT INTO s.t VALUES (6);
         END $$",
    )?;
    // A statement that fails when its rows are in already.
    client.batch_execute("ALTER TABLE s.t ADD UNIQUE (n) DEFERRABLE")?;
    assert!(
        client
            .batch_execute("INSERT INTO s.t VALUES (7, 1), (8, 1)")
            .is_err()
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT record_id FROM cloudwatcher.audit_logs WHERE operation = 'INSERT' ORDER BY id"
        ),
        ["2", "4", "6"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT count(DISTINCT transaction_id) FROM cloudwatcher.audit_logs WHERE record_id IN ('2', '4')"
        ),
        ["1"]
    );
    Ok(())
}

/// Rows are logged as they are stored, and what triggers change in turn is logged too.
#[test]
fn triggers_change_rows() -> Result<()> {
    let (_db, mut client) = audited("audit_triggers", PLAIN)?;
    client.batch_execute(
        "CREATE FUNCTION s.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'stamped'; RETURN NEW; END $$;
         CREATE TRIGGER stamp BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.stamp();
         CREATE FUNCTION s.again() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN UPDATE s.t SET n = n + 100 WHERE id IN (SELECT id FROM mine) AND n < 100; RETURN NULL; END $$;
         CREATE TRIGGER zz AFTER INSERT ON s.t REFERENCING NEW TABLE AS mine FOR EACH STATEMENT EXECUTE FUNCTION s.again()",
    )?;
    assert_eq!(
        logged(&mut client, "INSERT INTO s.t VALUES (1, 1, 'given')"),
        [
            "INSERT | 1 | - | {\"n\": 1, \"id\": 1, \"note\": \"stamped\"}",
            "UPDATE | 1 | {\"n\": 1} | {\"n\": 101}",
        ]
    );
    client.batch_execute("SET session_replication_role = replica; INSERT INTO s.t VALUES (2)")?;
    assert_eq!(
        entries(&mut client).len(),
        2,
        "a replica applies what was logged at its origin"
    );
    Ok(())
}

/// The years to come have partitions; a clock beyond them makes its own.
#[test]
fn a_year_without_a_partition_gets_one() -> Result<()> {
    let (_db, mut client) = audited("audit_years", PLAIN)?;
    client.batch_execute(
        "DO $$ DECLARE leaf text; BEGIN
           FOR leaf IN SELECT partition FROM gemba.partitions WHERE parent = 'cloudwatcher.audit_logs'::regclass LOOP
             EXECUTE 'DROP TABLE ' || leaf;
           END LOOP;
         END $$;
         CREATE ROLE audit_years_writer; GRANT USAGE ON SCHEMA s TO audit_years_writer; GRANT ALL ON s.t TO audit_years_writer;
         SET ROLE audit_years_writer; INSERT INTO s.t VALUES (1); RESET ROLE",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT l.operation, date_trunc('year', now(), 'UTC') = p.from_time, l.tableoid = p.partition
               FROM cloudwatcher.audit_logs l, gemba.partitions p WHERE p.parent = 'cloudwatcher.audit_logs'::regclass"
        ),
        ["INSERT | t | t"]
    );
    // Where nobody manages the log, the statement says what is missing.
    client.batch_execute(
        "SELECT gemba.unmanage_partitions('cloudwatcher.audit_logs');
         DO $$ BEGIN EXECUTE 'DROP TABLE ' || (SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'cloudwatcher.audit_logs'::regclass); END $$",
    )?;
    let error =
        gemba_tests::expect_sqlstate(client.batch_execute("INSERT INTO s.t VALUES (2)"), "55000");
    assert!(error.hint().is_some());
    Ok(())
}
