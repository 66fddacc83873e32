//! Data quality: metrics and thresholds, the usual number of rows, staleness.

mod sqp_support;

use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};
use sqp_support::*;

const METRICS: &str = "SELECT metric_name, metric_value, threshold_min, threshold_max, is_within_threshold FROM sqp.refresh_data_quality ORDER BY id";

#[test]
fn metrics_decide_whether_a_run_ends_with_a_warning() -> Result<()> {
    let db = extended("quality_record")?;
    let mut client = db.connect()?;
    only(&mut client, &["a", "b"])?;
    let claimed = claim(&mut client, 2)?;
    let (a, b) = (claimed[0].1, claimed[1].1);
    for (arguments, within) in [
        ("'m', 5", Some(true)),
        ("'m', NULL", None),
        ("'m', 5, 7, 5, 5", Some(true)),
        ("'m', 5.001, NULL, 5, 5.01", Some(true)),
    ] {
        let found: Option<bool> = client
            .query_one(&format!("SELECT sqp.record_quality({a}, {arguments})"), &[])?
            .get(0);
        assert_eq!(found, within, "{arguments}");
    }
    assert_eq!(complete(&mut client, a)?, "success");
    for arguments in [
        "'m', 4, NULL, 5",
        "'m', 6, NULL, NULL, 5",
        "'m', 'NaN', NULL, 5",
        "'m', 'NaN', NULL, NULL, 5",
        "'m', NULL, NULL, 5",
    ] {
        let found: Option<bool> = client
            .query_one(&format!("SELECT sqp.record_quality({b}, {arguments})"), &[])?
            .get(0);
        assert_eq!(found, Some(false), "{arguments}");
    }
    // One that is within does not take the warning back.
    client.batch_execute(&format!("SELECT sqp.record_quality({b}, 'm', 1)"))?;
    assert_eq!(complete(&mut client, b)?, "warning");
    assert_eq!(
        rows(
            &mut client,
            "SELECT c.table_name, c.last_status, a.status, count(*) FROM sqp.refresh_data_quality q
               JOIN sqp.refresh_audit_log a ON a.id = q.audit_log_id AND a.refresh_started_at = q.refresh_started_at
               JOIN sqp.refresh_config c ON c.id = a.refresh_config_id GROUP BY 1, 2, 3 ORDER BY 1"
        )?,
        "(a,success,success,4)\n(b,warning,warning,6)"
    );
    for (arguments, code) in [
        (format!("{a}, 'm', 1"), "55000"),
        ("4711, 'm', 1".to_owned(), "P0002"),
        ("1, NULL, 1".to_owned(), "22023"),
        ("1, '', 1".to_owned(), "22023"),
        ("1, 'm', 1, NULL, 3, 2".to_owned(), "22023"),
        ("1, 'm', 1, NULL, 'NaN'".to_owned(), "22023"),
    ] {
        let error = expect_sqlstate(
            client.query(&format!("SELECT sqp.record_quality({arguments})"), &[]),
            code,
        );
        assert!(error.detail().is_some() && error.hint().is_some());
    }
    Ok(())
}

#[test]
fn an_unusual_number_of_rows_is_a_warning() -> Result<()> {
    let db = extended("quality_rows")?;
    let mut client = db.connect()?;
    only(&mut client, &["a"])?;
    let mut statuses = Vec::new();
    for count in [100, 110, 0, 90, 105, 49, 51, 230, 150, 100, 100, 100] {
        let claimed = claim(&mut client, 1)?;
        let status: String = client
            .query_one(
                "SELECT status FROM sqp.complete_refresh($1, $2)",
                &[&claimed[0].1, &(i64::from(count))],
            )?
            .get(0);
        statuses.push(format!("{count} {status}"));
        pass(&mut client, "1 day")?;
    }
    // The first three say what is usual; medians of 100, 95, 100, 95, 90 … follow.
    assert_eq!(
        statuses,
        [
            "100 success",
            "110 success",
            "0 success",
            "90 success",
            "105 success",
            "49 warning",
            "51 success",
            "230 warning",
            "150 success",
            "100 success",
            "100 success",
            "100 success"
        ]
    );
    assert_eq!(
        rows(&mut client, "SELECT recent_rows FROM sqp.refresh_config")?,
        "(\"{0,90,105,49,51,230,150,100,100,100}\")"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT metric_value, expected_value, threshold_min, threshold_max FROM sqp.refresh_data_quality WHERE NOT is_within_threshold ORDER BY id"
        )?,
        "(49,100,50.000,200.000)\n(230,90,45.000,180.000)"
    );
    client.batch_execute(
        "UPDATE sqp.settings SET row_count_min_ratio = 0.1, row_count_max_ratio = 10",
    )?;
    let claimed = claim(&mut client, 1)?;
    let told = rows(
        &mut client,
        &format!(
            "SELECT status FROM sqp.complete_refresh({}, 12)",
            claimed[0].1
        ),
    )?;
    assert_eq!(told, "(success)");
    Ok(())
}

