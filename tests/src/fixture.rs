//! A database in use, and whether it still works after it has been moved.

use crate::client::as_user;
use crate::cluster::Cluster;
use anyhow::{Context, Result, ensure};
use postgres::Client;

/// One row in a domain table.
pub const ONE_SENSOR: &str =
    "INSERT INTO telemetry.sensors (sensor_id, floor_number) VALUES ('floor1.s1', 1)";

/// Users from fixture.sql: one with everything, one with a free subscription and a share of a dashboard.
const PROFESSIONAL: &str = "00000000-0000-0000-0000-0000000000a1";
const FREE: &str = "00000000-0000-0000-0000-0000000000f1";

/// The fixture's role: of a cluster, so a dump of one database does not bring it.
pub fn fixture_role(cluster: &Cluster) -> Result<()> {
    cluster.connect("postgres")?.batch_execute(
        "DO $$ BEGIN CREATE ROLE fixture_reader;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
    )?;
    Ok(())
}

/// Fills a database that has the extension with all modules.
pub fn fill(client: &mut Client) -> Result<()> {
    // Statement by statement: a block that commits needs that, and an error is easier to place.
    for statement in statements(include_str!("fixture.sql")) {
        client
            .batch_execute(statement)
            .with_context(|| statement.to_owned())?;
    }
    Ok(())
}

