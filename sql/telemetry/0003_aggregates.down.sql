SELECT gemba.drop_rollup('telemetry.daily_aggregates');
SELECT gemba.drop_rollup('telemetry.hourly_aggregates');
