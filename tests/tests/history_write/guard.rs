//! Changing the table itself: what compressed rows can follow, and what is refused.

use super::{
    assert_rollup, assert_rows, backend, fold, late_rows, leaf, months, table, value, wait_for_lock,
};
use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};
use std::thread;

/// Statements that are refused, with what the error names. `LEAF` is a compressed partition.
const REFUSED: &[(&str, &str)] = &[
    (
        "ALTER TABLE h.packed ALTER note SET NOT NULL",
        "SET NOT NULL of column \"note\"",
    ),
    (
        "ALTER TABLE ONLY h.packed ALTER note SET NOT NULL",
        "SET NOT NULL",
    ),
    (
        "ALTER TABLE h.packed ADD CONSTRAINT many CHECK (value > 200)",
        "ADD CONSTRAINT",
    ),
    (
        "ALTER TABLE h.packed ADD CHECK (value > 200) NOT VALID",
        "ADD CONSTRAINT",
    ),
    (
        "ALTER TABLE h.packed VALIDATE CONSTRAINT sayable",
        "VALIDATE CONSTRAINT \"sayable\"",
    ),
    (
        "ALTER TABLE h.packed ADD x int NOT NULL DEFAULT 5",
        "ADD COLUMN \"x\"",
    ),
    ("ALTER TABLE h.packed ADD x int DEFAULT 5", "ADD COLUMN"),
    ("ALTER TABLE h.packed ADD x int NOT NULL", "ADD COLUMN"),
    ("ALTER TABLE h.packed ADD x int CHECK (x > 5)", "ADD COLUMN"),
    ("ALTER TABLE h.packed ADD x serial", "ADD COLUMN"),
    ("ALTER TABLE h.packed ADD x h.named", "ADD COLUMN"),
    (
        "ALTER TABLE h.packed ADD x int GENERATED ALWAYS AS (sensor + 1) STORED",
        "ADD COLUMN",
    ),
    // One of several is enough.
    (
        "ALTER TABLE h.packed ADD x int, ADD y int DEFAULT 5",
        "ADD COLUMN \"y\"",
    ),
    (
        "ALTER TABLE h.packed ALTER note TYPE varchar(2)",
        "TYPE of column \"note\"",
    ),
    (
        "ALTER TABLE h.packed DROP COLUMN sensor",
        "DROP COLUMN \"sensor\"",
    ),
    (
        "ALTER TABLE h.packed ALTER doubled DROP EXPRESSION",
        "EXPRESSION of column \"doubled\"",
    ),
    ("ALTER TABLE LEAF ADD CHECK (value > 200)", "ADD CONSTRAINT"),
    ("ALTER TABLE LEAF OWNER TO pg_monitor", "OWNER TO"),
    (
        "ALTER FOREIGN TABLE LEAF OPTIONS (SET raw_bytes 'abc')",
        "OPTIONS",
    ),
    (
        "ALTER FOREIGN TABLE LEAF ALTER value OPTIONS (SET \"column\" '1')",
        "OPTIONS",
    ),
    // Whatever the search path is.
    (
        "SET LOCAL search_path = h; ALTER TABLE packed ALTER note SET NOT NULL",
        "SET NOT NULL",
    ),
];

#[test]
fn what_compressed_rows_cannot_follow_is_refused() -> Result<()> {
    let db = extended("guard_refused")?;
    let mut client = months(&db)?;
    let january = leaf(&mut client, "2024-01-01");
    client.batch_execute("CREATE DOMAIN h.named AS text NOT NULL")?;
    for (statement, what) in REFUSED {
        let statement = statement.replace("LEAF", &january);
        client.batch_execute("BEGIN")?;
        let error = expect_sqlstate(client.batch_execute(&statement), "0A000");
        let detail = error.detail().unwrap_or_default();
        assert!(detail.starts_with(what), "{statement}: {detail}");
        assert!(detail.contains("h.packed"), "{statement}: {detail}");
        assert!(
            error
                .hint()
                .unwrap_or_default()
                .contains("gemba.decompress_partition()"),
            "{statement}: {error:?}"
        );
        client.batch_execute("ROLLBACK")?;
    }
    assert_rows(&mut client, "after what was refused");
    // A partition that stands alone stays what it is.
    client.batch_execute(&format!(
        "BEGIN; ALTER TABLE h.packed DETACH PARTITION {january}"
    ))?;
    expect_sqlstate(
        client.batch_execute(&format!("ALTER TABLE {january} ALTER note SET NOT NULL")),
        "0A000",
    );
    client.batch_execute("ROLLBACK")?;
    // Others are told what they were always told.
    let stranger = db.role("stranger")?;
    let mut theirs = db.connect_as(&stranger)?;
    client.batch_execute(&format!("GRANT USAGE ON SCHEMA h TO {stranger}"))?;
    expect_sqlstate(
        theirs.batch_execute("ALTER TABLE h.packed ALTER note SET NOT NULL"),
        "42501",
    );
    // Once nothing is compressed, PostgreSQL decides.
    client.batch_execute("SELECT gemba.stop_compressing('h.packed')")?;
    for month in ["2024-01-01", "2024-02-01"] {
        let leaf = leaf(&mut client, month);
        client.batch_execute(&format!("SELECT gemba.decompress_partition('{leaf}')"))?;
    }
    expect_sqlstate(
        client.batch_execute("ALTER TABLE h.packed ALTER note SET NOT NULL"),
        "23502",
    );
    client.batch_execute(
        "ALTER TABLE h.packed ALTER value SET NOT NULL, ADD x int NOT NULL DEFAULT 5, ALTER note TYPE varchar(9)",
    )?;
    assert_eq!(value(&mut client, "SELECT min(x) FROM h.packed"), "5");
    Ok(())
}

