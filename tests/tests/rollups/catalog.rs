//! What a rollup leaves behind when it goes: nothing.

use super::{refresh, simple, table, value};
use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};
use postgres::Client;

/// Triggers of rollups, on whatever table.
fn triggers(client: &mut Client) -> Vec<String> {
    table(
        client,
        "SELECT tgrelid::regclass || ' ' || tgname FROM pg_trigger t
          WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 's'::regnamespace) AND tgname LIKE 'gemba%' ORDER BY 1",
    )
}

/// Rows of the catalog about rollups of the schema `s`, or about tables that are no more.
fn catalog(client: &mut Client) -> Vec<String> {
    table(
        client,
        "WITH ours AS (
           SELECT id FROM gemba.rollup_definitions d
            WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.rollup AND c.relnamespace <> 's'::regnamespace))
         SELECT 'definition ' || id FROM ours
         UNION ALL SELECT DISTINCT 'changes ' || rollup_id FROM gemba.rollup_changes
                    WHERE rollup_id IN (SELECT id FROM ours) OR rollup_id NOT IN (SELECT id FROM gemba.rollup_definitions)
         UNION ALL SELECT DISTINCT 'leaves ' || rollup_id FROM gemba.rollup_leaves WHERE rollup_id IN (SELECT id FROM ours)
         UNION ALL SELECT DISTINCT 'expired ' || rollup_id FROM gemba.rollup_expired WHERE rollup_id IN (SELECT id FROM ours)",
    )
}

const DAILY: &str =
    "SELECT gemba.create_rollup('s.daily', 's.hourly', 'bucket', '1 day', ARRAY['kind'])";
const MONTHLY: &str =
    "SELECT gemba.create_rollup('s.monthly', 's.daily', 'bucket', '1 month', ARRAY['kind'])";

#[test]
fn drop_rollup_takes_everything_along() -> Result<()> {
    let db = extended("drop_rollup")?;
    let mut client = simple(&db)?;
    client.batch_execute(
        "INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1);
         CREATE TABLE s.own (LIKE s.raw);
         ALTER TABLE s.raw ATTACH PARTITION s.own FOR VALUES FROM ('2024-02-01') TO ('2024-02-02')",
    )?;
    refresh(&mut client)?;
    client.batch_execute(
        "ALTER TABLE s.raw DETACH PARTITION s.raw_p20240103; DROP TABLE s.raw_p20240104",
    )?;
    refresh(&mut client)?;
    client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1)")?;
    assert!(
        triggers(&mut client).len() > 10,
        "there is something to take away"
    );
    assert!(
        catalog(&mut client).len() > 3,
        "there is something to take away"
    );
    client.batch_execute("SELECT gemba.drop_rollup('s.hourly')")?;
    assert_eq!(triggers(&mut client), Vec::<String>::new());
    assert_eq!(catalog(&mut client), Vec::<String>::new());
    assert_eq!(
        table(
            &mut client,
            "SELECT relname FROM pg_class WHERE relname ~ '^hourly' AND relnamespace = 's'::regnamespace"
        ),
        Vec::<String>::new()
    );
    client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1); TRUNCATE s.raw")?;
    Ok(())
}

#[test]
fn a_rollup_that_another_is_built_from_stays() -> Result<()> {
    let db = extended("drop_parent")?;
    let mut client = simple(&db)?;
    client.batch_execute(DAILY)?;
    let error = expect_sqlstate(
        client.batch_execute("SELECT gemba.drop_rollup('s.hourly')"),
        "2BP01",
    );
    assert!(
        error.detail().unwrap_or_default().contains("s.daily"),
        "{error:?}"
    );
    assert!(
        error.hint().unwrap_or_default().contains("drop_rollup"),
        "{error:?}"
    );
    client.batch_execute(
        "SELECT gemba.drop_rollup('s.daily'); SELECT gemba.drop_rollup('s.hourly')",
    )?;
    assert_eq!(catalog(&mut client), Vec::<String>::new());
    Ok(())
}

