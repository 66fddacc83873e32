//! Who may read the trail, and that nobody may write to it.

use super::audited;
use anyhow::Result;
use gemba_tests::{as_user, expect_sqlstate, value};

const ANNA: &str = "00000000-0000-0000-0000-00000000000a";
const OPEN: &str = "CREATE TABLE s.t (id int PRIMARY KEY, n int);
  GRANT USAGE ON SCHEMA s TO PUBLIC; GRANT ALL ON s.t TO anon, authenticated, service_role";

#[test]
fn everybody_is_logged_and_nobody_writes_to_the_log() -> Result<()> {
    let (_db, mut client) = audited("audit_roles", OPEN)?;
    let leaf = value(
        &mut client,
        "SELECT tableoid::regclass FROM cloudwatcher.audit_logs LIMIT 1",
    );
    for (number, role) in ["anon", "authenticated", "service_role"]
        .into_iter()
        .enumerate()
    {
        as_user(&mut client, role, Some(ANNA), |tx| {
            tx.batch_execute(&format!(
                "INSERT INTO s.t VALUES ({number}); UPDATE s.t SET n = 1 WHERE id = {number}"
            ))
        })?;
        for table in ["cloudwatcher.audit_logs", leaf.as_str()] {
            for statement in [
                format!(
                    "INSERT INTO {table} (table_name, operation, role_name, transaction_id, system_id, statement_at) VALUES ('s.t', 'INSERT', 'x', 1, 1, now())"
                ),
                format!("UPDATE {table} SET role_name = 'x'"),
                format!("DELETE FROM {table}"),
                format!("TRUNCATE {table}"),
                format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"),
                format!("DROP TABLE {table}"),
            ] {
                expect_sqlstate(
                    as_user(&mut client, role, Some(ANNA), |tx| {
                        tx.batch_execute(&statement)
                    }),
                    "42501",
                );
            }
        }
        // Nor do they get rid of the triggers.
        for statement in [
            "ALTER TABLE s.t DISABLE TRIGGER gemba_audit_insert",
            "DROP TRIGGER gemba_audit_insert ON s.t",
            "SELECT gemba.unaudit('s.t')",
            "SET session_replication_role = replica",
        ] {
            expect_sqlstate(
                as_user(&mut client, role, Some(ANNA), |tx| {
                    tx.batch_execute(statement)
                }),
                "42501",
            );
        }
    }
    for (role, seen) in [("authenticated", "0"), ("service_role", "6")] {
        let found = as_user(&mut client, role, Some(ANNA), |tx| {
            tx.query_one(
                "SELECT count(*)::text FROM cloudwatcher.audit_logs WHERE operation <> 'AUDIT'",
                &[],
            )
        })?;
        assert_eq!(found.get::<_, String>(0), seen, "{role}");
    }
    expect_sqlstate(
        as_user(&mut client, "anon", None, |tx| {
            tx.batch_execute("SELECT FROM cloudwatcher.audit_logs")
        }),
        "42501",
    );
    Ok(())
}

/// The function writes what it is told, so that nobody may put it on a table of their own.
#[test]
fn nobody_makes_the_trigger_by_hand() -> Result<()> {
    let (db, mut client) = audited("audit_forged", OPEN)?;
    let owner = db.role("owner")?;
    client.batch_execute(&format!(
        "CREATE SCHEMA own AUTHORIZATION {owner}; SET ROLE {owner}; CREATE TABLE own.t (id int)"
    ))?;
    expect_sqlstate(
        client.batch_execute(
            "CREATE TRIGGER x AFTER INSERT ON own.t REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION gemba_internal.audit_rows('{}')",
        ),
        "42501",
    );
    expect_sqlstate(
        client.batch_execute("SELECT gemba_internal.audit_rows()"),
        "42501",
    );
    // A superuser can, and then it only works as it is meant to.
    client.batch_execute(
        "RESET ROLE;
         CREATE TRIGGER x AFTER INSERT ON own.t FOR EACH ROW EXECUTE FUNCTION gemba_internal.audit_rows('{}')",
    )?;
    expect_sqlstate(
        client.batch_execute("INSERT INTO own.t VALUES (1)"),
        "39P01",
    );
    client.batch_execute(
        "DROP TRIGGER x ON own.t;
         CREATE TRIGGER x AFTER INSERT ON own.t FOR EACH STATEMENT EXECUTE FUNCTION gemba_internal.audit_rows('{}');
         TRUNCATE own.t",
    )?;
    expect_sqlstate(
        client.batch_execute("INSERT INTO own.t VALUES (1)"),
        "39P01",
    );
    client.batch_execute(
        "DROP TRIGGER x ON own.t;
         CREATE TRIGGER x AFTER INSERT ON own.t REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION gemba_internal.audit_rows('nonsense')",
    )?;
    expect_sqlstate(
        client.batch_execute("INSERT INTO own.t VALUES (1)"),
        "55000",
    );
    Ok(())
}

/// An owner without any other right puts his own tables under audit; what he calls "=" is not asked.
#[test]
fn owners_audit_their_tables() -> Result<()> {
    let (db, mut client) = audited("audit_owner", OPEN)?;
    let owner = db.role("owner")?;
    client.batch_execute(&format!(
        "CREATE SCHEMA own AUTHORIZATION {owner}; GRANT EXECUTE ON FUNCTION gemba.audit, gemba.unaudit, gemba.audit_options TO {owner};
         SET ROLE {owner};
         CREATE TABLE own.t (id int PRIMARY KEY, n int);
         CREATE FUNCTION own.yes(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR own.= (LEFTARG = name, RIGHTARG = name, FUNCTION = own.yes);
         SET search_path = own, pg_catalog;
         SELECT gemba.audit('own.t');
         INSERT INTO own.t VALUES (1, 1)"
    ))?;
    expect_sqlstate(client.batch_execute("SELECT gemba.audit('s.t')"), "42501");
    expect_sqlstate(client.batch_execute("SELECT gemba.unaudit('s.t')"), "42501");
    expect_sqlstate(
        client.batch_execute("SELECT gemba.audit_options('s.t', full_rows => true)"),
        "42501",
    );
    client.batch_execute("RESET ROLE")?;
    assert_eq!(
        value(
            &mut client,
            "SELECT role_name FROM cloudwatcher.audit_logs WHERE table_name = 'own.t' AND operation = 'INSERT'"
        ),
        owner
    );
    Ok(())
}
