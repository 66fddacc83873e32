-- Collections of up to a year of weeks, and where each week stands.

CREATE TABLE reporting.report_data_collections (
  id                   uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  collection_id        varchar(255) NOT NULL DEFAULT reporting.new_id('coll'),
  workflow_id          uuid NOT NULL REFERENCES reporting.workflows (id) ON DELETE CASCADE,
  instance_id          uuid NOT NULL REFERENCES reporting.amc_instances (id) ON DELETE CASCADE,
  user_id              uuid REFERENCES auth.users (id) ON DELETE CASCADE,
  collection_type      varchar(100) NOT NULL,
  target_weeks         int NOT NULL,
  start_date           date NOT NULL,
  end_date             date NOT NULL,
  status               varchar(50) NOT NULL DEFAULT 'pending',
  progress_percentage  int NOT NULL DEFAULT 0,
  weeks_completed      int NOT NULL DEFAULT 0,
  error_message        text,
  configuration        jsonb NOT NULL DEFAULT '{}',
  created_at           timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at           timestamptz NOT NULL DEFAULT pg_catalog.now(),
  -- How many weeks are in which state; written by the weeks' triggers.
  weeks_skipped        int NOT NULL DEFAULT 0,
  weeks_failed         int NOT NULL DEFAULT 0,
  weeks_running        int NOT NULL DEFAULT 0,
  cancelled_at         timestamptz,
  CONSTRAINT report_data_collections_collection_id_key UNIQUE (collection_id),
  CONSTRAINT report_data_collections_collection_id_check CHECK (collection_id ~ '^coll_[0-9A-Za-z_-]+$'),
  CONSTRAINT report_data_collections_collection_type_check CHECK (collection_type IN ('backfill', 'weekly_update')),
  CONSTRAINT report_data_collections_status_check CHECK (status IN ('pending', 'running', 'completed', 'failed', 'paused')),
  CONSTRAINT report_data_collections_target_weeks_check CHECK (target_weeks BETWEEN 1 AND 1000),
  CONSTRAINT report_data_collections_progress_percentage_check CHECK (progress_percentage BETWEEN 0 AND 100),
  CONSTRAINT report_data_collections_weeks_check
    CHECK (weeks_completed >= 0 AND weeks_skipped >= 0 AND weeks_failed >= 0 AND weeks_running >= 0
           AND weeks_completed + weeks_skipped + weeks_failed + weeks_running <= target_weeks),
  CONSTRAINT report_data_collections_dates_check
    CHECK (start_date <= end_date AND pg_catalog.isfinite(start_date) AND pg_catalog.isfinite(end_date))
) WITH (fillfactor = 50);
CREATE INDEX idx_report_collections_workflow_id ON reporting.report_data_collections (workflow_id);
CREATE INDEX idx_report_collections_instance_id ON reporting.report_data_collections (instance_id);
CREATE INDEX idx_report_collections_status ON reporting.report_data_collections (status);
CREATE INDEX idx_report_collections_user_id ON reporting.report_data_collections (user_id);
-- One at a time, so that their weeks do not overlap.
CREATE UNIQUE INDEX report_data_collections_open_key ON reporting.report_data_collections (workflow_id, instance_id)
  WHERE status = 'pending' OR status = 'running' OR status = 'paused';
COMMENT ON TABLE reporting.report_data_collections IS 'what is collected week by week; counts, progress and status follow from the weeks';
COMMENT ON COLUMN reporting.report_data_collections.user_id IS 'who started it; NULL: the application itself';
COMMENT ON COLUMN reporting.report_data_collections.progress_percentage IS 'whole percent of target_weeks that are completed or skipped; never falls';
COMMENT ON COLUMN reporting.report_data_collections.status IS 'failed: nothing is left to run and weeks have failed, or it was cancelled';
COMMENT ON COLUMN reporting.report_data_collections.cancelled_at IS 'when it was cancelled, which is for good';

