//! Rollups whose own table is partitioned.

use super::{
    EITHER_WAY, HOURLY, HOURLY_LIVE, PLAIN, Refreshed, assert_same, refresh, refreshed, simple,
    simple_by, table, value,
};
use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};

const ROWS: &str = "INSERT INTO s.raw SELECT timestamptz '2024-01-01' + k * interval '10 minutes', 'k' || k % 2, k FROM generate_series(0, 1000) AS k";
const DAILY: &str = "SELECT gemba.create_rollup('s.daily', 's.hourly', 'bucket', '1 day', ARRAY['kind'], NULL, 'UTC')";
const DAYS: &str = "SELECT bucket, kind, rows, total FROM s.daily";
const PLAIN_DAYS: &str = "SELECT date_trunc('day', at) AS bucket, kind, count(*) AS rows, sum(n) AS total FROM s.raw GROUP BY 1, 2";

/// Partitions of a table that end before the present: those ahead depend on the day of the test.
fn old_partitions(relation: &str) -> String {
    format!(
        "SELECT partition FROM gemba.partitions WHERE parent = '{relation}'::regclass AND to_time < '2025-01-01' ORDER BY from_time"
    )
}

/// Without the rollups of the rooms.
fn of_s(done: Vec<Refreshed>) -> Vec<Refreshed> {
    done.into_iter()
        .filter(|done| done.rollup.starts_with("s."))
        .collect()
}

#[test]
fn partitions_are_managed_sealed_and_indexed() -> Result<()> {
    let db = extended("cut_sealed")?;
    let mut client = db.connect()?;
    client.batch_execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon, authenticated")?;
    drop(client);
    let mut client = simple_by(&db, "'1 month'")?;
    client.batch_execute(ROWS)?;
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "refreshed");
    assert_eq!(
        table(
            &mut client,
            "SELECT step, retain, time_zone, unique_on FROM gemba.partition_sets WHERE parent = 's.hourly'::regclass"
        ),
        ["1 mon | - | UTC | {kind,bucket}"]
    );
    assert_eq!(
        table(&mut client, &old_partitions("s.hourly")),
        ["s.hourly_p20240101"]
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) > 2 AND bool_and(rls) AND bool_and(no_grants) FROM gemba.partitions WHERE parent = 's.hourly'::regclass"
        ),
        "t",
        "the old one, the present one, one ahead"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT relrowsecurity, relkind FROM pg_class WHERE oid = 's.hourly'::regclass"
        ),
        "t | p"
    );
    let indexes = |relation: &str| {
        format!(
            "SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', ''), indisunique FROM pg_index
              WHERE indrelid = '{relation}'::regclass ORDER BY 1"
        )
    };
    // A unique index of the whole would shut foreign tables out.
    assert_eq!(
        table(&mut client, &indexes("s.hourly")),
        ["btree (bucket) | f"]
    );
    assert_eq!(
        table(&mut client, &indexes("s.hourly_p20240101")),
        [
            "btree (bucket) | f",
            "btree (kind, bucket) NULLS NOT DISTINCT | t"
        ]
    );
    // Nothing that lent its columns is left.
    assert_eq!(
        table(
            &mut client,
            "SELECT relname FROM pg_class WHERE relname ~ '^gemba_rollup' AND relkind <> 'i'"
        ),
        Vec::<String>::new()
    );
    client.batch_execute("SELECT gemba.drop_rollup('s.hourly')")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT oid::regclass::text FROM pg_class WHERE relname ~ '^hourly' AND relnamespace = 's'::regnamespace
             UNION ALL SELECT parent::text FROM gemba.partition_sets WHERE parent::text ~ '^s[.]hourly'"
        ),
        Vec::<String>::new()
    );
    Ok(())
}

/// The same columns as in one table: types, NOT NULL, what is generated, in the same order.
#[test]
fn columns_are_those_of_a_rollup_in_one_table() -> Result<()> {
    let mut columns = Vec::new();
    for partition_by in EITHER_WAY {
        let db = extended("cut_columns")?;
        let mut client = db.connect()?;
        client.batch_execute(&format!(
            r#"CREATE SCHEMA s;
               CREATE TABLE s.raw (at timestamptz NOT NULL, sensor varchar(50) COLLATE "C" NOT NULL, kind text, v numeric(10,4));
               SELECT gemba.create_rollup('s.r', 's.raw', 'at', '1 hour', ARRAY['sensor', 'kind'],
                 '{}', 'UTC', {partition_by})"#,
            r#"{"n": {"function": "count"}, "mean": {"function": "avg", "column": "v"},
                "spread": {"function": "stddev", "column": "v"}, "newest": {"function": "last", "column": "v"}}"#
        ))?;
        columns.push(table(
            &mut client,
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation, a.attnotnull,
                    a.attgenerated, pg_get_expr(d.adbin, d.adrelid)
               FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
              WHERE a.attrelid = 's.r'::regclass AND a.attnum > 0 ORDER BY a.attnum",
        ));
    }
    assert!(columns[0].len() > 8, "{columns:?}");
    assert_eq!(columns[0], columns[1]);
    Ok(())
}

