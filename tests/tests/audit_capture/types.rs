//! Values are logged as to_jsonb has them, of every type.

use super::audited;
use anyhow::Result;
use gemba_tests::{table, value};
use postgres::Client;

/// Columns of every kind, and for each column values that are hard.
const COLUMNS: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["0", "-32768", "32767", "10000", "-1"]),
    (
        "int",
        &[
            "0",
            "9999",
            "10000",
            "-10001",
            "100000000",
            "2147483647",
            "-2147483648",
        ],
    ),
    (
        "bigint",
        &[
            "0",
            "9223372036854775807",
            "-9223372036854775808",
            "100000000",
            "10000000000000000",
            "1234500000000",
        ],
    ),
    (
        "real",
        &[
            "0",
            "1.5",
            "-0.1",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "3e38",
            "1e-38",
        ],
    ),
    (
        "double precision",
        &[
            "0",
            "-0.0",
            "0.1",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1e300",
            "1e-300",
            "123456789.123",
        ],
    ),
    (
        "numeric",
        &[
            "0",
            "0.000",
            "12.50",
            "-0.00001",
            "1e400",
            "1e-100",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "99990000",
        ],
    ),
    ("numeric(12,3)", &["1", "-0.001", "123456789.125"]),
    (
        "text",
        &[
            "''",
            "'a \"quoted\" \\ text'",
            "E'lines\\nand\\ttabs \\x01'",
            "'unicode: é 現場 🎉'",
            "repeat('long ', 60000)",
        ],
    ),
    ("varchar(20)", &["'abc'", "''"]),
    ("char(5)", &["'ab'", "''"]),
    ("name", &["'a name'"]),
    ("\"char\"", &["'c'", "''"]),
    (
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
        ],
    ),
    (
        "date",
        &[
            "'2024-02-29'",
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 BC'",
            "'5874897-12-31'",
            "'4713-01-01 BC'",
        ],
    ),
    (
        "timestamp",
        &[
            "'2024-02-29 12:00:00.123456'",
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 10:00 BC'",
            "'1999-12-31 23:59:60'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'2024-07-01 12:00:00.1+02'",
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 10:00+00 BC'",
            "'1890-01-01 00:00+00'",
        ],
    ),
    ("time", &["'12:30'", "'24:00'"]),
    ("timetz", &["'12:30+02'"]),
    ("interval", &["'1 year 2 days 3 hours'", "'-1 day'"]),
    (
        "json",
        &[
            "'{\"b\": 1, \"a\": [1, 2.50, null]}'",
            "'5'",
            "'null'",
            "'\"x\"'",
            "'{\"a\": 1, \"a\": 2}'",
        ],
    ),
    (
        "jsonb",
        &[
            "'{\"z\": 1, \"a\": [1.50, \"x\", null, true, {\"q\": {}}]}'",
            "'\"scalar\"'",
            "'12.500'",
            "'null'",
            "'true'",
            "'[]'",
            "'{}'",
            "(SELECT jsonb_object_agg('key' || n, n) FROM generate_series(1, 100) n)",
        ],
    ),
    ("bytea", &["'\\xdeadbeef'", "''"]),
    ("inet", &["'10.0.0.1/24'", "'::1'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("bit(3)", &["'101'"]),
    ("varbit", &["'1'", "''"]),
    ("money", &["'12.34'"]),
    ("oid", &["4294967295"]),
    ("regclass", &["'pg_class'"]),
    ("point", &["'(1,2.5)'"]),
    ("tsvector", &["'a fat cat'"]),
    ("tstzrange", &["'[2024-01-01,)'", "'empty'"]),
    ("nummultirange", &["'{[1,2),[5,9)}'"]),
    ("int[]", &["'{}'", "'{{1,2},{3,4}}'", "'{NULL,7}'"]),
    ("text[]", &["'{a,NULL,\"b c\",\"\"}'"]),
    ("jsonb[]", &["ARRAY['{\"a\": 1}'::jsonb]"]),
    ("s.mood", &["'sad'", "'so-so'"]),
    ("s.mood[]", &["'{sad}'"]),
    ("s.pair", &["'(1,\"x y\")'", "'(,)'"]),
    ("s.pair[]", &["ARRAY[ROW(1, 'x')::s.pair]"]),
    ("s.positive", &["7"]),
    ("s.numbers", &["'{1,2}'"]),
    ("s.labelled", &["'(1,x)'"]),
    ("s.spoken", &["'hello'"]),
];

const TYPES: &str = "
  CREATE TYPE s.mood AS ENUM ('sad', 'so-so');
  CREATE TYPE s.pair AS (a int, b text);
  CREATE DOMAIN s.positive AS int CHECK (value > 0);
  CREATE DOMAIN s.numbers AS int[];
  CREATE DOMAIN s.labelled AS s.pair;
  CREATE TYPE s.spoken AS ENUM ('hello');
  CREATE FUNCTION s.spoken_json(s.spoken) RETURNS json LANGUAGE sql IMMUTABLE
    AS $$ SELECT json_build_object('said', $1::text) $$;
  CREATE CAST (s.spoken AS json) WITH FUNCTION s.spoken_json(s.spoken)";

fn column(number: usize) -> String {
    // Of different lengths, because keys are sorted by that first.
    format!("{}{number}", "c".repeat(1 + number % 3))
}

fn definition() -> String {
    let columns: Vec<_> = COLUMNS
        .iter()
        .enumerate()
        .map(|(number, (type_, _))| format!("{} {type_}", column(number)))
        .collect();
    format!(
        "{TYPES};
         CREATE TABLE s.t (id int PRIMARY KEY, gone text, {}, twice int GENERATED ALWAYS AS (id * 2) STORED);
         ALTER TABLE s.t DROP COLUMN gone;
         INSERT INTO s.t (id) VALUES (-1);
         ALTER TABLE s.t ADD COLUMN \"Later, with a name\" text DEFAULT 'given later'",
        columns.join(", ")
    )
}

/// A row for each number of value that some column has.
fn fill(client: &mut Client) -> Result<usize> {
    let rows = COLUMNS.iter().map(|(_, values)| values.len()).max();
    let rows = rows.unwrap_or_default();
    for row in 0..rows {
        let (columns, values): (Vec<_>, Vec<_>) = COLUMNS
            .iter()
            .enumerate()
            .filter_map(|(number, (_, values))| Some((column(number), *values.get(row)?)))
            .unzip();
        client.batch_execute(&format!(
            "INSERT INTO s.t (id, {}) VALUES ({row}, {})",
            columns.join(", "),
            values.join(", ")
        ))?;
    }
    Ok(rows)
}

/// Entries whose values are not those of the query's rows, byte for byte.
#[track_caller]
fn differences(client: &mut Client, operation: &str, values: &str, rows: &str) -> Vec<String> {
    table(
        client,
        &format!(
            "SELECT k.key, k.value, l.{values} -> k.key
               FROM {rows} r
               LEFT JOIN cloudwatcher.audit_logs l ON l.record_id = r.id::text AND l.operation = '{operation}'
              CROSS JOIN LATERAL jsonb_each(to_jsonb(r)) k
              WHERE l.{values} IS NULL OR (l.{values} -> k.key)::text IS DISTINCT FROM k.value::text
             UNION ALL
             SELECT 'all of ' || r.id, to_jsonb(r), l.{values}
               FROM {rows} r JOIN cloudwatcher.audit_logs l ON l.record_id = r.id::text AND l.operation = '{operation}'
              WHERE jsonb_send(to_jsonb(r)) <> jsonb_send(l.{values}) OR hash_record(ROW(to_jsonb(r))) <> hash_record(ROW(l.{values}))"
        ),
    )
}

#[test]
fn every_type_is_logged_as_to_jsonb_has_it() -> Result<()> {
    let (_db, mut client) = audited("audit_types", &definition())?;
    // A zone with daylight saving, seconds in its old offsets, and another style of dates.
    client.batch_execute("SET timezone = 'Europe/Amsterdam'; SET datestyle = 'SQL, DMY'")?;
    let rows = fill(&mut client)?;
    assert!(rows >= 10);
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM cloudwatcher.audit_logs WHERE operation = 'INSERT'"
        ),
        rows.to_string()
    );
    let inserted = "(SELECT * FROM s.t WHERE id >= 0)";
    assert_eq!(
        differences(&mut client, "INSERT", "new_values", inserted),
        [""; 0]
    );

    // What was there before the column has its default.
    client.batch_execute("CREATE TABLE s.was AS SELECT * FROM s.t; DELETE FROM s.t")?;
    assert_eq!(
        differences(&mut client, "DELETE", "old_values", "s.was"),
        [""; 0]
    );
    Ok(())
}

