SELECT * FROM telemetry.data_quality($2, $3)
