//! Which queries are computed on segments, and how EXPLAIN says so.

use super::{assert_same, on_segments, twins};
use anyhow::Result;
use gemba_tests::{extended, table, value};
use postgres::Client;

#[test]
fn what_cannot_be_computed_on_segments_is_read_row_by_row() -> Result<()> {
    let db = twins("aggregates_refused")?;
    let client = &mut db.connect()?;
    client.batch_execute(
        "CREATE AGGREGATE s.own(int) (SFUNC = int4pl, STYPE = int, INITCOND = 0, COMBINEFUNC = int4pl, PARALLEL = safe)",
    )?;
    for query in [
        "SELECT count(DISTINCT small) FROM {t}",
        "SELECT sensor, sum(exact) FILTER (WHERE flag) FROM {t} GROUP BY 1 ORDER BY 1",
        "SELECT string_agg(label, ',' ORDER BY at, sensor) FROM {t} WHERE at < '2018-03-02'",
        "SELECT sum(small + 1) FROM {t}",
        "SELECT min(label COLLATE \"C\") FROM {t}",
        "SELECT stddev(exact) FROM {t}",
        "SELECT s.own(small) FROM {t}",
        "SELECT label, count(*) FROM {t} GROUP BY 1 ORDER BY 1",
        "SELECT sensor, place, count(*) FROM {t} GROUP BY GROUPING SETS ((sensor), (place)) ORDER BY 1, 2",
        "SELECT sensor, at, small FROM {t} WHERE at < '2018-03-02' ORDER BY 1, 2",
        "SELECT count(*) FROM {t} AS a JOIN {t} AS b USING (sensor, at) WHERE at < '2018-03-02'",
    ] {
        assert_eq!(
            on_segments(client, &query.replace("{t}", "s.raw")),
            0,
            "{query}"
        );
        assert_same(client, query);
    }
    // Sums of floats depend on the order in which rows come.
    assert_eq!(on_segments(client, "SELECT avg(double) FROM s.raw"), 0);
    // And a function that gives something else each time is asked for each row.
    assert_eq!(
        on_segments(
            client,
            "SELECT random() < 2, count(*) FROM s.raw GROUP BY 1"
        ),
        0
    );
    Ok(())
}

/// A number of a plan's nodes on segments, added up.
fn counted(client: &mut Client, query: &str, label: &str) -> u64 {
    table(
        client,
        &format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {query}"),
    )
    .iter()
    .filter_map(|line| {
        line.trim()
            .strip_prefix(label)?
            .strip_prefix(": ")?
            .parse::<u64>()
            .ok()
    })
    .sum()
}

/// Ten days of two sensors, a reading a minute: a segment is a day.
const DAYS: &str = "
    SET TimeZone = 'UTC';
    CREATE SCHEMA s;
    CREATE TABLE s.raw (sensor int, at timestamptz NOT NULL, reading numeric(10,4), note text) PARTITION BY RANGE (at);
    SELECT gemba.manage_partitions('s.raw', '1 month', premake => 0);
    SELECT gemba.ensure_partitions('s.raw', '2018-07-01', '2018-07-31');
    INSERT INTO s.raw SELECT sensor, at, (extract(epoch FROM at)::bigint / 60 * sensor % 977) / 100.0
      FROM generate_series(1, 2) AS sensor, generate_series('2018-07-01', '2018-07-10 23:59', interval '1 minute') AS at;
    CREATE TABLE s.twin AS SELECT * FROM s.raw;
    SELECT gemba.compress_after('s.raw', '{sensor}', 'at', '1 month');
    SELECT gemba.compress_partition(partition::regclass) FROM gemba.partitions WHERE parent = 's.raw'::regclass AND from_time = '2018-07-01'";

