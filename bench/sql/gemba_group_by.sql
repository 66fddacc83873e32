-- What the two rollups hold, computed by plain GROUP BY over the same table.

CREATE TABLE public.by_hour AS
  SELECT sensor_id, date_trunc('hour', "timestamp", 'UTC') AS bucket, count(reading_value) AS reading_count,
         sum(reading_value) AS sum_value, min(reading_value) AS min_value, max(reading_value) AS max_value,
         avg(reading_value) AS avg_value
    FROM telemetry.sensor_readings GROUP BY 1, 2;

CREATE TABLE public.by_day AS
  SELECT sensor_id, date_trunc('day', "timestamp", 'Asia/Bangkok') AS bucket, count(reading_value) AS reading_count,
         sum(reading_value) AS sum_value, min(reading_value) AS min_value, max(reading_value) AS max_value,
         avg(reading_value) AS avg_value
    FROM telemetry.sensor_readings GROUP BY 1, 2;
