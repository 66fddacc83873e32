-- A database in use, as dumps and upgrades meet it: data in every kind of table, things that users added
-- to ours, tables of their own that the engine keeps, and changes that no refresh has seen yet.

-- A new cluster counts transactions from the start again: what compares their numbers would notice.
DO $$ BEGIN FOR i IN 1..2000 LOOP PERFORM pg_catalog.pg_current_xact_id(); COMMIT; END LOOP; END $$;

-- Telemetry ---------------------------------------------------------------------------------------
INSERT INTO auth.users (id, email) VALUES
  ('00000000-0000-0000-0000-0000000000f1', 'free@example.org'),
  ('00000000-0000-0000-0000-0000000000a1', 'professional@example.org');
INSERT INTO telemetry.subscriptions (user_id, tier, stripe_subscription_id) VALUES
  ('00000000-0000-0000-0000-0000000000f1', 'free', NULL),
  ('00000000-0000-0000-0000-0000000000a1', 'professional', 'sub_1');
INSERT INTO telemetry.sensors (sensor_id, floor_number, equipment_type, unit, in_sample)
  SELECT format('floor%s.s%s', n % 7 + 1, n), n % 7 + 1, 'HVAC', 'kW', n = 3 FROM generate_series(1, 20) AS n;
SELECT gemba.ensure_partitions('telemetry.sensor_readings', '2025-01-01 00:00+07', '2025-04-01 00:00+07');
INSERT INTO telemetry.sensor_readings ("timestamp", sensor_id, floor_number, equipment_type, reading_value, unit, status)
  SELECT '2025-01-30 23:00+07'::timestamptz + n * interval '13 minutes', s.sensor_id, s.floor_number, s.equipment_type,
         CASE WHEN n % 50 = 0 THEN NULL ELSE n * 0.25 END, s.unit, CASE WHEN n % 97 = 0 THEN 'suspect' ELSE 'normal' END
    FROM telemetry.sensors AS s, generate_series(0, 600) AS n;
INSERT INTO telemetry.import_runs
    (file, checksum, bytes, sensors, rows_read, readings, inserted, duplicates, suspect, rejected, started_at)
  VALUES ('2025Floor1.csv', repeat('a', 64), 10, 1, 2, 3, 4, 5, 6, 7, '2025-02-01');
INSERT INTO telemetry.import_rejects (run_id, file, line, column_name, reason, raw)
  SELECT id, file, 3, 'Date', 'no date', E'x\ty\n"z"' FROM telemetry.import_runs;
INSERT INTO telemetry.import_lines (line) VALUES ('Date,"z1_Light(kW)"'), ('');
UPDATE telemetry.plausible_ranges SET max_value = 299 WHERE unit = 'kW';
SELECT gemba.refresh_rollups();

-- Plant -------------------------------------------------------------------------------------------
UPDATE plant.settings SET plant_name = 'Works "3" <Süd>', time_zone = 'Asia/Bangkok', day_starts_at = '05:30', currency = 'THB',
  tolerance_pct = 7.5, default_severity = 'high', live_window = '45 minutes', oee_target = 82.5;
INSERT INTO plant.assets (id, name, source_id, area, planned_minutes, ideal_rate, oee_target, is_active) VALUES
  ('00000000-0000-0000-0000-000000000101', 'Press 1', 'PRESS-1', 'North', 960, 120.5, 88.5, true),
  ('00000000-0000-0000-0000-000000000102', 'Press 2, "the old one"', 'PRESS-2', 'North', 480, 60, NULL, true),
  ('00000000-0000-0000-0000-000000000103', 'Lathe', 'LATHE-3', NULL, NULL, NULL, NULL, true),
  ('00000000-0000-0000-0000-000000000104', 'Retired', 'RETIRED-4', 'South', 480, 100, NULL, false);
INSERT INTO plant.cost_centers (asset_id, standard_hourly_rate, cost_per_unit) VALUES
  ('00000000-0000-0000-0000-000000000101', 250.75, 4.2),
  ('00000000-0000-0000-0000-000000000102', 80, NULL);
