-- Hours from readings, days (of the site's calendar) from hours. The months of the hours are those of the
-- readings.

SELECT gemba.create_rollup('telemetry.hourly_aggregates', 'telemetry.sensor_readings', 'timestamp',
  '1 hour', ARRAY['sensor_id'], '[
    {"name": "reading_count", "function": "count", "column": "reading_value"},
    {"name": "sum_value", "function": "sum", "column": "reading_value"},
    {"name": "min_value", "function": "min", "column": "reading_value"},
    {"name": "max_value", "function": "max", "column": "reading_value"},
    {"name": "avg_value", "function": "avg", "column": "reading_value"}]',
  time_zone => 'Asia/Bangkok', partition_by => '1 month');
SELECT gemba.create_rollup('telemetry.daily_aggregates', 'telemetry.hourly_aggregates', 'bucket',
  '1 day', ARRAY['sensor_id'], time_zone => 'Asia/Bangkok', partition_by => '1 year');
COMMENT ON TABLE telemetry.hourly_aggregates IS 'count, sum, min, max and average of each sensor''s readings by the hour; refreshed by telemetry.refresh()';
COMMENT ON TABLE telemetry.daily_aggregates IS 'the same by the site''s day, from midnight to midnight in Asia/Bangkok';

REVOKE ALL ON telemetry.hourly_aggregates, telemetry.daily_aggregates,
  telemetry.hourly_aggregates_live, telemetry.daily_aggregates_live
  FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON telemetry.hourly_aggregates, telemetry.daily_aggregates,
  telemetry.hourly_aggregates_live, telemetry.daily_aggregates_live TO authenticated, service_role;

CREATE POLICY hourly_aggregates_reader_select ON telemetry.hourly_aggregates FOR SELECT TO authenticated
  USING ((SELECT telemetry.sees_everything())
         OR sensor_id IN (SELECT telemetry.sample_sensor_ids()));
CREATE POLICY hourly_aggregates_service_select ON telemetry.hourly_aggregates FOR SELECT TO service_role
  USING (true);
CREATE POLICY daily_aggregates_reader_select ON telemetry.daily_aggregates FOR SELECT TO authenticated
  USING ((SELECT telemetry.sees_everything())
         OR sensor_id IN (SELECT telemetry.sample_sensor_ids()));
CREATE POLICY daily_aggregates_service_select ON telemetry.daily_aggregates FOR SELECT TO service_role
  USING (true);
