SELECT "timestamp", reading_value, status
  FROM sensor_readings
 WHERE sensor_id = $1 AND "timestamp" >= $2 AND "timestamp" < $3
 ORDER BY "timestamp"