UPDATE plant.shifts SET starts_at = '05:30', ends_at = '13:30' WHERE name = 'Day';
INSERT INTO plant.shifts (name, starts_at, ends_at) VALUES ('Late', '20:00', '02:00');
INSERT INTO plant.shift_targets (asset_id, target_output, shift, effective_date) VALUES
  ('00000000-0000-0000-0000-000000000101', 700, 'Day', NULL),
  ('00000000-0000-0000-0000-000000000101', 650, 'Night', NULL),
  ('00000000-0000-0000-0000-000000000101', 800, 'Day', '2025-01-01'),
  ('00000000-0000-0000-0000-000000000102', 400, NULL, NULL),
  ('00000000-0000-0000-0000-000000000102', 420, NULL, '2025-06-01'),
  ('00000000-0000-0000-0000-000000000104', 1, 'Late', '2099-01-01');
UPDATE plant.safety_codes SET severity = 'critical' WHERE reason_code = 'Safety Issue';
INSERT INTO plant.safety_codes (reason_code, severity) VALUES ('Near miss', 'low'), ('Fire', NULL);
SELECT * FROM plant.ingest_daily((
  SELECT jsonb_agg(jsonb_build_object('asset_id', a.id, 'report_date', date '2025-07-01' - n, 'downtime_minutes', n * 7.25,
                                      'total_count', 500 + n, 'waste_count', n % 9))
    FROM plant.assets AS a, generate_series(1, 40) AS n));
SELECT * FROM plant.ingest_daily('[{"source_id": "LATHE-3", "report_date": "2025-02-30", "total_count": 1}]');
SELECT * FROM plant.ingest_live((
  SELECT jsonb_agg(jsonb_build_object('source_id', a.source_id, 'snapshot_timestamp', now() - n * interval '11 minutes', 'current_output', 90 - n)
                   || CASE WHEN n = 40 THEN '{"reason_code": "Near miss", "description": "Öl am Boden", "duration_minutes": 12.5}'
                           WHEN n = 60 THEN jsonb_build_object('reason_code', 'Safety Issue', 'source_record_id', a.source_id || '/60')
                           WHEN n = 70 THEN '{"reason_code": "Fire", "financial_impact": "99.95"}' ELSE '{}' END)
    FROM plant.assets AS a, generate_series(0, 90) AS n WHERE a.is_active));
SELECT plant.resolve_safety_event(id, 'cleaned', '00000000-0000-0000-0000-0000000000f1') FROM plant.safety_events WHERE reason_code = 'Near miss';
SELECT plant.reopen_safety_event(e.id, E'still\twet') FROM plant.safety_events e JOIN plant.assets a ON a.id = e.asset_id AND a.source_id = 'PRESS-1' WHERE reason_code = 'Near miss';
SELECT plant.resolve_safety_event(id) FROM plant.safety_events WHERE reason_code = 'Fire';
INSERT INTO plant.machine_states (asset_id, started_at, ended_at, state, reason_code)
  SELECT a.id, now() - n * interval '50 minutes', CASE WHEN n % 5 = 0 THEN now() - n * interval '50 minutes' + interval '9 minutes' END,
         (ARRAY['running', 'stopped', 'planned_stop', 'idle'])[n % 4 + 1], CASE WHEN n % 4 = 1 THEN 'jam ' || n END
    FROM plant.assets AS a, generate_series(0, 60) AS n;
SELECT gemba.refresh_rollups();

-- Refreshes ---------------------------------------------------------------------------------------
UPDATE sqp.settings SET max_parallel = 7, row_count_max_ratio = 3;
INSERT INTO sqp.asin_performance_data (start_date, end_date, asin) SELECT '2025-06-01', '2025-06-07', 'B0' || n FROM generate_series(1, 5) AS n;
INSERT INTO sqp.search_query_performance (asin_performance_id, search_query, volume, total_impressions, asin_impressions)
  SELECT id, q, 100, 1000, 10 FROM sqp.asin_performance_data, unnest(ARRAY['shoes', 'süße "Schuhe"']) AS q;
