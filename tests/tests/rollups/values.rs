//! What each function computes, over which columns and which calendar.

use super::model::{Rollup, all_measures};
use super::{assert_same, refresh, refreshed, table, value};
use anyhow::Result;
use gemba_tests::extended;

/// A table with every kind of value: NULLs, a group without values, one row alone, equal times.
const RAW: &str = "
  CREATE SCHEMA s;
  CREATE TABLE s.raw (at timestamptz NOT NULL, g text, h int NOT NULL DEFAULT 0, i int, n numeric(10,4), f float8);
  INSERT INTO s.raw (at, g, i, n, f) VALUES
    ('2024-01-01 00:10', 'a', 1, 1.5, 0.25), ('2024-01-01 00:20', 'a', 2, NULL, 0.5), ('2024-01-01 00:30', 'a', 2, -2.25, NULL),
    ('2024-01-01 00:30', 'a', 4, 7, 8), ('2024-01-01 01:00', 'a', 7, 7.125, 7),
    ('2024-01-01 00:10', NULL, 5, 5, 5), ('2024-01-01 00:10', 'empty', NULL, NULL, NULL),
    ('2024-01-01 23:59:59.999999', 'b', 2147483647, 123456.7891, 1e15), ('2024-01-02 00:00', 'b', 2147483647, 0.0001, 1)";

#[test]
fn every_function_over_every_kind_of_column() -> Result<()> {
    let db = extended("functions")?;
    let mut client = db.connect()?;
    client.batch_execute(RAW)?;
    let hourly = Rollup {
        name: "s.hourly",
        parent: None,
        bucket: "1 hour",
        zone: "UTC",
        group_by: &["g"],
        start: "date_trunc('hour', at)",
        partition_by: None,
    };
    let daily = Rollup {
        name: "s.daily",
        parent: Some("s.hourly"),
        bucket: "1 day",
        zone: "UTC",
        group_by: &["g"],
        start: "date_trunc('day', at)",
        partition_by: None,
    };
    let cut = Rollup {
        name: "s.cut",
        partition_by: Some("1 day"),
        ..hourly
    };
    let cut_daily = Rollup {
        name: "s.cut_daily",
        parent: Some("s.cut"),
        partition_by: Some("1 month"),
        ..daily
    };
    for rollup in [hourly, daily, cut, cut_daily] {
        client.batch_execute(&rollup.create("s.raw"))?;
    }
    refresh(&mut client)?;
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.hourly"), "6");
    for rollup in [hourly, daily, cut, cut_daily] {
        assert_same(
            &mut client,
            &rollup.held(rollup.name),
            &rollup.expected("s.raw"),
            rollup.name,
        );
        let live = format!("{}_live", rollup.name);
        assert_same(
            &mut client,
            &rollup.held(&live),
            &rollup.expected("s.raw"),
            &live,
        );
    }
    // A second refresh has nothing to do.
    for done in refreshed(&mut client, "gemba.refresh_rollups()")? {
        assert_eq!(
            (done.ranges, done.rows_written, done.rows_removed),
            (0, 0, 0),
            "{done:?}"
        );
    }
    Ok(())
}

#[test]
fn the_average_of_whole_numbers_is_not_one() -> Result<()> {
    let db = extended("integer_average")?;
    let mut client = db.connect()?;
    for (name, kind) in [
        ("a", "smallint"),
        ("b", "int"),
        ("c", "bigint"),
        ("d", "real"),
    ] {
        client.batch_execute(&format!(
            r#"CREATE SCHEMA {name}; CREATE TABLE {name}.raw (at timestamptz NOT NULL, v {kind});
               INSERT INTO {name}.raw VALUES ('2024-01-01', 1), ('2024-01-01', 2);
               SELECT gemba.create_rollup('{name}.r', '{name}.raw', 'at', '1 hour', NULL, '{{"mean": {{"function": "avg", "column": "v"}}}}')"#
        ))?;
    }
    refresh(&mut client)?;
    for name in ["a", "b", "c", "d"] {
        assert_eq!(
            value(&mut client, &format!("SELECT mean = 1.5 FROM {name}.r")),
            "t",
            "{name}"
        );
    }
    Ok(())
}

