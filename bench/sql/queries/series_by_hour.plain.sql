SELECT b.start, h.avg_value, h.min_value, h.max_value, coalesce(h.reading_count, 0)
  FROM generate_series($2, $3 - interval '1 hour', interval '1 hour') AS b (start)
  LEFT JOIN (SELECT * FROM hourly_aggregates WHERE sensor_id = $1 AND bucket >= $2 AND bucket < $3) AS h
    ON h.bucket = b.start
 ORDER BY b.start