INSERT INTO sqp.daily_sqp_data (date, query, asin, impressions, clicks, purchases, spend, sales)
  SELECT date '2025-01-01' + n, 'shoes', 'B0' || (n % 3), 100 + n, n % 20, n % 4, n * 0.25, n * 3 FROM generate_series(0, 120) AS n;
INSERT INTO sqp.refresh_config (table_schema, table_name, priority, next_refresh_at, custom_sync_params, warning_blocks) VALUES
  ('bigquery', 'Wöchentliche "Daten"', 95, '2025-06-01 06:00+00', '{"since": "2025-01-01", "share": 1.10}', true),
  ('bigquery', 'broken', 10, '2025-06-01 06:00+00', '{}', false);
UPDATE sqp.refresh_config SET next_refresh_at = '2025-06-01 06:00+00' WHERE table_schema = 'sqp';
UPDATE sqp.refresh_config SET dependencies = dependencies || '{"bigquery.Wöchentliche \"Daten\""}'::text[] WHERE table_name = 'yearly_summary';
SELECT sqp.add_dependency('monthly_summary', 'yearly_summary', 'soft');
INSERT INTO sqp.refresh_quality_rules (config_id, metric, column_name, threshold_max) SELECT id, 'null_share', 'avg_ctr', 0.5 FROM sqp.refresh_config WHERE table_name = 'weekly_summary';
UPDATE sqp.refresh_config SET max_attempts = 1 WHERE table_name = 'broken';
SELECT sqp.complete_refresh(run_id, 500, 400, 100, metadata => '{"batch": 3}', bigquery_job_id => 'job_1') FROM sqp.claim_refresh('fixture', most => 4);
SELECT * FROM sqp.refresh_due();
SELECT sqp.fail_refresh(run_id, E'no such table\t"broken"', '{"code": 404}') FROM sqp.claim_refresh('fixture', most => 10) WHERE table_name = 'broken';
SELECT sqp.request_refresh('daily_sqp_data');
SELECT run_id FROM sqp.claim_refresh('edge-1', '20 days', 10);
SELECT sqp.save_checkpoint('sync', 'daily_sqp_data', '{"page": 12.50, "cursor": "ü"}', 4000, 9000, '20 days');

-- Reports -----------------------------------------------------------------------------------------
UPDATE reporting.settings SET max_running_weeks = 7, keep_versions = 4;
INSERT INTO reporting.amc_instances (id, instance_id, instance_name, capabilities) VALUES
  ('00000000-0000-0000-0000-0000000000c1', 'amc-"1"', 'Konto Süd', '{"share": 1.10}');
INSERT INTO reporting.workflows (id, workflow_id, name, instance_id, user_id, tags) VALUES
  ('00000000-0000-0000-0000-0000000000d1', 'wf_fixture', 'sales "of all"', '00000000-0000-0000-0000-0000000000c1', '00000000-0000-0000-0000-0000000000a1', '["a"]');
INSERT INTO reporting.workflow_executions (execution_id, workflow_id, status, progress)
  VALUES ('exec_fixture', '00000000-0000-0000-0000-0000000000d1', 'completed', 100);
INSERT INTO reporting.metric_definitions (name, numerator, denominator, factor) VALUES ('spend_share', 'spend', 'sales', 100.50);
UPDATE reporting.metric_definitions SET description = 'ours: Klickrate' WHERE name = 'ctr';
INSERT INTO reporting.dashboards (dashboard_id, name, user_id, template_type, layout_config, is_public)
  VALUES ('dash_fixture', 'Übersicht "1"', '00000000-0000-0000-0000-0000000000a1', 'performance', '{"columns": 24}', false),
         ('dash_template', 'Vorlage', NULL, 'custom', '{}', true);
UPDATE reporting.dashboards SET is_template = true WHERE dashboard_id = 'dash_template';
SELECT reporting.add_widget(d, 'metric_card', 'Clicks', '{"workflows": ["00000000-0000-0000-0000-0000000000d1"], "metrics": ["ctr"], "period": {"last": 4}}', widget_id => 'card')
  FROM unnest(ARRAY['dash_fixture', 'dash_template']) AS d;
