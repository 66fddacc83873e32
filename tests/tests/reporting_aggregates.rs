//! Weeks as they are recorded; months and quarters that are built from them, exactly.

mod reporting_support;

use anyhow::{Result, ensure};
use gemba_tests::{Database, Random, as_user, expect_sqlstate, extended, table, value};
use postgres::Client;
use reporting_support::*;
use std::collections::BTreeMap;

/// A collection whose weeks begin on a day, all of them being collected; returns their ids.
fn weeks(client: &mut Client, workflow: &str, first: &str, number: i32) -> Result<Vec<String>> {
    client.batch_execute(&format!(
        "WITH c AS (
           INSERT INTO reporting.report_data_collections (workflow_id, instance_id, collection_type, target_weeks, start_date, end_date)
           VALUES ('{workflow}', '{ACCOUNT}', 'backfill', {number}, '{first}', date '{first}' + 7 * {number} - 1) RETURNING id)
         INSERT INTO reporting.report_data_weeks (collection_id, workflow_id, instance_id, week_start_date, week_end_date)
         SELECT c.id, '{workflow}', '{ACCOUNT}', date '{first}' + 7 * n, date '{first}' + 7 * n + 6
           FROM c, generate_series(0, {number} - 1) AS n"
    ))?;
    claim_all(client);
    Ok(table(
        client,
        &format!(
            "SELECT id FROM reporting.report_data_weeks WHERE workflow_id = '{workflow}' ORDER BY week_start_date"
        ),
    ))
}

fn claim_all(client: &mut Client) {
    while !table(client, "SELECT week FROM reporting.claim_week('test')").is_empty() {}
}

fn record(client: &mut Client, week: &str, metrics: &str) -> Result<(), postgres::Error> {
    as_user(client, "service_role", None, |tx| {
        tx.batch_execute(&format!(
            "SELECT reporting.record_week_metrics('{week}', '{metrics}')"
        ))
    })
}

/// The people and the workflows without any data.
fn empty_house(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    people(&mut client)?;
    client.batch_execute(
        "DELETE FROM reporting.report_data_aggregates;
         UPDATE reporting.settings SET max_running_weeks = NULL, max_running_collections = NULL",
    )?;
    Ok((db, client))
}

const AGGREGATES: &str = "SELECT aggregation_key, data_date, metrics::text, dimensions, row_count FROM reporting.report_data_aggregates
                           ORDER BY length(aggregation_key) DESC, aggregation_key";

#[test]
fn a_month_is_the_sum_of_its_days_shares() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_month")?;
    let ids = weeks(&mut client, SALES, "2025-01-27", 3)?;
    // Five days of the first week are January's; 100/7 has no end, so what is rounded off here is added there.
    record(
        &mut client,
        &ids[0],
        r#"{"impressions": 100, "clicks": 7, "spend": 1.05, "note": null}"#,
    )?;
    record(
        &mut client,
        &ids[1],
        r#"{"impressions": 1000, "clicks": 10, "spend": 2.50}"#,
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT aggregation_key, data_date, metrics - 'ctr' - 'cpc' - 'cpm' FROM reporting.report_data_aggregates ORDER BY aggregation_type DESC, 1"
        ),
        [
            r#"2025-01-27_2025-02-02 | 2025-01-27 | {"spend": 1.05, "clicks": 7, "impressions": 100}"#,
            r#"2025-02-03_2025-02-09 | 2025-02-03 | {"spend": 2.50, "clicks": 10, "impressions": 1000}"#,
            r#"2025-Q1 | 2025-01-01 | {"spend": 3.55, "clicks": 17, "impressions": 1100}"#,
            r#"2025-01 | 2025-01-01 | {"spend": 0.75000000, "clicks": 5.000000, "impressions": 71.428571}"#,
            r#"2025-02 | 2025-02-01 | {"spend": 2.80000000, "clicks": 12.000000, "impressions": 1028.571429}"#,
        ]
    );
    // Ratios are made of the sums; the mean of 7 % and 1 % would be 4 %.
    assert_eq!(
        table(&mut client, "SELECT aggregation_key, metrics -> 'ctr', metrics -> 'cpc', metrics -> 'cpm', metrics -> 'roas' FROM reporting.report_data_aggregates
                             WHERE aggregation_type <> 'weekly' ORDER BY 1"),
        [
            "2025-01 | 7.000000 | 0.150000 | 10.500000 | -",
            "2025-02 | 1.166667 | 0.233333 | 2.722222 | -",
            "2025-Q1 | 1.545455 | 0.208824 | 3.227273 | -",
        ]
    );
    Ok(())
}

