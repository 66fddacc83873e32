SELECT sum(reading_count), sum(sum_value) / nullif(sum(reading_count), 0)
  FROM hourly_aggregates
 WHERE sensor_id = $1 AND bucket >= $2 AND bucket < $3
