SELECT * FROM telemetry.series($1, $2, $3, '1 day')
