SELECT b.start, d.avg_value, d.min_value, d.max_value, coalesce(d.reading_count, 0)
  FROM generate_series($2, $3 - interval '1 day', interval '1 day') AS b (start)
  LEFT JOIN (SELECT * FROM daily_aggregates WHERE sensor_id = $1 AND bucket >= $2 AND bucket < $3) AS d
    ON d.bucket = b.start
 ORDER BY b.start