/// However a table goes, the catalog must not name it any more, nor a trigger run for it.
#[test]
fn dropping_tables_cleans_up() -> Result<()> {
    for (what, rollups, statement) in [
        ("the rollup", &[][..], "DROP TABLE s.hourly CASCADE"),
        ("the source", &[][..], "DROP TABLE s.raw CASCADE"),
        (
            "the lowest of two rollups",
            &[DAILY][..],
            "DROP TABLE s.hourly CASCADE",
        ),
        (
            "the upper of two rollups",
            &[DAILY][..],
            "DROP TABLE s.daily CASCADE",
        ),
        (
            "the source of two rollups",
            &[DAILY][..],
            "DROP TABLE s.raw CASCADE",
        ),
        (
            "the lowest of three rollups",
            &[DAILY, MONTHLY][..],
            "DROP TABLE s.hourly CASCADE",
        ),
        (
            "the source of three rollups",
            &[DAILY, MONTHLY][..],
            "DROP TABLE s.raw CASCADE",
        ),
        (
            "all at once",
            &[DAILY, MONTHLY][..],
            "DROP TABLE s.raw, s.hourly, s.daily, s.monthly CASCADE",
        ),
        (
            "the schema",
            &[DAILY, MONTHLY][..],
            "DROP SCHEMA s CASCADE; CREATE SCHEMA s",
        ),
    ] {
        let db = extended("drop_tables")?;
        let mut client = simple(&db)?;
        for rollup in rollups {
            client.batch_execute(rollup)?;
        }
        client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1)")?;
        refresh(&mut client)?;
        client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1)")?;
        client
            .batch_execute(statement)
            .map_err(|error| anyhow::anyhow!("{what}: {error:?}"))?;
        // What is left may still be a rollup; it must be whole, and nothing may point at what is gone.
        let dangling = table(
            &mut client,
            "SELECT 'definition ' || id FROM gemba.rollup_definitions d
              WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = d.rollup) OR NOT EXISTS (SELECT FROM pg_class WHERE oid = d.source)
             UNION ALL SELECT 'changes ' || rollup_id FROM gemba.rollup_changes WHERE rollup_id NOT IN (SELECT id FROM gemba.rollup_definitions)
             UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger
              WHERE tgname ~ '^gemba_rollup_\\d' AND substring(tgname, '\\d+')::int NOT IN (SELECT id FROM gemba.rollup_definitions)",
        );
        assert_eq!(dangling, Vec::<String>::new(), "{what}");
        refresh(&mut client)?;
        if value(&mut client, "SELECT to_regclass('s.raw') IS NOT NULL") == "t" {
            client
                .batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1); TRUNCATE s.raw")?;
        }
    }
    Ok(())
}

#[test]
fn a_rollup_is_sealed_and_indexed() -> Result<()> {
    let db = extended("sealed")?;
    let mut client = db.connect()?;
    client.batch_execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon, authenticated")?;
    drop(client);
    let mut client = simple(&db)?;
    assert_eq!(
        value(
            &mut client,
            "SELECT relrowsecurity, relkind FROM pg_class WHERE oid = 's.hourly'::regclass"
        ),
        "t | r"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', ''), indisunique FROM pg_index
              WHERE indrelid = 's.hourly'::regclass ORDER BY 1"
        ),
        ["btree (bucket) | f", "btree (kind, bucket) NULLS NOT DISTINCT | t"]
    );
    // Row level security and no policy: whatever the default privileges gave away shows nothing.
    client.batch_execute(
        "GRANT USAGE ON SCHEMA s TO anon; INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1)",
    )?;
    refresh(&mut client)?;
    let mut anon = db.connect_as("anon")?;
    assert_eq!(value(&mut anon, "SELECT count(*) FROM s.hourly"), "0");
    Ok(())
}
