//! What is asked of a table besides its rows.

use anyhow::Result;
use gemba_tests::{Database, expect_sqlstate, extended, table, value};
use postgres::Client;
use std::io::Read;

/// Two days, the first compressed; `s.twin` has the same rows.
fn two_days(db: &Database) -> Result<Client> {
    let mut client = db.connect()?;
    client.batch_execute(
        "SET TimeZone = 'UTC';
         CREATE SCHEMA s;
         CREATE TABLE s.raw (at timestamptz NOT NULL, gone text, machine text, value numeric, note text,
           twice numeric GENERATED ALWAYS AS (value * 2) STORED) PARTITION BY RANGE (at);
         ALTER TABLE s.raw DROP COLUMN gone;
         CREATE TABLE s.twin (at timestamptz NOT NULL, machine text, value numeric, note text,
           twice numeric GENERATED ALWAYS AS (value * 2) STORED);
         SELECT gemba.manage_partitions('s.raw', '1 day', premake => 0);
         SELECT gemba.ensure_partitions('s.raw', '2024-03-01', '2024-03-03');
         INSERT INTO s.raw (at, machine, value, note)
           SELECT t, 'mill ' || m, round(m + extract(minute FROM t) / 7, m), CASE WHEN m = 2 THEN E'a\\tb\\n' END
             FROM generate_series(timestamptz '2024-03-01', '2024-03-02 23:00', '7 minutes') AS t, generate_series(1, 3) AS m;
         INSERT INTO s.twin (at, machine, value, note) SELECT at, machine, value, note FROM s.raw;
         SELECT gemba.compress_after('s.raw', '{machine}', 'at', '1 day');
         SELECT gemba.compress_partition('s.raw_p20240301');
         INSERT INTO s.raw (at, machine, value) VALUES ('2024-03-01 12:00:01', NULL, 1.50);
         INSERT INTO s.twin (at, machine, value) VALUES ('2024-03-01 12:00:01', NULL, 1.50)",
    )?;
    Ok(client)
}

#[track_caller]
fn assert_same(client: &mut Client, query: &str) {
    let [found, expected] = ["s.raw", "s.twin"].map(|name| {
        let mut rows = table(client, &query.replace("{t}", name));
        rows.sort_unstable();
        rows
    });
    assert!(!expected.is_empty(), "{query} finds nothing at all");
    assert_eq!(found, expected, "{query}");
}

fn copied(client: &mut Client, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    client
        .copy_out(&format!("COPY {what}"))?
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn rows_are_copied_out() -> Result<()> {
    let db = extended("exact_copy")?;
    let mut client = two_days(&db)?;
    for form in ["text", "csv", "binary"] {
        let [found, expected] = ["s.raw", "s.twin"].map(|name| {
            copied(
                &mut client,
                &format!("(SELECT * FROM {name} ORDER BY at, machine) TO STDOUT (FORMAT {form})"),
            )
        });
        let found = found?;
        assert!(found.len() > 10_000);
        assert!(found == expected?, "{form}");
    }
    Ok(())
}

#[test]
fn tables_are_made_of_it() -> Result<()> {
    let db = extended("exact_create")?;
    let mut client = two_days(&db)?;
    client.batch_execute(
        "CREATE TABLE s.copy AS SELECT * FROM s.raw;
         SELECT * INTO s.other FROM s.raw WHERE machine = 'mill 2';
         CREATE MATERIALIZED VIEW s.seen AS SELECT machine, count(*) AS n, sum(value) AS total FROM s.raw GROUP BY 1;
         CREATE TABLE s.like_it (LIKE s.raw INCLUDING ALL);
         INSERT INTO s.like_it (at, machine, value, note) SELECT at, machine, value, note FROM s.raw",
    )?;
    for (made, of) in [
        ("SELECT * FROM s.copy", "SELECT * FROM s.twin"),
        ("SELECT * FROM s.like_it", "SELECT * FROM s.twin"),
        (
            "SELECT * FROM s.other",
            "SELECT * FROM s.twin WHERE machine = 'mill 2'",
        ),
        (
            "SELECT * FROM s.seen",
            "SELECT machine, count(*), sum(value) FROM s.twin GROUP BY 1",
        ),
    ] {
        assert_ne!(
            value(&mut client, &format!("SELECT count(*) FROM ({made}) AS x")),
            "0"
        );
        for (a, b) in [(made, of), (of, made)] {
            assert_eq!(
                value(
                    &mut client,
                    &format!("SELECT count(*) FROM ({a} EXCEPT ALL {b}) AS x")
                ),
                "0",
                "{made}"
            );
        }
    }
    Ok(())
}

#[test]
fn system_columns_and_whole_rows() -> Result<()> {
    let db = extended("exact_system")?;
    let mut client = two_days(&db)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT tableoid::regclass::text, count(*) FROM s.raw GROUP BY 1 ORDER BY 1"
        ),
        ["s.raw_p20240301 | 619", "s.raw_p20240302 | 591"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT DISTINCT tableoid::regclass FROM s.raw WHERE machine = 'mill 1' AND at < '2024-03-02'"
        ),
        ["s.raw_p20240301"]
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM s.raw WHERE tableoid = 's.raw_p20240301'::regclass"
        ),
        "619"
    );
    // No two rows are at one place, and a place is found again.
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) - count(DISTINCT (tableoid, ctid)) FROM s.raw"
        ),
        "0"
    );
    for query in [
        "SELECT x::text FROM {t} AS x",
        "SELECT row_to_json(x)::text FROM {t} AS x",
        "SELECT (x).twice, (x).note FROM {t} AS x WHERE machine IS NULL OR value > 5",
        "SELECT count(*) FROM {t} AS x WHERE x IS NOT NULL",
        "SELECT count(x), count(DISTINCT x) FROM {t} AS x",
        "SELECT x FROM {t} AS x WHERE x.machine = 'mill 2' AND at < '2024-03-01 02:00'",
        "SELECT a.machine, (array_agg(a ORDER BY a.at))[3]::text FROM {t} AS a GROUP BY a.machine",
        "SELECT md5(string_agg(x::text, '|' ORDER BY at, machine)) FROM {t} AS x",
        "SELECT x.value FROM {t} AS x WHERE (x.machine, x.at) IN (SELECT machine, at FROM s.twin WHERE note IS NOT NULL)",
        "SELECT at FROM {t} WHERE ctid IS NULL OR machine = 'mill 3'",
    ] {
        assert_same(&mut client, query);
    }
    Ok(())
}

