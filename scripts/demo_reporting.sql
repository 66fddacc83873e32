-- Reports: a year of weeks is collected by four workers, one of which dies; weeks become months and quarters; a
-- dashboard shows them to its owner and to whom it is shared with; detectors say what is new.
\pset footer off
\pset null '·'
SET client_min_messages = warning;

INSERT INTO auth.users (id, email) VALUES
  ('6b1c0000-0000-4000-8000-000000000001', 'anna@example.org'), ('6b1c0000-0000-4000-8000-000000000002', 'ben@example.org')
ON CONFLICT DO NOTHING;
INSERT INTO reporting.amc_instances (id, instance_id, instance_name, region)
VALUES ('a3c00000-0000-4000-8000-000000000001', 'amcdemo', 'Demo account', 'eu-west-1');
INSERT INTO reporting.workflows (id, name, instance_id, user_id)
VALUES ('f10a0000-0000-4000-8000-000000000001', 'Campaign performance', 'a3c00000-0000-4000-8000-000000000001',
        '6b1c0000-0000-4000-8000-000000000001');

\echo '# A backfill of 52 weeks: SELECT … FROM reporting.start_collection(workflow);'
SELECT collection_id, weeks, start_date, end_date, status
  FROM reporting.start_collection('f10a0000-0000-4000-8000-000000000001') \gset plan_
SELECT :'plan_collection_id' AS collection_id, :plan_weeks AS weeks, :'plan_start_date' AS start_date, :'plan_end_date' AS end_date, :'plan_status' AS status;

\echo '# Workers claim weeks. One dies with its week, one reports an error …'
SELECT week_start, attempt FROM reporting.claim_week('worker that dies', '1 second');
SELECT f.status, f.attempts FROM reporting.claim_week('worker 2') AS c, reporting.fail_week(c.week, 'HTTP 503 of the source') AS f;
SELECT status, progress_percentage AS progress, pending, running, workers, completed, failed FROM reporting.collection_progress;

\echo '# … and the others do all of it'
DO $$
DECLARE
  c record;
  n bigint;
  noise int;
BEGIN
  PERFORM pg_sleep(1);
  LOOP
    SELECT * INTO c FROM reporting.claim_week('worker ' || (1 + floor(random() * 3)::int));
    EXIT WHEN NOT FOUND;
    -- What the source would have answered: growing, with one bad week.
    n := 90000 + 1500 * (c.week_start - date '2025-01-01') / 7 + (hashtextextended(c.week_start::text, 1) & 4095);
    noise := (hashtextextended(c.week_start::text, 2) & 255)::int;
    PERFORM FROM reporting.record_week_metrics(c.week, jsonb_build_object(
      'impressions', n, 'clicks', n / 42 + noise, 'purchases', CASE WHEN extract(week FROM c.week_start) = 20 THEN 40 ELSE n / 800 + noise / 16 END,
      'spend', round(n * 0.0121 + noise, 2), 'sales', round(n * 0.0904 + 9 * noise, 2)), '{"campaign": ["spring", "brand"]}');
    PERFORM FROM reporting.complete_week(c.week, n, md5(n::text));
    COMMIT;
  END LOOP;
END $$;
SELECT status, progress_percentage AS progress, pending, running, completed, skipped, failed FROM reporting.collection_progress;
SELECT status, count(*), count(DISTINCT week_start_date) AS weeks, max(attempts) AS most_attempts FROM reporting.report_data_weeks GROUP BY 1;

\echo '# Quarters, built from the weeks: base metrics are sums, ratios are made of the sums'
SELECT aggregation_key AS quarter, trunc((metrics ->> 'impressions')::numeric) AS impressions, round((metrics ->> 'sales')::numeric, 2) AS sales,
       metrics ->> 'ctr' AS ctr, metrics ->> 'acos' AS acos, metrics ->> 'roas' AS roas
  FROM reporting.report_data_aggregates WHERE aggregation_type = 'quarterly' ORDER BY 1;

\echo '# Anna makes a dashboard and shares it with Ben'
SET ROLE authenticated;
SET request.jwt.claims = '{"sub": "6b1c0000-0000-4000-8000-000000000001", "role": "authenticated"}';
SELECT reporting.create_dashboard('Campaign performance', 'performance') AS dashboard \gset
SELECT reporting.add_widget(:'dashboard', 'metric_card', 'Sales of the quarter',
  '{"workflows": ["f10a0000-0000-4000-8000-000000000001"], "metrics": ["sales"], "aggregation": "quarterly", "period": {"last": 1}}',
  '{"x": 0, "y": 0, "width": 4, "height": 2}', display_config => '{"format": "currency", "currency": "EUR"}') \g /dev/null
SELECT reporting.add_widget(:'dashboard', 'metric_card', 'Click-through rate',
  '{"workflows": ["f10a0000-0000-4000-8000-000000000001"], "metrics": ["ctr"], "period": {"last": 4}}',
  '{"x": 4, "y": 0, "width": 4, "height": 2}', display_config => '{"format": "percent", "decimals": 2}') \g /dev/null
SELECT reporting.add_widget(:'dashboard', 'chart', 'Months',
  '{"workflows": ["f10a0000-0000-4000-8000-000000000001"], "metrics": ["clicks", "roas"], "aggregation": "monthly", "period": {"last": 3}}',
  '{"x": 0, "y": 2, "width": 8, "height": 4}', chart_type => 'line') \g /dev/null
SELECT reporting.share_dashboard(:'dashboard', '6b1c0000-0000-4000-8000-000000000002') \g /dev/null

\echo '# As Ben, who may see it: SELECT … FROM reporting.dashboard_payload(dashboard);'
SET request.jwt.claims = '{"sub": "6b1c0000-0000-4000-8000-000000000002", "role": "authenticated"}';
SELECT reporting.dashboard_payload(:'dashboard') AS payload \gset
SELECT w ->> 'title' AS widget, w -> 'period' ->> 'from' AS "from", w -> 'period' ->> 'to' AS "to",
       coalesce(w -> 'data' ->> 'value', (SELECT string_agg(trunc((p -> 'metrics' ->> 'clicks')::numeric)::text, ' ') FROM jsonb_array_elements(w -> 'data') AS p)) AS data,
       w -> 'previous' -> 'data' ->> 'value' AS previous, w -> 'change' ->> 'percent' AS percent
  FROM jsonb_array_elements(:'payload'::jsonb -> 'widgets') AS w;
\echo '# … and again, with the version that he has'
SELECT reporting.dashboard_payload(:'dashboard', :'payload'::jsonb ->> 'version') AS answer;

\echo '# What is new? Detectors, without any service'
SET request.jwt.claims = '{"sub": "6b1c0000-0000-4000-8000-000000000001", "role": "authenticated"}';
SELECT summary, confidence FROM reporting.detect_trend('f10a0000-0000-4000-8000-000000000001', 'impressions')
UNION ALL
SELECT summary, confidence FROM reporting.detect_anomalies('f10a0000-0000-4000-8000-000000000001', 'cvr', last => 52);
RESET ROLE;
RESET request.jwt.claims;
