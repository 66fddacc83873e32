//! `reporting.metrics_sum`: the same as sums of numerics by key, to the last decimal, in every kind of plan;
//! and what is refused.

use anyhow::Result;
use gemba_tests::{as_user, expect_sqlstate, extended, table, value};
use postgres::Client;

/// Rows of metrics in `public.m` (i, g, m): from a pool of so many keys each takes a share, and NULLs and
/// empty objects are among them. `numbers` is an expression for the text of a value.
fn fill(client: &mut Client, rows: u32, keys: u32, share: f64, numbers: &str) -> Result<()> {
    client.batch_execute(&format!(
        "SELECT setseed(0.3);
         DROP TABLE IF EXISTS public.m;
         CREATE TABLE public.m AS
           SELECT i, i % 7 AS g, i % 90 AS h, CASE WHEN i % 41 <> 0 THEN (
                    SELECT coalesce(jsonb_object_agg(
                             CASE k % 5 WHEN 0 THEN 'größe ' || k WHEN 1 THEN '指標' || k WHEN 2 THEN k || E' \\\\ \"key\"\\t😀'
                                        WHEN 3 THEN repeat('k', k) ELSE 'key' || k END, ({numbers})::jsonb)
                             FILTER (WHERE random() < {share}), '{{}}')
                      FROM generate_series(0, {keys} - 1) AS k WHERE i > 0) END AS m
             FROM generate_series(1, {rows}) AS i;
         ANALYZE public.m"
    ))?;
    Ok(())
}

/// Numbers of all sizes, some with more digits than 128 bits have.
const NUMBERS: &str = "CASE trunc(random() * 12)::int
    WHEN 0 THEN trunc(random() * 1000)::text
    WHEN 1 THEN round((random() * 2000 - 1000)::numeric, (k + i) % 7)::text
    WHEN 2 THEN '0.00'
    WHEN 3 THEN trunc(random() * 2e9 - 1e9)::text || 'e' || (trunc(random() * 51) - 20)
    WHEN 4 THEN repeat((i % 9 + 1)::text, 50) || '.' || repeat((k % 9 + 1)::text, 30)
    WHEN 5 THEN 'null'
    WHEN 6 THEN '-' || trunc(random() * 9.2e18)::bigint
    WHEN 7 THEN (k + 1) || 'e300'
    WHEN 8 THEN '-' || (k + 1) || 'e-300'
    WHEN 9 THEN (i * 10000) || '0000'
    WHEN 10 THEN '-0.' || lpad((i % 999)::text, 4 + k % 9, '0')
    ELSE '99999999.99999999' END";

/// The aggregate over groups is what sums of numerics by key say, in all digits.
#[track_caller]
fn assert_sums(client: &mut Client, group: &str, condition: &str, what: &str) {
    let ours = format!(
        "SELECT {group} AS k, reporting.metrics_sum(m)::text AS s FROM public.m WHERE {condition} GROUP BY 1"
    );
    let expected = format!(
        "SELECT k, CASE WHEN bool_or(there)
                        THEN coalesce(jsonb_object_agg(key, s) FILTER (WHERE key IS NOT NULL), '{{}}') END::text AS s
           FROM (SELECT {group} AS k, bool_or(m IS NOT NULL) AS there, e.key, sum(e.value::numeric) AS s
                   FROM public.m LEFT JOIN LATERAL jsonb_each(m) AS e ON jsonb_typeof(e.value) = 'number'
                  WHERE {condition} GROUP BY 1, e.key) AS sums
          GROUP BY k"
    );
    let differences = table(
        client,
        &format!(
            "WITH ours AS MATERIALIZED ({ours}), expected AS MATERIALIZED ({expected})
             SELECT left(o.s, 300), left(e.s, 300)
               FROM ours AS o FULL JOIN expected AS e USING (k) WHERE o.s IS DISTINCT FROM e.s LIMIT 3"
        ),
    );
    assert!(differences.is_empty(), "{what}: {differences:#?}");
    // Of nothing everything would be the same.
    let sums = value(client, &format!("SELECT count(s) FROM ({ours}) AS o"));
    assert_ne!(sums, "0", "{what}");
}

fn sum(client: &mut Client, documents: &str) -> String {
    value(
        client,
        &format!("SELECT reporting.metrics_sum(m::jsonb) FROM (VALUES {documents}) AS v (m)"),
    )
}

