//! What the detectors find in stored figures and in arrays, and whose figures they look at.

mod reporting_support;

use anyhow::Result;
use gemba_tests::{Database, as_user, expect_sqlstate, extended, table, value};
use postgres::Client;
use reporting_support::*;
use serde_json::Value;

/// A second account.
const OTHER: &str = "10000000-0000-0000-0000-000000000002";

fn with_people(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    people(&mut client)?;
    client.batch_execute(&format!(
        "DELETE FROM reporting.report_data_aggregates;
         INSERT INTO reporting.amc_instances (id, instance_id, instance_name) VALUES ('{OTHER}', 'amc-2', 'two')"
    ))?;
    Ok((db, client))
}

/// Weeks from Monday 2025-01-06 on, of which `metrics` is a jsonb expression of `n`, the number of the week from 0.
fn weeks(
    client: &mut Client,
    workflow: &str,
    account: &str,
    count: i32,
    metrics: &str,
) -> Result<()> {
    client.batch_execute(&format!(
        "INSERT INTO reporting.report_data_aggregates
                (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics)
         SELECT '{workflow}', '{account}', 'weekly', format('%s_%s', d, d + 6), d, {metrics}
           FROM (SELECT n, DATE '2025-01-06' + 7 * n AS d FROM generate_series(0, {count} - 1) AS n) AS w"
    ))?;
    Ok(())
}

/// `clicks` as an expression of `n`.
fn clicks(expression: &str) -> String {
    format!("jsonb_build_object('clicks', {expression})")
}

/// The only row of a detector, as a user: summary, confidence, numbers.
fn found(client: &mut Client, user: &str, call: &str) -> Result<(String, Option<String>, Value)> {
    let rows = as_user(client, "authenticated", Some(user), |tx| {
        tx.query(
            &format!("SELECT summary, confidence::text, numbers FROM {call}"),
            &[],
        )
    })?;
    assert_eq!(rows.len(), 1, "{call}");
    Ok((rows[0].get(0), rows[0].get(1), rows[0].get(2)))
}

/// One column of a detector's rows, as a user.
fn column(client: &mut Client, user: &str, call: &str) -> Result<Vec<String>> {
    let rows = as_user(client, "authenticated", Some(user), |tx| {
        tx.query(call, &[])
    })?;
    Ok(rows
        .iter()
        .map(|row| {
            row.get::<_, Option<String>>(0)
                .unwrap_or_else(|| "-".to_owned())
        })
        .collect())
}

#[test]
fn a_trend_of_stored_weeks() -> Result<()> {
    let (_db, mut client) = with_people("insights_trend")?;
    weeks(&mut client, SALES, ACCOUNT, 30, &clicks("100 + 3 * n"))?;
    let (summary, confidence, numbers) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'clicks')"),
    )?;
    assert_eq!(
        summary,
        "clicks rose by 3 a week over 26 weeks (slope 95% CI 3 to 3), p < 0.001."
    );
    assert_eq!(confidence.as_deref(), Some("0.99"));
    assert_eq!(numbers["direction"], "rising");
    assert_eq!(numbers["slope"], 3.0);
    // Where the line stands in the newest week.
    assert_eq!(numbers["level"], 187.0);
    assert_eq!(
        (&numbers["points"], &numbers["without_value"]),
        (&26.into(), &0.into())
    );
    assert_eq!(numbers["first_period"], "2025-02-03_2025-02-09");
    assert_eq!(numbers["last_period"], "2025-07-28_2025-08-03");
    assert_eq!(numbers["s"], 26 * 25 / 2);
    // Of the last five only, whose order is one of two in 120.
    let (summary, confidence, numbers) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'clicks', last => 5)"),
    )?;
    assert!(
        summary.starts_with("clicks rose by 3 a week over 5 weeks"),
        "{summary}"
    );
    assert_eq!(confidence.as_deref(), Some("0.98"));
    assert!((numbers["p"].as_f64().unwrap_or_default() - 2.0 / 120.0).abs() < 1e-15);
    // A week without the metric leaves a gap; one that was cut short is no week.
    client.batch_execute(&format!(
        "UPDATE reporting.report_data_aggregates SET metrics = '{{\"clicks\": null}}' WHERE data_date = '2025-06-02';
         INSERT INTO reporting.report_data_aggregates
                (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics)
         VALUES ('{SALES}', '{ACCOUNT}', 'weekly', '2025-08-04_2025-08-06', '2025-08-04', '{{\"clicks\": 1}}')"
    ))?;
    let (summary, _, numbers) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'clicks', last => 10)"),
    )?;
    assert_eq!(
        summary,
        "clicks rose by 3 a week over 11 weeks of which 10 have a value (slope 95% CI 3 to 3), p < 0.001."
    );
    assert_eq!(numbers["last_period"], "2025-07-28_2025-08-03");
    // Three are too few.
    client.batch_execute(
        "DELETE FROM reporting.report_data_aggregates WHERE data_date > '2025-01-20'",
    )?;
    let (summary, confidence, numbers) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'clicks')"),
    )?;
    assert_eq!(
        summary,
        "clicks has figures of 3 weeks, too few for a trend: at least 4 are needed."
    );
    assert_eq!(confidence, None);
    assert_eq!(numbers["points"], 3);
    Ok(())
}

