//! What the tests of the audit trail share.

#![allow(dead_code, reason = "each test binary uses its part")]

use anyhow::Result;
use gemba_tests::{Cluster, Database, shared, table, value, wait_until};
use postgres::{Client, GenericClient};

/// A database whose trail is empty: what is audited by default has said so in it.
pub fn empty_trail<'a>(cluster: &'a Cluster, name: &str) -> Result<Database<'a>> {
    let db = cluster.extended(name)?;
    db.connect()?
        .batch_execute("TRUNCATE cloudwatcher.audit_logs")?;
    Ok(db)
}

/// The same on the cluster that tests share.
pub fn extended(name: &str) -> Result<Database<'static>> {
    empty_trail(shared()?, name)
}

/// So many rows of the log as a trigger writes them, in the caller's transaction. They are of table `t.t`, records
/// `<from>` and following.
pub fn log(client: &mut impl GenericClient, from: i32, rows: i32) -> Result<()> {
    client.execute(
        "INSERT INTO cloudwatcher.audit_logs
           (id, table_name, operation, record_id, user_id, role_name, old_values, new_values, change_reason, ip_address,
            transaction_id, system_id, statement_at, created_at)
         SELECT gen_random_uuid(), 't.t', 'UPDATE', n::text, CASE WHEN n % 2 = 0 THEN gen_random_uuid() END, session_user,
                jsonb_build_object('name', 'ü' || n, 'price', 1.50),
                jsonb_build_object('name', 'é\"' || n, 'price', n * 1.10, 'tags', '[1, {\"a\": null}]'::jsonb),
                CASE WHEN n % 3 = 0 THEN 'because' END, CASE WHEN n % 5 = 0 THEN '10.1.2.3/24'::inet END,
                pg_current_xact_id()::text::bigint, (SELECT system_identifier FROM pg_control_system()),
                statement_timestamp(), clock_timestamp()
           FROM generate_series($1::int, $1::int + $2::int - 1) AS n",
        &[&from, &rows],
    )?;
    Ok(())
}

/// Seals until every row of the log is sealed. (Transactions of other databases of the cluster may be in the way
/// for a while.)
pub fn seal_all(client: &mut Client) {
    wait_until("all rows are sealed", || {
        table(client, "SELECT * FROM gemba.seal_audit()");
        value(
            client,
            "SELECT (SELECT count(*) FROM cloudwatcher.audit_logs)
                    <= (SELECT coalesce(sum(row_count), 0) FROM cloudwatcher.audit_seals)",
        ) == "t"
    });
}

/// What is wrong with the trail.
pub fn problems(client: &mut Client) -> Vec<String> {
    table(
        client,
        "SELECT problem, seal, record, table_name FROM gemba.verify_audit() ORDER BY 2, 1, 3",
    )
}

/// `audit_test.watch(table, exclude, mask, full_rows)` puts a table under audit, `audit_test.unwatch(table)` ends that.
pub const WATCH: &str = include_str!("watch.sql");