#[test]
fn ratios_are_never_averaged() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_ratios")?;
    let ids = weeks(&mut client, SALES, "2025-03-03", 2)?;
    // A ratio that is given is made anew, and kept as it is only where that cannot be done, for its week.
    record(
        &mut client,
        &ids[0],
        r#"{"clicks": 50, "impressions": 1000, "ctr": 99, "cvr": 12.5, "spend": 10, "sales": 40}"#,
    )?;
    record(
        &mut client,
        &ids[1],
        r#"{"clicks": 0, "impressions": 0, "ctr": 3, "spend": 0, "sales": 20, "purchases": 4}"#,
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT aggregation_key, metrics -> 'ctr', metrics -> 'cvr', metrics -> 'acos', metrics -> 'roas', metrics -> 'cpc' FROM reporting.report_data_aggregates ORDER BY aggregation_type DESC, 1"
        ),
        [
            "2025-03-03_2025-03-09 | 5.000000 | 12.5 | 25.000000 | 4.000000 | 0.200000",
            "2025-03-10_2025-03-16 | 3 | - | 0.000000 | - | -",
            "2025-Q1 | 5.000000 | 8.000000 | 16.666667 | 6.000000 | 0.200000",
            "2025-03 | 5.000000 | 8.000000 | 16.666667 | 6.000000 | 0.200000",
        ]
    );
    // Users add their own, as names and a factor; what is there is brought up to date on request.
    client.batch_execute("INSERT INTO reporting.metric_definitions (name, numerator, denominator, factor) VALUES ('aov', 'sales', 'purchases', 1)")?;
    assert_eq!(
        ask(
            &mut client,
            "service_role",
            None,
            "SELECT reporting.rebuild_aggregates()"
        )?,
        "3"
    );
    assert_eq!(
        ask(
            &mut client,
            "service_role",
            None,
            "SELECT reporting.rebuild_aggregates()"
        )?,
        "0"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT aggregation_key, metrics -> 'aov' FROM reporting.report_data_aggregates WHERE metrics ? 'aov' ORDER BY 1"
        ),
        [
            "2025-03 | 15.000000",
            "2025-03-10_2025-03-16 | 5.000000",
            "2025-Q1 | 15.000000"
        ]
    );
    for (name, numerator, denominator, factor, code) in [
        ("double", "ctr", "clicks", "1", "22023"),
        ("clicks", "a", "b", "1", "22023"),
        ("itself", "itself", "b", "1", "22023"),
        ("none", "a", "b", "0", "23514"),
        ("nan", "a", "b", "NaN", "23514"),
        ("large", "a", "b", "1e31", "23514"),
        ("nothing", "", "b", "1", "23514"),
        ("inf", "a", "b", "Infinity", "23514"),
        ("", "a", "b", "1", "23514"),
    ] {
        let insert = format!(
            "INSERT INTO reporting.metric_definitions VALUES ('{name}', '{numerator}', '{denominator}', '{factor}')"
        );
        assert_eq!(
            outcome(&mut client, "service_role", None, &insert),
            code,
            "{insert}"
        );
    }
    Ok(())
}

