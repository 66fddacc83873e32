-- What was imported, what was refused, and a place for clients to send lines to.

CREATE TABLE telemetry.import_runs (
  id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  file           text NOT NULL,
  checksum       text NOT NULL,
  bytes          bigint NOT NULL,
  sensors        int NOT NULL,
  rows_read      bigint NOT NULL,
  readings       bigint NOT NULL,
  inserted       bigint NOT NULL,
  duplicates     bigint NOT NULL,
  suspect        bigint NOT NULL,
  rejected       bigint NOT NULL,
  first_reading  timestamptz,
  last_reading   timestamptz,
  started_at     timestamptz NOT NULL,
  finished_at    timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  imported_by    text NOT NULL DEFAULT session_user
);
CREATE INDEX import_runs_checksum_idx ON telemetry.import_runs (checksum);
COMMENT ON TABLE telemetry.import_runs IS 'one row for each file imported; a failed import leaves none';
COMMENT ON COLUMN telemetry.import_runs.checksum IS 'SHA-256 of the file''s bytes';
COMMENT ON COLUMN telemetry.import_runs.duplicates IS 'readings that were there already and stayed as they were';

CREATE TABLE telemetry.import_rejects (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run_id       bigint NOT NULL REFERENCES telemetry.import_runs (id) ON DELETE CASCADE,
  file         text NOT NULL,
  line         bigint NOT NULL,
  column_name  text,
  reason       text NOT NULL,
  raw          text
);
CREATE INDEX import_rejects_run_id_idx ON telemetry.import_rejects (run_id);
COMMENT ON TABLE telemetry.import_rejects IS 'what an import could not take: where it stood, why, and the text itself';

CREATE TABLE telemetry.import_lines (
  session  text NOT NULL DEFAULT telemetry.upload_session(),
  line_no  bigint GENERATED ALWAYS AS IDENTITY,
  line     text NOT NULL,
  sent_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  PRIMARY KEY (session, line_no)
);
COMMENT ON TABLE telemetry.import_lines IS 'raw lines on their way in: COPY telemetry.import_lines (line) FROM STDIN, then telemetry.import_uploaded() in the same session';

ALTER TABLE telemetry.import_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE telemetry.import_rejects ENABLE ROW LEVEL SECURITY;
ALTER TABLE telemetry.import_lines ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON telemetry.import_runs, telemetry.import_rejects, telemetry.import_lines
  FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON SEQUENCE telemetry.import_runs_id_seq, telemetry.import_rejects_id_seq,
  telemetry.import_lines_line_no_seq FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON telemetry.import_runs, telemetry.import_rejects TO service_role;
GRANT SELECT, INSERT, DELETE ON telemetry.import_lines TO service_role;

CREATE POLICY import_runs_service_select ON telemetry.import_runs FOR SELECT TO service_role USING (true);
CREATE POLICY import_rejects_service_select ON telemetry.import_rejects FOR SELECT TO service_role
  USING (true);
CREATE POLICY import_lines_service_all ON telemetry.import_lines TO service_role
  USING (session = (SELECT telemetry.upload_session()))
  WITH CHECK (session = (SELECT telemetry.upload_session()));
