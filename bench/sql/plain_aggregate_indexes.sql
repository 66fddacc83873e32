CREATE UNIQUE INDEX ON hourly_aggregates (sensor_id, bucket);
CREATE INDEX ON hourly_aggregates (bucket);
CREATE UNIQUE INDEX ON daily_aggregates (sensor_id, bucket);
CREATE INDEX ON daily_aggregates (bucket);
