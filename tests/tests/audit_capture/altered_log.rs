//! A log that somebody altered is not written to as if it were the old one.

use super::audited;
use anyhow::Result;
use gemba_tests::{expect_sqlstate, value};

#[test]
fn columns_of_other_types() -> Result<()> {
    let (_db, mut client) = audited("audit_altered_log", "CREATE TABLE s.t (id int PRIMARY KEY)")?;
    client.batch_execute("INSERT INTO s.t VALUES (1)")?;
    let major = value(
        &mut client,
        "SELECT current_setting('server_version_num')::int / 10000",
    );
    for (alter, column) in [
        ("ALTER COLUMN transaction_id TYPE text", "transaction_id"),
        (
            "ALTER COLUMN table_name TYPE varchar(5) USING left(table_name, 5)",
            "table_name",
        ),
        ("ALTER COLUMN record_id TYPE int USING NULL", "record_id"),
        ("ALTER COLUMN user_id TYPE text", "user_id"),
        ("ALTER COLUMN new_values TYPE text", "new_values"),
        ("ALTER COLUMN statement_at TYPE date", "statement_at"),
        ("ADD COLUMN more int NOT NULL DEFAULT 7", "more"),
        ("ADD COLUMN more int GENERATED ALWAYS AS (7) STORED", "more"),
        ("ADD COLUMN more int GENERATED ALWAYS AS IDENTITY", "more"),
    ] {
        // A partitioned table has had identity columns since 17.
        if alter.ends_with("IDENTITY") && ["15", "16"].contains(&major.as_str()) {
            continue;
        }
        client
            .batch_execute(&format!(
                "BEGIN; ALTER TABLE cloudwatcher.audit_logs {alter}"
            ))
            .unwrap_or_else(|error| panic!("{alter}: {error:?}"));
        let error = expect_sqlstate(client.batch_execute("INSERT INTO s.t VALUES (2)"), "55000");
        assert!(
            error.detail().is_some_and(|detail| detail.contains(column)) && error.hint().is_some(),
            "{alter}: {error:?}"
        );
        client.batch_execute("ROLLBACK")?;
    }
    client.batch_execute(
        "ALTER TABLE cloudwatcher.audit_logs ADD COLUMN more int; INSERT INTO s.t VALUES (3)",
    )?;
    assert_eq!(
        value(
            &mut client,
            "SELECT string_agg(record_id, ' ' ORDER BY id) FROM cloudwatcher.audit_logs WHERE table_name = 's.t'"
        ),
        "1 3"
    );
    Ok(())
}