#[test]
fn ratios_are_made_of_sums() -> Result<()> {
    let (_db, mut client) = with_people("insights_ratios")?;
    // On one account the rate is 1 %, on the other 10 %; the share of the second grows week by week.
    weeks(
        &mut client,
        SALES,
        ACCOUNT,
        20,
        "jsonb_build_object('clicks', 10, 'impressions', 1000, 'ctr', 999)",
    )?;
    weeks(
        &mut client,
        SALES,
        OTHER,
        20,
        "jsonb_build_object('clicks', 10 * n, 'impressions', 100 * n)",
    )?;
    let values = table(
        &mut client,
        "SELECT round(100.0 * sum((metrics ->> 'clicks')::numeric) / sum((metrics ->> 'impressions')::numeric), 6)
           FROM reporting.report_data_aggregates GROUP BY data_date ORDER BY data_date",
    );
    let expected = value(
        &mut client,
        &format!(
            "SELECT slope FROM reporting.trend('{{{}}}')",
            values.join(",")
        ),
    );
    let (summary, _, numbers) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'ctr', last => 20)"),
    )?;
    assert_eq!(numbers["slope"].to_string(), expected);
    assert!(summary.starts_with("ctr rose by 0.2"), "{summary}");
    // On one account alone it does not move, whatever the row says of itself.
    let (summary, confidence, _) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'ctr', instance => '{ACCOUNT}')"),
    )?;
    assert_eq!(summary, "ctr was 1 all over 20 weeks.");
    assert_eq!(confidence.as_deref(), Some("0.00"));
    // Without impressions there is no rate; a definition's change counts at once.
    client.batch_execute(
        "UPDATE reporting.report_data_aggregates SET metrics = metrics - 'impressions' WHERE data_date < '2025-02-01';
         UPDATE reporting.metric_definitions SET factor = 1000 WHERE name = 'ctr'",
    )?;
    let (summary, ..) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'ctr', instance => '{ACCOUNT}')"),
    )?;
    assert_eq!(summary, "ctr was 10 all over 16 weeks.");
    Ok(())
}

