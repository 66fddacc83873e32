SELECT s.sensor_id, r."timestamp", r.reading_value, s.unit, r.status
  FROM sensors s
 CROSS JOIN LATERAL (
   SELECT x."timestamp", x.reading_value, x.status FROM sensor_readings x
    WHERE x.sensor_id = s.sensor_id ORDER BY x."timestamp" DESC LIMIT 1) AS r
 ORDER BY s.sensor_id