/// Every column in turn changes, alone, from each value to the next.
#[test]
fn an_update_is_what_changed_of_to_jsonb() -> Result<()> {
    let (_db, mut client) = audited("audit_type_changes", &definition())?;
    let mut changes = 0;
    for (number, (type_, values)) in COLUMNS.iter().enumerate() {
        let column = column(number);
        for value in values.iter().chain(&["NULL"]) {
            let before = gemba_tests::value(
                &mut client,
                &format!("SELECT to_jsonb(t) -> '{column}' FROM s.t"),
            );
            let same = gemba_tests::value(
                &mut client,
                &format!("SELECT record_image_eq(ROW({column}), ROW(({value})::{type_})) FROM s.t"),
            );
            client.batch_execute(&format!("UPDATE s.t SET {column} = {value}"))?;
            let found = table(
                &mut client,
                &format!(
                    "SELECT old_values = jsonb_build_object('{column}', $x${before}$x$::jsonb),
                            new_values = (SELECT jsonb_build_object('{column}', to_jsonb(t) -> '{column}') FROM s.t)
                       FROM cloudwatcher.audit_logs WHERE operation = 'UPDATE' ORDER BY id OFFSET {changes}"
                ),
            );
            if same == "t" {
                assert_eq!(found, [""; 0], "{type_}: {value}");
            } else {
                assert_eq!(found, ["t | t"], "{type_}: {value}");
                changes += 1;
            }
        }
    }
    assert!(changes > 100);
    Ok(())
}