#[test]
fn a_sum_in_which_an_account_is_missing_does_not_count() -> Result<()> {
    let (_db, mut client) = with_people("insights_gaps")?;
    weeks(&mut client, SALES, ACCOUNT, 20, &clicks("100"))?;
    weeks(&mut client, SALES, OTHER, 18, &clicks("50"))?;
    client.batch_execute(&format!(
        "DELETE FROM reporting.report_data_aggregates WHERE instance_id = '{OTHER}' AND data_date = '2025-02-03'"
    ))?;
    let (summary, _, numbers) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'clicks')"),
    )?;
    assert_eq!(
        summary,
        "clicks was 150 all over 18 weeks of which 17 have a value."
    );
    assert_eq!(numbers["without_value"], 3);
    // Neither is it out of the ordinary.
    assert_eq!(
        column(
            &mut client,
            ANNA,
            &format!("SELECT summary FROM reporting.detect_anomalies('{SALES}', 'clicks')")
        )?,
        Vec::<String>::new()
    );
    Ok(())
}

#[test]
fn months_and_quarters_that_are_not_whole_do_not_count() -> Result<()> {
    let (_db, mut client) = with_people("insights_months")?;
    client.batch_execute(&format!(
        "INSERT INTO reporting.report_data_aggregates
                (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics)
         SELECT '{SALES}'::uuid, '{ACCOUNT}'::uuid, 'monthly', to_char(d, 'YYYY-MM'), d, jsonb_build_object('clicks', 1000 - 10 * n)
           FROM (SELECT n, (DATE '2024-01-01' + n * interval '1 month')::date AS d FROM generate_series(0, 17) AS n) AS m
         UNION ALL
         SELECT '{SALES}', '{ACCOUNT}', 'quarterly', to_char(d, 'YYYY-\"Q\"Q'), d, jsonb_build_object('clicks', 3000 + n)
           FROM (SELECT n, (DATE '2024-01-01' + n * interval '3 months')::date AS d FROM generate_series(0, 5) AS n) AS q;
         INSERT INTO reporting.workflow_data (workflow_id, instance_id, first_day, last_day)
         VALUES ('{SALES}', '{ACCOUNT}', '2024-01-15', '2025-06-29')
         ON CONFLICT (workflow_id, instance_id) DO UPDATE SET first_day = excluded.first_day, last_day = excluded.last_day"
    ))?;
    let (summary, _, numbers) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'clicks', 'monthly')"),
    )?;
    assert_eq!(
        summary,
        "clicks fell by 10 a month over 16 months (slope 95% CI -10 to -10), p < 0.001."
    );
    assert_eq!(numbers["first_period"], "2024-02");
    assert_eq!(numbers["last_period"], "2025-05");
    let (_, _, numbers) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'clicks', 'quarterly')"),
    )?;
    assert_eq!(numbers["first_period"], "2024-Q2");
    assert_eq!(numbers["last_period"], "2025-Q1");
    assert_eq!(numbers["slope"], 1.0);
    client.batch_execute(
        "UPDATE reporting.workflow_data SET last_day = '2025-06-30', first_day = '2024-01-01'",
    )?;
    let (_, _, numbers) = found(
        &mut client,
        ANNA,
        &format!("reporting.detect_trend('{SALES}', 'clicks', 'quarterly')"),
    )?;
    assert_eq!(
        (&numbers["points"], &numbers["last_period"]),
        (&6.into(), &"2025-Q2".into())
    );
    Ok(())
}