CREATE TABLE reporting.report_data_weeks (
  id                     uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  collection_id          uuid NOT NULL REFERENCES reporting.report_data_collections (id) ON DELETE CASCADE,
  workflow_execution_id  uuid REFERENCES reporting.workflow_executions (id) ON DELETE SET NULL,
  week_start_date        date NOT NULL,
  week_end_date          date NOT NULL,
  status                 varchar(50) NOT NULL DEFAULT 'pending',
  execution_date         timestamptz,
  row_count              int,
  data_checksum          varchar(255),
  error_message          text,
  created_at             timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at             timestamptz NOT NULL DEFAULT pg_catalog.now(),
  -- Of its collection, for looking up the same week of another one.
  workflow_id            uuid NOT NULL,
  instance_id            uuid NOT NULL,
  duplicate_of           uuid REFERENCES reporting.report_data_weeks (id) ON DELETE SET NULL,
  -- Where it stands; written by the functions of this schema.
  attempts               int NOT NULL DEFAULT 0,
  claimable_at           timestamptz,
  claim                  bigint,
  worker                 text,
  lease                  interval,
  lease_expires_at       timestamptz,
  slot                   int,
  CONSTRAINT report_data_weeks_collection_id_week_start_date_key UNIQUE (collection_id, week_start_date),
  CONSTRAINT report_data_weeks_status_check CHECK (status IN ('pending', 'running', 'completed', 'failed', 'skipped')),
  CONSTRAINT report_data_weeks_dates_check CHECK (week_start_date <= week_end_date AND week_end_date - week_start_date < 7),
  CONSTRAINT report_data_weeks_row_count_check CHECK (row_count >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX idx_report_weeks_collection_id ON reporting.report_data_weeks (collection_id);
CREATE INDEX idx_report_weeks_date_range ON reporting.report_data_weeks (week_start_date, week_end_date);
CREATE INDEX idx_report_weeks_status ON reporting.report_data_weeks (status);
CREATE INDEX report_data_weeks_workflow_execution_id_idx ON reporting.report_data_weeks (workflow_execution_id);
CREATE INDEX report_data_weeks_duplicate_of_idx ON reporting.report_data_weeks (duplicate_of);
COMMENT ON TABLE reporting.report_data_weeks IS 'the weeks of collections; claimed, completed and failed by workers through functions';
COMMENT ON COLUMN reporting.report_data_weeks.execution_date IS 'when it was last claimed';
COMMENT ON COLUMN reporting.report_data_weeks.data_checksum IS 'what the worker says of the result: the same one for the same week is a duplicate';
COMMENT ON COLUMN reporting.report_data_weeks.duplicate_of IS 'of a skipped week, the one that had the same result';
COMMENT ON COLUMN reporting.report_data_weeks.attempts IS 'claims that failed or were abandoned';
COMMENT ON COLUMN reporting.report_data_weeks.claim IS 'the claim under which it runs, or last ran';

-- Rights ------------------------------------------------------------------------------------------

ALTER TABLE reporting.report_data_collections ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.report_data_weeks ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON reporting.report_data_collections, reporting.report_data_weeks FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON reporting.report_data_collections, reporting.report_data_weeks TO authenticated, service_role;
GRANT INSERT, UPDATE, DELETE ON reporting.report_data_collections, reporting.report_data_weeks TO service_role;

CREATE POLICY report_data_collections_owner_select ON reporting.report_data_collections FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid()));
CREATE POLICY report_data_collections_service_all ON reporting.report_data_collections TO service_role
  USING (true) WITH CHECK (true);
CREATE POLICY report_data_weeks_owner_select ON reporting.report_data_weeks FOR SELECT TO authenticated
  USING (collection_id = ANY (ARRAY(
           SELECT c.id FROM reporting.report_data_collections c WHERE c.user_id = (SELECT auth.uid()))));
CREATE POLICY report_data_weeks_service_all ON reporting.report_data_weeks TO service_role USING (true) WITH CHECK (true);
