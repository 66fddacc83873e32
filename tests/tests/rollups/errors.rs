//! Calls that cannot succeed: each says what is wrong and what to do.

use super::value;
use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};

#[test]
fn bad_rollups_are_refused_with_a_remedy() -> Result<()> {
    let db = extended("bad_rollups")?;
    let mut client = db.connect()?;
    client.batch_execute(
        r#"CREATE SCHEMA s;
           CREATE TABLE s.raw (at timestamptz NOT NULL, naive timestamp, day date, g text, v int);
           CREATE VIEW s.seen AS SELECT * FROM s.raw;
           CREATE MATERIALIZED VIEW s.stored AS SELECT * FROM s.raw;
           CREATE TABLE s.taken (a int);
           SELECT gemba.create_rollup('s.hourly', 's.raw', 'at', '1 hour', ARRAY['g'],
             '{"n": {"function": "count"}, "total": {"function": "sum", "column": "v"}}')"#,
    )?;
    let sum = r#"{"total": {"function": "sum", "column": "v"}}"#;
    let create = |rollup: &str,
                  source: &str,
                  column: &str,
                  bucket: &str,
                  groups: &str,
                  measures: &str,
                  zone: &str| {
        format!(
            "SELECT gemba.create_rollup('{rollup}', '{source}', '{column}', '{bucket}', {groups}, '{measures}', '{zone}')"
        )
    };
    let measured = |measures: &str| create("s.r", "s.raw", "at", "1 hour", "NULL", measures, "UTC");
    let calls = [
        (
            measured(r#"{"m": {"function": "median", "column": "v"}}"#),
            "22023",
        ),
        (
            measured(r#"{"m": {"function": "sum(v); DROP TABLE s.raw; --", "column": "v"}}"#),
            "22023",
        ),
        (measured(r#"{"m": "sum(v)"}"#), "22023"),
        (measured(r#""sum(v)""#), "22023"),
        (measured("{}"), "22023"),
        (measured("[]"), "22023"),
        (measured("7"), "22023"),
        (measured(r#"{"m": {"function": "sum"}}"#), "22023"),
        (
            measured(r#"{"m": {"function": "sum", "column": "v", "sql": "1"}}"#),
            "22023",
        ),
        (
            measured(
                r#"[{"name": "m", "function": "count"}, {"name": "m", "function": "count", "column": "v"}]"#,
            ),
            "22023",
        ),
        (measured(r#"{"bucket": {"function": "count"}}"#), "22023"),
        (measured(r#"{"": {"function": "count"}}"#), "22023"),
        (
            measured(r#"{"m": {"function": "sum", "column": "v) FROM s.raw; --"}}"#),
            "42703",
        ),
        (
            measured(r#"{"m": {"function": "sum", "column": "nothing"}}"#),
            "42703",
        ),
        (
            create(
                "s.r",
                "s.raw",
                "at",
                "1 hour",
                "ARRAY['v']",
                r#"{"v": {"function": "count"}}"#,
                "UTC",
            ),
            "22023",
        ),
        (
            create(
                "s.r",
                "s.raw",
                "at",
                "1 hour",
                "ARRAY['nothing']",
                sum,
                "UTC",
            ),
            "42703",
        ),
        (
            create("s.r", "s.raw", "nothing", "1 hour", "NULL", sum, "UTC"),
            "42703",
        ),
        (
            create("s.r", "s.raw", "naive", "1 hour", "NULL", sum, "UTC"),
            "42804",
        ),
        (
            create("s.r", "s.raw", "day", "1 hour", "NULL", sum, "UTC"),
            "42804",
        ),
        (
            create("s.r", "s.seen", "at", "1 hour", "NULL", sum, "UTC"),
            "42809",
        ),
        (
            create("s.r", "s.stored", "at", "1 hour", "NULL", sum, "UTC"),
            "42809",
        ),
        (
            create("s.r", "s.raw", "at", "7 hours", "NULL", sum, "UTC"),
            "22023",
        ),
        (
            create("s.r", "s.raw", "at", "0 hours", "NULL", sum, "UTC"),
            "22023",
        ),
        (
            create("s.r", "s.raw", "at", "1 month 1 day", "NULL", sum, "UTC"),
            "22023",
        ),
        (
            create("s.r", "s.raw", "at", "1 hour", "NULL", sum, "Mars/Phobos"),
            "22023",
        ),
        (
            create("r", "s.raw", "at", "1 hour", "NULL", sum, "UTC"),
            "22023",
        ),
        (
            create("a.b.c", "s.raw", "at", "1 hour", "NULL", sum, "UTC"),
            "22023",
        ),
        (
            "SELECT gemba.create_rollup('s.r', 's.raw', 'at', '1 hour', NULL)".to_owned(),
            "22023",
        ),
        // Days keep the hours' measures, under their names.
        (
            create(
                "s.r",
                "s.hourly",
                "bucket",
                "1 day",
                "ARRAY['g']",
                r#"{"other": {"function": "sum", "column": "v"}}"#,
                "UTC",
            ),
            "22023",
        ),
        // Half-hours cannot be built from hours, nor days of a zone that is half an hour off.
        (
            create(
                "s.r",
                "s.hourly",
                "bucket",
                "30 minutes",
                "ARRAY['g']",
                sum,
                "UTC",
            ),
            "22023",
        ),
        (
            create(
                "s.r",
                "s.hourly",
                "bucket",
                "1 day",
                "ARRAY['g']",
                sum,
                "Asia/Kolkata",
            ),
            "22023",
        ),
        (
            "SELECT gemba.refresh_rollup('s.nothing')".to_owned(),
            "42704",
        ),
        ("SELECT gemba.refresh_rollup('s.raw')".to_owned(), "42704"),
        ("SELECT gemba.drop_rollup('s.nothing')".to_owned(), "42704"),
        ("SELECT gemba.drop_rollup('s.raw')".to_owned(), "42704"),
    ];
    let mut wrong = Vec::new();
    for (call, code) in calls {
        match client.batch_execute(&format!("BEGIN; {call}")) {
            Ok(()) => wrong.push(format!("{call}: succeeds")),
            Err(error) => match error.as_db_error() {
                Some(e) if e.code().code() == code && e.hint().is_some() => {}
                Some(e) => wrong.push(format!(
                    "{call}: {} {} (hint: {:?})",
                    e.code().code(),
                    e.message(),
                    e.hint()
                )),
                None => return Err(error.into()),
            },
        }
        client.batch_execute("ROLLBACK")?;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The name is taken: the server's own error is clear enough.
    expect_sqlstate(
        client.batch_execute(&create(
            "s.taken", "s.raw", "at", "1 hour", "NULL", sum, "UTC",
        )),
        "42P07",
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM gemba.rollup_definitions WHERE source = 's.raw'::regclass"
        ),
        "1"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = 's.raw'::regclass AND NOT tgisinternal"
        ),
        "3",
        "a refused call leaves no trigger"
    );
    Ok(())
}

/// Names are quoted wherever they occur.
#[test]
fn any_name_will_do() -> Result<()> {
    let db = extended("odd_names")?;
    let mut client = db.connect()?;
    client.batch_execute(
        r#"CREATE SCHEMA "S 1"; CREATE TABLE "S 1"."the ""raw"" table" ("at time" timestamptz NOT NULL, "group" text, "Select" int)
             PARTITION BY RANGE ("at time");
           SELECT gemba.manage_partitions('"S 1"."the ""raw"" table"', '1 day', premake => 0, unique_on => ARRAY['at time', 'group']);
           SELECT gemba.ensure_partitions('"S 1"."the ""raw"" table"', '2024-01-01', '2024-01-02');
           SELECT gemba.create_rollup('"S 1"."Rollup''s"', '"S 1"."the ""raw"" table"', 'at time', '1 hour', ARRAY['group'],
             '{"the \"mean\"": {"function": "avg", "column": "Select"}, "first''s": {"function": "first", "column": "Select"}}');
           SELECT gemba.create_rollup('"S 1"."Days"', '"S 1"."Rollup''s"', 'bucket', '1 day', ARRAY['group']);
           INSERT INTO "S 1"."the ""raw"" table" VALUES ('2024-01-01 01:00', 'a', 4)"#,
    )?;
    super::refresh(&mut client)?;
    for relation in [
        r#""Rollup's""#,
        r#""Rollup's_live""#,
        r#""Days""#,
        r#""Days_live""#,
    ] {
        assert_eq!(
            value(
                &mut client,
                &format!(
                    r#"SELECT "group", round("the ""mean"""::numeric, 1), "first's" FROM "S 1".{relation}"#
                )
            ),
            "a | 4.0 | 4",
            "{relation}"
        );
    }
    client.batch_execute(r#"SELECT gemba.drop_rollup('"S 1"."Days"'); SELECT gemba.drop_rollup('"S 1"."Rollup''s"')"#)?;
    Ok(())
}
