-- Closed months become segments, and so do the hours and days that are made of them.

SELECT gemba.compress_after('telemetry.sensor_readings', '{sensor_id}', 'timestamp', '7 days');
SELECT gemba.compress_after('telemetry.hourly_aggregates', '{sensor_id}', 'bucket', '7 days');
SELECT gemba.compress_after('telemetry.daily_aggregates', '{sensor_id}', 'bucket', '31 days');