/// As people do it who look for rows that are there twice, or delete some at a time.
#[test]
fn rows_are_changed_by_their_place() -> Result<()> {
    let db = extended("exact_place")?;
    let mut client = two_days(&db)?;
    let some = "machine = 'mill 1' AND at < '2024-03-01 01:00'";
    for name in ["s.raw", "s.twin"] {
        let changed = client.execute(
            &format!(
                "UPDATE {name} AS r SET note = 'by place' FROM (SELECT tableoid AS t, ctid AS c FROM {name} WHERE {some}) AS x
                  WHERE r.tableoid = x.t AND r.ctid = x.c"
            ),
            &[],
        )?;
        assert_eq!(changed, 9, "{name}");
    }
    assert_same(&mut client, "SELECT * FROM {t}");
    let twice =
        "INSERT INTO s.raw (at, machine, value, note) SELECT at, machine, value, note FROM s.twin";
    let rows = value(&mut client, "SELECT count(*) FROM s.twin");
    for (folded, once) in [
        (
            true,
            "DELETE FROM s.raw AS a USING s.raw AS b WHERE a.at = b.at AND a.machine IS NOT DISTINCT FROM b.machine AND (a.tableoid, a.ctid) > (b.tableoid, b.ctid)",
        ),
        (
            false,
            "DELETE FROM s.raw AS a USING s.raw AS b WHERE a.at = b.at AND a.machine IS NOT DISTINCT FROM b.machine AND a.ctid < b.ctid",
        ),
        (
            true,
            "DELETE FROM s.raw WHERE (tableoid, ctid) NOT IN (SELECT tableoid, min(ctid) FROM s.raw GROUP BY at, machine, tableoid)",
        ),
        (
            false,
            "DELETE FROM s.raw WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM (SELECT tableoid, ctid, row_number() OVER (PARTITION BY at, machine) AS n FROM s.raw) AS x WHERE n > 1)",
        ),
    ] {
        client.batch_execute(twice)?;
        if folded {
            client.batch_execute("SELECT gemba.compress_partition('s.raw_p20240301')")?;
        }
        let gone = client.execute(once, &[])?;
        assert_eq!(gone.to_string(), rows, "{once}");
        assert_same(&mut client, "SELECT * FROM {t}");
    }
    let gone = client.execute(
        "DELETE FROM s.raw WHERE ctid = ANY (ARRAY(SELECT ctid FROM s.raw WHERE at < '2024-03-01 12:00' AND machine = 'mill 2' LIMIT 50)) AND at < '2024-03-02'",
        &[],
    )?;
    assert_eq!(gone, 50);
    Ok(())
}