SELECT reporting.add_widget('dash_fixture', 'text', 'Note', '{"content": "Zeile 1\nZeile 2"}', widget_id => 'note');
SELECT reporting.move_widgets('dash_fixture', '{"note": {"x": 12, "y": 0, "width": 12, "height": 4}}');
SELECT reporting.share_dashboard('dash_fixture', '00000000-0000-0000-0000-0000000000f1', 'edit');
INSERT INTO reporting.ai_insights (insight_id, user_id, dashboard_id, query_text, response_text, confidence_score, insight_type, related_metrics)
  SELECT 'insight_fixture', '00000000-0000-0000-0000-0000000000a1', id, 'why?', 'because of the "campaign"', 0.75, 'trend_analysis', '{"ctr": 1.50}'
    FROM reporting.dashboards WHERE dashboard_id = 'dash_fixture';

INSERT INTO reporting.workflows (id, workflow_id, name, instance_id, user_id)
  VALUES ('00000000-0000-0000-0000-0000000000d2', 'wf_paused', 'later', '00000000-0000-0000-0000-0000000000c1', '00000000-0000-0000-0000-0000000000a1');
SELECT reporting.start_collection('00000000-0000-0000-0000-0000000000d1', target_weeks => 5, end_date => '2025-06-28', configuration => '{"limit": 1.50}');
SELECT reporting.complete_week(week, 5000000000, 'first "week"') FROM reporting.claim_week('fixture');
SELECT reporting.fail_week(week, E'no such\ttable') FROM reporting.claim_week('fixture');
SELECT reporting.skip_week(week, 'a holiday') FROM reporting.claim_week('fixture');
SELECT claim FROM reporting.claim_week('edge-1', '20 days');
SELECT reporting.pause(collection_id) FROM reporting.start_collection('00000000-0000-0000-0000-0000000000d2', target_weeks => 2, end_date => '2025-06-28');
SELECT reporting.record_week_metrics(id, '{"clicks": 7, "impressions": 100.50, "spend": 3.10, "sales": 9}', '{"market": ["de", "ü"]}')
  FROM reporting.report_data_weeks WHERE status = 'completed' OR status = 'running';

-- Cloudwatcher ------------------------------------------------------------------------------------
UPDATE cloudwatcher.settings SET approval_thresholds = '{50,5000,25000}', offline_after = '1 hour';
INSERT INTO cloudwatcher.users (id, email, name, oauth_provider) VALUES
  ('00000000-0000-0000-0000-0000000000a1', 'professional@example.org', 'Maria "Chefin"', 'azure-ad'),
  ('00000000-0000-0000-0000-0000000000f1', 'free@example.org', 'Töm', 'local');
INSERT INTO cloudwatcher.departments (id, name, parent_id, manager_id) VALUES
  ('00000000-0000-0000-0000-0000000000e1', 'Region Süd', NULL, '00000000-0000-0000-0000-0000000000a1'),
  ('00000000-0000-0000-0000-0000000000e2', 'Depot', '00000000-0000-0000-0000-0000000000e1', NULL);
INSERT INTO cloudwatcher.roles (name, description, approval_threshold_amount) VALUES ('auditor', 'ours', 7.5);
INSERT INTO cloudwatcher.role_permissions (role_id, permission) SELECT id, p FROM cloudwatcher.roles, unnest(ARRAY['orders.approve', 'ours.only']) AS p WHERE name = 'auditor';
DELETE FROM cloudwatcher.role_permissions WHERE permission = 'requests.create' AND role_id = (SELECT id FROM cloudwatcher.roles WHERE name = 'manager');
INSERT INTO cloudwatcher.user_roles (user_id, role_id)
  SELECT u.id, r.id FROM cloudwatcher.users u JOIN cloudwatcher.roles r ON r.name = CASE u.name WHEN 'Töm' THEN 'technician' ELSE 'manager' END OR r.name = 'auditor' AND u.name = 'Töm';