/// Splits at a semicolon that ends a line; a dollar-quoted body has to stand on one line.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n")
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// Buckets where a rollup and its source disagree.
const DISAGREEMENTS: &[(&str, &str)] = &[
    (
        "telemetry.hourly_aggregates",
        "SELECT * FROM (
           SELECT bucket, sensor_id, reading_count, sum_value, min_value, max_value FROM telemetry.hourly_aggregates) AS kept
         FULL JOIN (
           SELECT date_bin('1 hour', \"timestamp\", '2000-01-01 00:00+00') AS bucket, sensor_id,
                  count(reading_value) AS reading_count, sum(reading_value) AS sum_value,
                  min(reading_value) AS min_value, max(reading_value) AS max_value
             FROM telemetry.sensor_readings GROUP BY 1, 2) AS fresh USING (bucket, sensor_id)
         WHERE (kept.reading_count, kept.sum_value, kept.min_value, kept.max_value)
               IS DISTINCT FROM (fresh.reading_count, fresh.sum_value, fresh.min_value, fresh.max_value)",
    ),
    (
        "telemetry.daily_aggregates",
        "SELECT * FROM (
           SELECT bucket, sensor_id, reading_count, sum_value, min_value, max_value FROM telemetry.daily_aggregates) AS kept
         FULL JOIN (
           SELECT date_trunc('day', \"timestamp\", 'Asia/Bangkok') AS bucket, sensor_id,
                  count(reading_value) AS reading_count, sum(reading_value) AS sum_value,
                  min(reading_value) AS min_value, max(reading_value) AS max_value
             FROM telemetry.sensor_readings GROUP BY 1, 2) AS fresh USING (bucket, sensor_id)
         WHERE (kept.reading_count, kept.sum_value, kept.min_value, kept.max_value)
               IS DISTINCT FROM (fresh.reading_count, fresh.sum_value, fresh.min_value, fresh.max_value)",
    ),
    // Only what has not been dropped: beyond that the rollup knows more than its source.
    (
        "plant.live_hourly",
        "WITH edge AS (SELECT min(from_time) AS at FROM gemba.partitions WHERE parent = 'plant.live_snapshots'::regclass)
         SELECT * FROM (
           SELECT bucket, asset_id, snapshots, current_output, target_output, status, lowest_variance, highest_variance, average_variance
             FROM plant.live_hourly, edge WHERE bucket >= edge.at) AS kept
         FULL JOIN (
           SELECT date_trunc('hour', snapshot_timestamp, 'UTC') AS bucket, asset_id, count(*) AS snapshots,
                  (array_agg(current_output ORDER BY snapshot_timestamp DESC) FILTER (WHERE current_output IS NOT NULL))[1] AS current_output,
                  (array_agg(target_output ORDER BY snapshot_timestamp DESC) FILTER (WHERE target_output IS NOT NULL))[1] AS target_output,
                  (array_agg(status ORDER BY snapshot_timestamp DESC) FILTER (WHERE status IS NOT NULL))[1] AS status,
                  min(output_variance) AS lowest_variance, max(output_variance) AS highest_variance,
                  avg(output_variance) AS average_variance
             FROM plant.live_snapshots GROUP BY 1, 2) AS fresh USING (bucket, asset_id)
         WHERE (kept.snapshots, kept.current_output, kept.target_output, kept.status, kept.lowest_variance,
                kept.highest_variance, round(kept.average_variance, 6))
               IS DISTINCT FROM
               (fresh.snapshots, fresh.current_output, fresh.target_output, fresh.status, fresh.lowest_variance,
                fresh.highest_variance, round(fresh.average_variance, 6))",
    ),
    (
        "shop.visits_daily",
        "SELECT * FROM (
           SELECT bucket, \"the door\", n, weight FROM shop.visits_daily) AS kept
         FULL JOIN (
           SELECT date_trunc('day', at, 'Europe/Berlin') AS bucket, \"the door\", count(*) AS n, sum(weight) AS weight
             FROM shop.\"Visits\" GROUP BY 1, 2) AS fresh USING (bucket, \"the door\")
         WHERE (kept.n, kept.weight) IS DISTINCT FROM (fresh.n, fresh.weight)",
    ),
    // Only what is not archived.
    (
        "shop.orders_hourly",
        "WITH edge AS (SELECT min(from_time) AS at FROM gemba.partitions WHERE parent = 'shop.orders'::regclass)
         SELECT * FROM (
           SELECT bucket, customer, total, n FROM shop.orders_hourly, edge WHERE bucket >= edge.at) AS kept
         FULL JOIN (
           SELECT date_bin('1 hour', placed_at, '2000-01-01 00:00+00') AS bucket, customer, sum(amount) AS total, count(*) AS n
             FROM shop.orders GROUP BY 1, 2) AS fresh USING (bucket, customer)
         WHERE (kept.total, kept.n) IS DISTINCT FROM (fresh.total, fresh.n)",
    ),
];

const MORE_CHANGES: &str = "
INSERT INTO shop.\"Visits\" (at, \"the door\", weight, n) VALUES ('2024-01-31 23:59:59+01', 'left', 5, 5), ('2024-02-01 00:00+01', 'new', 6, 6);
UPDATE shop.\"Visits\" SET weight = weight + 1 WHERE \"the door\" = 'left' AND at >= '2024-02-03 00:00+01' AND at < '2024-02-03 02:00+01';
DELETE FROM shop.\"Visits\" WHERE at >= '2024-01-02 00:00+01' AND at < '2024-01-02 03:00+01';
SELECT gemba.ensure_partitions('telemetry.sensor_readings', '2025-04-01 00:00+07', '2025-06-01 00:00+07');
INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
  VALUES ('2025-05-31 23:59:59+07', 'floor4.s3', 4, 1), ('2025-01-31 12:00+07', 'floor4.s3', 4, 2);
UPDATE telemetry.sensor_readings SET reading_value = 5 WHERE sensor_id = 'floor5.s4' AND \"timestamp\" < '2025-02-02';
SELECT gemba.maintain_partitions();
INSERT INTO plant.live_snapshots (asset_id, snapshot_timestamp, current_output, target_output)
  VALUES ('00000000-0000-0000-0000-000000000103', now() - interval '90 minutes', 7, 9);
UPDATE plant.live_snapshots SET target_output = 50, status = 'behind' WHERE snapshot_timestamp < now() - interval '9 hours';
DELETE FROM plant.live_snapshots WHERE asset_id = '00000000-0000-0000-0000-000000000102' AND snapshot_timestamp < now() - interval '10 hours';
INSERT INTO shop.orders (placed_at, customer, amount) VALUES (now(), 4, 4);
DELETE FROM shop.orders WHERE customer = 1 AND placed_at > now() - interval '1 day';
SELECT gemba.refresh_rollups();
";

/// Does everything still work here: partitions, rollups with their pending changes, policies, deploy?
/// Changes the database.
pub fn assert_works(client: &mut Client) -> Result<()> {
    let archived: i64 = client
        .query_one("SELECT count(*) FROM pg_class WHERE relnamespace = 'gemba_archive'::regnamespace AND relkind = 'r'", &[])?
        .get(0);
    ensure!(archived > 0, "the archive is empty");
    ensure!(
        client
            .query("SELECT * FROM gemba.deploy()", &[])?
            .is_empty(),
        "deploy() found something to do"
    );

    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    agree(client, "after the first refresh")?;

    // Each in a transaction of its own: changes are known to a refresh once they are committed.
    for statement in statements(MORE_CHANGES) {
        client
            .batch_execute(statement)
            .with_context(|| statement.to_owned())?;
    }
    agree(client, "after more changes")?;

    let unsealed: i64 = client
        .query_one(
            "SELECT count(*) FROM gemba.partitions WHERE NOT rls OR NOT no_grants",
            &[],
        )?
        .get(0);
    ensure!(
        unsealed == 0,
        "{unsealed} partitions without row level security, or with grants"
    );

    let count = "SELECT count(*) FROM telemetry.sensor_readings";
    let all: i64 = client.query_one(count, &[])?.get(0);
    let seen: i64 = as_user(client, "authenticated", Some(PROFESSIONAL), |tx| {
        Ok(tx.query_one(count, &[])?.get(0))
    })?;
    ensure!(
        seen == all && all > 0,
        "a professional sees {seen} of {all} readings"
    );
    let seen: i64 = as_user(client, "authenticated", None, |tx| {
        Ok(tx.query_one(count, &[])?.get(0))
    })?;
    ensure!(
        seen == 0,
        "a user without a subscription sees {seen} readings"
    );
    plant_works(client)?;
    reports_work(client)?;
    cloudwatcher_works(client)?;
    refreshes_work(client)?;
    history_works(client)?;
    jobs_work(client)
}

/// A job that was scheduled before runs, as its role; one that is switched off does not.
fn jobs_work(client: &mut Client) -> Result<()> {
    answers(
        client,
        &[
            (
                "SELECT name, schedule, time_zone, run_as, timeout, retries, enabled, run_id FROM gemba.jobs WHERE name LIKE 'shop%' ORDER BY name",
                "(\"shop: \"\"totals\"\"\",\"*/5 8-18 * * MON-FRI\",Europe/Berlin,service_role,00:01:00,2,t,) \
                 (\"shop: broken\",\"1 month\",UTC,service_role,01:00:00,0,f,)",
            ),
            (
                "SELECT DISTINCT status, runner, rows FROM gemba.job_runs WHERE job = 'shop: \"totals\"'",
                "(succeeded,session,1)",
            ),
            (
                "SELECT gemba.run_job_now('shop: \"totals\"') IS NOT NULL",
                "(t)",
            ),
            (
                "SELECT status, rows FROM gemba.run_due_jobs() WHERE job LIKE 'shop%'",
                "(succeeded,1)",
            ),
        ],
    )
    .context("jobs")
}

/// A call, what it is expected to answer, and what it answers.
fn answers(client: &mut Client, steps: &[(&str, &str)]) -> Result<()> {
    for (sql, expected) in steps {
        let found: Vec<String> = client
            .query(&format!("SELECT q::text FROM ({sql}) AS q"), &[])
            .with_context(|| (*sql).to_owned())?
            .iter()
            .map(|row| row.get(0))
            .collect();
        ensure!(
            found.join(" ") == *expected,
            "{sql}\n  expected: {expected}\n  found:    {}",
            found.join(" ")
        );
    }
    Ok(())
}

/// Pipelines, report, live view and safety events of the plant.
fn plant_works(client: &mut Client) -> Result<()> {
    const COUNTS: &str =
        "rows_read, accepted, inserted, updated, unchanged, rejected, safety_events";
    let waiting_daily = format!("SELECT {COUNTS} FROM plant.process_daily()");
    let waiting_live = format!("SELECT {COUNTS} FROM plant.process_live()");
    let daily = format!(
        "SELECT {COUNTS} FROM plant.ingest_daily(jsonb_build_array(jsonb_build_object(
           'source_id', 'LATHE-3', 'report_date', '2025-07-01', 'total_count', 300)))"
    );
    let live = format!(
        "SELECT {COUNTS} FROM plant.ingest_live(jsonb_build_array(jsonb_build_object(
           'source_id', 'PRESS-1', 'current_output', 91,
           'snapshot_timestamp', (SELECT max(snapshot_timestamp) + interval '1 second' FROM plant.live_snapshots
                                   WHERE asset_id = '00000000-0000-0000-0000-000000000102'), 'reason_code', 'Fire', 'source_record_id', 'after')))"
    );
    answers(
        client,
        &[
            (&waiting_daily, "(2,1,1,0,0,1,0)"),
            (&waiting_daily, "(0,0,0,0,0,0,0)"),
            (&waiting_live, "(2,1,1,0,0,1,1)"),
            (&waiting_live, "(0,0,0,0,0,0,0)"),
            (&daily, "(1,1,1,0,0,0,0)"),
            (&daily, "(1,1,0,0,1,0,0)"),
            (&live, "(1,1,1,0,0,0,1)"),
            (&live, "(1,1,0,0,1,0,0)"),
            (
                "SELECT pipeline, field, count(*) FROM plant.ingest_rejects GROUP BY 1, 2 ORDER BY 1, 2",
                "(daily,report_date,1) (daily,source_id,1) (live,snapshot_timestamp,1)",
            ),
            (
                "SELECT name, oee IS NOT NULL, actual_output, open_safety_events, estimated FROM plant.morning_report('2025-07-01') ORDER BY name",
                "(Lathe,t,300,1,\"{planned_minutes,downtime_minutes,ideal_rate,hourly_rate,cost_per_unit,good_count}\") \
                 (\"Press 1\",t,410,3,{downtime_minutes}) (\"Press 2, \"\"the old one\"\"\",f,,2,)",
            ),
            (
                "SELECT count(*), count(*) FILTER (WHERE trend_7 IS NOT NULL), min(summary) <> '' FROM plant.morning_report('2025-06-30')",
                "(4,4,t)",
            ),
            (
                "SELECT count(*), count(*) FILTER (WHERE status NOT IN ('stale', 'no data')) FROM plant.live_status()",
                "(3,2)",
            ),
            (
                "SELECT changed, is_resolved FROM plant.resolve_safety_event((SELECT id FROM plant.safety_events WHERE source_record_id = 'after'), 'seen')",
                "(t,t)",
            ),
            (
                "SELECT action, note, done_by FROM plant.safety_event_log
                  WHERE event_id = (SELECT id FROM plant.safety_events WHERE source_record_id = 'after') ORDER BY id",
                "(recorded,,postgres) (resolved,seen,postgres)",
            ),
            (
                "SELECT plant.morning_report_html('2025-07-01') LIKE '%<h1>%Works &#34;3&#34; &#60;Süd&#62;%</h1>%'",
                "(t)",
            ),
        ],
    )
    .context("the plant")
}