#[test]
fn partitions_that_cut_a_bucket_are_refused() -> Result<()> {
    let db = extended("cut_buckets")?;
    let mut client = simple(&db)?;
    let create = |bucket: &str, zone: &str, by: &str| {
        format!(
            r#"SELECT gemba.create_rollup('s.r', 's.raw', 'at', '{bucket}', NULL, '{{"n": {{"function": "count"}}}}', '{zone}', '{by}')"#
        )
    };
    for (bucket, zone, by) in [
        ("1 day", "UTC", "1 hour"),
        ("1 day", "UTC", "12 hours"),
        // A month there begins half an hour past a full one here.
        ("1 hour", "Asia/Kolkata", "1 month"),
        ("1 hour", "UTC", "7 hours"),
        ("1 hour", "UTC", "0 days"),
    ] {
        expect_sqlstate(client.batch_execute(&create(bucket, zone, by)), "22023");
    }
    client.batch_execute(&create("30 minutes", "Asia/Kolkata", "1 month"))?;
    // Nor can it be changed into that afterwards, nor by whoever manages the table.
    client.batch_execute(
        "SELECT gemba.manage_partitions('s.r', '1 month', time_zone => 'Asia/Kolkata')",
    )?;
    for (step, zone) in [("15 minutes", "Asia/Kolkata"), ("1 day", "Asia/Kathmandu")] {
        expect_sqlstate(
            client.batch_execute(&format!(
                "SELECT gemba.manage_partitions('s.r', '{step}', time_zone => '{zone}')"
            )),
            "22023",
        );
    }
    // What is unique does not get lost on the way.
    assert_eq!(
        value(
            &mut client,
            "SELECT unique_on FROM gemba.partition_sets WHERE parent = 's.r'::regclass"
        ),
        "{bucket}"
    );
    Ok(())
}

#[test]
fn a_rollup_of_buckets_wider_than_the_partitions_is_refused() -> Result<()> {
    let db = extended("cut_child")?;
    let mut client = simple_by(&db, "'1 day'")?;
    client.batch_execute(DAILY)?;
    expect_sqlstate(
        client.batch_execute(
            "SELECT gemba.create_rollup('s.weekly', 's.hourly', 'bucket', '7 days', ARRAY['kind'])",
        ),
        "22023",
    );
    Ok(())
}

/// A row of long ago costs one partition, not one for each step since.
#[test]
fn only_partitions_with_rows_are_made() -> Result<()> {
    for source in [
        "CREATE TABLE s.raw (at timestamptz, n int)",
        "CREATE TABLE s.raw (at timestamptz NOT NULL, n int) PARTITION BY RANGE (at);
         CREATE TABLE s.ages PARTITION OF s.raw FOR VALUES FROM (MINVALUE) TO ('2024-01-10');
         CREATE TABLE s.days PARTITION OF s.raw FOR VALUES FROM ('2024-01-10') TO (MAXVALUE)",
    ] {
        let db = extended("cut_sparse")?;
        let mut client = db.connect()?;
        client.batch_execute(&format!("CREATE SCHEMA s; {source}"))?;
        client.batch_execute(
            r#"SELECT gemba.create_rollup('s.r', 's.raw', 'at', '1 hour', NULL, '{"n": {"function": "count"}}', 'UTC', '1 month');
               INSERT INTO s.raw VALUES ('1990-05-05 12:00', 1), ('2023-12-31 23:59', 2), ('2024-01-01', 3), ('2024-01-31', 3), ('2024-06-01', 4)"#,
        )?;
        let held = "SELECT bucket, n FROM s.r";
        let plain = "SELECT date_trunc('hour', at) AS bucket, count(*) AS n FROM s.raw GROUP BY 1";
        assert_same(&mut client, "SELECT bucket, n FROM s.r_live", plain, "live");
        refresh(&mut client)?;
        assert_same(&mut client, held, plain, "first");
        assert_eq!(
            table(&mut client, &old_partitions("s.r")),
            [
                "s.r_p19900501",
                "s.r_p20231201",
                "s.r_p20240101",
                "s.r_p20240601"
            ]
        );
        // Late rows, on both sides of a boundary, and a delete that empties a bucket.
        client.batch_execute(
            "INSERT INTO s.raw VALUES ('2024-02-29 23:30', 1), ('2024-03-01 00:30', 1); DELETE FROM s.raw WHERE at < '2000-01-01'",
        )?;
        refresh(&mut client)?;
        assert_same(&mut client, held, plain, "late");
        assert_eq!(table(&mut client, &old_partitions("s.r")).len(), 6);
        client.batch_execute("TRUNCATE s.raw")?;
        refresh(&mut client)?;
        assert_eq!(value(&mut client, "SELECT count(*) FROM s.r"), "0");
    }
    Ok(())
}