#[test]
fn worked_examples() -> Result<()> {
    let db = extended("metrics_examples")?;
    let mut client = db.connect()?;
    for (documents, expected) in [
        (
            r#"('{"impressions": 10, "spend": 1.25}'), ('{"impressions": 5}')"#,
            r#"{"spend": 1.25, "impressions": 15}"#,
        ),
        // Decimals are those of the longest; what they say of precision stays.
        (r#"('{"a": 1.5}'), ('{"a": 2.50}')"#, r#"{"a": 4.00}"#),
        (r#"('{"a": 0.00}')"#, r#"{"a": 0.00}"#),
        (r#"('{"a": 1}'), ('{"a": -1.000}')"#, r#"{"a": 0.000}"#),
        // NULL is no row, null is no number; an object without keys is an object.
        ("(NULL), (NULL)", "-"),
        ("('{}')", "{}"),
        ("('{}'), (NULL)", "{}"),
        (r#"('{"a": null}')"#, "{}"),
        (
            r#"('{"a": null, "b": 1}'), (NULL), ('{"a": 2, "b": null}'), ('{"a": null, "b": null}')"#,
            r#"{"a": 2, "b": 1}"#,
        ),
        (r#"('{"": 5}'), ('{"": 6, " ": 7}')"#, r#"{"": 11, " ": 7}"#),
        (
            r#"('{"a": 9223372036854775807}'), ('{"a": 9223372036854775807}')"#,
            r#"{"a": 18446744073709551614}"#,
        ),
        (
            r#"('{"a": 170141183460469231731687303715884105727}'), ('{"a": 1}'), ('{"a": 0.5}')"#,
            r#"{"a": 170141183460469231731687303715884105728.5}"#,
        ),
        (
            r#"('{"a": 1e30}'), ('{"a": 1e-20}'), ('{"a": -1e30}'), ('{"a": 7}')"#,
            r#"{"a": 7.00000000000000000001}"#,
        ),
    ] {
        assert_eq!(sum(&mut client, documents), expected, "{documents}");
    }
    client.batch_execute("CREATE TABLE public.none (m jsonb)")?;
    assert_eq!(
        value(
            &mut client,
            "SELECT reporting.metrics_sum(m) FROM public.none"
        ),
        "-"
    );
    Ok(())
}

#[test]
fn sums_are_those_of_numerics() -> Result<()> {
    let db = extended("metrics_sums")?;
    let mut client = db.connect()?;
    for (rows, keys, share) in [
        // Always the same keys, seldom the same, one, many.
        (300, 10, 1.0),
        (300, 10, 0.6),
        (100, 1, 0.9),
        (60, 100, 1.0),
        (60, 100, 0.5),
        (40, 700, 0.3),
    ] {
        let what = format!("{rows} rows, {keys} keys, {share} of them in each");
        fill(&mut client, rows, keys, share, NUMBERS)?;
        assert_sums(&mut client, "g", "true", &what);
        assert_sums(&mut client, "g % 1", "i % 3 = 0", &what);
        assert_sums(&mut client, "i", "true", &what);
    }
    Ok(())
}

/// What was summed can be searched: the result is stored as the server stores it.
#[test]
fn results_are_whole_objects() -> Result<()> {
    let db = extended("metrics_results")?;
    let mut client = db.connect()?;
    fill(&mut client, 50, 200, 0.7, NUMBERS)?;
    client.batch_execute(
        "CREATE TABLE public.s AS SELECT reporting.metrics_sum(m) AS s FROM public.m",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), count(s -> key), bool_and(s -> key = value), bool_and(s ? key), bool_and(s @> jsonb_build_object(key, value)),
                    bool_and(s = s::text::jsonb), bool_and(pg_column_size(s::text::jsonb) = octet_length(jsonb_send(s)) IS NOT NULL)
               FROM public.s, jsonb_each(s)"
        ),
        ["200 | 200 | t | t | t | t | t"]
    );
    // And again summed.
    assert_eq!(
        value(
            &mut client,
            "SELECT (SELECT reporting.metrics_sum(s) FROM public.s)::text = s::text FROM public.s"
        ),
        "t"
    );
    Ok(())
}

#[test]
fn objects_stored_out_of_line() -> Result<()> {
    let db = extended("metrics_toast")?;
    let mut client = db.connect()?;
    for storage in ["EXTERNAL", "EXTENDED", "MAIN"] {
        fill(&mut client, 30, 600, 0.9, NUMBERS)?;
        client.batch_execute(&format!(
            "ALTER TABLE public.m ALTER m SET STORAGE {storage};
             CREATE TABLE public.copy (LIKE public.m INCLUDING STORAGE);
             INSERT INTO public.copy SELECT i, g, h, m || '{{}}' FROM public.m;
             DROP TABLE public.m;
             ALTER TABLE public.copy RENAME TO m"
        ))?;
        let (small, large): (i64, i64) = {
            let row = client.query_one(
                "SELECT count(*) FILTER (WHERE pg_column_size(m) < octet_length(m::text) / 2), max(octet_length(m::text))::bigint FROM public.m",
                &[],
            )?;
            (row.get(0), row.get(1))
        };
        assert!(large > 10_000);
        assert_eq!(
            small > 0,
            storage != "EXTERNAL",
            "{storage}: compressed are {small}"
        );
        assert_sums(&mut client, "g", "true", storage);
    }
    Ok(())
}

/// Small objects are stored with a length of one byte, at any address.
#[test]
fn objects_at_odd_addresses() -> Result<()> {
    let db = extended("metrics_addresses")?;
    let mut client = db.connect()?;
    client.batch_execute(
        r#"CREATE TABLE public.odd (before text, m jsonb);
           INSERT INTO public.odd SELECT repeat('x', n), jsonb_build_object('a', n + 0.125, repeat('b', n % 5 + 1), 10000 * n, 'c', 1e40)
             FROM generate_series(1, 40) AS n"#,
    )?;
    assert_eq!(
        value(
            &mut client,
            "SELECT max(pg_column_size(m)) < 127 FROM public.odd"
        ),
        "t"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT reporting.metrics_sum(m) - 'c' FROM public.odd"
        ),
        r#"{"a": 825.000, "b": 1800000, "bb": 1480000, "bbb": 1560000, "bbbb": 1640000, "bbbbb": 1720000}"#
    );
    Ok(())
}

#[test]
fn every_kind_of_plan() -> Result<()> {
    let db = extended("metrics_plans")?;
    let mut client = db.connect()?;
    fill(&mut client, 3000, 12, 0.7, NUMBERS)?;
    let explain = |client: &mut Client, sql: &str| {
        table(client, &format!("EXPLAIN (COSTS off) {sql}")).join("\n")
    };
    let grouped = "SELECT g, reporting.metrics_sum(m) FROM public.m GROUP BY g";
    for (setting, node) in [
        ("SET enable_sort = off", "HashAggregate"),
        ("SET enable_hashagg = off", "GroupAggregate"),
    ] {
        client.batch_execute(&format!(
            "RESET ALL; {setting}; SET max_parallel_workers_per_gather = 0"
        ))?;
        assert!(explain(&mut client, grouped).contains(node));
        assert_sums(&mut client, "g", "true", setting);
    }
    // More groups than there is memory for.
    client.batch_execute("RESET ALL; SET enable_sort = off; SET work_mem = '64kB'; SET hash_mem_multiplier = 1; SET max_parallel_workers_per_gather = 0")?;
    let told = table(
        &mut client,
        "EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT i, reporting.metrics_sum(m) FROM public.m GROUP BY i",
    )
    .join("\n");
    assert!(told.contains("Disk Usage"), "{told}");
    assert_sums(&mut client, "i", "true", "groups on disk");
    client.batch_execute("RESET ALL")?;
    // Each group of grouping sets, each row of a window, and what the server does before the aggregate.
    for (ours, theirs) in [
        (
            "SELECT g, i % 3 AS h, reporting.metrics_sum(m)::text FROM public.m GROUP BY ROLLUP (g, i % 3)",
            "SELECT g, i % 3, reporting.metrics_sum(m)::text FROM public.m GROUP BY g, i % 3 UNION ALL
             SELECT g, NULL, reporting.metrics_sum(m)::text FROM public.m GROUP BY g UNION ALL
             SELECT NULL, NULL, reporting.metrics_sum(m)::text FROM public.m",
        ),
        (
            "SELECT i, NULL, reporting.metrics_sum(m) OVER (PARTITION BY g ORDER BY i ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)::text FROM public.m WHERE i <= 100",
            "SELECT a.i, NULL, (SELECT reporting.metrics_sum(b.m)::text FROM public.m AS b
                                 WHERE b.g = a.g AND b.i BETWEEN a.i - 14 AND least(a.i + 7, 100)) FROM public.m AS a WHERE a.i <= 100",
        ),
        (
            "SELECT i, NULL, reporting.metrics_sum(m) OVER (ORDER BY i)::text FROM public.m WHERE i <= 100",
            "SELECT a.i, NULL, (SELECT reporting.metrics_sum(b.m)::text FROM public.m AS b WHERE b.i <= a.i) FROM public.m AS a WHERE a.i <= 100",
        ),
        (
            "SELECT NULL::int, NULL, reporting.metrics_sum(m) FILTER (WHERE i % 3 = 0)::text FROM public.m",
            "SELECT NULL::int, NULL, reporting.metrics_sum(m)::text FROM public.m WHERE i % 3 = 0",
        ),
        (
            "SELECT NULL::int, NULL, reporting.metrics_sum(DISTINCT m)::text FROM (TABLE public.m UNION ALL TABLE public.m) AS twice",
            "SELECT NULL::int, NULL, reporting.metrics_sum(m)::text FROM (SELECT DISTINCT m FROM public.m) AS once",
        ),
        (
            "SELECT n, NULL, (SELECT reporting.metrics_sum(m ORDER BY hashint4(i * n))::text FROM public.m) FROM generate_series(1, 9) AS n",
            "SELECT n, NULL, (SELECT reporting.metrics_sum(m)::text FROM public.m) FROM generate_series(1, 9) AS n",
        ),
    ] {
        let differences = table(
            &mut client,
            &format!(
                "WITH ours AS MATERIALIZED ({ours}), theirs AS MATERIALIZED ({theirs})
                 (SELECT 'ours', * FROM (TABLE ours EXCEPT ALL TABLE theirs) AS o LIMIT 2) UNION ALL
                 (SELECT 'theirs', * FROM (TABLE theirs EXCEPT ALL TABLE ours) AS t LIMIT 2) UNION ALL
                 SELECT 'nothing', NULL, NULL, NULL WHERE NOT EXISTS (SELECT FROM ours)"
            ),
        );
        assert!(differences.is_empty(), "{ours}: {differences:#?}");
    }
    Ok(())
}

#[test]
fn parts_that_other_processes_sum() -> Result<()> {
    let db = extended("metrics_parallel")?;
    let mut client = db.connect()?;
    let force = value(
        &mut client,
        "SELECT name FROM pg_settings WHERE name IN ('debug_parallel_query', 'force_parallel_mode')",
    );
    for (keys, share) in [(12, 1.0), (12, 0.6), (60, 0.5)] {
        fill(&mut client, 2000, keys, share, NUMBERS)?;
        client.batch_execute(
            "ALTER TABLE public.m SET (parallel_workers = 4);
             SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
             SET max_parallel_workers_per_gather = 4",
        )?;
        for groups in ["g", "g % 1", "h"] {
            let plan = table(
                &mut client,
                &format!("EXPLAIN (COSTS off) SELECT {groups}, reporting.metrics_sum(m) FROM public.m GROUP BY {groups}"),
            )
            .join("\n");
            assert!(
                plan.contains("Partial") && plan.contains("Gather"),
                "{plan}"
            );
            assert_sums(&mut client, groups, "true", "in parallel");
        }
        // Without the leader, parts come from others only; with one worker, all from one.
        for setting in [
            "SET parallel_leader_participation = off".to_owned(),
            "SET max_parallel_workers_per_gather = 1".to_owned(),
            format!("SET {force} = on"),
        ] {
            client.batch_execute(&setting)?;
            assert_sums(&mut client, "g", "true", &setting);
            assert_sums(&mut client, "g % 1", "i < 3", &setting);
        }
        client.batch_execute("RESET ALL")?;
    }
    Ok(())
}

/// Names in the detail what is wrong, and has a hint.
#[track_caller]
fn refused(client: &mut Client, documents: &str, code: &str, detail: &str) {
    let error = expect_sqlstate(
        client.query(
            &format!("SELECT reporting.metrics_sum(m::jsonb) FROM (VALUES {documents}) AS v (m)"),
            &[],
        ),
        code,
    );
    assert_eq!(error.detail(), Some(detail), "{documents}");
    assert!(error.hint().is_some(), "{documents}");
}

#[test]
fn what_is_no_metric_is_named() -> Result<()> {
    let db = extended("metrics_errors")?;
    let mut client = db.connect()?;
    for (document, kind) in [
        ("[]", "an array"),
        (r#"[{"a": 1}]"#, "an array"),
        ("1.5", "a number"),
        (r#""text""#, "a string"),
        ("true", "a boolean"),
        ("null", "null"),
    ] {
        for before in ["", "('{\"a\": 1}'), "] {
            refused(
                &mut client,
                &format!("{before}('{document}')"),
                "22023",
                &format!("the document is {kind}"),
            );
        }
    }
    for (number, kind) in [
        ("\"12\"", "a string"),
        ("true", "a boolean"),
        ("false", "a boolean"),
        ("[1, 2]", "an array"),
        ("{}", "an object"),
        (r#"{"b": 1}"#, "an object"),
    ] {
        // First, after others of the same keys, and behind other keys.
        for documents in [
            format!(r#"('{{"clicks": {number}}}')"#),
            format!(r#"('{{"clicks": 1, "x": 2}}'), ('{{"clicks": {number}, "x": 2}}')"#),
            format!(r#"('{{"clicks": null, "x": 2}}'), ('{{"clicks": {number}, "x": 2}}')"#),
            format!(r#"('{{"a": "fine" }}'), ('{{"clicks": {number}}}')"#)
                .replace("\"fine\"", "0.5"),
        ] {
            refused(
                &mut client,
                &documents,
                "22023",
                &format!("\"clicks\" is {kind}"),
            );
        }
    }
    let long = "ü\"".repeat(200);
    refused(
        &mut client,
        &format!("(jsonb_build_object('{long}', 'no'))"),
        "22023",
        &format!("\"{}\"… is a string", "ü\\\"".repeat(50)),
    );
    // What the server's own numbers cannot hold.
    refused_by_server(&mut client, "('{\"a\": 9e131071}'), ('{\"a\": 9e131071}')");
    Ok(())
}

#[track_caller]
fn refused_by_server(client: &mut Client, documents: &str) {
    let sql = format!("SELECT reporting.metrics_sum(m::jsonb) FROM (VALUES {documents}) AS v (m)");
    expect_sqlstate(client.query(&sql, &[]), "22003");
}

/// The parts of the aggregate take what only the server can give, and nobody may call them.
#[test]
fn parts_are_no_functions() -> Result<()> {
    let db = extended("metrics_parts")?;
    let mut client = db.connect()?;
    let parts = table(
        &mut client,
        "SELECT oid::regprocedure::text || ' returns ' || prorettype::regtype || ' ' || coalesce(proacl::text, 'PUBLIC')
           FROM pg_proc WHERE pronamespace = 'reporting'::regnamespace AND proname ~ '^_metrics_' ORDER BY 1",
    );
    assert_eq!(parts.len(), 5);
    assert!(
        parts.iter().all(|part| part.contains("internal")
            && !part.contains("PUBLIC")
            && !part.contains("authenticated")),
        "{parts:#?}"
    );
    for (sql, code) in [
        ("SELECT reporting._metrics_final(NULL::internal)", "42846"),
        (
            "SELECT reporting._metrics_deserialize('\\x00'::bytea, NULL::internal)",
            "42846",
        ),
        ("SELECT reporting._metrics_add(NULL, '{}')", "42883"),
        ("SELECT reporting._metrics_combine(NULL, NULL)", "42883"),
        ("SELECT reporting._metrics_serialize(NULL)", "42883"),
        (
            "SELECT reporting._metrics_deserialize('\\x00', NULL)",
            "42883",
        ),
    ] {
        expect_sqlstate(client.simple_query(sql), code);
    }
    // A superuser can, with an aggregate of their own: then the state is still only what these made.
    client.batch_execute(
        "CREATE AGGREGATE public.mine (jsonb) (SFUNC = reporting._metrics_add, STYPE = internal, FINALFUNC = reporting._metrics_final)",
    )?;
    assert_eq!(
        value(
            &mut client,
            "SELECT public.mine(m::jsonb) FROM (VALUES ('{\"a\": 1}'), ('{\"a\": 2}')) AS v (m)"
        ),
        "{\"a\": 3}"
    );
    for (role, allowed) in [
        ("authenticated", true),
        ("service_role", true),
        ("anon", false),
    ] {
        let told = as_user(&mut client, role, None, |tx| {
            tx.query("SELECT reporting.metrics_sum('{\"a\": 1}')::text", &[])
        });
        assert_eq!(told.is_ok(), allowed, "{role}: {told:?}");
    }
    Ok(())
}