#[test]
fn a_week_is_replaced_and_never_counted_twice() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_replace")?;
    let ids = weeks(&mut client, SALES, "2025-01-27", 2)?;
    record(&mut client, &ids[0], r#"{"clicks": 70, "old": 1}"#)?;
    record(&mut client, &ids[1], r#"{"clicks": 7}"#)?;
    let before = table(&mut client, AGGREGATES);
    record(&mut client, &ids[0], r#"{"clicks": 70, "old": 1}"#)?;
    assert_eq!(table(&mut client, AGGREGATES), before);
    record(&mut client, &ids[0], r#"{"clicks": 14}"#)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT aggregation_key, metrics FROM reporting.report_data_aggregates WHERE aggregation_type <> 'weekly' ORDER BY 1"
        ),
        [
            r#"2025-01 | {"clicks": 10.000000}"#,
            r#"2025-02 | {"clicks": 11.000000}"#,
            r#"2025-Q1 | {"clicks": 21}"#
        ]
    );
    // One that is skipped counts where it was completed, or not at all.
    client.batch_execute(&format!("SELECT reporting.skip_week('{}')", ids[1]))?;
    let before = table(&mut client, AGGREGATES);
    record(&mut client, &ids[1], r#"{"clicks": 1000000}"#)?;
    assert_eq!(table(&mut client, AGGREGATES), before);
    // A week that goes takes its share along; a period without any week goes too.
    client.batch_execute("DELETE FROM reporting.report_data_aggregates WHERE data_date = '2025-01-27' AND aggregation_type = 'weekly'")?;
    ask(
        &mut client,
        "service_role",
        None,
        "SELECT reporting.rebuild_aggregates()",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT aggregation_key, metrics FROM reporting.report_data_aggregates ORDER BY 1"
        ),
        [
            r#"2025-02 | {"clicks": 7}"#,
            r#"2025-02-03_2025-02-09 | {"clicks": 7}"#,
            r#"2025-Q1 | {"clicks": 7}"#
        ]
    );
    Ok(())
}

/// Names that were ratios once are not summed up later.
#[test]
fn a_definition_that_goes_takes_its_ratios_along() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_definitions")?;
    let ids = weeks(&mut client, SALES, "2025-01-27", 4)?;
    for week in &ids {
        record(&mut client, week, r#"{"clicks": 10, "impressions": 100}"#)?;
    }
    let ratio = "SELECT count(*), count(*) FILTER (WHERE metrics ? 'ctr'), count(DISTINCT metrics -> 'ctr') FROM reporting.report_data_aggregates";
    assert_eq!(table(&mut client, ratio), ["7 | 7 | 1"]);
    for (change, expected) in [
        (
            "UPDATE reporting.metric_definitions SET denominator = 'nothing' WHERE name = 'ctr'",
            "7 | 0 | 0",
        ),
        (
            "UPDATE reporting.metric_definitions SET denominator = 'impressions' WHERE name = 'ctr'",
            "7 | 7 | 1",
        ),
        (
            "DELETE FROM reporting.metric_definitions WHERE name = 'ctr'",
            "7 | 0 | 0",
        ),
    ] {
        client.batch_execute(change)?;
        assert_eq!(
            ask(
                &mut client,
                "service_role",
                None,
                "SELECT reporting.rebuild_aggregates()"
            )?,
            "7",
            "{change}"
        );
        assert_eq!(table(&mut client, ratio), [expected], "{change}");
    }
    Ok(())
}

/// Who has lost a week does not overwrite what the one after has brought.
#[test]
fn a_claim_that_is_lost_records_nothing() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_claims")?;
    let ids = weeks(&mut client, SALES, "2025-01-27", 1)?;
    let old = value(&mut client, "SELECT claim FROM reporting.report_data_weeks");
    client.batch_execute(
        "UPDATE reporting.report_data_weeks SET lease_expires_at = now() - interval '1 minute'",
    )?;
    let with = |claim: &str, clicks: i32| {
        format!(
            "SELECT reporting.record_week_metrics('{}', '{{\"clicks\": {clicks}}}', claim => {claim})",
            ids[0]
        )
    };
    client.batch_execute("SELECT reporting.reap_weeks()")?;
    // Nobody has it.
    assert_eq!(
        outcome(&mut client, "service_role", None, &with("NULL", 1)),
        "55000"
    );
    let new = value(
        &mut client,
        "SELECT claim FROM reporting.claim_week('next')",
    );
    client.batch_execute(&with(&new, 100))?;
    let error = expect_sqlstate(client.batch_execute(&with(&old, 1)), "55000");
    assert_eq!(error.message(), "the week is not yours any more");
    client.batch_execute(&format!("SELECT reporting.complete_week('{}')", ids[0]))?;
    assert_eq!(
        outcome(&mut client, "service_role", None, &with(&old, 1)),
        "55000"
    );
    client.batch_execute(&with(&new, 101))?;
    assert_eq!(
        value(
            &mut client,
            "SELECT metrics FROM reporting.report_data_aggregates WHERE aggregation_type = 'weekly'"
        ),
        r#"{"clicks": 101}"#
    );
    Ok(())
}