INSERT INTO cloudwatcher.user_departments (user_id, dept_id) VALUES ('00000000-0000-0000-0000-0000000000f1', '00000000-0000-0000-0000-0000000000e2');
INSERT INTO cloudwatcher.devices (device_id, name, dept_id) VALUES ('truck-1', 'LKW "1"', '00000000-0000-0000-0000-0000000000e2');
INSERT INTO cloudwatcher.locations (id, name, dept_id) VALUES
  ('00000000-0000-0000-0000-0000000000b1', 'Regal', '00000000-0000-0000-0000-0000000000e2'), ('00000000-0000-0000-0000-0000000000b2', 'Lager', '00000000-0000-0000-0000-0000000000e1');
INSERT INTO cloudwatcher.parts (id, part_code, name) VALUES ('00000000-0000-0000-0000-0000000000d7', 'BRK-"12"', 'Bremsbelag'), ('00000000-0000-0000-0000-0000000000d8', 'OIL', 'Öl');
INSERT INTO cloudwatcher.part_variants (id, part_id, variant_code, attributes) VALUES
  ('00000000-0000-0000-0000-0000000000d9', '00000000-0000-0000-0000-0000000000d8', '5W-30', '{"litres": 1.50}');
INSERT INTO cloudwatcher.suppliers (id, name, lead_time_days, is_preferred) VALUES ('00000000-0000-0000-0000-0000000000da', 'Müller & Söhne', 4, true);
INSERT INTO cloudwatcher.part_suppliers (part_id, supplier_id, sku, supplier_cost) VALUES ('00000000-0000-0000-0000-0000000000d7', '00000000-0000-0000-0000-0000000000da', 'M-12', 38.50);
SELECT FROM cloudwatcher.receive_stock('00000000-0000-0000-0000-0000000000d7', '00000000-0000-0000-0000-0000000000b1', 40);
SELECT FROM cloudwatcher.receive_stock('00000000-0000-0000-0000-0000000000d8', '00000000-0000-0000-0000-0000000000b2', 9, '00000000-0000-0000-0000-0000000000d9');
SELECT FROM cloudwatcher.transfer_stock('00000000-0000-0000-0000-0000000000d8', '00000000-0000-0000-0000-0000000000b2', '00000000-0000-0000-0000-0000000000b1', 4, '00000000-0000-0000-0000-0000000000d9');
SELECT FROM cloudwatcher.reserve_stock('00000000-0000-0000-0000-0000000000d7', '00000000-0000-0000-0000-0000000000b1', 10, reservation => '00000000-0000-0000-0000-0000000000c7');
SELECT FROM cloudwatcher.consume_part('00000000-0000-0000-0000-0000000000d7', '00000000-0000-0000-0000-0000000000b1', 3, reservation => '00000000-0000-0000-0000-0000000000c7');
UPDATE cloudwatcher.inventory SET reorder_point = 35, reorder_quantity = 20 WHERE part_id = '00000000-0000-0000-0000-0000000000d7';
SELECT FROM cloudwatcher.submit_request('truck-1', 'get_parts', '{"part": "BRK", "n": 1.0}', '{"app": "2.1"}');
SELECT FROM cloudwatcher.submit_request('truck-1', 'get_parts', '{"part": "Öl"}');
SELECT FROM cloudwatcher.submit_request('truck-1', 'later', '{}');
SELECT FROM cloudwatcher.claim_requests('fixture', 2, '20 days');
SELECT cloudwatcher.complete_request(id, '{"answer": 1.50}', true) FROM cloudwatcher.requests WHERE payload @> '{"part": "BRK"}';
INSERT INTO cloudwatcher.response_metadata (response_id, key, value) SELECT id, 'model', 'ü' FROM cloudwatcher.responses;
DO $$ BEGIN PERFORM set_config('request.jwt.claims', '{"sub": "00000000-0000-0000-0000-0000000000f1", "role": "authenticated"}', true); SET LOCAL ROLE authenticated; PERFORM cloudwatcher.create_order('00000000-0000-0000-0000-0000000000b1', id => '00000000-0000-0000-0000-0000000000ea'); PERFORM cloudwatcher.add_item('00000000-0000-0000-0000-0000000000ea', '00000000-0000-0000-0000-0000000000d7', 20); PERFORM cloudwatcher.submit_order('00000000-0000-0000-0000-0000000000ea'); PERFORM cloudwatcher.create_order('00000000-0000-0000-0000-0000000000b1', id => '00000000-0000-0000-0000-0000000000eb'); END $$;
DO $$ BEGIN PERFORM set_config('request.jwt.claims', '{"sub": "00000000-0000-0000-0000-0000000000a1", "role": "authenticated"}', true); SET LOCAL ROLE authenticated; PERFORM cloudwatcher.set_delegate('00000000-0000-0000-0000-0000000000f1', '2099-01-01', '2098-01-01'); END $$;
CREATE TABLE public.secrets (a int, b text, password text, iban text, PRIMARY KEY (b, a));
ALTER TABLE public.secrets ENABLE ROW LEVEL SECURITY;
SELECT gemba.audit('public.secrets', 'password');
SELECT gemba.audit_options('public.secrets', mask => ARRAY['iban'], full_rows => true);
INSERT INTO public.secrets VALUES (1, 'x', 'secret', 'DE1'), (2, 'ü"y', 'secret', NULL);
UPDATE public.secrets SET b = 'z' WHERE a = 1;
SELECT gemba.seal_audit();
DELETE FROM public.secrets WHERE a = 2;