/// A partition that somebody took away is made again, and where nobody may make any the call says so.
#[test]
fn partitions_that_nobody_manages() -> Result<()> {
    let db = extended("cut_unmanaged")?;
    let mut client = simple_by(&db, "'1 day'")?;
    client.batch_execute(
        "INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1); SELECT gemba.unmanage_partitions('s.hourly')",
    )?;
    expect_sqlstate(
        refreshed(&mut client, "gemba.refresh_rollup('s.hourly')"),
        "55000",
    );
    client.batch_execute(
        "CREATE TABLE s.own PARTITION OF s.hourly FOR VALUES FROM ('2024-01-01 12:00') TO ('2024-01-05')",
    )?;
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "in a partition of one's own");
    // Its bounds cut days in two; what is around them is filled.
    client.batch_execute(
        "SELECT gemba.manage_partitions('s.hourly', '1 day');
         INSERT INTO s.raw SELECT timestamptz '2024-01-01' + k * interval '1 hour', 'b', k FROM generate_series(0, 150) AS k",
    )?;
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "around it");
    Ok(())
}

/// For a rollup that is built from it, partitions are no news; rows are.
#[test]
fn partitions_of_a_rollup_are_no_change_of_it() -> Result<()> {
    let db = extended("cut_follow")?;
    let mut client = simple_by(&db, "'1 day'")?;
    client.batch_execute(&format!("{DAILY}; {ROWS}"))?;
    refresh(&mut client)?;
    assert_same(&mut client, DAYS, PLAIN_DAYS, "first");
    let nothing = |client: &mut postgres::Client| -> Result<()> {
        for done in refreshed(client, "gemba.refresh_rollups()")? {
            assert_eq!(
                (done.ranges, done.rows_written, done.ranges_frozen),
                (0, 0, 0),
                "{done:?}"
            );
        }
        Ok(())
    };
    nothing(&mut client)?;
    client.batch_execute("SELECT gemba.ensure_partitions('s.hourly', '2024-03-01', '2024-03-05'); SELECT gemba.maintain_partitions()")?;
    nothing(&mut client)?;
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = 's.hourly'::regclass OR tgrelid IN
               (SELECT inhrelid FROM pg_inherits WHERE inhparent = 's.hourly'::regclass)"
        ),
        "0",
        "a refresh notes what it writes; nothing else does"
    );
    // One row that comes with a partition of its own is one day for the other.
    client.batch_execute("SELECT gemba.ensure_partitions('s.raw', '2024-02-10', '2024-02-11'); INSERT INTO s.raw VALUES ('2024-02-10 10:10', 'new', 1)")?;
    let done = of_s(refreshed(&mut client, "gemba.refresh_rollups()")?);
    assert_eq!(
        done.iter()
            .map(|d| (d.rollup.as_str(), d.rows_written))
            .collect::<Vec<_>>(),
        [("s.hourly", 1), ("s.daily", 1)],
    );
    assert_eq!(done[1].ranges, 1, "{done:?}");
    assert_same(&mut client, DAYS, PLAIN_DAYS, "later");
    // One that a person attaches, with rows, is read.
    client.batch_execute(
        "CREATE TABLE s.own (LIKE s.hourly); INSERT INTO s.own VALUES ('2024-04-01 01:00', 'own', 7, 7);
         ALTER TABLE s.hourly ATTACH PARTITION s.own FOR VALUES FROM ('2024-04-01') TO ('2024-04-02')",
    )?;
    refresh(&mut client)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT bucket, rows FROM s.daily WHERE kind = 'own'"
        ),
        ["2024-04-01 00:00:00+00 | 7"]
    );
    Ok(())
}