/// The same result is recorded once, by whoever comes to it.
#[test]
fn a_duplicate_records_what_its_original_has_not() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_duplicate")?;
    let first = weeks(&mut client, SALES, "2025-01-27", 1)?;
    client.batch_execute(&format!(
        "SELECT reporting.complete_week('{}', 5, 'sum')",
        first[0]
    ))?;
    client.batch_execute("UPDATE reporting.report_data_weeks SET updated_at = updated_at")?;
    let both = weeks(&mut client, SALES, "2025-01-27", 1)?;
    let second = both
        .iter()
        .find(|id| **id != first[0])
        .map(String::as_str)
        .unwrap_or_default();
    assert_eq!(
        value(
            &mut client,
            &format!("SELECT status FROM reporting.complete_week('{second}', 5, 'sum')")
        ),
        "skipped"
    );
    let weekly = "SELECT string_agg(metrics::text, ' ') FROM reporting.report_data_aggregates WHERE aggregation_type = 'weekly'";
    record(&mut client, second, r#"{"clicks": 7}"#)?;
    assert_eq!(value(&mut client, weekly), r#"{"clicks": 7}"#);
    // Now it is there.
    record(&mut client, second, r#"{"clicks": 8}"#)?;
    assert_eq!(value(&mut client, weekly), r#"{"clicks": 7}"#);
    record(&mut client, &first[0], r#"{"clicks": 9}"#)?;
    assert_eq!(value(&mut client, weekly), r#"{"clicks": 9}"#);
    Ok(())
}

/// Recorded before or after: the number of rows is the week's.
#[test]
fn row_counts_follow_the_week() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_rows")?;
    let ids = weeks(&mut client, SALES, "2025-02-03", 2)?;
    record(&mut client, &ids[0], r#"{"clicks": 1}"#)?;
    ask(
        &mut client,
        "service_role",
        None,
        &format!(
            "SELECT progress FROM reporting.complete_week('{}', 3000000000)",
            ids[0]
        ),
    )?;
    client.batch_execute(&format!("SELECT reporting.complete_week('{}', 4)", ids[1]))?;
    record(&mut client, &ids[1], r#"{"clicks": 1}"#)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT aggregation_key, row_count FROM reporting.report_data_aggregates ORDER BY 1"
        ),
        [
            "2025-02 | 3000000004",
            "2025-02-03_2025-02-09 | 3000000000",
            "2025-02-10_2025-02-16 | 4",
            "2025-Q1 | 3000000004"
        ]
    );
    Ok(())
}

/// Campaigns and products by the ten thousand.
#[test]
fn dimensions_may_be_large() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_large")?;
    let ids = weeks(&mut client, SALES, "2025-01-27", 5)?;
    for (number, week) in ids.iter().enumerate() {
        client.batch_execute(&format!(
            "SELECT reporting.record_week_metrics('{week}', '{{\"clicks\": 1}}',
               (SELECT jsonb_build_object('asin', jsonb_agg('B0' || n)) FROM generate_series({number}, 20000 + {number}) AS n))"
        ))?;
    }
    assert_eq!(
        value(
            &mut client,
            "SELECT jsonb_array_length(dimensions -> 'asin') FROM reporting.report_data_aggregates WHERE aggregation_type = 'quarterly'"
        ),
        "20005"
    );
    let huge = format!(
        "SELECT reporting.record_week_metrics('{}', '{{}}', jsonb_build_object('a', repeat('x', 4000000)))",
        ids[0]
    );
    assert_eq!(outcome(&mut client, "service_role", None, &huge), "22023");
    Ok(())
}

#[test]
fn dimensions_and_row_counts_come_along() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_dimensions")?;
    let ids = weeks(&mut client, SALES, "2025-01-27", 2)?;
    client.batch_execute("UPDATE reporting.report_data_weeks SET row_count = 10")?;
    for (week, dimensions) in ids.iter().zip([
        r#"{"campaign": ["spring", "brand"], "market": "de", "asin": "B1", "none": []}"#,
        r#"{"campaign": ["spring", "ß"], "market": "de", "asin": "B2", "new": 1}"#,
    ]) {
        as_user(&mut client, "service_role", None, |tx| {
            tx.batch_execute(&format!(
                "SELECT reporting.record_week_metrics('{week}', '{{}}', '{dimensions}')"
            ))
        })?;
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT aggregation_key, dimensions, row_count, metrics FROM reporting.report_data_aggregates WHERE aggregation_type <> 'weekly' ORDER BY 1"
        ),
        [
            r#"2025-01 | {"asin": "B1", "none": [], "market": "de", "campaign": ["spring", "brand"]} | 7 | {}"#,
            r#"2025-02 | {"new": 1, "asin": ["B1", "B2"], "none": [], "market": "de", "campaign": ["brand", "spring", "ß"]} | 13 | {}"#,
            r#"2025-Q1 | {"new": 1, "asin": ["B1", "B2"], "none": [], "market": "de", "campaign": ["brand", "spring", "ß"]} | 20 | {}"#,
        ]
    );
    Ok(())
}

