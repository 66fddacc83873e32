SELECT s.sensor_id, ($2 AT TIME ZONE 'Asia/Bangkok')::date, 1440, coalesce(d.reading_count, 0),
       greatest(1440 - coalesce(d.reading_count, 0), 0), coalesce(q.suspect, 0)
  FROM sensors s
  LEFT JOIN daily_aggregates d ON d.sensor_id = s.sensor_id AND d.bucket = $2
  LEFT JOIN (SELECT sensor_id, count(*) AS suspect FROM sensor_readings
              WHERE status = 'suspect' AND "timestamp" >= $2 AND "timestamp" < $3 GROUP BY 1) AS q
    ON q.sensor_id = s.sensor_id
 ORDER BY s.sensor_id
