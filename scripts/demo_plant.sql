-- A plant of twelve machines: 60 days through pipeline A, half a day of the live pulse through pipeline B,
-- then the morning report. The figures are made up, the same ones each time.
\pset footer off
\pset null '·'
SET client_min_messages = warning;

UPDATE plant.settings SET plant_name = 'Riverside works', time_zone = 'Europe/Berlin', currency = 'EUR', oee_target = 78;
INSERT INTO plant.assets (name, source_id, area, planned_minutes, ideal_rate, oee_target) VALUES
  ('Press 1', 'A-P1', 'Stamping', 900, 240, NULL), ('Press 2', 'A-P2', 'Stamping', 900, 240, NULL),
  ('Press 3', 'A-P3', 'Stamping', 900, 180, 72), ('Laser cutter', 'A-L1', 'Stamping', 840, 95, NULL),
  ('Lathe 1', 'B-L1', 'Machining', 960, 42, NULL), ('Lathe 2', 'B-L2', 'Machining', 960, 42, NULL),
  ('Mill 5-axis', 'B-M1', 'Machining', 1200, 14.5, 70), ('Weld cell 1', 'C-W1', 'Joining', 900, 120, NULL),
  ('Weld cell 2', 'C-W2', 'Joining', 900, 120, NULL), ('Paint line', 'D-P1', 'Finishing', 840, 300, 82),
  ('Packaging 1', 'E-K1', 'Packaging', 900, 600, NULL), ('Packaging 2', 'E-K2', 'Packaging', NULL, NULL, NULL);
INSERT INTO plant.cost_centers (asset_id, standard_hourly_rate, cost_per_unit)
  SELECT a.id, 90 + 35 * (a.ideal_rate < 100)::int + length(a.name) * 4, round(900 / a.ideal_rate, 2)
    FROM plant.assets a WHERE a.ideal_rate IS NOT NULL;
INSERT INTO plant.shift_targets (asset_id, shift, target_output)
  SELECT a.id, s.shift, (a.ideal_rate * a.planned_minutes / 60 * s.part * 0.8)::int
    FROM plant.assets a, (VALUES ('Day', 0.45), ('Swing', 0.40), ('Night', 0.15)) AS s (shift, part) WHERE a.ideal_rate IS NOT NULL;

INSERT INTO plant.shift_targets (asset_id, target_output) SELECT a.id, 640 FROM plant.assets a WHERE a.ideal_rate IS NULL;

-- luck(machine, number): between 0 and 1, the same ones each time.
CREATE FUNCTION pg_temp.luck(text, int) RETURNS numeric LANGUAGE sql
  AS $$ SELECT (hashtextextended($1, $2) & 65535)::numeric / 65535 $$;

\echo # Pipeline A: SELECT … FROM plant.ingest_daily(…60 days of twelve machines, one of them misread…);
WITH days AS (
  SELECT a.source_id, plant.today() - n AS day, coalesce(a.planned_minutes, 480) AS planned, coalesce(a.ideal_rate, 100) AS rate,
         round(coalesce(a.planned_minutes, 480) * (0.03 + 0.14 * pg_temp.luck(a.source_id, n))
               + CASE WHEN pg_temp.luck(a.source_id, n + 500) > 0.94 OR a.source_id = 'A-P3' AND n = 1 THEN 160 ELSE 0 END, 1) AS down,
         0.78 + 0.2 * pg_temp.luck(a.source_id, n + 1000) - 0.0012 * n AS pace, 0.002 + 0.035 * pg_temp.luck(a.source_id, n + 2000) AS bad,
         a.planned_minutes IS NULL AS unknown
    FROM plant.assets a, generate_series(1, 60) AS n
   WHERE NOT (a.source_id = 'B-L2' AND n = 1)
), counted AS (
  SELECT *, floor((planned - down) / 60 * rate * pace)::int AS total FROM days
)
SELECT rows_read, accepted, inserted, rejected, rejects -> 0 ->> 'reason' AS first_reject
  FROM plant.ingest_daily((
    SELECT jsonb_agg(jsonb_build_object('source_id', c.source_id, 'report_date', c.day, 'downtime_minutes', c.down,
                                        'total_count', c.total, 'waste_count', (c.total * c.bad)::int))
           || '[{"source_id": "A-P1", "report_date": "2026-01-15", "total_count": 700, "good_count": 900}]'
      FROM counted c));

\echo # Pipeline B: SELECT … FROM plant.ingest_live(…every 15 minutes of the last 12 hours…);
SELECT rows_read, accepted, inserted, rejected, safety_events
  FROM plant.ingest_live((
    SELECT jsonb_agg(jsonb_build_object('source_id', a.source_id, 'snapshot_timestamp', t.at,
             'current_output', round(t.due * (0.88 + 0.2 * pg_temp.luck(a.source_id, 1)))))
      FROM plant.assets a
     CROSS JOIN LATERAL (
       SELECT g AS at, coalesce((SELECT due_output FROM plant.target_at(a.id, g)), 40) AS due
         FROM generate_series(now() - interval '12 hours', now(), interval '15 minutes') AS g
        WHERE a.source_id <> 'C-W2' OR g < now() - interval '3 hours') AS t)
    || jsonb_build_array(
      jsonb_build_object('source_id', 'A-P2', 'snapshot_timestamp', now() - interval '5 hours', 'reason_code', 'Safety Issue',
                         'description', 'light curtain bypassed during tool change', 'source_record_id', 'S-1027'),
      jsonb_build_object('source_id', 'D-P1', 'snapshot_timestamp', now() - interval '11 hours', 'reason_code', 'Safety Issue',
                         'severity', 'medium', 'description', 'solvent spill at the mixing station', 'source_record_id', 'S-1026')));

\echo # Yesterday: SELECT … FROM plant.morning_report();
SELECT name, oee, oee_target AS target, band, financial_loss AS loss, trend_7, trend_30, open_safety_events AS safety, priority
  FROM plant.morning_report();

\echo # In words
\pset tuples_only on
\pset format wrapped
\pset columns 120
SELECT summary FROM plant.morning_report() LIMIT 2;
\pset tuples_only off
\pset format aligned

\echo # Now: SELECT … FROM plant.live_status();
SELECT name, current_output, target_output, output_variance_percentage AS percent, status, date_trunc('minute', age) AS age
  FROM plant.live_status();