/// What of an amount falls on the first `days` of a week of `length`, in millionths.
fn running(amount: i128, days: i64, length: i64) -> i128 {
    let (days, length) = (i128::from(days), i128::from(length));
    if days == length {
        return amount * 1_000_000;
    }
    let exact = amount * days * 1_000_000 * 2;
    let sign = exact.signum();
    sign * ((exact.abs() / length + 1) / 2)
}

/// Random weeks of random lengths, in random order, with replacements: months are what a model of whole numbers says,
/// and add up to the weeks.
#[test]
fn any_order_makes_the_same_months() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_random")?;
    let mut random = Random::new(11);
    for round in 0..6 {
        client.batch_execute("DELETE FROM reporting.report_data_collections; DELETE FROM reporting.report_data_aggregates")?;
        let mut planned: Vec<(String, i64, i64)> = Vec::new();
        client.batch_execute(&format!(
            "INSERT INTO reporting.report_data_collections (workflow_id, instance_id, collection_type, target_weeks, start_date, end_date)
             VALUES ('{SALES}', '{ACCOUNT}', 'weekly_update', 40, '2024-11-04', '2026-01-01')"
        ))?;
        // Days since 2024-11-04.
        let mut day = random.below(7) as i64;
        for _ in 0..40 {
            let length = 1 + random.below(7) as i64;
            let id = value(&mut client, &format!(
                "INSERT INTO reporting.report_data_weeks (collection_id, workflow_id, instance_id, week_start_date, week_end_date)
                 SELECT id, workflow_id, instance_id, date '2024-11-04' + {day}, date '2024-11-04' + {day} + {length} - 1
                   FROM reporting.report_data_collections RETURNING id"
            ));
            planned.push((id, day, length));
            day += length + random.below(3) as i64;
        }
        claim_all(&mut client);
        let mut amounts: BTreeMap<usize, i128> = BTreeMap::new();
        for _ in 0..60 {
            let number = random.below(40) as usize;
            let amount = i128::from(random.below(2_000_000)) - 500_000;
            record(
                &mut client,
                &planned[number].0,
                &format!("{{\"clicks\": {amount}}}"),
            )?;
            amounts.insert(number, amount);
        }
        for kind in ["month", "quarter"] {
            let mut expected: BTreeMap<String, i128> = BTreeMap::new();
            for (number, amount) in &amounts {
                let (_, first, length) = &planned[*number];
                for k in 0..*length {
                    let key = value(
                        &mut client,
                        &format!(
                            "SELECT date_trunc('{kind}', (date '2024-11-04' + {})::timestamp)::date",
                            first + k
                        ),
                    );
                    *expected.entry(key).or_default() +=
                        running(*amount, k + 1, *length) - running(*amount, k, *length);
                }
            }
            let found: BTreeMap<String, i128> = table(&mut client, &format!(
                "SELECT data_date || '=' || trunc((metrics -> 'clicks')::numeric * 1000000) FROM reporting.report_data_aggregates WHERE aggregation_type = '{kind}ly'"))
                .iter()
                .filter_map(|line| line.split_once('='))
                .map(|(key, millionths)| Ok((key.to_owned(), millionths.parse()?)))
                .collect::<Result<_>>()?;
            assert_eq!(found, expected, "round {round}");
            assert_eq!(
                value(&mut client, &format!(
                    "SELECT sum((metrics -> 'clicks')::numeric) FILTER (WHERE aggregation_type = 'weekly') = sum((metrics -> 'clicks')::numeric) FILTER (WHERE aggregation_type = '{kind}ly')
                       FROM reporting.report_data_aggregates")),
                "t"
            );
        }
        assert_eq!(
            ask(
                &mut client,
                "service_role",
                None,
                "SELECT reporting.rebuild_aggregates()"
            )?,
            "0",
            "round {round}"
        );
    }
    Ok(())
}

#[test]
fn sixteen_record_at_once() -> Result<()> {
    let (db, mut client) = empty_house("aggregates_parallel")?;
    let ids = weeks(&mut client, SALES, "2025-01-27", 32)?;
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..16)
            .map(|number| {
                let (db, ids) = (&db, &ids);
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect()?;
                    for round in 0..6 {
                        // Each week by several of them, one after the other and at once.
                        let week = &ids[(number * 2 + round * 5) % 32];
                        record(&mut client, week, r#"{"clicks": 1, "impressions": 0.01}"#)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        Ok(())
    })?;
    let recorded = value(
        &mut client,
        "SELECT count(*) FROM reporting.report_data_aggregates WHERE aggregation_type = 'weekly'",
    );
    ensure!(recorded == "32", "{recorded} weeks");
    assert_eq!(
        table(&mut client, "SELECT aggregation_type, sum((metrics -> 'clicks')::numeric) = 32, sum((metrics -> 'impressions')::numeric) = 0.32
                              FROM reporting.report_data_aggregates GROUP BY 1 ORDER BY 1"),
        ["monthly | t | t", "quarterly | t | t", "weekly | t | t"]
    );
    assert_eq!(
        ask(
            &mut client,
            "service_role",
            None,
            "SELECT reporting.rebuild_aggregates()"
        )?,
        "0"
    );
    Ok(())
}

#[test]
fn what_there_is_of_a_workflow_is_known() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_noted")?;
    let known = "SELECT version, first_day, last_day FROM reporting.workflow_data WHERE workflow_id = '20000000-0000-0000-0000-00000000000a'";
    let version = |client: &mut Client| -> i64 {
        value(client, known)
            .split(' ')
            .next()
            .and_then(|v| v.parse().ok())
            .unwrap_or_default()
    };
    let ids = weeks(&mut client, SALES, "2025-01-27", 3)?;
    record(&mut client, &ids[0], "{}")?;
    record(&mut client, &ids[2], "{}")?;
    let first = version(&mut client);
    ensure!(value(&mut client, known).ends_with("2025-01-27 | 2025-02-16"));
    // The same again is no change.
    record(&mut client, &ids[2], "{}")?;
    ask(
        &mut client,
        "service_role",
        None,
        "SELECT reporting.rebuild_aggregates()",
    )?;
    ensure!(version(&mut client) == first);
    // Whoever changes something, in whatever way.
    for (sql, days) in [
        (
            "UPDATE reporting.report_data_aggregates SET metrics = '{\"clicks\": 1}' WHERE aggregation_type = 'monthly'",
            "2025-01-27 | 2025-02-16",
        ),
        (
            "DELETE FROM reporting.report_data_aggregates WHERE data_date = '2025-02-10'",
            "2025-01-27 | 2025-02-02",
        ),
        ("DELETE FROM reporting.report_data_aggregates", "- | -"),
    ] {
        let before = version(&mut client);
        client.batch_execute(sql)?;
        ensure!(version(&mut client) > before, "{sql}");
        let now = value(&mut client, known);
        ensure!(now.ends_with(days), "{now} after {sql}");
    }
    ensure!(version(&mut client) > first);
    // And a workflow goes with all that there is of it.
    record(&mut client, &ids[1], "{}")?;
    client.batch_execute(&format!(
        "DELETE FROM reporting.workflows WHERE id = '{SALES}'"
    ))?;
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM reporting.report_data_aggregates"
        ),
        "0"
    );
    Ok(())
}