#[test]
fn what_they_can_follow_goes_on() -> Result<()> {
    let db = extended("guard_allowed")?;
    let mut client = months(&db)?;
    client.batch_execute(
        "ALTER TABLE h.packed ADD COLUMN later int, ADD COLUMN IF NOT EXISTS value int NOT NULL DEFAULT 1,
           ADD COLUMN another text NULL DEFAULT NULL;
         ALTER TABLE h.packed DROP COLUMN IF EXISTS nothing, ALTER sensor SET NOT NULL, ALTER value SET DEFAULT 7;
         ALTER TABLE IF EXISTS h.packed DROP CONSTRAINT sayable;
         ALTER TABLE h.packed OWNER TO CURRENT_USER, ENABLE ROW LEVEL SECURITY;
         ALTER TABLE h.packed RENAME COLUMN later TO since",
    )?;
    assert_rows(&mut client, "with columns that were added");
    // Nothing at all is decoded for these.
    let january = leaf(&mut client, "2024-01-01");
    assert_eq!(
        table(
            &mut client,
            &format!("SELECT count(*), count(since), max(another) FROM {january}")
        ),
        ["1488 | 0 | -"]
    );
    assert_eq!(
        table(
            &mut client,
            &format!("SELECT DISTINCT since FROM {january}")
        )
        .len(),
        1
    );
    for month in ["2024-01-01", "2024-02-01"] {
        let leaf = leaf(&mut client, month);
        client.batch_execute(&format!("SELECT gemba.decompress_partition('{leaf}')"))?;
    }
    assert_rows(&mut client, "decompressed with columns that were added");
    assert_rollup(&mut client, "decompressed")
}

/// Other tables, compressible or not, are none of its business.
#[test]
fn other_tables_are_left_alone() -> Result<()> {
    let db = extended("guard_others")?;
    let mut client = months(&db)?;
    client.batch_execute(
        "CREATE FOREIGN DATA WRAPPER nothing;
         CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
         CREATE FOREIGN TABLE h.far (a int) SERVER nowhere OPTIONS (x '1');
         ALTER FOREIGN TABLE h.far ALTER a SET NOT NULL, ALTER a TYPE bigint, ADD b int NOT NULL DEFAULT 1, OPTIONS (SET x '2');
         ALTER TABLE h.far ADD CHECK (a > 0);
         CREATE TABLE h.parts (a int, b text) PARTITION BY LIST (a);
         CREATE TABLE h.part PARTITION OF h.parts FOR VALUES IN (1);
         CREATE FOREIGN TABLE h.far_part PARTITION OF h.parts FOR VALUES IN (2) SERVER nowhere;
         ALTER TABLE h.parts ALTER b SET NOT NULL, ADD c serial, ADD CHECK (a > 0);
         ALTER TABLE h.parts DROP COLUMN b;
         ALTER TABLE h.plain ALTER level TYPE numeric, ADD x int NOT NULL DEFAULT 1;
         CREATE VIEW h.view AS SELECT 1 AS a;
         ALTER TABLE h.view OWNER TO CURRENT_USER;
         ALTER TABLE IF EXISTS h.missing ADD x int NOT NULL DEFAULT 1;
         CREATE TEMP TABLE packed (note text);
         ALTER TABLE packed ALTER note SET NOT NULL",
    )?;
    expect_sqlstate(
        client.batch_execute("ALTER TABLE h.missing ADD x int NOT NULL"),
        "42P01",
    );
    expect_sqlstate(
        client.batch_execute("ALTER TABLE nowhere.missing ADD x int NOT NULL"),
        "3F000",
    );
    expect_sqlstate(
        client.batch_execute("ALTER TABLE pg_catalog.pg_class ADD x int NOT NULL"),
        "42501",
    );
    expect_sqlstate(
        client.batch_execute("SELECT gemba_internal.guard_history()"),
        "55000",
    );
    Ok(())
}

