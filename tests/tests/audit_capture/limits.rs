//! Values that are too much for the log do not keep anybody from writing them.

use super::{audited, logged};
use anyhow::Result;
use gemba_tests::{table, value};

const LEFT_OUT: &str = "\"*** left out: too long\"";

#[test]
fn a_small_value_of_much_text() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_long_text",
        "CREATE TABLE s.t (id int PRIMARY KEY, doc jsonb, n numeric[])",
    )?;
    assert_eq!(
        logged(
            &mut client,
            "INSERT INTO s.t VALUES (1, ('{\"a\": [{\"b\": [' || repeat('1e131000,', 9000) || '1]}]}')::jsonb);
             UPDATE s.t SET doc = '{\"a\": 1}';
             UPDATE s.t SET n = array_fill('1e-16000'::numeric + 1, ARRAY[9000]);
             DELETE FROM s.t"
        ),
        [
            format!("INSERT | 1 | - | {{\"n\": null, \"id\": 1, \"doc\": {LEFT_OUT}}}"),
            format!("UPDATE | 1 | {{\"doc\": {LEFT_OUT}}} | {{\"doc\": {{\"a\": 1}}}}"),
            format!("UPDATE | 1 | {{\"n\": null}} | {{\"n\": {LEFT_OUT}}}"),
            format!("DELETE | 1 | {{\"n\": {LEFT_OUT}, \"id\": 1, \"doc\": {{\"a\": 1}}}} | -"),
        ]
    );
    // What differs only where the log does not have it is a change nevertheless.
    assert_eq!(
        logged(
            &mut client,
            "INSERT INTO s.t SELECT 2, NULL, array_fill('1e131000'::numeric, ARRAY[9000]); UPDATE s.t SET n[1] = 0"
        )[1],
        format!("UPDATE | 2 | {{\"n\": {LEFT_OUT}}} | {{\"n\": {LEFT_OUT}}}")
    );
    assert_eq!(
        value(&mut client, "SELECT count(*) > 0 FROM gemba.seal_audit()"),
        "t"
    );
    Ok(())
}

#[test]
fn long_values_of_all_kinds() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_long_values",
        "CREATE TABLE s.t (id int PRIMARY KEY, a text, b bytea, j json, d jsonb, m nummultirange)",
    )?;
    client.batch_execute(
        "INSERT INTO s.t (id, a) VALUES (1, repeat('x', 20000000)), (2, repeat('x', 34000000)),
           (3, repeat(E'\\x01', 5000000)), (4, repeat(E'\\x01', 6000000));
         INSERT INTO s.t (id, b) VALUES (11, convert_to(repeat('x', 10000000), 'UTF8')), (12, convert_to(repeat('x', 20000000), 'UTF8'));
         INSERT INTO s.t (id, j) VALUES (21, ('\"' || repeat('x', 20000000) || '\"')::json), (22, ('\"' || repeat('x', 34000000) || '\"')::json);
         INSERT INTO s.t (id, d) VALUES (31, to_jsonb(repeat('x', 20000000))), (32, to_jsonb(repeat('x', 34000000)));
         INSERT INTO s.t (id, m) SELECT 42, range_agg(numrange(n, n + ('0.' || repeat('0', 15000) || '1')::numeric)) FROM generate_series(1, 3000) n",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT record_id, string_agg(k.key || ' ' || CASE k.value WHEN '*** left out: too long' THEN 'left out' ELSE length(k.value)::text END, ',')
               FROM cloudwatcher.audit_logs l CROSS JOIN LATERAL jsonb_each_text(l.new_values) k
              WHERE l.operation = 'INSERT' AND k.key <> 'id' AND k.value IS NOT NULL GROUP BY 1 ORDER BY record_id::int"
        ),
        [
            "1 | a 20000000",
            "2 | a left out",
            "3 | a 5000000",
            "4 | a left out",
            "11 | b 20000002",
            "12 | b left out",
            "21 | j 20000000",
            "22 | j left out",
            "31 | d 20000000",
            "32 | d left out",
            "42 | m left out",
        ]
    );
    Ok(())
}

