DROP TABLE telemetry.import_lines;
DROP TABLE telemetry.import_rejects;
DROP TABLE telemetry.import_runs;