/// Columns that old segments do not have, and those that they have too many.
#[test]
fn columns_come_and_go() -> Result<()> {
    let db = extended("exact_columns")?;
    let mut client = two_days(&db)?;
    // Past the first defence.
    client.batch_execute("ALTER EVENT TRIGGER gemba_guard_history DISABLE")?;
    for statement in [
        "ALTER TABLE {t} ADD COLUMN later int",
        "ALTER TABLE {t} ADD COLUMN state text DEFAULT 'new'",
        "ALTER TABLE {t} RENAME COLUMN note TO remark",
        "ALTER TABLE {t} ADD COLUMN note bigint",
        "ALTER TABLE {t} DROP COLUMN twice",
    ] {
        for name in ["s.raw", "s.twin"] {
            client.batch_execute(&statement.replace("{t}", name))?;
        }
    }
    // The documented difference: in segments, a column that came later is NULL, whatever its default.
    client.batch_execute(
        "UPDATE s.twin SET state = NULL WHERE at < '2024-03-02' AND machine IS NOT NULL",
    )?;
    let queries = [
        "SELECT at, machine, value, remark, later, note FROM {t}",
        "SELECT count(*), count(later), count(remark), count(note), max(later) FROM {t}",
        "SELECT machine, count(note), max(note), min(remark), sum(later) FROM {t} GROUP BY 1",
        "SELECT at FROM {t} WHERE later IS NULL AND note IS NULL AND machine = 'mill 2'",
        "SELECT count(*) FROM {t} WHERE later = 3",
        "SELECT count(*) FROM {t} WHERE later IS DISTINCT FROM 3",
        "SELECT count(*) FROM {t} WHERE coalesce(note, 5) = 5",
        "SELECT state, count(*) FROM {t} WHERE machine IS NOT NULL GROUP BY 1",
        "SELECT x::text FROM (SELECT at, machine, value, remark, later, note FROM {t}) AS x",
    ];
    for query in queries {
        assert_same(&mut client, query);
    }
    // There is no room for their values, and that is said.
    for refused in [
        "INSERT INTO s.raw (at, machine, later, state) VALUES ('2024-03-01 05:00:01', 'mill 1', 3, NULL)",
        "UPDATE s.raw SET note = 7 WHERE machine = 'mill 2'",
    ] {
        let error = expect_sqlstate(client.batch_execute(refused), "0A000");
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{error:?}"
        );
    }
    for name in ["s.raw", "s.twin"] {
        client.batch_execute(&format!(
            "INSERT INTO {name} (at, machine, value, remark, state) VALUES ('2024-03-01 05:00:01', 'mill 1', 2.50, 'r', NULL);
             INSERT INTO {name} (at, machine, value, remark, later, note) VALUES ('2024-03-02 05:00:01', 'mill 1', 2.500, 'r', 3, 4);
             UPDATE {name} SET remark = 'x' WHERE machine = 'mill 2' AND at BETWEEN '2024-03-01 08:00' AND '2024-03-01 11:00';
             DELETE FROM {name} WHERE machine = 'mill 3' AND note IS NULL AND value < 8 AND at < '2024-03-02'"
        ))?;
    }
    for query in queries {
        assert_same(&mut client, query);
    }
    client.batch_execute("SELECT gemba.compress_partition('s.raw_p20240301')")?;
    for query in queries {
        assert_same(&mut client, query);
    }
    assert!(table(&mut client, "SELECT * FROM gemba.verify_history()").is_empty());

    // Compressed anew, segments have them all.
    client.batch_execute(
        "SELECT gemba.decompress_partition('s.raw_p20240301'); SELECT gemba.compress_partition('s.raw_p20240301')",
    )?;
    for query in queries {
        assert_same(&mut client, query);
    }
    Ok(())
}

/// NOT NULL is a promise that the rows of segments do not keep: nothing is read rather than NULLs where there are none.
#[test]
fn a_column_that_may_not_be_null_is_added() -> Result<()> {
    let db = extended("exact_not_null")?;
    let mut client = two_days(&db)?;
    // Past the first defence.
    client.batch_execute("ALTER EVENT TRIGGER gemba_guard_history DISABLE")?;
    let before = value(&mut client, "SELECT count(*) FROM s.raw");
    client.batch_execute("ALTER TABLE s.raw ADD COLUMN grade int NOT NULL DEFAULT 1")?;
    for query in [
        "SELECT grade FROM s.raw",
        "SELECT count(*) FROM s.raw WHERE grade IS NULL OR grade + 0 IS NULL",
        "SELECT count(grade), sum(grade) FROM s.raw",
        "SELECT machine, max(grade) FROM s.raw GROUP BY 1",
    ] {
        let error = expect_sqlstate(client.simple_query(query), "0A000");
        assert!(
            error
                .detail()
                .is_some_and(|detail| detail.contains("grade")),
            "{query}: {error:?}"
        );
        assert!(error.hint().is_some());
    }
    // The remedy that the hint names.
    client.batch_execute("ALTER TABLE s.raw ALTER COLUMN grade DROP NOT NULL")?;
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM s.raw WHERE at < '2024-03-02' AND grade IS NOT NULL AND machine IS NOT NULL"
        ),
        "0"
    );
    client.batch_execute("SELECT gemba.decompress_partition('s.raw_p20240301')")?;
    client.batch_execute(
        "UPDATE s.raw SET grade = 1 WHERE grade IS NULL; ALTER TABLE s.raw ALTER COLUMN grade SET NOT NULL;
         SELECT gemba.compress_partition('s.raw_p20240301')",
    )?;
    assert_eq!(value(&mut client, "SELECT sum(grade) FROM s.raw"), before);
    Ok(())
}