/// Compressed months are read, written, folded, decompressed and joined by the next one.
fn history_works(client: &mut Client) -> Result<()> {
    const ROWS: &str = "SELECT count(*), sum(weight), sum(doubled), count(later), md5(string_agg(v::text, '' ORDER BY v::text COLLATE \"C\")) FROM shop.\"Visits\" AS v";
    answers(
        client,
        &[
            (
                "SELECT partition, late_rows FROM gemba.history WHERE partition::text LIKE '%Visits%' ORDER BY 1",
                // What was late has been merged with the rest above.
                "(\"shop.\"\"Visits_p20240101\"\"\",0) (\"shop.\"\"Visits_p20240201\"\"\",0)",
            ),
            (
                "SELECT count(*) FROM gemba.verify_history() AS damaged",
                "(0)",
            ),
            (
                "SELECT at, n, doubled, later FROM shop.\"Visits\" WHERE note = 'late'",
                "(\"2024-01-20 11:34:00+00\",1,2,)",
            ),
        ],
    )
    .context("history")?;
    client.batch_execute(
        "INSERT INTO shop.\"Visits\" (at, \"the door\", weight, n) VALUES ('2024-01-04 00:00:01+01', 'left', 9, 9), ('2024-02-04 00:00:01+01', 'left', 9, 9)",
    )?;
    let before: String = client
        .query_one(&format!("SELECT q::text FROM ({ROWS}) AS q"), &[])?
        .get(0);
    for call in [
        "SELECT gemba.compress_partition('shop.\"Visits_p20240101\"')",
        "SELECT gemba.compress_partition('shop.\"Visits_p20240301\"')",
        "SELECT gemba.decompress_partition('shop.\"Visits_p20240201\"')",
    ] {
        client
            .batch_execute(call)
            .with_context(|| call.to_owned())?;
        answers(client, &[(ROWS, &before)]).with_context(|| call.to_owned())?;
    }
    answers(
        client,
        &[
            (
                "SELECT partition, late_rows FROM gemba.history WHERE partition::text LIKE '%Visits%' ORDER BY 1",
                "(\"shop.\"\"Visits_p20240101\"\"\",0) (\"shop.\"\"Visits_p20240301\"\"\",0)",
            ),
            (
                "SELECT count(*) FROM gemba.verify_history() AS damaged",
                "(0)",
            ),
            (
                "SELECT count(*) FROM pg_class WHERE relnamespace = 'gemba_history'::regnamespace AND relkind = 'r' AND relname LIKE 'Visits%'",
                "(4)",
            ),
        ],
    )
    .context("history")?;
    Ok(())
}

