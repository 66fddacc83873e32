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
