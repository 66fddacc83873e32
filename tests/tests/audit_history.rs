//! The history of rows, and what they were.

mod audit_support;

use anyhow::{Context, Result, ensure};
use audit_support::WATCH;
use gemba_tests::{Database, Random, as_user, expect_sqlstate, extended, table, value};
use postgres::Client;
use std::collections::HashMap;

const NONE: [&str; 0] = [];

fn watched(name: &str, tables: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    client.batch_execute(WATCH)?;
    client.batch_execute(tables)?;
    Ok((db, client))
}

fn now(client: &mut Client) -> String {
    value(client, "SELECT clock_timestamp()")
}

/// `row_at`, without spaces; the message of its error instead, if it is one.
fn row_at(client: &mut Client, table: &str, record: &str, at: &str) -> Result<String> {
    match client.query_one(
        "SELECT coalesce(gemba.row_at($1::text::regclass, $2, CASE $3 WHEN 'now' THEN clock_timestamp() ELSE $3::text::timestamptz END)::text,
                         'none')",
        &[&table, &record, &at],
    ) {
        Ok(row) => Ok(row.get::<_, String>(0).replace(' ', "")),
        Err(error) => {
            let report = error.as_db_error().context("the client failed")?;
            ensure!(report.code().code() == "55000", "{report:?}");
            ensure!(report.hint().is_some() && report.detail().is_some());
            Ok(report.message().to_owned())
        }
    }
}

/// Operations and changes, one a line.
fn history(client: &mut Client, table_name: &str, record: &str) -> Vec<String> {
    table(
        client,
        &format!(
            "SELECT operation, replace(old_values::text, ' ', ''), replace(new_values::text, ' ', '')
               FROM gemba.row_history('{table_name}', '{record}')"
        ),
    )
}

#[test]
fn a_life_from_beginning_to_end() -> Result<()> {
    let (_db, mut client) = watched(
        "history_life",
        "CREATE TABLE t (id int PRIMARY KEY, a text, n numeric); SELECT audit_test.watch('t')",
    )?;
    let mut times = vec![now(&mut client)];
    for step in [
        "INSERT INTO t VALUES (1, 'x', 1.10), (2, 'other', 0)",
        "UPDATE t SET a = 'y' WHERE id = 1",
        "UPDATE t SET n = 2.00, a = NULL WHERE id = 1",
        "DELETE FROM t WHERE id = 1",
        "INSERT INTO t VALUES (1, 'again', NULL)",
    ] {
        client.batch_execute(step)?;
        times.push(now(&mut client));
    }
    assert_eq!(
        history(&mut client, "t", "1"),
        [
            r#"INSERT | - | {"a":"x","n":1.10,"id":1}"#,
            r#"UPDATE | {"a":"x"} | {"a":"y"}"#,
            r#"UPDATE | {"a":"y","n":1.10} | {"a":null,"n":2.00}"#,
            r#"DELETE | {"a":null,"n":2.00,"id":1} | -"#,
            r#"INSERT | - | {"a":"again","n":null,"id":1}"#,
        ]
    );
    let states = [
        "none",
        r#"{"a":"x","n":1.10,"id":1}"#,
        r#"{"a":"y","n":1.10,"id":1}"#,
        r#"{"a":null,"n":2.00,"id":1}"#,
        "none",
        r#"{"a":"again","n":null,"id":1}"#,
    ];
    for (time, state) in times.iter().zip(states) {
        assert_eq!(row_at(&mut client, "t", "1", time)?, state, "{time}");
    }
    assert_eq!(row_at(&mut client, "t", "1", "now")?, states[5]);
    assert_eq!(row_at(&mut client, "t", "9", "now")?, "none");
    assert_eq!(history(&mut client, "t", "9"), NONE);
    assert_eq!(
        row_at(&mut client, "t", "1", "2001-01-01")?,
        "the table was not under audit at that time"
    );
    // Everything else that the log has comes along.
    assert_eq!(
        value(
            &mut client,
            "SELECT h = l FROM (SELECT array_agg((id, operation, at, user_id, role_name, old_values, new_values, change_reason, ip_address,
                                                  transaction_id)::text) AS h FROM gemba.row_history('t', '1')) a,
                    (SELECT array_agg((id, operation, created_at, user_id, role_name, old_values, new_values, change_reason, ip_address,
                                       transaction_id)::text ORDER BY id) AS l FROM cloudwatcher.audit_logs WHERE record_id = '1') b"
        ),
        "t"
    );
    Ok(())
}