#[test]
fn weeks_out_of_the_ordinary() -> Result<()> {
    let (_db, mut client) = with_people("insights_anomalies")?;
    weeks(
        &mut client,
        SALES,
        ACCOUNT,
        40,
        &clicks("CASE n WHEN 5 THEN 900 WHEN 20 THEN 400 WHEN 33 THEN 2 ELSE 100 + n * 7 % 5 END"),
    )?;
    let all = format!(
        "SELECT concat_ws(' | ', insight_type, metric_name, workflow_id, instance_id, period_key, summary, confidence)
           FROM reporting.detect_anomalies('{SALES}', 'clicks', last => 40)"
    );
    assert_eq!(
        column(&mut client, ANNA, &all)?,
        [
            format!(
                "anomaly_detection | clicks | {SALES} | 2025-05-26_2025-06-01 | clicks was 400 in the week of 2025-05-26, \
                 above the 102 that is usual: the median of the 12 weeks before (robust z beyond 100). | 0.92"
            ),
            format!(
                "anomaly_detection | clicks | {SALES} | 2025-08-25_2025-08-31 | clicks was 2 in the week of 2025-08-25, \
                 below the 102 that is usual: the median of the 12 weeks before (robust z -67.5). | 0.92"
            ),
        ]
    );
    // Looked at are the last ones only; what is usual comes from before them.
    assert_eq!(
        column(
            &mut client,
            ANNA,
            &format!(
                "SELECT numbers #>> '{{usual}}' FROM reporting.detect_anomalies('{SALES}', 'clicks', last => 7)"
            )
        )?,
        ["102.0"]
    );
    let none =
        format!("SELECT summary FROM reporting.detect_anomalies('{SALES}', 'clicks', last => 6)");
    assert_eq!(column(&mut client, ANNA, &none)?, Vec::<String>::new());
    let strict = format!(
        "SELECT period_key FROM reporting.detect_anomalies('{SALES}', 'clicks', threshold => 80, last => 40)"
    );
    assert_eq!(
        column(&mut client, ANNA, &strict)?,
        ["2025-05-26_2025-06-01"]
    );
    Ok(())
}

#[test]
fn dimensions_are_filtered() -> Result<()> {
    let (_db, mut client) = with_people("insights_filters")?;
    weeks(&mut client, SALES, ACCOUNT, 10, &clicks("n"))?;
    weeks(&mut client, SALES, OTHER, 10, &clicks("-2 * n"))?;
    client.batch_execute(&format!(
        "UPDATE reporting.report_data_aggregates SET dimensions = '{{\"brand\": [\"a\", \"b\"], \"n\": 1}}' WHERE instance_id = '{ACCOUNT}';
         UPDATE reporting.report_data_aggregates SET dimensions = '{{\"brand\": \"c\", \"n\": 2}}' WHERE instance_id = '{OTHER}'"
    ))?;
    for (filters, slope) in [
        ("{}", Some(-1.0)),
        ("{\"brand\": \"a\"}", Some(1.0)),
        ("{\"brand\": [\"x\", \"b\"]}", Some(1.0)),
        ("{\"brand\": [\"c\", \"x\"]}", Some(-2.0)),
        ("{\"brand\": [\"a\", \"c\"]}", Some(-1.0)),
        ("{\"brand\": \"a\", \"n\": 1.0}", Some(1.0)),
        ("{\"brand\": \"a\", \"n\": 2}", None),
        ("{\"brand\": \"x\"}", None),
        ("{\"other\": \"a\"}", None),
        ("{\"n\": \"1\"}", None),
    ] {
        let call = format!("reporting.detect_trend('{SALES}', 'clicks', filters => '{filters}')");
        match slope {
            Some(slope) => assert_eq!(
                found(&mut client, ANNA, &call)?.2["slope"],
                slope,
                "{filters}"
            ),
            None => {
                expect_sqlstate(
                    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
                        tx.query(&format!("SELECT * FROM {call}"), &[])
                    }),
                    "P0002",
                );
            }
        }
    }
    Ok(())
}

