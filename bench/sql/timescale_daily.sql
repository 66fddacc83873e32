CREATE MATERIALIZED VIEW daily_aggregates WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
  SELECT sensor_id, time_bucket('1 day', bucket, 'Asia/Bangkok') AS bucket,
         sum(sum_value) / nullif(sum(reading_count), 0) AS avg_value,
         max(max_value) AS max_value, min(min_value) AS min_value, sum(reading_count)::bigint AS reading_count,
         sum(sum_value) AS sum_value
    FROM hourly_aggregates GROUP BY 1, 2 WITH NO DATA