/// The hours may go when the days are kept: at the last moment the days hear everything that the hours know,
/// and the hours everything that the rows say.
#[test]
fn a_rollup_may_be_retired_before_what_is_built_from_it() -> Result<()> {
    for on_expire in ["drop", "detach", "archive"] {
        let db = extended("cut_retired")?;
        let mut client = simple_by(&db, "'1 day'")?;
        client.batch_execute(&format!("{DAILY}; {ROWS}"))?;
        refresh(&mut client)?;
        // Not refreshed yet when the hours go.
        client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02 10:10', 'late', 5), ('2024-01-07 10:10', 'late', 6)")?;
        client.batch_execute(&format!(
            "SELECT gemba.manage_partitions('s.hourly', '1 day', premake => 1, retain => '30 days', on_expire => '{on_expire}');
             SELECT * FROM gemba.maintain_partitions()"
        ))?;
        assert_eq!(
            table(&mut client, &old_partitions("s.hourly")),
            Vec::<String>::new()
        );
        assert_same(&mut client, DAYS, PLAIN_DAYS, on_expire);
        let kept = table(&mut client, &format!("{DAYS} ORDER BY 1, 2"));
        // What comes too late brings nothing back, in either.
        client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-03 10:10', 'late', 5)")?;
        for (what, live) in [
            ("hours", HOURLY_LIVE),
            (
                "days",
                "SELECT * FROM s.daily_live WHERE kind = 'late' AND bucket = '2024-01-03'",
            ),
        ] {
            assert_eq!(
                table(&mut client, live),
                Vec::<String>::new(),
                "{what}, live"
            );
        }
        let done = of_s(refreshed(&mut client, "gemba.refresh_rollups()")?);
        assert_eq!(
            done.iter()
                .map(|d| (d.ranges_frozen, d.rows_written, d.rows_removed))
                .collect::<Vec<_>>(),
            [(1, 0, 0), (0, 0, 0)],
            "{done:?}"
        );
        assert_eq!(
            table(&mut client, &old_partitions("s.hourly")),
            Vec::<String>::new()
        );
        assert_eq!(table(&mut client, &format!("{DAYS} ORDER BY 1, 2")), kept);
        // Life goes on.
        client.batch_execute("SELECT gemba.ensure_partitions('s.raw', now(), now() + interval '1 hour'); INSERT INTO s.raw VALUES (now(), 'now', 1)")?;
        refresh(&mut client)?;
        assert_eq!(
            table(
                &mut client,
                "SELECT rows FROM s.hourly UNION ALL SELECT rows FROM s.daily WHERE kind = 'now'"
            ),
            ["1", "1"]
        );
    }
    Ok(())
}

/// A month with a group that may be NULL: what differs is written, and nothing else.
#[test]
fn a_whole_partition_is_compared() -> Result<()> {
    let db = extended("cut_compared")?;
    let mut client = simple_by(&db, "'1 month'")?;
    client.batch_execute(
        "INSERT INTO s.raw SELECT timestamptz '2024-01-01' + k * interval '1 minute', nullif('k' || k % 300, 'k7'), k
           FROM generate_series(0, 9999) AS k",
    )?;
    refresh(&mut client)?;
    client.batch_execute(&format!(
        "CREATE TABLE s.before AS {HOURLY};
         UPDATE s.raw SET n = n + 1 WHERE kind = 'k8';
         UPDATE s.raw SET kind = NULL WHERE kind = 'k9';
         DELETE FROM s.raw WHERE kind = 'k10';
         INSERT INTO s.raw SELECT at, 'more', n FROM s.raw WHERE kind IS NULL;
         UPDATE s.raw SET n = n WHERE at < '2024-01-07'"
    ))?;
    let count = |client: &mut postgres::Client, sql: String| -> Result<i64> {
        Ok(value(client, &format!("SELECT count(*) FROM ({sql}) AS t")).parse()?)
    };
    let written = count(
        &mut client,
        format!("{PLAIN} EXCEPT SELECT * FROM s.before"),
    )?;
    let removed = count(
        &mut client,
        format!("SELECT bucket, kind FROM s.before EXCEPT SELECT bucket, kind FROM ({PLAIN}) AS p"),
    )?;
    assert!(written > 50 && removed > 50, "{written}, {removed}");
    let done = refreshed(&mut client, "gemba.refresh_rollup('s.hourly')")?;
    assert_eq!(
        (done[0].rows_written, done[0].rows_removed),
        (written, removed),
        "{done:?}"
    );
    assert_same(&mut client, HOURLY, PLAIN, "compared");
    Ok(())
}