/// Whoever alters the table while a partition is being compressed waits, and is then told.
#[test]
fn nothing_slips_in_between() -> Result<()> {
    let db = extended("guard_race")?;
    let mut client = months(&db)?;
    let march = leaf(&mut client, "2024-03-01");
    let (mut other, mut watcher) = (db.connect()?, db.connect()?);
    for (sql, code) in [
        (
            "ALTER TABLE h.packed ALTER note SET NOT NULL".to_owned(),
            "0A000",
        ),
        (
            format!("ALTER TABLE {march} ADD CHECK (value > 200)"),
            "0A000",
        ),
    ] {
        client.batch_execute(&format!(
            "BEGIN; SELECT gemba.compress_partition('{march}')"
        ))?;
        let pid = backend(&mut other);
        thread::scope(|scope| -> Result<()> {
            let waiting = scope.spawn(|| other.batch_execute(&sql));
            wait_for_lock(&mut watcher, pid);
            client.batch_execute("COMMIT")?;
            expect_sqlstate(
                waiting.join().expect("the other client does not panic"),
                code,
            );
            Ok(())
        })?;
        client.batch_execute(&format!("SELECT gemba.decompress_partition('{march}')"))?;
    }
    assert_rows(&mut client, "after what came in between");
    Ok(())
}

#[test]
fn rows_are_written_after_a_column_was_dropped() -> Result<()> {
    let db = extended("guard_dropped")?;
    let mut client = months(&db)?;
    // Not the last one: its number in segments is a gap from now on.
    client.batch_execute(
        "ALTER TABLE h.packed DROP COLUMN note, ADD COLUMN note text;
         UPDATE h.plain SET note = NULL",
    )?;
    for change in [
        "UPDATE TABLE SET value = value + 1 WHERE sensor = 2 AND at < '2024-01-20'",
        "DELETE FROM TABLE WHERE sensor = 1 AND at BETWEEN '2024-01-10' AND '2024-01-12'",
        "INSERT INTO TABLE (sensor, at, value) VALUES (1, '2024-01-11 01:00', 4)",
    ] {
        for name in ["h.packed", "h.plain"] {
            client.batch_execute(&change.replace("TABLE", name))?;
        }
        assert_rows(&mut client, change);
    }
    fold(&mut client, "2024-01-01")?;
    assert_eq!(late_rows(&mut client), 0);
    assert_rows(&mut client, "folded");
    assert_eq!(
        table(&mut client, "SELECT * FROM gemba.verify_history()"),
        Vec::<String>::new()
    );
    assert_rollup(&mut client, "folded")?;
    let january = leaf(&mut client, "2024-01-01");
    client.batch_execute(&format!("SELECT gemba.decompress_partition('{january}')"))?;
    assert_rows(&mut client, "decompressed");
    client.batch_execute(&format!("SELECT gemba.compress_partition('{january}')"))?;
    assert_rows(&mut client, "compressed again");
    Ok(())
}

/// Tables and partitions that were moved to another schema keep their names there.
#[test]
fn schemas_may_change() -> Result<()> {
    let db = extended("guard_schemas")?;
    let mut client = months(&db)?;
    let february = leaf(&mut client, "2024-02-01");
    let leaves = "SELECT c.relnamespace::regnamespace, c.relname, c.relkind FROM pg_partition_tree('packed') AS t
                    JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf AND c.relname LIKE '%_p2024%' ORDER BY c.relname";
    client.batch_execute(&format!(
        "CREATE SCHEMA other; CREATE SCHEMA third; SET search_path = h, other, third;
         ALTER TABLE h.packed SET SCHEMA other;
         ALTER TABLE {february} SET SCHEMA third"
    ))?;
    for kind in ["r", "f"] {
        for row in table(
            &mut client,
            "SELECT t.relid::regclass FROM pg_partition_tree('packed') AS t
              WHERE t.isleaf AND t.relid::regclass::text LIKE '%_p2024%' ORDER BY 1",
        ) {
            let call = if kind == "r" {
                "decompress"
            } else {
                "compress"
            };
            if kind == "f" || !row.contains("20240301") {
                client.batch_execute(&format!("SELECT gemba.{call}_partition('{row}')"))?;
            }
        }
        assert_eq!(
            table(&mut client, leaves),
            [
                format!("h | packed_p20240101 | {kind}"),
                format!("third | packed_p20240201 | {kind}"),
                format!("h | packed_p20240301 | {kind}"),
            ]
        );
        assert_eq!(
            table(&mut client, "SELECT count(*), sum(value) FROM packed"),
            table(&mut client, "SELECT count(*), sum(value) FROM h.plain")
        );
    }
    Ok(())
}
