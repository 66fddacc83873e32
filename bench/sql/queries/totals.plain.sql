SELECT d.bucket, s.floor_number, s.equipment_type, s.unit,
       count(*), sum(d.avg_value), min(d.min_value), max(d.max_value), sum(d.reading_count)
  FROM daily_aggregates d
  JOIN sensors s ON s.sensor_id = d.sensor_id
 WHERE d.bucket >= $2 AND d.bucket < $3
 GROUP BY 1, 2, 3, 4
 ORDER BY 1, 2, 3, 4
