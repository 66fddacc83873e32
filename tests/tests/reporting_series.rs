//! Single series; and all ways to ask for figures, against plain SQL over the same rows.

mod reporting_support;

use anyhow::Result;
use gemba_tests::{Random, as_user, expect_sqlstate, extended, table};
use postgres::Client;
use reporting_support::figures::*;
use reporting_support::*;
use serde_json::{Value, json};

/// A series as a user sees it.
fn series(client: &mut Client, user: &str, arguments: &str) -> Vec<String> {
    let sql = format!(
        "SELECT coalesce(string_agg(concat_ws(' ', s.period_key, s.period_start, coalesce(s.value::text, '-')), ', '), '')
           FROM reporting.series({arguments}) AS s"
    );
    let text = asked(client, user, &sql);
    text.split(", ")
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_series_is_in_order_and_adds_up_accounts() -> Result<()> {
    let db = extended("series_order")?;
    let mut client = db.connect()?;
    more_people(&mut client)?;
    let (one, two) = ((SALES, ACCOUNT), (SALES, OTHER_ACCOUNT));
    week(
        &mut client,
        one,
        "2026-01-12",
        json!({"clicks": 20, "impressions": 900}),
    )?;
    week(
        &mut client,
        one,
        "2026-01-05",
        json!({"clicks": 10.5, "impressions": 1000}),
    )?;
    week(
        &mut client,
        two,
        "2026-01-12",
        json!({"clicks": 2, "impressions": 100}),
    )?;
    week(&mut client, one, "2026-01-19", json!({"spend": 3}))?;
    record(
        &mut client,
        one,
        "monthly",
        "2026-01-01",
        &json!({"clicks": 7}),
        &json!({"country": ["JP", "DE"]}),
    )?;
    let [first, second, third] = [
        "2026-01-05_2026-01-11 2026-01-05",
        "2026-01-12_2026-01-18 2026-01-12",
        "2026-01-19_2026-01-25 2026-01-19",
    ];
    let all = [
        format!("{first} 10.5"),
        format!("{second} 22"),
        format!("{third} -"),
    ];
    assert_eq!(
        series(&mut client, ANNA, &format!("'{SALES}', 'clicks'")),
        all
    );
    for (arguments, expected) in [
        (
            format!("'{SALES}', 'ctr'"),
            vec![
                format!("{first} 1.050000"),
                format!("{second} 2.200000"),
                format!("{third} -"),
            ],
        ),
        (
            format!("'{SALES}', 'clicks', 'monthly'"),
            vec!["2026-01 2026-01-01 7".to_owned()],
        ),
        (format!("'{SALES}', 'clicks', 'quarterly'"), vec![]),
        (
            format!("'{SALES}', 'clicks', 'weekly', '2026-01-06'"),
            all[1..].to_vec(),
        ),
        (
            format!("'{SALES}', 'clicks', to_date => '2026-01-12'"),
            all[..2].to_vec(),
        ),
        (
            format!("'{SALES}', 'clicks', 'weekly', '2026-01-12', '2026-01-12'"),
            vec![all[1].clone()],
        ),
        (
            format!("'{SALES}', 'clicks', 'weekly', '-infinity', 'infinity'"),
            all.to_vec(),
        ),
        (
            format!("'{SALES}', 'clicks', instance => '{OTHER_ACCOUNT}'"),
            vec![format!("{second} 2")],
        ),
        (
            format!("'{SALES}', 'clicks', 'monthly', filters => '{{\"country\": \"DE\"}}'"),
            vec!["2026-01 2026-01-01 7".to_owned()],
        ),
        (
            format!("'{SALES}', 'clicks', 'monthly', filters => '{{\"country\": \"FR\"}}'"),
            vec![],
        ),
        (
            format!("'{SALES}', 'clicks', NULL, NULL, NULL, NULL, NULL"),
            all.to_vec(),
        ),
        (format!("'{SECRET}', 'clicks'"), vec![]),
    ] {
        assert_eq!(
            series(&mut client, ANNA, &arguments),
            expected,
            "{arguments}"
        );
    }
    // Others do not see it, until a dashboard shows it.
    assert_eq!(
        series(&mut client, BEN, &format!("'{SALES}', 'clicks'")),
        [""; 0]
    );
    let board = dashboard(&mut client, ANNA, "d", SALES)?;
    asked(
        &mut client,
        ANNA,
        &format!("SELECT reporting.share_dashboard('{board}', '{BEN}')"),
    );
    assert_eq!(
        series(&mut client, BEN, &format!("'{SALES}', 'clicks'")),
        all
    );
    let call = format!("SELECT reporting.series('{SALES}', 'clicks')");
    assert_eq!(outcome(&mut client, "service_role", None, &call), "3");
    assert_eq!(outcome(&mut client, "anon", None, &call), "42501");
    Ok(())
}

#[test]
fn what_is_no_series_is_refused() -> Result<()> {
    let db = extended("series_refused")?;
    let mut client = db.connect()?;
    more_people(&mut client)?;
    week(
        &mut client,
        (SALES, ACCOUNT),
        "2026-01-05",
        json!({"word": "many"}),
    )?;
    for (arguments, code, detail) in [
        ("NULL, 'clicks'".to_owned(), "22004", "workflow NULL"),
        (format!("'{SALES}', NULL"), "22004", "metric NULL"),
        (
            format!("'{SALES}', 'clicks', 'daily'"),
            "22023",
            "aggregation: invalid value: string \"daily\", expected weekly, monthly or quarterly",
        ),
        (
            format!("'{SALES}', 'clicks', 'weekly', '2026-01-02', '2026-01-01'"),
            "22023",
            "from 2026-01-02 to 2026-01-01",
        ),
        (
            format!("'{SALES}', 'clicks', filters => '{{\"country\": null}}'"),
            "22023",
            "filters.country: expected a string, a number, true or false, or a list of these",
        ),
        (
            format!("'{SALES}', 'clicks', filters => '[]'"),
            "22023",
            "filters: invalid type: sequence, expected an object",
        ),
        (
            format!("'{SALES}', 'word'"),
            "55000",
            "the metric word is a string",
        ),
    ] {
        let asked = as_user(&mut client, "authenticated", Some(ANNA), |tx| {
            tx.batch_execute(&format!("SELECT reporting.series({arguments})"))
        });
        let error = expect_sqlstate(asked, code);
        assert_eq!(error.detail(), Some(detail));
        assert!(error.hint().is_some(), "{arguments}");
    }
    Ok(())
}

#[test]
fn thousands_of_rows_add_up() -> Result<()> {
    let db = extended("series_many")?;
    let mut client = db.connect()?;
    more_people(&mut client)?;
    // 200 accounts and 12 months; each with as many metrics as make it worth compressing.
    client.batch_execute(&format!(
        "INSERT INTO reporting.amc_instances (instance_id, instance_name) SELECT 'more-' || n, 'n' FROM generate_series(1, 198) AS n;
         INSERT INTO reporting.report_data_aggregates
                (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics)
         SELECT '{SALES}', i.id, 'monthly', to_char(m, 'YYYY-MM'), m,
                (SELECT jsonb_object_agg('metric ' || n, 1000000 + n) FROM generate_series(1, 300) AS n) || '{{\"clicks\": 1}}'
           FROM reporting.amc_instances i, generate_series(timestamp '2025-01-01', '2025-12-01', '1 month') AS m"
    ))?;
    let rows = table(
        &mut client,
        "SELECT count(*), bool_and(pg_column_size(metrics) < 4000) FROM reporting.report_data_aggregates",
    );
    assert_eq!(rows, ["2400 | t"]);
    let clicks = series(
        &mut client,
        ANNA,
        &format!("'{SALES}', 'clicks', 'monthly'"),
    );
    assert_eq!(clicks.len(), 12);
    assert!(
        clicks.iter().all(|line| line.ends_with(" 200")),
        "{clicks:?}"
    );
    let last = series(
        &mut client,
        ANNA,
        &format!("'{SALES}', 'metric 300', 'monthly', '2025-12-01'"),
    );
    assert_eq!(last, ["2025-12 2025-12-01 200060000"]);
    Ok(())
}

const METRICS: [&str; 6] = ["clicks", "impressions", "spend", "ctr", "cpm", "größe"];
const WORKFLOWS: [&str; 3] = [SALES, SECRET, EMPTY];
const ACCOUNTS: [&str; 2] = [ACCOUNT, OTHER_ACCOUNT];

/// A number as people record them, now and then one that is far too long, or none.
fn number(random: &mut Random) -> String {
    match random.below(12) {
        0 => "null".to_owned(),
        1 => format!("-{}.{:04}", random.below(1000), random.below(10_000)),
        2 => format!("{}{}", random.below(9) + 1, "0".repeat(40)),
        3 => format!("0.{}{}", "0".repeat(25), random.below(9) + 1),
        4 => "0".to_owned(),
        _ => format!("{}.{}", random.below(100_000), random.below(100)),
    }
}

fn object(random: &mut Random) -> String {
    let mut fields = Vec::new();
    for name in METRICS {
        if random.chance(70) {
            fields.push(format!("\"{name}\": {}", number(random)));
        }
    }
    // What nobody asks for changes where the others are.
    for extra in 0..random.below(4) {
        fields.push(format!("\"other {extra}\": [1]"));
    }
    format!("{{{}}}", fields.join(", "))
}

/// Three workflows on two accounts: twenty weeks, and as many months.
fn random_figures(client: &mut Client, random: &mut Random) -> Result<()> {
    more_people(client)?;
    for workflow in WORKFLOWS {
        for account in ACCOUNTS {
            for period in 0..20 {
                for aggregation in ["weekly", "monthly"] {
                    if random.chance(15) {
                        continue;
                    }
                    let dimensions = random.pick(&[
                        "{}",
                        "{\"country\": \"JP\"}",
                        "{\"country\": [\"JP\", \"DE\"], \"rank\": 1}",
                        "{\"country\": \"DE\", \"rank\": [1.0, 2]}",
                    ]);
                    client.batch_execute(&format!(
                        "INSERT INTO reporting.report_data_aggregates
                                (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics, dimensions)
                         SELECT '{workflow}', '{account}', '{aggregation}',
                                CASE '{aggregation}' WHEN 'weekly' THEN d || '_' || d + 6 ELSE to_char(d, 'YYYY-MM') END, d, '{}', '{dimensions}'
                           FROM (SELECT CASE '{aggregation}' WHEN 'weekly' THEN date '2025-01-06' + 7 * {period}
                                        ELSE (date '2024-01-01' + interval '1 month' * {period})::date END) AS x (d)",
                        object(random)
                    ))?;
                }
            }
        }
    }
    Ok(())
}

fn some<'a>(random: &mut Random, all: &[&'a str], least: usize) -> Vec<&'a str> {
    let mut all = all.to_vec();
    random.shuffle(&mut all);
    let count = least + random.below((all.len() - least) as u64 + 1) as usize;
    all.truncate(count);
    all
}

