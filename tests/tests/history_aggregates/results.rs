//! The same results as over rows, digit for digit.

use super::{add_late_rows, assert_same, on_segments, twins};
use anyhow::Result;
use gemba_tests::{Random, table};
use postgres::Client;

const AGGREGATES: &[&str] = &[
    "count(*)",
    "count(small)",
    "count(place)",
    "count(flag)",
    "count(id)",
    "count(label)",
    "sum(small)",
    "sum(middle)",
    "sum(large)",
    "sum(exact)",
    "sum(number)",
    "avg(small)",
    "avg(middle)",
    "avg(large)",
    "avg(exact)",
    "avg(number)",
    "min(small)",
    "max(small)",
    "min(middle)",
    "max(middle)",
    "min(large)",
    "max(large)",
    "min(exact)",
    "max(exact)",
    "min(number)",
    "max(number)",
    "min(single)",
    "max(single)",
    "min(double)",
    "max(double)",
    "min(day)",
    "max(day)",
    "min(moment)",
    "max(moment)",
    "min(at)",
    "max(at)",
];

const GROUPS: &[&str] = &[
    "",
    "sensor",
    "place",
    "place, sensor",
    "date_trunc('day', at)",
    "date_trunc('hour', at), sensor",
    "date_trunc('month', at)",
    "date_trunc('week', at), place",
    "date_trunc('day', at, 'Europe/Berlin'), sensor",
    "date_trunc('hour', at, 'America/Havana')",
    "date_trunc('day', at, 'America/Havana')",
    "date_trunc('month', at, 'Asia/Bangkok'), sensor",
    "date_trunc('day', at, 'EST'), sensor",
    "date_bin('3 hours', at, '2000-01-01 00:00+00')",
    "date_bin('1 day 5 hours', at, '2001-02-03 04:05+00'), sensor",
    "gemba.bucket_start('1 day', at, 'America/Havana'), sensor",
    "gemba.bucket_start('1 week', at, 'Europe/Berlin')",
    "gemba.bucket_start('1 month', at, 'Asia/Bangkok'), place",
    "gemba.bucket_start('6 hours', at)",
    "date_bin('7 days', at AT TIME ZONE 'UTC', '2001-01-01'::timestamp) AT TIME ZONE 'UTC'",
    "date_bin('1 day', at AT TIME ZONE 'Europe/Berlin', '2001-01-01'::timestamp) AT TIME ZONE 'Europe/Berlin'",
    "date_trunc('hour', at AT TIME ZONE 'America/Havana')",
    "date_trunc('day', at), date_trunc('month', at), sensor",
    "extract(hour FROM at AT TIME ZONE 'Asia/Bangkok')",
    "to_char(at, 'YYYY-MM-DD'), sensor",
    "upper(place)",
    "sensor % 2, date_trunc('day', at)",
];

const CONDITIONS: &[&str] = &[
    "true",
    "sensor = 2",
    "sensor IN (1, 3, 99)",
    "place = 'floor 1'",
    "place IS NULL",
    "sensor = ANY (ARRAY(SELECT generate_series(2, 3)))",
    "sensor % 2 = (SELECT 1)",
    "at >= '2018-03-25 00:30+00' AND at < '2018-03-26 11:17+00'",
    "at >= '2018-03-11' AND at < '2018-11-04 06:00+00'",
    "at BETWEEN '2018-10-28 00:00+00' AND '2018-10-28 03:00+00' AND sensor > 2",
    "at > '2019-01-01'",
    "at < '2018-03-04'::timestamp",
    "at >= '2018-03-30'::date",
    "exact > 100",
    "exact IS NULL",
    "number > 1000 OR flag",
    "label LIKE 'label 1%' AND small < 100",
    "double = 'Infinity'",
    "single < 0 AND middle IS NOT NULL",
    "extract(hour FROM at) = 7",
    "id IS NOT NULL AND flag AND sensor = 1",
    "false",
    "(SELECT count(*) FROM s.twin WHERE sensor = 99) = 0",
    "(SELECT count(*) FROM s.twin WHERE sensor = 99) = 1",
];

/// A query with some aggregates, in a fixed order.
fn query(random: &mut Random, group: &str, condition: &str) -> String {
    let mut aggregates: Vec<&str> = (0..1 + random.below(5))
        .map(|_| *random.pick(AGGREGATES))
        .collect();
    aggregates.dedup();
    let aggregates = aggregates.join(", ");
    if group.is_empty() {
        return format!("SELECT {aggregates} FROM {{t}} WHERE {condition}");
    }
    let having = if random.one_in(4) {
        " HAVING count(*) > 3"
    } else {
        ""
    };
    format!(
        "SELECT {group}, {aggregates} FROM {{t}} WHERE {condition} GROUP BY {group}{having} ORDER BY {group}"
    )
}

/// Compares so many queries; returns those that were not computed on segments.
fn compare(client: &mut Client, seed: u64, times: usize) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut others = Vec::new();
    for round in 0..times {
        let zone = *random.pick(&[
            "UTC",
            "Asia/Bangkok",
            "Europe/Berlin",
            "America/Havana",
            "EST5EDT",
        ]);
        table(client, &format!("SET TimeZone = '{zone}'"));
        // Each group and each condition comes at least once.
        let group = GROUPS
            .get(round)
            .copied()
            .unwrap_or_else(|| *random.pick(GROUPS));
        let condition = CONDITIONS
            .get(round)
            .copied()
            .unwrap_or_else(|| *random.pick(CONDITIONS));
        let query = query(&mut random, group, condition);
        assert_same(client, &query);
        if on_segments(client, &query.replace("{t}", "s.raw")) == 0 {
            others.push(query);
        }
    }
    others
}

