SELECT gemba.unmanage_partitions('telemetry.sensor_readings');
DROP TABLE telemetry.sensor_readings;