#[test]
fn rules_are_measured_of_the_table_itself() -> Result<()> {
    let db = extended("quality_measure")?;
    let mut client = db.connect()?;
    client.batch_execute(
        r#"CREATE TABLE sqp."Odd ""name" (id int, "a ""b" text, at timestamptz, day date, note text);
           INSERT INTO sqp."Odd ""name" SELECT n, CASE WHEN n % 4 > 0 THEN 'x' END, now() - n * interval '1 hour', current_date - 1
             FROM generate_series(2, 9) AS n;
           GRANT SELECT ON sqp."Odd ""name" TO service_role;
           DELETE FROM sqp.refresh_config WHERE table_name NOT LIKE 'Odd%';
           UPDATE sqp.refresh_config SET next_refresh_at = now();
           INSERT INTO sqp.refresh_quality_rules (config_id, metric, column_name, threshold_min, threshold_max)
           SELECT c.id, r.* FROM sqp.refresh_config c, (VALUES
             ('null_share', 'a "b', NULL, 0.3), ('null_share', 'note', NULL, 0.5), ('freshness', 'at', NULL, 3),
             ('freshness', 'day', NULL, 1), ('row_count', NULL, 1, 100), ('null_share', 'gone', NULL, 1), ('freshness', 'note', NULL, 1)
           ) AS r (metric, column_name, low, high)"#,
    )?;
    let mut service = db.connect_as("service_role")?;
    let claimed = claim(&mut service, 1)?;
    let told: Vec<String> = column(
        &mut service,
        &format!(
            "SELECT concat_ws(' ', metric_name, CASE metric_name WHEN 'freshness(day)' THEN metric_value > 23 AND metric_value < 49 END,
                              CASE WHEN metric_name <> 'freshness(day)' THEN round(metric_value, 2) END, is_within_threshold)
               FROM sqp.measure_quality({})",
            claimed[0].1
        ),
        &[],
    )?;
    assert_eq!(
        told,
        [
            "null_share(a \"b) 0.25 t",
            "null_share(note) 1.00 f",
            "freshness(at) 2.00 t",
            "freshness(day) t f",
            "row_count 8.00 t",
            "null_share(gone) f",
            "freshness(note) f",
        ]
    );
    assert_eq!(complete(&mut service, claimed[0].1)?, "warning");
    assert_eq!(
        one::<i64>(
            &mut client,
            &format!("SELECT count(*) FROM ({METRICS}) AS m")
        )?,
        7
    );
    // Of a view nothing is measured, and of a table that is elsewhere neither.
    client.batch_execute(
        "CREATE VIEW sqp.odd AS SELECT 1 / 0 AS boom;
         INSERT INTO sqp.refresh_config (table_schema, table_name) VALUES ('sqp', 'odd'), ('x', 'elsewhere');
         INSERT INTO sqp.refresh_quality_rules (config_id, metric) SELECT id, 'row_count' FROM sqp.refresh_config WHERE table_name IN ('odd', 'elsewhere')",
    )?;
    for (_, run) in claim(&mut service, 2)? {
        assert_eq!(
            rows(
                &mut service,
                &format!("SELECT * FROM sqp.measure_quality({run})")
            )?,
            ""
        );
    }
    Ok(())
}

#[test]
fn what_is_stale_is_seen() -> Result<()> {
    let db = extended("quality_stale")?;
    let mut client = db.connect()?;
    only(&mut client, &["fresh", "old", "never", "off", "far"])?;
    client.batch_execute(
        "UPDATE sqp.refresh_config SET next_refresh_at = now() + interval '1 hour', last_refresh_at = now() - interval '35 hours';
         UPDATE sqp.refresh_config SET last_refresh_at = now() - interval '37 hours' WHERE table_name = 'old';
         UPDATE sqp.refresh_config SET last_refresh_at = NULL WHERE table_name = 'never';
         UPDATE sqp.refresh_config SET is_enabled = false, last_refresh_at = now() - interval '1 year', next_refresh_at = now() - interval '1 year' WHERE table_name = 'off';
         UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '10 hours' WHERE table_name = 'far'",
    )?;
    let told = "SELECT table_name, stale, never_refreshed, far_behind, extract(hour FROM behind_by)::int, stale_share, warning FROM sqp.staleness ORDER BY 1";
    assert_eq!(
        rows(&mut client, told)?,
        "(far,f,f,f,10,25.00,t)\n(fresh,f,f,f,,25.00,t)\n(never,f,t,f,,25.00,t)\n(off,t,f,f,,25.00,t)\n(old,t,f,f,,25.00,t)"
    );
    client.batch_execute(
        "UPDATE sqp.refresh_config SET last_refresh_at = now() WHERE table_name = 'old'",
    )?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT DISTINCT stale_share, warning FROM sqp.staleness"
        )?,
        "(0.00,f)"
    );
    client.batch_execute("UPDATE sqp.refresh_config SET created_at = now() - interval '37 hours' WHERE table_name = 'never'")?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT DISTINCT stale_share, warning FROM sqp.staleness"
        )?,
        "(25.00,t)"
    );
    client.batch_execute(
        "UPDATE sqp.settings SET stale_share_warning = 30;
         UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '49 hours' WHERE table_name = 'far'",
    )?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name FROM sqp.staleness WHERE far_behind AND warning"
        )?,
        "(far)"
    );
    Ok(())
}
