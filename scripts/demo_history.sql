-- A closed month before and after: the same table, the same query.
\set QUIET on
\pset footer off
SET client_min_messages = warning;
SELECT gemba.decompress_partition('telemetry.sensor_readings_p20180901') \g /dev/null

CREATE TEMPORARY TABLE month (kept_as text, readings bigint, mb numeric, bytes_a_reading numeric, daily_ms numeric);
CREATE FUNCTION pg_temp.measure(kept_as text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  began timestamptz;
  took numeric;
  counted bigint;
BEGIN
  FOR turn IN 1..4 LOOP
    began := clock_timestamp();
    SELECT sum(n) INTO counted
      FROM (SELECT sensor_id, date_trunc('day', "timestamp", 'Asia/Bangkok'), count(*) AS n, avg(reading_value),
                   min(reading_value), max(reading_value)
              FROM telemetry.sensor_readings GROUP BY 1, 2) AS days;
    took := least(took, extract(epoch FROM clock_timestamp() - began) * 1000);
  END LOOP;
  INSERT INTO month
  SELECT kept_as, counted, round(p.bytes / 1e6, 1), round(p.bytes / counted::numeric, 2), round(took, 1)
    FROM gemba.partitions p WHERE p.partition = 'telemetry.sensor_readings_p20180901'::regclass;
END $$;

SELECT pg_temp.measure('an ordinary partition') \g /dev/null
SELECT gemba.compress_partition('telemetry.sensor_readings_p20180901') \g /dev/null
SELECT pg_temp.measure('segments') \g /dev/null

\echo
\echo '# A closed month, before and after SELECT gemba.compress_partition(…): the daily average of every sensor'
TABLE month;

\echo '# … and what the planner makes of it'
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
SELECT avg(reading_value) FROM telemetry.sensor_readings
 WHERE sensor_id = 'F1.z2.AC1.kW' AND "timestamp" >= '2018-09-11 00:00+07' AND "timestamp" < '2018-09-12 00:00+07';

\echo '# A reading that comes late is seen at once …'
INSERT INTO telemetry.sensor_readings (sensor_id, "timestamp", floor_number, reading_value)
VALUES ('F1.z2.AC1.kW', '2018-09-20 12:00+07', 1, 2.5);
SELECT sensor_id, "timestamp", reading_value FROM telemetry.sensor_readings WHERE "timestamp" > '2018-09-20 00:00+07';
SELECT partition, rows, late_rows, segments, ratio FROM gemba.history WHERE parent = 'telemetry.sensor_readings'::regclass;
\echo '# … and becomes part of a segment later'
SELECT gemba.compress_partition('telemetry.sensor_readings_p20180901') AS rows;
SELECT count(*) AS damaged FROM gemba.verify_history();