/// Values that are stored apart from their row, compressed or not, are compared and logged as what they are.
#[test]
fn values_stored_apart_are_compared() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_toast",
        "CREATE TABLE s.t (id int PRIMARY KEY, n int, packed text, plain text);
         ALTER TABLE s.t ALTER COLUMN plain SET STORAGE EXTERNAL",
    )?;
    client.batch_execute(
        "INSERT INTO s.t SELECT 1, 1, repeat('abc', 100000), string_agg(md5(n::text), '') FROM generate_series(1, 1000) n;
         UPDATE s.t SET n = 2;
         UPDATE s.t SET packed = packed || '', plain = plain || '';
         UPDATE s.t SET plain = overlay(plain PLACING 'x' FROM 20000);
         UPDATE s.t SET packed = packed || 'd'",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT operation, (SELECT string_agg(key || ' ' || length(value), ', ' ORDER BY key) FROM jsonb_each_text(new_values)),
                    old_values::text <> new_values::text
               FROM cloudwatcher.audit_logs WHERE operation <> 'AUDIT' ORDER BY id"
        ),
        [
            "INSERT | id 1, n 1, packed 300000, plain 32000 | -",
            "UPDATE | n 1 | t",
            "UPDATE | plain 32000 | t",
            "UPDATE | packed 300001 | t",
        ]
    );
    Ok(())
}

/// More columns than a jsonb counts lengths of in one go.
#[test]
fn wide_tables() -> Result<()> {
    let columns: Vec<_> = (0..200)
        .map(|n| format!("column_{n} text DEFAULT 'value {n}'"))
        .collect();
    let (_db, mut client) = audited(
        "audit_wide",
        &format!(
            "CREATE TABLE s.t (id int PRIMARY KEY, {})",
            columns.join(", ")
        ),
    )?;
    client.batch_execute(
        "INSERT INTO s.t VALUES (1), (2);
         UPDATE s.t SET column_7 = 'x', column_77 = NULL, column_177 = ''",
    )?;
    assert_eq!(
        value(
            &mut client,
            "SELECT new_values ->> 'column_0' || (new_values ->> 'column_199') || (SELECT count(*) FROM jsonb_object_keys(new_values))
               FROM cloudwatcher.audit_logs WHERE record_id = '2' AND operation = 'INSERT'"
        ),
        "value 0value 199201"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT old_values, new_values FROM cloudwatcher.audit_logs WHERE record_id = '1' AND operation = 'UPDATE'"
        ),
        [
            "{\"column_7\": \"value 7\", \"column_77\": \"value 77\", \"column_177\": \"value 177\"} \
          | {\"column_7\": \"x\", \"column_77\": null, \"column_177\": \"\"}"
        ]
    );
    Ok(())
}

/// Keys are texts that do not depend on the session.
#[test]
fn records_are_named_by_their_keys() -> Result<()> {
    for (number, (type_, literal, text)) in [
        ("int", "-5", "-5"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        (
            "uuid",
            "'A0EEBC999C0B4EF8BB6D6BB9BD380A11'",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        ("text", "'a \"b\"'", "a \"b\""),
        ("char(5)", "'ab'", "ab"),
        ("boolean", "true", "true"),
        ("date", "'2024-02-29'", "2024-02-29"),
        (
            "timestamptz",
            "'2024-07-01 12:00:00.5+00'",
            "2024-07-01T12:00:00.5+00:00",
        ),
        ("numeric", "1.50", "1.50"),
        ("inet", "'10.0.0.1'", "10.0.0.1"),
        ("int[]", "'{1,2}'", "{1,2}"),
    ]
    .into_iter()
    .enumerate()
    {
        let (_db, mut client) = audited(
            &format!("audit_key_{number}"),
            &format!("CREATE TABLE s.t (k {type_} PRIMARY KEY)"),
        )?;
        client.batch_execute(&format!(
            "SET timezone = 'Asia/Bangkok'; SET datestyle = 'German'; INSERT INTO s.t VALUES ({literal})"
        ))?;
        assert_eq!(
            value(
                &mut client,
                "SELECT record_id FROM cloudwatcher.audit_logs WHERE operation = 'INSERT'"
            ),
            text,
            "{type_}"
        );
    }
    Ok(())
}
