-- Pipeline B: the live pulse, a partition a day, and the hours that outlive it.

CREATE TABLE plant.live_snapshots (
  id                  uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
  asset_id            uuid NOT NULL REFERENCES plant.assets (id) ON DELETE CASCADE,
  snapshot_timestamp  timestamptz NOT NULL,
  current_output      int,
  target_output       int,
  output_variance     int GENERATED ALWAYS AS (current_output - target_output) STORED,
  status              text,
  created_at          timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT live_snapshots_pkey PRIMARY KEY (id, snapshot_timestamp),
  CONSTRAINT live_snapshots_asset_id_snapshot_timestamp_key UNIQUE (asset_id, snapshot_timestamp),
  CONSTRAINT live_snapshots_status_check CHECK (status IN ('on_target', 'behind', 'ahead')),
  CONSTRAINT live_snapshots_outputs_check CHECK (current_output >= 0 AND target_output >= 0)
) PARTITION BY RANGE (snapshot_timestamp);
CREATE INDEX live_snapshots_snapshot_timestamp_idx ON plant.live_snapshots (snapshot_timestamp);
COMMENT ON TABLE plant.live_snapshots IS 'what each machine had made at a moment, against what was wanted by then; written by plant.ingest_live()';
COMMENT ON COLUMN plant.live_snapshots.target_output IS 'the shift''s (or day''s) target prorated to the moment, unless the row brought one';
COMMENT ON COLUMN plant.live_snapshots.status IS 'NULL where no target is known';

ALTER TABLE plant.live_snapshots ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON plant.live_snapshots FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON plant.live_snapshots TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON plant.live_snapshots TO service_role;
CREATE POLICY live_snapshots_reader_select ON plant.live_snapshots FOR SELECT TO authenticated USING (true);
CREATE POLICY live_snapshots_service_all ON plant.live_snapshots TO service_role USING (true) WITH CHECK (true);

SELECT gemba.manage_partitions('plant.live_snapshots', '1 day', premake => 3, retain => '24 hours',
  on_expire => 'drop');

SELECT gemba.create_rollup('plant.live_hourly', 'plant.live_snapshots', 'snapshot_timestamp', '1 hour',
  ARRAY['asset_id'], '[
    {"name": "snapshots", "function": "count"},
    {"name": "current_output", "function": "last", "column": "current_output"},
    {"name": "target_output", "function": "last", "column": "target_output"},
    {"name": "status", "function": "last", "column": "status"},
    {"name": "lowest_variance", "function": "min", "column": "output_variance"},
    {"name": "highest_variance", "function": "max", "column": "output_variance"},
    {"name": "average_variance", "function": "avg", "column": "output_variance"}]');
COMMENT ON TABLE plant.live_hourly IS 'the last known output, target and status of each hour and how the variance moved in it; outlives the snapshots';
REVOKE ALL ON plant.live_hourly, plant.live_hourly_live FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON plant.live_hourly, plant.live_hourly_live TO authenticated, service_role;
CREATE POLICY live_hourly_reader_select ON plant.live_hourly FOR SELECT TO authenticated USING (true);
CREATE POLICY live_hourly_service_select ON plant.live_hourly FOR SELECT TO service_role USING (true);
