-- State changes of machines, from which availability over any window follows.

CREATE TABLE plant.machine_states (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  asset_id     uuid NOT NULL REFERENCES plant.assets (id) ON DELETE CASCADE,
  started_at   timestamptz NOT NULL,
  ended_at     timestamptz,
  state        text NOT NULL,
  reason_code  text,
  created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT machine_states_asset_id_started_at_key UNIQUE (asset_id, started_at),
  CONSTRAINT machine_states_state_check CHECK (state IN ('running', 'stopped', 'planned_stop', 'idle')),
  CONSTRAINT machine_states_order_check CHECK (ended_at >= started_at),
  CONSTRAINT machine_states_finite_check
    CHECK (pg_catalog.isfinite(started_at) AND (ended_at IS NULL OR pg_catalog.isfinite(ended_at)))
);
CREATE INDEX machine_states_asset_id_ended_at_idx ON plant.machine_states (asset_id, ended_at)
  WHERE ended_at IS NOT NULL;
COMMENT ON TABLE plant.machine_states IS 'when a machine went into which state; rows may arrive in any order';
COMMENT ON COLUMN plant.machine_states.ended_at IS 'NULL: until the next row without an end begins; a row with an end interrupts, and what it interrupted resumes after it';
COMMENT ON COLUMN plant.machine_states.state IS 'running; stopped (unplanned); planned_stop and idle (no order) are not planned busy time';
COMMENT ON COLUMN plant.machine_states.reason_code IS 'why it stopped, in the source system''s words';

ALTER TABLE plant.machine_states ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON plant.machine_states FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON SEQUENCE plant.machine_states_id_seq FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON plant.machine_states TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON plant.machine_states TO service_role;
CREATE POLICY machine_states_reader_select ON plant.machine_states FOR SELECT TO authenticated USING (true);
CREATE POLICY machine_states_service_all ON plant.machine_states TO service_role USING (true) WITH CHECK (true);
