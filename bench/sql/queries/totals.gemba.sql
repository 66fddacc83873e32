SELECT * FROM telemetry.totals($2, $3)
