SELECT * FROM telemetry.latest_values()
