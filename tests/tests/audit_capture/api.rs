//! gemba.audit, unaudit and audit_options: what they refuse, and what they tell the trail themselves.

use super::audited;
use anyhow::Result;
use gemba_tests::{empty, expect_sqlstate, table, value};

#[test]
fn the_trail_tells_of_itself() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_of_audit",
        "CREATE TABLE s.t (id int PRIMARY KEY, a int, b int, \"c C\" int)",
    )?;
    for (call, changed) in [
        ("gemba.audit('s.t')", "f"),
        ("gemba.audit('s.t', 'b', 'a', 'b')", "t"),
        ("gemba.audit('s.t', VARIADIC '{a,b}')", "f"),
        ("gemba.audit_options('s.t')", "f"),
        ("gemba.audit_options('s.t', '{\"c C\"}', true)", "t"),
        ("gemba.audit_options('s.t', full_rows => true)", "f"),
        // What is excluded now is not masked any more.
        ("gemba.audit('s.t', 'c C')", "t"),
        ("gemba.unaudit('s.t')", "t"),
        ("gemba.unaudit('s.t')", "f"),
        ("gemba.audit('s.t')", "t"),
    ] {
        assert_eq!(
            value(&mut client, &format!("SELECT {call}")),
            changed,
            "{call}"
        );
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT operation, table_name, record_id, old_values, new_values, role_name FROM cloudwatcher.audit_logs
              WHERE table_name = 's.t' ORDER BY id"
        ),
        [
            "AUDIT | s.t | - | - | {\"mask\": [], \"exclude\": [], \"full_rows\": false} | postgres",
            "AUDIT | s.t | - | - | {\"mask\": [], \"exclude\": [\"a\", \"b\"], \"full_rows\": false} | postgres",
            "AUDIT | s.t | - | - | {\"mask\": [\"c C\"], \"exclude\": [\"a\", \"b\"], \"full_rows\": true} | postgres",
            "AUDIT | s.t | - | - | {\"mask\": [], \"exclude\": [\"c C\"], \"full_rows\": true} | postgres",
            "UNAUDIT | s.t | - | - | {\"mask\": [], \"exclude\": [\"c C\"], \"full_rows\": true} | postgres",
            "AUDIT | s.t | - | - | {\"mask\": [], \"exclude\": [], \"full_rows\": false} | postgres",
        ]
    );
    client.batch_execute("ALTER TABLE s.t DISABLE TRIGGER gemba_audit_update")?;
    assert_eq!(
        value(
            &mut client,
            "SELECT enabled FROM gemba.audited_tables WHERE target::text ~ '^s[.]'"
        ),
        "f"
    );
    assert_eq!(value(&mut client, "SELECT gemba.audit('s.t')"), "t");
    assert_eq!(
        value(
            &mut client,
            "SELECT enabled FROM gemba.audited_tables WHERE target::text ~ '^s[.]'"
        ),
        "t"
    );
    Ok(())
}

#[test]
fn mistakes_are_told_with_a_remedy() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_mistakes",
        "CREATE TABLE s.t (id int PRIMARY KEY, a int); CREATE VIEW s.v AS SELECT 1; CREATE TABLE s.other (id int PRIMARY KEY);
         CREATE TABLE s.p (id int) PARTITION BY RANGE (id); CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES FROM (0) TO (1)",
    )?;
    for (call, sqlstate) in [
        ("gemba.audit('s.v')", "42809"),
        ("gemba.audit('s.p1')", "42809"),
        ("gemba.unaudit('s.p1')", "42809"),
        ("gemba.audit('pg_class')", "22023"),
        ("gemba.audit('gemba.jobs')", "22023"),
        ("gemba.audit('cloudwatcher.audit_logs')", "22023"),
        ("gemba.audit('cloudwatcher.audit_seals')", "22023"),
        ("gemba.audit('cloudwatcher.data_access')", "22023"),
        ("gemba.audit('s.t', 'nothing')", "42703"),
        ("gemba.audit('s.t', 'id')", "22023"),
        ("gemba.audit_options('s.t', mask => '{id}')", "22023"),
        ("gemba.audit_options('s.t', mask => '{nothing}')", "42703"),
        ("gemba.audit_options('s.other', full_rows => true)", "55000"),
    ] {
        let error = expect_sqlstate(client.batch_execute(&format!("SELECT {call}")), sqlstate);
        assert!(
            error.hint().is_some() && error.detail().is_some(),
            "{call}: {error:?}"
        );
    }
    client.batch_execute("SELECT gemba.audit('s.t', 'a')")?;
    expect_sqlstate(
        client.batch_execute("SELECT gemba.audit_options('s.t', mask => '{a}')"),
        "22023",
    );
    Ok(())
}

