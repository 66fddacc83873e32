-- The seed's materialized views: average, maximum, minimum, count.

CREATE MATERIALIZED VIEW hourly_aggregates AS
  SELECT sensor_id, date_trunc('hour', "timestamp", 'UTC') AS bucket, avg(reading_value) AS avg_value,
         max(reading_value) AS max_value, min(reading_value) AS min_value, count(reading_value) AS reading_count
    FROM sensor_readings GROUP BY 1, 2;

CREATE MATERIALIZED VIEW daily_aggregates AS
  SELECT sensor_id, date_trunc('day', "timestamp", 'Asia/Bangkok') AS bucket, avg(reading_value) AS avg_value,
         max(reading_value) AS max_value, min(reading_value) AS min_value, count(reading_value) AS reading_count
    FROM sensor_readings GROUP BY 1, 2;