#[test]
fn movers_among_what_one_may_read() -> Result<()> {
    let (_db, mut client) = with_people("insights_movers")?;
    // Each moves a little; in the last week a lot.
    weeks(
        &mut client,
        SALES,
        ACCOUNT,
        20,
        &clicks("CASE n WHEN 19 THEN 160 ELSE 100 + n % 2 END"),
    )?;
    weeks(
        &mut client,
        SALES,
        OTHER,
        20,
        &clicks("CASE n WHEN 19 THEN 30 ELSE 50 + n % 3 END"),
    )?;
    weeks(&mut client, SECRET, ACCOUNT, 20, &clicks("7"))?;
    // Of Cleo's the last week is not there yet; Dora's has begun just now.
    weeks(&mut client, OF_CLEO, ACCOUNT, 19, &clicks("1000"))?;
    weeks(&mut client, OF_DORA, ACCOUNT, 20, &clicks("5"))?;
    client.batch_execute(&format!(
        "DELETE FROM reporting.report_data_aggregates WHERE workflow_id = '{OF_DORA}' AND data_date < '2025-05-19'"
    ))?;
    // She knows the account that her workflow runs on, and not the other one's name.
    let movers = "SELECT concat_ws(' | ', insight_type, workflow_id, instance_id, period_key, summary, confidence)
                    FROM reporting.detect_movers('clicks')";
    assert_eq!(
        column(&mut client, ANNA, movers)?,
        [
            format!(
                "optimization | {SALES} | {ACCOUNT} | 2025-05-19_2025-05-25 | \
                 clicks of sales on one rose from 100 to 160 (+60, +60%), 150% of the total's change. | 0.92"
            ),
            format!(
                "optimization | {SALES} | {OTHER} | 2025-05-19_2025-05-25 | \
                 clicks of sales on {OTHER} fell from 50 to 30 (-20, -40%), against the total's change. | 0.92"
            ),
        ]
    );
    // Those of whom there is nothing yet are neither gone nor a fall; those that come are new.
    let all = table(
        &mut client,
        "SELECT numbers ->> 'name', numbers ->> 'presence', numbers ->> 'change', numbers ->> 'not_comparable', confidence
           FROM reporting.detect_movers('clicks')",
    );
    assert_eq!(
        all,
        [
            "sales on one | stayed | 60.0 | 1 | 0.92",
            "of Dora | new | 5.0 | 1 | -",
            "sales on two | stayed | -20.0 | 1 | 0.92",
        ]
    );
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT numbers ->> 'name' FROM reporting.detect_movers('clicks', workflows => ARRAY['{OF_DORA}', '{SECRET}', NULL]::uuid[])"
            )
        ),
        ["of Dora"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT numbers ->> 'name' FROM reporting.detect_movers('clicks', most => 1)"
        ),
        ["sales on one", "sales on two"]
    );
    // What was collected and has no such metric any more is gone.
    client.batch_execute(&format!(
        "UPDATE reporting.report_data_aggregates SET metrics = '{{}}' WHERE workflow_id = '{SECRET}' AND data_date = '2025-05-19'"
    ))?;
    assert_eq!(
        column(
            &mut client,
            ANNA,
            &format!(
                "SELECT summary FROM reporting.detect_movers('clicks') WHERE workflow_id = '{SECRET}'"
            )
        )?,
        ["clicks of secret is gone, it was 7, against the total's change."]
    );
    for nothing in ["'nothing'", "'clicks', 'monthly'"] {
        assert_eq!(
            column(
                &mut client,
                ANNA,
                &format!("SELECT summary FROM reporting.detect_movers({nothing})")
            )?,
            Vec::<String>::new()
        );
    }
    Ok(())
}

#[test]
fn movers_of_a_ratio_have_no_share() -> Result<()> {
    let (_db, mut client) = with_people("insights_mover_ratios")?;
    let metrics =
        "jsonb_build_object('clicks', CASE n WHEN 9 THEN 30 ELSE 10 END, 'impressions', 1000)";
    weeks(&mut client, SALES, ACCOUNT, 10, metrics)?;
    weeks(
        &mut client,
        SECRET,
        ACCOUNT,
        10,
        "jsonb_build_object('clicks', 1, 'impressions', 9 - n)",
    )?;
    let rows = column(
        &mut client,
        ANNA,
        "SELECT summary || ' ' || (numbers ->> 'not_comparable') || coalesce(numbers ->> 'share', '') FROM reporting.detect_movers('ctr')",
    )?;
    // Of the other there is no rate in the last week.
    assert_eq!(rows, ["ctr of sales rose from 1 to 3 (+2, +200%). 1"]);
    Ok(())
}

