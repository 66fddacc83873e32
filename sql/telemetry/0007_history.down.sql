-- What is compressed stays so, and can be read and written as before; gemba.decompress_partition() undoes it.

SELECT gemba.stop_compressing('telemetry.daily_aggregates');
SELECT gemba.stop_compressing('telemetry.hourly_aggregates');
SELECT gemba.stop_compressing('telemetry.sensor_readings');
