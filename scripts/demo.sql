\pset footer off
\pset null '·'
SET client_min_messages = warning;

\echo
\echo # CREATE EXTENSION gemba;
CREATE EXTENSION gemba;
SELECT module, installed_version AS version, description FROM gemba.modules;
-- So that everybody sees the same; the worker comes at the end.
SELECT gemba.enable_job(name, false) FROM gemba.jobs \g /dev/null

\echo # SELECT … FROM telemetry.import_csv('…/2018*.csv');
SELECT file, sensors, rows_read, readings, inserted, suspect, rejected, round(seconds::numeric, 1) AS seconds
  FROM telemetry.import_csv(:'files' || '/2018*.csv');

\echo # SELECT … FROM telemetry.refresh();
SELECT rollup, rows_written, round(milliseconds::numeric) AS ms FROM telemetry.refresh();

-- Three people: one pays, one does not, one has no subscription at all.
INSERT INTO auth.users (id, email) VALUES
  ('00000000-0000-0000-0000-000000000001', 'pro@example.org'),
  ('00000000-0000-0000-0000-000000000002', 'free@example.org'),
  ('00000000-0000-0000-0000-000000000003', 'stranger@example.org');
INSERT INTO telemetry.subscriptions (user_id, tier) VALUES
  ('00000000-0000-0000-0000-000000000001', 'professional'),
  ('00000000-0000-0000-0000-000000000002', 'free');

-- What PostgREST does for each request: take the role and the claims of the token.
SET ROLE authenticated;

\echo # The same dashboard query under row level security: one day by equipment, as a professional user …
SET request.jwt.claims = '{"sub": "00000000-0000-0000-0000-000000000001", "role": "authenticated"}';
SELECT equipment_type, unit, sum(sensors) AS sensors, round(sum(total), 1) AS total, sum(reading_count) AS readings
  FROM telemetry.totals('2018-09-11 00:00+07', '2018-09-12 00:00+07') GROUP BY 1, 2 ORDER BY 1, 2;

\echo # … as a free user: the sample, a tenth of the readings, the same sensors always …
SET request.jwt.claims = '{"sub": "00000000-0000-0000-0000-000000000002", "role": "authenticated"}';
SELECT equipment_type, unit, sum(sensors) AS sensors, round(sum(total), 1) AS total, sum(reading_count) AS readings
  FROM telemetry.totals('2018-09-11 00:00+07', '2018-09-12 00:00+07') GROUP BY 1, 2 ORDER BY 1, 2;

\echo # … and without a subscription: nothing.
SET request.jwt.claims = '{"sub": "00000000-0000-0000-0000-000000000003", "role": "authenticated"}';
SELECT count(*) AS readings FROM telemetry.sensor_readings;

\echo # A chart: one air conditioner on Tuesday, by the hour
SET request.jwt.claims = '{"sub": "00000000-0000-0000-0000-000000000001", "role": "authenticated"}';
SELECT to_char(bucket_start AT TIME ZONE 'Asia/Bangkok', 'HH24:MI') AS hour, round(avg_value, 2) AS kw,
       repeat('▇', round(avg_value * 3)::int) AS load
  FROM telemetry.series('F2.z2.AC1.kW', '2018-09-11 06:00+07', '2018-09-11 20:00+07');