#[test]
fn names_that_are_alike_are_told_apart() -> Result<()> {
    let (_db, mut client) = with_people("insights_names")?;
    client.batch_execute("UPDATE reporting.workflows SET name = 'same'")?;
    for workflow in [SALES, SECRET] {
        weeks(&mut client, workflow, ACCOUNT, 3, &clicks("n"))?;
    }
    let names = column(
        &mut client,
        ANNA,
        "SELECT numbers ->> 'name' FROM reporting.detect_movers('clicks')",
    )?;
    assert_eq!(
        names,
        [
            format!("same ({SALES}, {ACCOUNT})"),
            format!("same ({SECRET}, {ACCOUNT})")
        ]
    );
    Ok(())
}

#[test]
fn over_arrays() -> Result<()> {
    let db = extended("insights_arrays")?;
    let mut client = db.connect()?;
    assert_eq!(
        table(
            &mut client,
            "SELECT direction, round(slope::numeric, 6), round(slope_low::numeric, 6), round(slope_high::numeric, 6), round(p::numeric, 6),
                    round(tau::numeric, 6), s, points, confidence FROM reporting.trend('{1.26, 1.27, 1.12, 1.16, 1.03}')"
        ),
        ["flat | -0.056250 | -0.150000 | 0.040000 | 0.233333 | -0.600000 | -6 | 5 | 0.76"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT direction, slope, slope_low, intercept, tau, points, confidence
               FROM reporting.trend('{5, 5, NULL, 5, NaN, 5}', '{0, 1, 2, 3, 4, 5}')"
        ),
        ["flat | 0 | - | 5 | - | 4 | 0.00"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT direction, slope, intercept FROM reporting.trend('{4, 3, 2, 1}', '{-3, 0, 3, 6}', 0.1)"
        ),
        ["falling | -0.3333333333333333 | 3"]
    );
    // Weekdays of their own height, and one day that is like another weekday.
    client.batch_execute(
        "CREATE TABLE days AS
           SELECT day::date, 100 * extract(isodow FROM day)::float8 + extract(week FROM day)::int % 3
                  + CASE day::date WHEN '2025-04-15' THEN 300 ELSE 0 END AS value
             FROM generate_series(DATE '2025-01-06', DATE '2025-06-29', interval '1 day') AS day",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT f.* FROM (SELECT array_agg(day ORDER BY random()) AS days FROM days) AS d
              CROSS JOIN LATERAL (SELECT array_agg(v.value ORDER BY u.place) AS x
                                    FROM unnest(d.days) WITH ORDINALITY AS u(day, place) JOIN days v USING (day)) AS v
              CROSS JOIN LATERAL reporting.anomalies(d.days, v.x) AS f"
        ),
        ["2025-04-15 | 501 | 201 | 100 | 12 | 0.92"]
    );
    // Against the days before, Mondays after a Sunday are not out of the ordinary, and neither is that Tuesday.
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM (SELECT array_agg(day ORDER BY day) AS d, array_agg(value ORDER BY day) AS v FROM days) AS x
              CROSS JOIN LATERAL reporting.anomalies(d, v, 'trailing', size => 14)"
        ),
        "0"
    );
    Ok(())
}