#[test]
fn without_a_log() -> Result<()> {
    let db = empty("audit_undeployed")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "SET gemba.deploy = 'audit'; CREATE EXTENSION gemba;
         CREATE TABLE t (id int PRIMARY KEY); SELECT gemba.audit('t')",
    )?;
    // Taken away, the trail lets go of what it audits.
    client.batch_execute("SELECT gemba.undeploy('audit', true); INSERT INTO t VALUES (1)")?;
    let error = expect_sqlstate(client.batch_execute("SELECT gemba.audit('t')"), "55000");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("gemba.deploy('audit')"))
    );
    client.batch_execute(
        "SELECT gemba.deploy('audit'); SELECT gemba.audit('t'); INSERT INTO t VALUES (2)",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT operation, record_id FROM cloudwatcher.audit_logs ORDER BY id"
        ),
        ["AUDIT | -", "INSERT | 2"]
    );
    // Without its log, an audited table cannot be written to: better that than unnoticed.
    client.batch_execute("DROP TABLE cloudwatcher.audit_logs")?;
    expect_sqlstate(client.batch_execute("INSERT INTO t VALUES (3)"), "55000");
    Ok(())
}

#[test]
fn tables_that_statements_reach_in_other_ways() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_relatives",
        "CREATE TABLE s.t (id int PRIMARY KEY); CREATE TABLE s.parent (id int); CREATE TABLE s.child () INHERITS (s.parent);
         CREATE FOREIGN DATA WRAPPER w; CREATE SERVER v FOREIGN DATA WRAPPER w;
         CREATE TABLE s.p (id int) PARTITION BY RANGE (id); CREATE TABLE s.here PARTITION OF s.p FOR VALUES FROM (0) TO (1);
         CREATE FOREIGN TABLE s.away PARTITION OF s.p FOR VALUES FROM (1) TO (2) SERVER v",
    )?;
    for (name, sqlstate, other) in [
        ("s.parent", "0A000", "s.child inherits"),
        ("s.child", "0A000", "s.parent"),
        ("s.p", "42809", "s.away"),
    ] {
        let error = expect_sqlstate(
            client.batch_execute(&format!("SELECT gemba.audit('{name}')")),
            sqlstate,
        );
        assert!(
            error.detail().is_some_and(|detail| detail.contains(other)) && error.hint().is_some(),
            "{name}: {error:?}"
        );
    }
    client.batch_execute("ALTER TABLE s.child NO INHERIT s.parent; DROP FOREIGN TABLE s.away")?;
    for name in ["s.parent", "s.child", "s.p"] {
        assert_eq!(
            value(&mut client, &format!("SELECT gemba.audit('{name}')")),
            "t"
        );
    }
    Ok(())
}

#[test]
fn tables_that_are_none() -> Result<()> {
    let (_db, mut client) = audited("audit_no_table", "CREATE TABLE s.t (id int PRIMARY KEY)")?;
    for function in ["audit", "audit_options", "unaudit"] {
        for (table, sqlstate) in [("NULL", "22004"), ("0", "42P01"), ("99999", "42P01")] {
            let call = format!("SELECT gemba.{function}({table}::oid::regclass)");
            let error = expect_sqlstate(client.batch_execute(&call), sqlstate);
            assert!(
                error.hint().is_some() && error.detail().is_some(),
                "{call}: {error:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn triggers_of_other_names_and_of_others() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_trigger_names",
        "CREATE TABLE s.t (id int PRIMARY KEY); CREATE TABLE s.own (id int PRIMARY KEY)",
    )?;
    client.batch_execute("ALTER TRIGGER gemba_audit_insert ON s.t RENAME TO mine")?;
    assert_eq!(value(&mut client, "SELECT gemba.audit('s.t')"), "t");
    client.batch_execute("INSERT INTO s.t VALUES (1)")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT record_id FROM cloudwatcher.audit_logs WHERE operation = 'INSERT'"
        ),
        ["1"]
    );
    assert_eq!(value(&mut client, "SELECT gemba.audit('s.t')"), "f");
    client.batch_execute(
        "CREATE FUNCTION s.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER gemba_audit_update BEFORE UPDATE ON s.own FOR EACH ROW EXECUTE FUNCTION s.f()",
    )?;
    let error = expect_sqlstate(client.batch_execute("SELECT gemba.audit('s.own')"), "42710");
    assert!(
        error
            .detail()
            .is_some_and(|detail| detail.contains("gemba_audit_update"))
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT tgfoid::regproc FROM pg_trigger WHERE tgrelid = 's.own'::regclass AND NOT tgisinternal"
        ),
        "s.f"
    );
    Ok(())
}

#[test]
fn a_new_name_is_marked() -> Result<()> {
    let (_db, mut client) = audited("audit_renamed", "CREATE TABLE s.t (id int PRIMARY KEY)")?;
    client.batch_execute("ALTER TABLE s.t RENAME TO u")?;
    assert_eq!(value(&mut client, "SELECT gemba.audit('s.u')"), "t");
    assert_eq!(value(&mut client, "SELECT gemba.audit('s.u')"), "f");
    client.batch_execute("CREATE TABLE s.t (id int PRIMARY KEY); SELECT gemba.audit('s.t'); SELECT gemba.unaudit('s.t'); DROP TABLE s.t; ALTER TABLE s.u RENAME TO t")?;
    assert_eq!(
        value(&mut client, "SELECT gemba.audit('s.t')"),
        "t",
        "the last mark of that name is of another table"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT operation, table_name FROM cloudwatcher.audit_logs WHERE table_name LIKE 's.%' ORDER BY id"
        ),
        [
            "AUDIT | s.t",
            "AUDIT | s.u",
            "AUDIT | s.t",
            "UNAUDIT | s.t",
            "AUDIT | s.t"
        ]
    );
    Ok(())
}