-- Theirs, on ours ---------------------------------------------------------------------------------
CREATE POLICY night_shift ON telemetry.sensor_readings FOR SELECT TO fixture_reader USING (sensor_id = 'floor4.s3');
ALTER POLICY plausible_ranges_reader_select ON telemetry.plausible_ranges USING (max_value > 0);
GRANT USAGE ON SCHEMA telemetry TO fixture_reader;
GRANT SELECT ON telemetry.sensor_readings TO fixture_reader WITH GRANT OPTION;
GRANT SELECT (sensor_id, unit) ON telemetry.sensors TO fixture_reader;
GRANT EXECUTE ON FUNCTION gemba.refresh_rollups() TO fixture_reader;
CREATE INDEX sensors_zone_idx ON telemetry.sensors (zone) WHERE zone IS NOT NULL;
COMMENT ON COLUMN telemetry.sensors.zone IS 'ours: A to D';
CREATE POLICY north ON plant.assets FOR SELECT TO fixture_reader USING (area = 'North');
ALTER POLICY safety_codes_reader_select ON plant.safety_codes USING (severity IS NOT NULL);
GRANT USAGE ON SCHEMA plant TO fixture_reader;
GRANT SELECT ON plant.assets, plant.live_hourly TO fixture_reader;
GRANT SELECT (asset_id, report_date, oee_percentage) ON plant.daily_summaries TO fixture_reader;
GRANT EXECUTE ON FUNCTION plant.live_status() TO fixture_reader;
CREATE INDEX assets_name_idx ON plant.assets (lower(name));
CREATE INDEX live_snapshots_status_idx ON plant.live_snapshots (status) WHERE status = 'behind';
COMMENT ON COLUMN plant.assets.area IS 'ours: North or South';
SELECT gemba.manage_partitions('plant.live_snapshots', '1 day', premake => 2, retain => '3 days');
ALTER POLICY parts_reader_select ON cloudwatcher.parts USING ((SELECT cloudwatcher.has_permission('parts.read')) AND is_active);
CREATE INDEX requests_error_idx ON cloudwatcher.requests (error_message) WHERE error_message IS NOT NULL;
SELECT gemba.unaudit('cloudwatcher.devices');
ALTER POLICY workflows_reader_select ON reporting.workflows USING (user_id = (SELECT auth.uid()) OR is_template OR status = 'public');
CREATE INDEX dashboards_name_idx ON reporting.dashboards (lower(name));
ALTER POLICY refresh_checkpoints_reader_select ON sqp.refresh_checkpoints USING (status = 'active');
GRANT SELECT ON sqp.weekly_summary TO fixture_reader;
CREATE INDEX weekly_summary_asin_idx ON sqp.weekly_summary (asin);
CREATE SCHEMA shop;
SELECT sqp.watch_schema('shop');
CREATE FUNCTION shop.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER note BEFORE UPDATE ON telemetry.sensors FOR EACH ROW EXECUTE FUNCTION shop.note();
CREATE VIEW shop.hourly AS SELECT * FROM telemetry.hourly_aggregates;
CREATE TABLE shop.weeks (asset_id uuid REFERENCES plant.assets, week date, state plant.oee_state);
CREATE VIEW shop.oee AS SELECT report_date, (plant.oee_agg(oee_state)).oee FROM plant.daily_summaries GROUP BY report_date;
INSERT INTO shop.weeks SELECT asset_id, date_trunc('week', report_date)::date, plant.oee_merge(oee_state) FROM plant.daily_summaries GROUP BY 1, 2;
CREATE FUNCTION shop.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER shop_watch ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION shop.watch();