/// Only what differs is written, so that neighbours of a late row do not bloat the table.
#[test]
fn a_refresh_touches_what_changed() -> Result<()> {
    for partition_by in super::EITHER_WAY {
        let db = extended("what_changed")?;
        let mut client = super::simple_by(&db, partition_by)?;
        client.batch_execute(
        "INSERT INTO s.raw SELECT timestamptz '2024-01-01' + k * interval '1 minute', 'k' || k % 3, k FROM generate_series(0, 9999) AS k",
    )?;
        refresh(&mut client)?;
        client.batch_execute(
        "INSERT INTO s.raw VALUES ('2024-01-03 05:30', 'k1', 1);
         DELETE FROM s.raw WHERE at >= '2024-01-02 07:00' AND at < '2024-01-02 08:00' AND kind = 'k2'",
    )?;
        let done = refreshed(&mut client, "gemba.refresh_rollup('s.hourly')")?;
        assert_eq!(done.len(), 1);
        assert_eq!(
            (done[0].ranges, done[0].rows_written, done[0].rows_removed),
            (2, 1, 1),
            "{done:?}"
        );
        assert_same(&mut client, super::HOURLY, super::PLAIN, "afterwards");
    }
    Ok(())
}

/// A rollup's buckets are those of the server's calendar, over the changes of the clocks too.
#[test]
fn buckets_follow_the_calendar_of_the_zone() -> Result<()> {
    let buckets = [
        (
            "15 minutes",
            "date_bin('15 minutes', at, '2000-01-01 00:00+00')",
        ),
        (
            "1 day",
            "date_trunc('day', at AT TIME ZONE '{zone}') AT TIME ZONE '{zone}'",
        ),
        (
            "7 days",
            "date_trunc('week', at AT TIME ZONE '{zone}') AT TIME ZONE '{zone}'",
        ),
        (
            "1 month",
            "date_trunc('month', at AT TIME ZONE '{zone}') AT TIME ZONE '{zone}'",
        ),
        (
            "3 months",
            "date_trunc('quarter', at AT TIME ZONE '{zone}') AT TIME ZONE '{zone}'",
        ),
        (
            "1 year",
            "date_trunc('year', at AT TIME ZONE '{zone}') AT TIME ZONE '{zone}'",
        ),
    ];
    for (zone, around) in [
        ("UTC", "2024-03-01"),
        ("Asia/Bangkok", "2023-12-31"),
        ("Europe/Berlin", "2024-03-31"),
        ("Europe/Berlin", "2024-10-27"),
        ("America/Sao_Paulo", "2018-11-04"),
        ("America/Sao_Paulo", "2018-02-18"),
        ("Asia/Kathmandu", "1999-12-31"),
    ] {
        let db = extended("calendar")?;
        let mut client = db.connect()?;
        client.batch_execute(&format!(
            "CREATE SCHEMA s; CREATE TABLE s.raw (at timestamptz NOT NULL, v int);
             INSERT INTO s.raw SELECT timestamp '{around}' AT TIME ZONE '{zone}' + k * interval '11 minutes', k FROM generate_series(-400, 400) AS k"
        ))?;
        for (number, (width, _)) in buckets.iter().enumerate() {
            client.batch_execute(&format!(
                r#"SELECT gemba.create_rollup('s.r{number}', 's.raw', 'at', '{width}', NULL,
                     '{{"n": {{"function": "count"}}, "total": {{"function": "sum", "column": "v"}}}}', '{zone}')"#
            ))?;
        }
        refresh(&mut client)?;
        for turn in ["first", "after a late row in each bucket"] {
            for (number, (width, start)) in buckets.iter().enumerate() {
                assert_same(
                    &mut client,
                    &format!("SELECT bucket, n, total FROM s.r{number}"),
                    &format!(
                        "SELECT {} AS bucket, count(*) AS n, sum(v) AS total FROM s.raw GROUP BY 1",
                        start.replace("{zone}", zone)
                    ),
                    &format!("{width} in {zone} around {around}, {turn}"),
                );
            }
            client.batch_execute("INSERT INTO s.raw SELECT at + interval '1 minute', 1000 FROM s.raw WHERE v % 50 = 0")?;
            refresh(&mut client)?;
        }
    }
    Ok(())
}

/// Midnight twice: whichever is the day's beginning, every row is counted in one bucket, by every path.
#[test]
fn a_day_whose_midnight_comes_twice_is_counted_once() -> Result<()> {
    let db = extended("two_midnights")?;
    let mut client = db.connect()?;
    client.batch_execute(
        r#"CREATE SCHEMA s; CREATE TABLE s.raw (at timestamptz NOT NULL, v int);
           SELECT gemba.create_rollup('s.daily', 's.raw', 'at', '1 day', NULL, '{"n": {"function": "count"}}', 'America/Havana');
           INSERT INTO s.raw SELECT timestamp '2024-11-02 12:00' AT TIME ZONE 'America/Havana' + k * interval '10 minutes', k
             FROM generate_series(0, 199) AS k"#,
    )?;
    let counted = "SELECT bucket, n FROM s.daily";
    let by_engine = "SELECT gemba.bucket_start('1 day', at, 'America/Havana') AS bucket, count(*) AS n FROM s.raw GROUP BY 1";
    refresh(&mut client)?;
    assert_same(&mut client, counted, by_engine, "built at once");
    // One row at a time, each in its own transaction and with its own refresh.
    for at in [
        "2024-11-03 03:30+00",
        "2024-11-03 04:30+00",
        "2024-11-03 05:30+00",
        "2024-11-03 06:30+00",
    ] {
        client.batch_execute(&format!("INSERT INTO s.raw VALUES ('{at}', 1)"))?;
        assert_same(
            &mut client,
            "SELECT bucket, n FROM s.daily_live",
            by_engine,
            &format!("live with {at}"),
        );
        refresh(&mut client)?;
        assert_same(&mut client, counted, by_engine, &format!("with {at}"));
    }
    assert_eq!(value(&mut client, "SELECT sum(n) FROM s.daily"), "204");
    Ok(())
}