/// Claims, checkpoints, registration and refreshes in the database.
fn refreshes_work(client: &mut Client) -> Result<()> {
    answers(
        client,
        &[
            (
                "SELECT table_name, state FROM sqp.refresh_plan() WHERE state NOT IN ('scheduled') ORDER BY 1",
                "(broken,parked) (daily_sqp_data,running)",
            ),
            (
                "SELECT checkpoint_data, last_processed_row FROM sqp.resume_checkpoint('sync', 'daily_sqp_data')",
                "(\"{\"\"page\"\": 12.50, \"\"cursor\"\": \"\"ü\"\"}\",4000)",
            ),
            (
                "SELECT c.status, c.next_refresh_at > now() FROM sqp.complete_refresh(
                   (SELECT run_id FROM sqp.refresh_config WHERE run_worker = 'edge-1'), 450) AS c",
                "(success,t)",
            ),
            (
                "SELECT dependencies FROM sqp.refresh_config WHERE table_name = 'yearly_summary'",
                "(\"{\"\"bigquery.Wöchentliche \\\\\"\"Daten\\\\\"\"\"\",daily_sqp_data,monthly_summary}\")",
            ),
            (
                "SELECT count(*), count(*) FILTER (WHERE method = 'materialized view') FROM sqp.refresh_config WHERE table_schema = 'shop'",
                "(7,1)",
            ),
        ],
    )
    .context("refreshes")?;
    client.batch_execute(
        "CREATE TABLE sqp.later_data (a int);
         CREATE MATERIALIZED VIEW shop.later AS SELECT 1 AS a;
         ALTER TABLE shop.weeks RENAME TO weekly;
         UPDATE sqp.refresh_config SET next_refresh_at = now() WHERE table_schema = 'shop'",
    )?;
    answers(
        client,
        &[
            (
                "SELECT table_name, priority, method, relation FROM sqp.refresh_config
                  WHERE table_name IN ('later_data', 'later', 'weekly') ORDER BY 1",
                "(later,70,\"materialized view\",shop.later) (later_data,90,external,sqp.later_data) (weekly,70,external,shop.weekly)",
            ),
            (
                "SELECT table_name, status FROM sqp.refresh_due() ORDER BY 1",
                "(later,success) (totals,success)",
            ),
            (
                "SELECT count(DISTINCT tableoid) > 0, count(*) FILTER (WHERE status = 'running') FROM sqp.refresh_audit_log",
                "(t,0)",
            ),
        ],
    )
    .context("refreshes after the move")
}