#[test]
fn random_queries_give_the_same() -> Result<()> {
    let db = twins("aggregates_random")?;
    let client = &mut db.connect()?;
    let others = compare(client, 1, 160);
    assert!(others.len() < 30, "{others:#?}");
    Ok(())
}

#[test]
fn late_rows_count_like_any_other() -> Result<()> {
    let db = twins("aggregates_late")?;
    let client = &mut db.connect()?;
    add_late_rows(client)?;
    let others = compare(client, 2, 80);
    assert!(others.len() < 15, "{others:#?}");
    Ok(())
}

/// Every aggregate of every column, alone and beside all others.
#[test]
fn every_aggregate_gives_the_same() -> Result<()> {
    let db = twins("aggregates_each")?;
    let client = &mut db.connect()?;
    add_late_rows(client)?;
    for aggregate in AGGREGATES {
        for group in ["sensor", "date_trunc('day', at), sensor"] {
            let query =
                format!("SELECT {group}, {aggregate} FROM {{t}} GROUP BY {group} ORDER BY {group}");
            assert_eq!(
                on_segments(client, &query.replace("{t}", "s.raw")),
                3,
                "{query}"
            );
            assert_same(client, &query);
        }
    }
    let all = AGGREGATES.join(", ");
    assert_same(client, &format!("SELECT {all} FROM {{t}}"));
    assert_same(
        client,
        &format!("SELECT sensor, {all} FROM {{t}} WHERE exact > 0 GROUP BY 1 ORDER BY 1"),
    );
    Ok(())
}

/// What the parts of a plan hand over is combined by other parts and other processes.
#[test]
fn plans_of_any_shape_give_the_same() -> Result<()> {
    let db = twins("aggregates_shapes")?;
    let client = &mut db.connect()?;
    let queries = [
        "SELECT sensor, avg(exact), count(*) FROM {t} GROUP BY sensor ORDER BY avg(exact) DESC LIMIT 2",
        "SELECT * FROM (SELECT date_trunc('day', at) AS d, sum(number) AS n FROM {t} WHERE sensor = 1 GROUP BY 1) AS x
          WHERE n > 0 ORDER BY d",
        "WITH a AS MATERIALIZED (SELECT sensor, max(double) AS m FROM {t} GROUP BY 1)
         SELECT s, (SELECT m FROM a WHERE sensor = s) FROM generate_series(0, 6) AS s ORDER BY s",
        "SELECT s, x.* FROM generate_series(1, 4) AS s,
                LATERAL (SELECT count(*), avg(middle) FROM {t} WHERE sensor = s AND at < '2018-03-15') AS x ORDER BY s",
        "SELECT s, (SELECT sum(exact) FROM {t} WHERE sensor = s) FROM generate_series(1, 6) AS s ORDER BY s",
        "SELECT sensor FROM {t} GROUP BY sensor ORDER BY 1",
        "SELECT count(*), count(*) + sum(small) FROM {t} WHERE sensor = 5 HAVING min(at) < now()",
        "SELECT d, sum(n) FROM (SELECT date_trunc('hour', at) AS d, count(*) AS n FROM {t} GROUP BY 1
          UNION ALL SELECT date_trunc('hour', at), sum(small) FROM {t} GROUP BY 1) AS x GROUP BY d ORDER BY d",
    ];
    for setting in [
        "SELECT 1",
        "SET enable_hashagg = off",
        "SET enable_partitionwise_aggregate = on",
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
        "SET work_mem = '64kB'",
    ] {
        table(client, setting);
        for query in queries {
            assert_same(client, query);
        }
    }
    Ok(())
}

#[test]
fn prepared_statements_with_generic_plans_give_the_same() -> Result<()> {
    let db = twins("aggregates_prepared")?;
    let client = &mut db.connect()?;
    table(client, "SET plan_cache_mode = force_generic_plan");
    for name in ["raw", "twin"] {
        table(
            client,
            &format!(
                "PREPARE {name}(text, text, timestamptz, timestamptz, int, interval) AS
                 SELECT date_trunc($1, at, $2) AS a, date_bin($6, at, '2000-01-01 00:00+00') AS b,
                        count(*), avg(exact), min(number), max(double)
                   FROM s.{name} WHERE at >= $3 AND at < $4 AND sensor = $5 GROUP BY 1, 2 ORDER BY 1, 2"
            ),
        );
    }
    for arguments in [
        "'day', 'Europe/Berlin', '2018-03-20', '2018-04-10', 1, '1 day'",
        "'hour', 'America/Havana', '2018-03-10', '2018-03-13', 2, '3 hours'",
        "'week', 'EST', '2018-10-01', '2018-12-01', 3, '10 days'",
        "'month', 'UTC', '2018-01-01', '2019-12-01', 4, '1 day'",
        "'day', 'UTC', NULL, '2019-12-01', 4, '1 day'",
        "'day', NULL, '2018-01-01', '2019-12-01', 4, '30 days'",
    ] {
        let found = table(client, &format!("EXECUTE raw({arguments})"));
        assert_eq!(
            found,
            table(client, &format!("EXECUTE twin({arguments})")),
            "{arguments}"
        );
    }
    assert!(
        on_segments(
            client,
            "EXECUTE raw('day', 'UTC', '2018-01-01', '2019-01-01', 1, '1 day')"
        ) > 0
    );
    Ok(())
}
