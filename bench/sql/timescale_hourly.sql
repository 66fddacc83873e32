CREATE MATERIALIZED VIEW hourly_aggregates WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
  SELECT sensor_id, time_bucket('1 hour', "timestamp") AS bucket, avg(reading_value) AS avg_value,
         max(reading_value) AS max_value, min(reading_value) AS min_value, count(reading_value) AS reading_count,
         sum(reading_value) AS sum_value
    FROM sensor_readings GROUP BY 1, 2 WITH NO DATA