/// Rights, requests, stock, orders, and the trail of it all.
fn cloudwatcher_works(client: &mut Client) -> Result<()> {
    client.batch_execute("INSERT INTO public.secrets VALUES (7, 'after', 'secret', 'DE7')")?;
    answers(
        client,
        &[
            // Sealed by the cluster that it comes from, and by this one; whatever those count.
            ("SELECT count(*) > 0 FROM gemba.audited_tables WHERE enabled AND complete", "(t)"),
            ("SELECT count(*) FROM gemba.audited_tables WHERE NOT (enabled AND complete)", "(0)"),
            ("SELECT count(*) FROM gemba.verify_audit()", "(0)"),
            ("SELECT count(*) > 0 FROM gemba.seal_audit()", "(t)"),
            ("SELECT count(*) FROM gemba.verify_audit()", "(0)"),
            (
                "SELECT operation, old_values, new_values FROM gemba.row_history('public.secrets', '[\"after\", \"7\"]')",
                "(INSERT,,\"{\"\"a\"\": 7, \"\"b\"\": \"\"after\"\", \"\"iban\"\": \"\"***\"\"}\")",
            ),
            ("SELECT count(*) FROM cloudwatcher.audit_logs WHERE old_values ? 'password' OR new_values ? 'password'", "(0)"),
            ("SELECT count(*) FROM cloudwatcher.claim_requests('after', 10)", "(1)"),
            (
                "SELECT is_new FROM cloudwatcher.submit_request('truck-1', 'get_parts', '{\"n\": 1, \"part\": \"BRK\"}')",
                "(f)",
            ),
            ("SELECT content FROM cloudwatcher.pending_responses('truck-1')", "(\"{\"\"answer\"\": 1.50}\")"),
            (
                "SELECT quantity_on_hand, quantity_reserved FROM cloudwatcher.release_stock('00000000-0000-0000-0000-0000000000c7')",
                "(37,0)",
            ),
        ],
    )
    .context("cloudwatcher")?;
    let sees = "SELECT string_agg(name, ',' ORDER BY name) FROM cloudwatcher.locations";
    for (user, expected) in [(PROFESSIONAL, "Lager,Regal"), (FREE, "Regal")] {
        let found: Option<String> = as_user(client, "authenticated", Some(user), |tx| {
            Ok(tx.query_one(sees, &[])?.get(0))
        })?;
        ensure!(found.as_deref() == Some(expected), "{user} sees {found:?}");
    }
    let status: String = as_user(client, "authenticated", Some(PROFESSIONAL), |tx| {
        Ok(tx
            .query_one(
                "SELECT status FROM cloudwatcher.decide_approval('00000000-0000-0000-0000-0000000000ea', 'approved')",
                &[],
            )?
            .get(0))
    })?;
    ensure!(status == "approved", "the order is {status}");
    Ok(())
}