#[test]
fn segments_within_one_group_are_answered_from_their_heads() -> Result<()> {
    let db = extended("aggregates_heads")?;
    let client = &mut db.connect()?;
    client.batch_execute(DAYS)?;
    let aggregates = "count(*), count(note), avg(reading), min(reading), max(reading), min(at)";
    for (query, heads, decoded, skipped) in [
        (format!("SELECT {aggregates} FROM {{t}}"), 20, 0, 0),
        (
            format!(
                "SELECT sensor, date_trunc('day', at), {aggregates} FROM {{t}} GROUP BY 1, 2 ORDER BY 1, 2"
            ),
            20,
            0,
            0,
        ),
        (
            format!(
                "SELECT date_trunc('day', at, 'Asia/Bangkok'), {aggregates} FROM {{t}} GROUP BY 1 ORDER BY 1"
            ),
            0,
            20,
            0,
        ),
        (
            format!(
                "SELECT {aggregates} FROM {{t}} WHERE at >= '2018-07-02' AND at < '2018-07-04 12:00'"
            ),
            4,
            2,
            14,
        ),
        (
            format!("SELECT {aggregates} FROM {{t}} WHERE sensor = 2 AND at >= '2018-07-09'"),
            2,
            0,
            0,
        ),
        (
            format!("SELECT {aggregates} FROM {{t}} WHERE reading < -1"),
            0,
            0,
            20,
        ),
        (
            format!("SELECT {aggregates} FROM {{t}} WHERE reading >= 0 AND reading IS NOT NULL"),
            20,
            0,
            0,
        ),
        (
            format!("SELECT {aggregates} FROM {{t}} WHERE reading > 5 AND sensor = 1"),
            0,
            10,
            0,
        ),
    ] {
        let raw = query.replace("{t}", "s.raw");
        assert_eq!(on_segments(client, &raw), 1, "{query}");
        assert_eq!(
            counted(client, &raw, "Segments Answered by Head"),
            heads,
            "{query}"
        );
        assert_eq!(
            counted(client, &raw, "Segments Decoded"),
            decoded,
            "{query}"
        );
        assert_eq!(
            counted(client, &raw, "Segments Skipped"),
            skipped,
            "{query}"
        );
        assert_same(client, &query);
    }
    client.batch_execute("INSERT INTO gemba_history.raw_p20180701_late SELECT 3, '2018-07-05', 1.5; INSERT INTO s.twin SELECT 3, '2018-07-05', 1.5")?;
    assert_eq!(
        counted(client, "SELECT count(*) FROM s.raw", "Late Rows"),
        1
    );
    assert_same(
        client,
        "SELECT sensor, count(*), max(reading) FROM {t} GROUP BY 1 ORDER BY 1",
    );
    // The same as numbers.
    let json = value(
        client,
        "EXPLAIN (ANALYZE, FORMAT JSON) SELECT count(*) FROM s.raw WHERE at < '2018-08-01'",
    );
    let plan: serde_json::Value = serde_json::from_str(&json)?;
    assert!(json.contains("\"Segments Answered by Head\": 20"), "{plan}");
    Ok(())
}

#[test]
fn a_damaged_segment_is_an_error_and_not_a_wrong_sum() -> Result<()> {
    let db = extended("aggregates_damage")?;
    let client = &mut db.connect()?;
    client.batch_execute(DAYS)?;
    let table_name = value(
        client,
        "SELECT format('gemba_history.%I', relname) FROM pg_class
          WHERE relnamespace = 'gemba_history'::regnamespace AND relkind = 'r' AND relname !~ '_late$'",
    );
    client.batch_execute(&format!(
        "UPDATE {table_name} SET data = set_byte(data, length(data) / 2, get_byte(data, length(data) / 2) # 4)
          WHERE ctid = (SELECT min(ctid) FROM {table_name})"
    ))?;
    for query in [
        "SELECT sum(reading) FROM s.raw",
        "SELECT date_trunc('hour', at), max(reading) FROM s.raw GROUP BY 1",
    ] {
        gemba_tests::expect_sqlstate(client.query(query, &[]), "XX001");
    }
    Ok(())
}