-- Theirs, kept by the engine ----------------------------------------------------------------------
CREATE TABLE shop.orders (
  id bigint GENERATED BY DEFAULT AS IDENTITY, placed_at timestamptz NOT NULL, customer int NOT NULL, amount numeric(10,2)
) PARTITION BY RANGE (placed_at);
CREATE INDEX ON shop.orders (customer);
ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
SELECT gemba.manage_partitions('shop.orders', '1 day', premake => 2, time_zone => 'Europe/Berlin',
                               unique_on => ARRAY['id']);
SELECT gemba.ensure_partitions('shop.orders', now() - interval '9 days', now());
INSERT INTO shop.orders (placed_at, customer, amount)
  SELECT now() - n * interval '20 minutes', n % 5, n FROM generate_series(0, 600) AS n;
SELECT gemba.create_rollup('shop.orders_hourly', 'shop.orders', 'placed_at', '1 hour', ARRAY['customer'],
  '{"total": {"function": "sum", "column": "amount"}, "n": {"function": "count"},
    "spread": {"function": "stddev", "column": "amount"}, "newest": {"function": "last", "column": "amount"}}');
SELECT gemba.create_rollup('shop.orders_daily', 'shop.orders_hourly', 'bucket', '1 day', ARRAY['customer'],
                           time_zone => 'Europe/Berlin');
SELECT gemba.refresh_rollups();
-- Some partitions are retired into the archive, and the rollup keeps what it knows of them.
SELECT gemba.manage_partitions('shop.orders', '1 day', premake => 2, retain => '7 days', on_expire => 'archive',
                               time_zone => 'Europe/Berlin', unique_on => ARRAY['id']);
SELECT gemba.maintain_partitions();

CREATE MATERIALIZED VIEW shop.totals AS SELECT customer, sum(amount) AS total FROM shop.orders GROUP BY customer;

-- History ----------------------------------------------------------------------------------------
CREATE TABLE shop."Visits" (
  at timestamptz NOT NULL, "the door" text NOT NULL, kind uuid, n int, weight numeric(9,3), share real, seconds float8, day date, note varchar(40),
  paid boolean, doubled int GENERATED ALWAYS AS (n * 2) STORED, CONSTRAINT n_is_small CHECK (n < 100000)) PARTITION BY RANGE (at);
SELECT gemba.manage_partitions('shop."Visits"', '1 month', premake => 0, time_zone => 'Europe/Berlin', unique_on => ARRAY['the door', 'at']);
SELECT gemba.ensure_partitions('shop."Visits"', '2024-01-01 00:00+01', '2024-04-01 00:00+02');
INSERT INTO shop."Visits" (at, "the door", kind, n, weight, share, seconds, day, note, paid)
  SELECT t, d, CASE WHEN n % 5 > 0 THEN ('00000000-0000-0000-0000-' || lpad((n % 17)::text, 12, '0'))::uuid END, nullif(n % 1000, 7), n / 8.0,
         CASE WHEN n % 97 = 0 THEN 'NaN' ELSE n / 3.0 END, n / 7.0, t::date, CASE WHEN n % 11 = 0 THEN E'ü\t"x" ' || n END, n % 3 = 0
    FROM generate_series(0, 2100) AS n, LATERAL (SELECT timestamptz '2024-01-01 00:00+01' + n * interval '1 hour' AS t) AS at, unnest(ARRAY['left', 'Süd "3"']) AS d;
