//! Columns that never reach the log, columns of which it only says that they changed, and whole rows.

use super::{audited, logged};
use anyhow::Result;
use gemba_tests::{table, value};

const SECRETS: &str = "CREATE TABLE s.t (id int PRIMARY KEY, name text, secret text, pin int)";

#[test]
fn excluded_and_masked_columns() -> Result<()> {
    let (_db, mut client) = audited("audit_mask", SECRETS)?;
    client.batch_execute(
        "SELECT gemba.audit('s.t', 'secret'); SELECT gemba.audit_options('s.t', mask => '{pin}')",
    )?;
    assert_eq!(
        logged(
            &mut client,
            "INSERT INTO s.t VALUES (1, 'a', 'hush', 1234), (2, 'b', 'hush', NULL)"
        ),
        [
            "INSERT | 1 | - | {\"id\": 1, \"pin\": \"***\", \"name\": \"a\"}",
            "INSERT | 2 | - | {\"id\": 2, \"pin\": null, \"name\": \"b\"}",
        ]
    );
    assert_eq!(
        logged(&mut client, "UPDATE s.t SET secret = 'other' WHERE id = 1"),
        [""; 0]
    );
    let mut found = logged(&mut client, "UPDATE s.t SET pin = 4321");
    found.sort();
    assert_eq!(
        found,
        [
            "UPDATE | 1 | {\"pin\": \"***\"} | {\"pin\": \"***\"}",
            "UPDATE | 2 | {\"pin\": null} | {\"pin\": \"***\"}",
        ]
    );
    assert_eq!(
        logged(&mut client, "DELETE FROM s.t WHERE id = 1"),
        ["DELETE | 1 | {\"id\": 1, \"pin\": \"***\", \"name\": \"a\"} | -"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT target, exclude, mask, full_rows, enabled, complete FROM gemba.audited_tables WHERE target::text ~ '^s[.]'"
        ),
        ["s.t | {secret} | {pin} | f | t | t"]
    );
    assert_eq!(
        value(
            &mut client,
            // Times and ids may have such digits by chance.
            "SELECT count(*) FROM cloudwatcher.audit_logs l
              WHERE concat_ws(' ', record_id, old_values, new_values, change_reason) ~ 'hush|other|1234|4321'"
        ),
        "0"
    );
    Ok(())
}

#[test]
fn whole_rows() -> Result<()> {
    let (_db, mut client) = audited("audit_full", SECRETS)?;
    client.batch_execute(
        "SELECT gemba.audit('s.t', 'secret'); SELECT gemba.audit_options('s.t', full_rows => true);
         INSERT INTO s.t VALUES (1, 'a', 'x', 5)",
    )?;
    assert_eq!(
        logged(&mut client, "UPDATE s.t SET pin = 6"),
        [
            "UPDATE | 1 | {\"id\": 1, \"pin\": 5, \"name\": \"a\"} | {\"id\": 1, \"pin\": 6, \"name\": \"a\"}"
        ]
    );
    assert_eq!(
        logged(&mut client, "UPDATE s.t SET secret = 'y', name = 'a'"),
        [""; 0]
    );
    client.batch_execute("SELECT gemba.audit_options('s.t', full_rows => false)")?;
    assert_eq!(
        logged(&mut client, "UPDATE s.t SET pin = 7"),
        ["UPDATE | 1 | {\"pin\": 6} | {\"pin\": 7}"]
    );
    Ok(())
}

/// Whatever a list may have meant that names a column which is gone, it is not logged.
#[test]
fn a_renamed_secret_stays_one() -> Result<()> {
    let (_db, mut client) = audited("audit_renamed", SECRETS)?;
    client.batch_execute(
        "SELECT gemba.audit('s.t', 'secret'); INSERT INTO s.t VALUES (1, 'a', 'hush', 5);
         ALTER TABLE s.t RENAME secret TO hidden",
    )?;
    let view = "SELECT enabled, complete FROM gemba.audited_tables WHERE target::text ~ '^s[.]'";
    assert_eq!(table(&mut client, view), ["t | f"]);
    assert_eq!(
        logged(
            &mut client,
            "UPDATE s.t SET hidden = 'hush!'; INSERT INTO s.t VALUES (2, 'b', 'hush', NULL)"
        ),
        [
            "UPDATE | 1 | {\"hidden\": \"***\"} | {\"hidden\": \"***\"}",
            "INSERT | 2 | - | {\"id\": 2, \"pin\": null, \"name\": \"***\", \"hidden\": \"***\"}",
        ]
    );
    client.batch_execute("SELECT gemba.audit('s.t', 'hidden')")?;
    assert_eq!(table(&mut client, view), ["t | t"]);
    assert_eq!(
        logged(
            &mut client,
            "UPDATE s.t SET hidden = 'hush', name = 'c' WHERE id = 1"
        ),
        ["UPDATE | 1 | {\"name\": \"a\"} | {\"name\": \"c\"}"]
    );
    // The same for one that is dropped, and one that was masked.
    client.batch_execute(
        "SELECT gemba.audit_options('s.t', mask => '{pin}'); ALTER TABLE s.t DROP COLUMN pin",
    )?;
    assert_eq!(table(&mut client, view), ["t | f"]);
    assert_eq!(
        logged(&mut client, "UPDATE s.t SET name = 'd' WHERE id = 1"),
        ["UPDATE | 1 | {\"name\": \"***\"} | {\"name\": \"***\"}"]
    );
    client.batch_execute("SELECT gemba.audit_options('s.t', mask => '{}')")?;
    assert_eq!(
        logged(&mut client, "UPDATE s.t SET name = 'e' WHERE id = 1"),
        ["UPDATE | 1 | {\"name\": \"d\"} | {\"name\": \"e\"}"]
    );
    Ok(())
}
