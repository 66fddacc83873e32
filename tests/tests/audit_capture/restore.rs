//! A dump brings the audited tables with their triggers, and the log.

use super::audited;
use anyhow::Result;
use gemba_tests::{empty, run_ok, table};

#[test]
fn a_restored_table_is_audited_still() -> Result<()> {
    let (db, mut client) = audited(
        "audit_dumped",
        "CREATE TABLE s.t (id int, secret text, n int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE TABLE s.low PARTITION OF s.t FOR VALUES FROM (0) TO (100)",
    )?;
    client.batch_execute(
        "SELECT gemba.audit('s.t', 'secret'); SELECT gemba.audit_options('s.t', mask => '{n}'); INSERT INTO s.t VALUES (1, 'x', 1)",
    )?;
    let entries =
        "SELECT operation, record_id, new_values FROM cloudwatcher.audit_logs ORDER BY id";
    let before = table(&mut client, entries);
    let file = format!("/tmp/{}.dump", db.name());
    run_ok(db.tool("pg_dump").args(["-Fc", "-f", &file]))?;
    let copy = empty("audit_restored")?;
    let restored =
        run_ok(
            copy.tool("pg_restore")
                .args(["--exit-on-error", "-1", "-d", copy.name(), &file]),
        );
    std::fs::remove_file(&file).ok();
    restored?;
    let mut client = copy.connect()?;
    assert_eq!(
        table(&mut client, entries),
        before,
        "a restore is no change"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT target, exclude, mask, enabled, complete FROM gemba.audited_tables WHERE target::text ~ '^s[.]'"
        ),
        ["s.t | {secret} | {n} | t | t"]
    );
    client.batch_execute("INSERT INTO s.low VALUES (2, 'y', 2)")?;
    assert_eq!(
        table(&mut client, entries).last().map(String::as_str),
        Some("INSERT | 2 | {\"n\": \"***\", \"id\": 2}")
    );
    Ok(())
}