SELECT gemba.create_rollup('shop.visits_daily', 'shop."Visits"', 'at', '1 day', ARRAY['the door'], '{"n": {"function": "count"}, "weight": {"function": "sum", "column": "weight"}}', time_zone => 'Europe/Berlin');
SELECT gemba.refresh_rollups();
SELECT gemba.compress_after('shop."Visits"', '{the door}', 'at', '100 years');
SELECT gemba.compress_partition('shop."Visits_p20240101"');
SELECT gemba.compress_partition('shop."Visits_p20240201"');
-- A column that was renamed, one that is gone, and one that came later; late rows; and segments that were changed.
ALTER TABLE shop."Visits" RENAME COLUMN share TO "our share";
ALTER TABLE shop."Visits" DROP COLUMN paid;
ALTER TABLE shop."Visits" ADD COLUMN later text;
INSERT INTO shop."Visits" (at, "the door", n, note) VALUES ('2024-01-20 12:34+01', 'left', 1, 'late'), ('2024-02-20 12:34+01', 'back', 2, NULL);
INSERT INTO shop."Visits" (at, "the door", n, later) VALUES ('2024-03-20 12:34+01', 'left', 3, 'ordinary');
UPDATE shop."Visits" SET weight = 1.125, note = 'changed' WHERE "the door" = 'left' AND at >= '2024-01-10 00:00+01' AND at < '2024-01-10 05:00+01';
DELETE FROM shop."Visits" WHERE "the door" = 'Süd "3"' AND day = '2024-02-14';

-- Jobs --------------------------------------------------------------------------------------------
SELECT gemba.schedule('shop: "totals"', '*/5 8-18 * * MON-FRI', $$SELECT 'it''s', 1$$, time_zone => 'Europe/Berlin',
                      run_as => 'service_role', timeout => '1 minute', retries => 2);
SELECT gemba.schedule('shop: broken', '1 month', 'SELECT 1 / 0', run_as => 'service_role', enabled => false);
SELECT gemba.run_job_now('shop: "totals"');
SELECT gemba.run_due_jobs();

-- What no job and no refresh has seen yet ----------------------------------------------------------
INSERT INTO plant.daily_inbox (source_id, report_date, total_count, good_count) VALUES
  ('PRESS-1', '2025-07-01', '410', '400'), ('NOBODY', '2025-07-01', '1', NULL);
INSERT INTO plant.live_inbox (source_id, snapshot_timestamp, current_output, reason_code) VALUES
  ('PRESS-2', (now() - interval '4 minutes')::text, '77', 'Fire'), ('PRESS-2', 'yesterday', '1', NULL);
INSERT INTO shop.orders (placed_at, customer, amount) VALUES (now() - interval '3 hours', 1, 1000);
UPDATE shop.orders SET amount = amount + 1 WHERE customer = 2 AND placed_at > now() - interval '1 day';
DELETE FROM shop.orders WHERE customer = 3 AND placed_at > now() - interval '2 days';
DELETE FROM telemetry.sensor_readings WHERE sensor_id = 'floor4.s3' AND "timestamp" < '2025-02-01 00:00+07';
INSERT INTO telemetry.sensor_readings ("timestamp", sensor_id, floor_number, reading_value)
  VALUES ('2025-03-31 23:59:30+07', 'floor4.s3', 4, 77);
UPDATE plant.live_snapshots SET current_output = current_output + 3 WHERE snapshot_timestamp > now() - interval '2 hours';
DELETE FROM plant.live_snapshots WHERE snapshot_timestamp > now() - interval '3 hours' AND status IS NULL;