fn data_source(random: &mut Random) -> Value {
    let mut source = json!({
        "workflows": some(random, &WORKFLOWS, 1),
        "metrics": some(random, &METRICS, 1),
        "aggregation": random.pick(&["weekly", "monthly"]),
        "group_by": random.pick(&["none", "workflow", "instance"]),
    });
    if random.chance(40) {
        source["instances"] = json!(some(random, &ACCOUNTS, 1));
    }
    source["period"] = if random.chance(50) {
        json!({"last": 1 + random.below(25)})
    } else {
        json!({"from": "2024-06-15", "to": random.pick(&["2025-02-03", "2025-03-31", "2026-01-01"])})
    };
    let filters = [
        json!({}),
        json!({"country": "JP"}),
        json!({"country": ["DE", "FR"], "rank": 1}),
        json!({"rank": 2}),
    ];
    source["filters"] = random.pick(&filters).clone();
    source
}

/// The rows of a table, from its description: what the functions do, written down once more as one query.
fn expected(client: &mut Client, source: &Value) -> Vec<String> {
    let list = |key: &str| {
        let items = source[key].as_array().into_iter().flatten();
        let items: Vec<String> = items
            .map(|item| format!("'{}'", item.as_str().unwrap_or_default()))
            .collect();
        format!("ARRAY[{}]", items.join(", "))
    };
    let aggregation = source["aggregation"].as_str().unwrap_or_default();
    let instances = if source.get("instances").is_some() {
        format!("a.instance_id = ANY ({}::uuid[])", list("instances"))
    } else {
        "true".to_owned()
    };
    let range = match source["period"]["last"].as_u64() {
        Some(last) => {
            let unit = if aggregation == "weekly" {
                "7 days"
            } else {
                "1 month"
            };
            format!(
                "a.data_date > (SELECT max(r.data_date) FROM mine r) - interval '{unit}' * {last}"
            )
        }
        None => format!(
            "a.data_date BETWEEN {} AND {}",
            source["period"]["from"], source["period"]["to"]
        )
        .replace('"', "'"),
    };
    let group = match source["group_by"].as_str() {
        Some("workflow") => "a.workflow_id::text",
        Some("instance") => "a.instance_id::text",
        _ => "'-'",
    };
    let metrics = list("metrics");
    table(
        client,
        &format!(
            "WITH mine AS (
               SELECT * FROM reporting.report_data_aggregates a
                WHERE a.workflow_id = ANY ({}::uuid[]) AND a.aggregation_type = '{aggregation}' AND {instances}
             ), kept AS (
               SELECT {group} AS series, a.* FROM mine a
                WHERE {range}
                  AND NOT EXISTS (
                    SELECT FROM jsonb_each('{}') AS f (dimension, wanted)
                     WHERE NOT EXISTS (
                       SELECT FROM jsonb_array_elements(CASE jsonb_typeof(f.wanted) WHEN 'array' THEN f.wanted ELSE jsonb_build_array(f.wanted) END) AS v (one)
                        WHERE a.dimensions -> f.dimension = v.one
                           OR jsonb_typeof(a.dimensions -> f.dimension) = 'array'
                              AND v.one IN (SELECT jsonb_array_elements(a.dimensions -> f.dimension))))
             ), numbers AS (
               SELECT k.series, k.aggregation_key, k.data_date, e.key, (e.value #>> '{{}}')::numeric AS n
                 FROM kept k LEFT JOIN jsonb_each(k.metrics) AS e ON jsonb_typeof(e.value) IN ('number', 'null')
             ), sums AS (
               SELECT n.series, n.aggregation_key, n.data_date, n.key, sum(n.n) AS sum, count(n.n) AS count
                 FROM numbers n GROUP BY 1, 2, 3, 4
             )
             SELECT s.series, s.aggregation_key, m.metric,
                    CASE WHEN d.name IS NULL THEN own.sum
                         WHEN top.sum IS NOT NULL AND bottom.sum IS NOT NULL
                         THEN round(div_exact.value, 6)
                         WHEN own.count = 1 THEN own.sum END
               FROM (SELECT DISTINCT series, aggregation_key, data_date FROM kept) AS s
              CROSS JOIN unnest({metrics}) AS m (metric)
               LEFT JOIN reporting.metric_definitions d ON d.name = m.metric
               LEFT JOIN sums own ON (own.series, own.aggregation_key, own.key) = (s.series, s.aggregation_key, m.metric)
               LEFT JOIN sums top ON (top.series, top.aggregation_key, top.key) = (s.series, s.aggregation_key, d.numerator)
               LEFT JOIN sums bottom ON (bottom.series, bottom.aggregation_key, bottom.key) = (s.series, s.aggregation_key, d.denominator)
               -- More decimals than the server would take for large quotients.
               LEFT JOIN LATERAL (SELECT d.factor * top.sum / nullif(bottom.sum, 0)::numeric(200, 60) AS value) AS div_exact ON true
              ORDER BY 1, 2, 3",
            list("workflows"),
            source["filters"],
        ),
    )
}

