-- Safety events: a log that persists, who resolved what, and which codes count.

CREATE TABLE plant.safety_codes (
  reason_code  text PRIMARY KEY,
  severity     text,
  CONSTRAINT safety_codes_reason_code_check 
    CHECK (reason_code !~ '^[[:space:]]|[[:space:]]$' AND pg_catalog.length(reason_code) BETWEEN 1 AND 200),
  CONSTRAINT safety_codes_severity_check CHECK (severity IN ('low', 'medium', 'high', 'critical'))
);
CREATE UNIQUE INDEX safety_codes_lower_idx ON plant.safety_codes (pg_catalog.lower(reason_code));
COMMENT ON TABLE plant.safety_codes IS 'reason codes of live rows that become safety events; yours to change';
COMMENT ON COLUMN plant.safety_codes.reason_code IS 'rows may write it in capitals or not';
COMMENT ON COLUMN plant.safety_codes.severity IS 'for rows that bring none; NULL: the plant''s default_severity';
INSERT INTO plant.safety_codes (reason_code) VALUES ('Safety Issue');

CREATE TABLE plant.safety_events (
  id                uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  asset_id          uuid NOT NULL REFERENCES plant.assets (id) ON DELETE RESTRICT,
  event_timestamp   timestamptz NOT NULL,
  reason_code       text NOT NULL,
  severity          text NOT NULL,
  description       text,
  is_resolved       boolean NOT NULL DEFAULT false,
  resolved_at       timestamptz,
  resolved_by       uuid REFERENCES auth.users (id) ON DELETE SET NULL,
  resolution_note   text,
  source_record_id  text,
  duration_minutes  numeric(10,2),
  financial_impact  numeric(12,2),
  created_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT safety_events_severity_check CHECK (severity IN ('low', 'medium', 'high', 'critical')),
  CONSTRAINT safety_events_event_timestamp_check CHECK (pg_catalog.isfinite(event_timestamp)),
  CONSTRAINT safety_events_resolution_check
    CHECK (is_resolved = (resolved_at IS NOT NULL) AND (is_resolved OR resolved_by IS NULL)),
  CONSTRAINT safety_events_duration_minutes_check CHECK (duration_minutes >= 0 AND duration_minutes < 'NaN'),
  CONSTRAINT safety_events_financial_impact_check CHECK (financial_impact < 'NaN')
);
CREATE INDEX safety_events_event_timestamp_idx ON plant.safety_events (event_timestamp);
CREATE INDEX safety_events_asset_id_is_resolved_idx ON plant.safety_events (asset_id, is_resolved);
CREATE INDEX safety_events_severity_idx ON plant.safety_events (severity);
CREATE INDEX safety_events_resolved_by_idx ON plant.safety_events (resolved_by);
-- Once each: by the source's own number, else by machine, time and code.
CREATE UNIQUE INDEX safety_events_source_record_id_idx ON plant.safety_events (source_record_id)
  WHERE source_record_id IS NOT NULL;
CREATE UNIQUE INDEX safety_events_asset_id_event_timestamp_reason_code_idx
  ON plant.safety_events (asset_id, event_timestamp, reason_code) WHERE source_record_id IS NULL;
COMMENT ON TABLE plant.safety_events IS 'every safety event that was detected; machines that have any cannot be deleted';
COMMENT ON COLUMN plant.safety_events.resolution_note IS 'the last note on resolving or reopening; all of them stand in plant.safety_event_log';
COMMENT ON COLUMN plant.safety_events.source_record_id IS 'the source system''s number of the record';

-- No foreign key: what happened to an event is known also when the event is gone.
CREATE TABLE plant.safety_event_log (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id   uuid NOT NULL,
  action     text NOT NULL,
  note       text,
  user_id    uuid,
  done_by    text NOT NULL,
  done_at    timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  was        jsonb,
  CONSTRAINT safety_event_log_action_check
    CHECK (action IN ('recorded', 'resolved', 'reopened', 'changed', 'deleted'))
);
CREATE INDEX safety_event_log_event_id_idx ON plant.safety_event_log (event_id);
COMMENT ON TABLE plant.safety_event_log IS 'what happened to each safety event, when and by whom; written by a trigger, and nobody but its owner can change it';
COMMENT ON COLUMN plant.safety_event_log.user_id IS 'the logged-in user, kept also when the user is deleted';
COMMENT ON COLUMN plant.safety_event_log.done_by IS 'the database role that did it';
COMMENT ON COLUMN plant.safety_event_log.was IS 'of changes and deletions, the event as it was before';

CREATE TRIGGER safety_events_resolution_insert BEFORE INSERT ON plant.safety_events
  FOR EACH ROW WHEN (NEW.is_resolved) EXECUTE FUNCTION plant._note_resolution();
CREATE TRIGGER safety_events_resolution_update BEFORE UPDATE OF is_resolved ON plant.safety_events
  FOR EACH ROW WHEN (OLD.is_resolved IS DISTINCT FROM NEW.is_resolved)
  EXECUTE FUNCTION plant._note_resolution();
CREATE TRIGGER safety_events_log_insert AFTER INSERT ON plant.safety_events
  FOR EACH ROW EXECUTE FUNCTION plant._log_safety_event();
CREATE TRIGGER safety_events_log_update AFTER UPDATE ON plant.safety_events
  FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION plant._log_safety_event();
CREATE TRIGGER safety_events_log_delete AFTER DELETE ON plant.safety_events
  FOR EACH ROW EXECUTE FUNCTION plant._log_safety_event();

ALTER TABLE plant.safety_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE plant.safety_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE plant.safety_event_log ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON plant.safety_codes, plant.safety_events, plant.safety_event_log
  FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON SEQUENCE plant.safety_event_log_id_seq FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON plant.safety_codes, plant.safety_events, plant.safety_event_log TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON plant.safety_codes, plant.safety_events TO service_role;
GRANT SELECT ON plant.safety_event_log TO service_role;
CREATE POLICY safety_codes_reader_select ON plant.safety_codes FOR SELECT TO authenticated USING (true);
CREATE POLICY safety_codes_service_all ON plant.safety_codes TO service_role USING (true) WITH CHECK (true);
CREATE POLICY safety_events_reader_select ON plant.safety_events FOR SELECT TO authenticated USING (true);
CREATE POLICY safety_events_service_all ON plant.safety_events TO service_role USING (true) WITH CHECK (true);
CREATE POLICY safety_event_log_reader_select ON plant.safety_event_log FOR SELECT TO authenticated USING (true);
CREATE POLICY safety_event_log_service_select ON plant.safety_event_log FOR SELECT TO service_role USING (true);
