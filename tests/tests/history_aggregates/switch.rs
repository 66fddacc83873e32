//! The planner's setting is on for queries that read compressed partitions, and for nothing else.

use super::{on_segments, twins};
use anyhow::Result;
use gemba_tests::{expect_sqlstate, table, value};

const AGGREGATE: &str = "SELECT sensor, count(*), avg(exact) FROM s.raw GROUP BY 1";

#[test]
fn the_setting_is_as_it_was_after_any_query() -> Result<()> {
    let db = twins("aggregates_switch")?;
    // Each session begins without the library.
    for (first, code) in [
        (AGGREGATE, None),
        ("SELECT count(*) / 0 FROM s.raw", Some("22012")),
        (
            "SELECT count(*) FROM s.raw WHERE 1 / (sensor - sensor) > 0",
            Some("22012"),
        ),
        (
            "SELECT sensor, count(*) FROM s.raw GROUP BY 1 LIMIT 1 / 0",
            Some("22012"),
        ),
        (
            "SELECT count(*), 1 / 0 FROM s.raw WHERE place = 'x'::text || sensor GROUP BY place",
            Some("22012"),
        ),
    ] {
        let client = &mut db.connect()?;
        for setting in ["off", "on"] {
            table(
                client,
                &format!("SET enable_partitionwise_aggregate = {setting}"),
            );
            for _ in 0..2 {
                match code {
                    None => {
                        client.query(first, &[])?;
                    }
                    Some(code) => {
                        expect_sqlstate(client.query(first, &[]), code);
                    }
                }
                assert_eq!(
                    value(client, "SHOW enable_partitionwise_aggregate"),
                    setting,
                    "{first}"
                );
            }
        }
    }
    Ok(())
}

/// An ordinary partitioned table is planned as the user has it, also beside a compressed one.
#[test]
fn other_queries_are_planned_as_the_user_has_it() -> Result<()> {
    let db = twins("aggregates_others")?;
    let client = &mut db.connect()?;
    client.batch_execute(
        "CREATE TABLE s.plain (n int, at timestamptz) PARTITION BY RANGE (n);
         CREATE TABLE s.plain_1 PARTITION OF s.plain FOR VALUES FROM (0) TO (500);
         CREATE TABLE s.plain_2 PARTITION OF s.plain FOR VALUES FROM (500) TO (1000);
         INSERT INTO s.plain SELECT i % 1000, now() FROM generate_series(1, 20000) AS i;
         ANALYZE s.plain;
         CREATE FUNCTION s.nested() RETURNS bigint LANGUAGE plpgsql STABLE AS
           $$ BEGIN RETURN (SELECT count(*) FROM s.raw WHERE sensor = 1); EXCEPTION WHEN OTHERS THEN RETURN 0; END $$;
         CREATE FUNCTION s.failing() RETURNS int LANGUAGE plpgsql STABLE AS
           $$ BEGIN PERFORM count(*) / 0 FROM s.raw; RETURN 1; EXCEPTION WHEN division_by_zero THEN RETURN 2; END $$",
    )?;
    let plain = "SELECT n, count(*) FROM s.plain GROUP BY n";
    let before = table(client, &format!("EXPLAIN {plain}"));
    assert!(!before.iter().any(|line| line.contains("Partial")));
    for query in [
        AGGREGATE,
        "SELECT count(*) FROM s.raw WHERE sensor < s.nested()",
        "SELECT count(*) FROM s.raw WHERE sensor < s.failing()",
        "SELECT (SELECT count(*) FROM s.raw), (SELECT count(*) FROM s.plain)",
        "SELECT count(*) FROM s.raw WHERE sensor = s.failing() AND at < now() - make_interval(days => s.failing())",
    ] {
        table(client, query);
        assert!(on_segments(client, query) > 0, "{query}");
        assert_eq!(
            table(client, &format!("EXPLAIN {plain}")),
            before,
            "after {query}"
        );
        assert_eq!(
            value(client, "SHOW enable_partitionwise_aggregate"),
            "off",
            "{query}"
        );
    }
    let both = table(
        client,
        &format!("EXPLAIN SELECT * FROM ({AGGREGATE}) AS a JOIN ({plain}) AS b ON a.sensor = b.n"),
    );
    let partial = both.iter().filter(|line| line.contains("Partial")).count();
    let expected = table(client, &format!("EXPLAIN {AGGREGATE}"));
    let of_first = expected
        .iter()
        .filter(|line| line.contains("Partial"))
        .count();
    assert_eq!(partial, of_first, "{both:#?}");
    Ok(())
}