/// The same from a payload's table, with every number as it was written.
fn found(client: &mut Client, board: &str) -> Vec<String> {
    table(
        client,
        &format!(
            "SELECT coalesce(r ->> 'workflow', r ->> 'instance', '-'), r ->> 'key', m.key, m.value
               FROM jsonb_array_elements(reporting.dashboard_payload('{board}') -> 'widgets' -> 0 -> 'data') AS r
              CROSS JOIN jsonb_each_text(r -> 'metrics') AS m
              ORDER BY 1, 2, 3"
        ),
    )
}

/// Shows only what differs.
#[track_caller]
fn assert_same(ours: &[String], theirs: &[String], what: &str) {
    let different = |these: &[String], others: &[String]| -> Vec<String> {
        these
            .iter()
            .filter(|line| !others.contains(line))
            .cloned()
            .collect()
    };
    assert_eq!(different(ours, theirs), different(theirs, ours), "{what}");
    assert_eq!(ours.len(), theirs.len(), "{what}");
}

#[test]
fn figures_are_those_of_plain_sql() -> Result<()> {
    let db = extended("series_random")?;
    let mut client = db.connect()?;
    let mut random = Random::new(11);
    random_figures(&mut client, &mut random)?;
    let mut rows = 0;
    for round in 0..60 {
        let source = data_source(&mut random);
        let board = asked(&mut client, ANNA, "SELECT reporting.create_dashboard('d')");
        add(&mut client, &board, "w", "table", &source)?;
        let expected = expected(&mut client, &source);
        let what = format!("round {round}: {source}");
        assert_same(&found(&mut client, &board), &expected, &what);
        rows += expected.len();
        // The same beside another widget, which wants more of the same rows.
        let chart = json!({"workflows": source["workflows"], "metrics": source["metrics"], "aggregation": source["aggregation"]});
        add(&mut client, &board, "v", "line", &chart)?;
        assert_same(&found(&mut client, &board), &expected, &what);
        let key = source["workflows"][0].as_str().unwrap_or_default();
        let metric = source["metrics"][0].as_str().unwrap_or_default();
        let aggregation = source["aggregation"].as_str().unwrap_or_default();
        let alone = json!({"workflows": [key], "metrics": [metric], "aggregation": aggregation, "group_by": "none", "filters": {},
                           "period": {"from": "2000-01-01", "to": "2100-01-01"}});
        let one: Vec<String> = self::expected(&mut client, &alone)
            .iter()
            .filter_map(|line| line.strip_prefix("- | ").map(str::to_owned))
            .collect();
        let series = table(
            &mut client,
            &format!(
                "SELECT s.period_key, '{metric}', s.value FROM reporting.series('{key}', '{metric}', '{aggregation}') AS s"
            ),
        );
        assert_eq!(series, one, "round {round}");
    }
    assert!(rows > 1_000, "{rows} rows were compared");
    Ok(())
}