/// Dashboards, their versions and who may see them.
fn reports_work(client: &mut Client) -> Result<()> {
    answers(
        client,
        &[
            (
                "SELECT version, widgets, is_current FROM reporting.layout_versions('dash_fixture')",
                "(4,2,t) (3,2,f) (2,1,f) (1,0,f)",
            ),
            ("SELECT reporting.restore_layout('dash_fixture', 2)", "(5)"),
            (
                "SELECT array_agg(v.version ORDER BY v.version) FROM reporting.dashboard_versions v
                   JOIN reporting.dashboards d ON d.id = v.dashboard_id WHERE d.dashboard_id = 'dash_fixture'",
                "(\"{2,3,4,5}\")",
            ),
            (
                "SELECT w.name, d.dashboard_id FROM reporting.dashboard_sources s
                   JOIN reporting.workflows w ON w.id = s.workflow_id JOIN reporting.dashboards d ON d.id = s.dashboard_id ORDER BY 2",
                "(\"sales \"\"of all\"\"\",dash_fixture)",
            ),
        ],
    )
    .context("reports")?;
    answers(
        client,
        &[
            (
                "SELECT status, progress_percentage, pending, running, completed, skipped, failed, workers, stuck
                   FROM reporting.collection_progress ORDER BY target_weeks DESC",
                "(running,40,2,1,1,1,0,1,f) (paused,0,2,0,0,0,0,0,f)",
            ),
            (
                "SELECT c.status, c.collection_status, c.progress FROM reporting.report_data_weeks w, reporting.complete_week(w.id, 7, 'third', claim => w.claim) AS c
                  WHERE w.worker = 'edge-1'",
                "(completed,running,60)",
            ),
            (
                "SELECT week_start, attempt, configuration FROM reporting.claim_week('after the move')",
                "(2025-06-15,1,\"{\"\"limit\"\": 1.50}\")",
            ),
            (
                "SELECT created FROM reporting.start_collection('00000000-0000-0000-0000-0000000000d1', target_weeks => 5, end_date => '2025-06-28')",
                "(f)",
            ),
            (
                "SELECT reporting.resume(collection_id) FROM reporting.report_data_collections WHERE status = 'paused'",
                "(pending)",
            ),
            (
                "SELECT a.week_start, b.week_start FROM reporting.claim_week('after the move') AS a, reporting.claim_week('after the move') AS b",
                "(2025-06-22,2025-06-15)",
            ),
        ],
    )
    .context("collections")?;
    answers(
        client,
        &[
            ("SELECT reporting.rebuild_aggregates()", "(0)"),
            (
                "SELECT * FROM reporting.series('00000000-0000-0000-0000-0000000000d1', 'ctr', 'monthly')",
                "(2025-05,2025-05-01,6.965174) (2025-06,2025-06-01,6.965174)",
            ),
            (
                "SELECT w -> 'data' ->> 'value' FROM jsonb_array_elements(reporting.dashboard_payload('dash_fixture') -> 'widgets') AS w
                  WHERE w ->> 'widget_id' = 'card'",
                "(6.965174)",
            ),
            (
                "SELECT reporting.metrics_sum(jsonb_build_object('spend', metrics -> 'spend')) FROM reporting.report_data_aggregates WHERE aggregation_type = 'weekly'",
                "(\"{\"\"spend\"\": 6.20}\")",
            ),
            (
                "SELECT insight_id FROM reporting.search_insights('campaign')",
                "(insight_fixture)",
            ),
        ],
    )
    .context("figures")?;
    // Who shares the dashboard, and may change it.
    as_user(client, "authenticated", Some(FREE), |tx| {
        tx.batch_execute(
            "SELECT reporting.add_widget('dash_fixture', 'text', 't', '{\"content\": \"c\"}')",
        )
    })
    .context("a shared dashboard")?;
    Ok(())
}

fn agree(client: &mut Client, when: &str) -> Result<()> {
    for (rollup, disagreements) in DISAGREEMENTS {
        let rows: i64 = client
            .query_one(&format!("SELECT count(*) FROM {rollup}"), &[])?
            .get(0);
        ensure!(rows > 0, "{rollup} is empty {when}");
        let wrong = client.query(
            &format!("SELECT d::text FROM ({disagreements}) AS d LIMIT 3"),
            &[],
        )?;
        let wrong: Vec<String> = wrong.iter().map(|row| row.get(0)).collect();
        ensure!(
            wrong.is_empty(),
            "{rollup} is not what its source says {when}: {wrong:#?}"
        );
    }
    Ok(())
}