/// A month as a foreign table over a file: what it says is what the rows said.
fn as_file(client: &mut postgres::Client, parent: &str, name: &str, columns: &str) -> Result<()> {
    let file = format!(
        "{}/{name}.csv",
        value(client, "SELECT current_setting('data_directory')")
    );
    let bounds = value(
        client,
        &format!(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 's.{name}'::regclass"
        ),
    );
    let rows: i64 = value(client, &format!("SELECT count(*) FROM s.{name}")).parse()?;
    assert!(rows > 0);
    client.batch_execute(&format!(
        "COPY s.{name} TO '{file}' WITH (FORMAT csv);
         DROP TABLE s.{name};
         CREATE EXTENSION IF NOT EXISTS file_fdw;
         CREATE SERVER {name} FOREIGN DATA WRAPPER file_fdw;
         CREATE FOREIGN TABLE s.{name} ({columns}) SERVER {name} OPTIONS (filename '{file}', format 'csv');
         ALTER TABLE {parent} ATTACH PARTITION s.{name} {bounds}"
    ))?;
    Ok(())
}

/// File tables cannot be written to: a statement that so much as planned to would fail.
#[test]
fn a_foreign_month_is_read_and_left_alone() -> Result<()> {
    let db = extended("cut_foreign")?;
    let mut client = simple_by(&db, "'1 day'")?;
    client.batch_execute(&format!("{DAILY}; {ROWS}"))?;
    refresh(&mut client)?;
    // A day of the rollup.
    as_file(
        &mut client,
        "s.hourly",
        "hourly_p20240103",
        "bucket timestamptz NOT NULL, kind text, rows bigint, total bigint",
    )?;
    assert_same(&mut client, HOURLY, PLAIN, "the day is a file");
    client.batch_execute(
        "INSERT INTO s.raw VALUES ('2024-01-02 23:30', 'late', 1), ('2024-01-04 00:30', 'late', 1);
         DELETE FROM s.raw WHERE kind = 'k1' AND at >= '2024-01-04' AND at < '2024-01-05';
         UPDATE s.raw SET n = n + 1 WHERE at >= '2024-01-02' AND at < '2024-01-03'",
    )?;
    assert_same(&mut client, HOURLY_LIVE, PLAIN, "live");
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "its neighbours were written");
    // (For the days above, the file took the place of a partition: what they hold of it stays.)
    assert_same(&mut client, DAYS, PLAIN_DAYS, "days");

    // A day of the source. The rollup keeps what it has of the partition that was dropped.
    as_file(
        &mut client,
        "s.raw",
        "raw_p20240105",
        "at timestamptz NOT NULL, kind text, n int",
    )?;
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = 's.raw_p20240105'::regclass AND tgname ~ 'truncate'"
        ),
        "0"
    );
    let held = table(&mut client, &format!("{HOURLY} ORDER BY 1, 2"));
    refresh(&mut client)?;
    assert_eq!(table(&mut client, &format!("{HOURLY} ORDER BY 1, 2")), held);
    client.batch_execute("SELECT gemba.unfreeze_rollup('s.hourly', '2024-01-05', '2024-01-06')")?;
    let done = refreshed(&mut client, "gemba.refresh_rollup('s.hourly')")?;
    assert_eq!((done[0].ranges, done[0].rows_written), (1, 0), "{done:?}");
    assert_same(&mut client, HOURLY, PLAIN, "read from the file");
    client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-06 10:00', 'late', 1)")?;
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "beside the file");
    // New rollups of a table with foreign partitions.
    client.batch_execute(
        r#"SELECT gemba.create_rollup('s.totals', 's.raw', 'at', '1 day', NULL, '{"n": {"function": "count"}}')"#,
    )?;
    refresh(&mut client)?;
    assert_same(
        &mut client,
        "SELECT bucket, n FROM s.totals",
        "SELECT date_trunc('day', at) AS bucket, count(*) AS n FROM s.raw GROUP BY 1",
        "totals",
    );
    client.batch_execute("SELECT gemba.drop_rollup('s.totals')")?;
    Ok(())
}
