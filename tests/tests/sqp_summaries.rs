//! Summaries: what is in them, and that building them again writes nothing.

mod sqp_support;

use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};
use postgres::Client;
use sqp_support::*;

const SUMMARIES: [(&str, &str, &str, &str); 4] = [
    ("weekly", "week", "day", "active_days"),
    ("monthly", "month", "week", "active_weeks"),
    ("quarterly", "quarter", "month", "active_months"),
    ("yearly", "year", "quarter", "active_quarters"),
];

fn fill(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "INSERT INTO sqp.daily_sqp_data (date, query, asin, impressions, clicks, purchases, spend, sales, ctr, cvr)
         SELECT date '2023-12-20' + n, 'q' || n % 3, 'A' || (n / 3) % 4, (n * 7919) % 1000, (n * 31) % 90, n % 7, n * 0.37, n * 1.5, 0.9, 0.9
           FROM generate_series(0, 800) AS n WHERE n % 11 > 2
         UNION ALL SELECT '2024-02-29', 'nothing', 'A1', 0, 0, 0, 0, 0, NULL, NULL",
    )?;
    Ok(())
}

/// Rows that are only in the summary or only in what the days say, computed another way.
fn disagreements(
    client: &mut Client,
    (name, unit, part, active): (&str, &str, &str, &str),
) -> Result<String> {
    rows(
        client,
        &format!(
            "SELECT * FROM (
               SELECT period_start, period_end, query, asin, total_impressions::numeric, total_clicks::numeric, total_purchases::numeric, total_spend, total_sales,
                      avg_ctr, avg_cvr, impression_share, click_share, purchase_share, {active}::bigint AS active FROM sqp.{name}_summary) AS kept
             FULL JOIN (
               SELECT p.at::date AS period_start, (p.at + CASE '{unit}' WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || '{unit}')::interval END)::date - 1 AS period_end,
                      p.query, p.asin, p.i AS total_impressions, p.c AS total_clicks, p.p AS total_purchases, p.spend AS total_spend, p.sales AS total_sales,
                      CASE WHEN p.i > 0 THEN round(p.c / p.i, 6) END AS avg_ctr, CASE WHEN p.c > 0 THEN round(p.p / p.c, 6) END AS avg_cvr,
                      CASE WHEN t.i > 0 THEN round(p.i / t.i, 6) END AS impression_share, CASE WHEN t.c > 0 THEN round(p.c / t.c, 6) END AS click_share,
                      CASE WHEN t.p > 0 THEN round(p.p / t.p, 6) END AS purchase_share, p.active
                 FROM (SELECT date_trunc('{unit}', date::timestamp) AS at, query, asin, sum(impressions) AS i, sum(clicks) AS c, sum(purchases) AS p,
                              sum(spend) AS spend, sum(sales) AS sales, count(DISTINCT date_trunc('{part}', date::timestamp)) AS active
                         FROM sqp.daily_sqp_data GROUP BY 1, 2, 3) AS p
                 JOIN (SELECT date_trunc('{unit}', date::timestamp) AS at, query, sum(impressions) AS i, sum(clicks) AS c, sum(purchases) AS p
                         FROM sqp.daily_sqp_data GROUP BY 1, 2) AS t USING (at, query)) AS fresh
             USING (period_start, query, asin)
             WHERE kept.* IS DISTINCT FROM fresh.*"
        ),
    )
}

#[test]
fn they_are_what_the_days_say() -> Result<()> {
    let db = extended("summaries")?;
    let mut client = db.connect_as("service_role")?;
    client.batch_execute("SET timezone = 'America/Los_Angeles'")?;
    fill(&mut client)?;
    for summary in SUMMARIES {
        let (name, ..) = summary;
        let build = format!(
            "SELECT (b.rows_processed = b.rows_inserted AND b.rows_inserted > 20)::text || ' ' || b.rows_updated || ' ' || b.rows_deleted FROM sqp.build_{name}_summary() AS b"
        );
        assert_eq!(one::<String>(&mut client, &build)?, "true 0 0", "{name}");
        assert_eq!(disagreements(&mut client, summary)?, "", "{name}");
        // Nothing has changed, so nothing is written.
        let state = format!(
            "SELECT string_agg(id || ' ' || xmin, ',' ORDER BY id) FROM sqp.{name}_summary"
        );
        let before: String = one(&mut client, &state)?;
        assert_eq!(
            rows(
                &mut client,
                &format!(
                    "SELECT rows_inserted, rows_updated, rows_deleted FROM sqp.build_{name}_summary()"
                )
            )?,
            "(0,0,0)"
        );
        assert_eq!(one::<String>(&mut client, &state)?, before);
    }
    // Rates are those of the sums, not the means of the days' rates.
    assert_eq!(
        rows(
            &mut client,
            "SELECT count(*) FROM sqp.weekly_summary WHERE avg_ctr = 0.9"
        )?,
        "(0)"
    );
    Ok(())
}