#[test]
fn rows_without_a_finite_time_are_in_no_bucket() -> Result<()> {
    let db = extended("infinite_times")?;
    let mut client = db.connect()?;
    client.batch_execute(
        r#"CREATE SCHEMA s; CREATE TABLE s.raw (at timestamptz, v int);
           INSERT INTO s.raw VALUES ('-infinity', 1), ('infinity', 2), (NULL, 3), ('2024-01-01', 4);
           SELECT gemba.create_rollup('s.r', 's.raw', 'at', '1 hour', NULL, '{"total": {"function": "sum", "column": "v"}}')"#,
    )?;
    let expected = ["2024-01-01 00:00:00+00 | 4"];
    assert_eq!(
        table(&mut client, "SELECT bucket, total FROM s.r_live"),
        expected,
        "live, before the first refresh"
    );
    refresh(&mut client)?;
    assert_eq!(
        table(&mut client, "SELECT bucket, total FROM s.r"),
        expected
    );
    client.batch_execute("UPDATE s.raw SET at = '2024-01-01 00:30' WHERE at = 'infinity'; UPDATE s.raw SET at = 'infinity' WHERE v = 4")?;
    refresh(&mut client)?;
    assert_eq!(
        table(&mut client, "SELECT bucket, total FROM s.r"),
        ["2024-01-01 00:00:00+00 | 2"]
    );
    Ok(())
}

/// `x` as an average keeps its sum in `x_sum`; a measure that is called so must not be taken for it.
#[test]
fn measures_do_not_take_each_others_columns() -> Result<()> {
    let db = extended("measure_names")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE SCHEMA s; CREATE TABLE s.raw (at timestamptz NOT NULL, a int, b int);
         INSERT INTO s.raw VALUES ('2024-01-01', 10, 1), ('2024-01-01', 20, 2)",
    )?;
    for (number, (mean, other)) in [
        ("avg", "x_sum"),
        ("avg", "x_count"),
        ("stddev", "x_sumsq"),
        ("first", "x_at"),
    ]
    .iter()
    .enumerate()
    {
        let created = client.batch_execute(&format!(
            r#"SELECT gemba.create_rollup('s.r{number}', 's.raw', 'at', '1 hour', NULL,
                 '{{"x": {{"function": "{mean}", "column": "a"}}, "{other}": {{"function": "min", "column": "b"}}}}')"#
        ));
        // Refusing the name is as good as keeping the two apart.
        if let Err(error) = created {
            assert_eq!(
                error.code().map(|code| code.code()),
                Some("22023"),
                "{error:?}"
            );
            continue;
        }
        refresh(&mut client)?;
        let expected = match *mean {
            "avg" => "15 | 1",
            "stddev" => "7.07 | 1",
            _ => "10 | 1",
        };
        assert_eq!(
            value(
                &mut client,
                &format!("SELECT trim_scale(round(x::numeric, 2)), {other} FROM s.r{number}")
            ),
            expected,
            "{mean} beside {other}"
        );
    }
    Ok(())
}

/// Measures may be a list too, and count what the same column's average needs only once.
#[test]
fn states_are_shared_and_stored_once() -> Result<()> {
    let db = extended("states")?;
    let mut client = db.connect()?;
    client.batch_execute(
        r#"CREATE SCHEMA s; CREATE TABLE s.raw (at timestamptz NOT NULL, v numeric);
           SELECT gemba.create_rollup('s.r', 's.raw', 'at', '1 hour', NULL,
             '[{"name": "mean", "function": "avg", "column": "v"}, {"name": "total", "function": "sum", "column": "v"},
               {"name": "readings", "function": "count", "column": "v"}]')"#,
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT attname, attgenerated FROM pg_attribute WHERE attrelid = 's.r'::regclass AND attnum > 0 ORDER BY attname"
        ),
        ["bucket | ", "mean | s", "readings | ", "total | "]
    );
    assert!(all_measures().contains("stddev"));
    Ok(())
}