#[test]
fn a_row_that_is_older_than_its_trail() -> Result<()> {
    let (_db, mut client) = watched(
        "history_older",
        "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT n, 'old' FROM generate_series(1, 9) n;
         SELECT audit_test.watch('t')",
    )?;
    let begin = now(&mut client);
    client.batch_execute("UPDATE t SET a = 'new' WHERE id IN (1, 2)")?;
    let middle = now(&mut client);
    client.batch_execute(
        "UPDATE t SET a = 'newer' WHERE id = 1; DELETE FROM t WHERE id IN (2, 3); UPDATE t SET id = 14 WHERE id = 4;
         UPDATE t SET a = 'moved' WHERE id = 14; UPDATE t SET id = 15 WHERE id = 5; DELETE FROM t WHERE id = 15",
    )?;
    let expected = [
        ("1", r#"{"a":"old","id":1}"#, r#"{"a":"new","id":1}"#),
        ("2", r#"{"a":"old","id":2}"#, r#"{"a":"new","id":2}"#),
        ("3", r#"{"a":"old","id":3}"#, r#"{"a":"old","id":3}"#),
        ("4", r#"{"a":"old","id":4}"#, r#"{"a":"old","id":4}"#),
        ("5", r#"{"a":"old","id":5}"#, r#"{"a":"old","id":5}"#),
        ("6", r#"{"a":"old","id":6}"#, r#"{"a":"old","id":6}"#),
        ("14", "none", "none"),
        ("77", "none", "none"),
    ];
    for (record, first, second) in expected {
        assert_eq!(row_at(&mut client, "t", record, &begin)?, first);
        assert_eq!(row_at(&mut client, "t", record, &middle)?, second);
    }
    // What a TRUNCATE takes away that was never logged whole, nobody knows.
    client.batch_execute(
        "UPDATE t SET a = 'z' WHERE id = 7; TRUNCATE t; INSERT INTO t VALUES (6, 'after')",
    )?;
    let unknown = "the trail does not tell what the record was at that time";
    assert_eq!(row_at(&mut client, "t", "7", &begin)?, unknown);
    assert_eq!(row_at(&mut client, "t", "6", &begin)?, unknown);
    assert_eq!(row_at(&mut client, "t", "3", &begin)?, expected[2].1);
    assert_eq!(row_at(&mut client, "t", "7", "now")?, "none");
    assert_eq!(
        row_at(&mut client, "t", "6", "now")?,
        r#"{"a":"after","id":6}"#
    );
    Ok(())
}

#[test]
fn keys_change() -> Result<()> {
    let (_db, mut client) = watched(
        "history_keys",
        "CREATE TABLE t (id text PRIMARY KEY, a int); SELECT audit_test.watch('t')",
    )?;
    client.batch_execute(
        "INSERT INTO t VALUES ('one', 1), ('other', 0); UPDATE t SET a = 2 WHERE id = 'one';
         UPDATE t SET id = 'two', a = 3 WHERE id = 'one'",
    )?;
    let two = now(&mut client);
    client.batch_execute(
        "UPDATE t SET a = 4 WHERE id = 'two'; UPDATE t SET id = 'three' WHERE id = 'two'; INSERT INTO t VALUES ('one', 100);
         UPDATE t SET a = a + 1 WHERE id = 'three'",
    )?;
    let three = now(&mut client);
    client
        .batch_execute("DELETE FROM t WHERE id = 'three'; UPDATE t SET a = 101 WHERE id = 'one'")?;
    let life = [
        r#"INSERT | - | {"a":1,"id":"one"}"#,
        r#"UPDATE | {"a":1} | {"a":2}"#,
        r#"UPDATE | {"a":2,"id":"one"} | {"a":3,"id":"two"}"#,
        r#"UPDATE | {"a":3} | {"a":4}"#,
        r#"UPDATE | {"id":"two"} | {"id":"three"}"#,
        r#"UPDATE | {"a":4} | {"a":5}"#,
        r#"DELETE | {"a":5,"id":"three"} | -"#,
    ];
    assert_eq!(history(&mut client, "t", "two"), life);
    assert_eq!(history(&mut client, "t", "three"), life);
    // The first one's key belongs to another row by now.
    let both: Vec<String> = history(&mut client, "t", "one");
    assert_eq!(both.len(), 9);
    for line in life {
        ensure!(both.contains(&line.to_owned()), "{line} is missing");
    }
    for (record, at, state) in [
        ("one", &two, "none"),
        ("two", &two, r#"{"a":3,"id":"two"}"#),
        ("three", &two, "none"),
        ("one", &three, r#"{"a":100,"id":"one"}"#),
        ("two", &three, "none"),
        ("three", &three, r#"{"a":5,"id":"three"}"#),
    ] {
        assert_eq!(row_at(&mut client, "t", record, at)?, state, "{record}");
    }
    Ok(())
}

#[test]
fn keys_of_several_columns_and_of_odd_types() -> Result<()> {
    let (_db, mut client) = watched(
        "history_composite",
        r#"CREATE SCHEMA "S ""x""";
           CREATE TABLE "S ""x"""."T 1" ("a b" int, c text, v int, PRIMARY KEY (c, "a b"));
           CREATE TABLE dates (d date, b boolean, n numeric(8,2), v int, PRIMARY KEY (d, b, n));
           SELECT audit_test.watch('"S ""x"""."T 1"'), audit_test.watch('dates');
           INSERT INTO "S ""x"""."T 1" VALUES (1, 'ü "q"', 5), (2, '2', 6);
           UPDATE "S ""x"""."T 1" SET v = 50, "a b" = 10 WHERE "a b" = 1;
           INSERT INTO dates VALUES ('2026-01-31', true, 1.50, 1); UPDATE dates SET v = 2"#,
    )?;
    let name = r#""S ""x"""."T 1""#;
    for record in [r#"["ü \"q\"", "10"]"#, r#" [ "ü \u0022q\u0022",10]"#] {
        let found = client.query(
            "SELECT operation FROM gemba.row_history($1::text::regclass, $2)",
            &[&name, &record],
        )?;
        assert_eq!(found.len(), 2, "{record}");
        assert_eq!(
            row_at(&mut client, name, record, "now")?,
            r#"{"c":"ü\"q\"","v":50,"ab":10}"#
        );
    }
    assert_eq!(
        row_at(&mut client, name, r#"["2", "2"]"#, "now")?,
        r#"{"c":"2","v":6,"ab":2}"#
    );
    assert_eq!(
        row_at(&mut client, "dates", r#"["2026-01-31", true, 1.50]"#, "now")?,
        r#"{"b":true,"d":"2026-01-31","n":1.50,"v":2}"#
    );
    for wrong in ["10", "", "{}", "[\"10\"]", "[1, 2, 3]"] {
        let error = expect_sqlstate(
            client.query(
                "SELECT * FROM gemba.row_history($1::text::regclass, $2)",
                &[&name, &wrong],
            ),
            "22023",
        );
        ensure!(error.detail().is_some_and(|detail| detail.contains("a b")));
    }
    Ok(())
}

#[test]
fn what_was_not_logged_is_not_told() -> Result<()> {
    let (_db, mut client) = watched(
        "history_secrets",
        "CREATE TABLE t (id int PRIMARY KEY, a int, secret text, card text);
         INSERT INTO t VALUES (1, 1, 's', 'c'), (2, 2, 's', NULL);
         SELECT audit_test.watch('t', '{secret}', '{card}')",
    )?;
    let begin = now(&mut client);
    for record in ["1", "2"] {
        let state = row_at(&mut client, "t", record, &begin)?;
        ensure!(
            !state.contains("secret") && !state.contains("\"c\""),
            "{state}"
        );
    }
    assert_eq!(
        row_at(&mut client, "t", "1", &begin)?,
        r#"{"a":1,"id":1,"card":"***"}"#
    );
    assert_eq!(
        row_at(&mut client, "t", "2", &begin)?,
        r#"{"a":2,"id":2,"card":null}"#
    );
    client.batch_execute(
        "UPDATE t SET a = 10 WHERE id = 1; UPDATE t SET secret = 'changed' WHERE id = 2",
    )?;
    // From now on everything is logged; what was before does not become known by it.
    client.batch_execute("SELECT audit_test.watch('t')")?;
    let open = now(&mut client);
    client.batch_execute("UPDATE t SET a = 11")?;
    assert_eq!(
        row_at(&mut client, "t", "1", &begin)?,
        r#"{"a":1,"id":1,"card":"***"}"#
    );
    assert_eq!(
        row_at(&mut client, "t", "1", &open)?,
        r#"{"a":10,"id":1,"card":"c","secret":"s"}"#
    );
    // Not audited for a while: nobody knows what was then, nor what was before.
    client.batch_execute("SELECT audit_test.unwatch('t')")?;
    let dark = now(&mut client);
    client.batch_execute("UPDATE t SET a = 0; SELECT audit_test.watch('t', full_rows => true)")?;
    let again = now(&mut client);
    client.batch_execute("UPDATE t SET a = 20 WHERE id = 1")?;
    assert_eq!(
        row_at(&mut client, "t", "1", &dark)?,
        "the table was not under audit at that time"
    );
    assert_eq!(
        row_at(&mut client, "t", "1", &open)?,
        "the trail does not tell what the record was at that time"
    );
    assert_eq!(
        row_at(&mut client, "t", "1", &again)?,
        r#"{"a":0,"id":1,"card":"c","secret":"s"}"#
    );
    // Whole rows need neither a beginning nor an end.
    client.batch_execute("TRUNCATE t")?;
    assert_eq!(
        row_at(&mut client, "t", "1", &again)?,
        r#"{"a":0,"id":1,"card":"c","secret":"s"}"#
    );
    Ok(())
}

#[test]
fn partitions_are_their_table() -> Result<()> {
    let (_db, mut client) = watched(
        "history_partitions",
        "CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
         SELECT audit_test.watch('p');
         INSERT INTO p VALUES (1, 1), (11, 1)",
    )?;
    let before = now(&mut client);
    // Of one partition: the other one's rows live on.
    client.batch_execute("TRUNCATE p1; UPDATE p SET v = 2")?;
    for name in ["p", "p1", "p2"] {
        assert_eq!(
            row_at(&mut client, name, "1", &before)?,
            r#"{"v":1,"id":1}"#
        );
        assert_eq!(row_at(&mut client, name, "1", "now")?, "none");
        assert_eq!(
            row_at(&mut client, name, "11", "now")?,
            r#"{"v":2,"id":11}"#
        );
        assert_eq!(history(&mut client, name, "1").len(), 2);
        assert_eq!(history(&mut client, name, "11").len(), 2);
    }
    Ok(())
}

#[test]
fn who_may() -> Result<()> {
    let (db, mut client) = watched(
        "history_roles",
        "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, 2); SELECT audit_test.watch('t');
         CREATE TABLE k (a int)",
    )?;
    let begin = now(&mut client);
    client.batch_execute("UPDATE t SET a = 10 WHERE id = 1")?;
    let call = "SELECT operation FROM gemba.row_history('t', '1')";
    expect_sqlstate(
        as_user(&mut client, "anon", None, |tx| tx.query(call, &[])),
        "42501",
    );
    // Policies of the log decide.
    ensure!(as_user(&mut client, "authenticated", None, |tx| tx.query(call, &[]))?.is_empty());
    let reader = db.role("reader")?;
    client.batch_execute(&format!(
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         GRANT USAGE ON SCHEMA cloudwatcher TO {reader}; GRANT SELECT ON t, cloudwatcher.audit_logs TO {reader};
         GRANT EXECUTE ON FUNCTION gemba.row_history(regclass, text), gemba.row_at(regclass, text, timestamptz) TO {reader};
         CREATE POLICY reader ON cloudwatcher.audit_logs FOR SELECT TO {reader} USING (true)"
    ))?;
    let mut reader = db.connect_as(&reader)?;
    assert_eq!(history(&mut reader, "t", "1").len(), 1);
    // It does not see the row, which may be there or not.
    let unknown = "the trail does not tell what the record was at that time";
    assert_eq!(row_at(&mut reader, "t", "1", &begin)?, unknown);
    assert_eq!(row_at(&mut reader, "t", "2", &begin)?, unknown);
    assert_eq!(row_at(&mut reader, "t", "9", &begin)?, unknown);
    client.batch_execute("CREATE POLICY p ON t FOR SELECT USING (true)")?;
    assert_eq!(row_at(&mut reader, "t", "1", &begin)?, r#"{"a":1,"id":1}"#);
    let error = expect_sqlstate(
        client.query("SELECT gemba.row_at('k', '1', now())", &[]),
        "55000",
    );
    assert_eq!(error.message(), "the table has no primary key");
    Ok(())
}

/// Random changes, with what every record was after each of them.
fn property(seed: u64, composite: bool, older: bool) -> Result<()> {
    let (key, columns) = if composite {
        ("k, j", "k int, j text, v int, w jsonb, PRIMARY KEY (k, j)")
    } else {
        ("k", "k int PRIMARY KEY, v int, w jsonb")
    };
    let (_db, mut client) = watched("history_property", &format!("CREATE TABLE t ({columns})"))?;
    let insert = |random: &mut Random| {
        let value = random.below(100);
        let key = random.below(6);
        let columns = if composite { "k, j, v, w" } else { "k, v, w" };
        let j = if composite {
            format!("'{}', ", key % 2)
        } else {
            String::new()
        };
        format!(
            "INSERT INTO t ({columns}) VALUES ({key}, {j}{value}, '[{value}, null]') ON CONFLICT DO NOTHING"
        )
    };
    let mut random = Random::new(seed);
    if older {
        for _ in 0..4 {
            client.batch_execute(&insert(&mut random))?;
        }
    }
    client.batch_execute("SELECT audit_test.watch('t')")?;
    let record = if composite {
        "jsonb_build_array(k::text, j)::text"
    } else {
        "k::text"
    };
    let mut snapshots = Vec::new();
    for _ in 0..120 {
        let k = random.below(6);
        let statement = match random.below(12) {
            0..4 => insert(&mut random),
            4..7 => format!(
                "UPDATE t SET v = v + 1 WHERE k IN ({k}, {})",
                random.below(6)
            ),
            7 => format!("UPDATE t SET w = NULL, v = NULL WHERE k = {k}"),
            8 if composite => format!(
                "UPDATE t SET j = CASE j WHEN '0' THEN '1' ELSE '0' END, v = 0
                  WHERE k = {k} AND NOT EXISTS (SELECT FROM t o WHERE o.k = t.k AND o.j <> t.j)"
            ),
            8 | 9 => format!(
                "UPDATE t SET k = {0} WHERE k = {k} AND NOT EXISTS (SELECT FROM t WHERE k = {0})",
                random.below(6)
            ),
            10 if !older && random.one_in(3) => "TRUNCATE t".to_owned(),
            _ => format!("DELETE FROM t WHERE k = {k}"),
        };
        client.batch_execute(&statement)?;
        let at = now(&mut client);
        let rows: HashMap<String, String> = client
            .query(&format!("SELECT {record}, to_jsonb(t)::text FROM t"), &[])?
            .iter()
            .map(|row| (row.get(0), row.get::<_, String>(1).replace(' ', "")))
            .collect();
        snapshots.push((at, rows, statement));
    }
    let mut told = 0;
    for k in 0..6 {
        let records = if composite {
            vec![format!("[\"{k}\", \"0\"]"), format!("[\"{k}\", \"1\"]")]
        } else {
            vec![k.to_string()]
        };
        for record in records {
            for (step, (at, rows, statement)) in snapshots.iter().enumerate() {
                let expected = rows.get(&record).map_or("none", String::as_str);
                let found = row_at(&mut client, "t", &record, at)?;
                let never = snapshots[..=step]
                    .iter()
                    .all(|(_, rows, _)| !rows.contains_key(&record));
                // What was not there before a TRUNCATE looks like what was, and was never logged.
                if found == "the trail does not tell what the record was at that time"
                    && never
                    && !older
                {
                    continue;
                }
                told += 1;
                ensure!(
                    found == expected,
                    "seed {seed}, record {record} after step {step} ({statement}), key {key}:\n  expected {expected}\n  found    {found}"
                );
            }
        }
    }
    ensure!(told > 300, "only {told} answers");
    Ok(())
}

#[test]
fn every_state_of_every_record() -> Result<()> {
    for seed in 1..=3 {
        property(seed, false, true)?;
        property(seed + 10, false, false)?;
        property(seed + 20, true, true)?;
        property(seed + 30, true, false)?;
    }
    Ok(())
}

/// The same with the triggers of gemba.audit(), whose keys are of every type.
#[test]
fn what_the_triggers_write_is_followed() -> Result<()> {
    let db = extended("history_real")?;
    let mut client = db.connect()?;
    let types = [
        ("int", "1", "2"),
        ("bigint", "-1", "9000000000"),
        ("numeric", "1.50", "2.00"),
        ("float8", "1.5", "1e100"),
        ("boolean", "true", "false"),
        ("text", "'a \"b\"'", "'ü'"),
        ("varchar(20)", "'a'", "'b'"),
        ("char(5)", "'a'", "'b'"),
        (
            "uuid",
            "'00000000-0000-0000-0000-00000000000A'",
            "gen_random_uuid()",
        ),
        ("date", "'2026-01-31'", "'infinity'"),
        ("timestamp", "'2026-01-31 10:20:30.5'", "'-infinity'"),
        (
            "timestamptz",
            "'2026-01-31 10:20:30.5+03'",
            "'2026-07-31 10:20:30+00'",
        ),
        ("interval", "'1 day 2 hours'", "'1 month'"),
        ("bytea", "'\\x00ff'", "'\\x'"),
        ("inet", "'10.0.0.1/8'", "'::1'"),
        ("int[]", "'{1,2}'", "'{}'"),
        ("jsonb", "'{\"a\": [1]}'", "'\"text\"'"),
        ("mood", "'good'", "'bad'"),
        ("range", "'[1,2)'", "'empty'"),
    ];
    client.batch_execute(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN range AS int4range; SET timezone = 'Asia/Kolkata'",
    )?;
    for (number, (type_name, first, second)) in types.iter().enumerate() {
        let single = format!("single{number}");
        let double = format!("double{number}");
        client.batch_execute(&format!(
            "CREATE TABLE {single} (k {type_name} PRIMARY KEY, v int);
             CREATE TABLE {double} (n int, k {type_name}, v int, PRIMARY KEY (k, n));
             SELECT gemba.audit('{single}'), gemba.audit('{double}');
             INSERT INTO {single} VALUES ({first}, 1); INSERT INTO {double} VALUES (7, {first}, 1);
             UPDATE {single} SET v = 2; UPDATE {double} SET v = 2"
        ))?;
        let before = now(&mut client);
        client.batch_execute(&format!(
            "UPDATE {single} SET k = {second}; UPDATE {double} SET k = {second};
             UPDATE {single} SET v = 3; UPDATE {double} SET v = 3"
        ))?;
        for name in [single, double] {
            let keys: Vec<String> = table(
                &mut client,
                &format!(
                    "SELECT record_id FROM cloudwatcher.audit_logs WHERE table_name = 'public.{name}' AND record_id IS NOT NULL ORDER BY id"
                ),
            );
            assert_eq!(keys.len(), 4, "{type_name}");
            ensure!(
                keys[0] == keys[1] && keys[1] != keys[2] && keys[2] == keys[3],
                "{keys:?}"
            );
            for timezone in ["UTC", "Asia/Kolkata"] {
                client.batch_execute(&format!("SET timezone = '{timezone}'"))?;
                let old = row_at(&mut client, &name, &keys[0], &before)?;
                ensure!(old.contains("\"v\":2"), "{type_name} {keys:?}: {old}");
                let states = [
                    row_at(&mut client, &name, &keys[0], "now")?,
                    row_at(&mut client, &name, &keys[2], &before)?,
                ];
                assert_eq!(states, ["none", "none"], "{type_name} {keys:?}");
                for key in [&keys[0], &keys[3]] {
                    let found = client.query(
                        "SELECT id FROM gemba.row_history($1::text::regclass, $2)",
                        &[&name, &key],
                    )?;
                    assert_eq!(found.len(), 4, "{type_name} {key}");
                }
            }
            let (state, row) = (
                row_at(&mut client, &name, &keys[3], "now")?,
                value(
                    &mut client,
                    &format!("SELECT replace(to_jsonb(t)::text, ' ', '') FROM {name} t"),
                ),
            );
            assert_eq!(state, row, "{type_name}");
        }
    }
    // From the beginning of the trail to its end.
    client.batch_execute(
        "CREATE TABLE t (id int PRIMARY KEY, a text, s text); INSERT INTO t VALUES (1, 'old', 'secret');
         SELECT gemba.audit('t', 's'); UPDATE t SET a = 'x', s = 'other'; TRUNCATE t; SELECT gemba.unaudit('t')",
    )?;
    assert_eq!(
        history(&mut client, "t", "1"),
        [r#"UPDATE | {"a":"old"} | {"a":"x"}"#, "TRUNCATE | - | -"]
    );
    assert_eq!(
        row_at(&mut client, "t", "1", "now")?,
        "the table was not under audit at that time"
    );
    Ok(())
}

const UNKNOWN: &str = "the trail does not tell what the record was at that time";

#[test]
fn a_column_may_be_called_as_a_table_in_a_query() -> Result<()> {
    let (_db, mut client) = watched(
        "history_column_t",
        "CREATE TABLE c (id int PRIMARY KEY, t jsonb, l text, k int);
         INSERT INTO c VALUES (1, '{\"fake\": \"row\"}', 'real', 1); SELECT audit_test.watch('c');
         CREATE TABLE d (t text PRIMARY KEY); INSERT INTO d VALUES ('x'); SELECT audit_test.watch('d')",
    )?;
    assert_eq!(
        row_at(&mut client, "c", "1", "now")?,
        r#"{"k":1,"l":"real","t":{"fake":"row"},"id":1}"#
    );
    assert_eq!(row_at(&mut client, "d", "x", "now")?, r#"{"t":"x"}"#);
    Ok(())
}

#[test]
fn a_damaged_entry_is_named_and_not_shown() -> Result<()> {
    let (_db, mut client) = watched(
        "history_damaged",
        "CREATE TABLE t (id int PRIMARY KEY, a text); SELECT audit_test.watch('t'); INSERT INTO t VALUES (1, 'x');
         UPDATE cloudwatcher.audit_logs SET new_values = to_jsonb(repeat('secret', 1000)) WHERE operation = 'INSERT'",
    )?;
    let error = expect_sqlstate(
        client.query("SELECT gemba.row_at('t', '1', clock_timestamp())", &[]),
        "55000",
    );
    let id = value(
        &mut client,
        "SELECT id FROM cloudwatcher.audit_logs WHERE operation = 'INSERT'",
    );
    assert_eq!(error.detail(), Some(format!("entry {id}").as_str()));
    Ok(())
}

#[test]
fn what_does_not_fit_together_is_not_told() -> Result<()> {
    let (_db, mut client) = watched(
        "history_truth",
        "CREATE TABLE a (id int PRIMARY KEY, v int, x int); SELECT audit_test.watch('a');
         INSERT INTO a VALUES (1, 1, 7), (2, 1, 7), (3, 1, 7)",
    )?;
    let begin = now(&mut client);
    assert_eq!(
        row_at(&mut client, "a", "1", &begin)?,
        r#"{"v":1,"x":7,"id":1}"#
    );
    // Altered tables: nobody knows since when.
    for change in [
        "ALTER TABLE a RENAME v TO w; UPDATE a SET w = 2 WHERE id = 1",
        "ALTER TABLE a RENAME w TO v; UPDATE a SET v = 1; ALTER TABLE a ADD d int DEFAULT 5",
        "ALTER TABLE a DROP d; ALTER TABLE a ALTER v TYPE text USING 'n' || v",
    ] {
        client.batch_execute(change)?;
        for record in ["1", "2"] {
            assert_eq!(
                row_at(&mut client, "a", record, "now")?,
                UNKNOWN,
                "{change}"
            );
        }
    }
    // Changes while the trail was off, found by the next entry and by the row as it is.
    client.batch_execute(
        "CREATE TABLE o (id int PRIMARY KEY, v int, w int); SELECT audit_test.watch('o');
         INSERT INTO o VALUES (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1), (5, 1, 1); DELETE FROM o WHERE id = 5;
         ALTER TABLE o DISABLE TRIGGER USER; UPDATE o SET v = 9 WHERE id IN (1, 2); DELETE FROM o WHERE id = 3;
         INSERT INTO o VALUES (5, 0, 0), (6, 0, 0); ALTER TABLE o ENABLE TRIGGER USER;
         UPDATE o SET v = 10, w = 10 WHERE id = 1; DELETE FROM o WHERE id = 1; UPDATE o SET v = 10 WHERE id = 6",
    )?;
    for record in ["2", "3", "5"] {
        assert_eq!(
            row_at(&mut client, "o", record, "now")?,
            UNKNOWN,
            "{record}"
        );
    }
    let inserted = value(
        &mut client,
        "SELECT created_at FROM cloudwatcher.audit_logs WHERE table_name = 'public.o' AND operation = 'INSERT' LIMIT 1",
    );
    assert_eq!(row_at(&mut client, "o", "1", &inserted)?, UNKNOWN);
    assert_eq!(
        row_at(&mut client, "o", "4", "now")?,
        r#"{"v":1,"w":1,"id":4}"#
    );
    // Triggers that change the same row again are logged in another order.
    client.batch_execute(
        "CREATE TABLE tr (id int PRIMARY KEY, v int, n int DEFAULT 0);
         CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN IF new.n < 2 THEN UPDATE tr SET n = n + 1 WHERE id = new.id; END IF; RETURN NULL; END $$;
         CREATE TRIGGER again AFTER INSERT OR UPDATE ON tr FOR EACH ROW EXECUTE FUNCTION again();
         SELECT audit_test.watch('tr'); INSERT INTO tr VALUES (1, 5)",
    )?;
    let middle = now(&mut client);
    client.batch_execute("UPDATE tr SET v = 6, n = 0; DELETE FROM tr")?;
    assert_eq!(row_at(&mut client, "tr", "1", &middle)?, UNKNOWN);
    Ok(())
}

#[test]
fn another_table_of_the_same_name_is_another() -> Result<()> {
    let (_db, mut client) = watched(
        "history_replaced",
        "CREATE TABLE a (id int PRIMARY KEY, v int); SELECT audit_test.watch('a');
         INSERT INTO a VALUES (1, 1), (2, 2), (4, 4); DELETE FROM a WHERE id = 2",
    )?;
    let begin = now(&mut client);
    client.batch_execute(
        "DROP TABLE a; CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1), (3, 3)",
    )?;
    for record in ["1", "2", "3", "4"] {
        assert_eq!(
            row_at(&mut client, "a", record, &begin)?,
            UNKNOWN,
            "{record}"
        );
    }
    // From now on it is known that the other one's time has ended.
    client.batch_execute("SELECT audit_test.watch('a'); UPDATE a SET v = 30 WHERE id = 3")?;
    for (record, then, since) in [
        ("1", r#"{"v":1,"id":1}"#, r#"{"v":1,"id":1}"#),
        ("2", "none", "none"),
        ("3", UNKNOWN, r#"{"v":30,"id":3}"#),
        ("4", r#"{"v":4,"id":4}"#, "none"),
    ] {
        assert_eq!(row_at(&mut client, "a", record, &begin)?, then, "{record}");
        assert_eq!(row_at(&mut client, "a", record, "now")?, since, "{record}");
    }
    Ok(())
}

#[test]
fn keys_exchanged_by_one_statement() -> Result<()> {
    for older in [false, true] {
        let (_db, mut client) = watched(
            "history_exchange",
            "CREATE TABLE k (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text)",
        )?;
        let rows = "INSERT INTO k VALUES (1, 'one'), (2, 'two'), (3, 'three')";
        let watch = "SELECT audit_test.watch('k')";
        client.batch_execute(&if older {
            format!("{rows}; {watch}")
        } else {
            format!("{watch}; {rows}")
        })?;
        let mut snapshots = Vec::new();
        for change in [
            "SELECT 1",
            "UPDATE k SET id = CASE id WHEN 1 THEN 2 WHEN 2 THEN 3 ELSE 1 END",
            "UPDATE k SET v = v || '.' WHERE id <> 2",
            "UPDATE k SET id = CASE id WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE 3 END, v = v || '-'",
            "UPDATE k SET id = id + 1, v = v || '!'",
            "UPDATE k SET id = id - 1",
            "DELETE FROM k WHERE id = 2",
            "INSERT INTO k VALUES (2, 'new'); UPDATE k SET id = 7 WHERE id = 2; INSERT INTO k VALUES (2, 'newer')",
        ] {
            client.batch_execute(change)?;
            let at = now(&mut client);
            let rows: HashMap<String, String> = client
                .query("SELECT id::text, to_jsonb(k)::text FROM k", &[])?
                .iter()
                .map(|row| (row.get(0), row.get::<_, String>(1).replace(' ', "")))
                .collect();
            snapshots.push((at, rows, change));
        }
        for (at, rows, change) in &snapshots {
            for record in ["1", "2", "3", "4", "7"] {
                assert_eq!(
                    row_at(&mut client, "k", record, at)?,
                    rows.get(record).map_or("none", String::as_str),
                    "{record} after {change}, older: {older}"
                );
            }
        }
        // Each of the three rows has one life, whatever its key was.
        let of_one = history(&mut client, "k", "7");
        assert_eq!(of_one.len(), 2, "{of_one:?}");
    }
    Ok(())
}

#[test]
fn settings_of_writers_and_readers_make_no_difference() -> Result<()> {
    let (_db, mut client) = watched(
        "history_settings",
        "CREATE TABLE s (id bytea PRIMARY KEY, at timestamptz, span tstzrange, b bytea, i interval, v int); SELECT audit_test.watch('s');
         INSERT INTO s VALUES ('\\x0102', '2026-01-31 10:00+00', '[2026-01-31 10:00+00,2026-01-31 11:00+00)', '\\x00ff', '1 day 2 hours', 1);
         SET timezone = 'Asia/Kolkata'; SET bytea_output = escape; SET intervalstyle = iso_8601;
         UPDATE s SET at = at + '1 hour', span = span * '[2026-01-31 10:30+00,)', b = b || b, i = i * 2;
         SET timezone = 'America/Lima'; SET bytea_output = hex; SET intervalstyle = postgres;
         UPDATE s SET at = at + '1 hour', span = span * '[2026-01-31 10:40+00,)', b = b || b, i = i * 2, v = 2",
    )?;
    let middle = now(&mut client);
    client.batch_execute(
        "SET bytea_output = escape; UPDATE s SET id = '\\x0304'; UPDATE s SET at = at + '1 hour'",
    )?;
    for output in ["escape", "hex"] {
        client.batch_execute(&format!("SET bytea_output = {output}"))?;
        for (record, at) in [("\\x0304", "now"), ("\\x0102", middle.as_str())] {
            let state = row_at(&mut client, "s", record, at)?;
            ensure!(state.contains("\"v\":2"), "{output} {record}: {state}");
        }
        let found = client.query("SELECT id FROM gemba.row_history('s', '\\x0304')", &[])?;
        ensure!(found.len() >= 2, "{}", found.len());
    }
    Ok(())
}

#[test]
fn arguments_that_make_no_sense() -> Result<()> {
    let (_db, mut client) = watched(
        "history_arguments",
        "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (a uuid, b date, PRIMARY KEY (a, b));
         SELECT audit_test.watch('t'), audit_test.watch('u')",
    )?;
    for (table_name, record) in [
        ("t", "one"),
        ("t", ""),
        ("t", "99999999999"),
        ("u", r#"["x", "2026-01-31"]"#),
        ("u", r#"["00000000-0000-0000-0000-00000000000a", null]"#),
    ] {
        for call in [
            "SELECT id::text FROM gemba.row_history($1::text::regclass, $2)",
            "SELECT gemba.row_at($1::text::regclass, $2, clock_timestamp())::text",
        ] {
            let error = expect_sqlstate(client.query(call, &[&table_name, &record]), "22023");
            ensure!(
                error
                    .detail()
                    .is_some_and(|detail| detail.contains("column"))
            );
            ensure!(error.hint().is_some());
        }
    }
    for at in ["infinity", "-infinity"] {
        let error = expect_sqlstate(
            client.query(
                "SELECT gemba.row_at('t', '1', $1::text::timestamptz)::text",
                &[&at],
            ),
            "22023",
        );
        ensure!(error.detail().is_some() && error.hint().is_some());
    }
    // Another way of writing the same.
    client.batch_execute("INSERT INTO t VALUES (7, 1)")?;
    assert_eq!(
        row_at(&mut client, "t", " 007", "now")?,
        r#"{"v":1,"id":7}"#
    );
    Ok(())
}

#[test]
fn keys_that_are_too_long_for_the_log() -> Result<()> {
    let (_db, mut client) = watched(
        "history_long",
        "CREATE TABLE b (id bytea PRIMARY KEY, v int); CREATE TABLE c (a text, n int, v int, PRIMARY KEY (a, n));
         SELECT audit_test.watch('b'), audit_test.watch('c')",
    )?;
    let bytes = format!("\\x{}", "0123".repeat(400));
    let text = format!("[\"{}\", \"1\"]", "ü".repeat(800));
    let end = format!("[\"{}\", \"2\"]", "ü".repeat(800));
    client.batch_execute(&format!(
        "INSERT INTO b VALUES ('{bytes}', 1); UPDATE b SET v = 2;
         INSERT INTO c SELECT repeat('ü', 800), 1, 1; UPDATE c SET v = 2"
    ))?;
    let middle = now(&mut client);
    client.batch_execute("UPDATE b SET id = '\\x00'; UPDATE c SET a = 'short'")?;
    for (name, record, short) in [
        ("b", bytes.as_str(), "\\x00"),
        ("c", text.as_str(), "[\"short\", \"1\"]"),
    ] {
        let old = row_at(&mut client, name, record, &middle)?;
        ensure!(old.contains("\"v\":2"), "{name}: {old}");
        assert_eq!(row_at(&mut client, name, record, "now")?, "none", "{name}");
        assert_eq!(row_at(&mut client, name, short, &middle)?, "none", "{name}");
        let new = row_at(&mut client, name, short, "now")?;
        ensure!(new.contains("\"v\":2"), "{name}: {new}");
        let id = value(
            &mut client,
            &format!(
                "SELECT record_id FROM cloudwatcher.audit_logs WHERE table_name = 'public.{name}' AND operation = 'INSERT'"
            ),
        );
        ensure!(id.starts_with("sha256:"), "{id}");
        for record in [record, &id, short] {
            let found = client.query(
                "SELECT id FROM gemba.row_history($1::text::regclass, $2)",
                &[&name, &record],
            )?;
            assert_eq!(found.len(), 3, "{name} {record}");
        }
    }
    // Of a hash alone, the other columns of the key before are not known.
    client.batch_execute(
        "INSERT INTO c SELECT repeat('ü', 800), 1, 5; UPDATE c SET n = 2 WHERE v = 5",
    )?;
    assert_eq!(row_at(&mut client, "c", &end, "now")?, UNKNOWN);
    Ok(())
}

#[test]
fn entries_that_name_no_record_tell_of_none() -> Result<()> {
    let (_db, mut client) = watched(
        "history_nameless",
        "CREATE TABLE t (id int, secret int); SELECT audit_test.watch('t', '{secret}');
         INSERT INTO t VALUES (1, 1)",
    )?;
    let begin = now(&mut client);
    client.batch_execute("ALTER TABLE t ADD PRIMARY KEY (id); UPDATE t SET id = 2")?;
    for record in ["1", "2"] {
        assert_eq!(row_at(&mut client, "t", record, &begin)?, UNKNOWN);
        assert_eq!(row_at(&mut client, "t", record, "now")?, UNKNOWN);
    }
    Ok(())
}