#[test]
fn changes_of_days_are_followed_and_nothing_else_is_touched() -> Result<()> {
    let db = extended("summaries_changes")?;
    let mut client = db.connect()?;
    fill(&mut client)?;
    for (name, ..) in SUMMARIES {
        client.batch_execute(&format!("SELECT sqp.build_{name}_summary()"))?;
    }
    client.batch_execute(
        "UPDATE sqp.daily_sqp_data SET impressions = impressions + 1 WHERE date = '2024-05-07';
         DELETE FROM sqp.daily_sqp_data WHERE query = 'nothing';
         DELETE FROM sqp.daily_sqp_data WHERE date BETWEEN '2024-07-01' AND '2024-07-07';
         INSERT INTO sqp.daily_sqp_data (date, query, asin, impressions) VALUES ('2024-05-07', 'new', 'A9', 5)",
    )?;
    for summary in SUMMARIES {
        let (name, ..) = summary;
        // Only of the periods that are named …
        let outside = format!(
            "SELECT string_agg(id || ' ' || xmin, ',' ORDER BY id) FROM sqp.{name}_summary WHERE period_end < '2024-02-01' OR period_start > '2025-01-01'"
        );
        let before: Option<String> = one(&mut client, &outside)?;
        let told = rows(
            &mut client,
            &format!(
                "SELECT rows_inserted, rows_updated > 0, rows_deleted FROM sqp.build_{name}_summary('2024-05-08', '2024-05-09')"
            ),
        )?;
        // The query that is gone was in February.
        let gone = i32::from(name == "yearly");
        assert_eq!(told, format!("(1,t,{gone})"), "{name}");
        assert_eq!(
            one::<Option<String>>(&mut client, &outside)?,
            before,
            "{name}"
        );
        // … and of all.
        client.batch_execute(&format!("SELECT sqp.build_{name}_summary()"))?;
        assert_eq!(disagreements(&mut client, summary)?, "", "{name}");
    }
    client.batch_execute("TRUNCATE sqp.daily_sqp_data")?;
    client.batch_execute("SELECT sqp.build_weekly_summary(to_date => '2024-06-30')")?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT min(period_start) FROM sqp.weekly_summary"
        )?,
        "(2024-07-08)"
    );
    client.batch_execute("SELECT sqp.build_weekly_summary()")?;
    assert_eq!(
        rows(&mut client, "SELECT count(*) FROM sqp.weekly_summary")?,
        "(0)"
    );
    for arguments in [
        "'2024-02-01', '2024-01-01'",
        "'infinity'",
        "NULL, '-infinity'",
    ] {
        let error = expect_sqlstate(
            client.query(
                &format!("SELECT sqp.build_monthly_summary({arguments})"),
                &[],
            ),
            "22023",
        );
        assert!(error.detail().is_some() && error.hint().is_some());
    }
    Ok(())
}

#[test]
fn two_builds_at_once_take_turns() -> Result<()> {
    let db = extended("summaries_two")?;
    let mut client = db.connect()?;
    fill(&mut client)?;
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..6)
            .map(|_| {
                let db = &db;
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect_as("service_role")?;
                    for _ in 0..3 {
                        client.batch_execute(
                            "SELECT sqp.build_weekly_summary(); SELECT sqp.build_monthly_summary()",
                        )?;
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))?;
        }
        Ok(())
    })?;
    assert_eq!(disagreements(&mut client, SUMMARIES[0])?, "");
    assert_eq!(disagreements(&mut client, SUMMARIES[1])?, "");
    Ok(())
}

#[test]
fn the_materialized_view_joins_both_sources() -> Result<()> {
    let db = extended("summaries_view")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "INSERT INTO sqp.asin_performance_data (start_date, end_date, asin) VALUES ('2025-01-05', '2025-01-11', 'B01');
         INSERT INTO sqp.search_query_performance (asin_performance_id, search_query, volume, asin_clicks) SELECT id, 'shoes', 10, 2 FROM sqp.asin_performance_data;
         UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '1 hour'",
    )?;
    for (_, run) in claim(&mut client, 10)? {
        complete(&mut client, run)?;
    }
    client.batch_execute("CALL sqp.refresh_all_due()")?;
    let mut reader = db.connect_as("authenticated")?;
    assert_eq!(
        rows(
            &mut reader,
            "SELECT asin, search_query, volume, asin_clicks, start_date FROM sqp.search_performance_summary"
        )?,
        "(B01,shoes,10,2,2025-01-05)"
    );
    Ok(())
}
