//! Who, why and from where.

use super::audited;
use anyhow::Result;
use gemba_tests::{as_user, table, value};
use postgres::Client;

const ANNA: &str = "00000000-0000-0000-0000-00000000000a";
const BEN: &str = "00000000-0000-0000-0000-00000000000b";

const OPEN: &str = "CREATE TABLE s.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int);
  GRANT USAGE ON SCHEMA s TO authenticated, service_role; GRANT ALL ON s.t TO authenticated, service_role;
  CREATE FUNCTION s.add() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO s.t (n) VALUES (0)'";

/// User, role, reason and address of the newest entry.
fn last(client: &mut Client) -> String {
    value(
        client,
        "SELECT concat_ws(' ', coalesce(user_id::text, '-'), role_name, coalesce(change_reason, '-'), coalesce(host(ip_address), '-'))
           FROM cloudwatcher.audit_logs ORDER BY id DESC LIMIT 1",
    )
}

#[test]
fn the_token_says_who() -> Result<()> {
    let (_db, mut client) = audited("audit_who", OPEN)?;
    for (role, sub) in [
        ("authenticated", Some(ANNA)),
        ("authenticated", Some(BEN)),
        ("service_role", None),
        ("authenticated", Some("not a uuid")),
    ] {
        for statement in ["INSERT INTO s.t (n) VALUES (1)", "SELECT s.add()"] {
            as_user(&mut client, role, sub, |tx| tx.batch_execute(statement))?;
            let user = sub.filter(|sub| sub.len() == 36).unwrap_or("-");
            assert_eq!(
                last(&mut client),
                format!("{user} {role} - -"),
                "{statement}"
            );
        }
    }
    // Claims that are none, empty, or of the older kind, which nothing in this house reads.
    for (setting, claims, user) in [
        ("request.jwt.claims", "broken {", "-"),
        ("request.jwt.claims", "[1]", "-"),
        ("request.jwt.claims", "", "-"),
        ("request.jwt.claims", "{\"sub\": 5}", "-"),
        ("request.jwt.claims", "{\"sub\": null}", "-"),
        ("request.jwt.claim.sub", ANNA, "-"),
    ] {
        client.execute("SELECT set_config($1, $2, false)", &[&setting, &claims])?;
        client.batch_execute("INSERT INTO s.t (n) VALUES (1)")?;
        assert_eq!(
            last(&mut client),
            format!("{user} postgres - -"),
            "{claims}"
        );
    }
    Ok(())
}

#[test]
fn the_settings_say_why_and_from_where() -> Result<()> {
    let (_db, mut client) = audited("audit_why", OPEN)?;
    for (reason, address, found) in [
        ("moved house", "203.0.113.7", "moved house 203.0.113.7"),
        ("", "2001:db8::7", "- 2001:db8::7"),
        ("x", "203.0.113.7, 10.0.0.1", "x -"),
        ("'; DROP", "", "'; DROP -"),
    ] {
        client.execute(
            "SELECT set_config('gemba.change_reason', $1, false), set_config('gemba.client_ip', $2, false)",
            &[&reason, &address],
        )?;
        client.batch_execute("INSERT INTO s.t (n) VALUES (1)")?;
        assert_eq!(last(&mut client), format!("- postgres {found}"));
    }
    client.batch_execute(
        "RESET ALL; BEGIN; SET LOCAL gemba.change_reason = 'for now'; INSERT INTO s.t (n) VALUES (1); COMMIT; UPDATE s.t SET n = 2 WHERE id = 1",
    )?;
    assert_eq!(last(&mut client), "- postgres - -");
    assert_eq!(
        value(
            &mut client,
            "SELECT host(ip_address) || ' ' || masklen(ip_address) || ' ' || family(ip_address)
               FROM cloudwatcher.audit_logs WHERE change_reason = 'moved house'"
        ),
        "203.0.113.7 32 4"
    );
    Ok(())
}

#[test]
fn when_and_in_which_transaction() -> Result<()> {
    let (_db, mut client) = audited("audit_when", OPEN)?;
    client.batch_execute(
        "BEGIN; INSERT INTO s.t (n) VALUES (1); SAVEPOINT a; INSERT INTO s.t (n) VALUES (2);
         CREATE TEMP TABLE mine AS SELECT pg_current_xact_id()::text::bigint AS xid, now() AS began; COMMIT",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), bool_and(transaction_id = xid), bool_and(created_at >= statement_at AND statement_at >= began),
                    bool_and(system_id = (SELECT system_identifier FROM pg_control_system()))
               FROM cloudwatcher.audit_logs, mine WHERE operation = 'INSERT'"
        ),
        ["2 | t | t | t"]
    );
    Ok(())
}