#[test]
fn an_entry_of_many_long_values() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_long_entry",
        "CREATE TABLE s.t (id int PRIMARY KEY, a text, b text, c text, d text, e text)",
    )?;
    client.batch_execute(
        "INSERT INTO s.t VALUES (1, repeat('a', 30000000), repeat('b', 30000000), repeat('c', 31000000), repeat('d', 30000000), repeat('e', 30000000));
         UPDATE s.t SET a = repeat('A', 30000000), b = repeat('B', 30000000), c = repeat('C', 31000000);
         UPDATE s.t SET a = 'short', b = repeat('b', 30000000), c = NULL",
    )?;
    let lengths = |values: &str| {
        format!(
            "(SELECT string_agg(k.key || ' ' || CASE k.value WHEN '*** left out: too long' THEN 'left out' ELSE length(k.value)::text END, ',' ORDER BY k.key)
                FROM jsonb_each_text(l.{values}) k WHERE k.key <> 'id')"
        )
    };
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT operation, {}, {} FROM cloudwatcher.audit_logs l WHERE operation <> 'AUDIT' ORDER BY id",
                lengths("old_values"),
                lengths("new_values")
            )
        ),
        [
            "INSERT | - | a 30000000,b 30000000,c left out,d 30000000,e 30000000",
            "UPDATE | a 30000000,b 30000000,c left out | a 30000000,b 30000000,c left out",
            "UPDATE | a 30000000,b 30000000,c 31000000 | a 5,b 30000000",
        ]
    );
    Ok(())
}

/// json keeps what jsonb cannot have.
#[test]
fn json_that_is_no_jsonb() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_json",
        "CREATE TYPE s.pair AS (n int, j json);
         CREATE TABLE s.t (id int PRIMARY KEY, j json, a json[], p s.pair)",
    )?;
    for (text, fits) in [
        (r#"{"a": "\u0000"}"#, false),
        (r#"{"a": "\\u0000"}"#, true),
        (r#"{"a": "\\\u0000"}"#, false),
        (r#"{"\u0000": 1}"#, false),
        (r#"["\ud83d"]"#, false),
        (r#"["\ude00"]"#, false),
        (r#"["\u00e9", "\"e12345"]"#, true),
        (r#"{"a": 1e200000}"#, false),
        (r#"[-1.5E-20000]"#, false),
        (r#"[1e1000, 1.5e-3, true, false, null]"#, true),
    ] {
        client.batch_execute("TRUNCATE s.t")?;
        client
            .execute(
                "INSERT INTO s.t (id, j) VALUES (1, $1::text::json)",
                &[&text],
            )
            .unwrap_or_else(|error| panic!("{text}: {error:?}"));
        client
            .execute(
                "INSERT INTO s.t (id, a, p) VALUES (2, ARRAY[$1::text::json], ROW(1, $1::text::json))",
                &[&text],
            )
            .unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let expected = if fits {
            "to_jsonb(t.j)"
        } else {
            "to_jsonb(t.j::text)"
        };
        assert_eq!(
            value(
                &mut client,
                &format!(
                    "SELECT l.new_values -> 'j' = {expected} FROM s.t t, cloudwatcher.audit_logs l
                      WHERE t.id = 1 AND l.record_id = '1' ORDER BY l.id DESC LIMIT 1"
                )
            ),
            "t",
            "{text}"
        );
        let (array, pair) = if fits {
            ("to_jsonb(t.a)", "to_jsonb(t.p)")
        } else {
            ("to_jsonb(t.a::text)", "to_jsonb(t.p::text)")
        };
        if text.contains("\\\\u0000") || text.contains("e12345") {
            // Quoted twice, it may as well be one that does not fit.
            continue;
        }
        assert_eq!(
            value(
                &mut client,
                &format!(
                    "SELECT l.new_values -> 'a' = {array} AND l.new_values -> 'p' = {pair} FROM s.t t, cloudwatcher.audit_logs l
                      WHERE t.id = 2 AND l.record_id = '2' ORDER BY l.id DESC LIMIT 1"
                )
            ),
            "t",
            "{text}"
        );
    }
    // So many digits make no numeric either.
    client.batch_execute(
        "INSERT INTO s.t (id, j) VALUES (3, repeat('9', 140000)::json), (4, ('0.' || repeat('9', 17000))::json)",
    )?;
    Ok(())
}