#[test]
fn what_cannot_be_recorded_says_why() -> Result<()> {
    let (_db, mut client) = empty_house("aggregates_bad")?;
    let ids = weeks(&mut client, SALES, "2025-01-06", 2)?;
    record(&mut client, &ids[0], r#"{"clicks": 5}"#)?;
    let week = &ids[1];
    let many: Vec<String> = (0..501).map(|n| format!("\"m{n}\": 1")).collect();
    for (metrics, code, detail) in [
        ("[]", "22023", "metrics: []"),
        ("5", "22023", "metrics: 5"),
        (
            r#"{"a": 1, "clicks": "5"}"#,
            "22023",
            "metrics.clicks: \"5\"",
        ),
        (
            r#"{"clicks": {"a": 1}}"#,
            "22023",
            "metrics.clicks: {\"a\": 1}",
        ),
        (r#"{"": 1}"#, "22023", "metrics.: 1"),
        (
            r#"{"a": 1e100}"#,
            "22003",
            &format!("metrics.a: 1{}", "0".repeat(100)),
        ),
        (
            &format!("{{{}}}", many.join(", ")),
            "54000",
            "metrics: 501 names",
        ),
    ] {
        let error = expect_sqlstate(record(&mut client, week, metrics), code);
        assert_eq!(error.detail(), Some(detail));
        assert!(error.hint().is_some());
    }
    for (call, code) in [
        (format!("'{week}', NULL"), "22023"),
        (format!("'{week}', '{{}}', '[]'"), "22023"),
        ("NULL, '{}'".to_owned(), "P0002"),
        ("gen_random_uuid(), '{}'".to_owned(), "P0002"),
    ] {
        let sql = format!("SELECT reporting.record_week_metrics({call})");
        assert_eq!(
            outcome(&mut client, "service_role", None, &sql),
            code,
            "{sql}"
        );
    }
    // Other days that overlap would count twice.
    client.batch_execute("DELETE FROM reporting.report_data_collections")?;
    let shifted = weeks(&mut client, SALES, "2025-01-09", 1)?;
    let error = expect_sqlstate(
        record(&mut client, &shifted[0], r#"{"clicks": 5}"#),
        "23P01",
    );
    assert_eq!(
        error.detail(),
        Some("week 2025-01-09_2025-01-15, recorded 2025-01-06_2025-01-12")
    );
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut tx = client.transaction()?;
        tx.batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}"))?;
        expect_sqlstate(
            tx.query(
                &format!("SELECT reporting.record_week_metrics('{week}', '{{}}')"),
                &[],
            ),
            "25001",
        );
    }
    // Keys say which days they mean.
    for (kind, key, date) in [
        ("weekly", "2025-01-06", "2025-01-06"),
        ("weekly", "2025-01-06_2025-01-13", "2025-01-06"),
        ("weekly", "2025-01-06_2025-01-12", "2025-01-07"),
        ("monthly", "2025-1", "2025-01-01"),
        ("monthly", "2025-01", "2025-01-02"),
        ("quarterly", "2025-Q5", "2025-01-01"),
        ("quarterly", "2025-Q2", "2025-01-01"),
        ("daily", "2025-01-06", "2025-01-06"),
    ] {
        let sql = format!(
            "INSERT INTO reporting.report_data_aggregates (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics)
             VALUES ('{OF_DORA}', '{ACCOUNT}', '{kind}', '{key}', '{date}', '{{}}')"
        );
        assert_eq!(
            outcome(&mut client, "service_role", None, &sql),
            "23514",
            "{kind} {key} {date}"
        );
    }
    for role in ["anon", "authenticated"] {
        for call in [
            "record_week_metrics(gen_random_uuid(), '{}')",
            "rebuild_aggregates()",
        ] {
            assert_eq!(
                outcome(
                    &mut client,
                    role,
                    Some(ANNA),
                    &format!("SELECT reporting.{call}")
                ),
                "42501"
            );
        }
    }
    Ok(())
}