#[test]
fn arguments_that_cannot_be() -> Result<()> {
    let (_db, mut client) = with_people("insights_arguments")?;
    weeks(&mut client, SALES, ACCOUNT, 20, &clicks("n"))?;
    weeks(
        &mut client,
        SECRET,
        ACCOUNT,
        20,
        "jsonb_build_object('clicks', 1e200 + n, 'words', 'x')",
    )?;
    for (call, code) in [
        ("reporting.trend(NULL)", "22023"),
        ("reporting.trend('{1, 2, 3}')", "22023"),
        ("reporting.trend('{1, 2, 3, 4}', '{1, 2, 3}')", "22023"),
        (
            "reporting.trend('{1, 2, 3, 4}', '{1, 2, 3, NULL}')",
            "22023",
        ),
        ("reporting.trend('{1, 2, 3, 4}', '{1, 1, 1, 1}')", "22023"),
        ("reporting.trend('{1, 2, 3, 4}', NULL, 0)", "22023"),
        ("reporting.trend('{1, 2, 3, 4}', NULL, NULL)", "22023"),
        ("reporting.trend('{1, 2, 3, 1e200}')", "22023"),
        (
            "reporting.trend(array_fill(1::float8, ARRAY[2001]))",
            "54000",
        ),
        ("reporting.anomalies(NULL, '{1}')", "22023"),
        ("reporting.anomalies('{2025-01-01}', '{1, 2}')", "22023"),
        (
            "reporting.anomalies('{2025-01-01, 2025-01-01}', '{1, 2}')",
            "22023",
        ),
        (
            "reporting.anomalies('{2025-01-01, NULL}', '{1, 2}')",
            "22023",
        ),
        ("reporting.anomalies('{infinity}', '{1}')", "22023"),
        ("reporting.anomalies('{}', '{}', 'nothing')", "22023"),
        ("reporting.anomalies('{}', '{}', NULL)", "22023"),
        ("reporting.anomalies('{}', '{}', size => 3)", "22023"),
        ("reporting.anomalies('{}', '{}', size => 367)", "22023"),
        (
            "reporting.anomalies('{}', '{}', least_reference => 13)",
            "22023",
        ),
        (
            "reporting.anomalies('{}', '{}', least_reference => -1)",
            "22023",
        ),
        ("reporting.anomalies('{}', '{}', threshold => 0)", "22023"),
        ("reporting.anomalies('{}', '{}', threshold => 100)", "22023"),
        (
            "reporting.anomalies(array_fill(DATE '2025-01-01', ARRAY[100001]), array_fill(1::float8, ARRAY[100001]))",
            "54000",
        ),
        ("reporting.detect_trend(NULL, 'clicks')", "22023"),
        ("reporting.detect_trend('{SALES}', NULL)", "22023"),
        (
            "reporting.detect_trend('{SALES}', 'clicks', 'daily')",
            "22023",
        ),
        ("reporting.detect_trend('{SALES}', 'clicks', NULL)", "22023"),
        (
            "reporting.detect_trend('{SALES}', 'clicks', last => 3)",
            "22023",
        ),
        (
            "reporting.detect_trend('{SALES}', 'clicks', last => 521)",
            "22023",
        ),
        (
            "reporting.detect_trend('{SALES}', 'clicks', filters => '[]')",
            "22023",
        ),
        (
            "reporting.detect_trend('{SALES}', 'clicks', filters => '{\"brand\": {\"x\": 1}}')",
            "22023",
        ),
        (
            "reporting.detect_anomalies('{SALES}', 'clicks', filters => '{\"brand\": null}')",
            "22023",
        ),
        (
            "reporting.detect_movers('clicks', filters => '{\"brand\": []}')",
            "22023",
        ),
        ("reporting.detect_trend('{SALES}', 'nothing')", "P0002"),
        (
            "reporting.detect_trend('{SALES}', 'clicks', 'monthly')",
            "P0002",
        ),
        (
            "reporting.detect_trend('{SALES}', 'clicks', instance => '{OTHER}')",
            "P0002",
        ),
        ("reporting.detect_trend('{SECRET}', 'words')", "P0002"),
        ("reporting.detect_trend('{SECRET}', 'clicks')", "22023"),
        ("reporting.detect_anomalies('{SECRET}', 'clicks')", "22023"),
        (
            "reporting.detect_anomalies('{SALES}', 'clicks', last => 0)",
            "22023",
        ),
        (
            "reporting.detect_anomalies('{SALES}', 'clicks', threshold => NULL)",
            "22023",
        ),
        (
            "reporting.detect_anomalies('{SALES}', 'clicks', threshold => -1)",
            "22023",
        ),
        ("reporting.detect_anomalies('{SALES}', 'nothing')", "P0002"),
        ("reporting.detect_movers(NULL)", "22023"),
        ("reporting.detect_movers('clicks', most => 0)", "22023"),
        ("reporting.detect_movers('clicks', most => 101)", "22023"),
        ("reporting.detect_movers('clicks')", "22023"),
    ] {
        let call = call
            .replace("{SALES}", SALES)
            .replace("{SECRET}", SECRET)
            .replace("{OTHER}", OTHER);
        let error = expect_sqlstate(client.query(&format!("SELECT * FROM {call}"), &[]), code);
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{call}: {error:?}"
        );
        assert!(
            error.message().starts_with(char::is_lowercase),
            "{call}: {error:?}"
        );
        if call.contains("brand") {
            let place = error.detail().unwrap_or_default();
            assert!(place.starts_with("filters.brand: "), "{call}: {error:?}");
        }
    }
    Ok(())
}

