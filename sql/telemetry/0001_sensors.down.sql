DROP TABLE telemetry.subscriptions;
DROP TABLE telemetry.plausible_ranges;
DROP TABLE telemetry.sensors;