#[test]
fn what_one_may_not_read_is_not_there() -> Result<()> {
    let (_db, mut client) = with_people("insights_rights")?;
    for workflow in [SALES, SECRET] {
        weeks(&mut client, workflow, ACCOUNT, 20, &clicks("n"))?;
    }
    let shared = dashboard(&mut client, ANNA, "shared", SALES)?;
    asked(
        &mut client,
        ANNA,
        &format!("SELECT reporting.share_dashboard('{shared}', '{BEN}')"),
    );
    let trend =
        |workflow: &str| format!("SELECT FROM reporting.detect_trend('{workflow}', 'clicks')");
    let anomalies =
        |workflow: &str| format!("SELECT FROM reporting.detect_anomalies('{workflow}', 'clicks')");
    let movers = "SELECT FROM reporting.detect_movers('clicks')".to_owned();
    let board = format!("SELECT FROM reporting.dashboard_insights('{shared}')");
    // Owner, reader of a dashboard, stranger, nobody logged in, no login at all, the application.
    let callers = [
        ("authenticated", Some(ANNA)),
        ("authenticated", Some(BEN)),
        ("authenticated", Some(DORA)),
        ("authenticated", None),
        ("anon", None),
        ("service_role", None),
    ];
    for (sql, expected) in [
        (trend(SALES), ["1", "1", "P0002", "P0002", "42501", "1"]),
        (
            trend(SECRET),
            ["1", "P0002", "P0002", "P0002", "42501", "1"],
        ),
        (anomalies(SALES), ["0", "0", "P0002", "P0002", "42501", "0"]),
        (
            anomalies(SECRET),
            ["0", "P0002", "P0002", "P0002", "42501", "0"],
        ),
        (movers, ["2", "1", "0", "0", "42501", "2"]),
        (board, ["1", "1", "P0002", "P0002", "42501", "1"]),
        (
            "SELECT FROM reporting.trend('{1,2,3,4}')".to_owned(),
            ["1", "1", "1", "1", "42501", "1"],
        ),
        (
            "SELECT FROM reporting.anomalies('{}', '{}')".to_owned(),
            ["0", "0", "0", "0", "42501", "0"],
        ),
        (
            "SELECT FROM reporting.search_insights()".to_owned(),
            ["0", "0", "0", "0", "42501", "0"],
        ),
        (
            "SELECT FROM reporting.conversation(gen_random_uuid())".to_owned(),
            ["0", "0", "0", "0", "42501", "0"],
        ),
        (
            "SELECT reporting.record_insight('q', 'r')".to_owned(),
            ["1", "1", "1", "42501", "42501", "22023"],
        ),
    ] {
        let found = callers.map(|(role, user)| outcome(&mut client, role, user, &sql));
        assert_eq!(found, expected, "{sql}");
    }
    // A reader is not told the name of a workflow that is not his.
    assert_eq!(
        column(
            &mut client,
            BEN,
            "SELECT numbers ->> 'name' FROM reporting.detect_movers('clicks')"
        )?,
        [SALES]
    );
    Ok(())
}
