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
  -- Written by the weeks' triggers. How many run is not among it: a claim would have to wait for the others'.
  weeks_skipped        int NOT NULL DEFAULT 0,
  weeks_failed         int NOT NULL DEFAULT 0,
  cancelled_at         timestamptz,
  CONSTRAINT report_data_collections_collection_type_check CHECK (collection_type IN ('backfill', 'weekly_update')),
  CONSTRAINT report_data_collections_status_check CHECK (status IN ('pending', 'running', 'completed', 'failed', 'paused')),
  CONSTRAINT report_data_collections_progress_percentage_check CHECK (progress_percentage BETWEEN 0 AND 100),
  CONSTRAINT report_data_collections_dates_check CHECK (start_date <= end_date),
  -- What else has to hold, _check_collection() looks at: a CHECK costs each week that ends something.
  CONSTRAINT report_data_collections_collection_id_key UNIQUE (collection_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX idx_report_collections_workflow_id ON reporting.report_data_collections (workflow_id);
CREATE INDEX idx_report_collections_instance_id ON reporting.report_data_collections (instance_id);
CREATE INDEX idx_report_collections_status ON reporting.report_data_collections (status);
CREATE INDEX idx_report_collections_user_id ON reporting.report_data_collections (user_id);
-- One at a time, so that their weeks do not overlap.
CREATE UNIQUE INDEX report_data_collections_open_key ON reporting.report_data_collections (workflow_id, instance_id)
  WHERE status = 'pending' OR status = 'running' OR status = 'paused';
COMMENT ON TABLE reporting.report_data_collections IS 'what is collected week by week; counts, progress and status follow from the weeks';
COMMENT ON COLUMN reporting.report_data_collections.user_id IS 'whose it is: who started it, or the owner of the workflow where the application did';
COMMENT ON COLUMN reporting.report_data_collections.target_weeks IS 'how many weeks it has';
COMMENT ON COLUMN reporting.report_data_collections.progress_percentage IS 'whole percent of target_weeks that are completed or skipped; never falls';
COMMENT ON COLUMN reporting.report_data_collections.status IS 'pending: waits for its turn among settings.max_running_collections; failed: nothing is left to run and weeks have failed, or it was cancelled';
COMMENT ON COLUMN reporting.report_data_collections.configuration IS 'handed to whoever claims a week';
COMMENT ON COLUMN reporting.report_data_collections.cancelled_at IS 'when it was cancelled, which is for good';

CREATE SEQUENCE reporting.report_data_weeks_claim_seq;

CREATE TABLE reporting.report_data_weeks (
  id                     uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  collection_id          uuid NOT NULL REFERENCES reporting.report_data_collections (id) ON DELETE CASCADE,
  workflow_execution_id  uuid REFERENCES reporting.workflow_executions (id) ON DELETE SET NULL,
  week_start_date        date NOT NULL,
  week_end_date          date NOT NULL,
  status                 varchar(50) NOT NULL DEFAULT 'pending',
  execution_date         timestamptz,
  -- A source may well return more rows than an int holds.
  row_count              bigint,
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
  turn                   bigint NOT NULL DEFAULT 0,
  claimable_at           timestamptz,
  claim                  bigint,
  worker                 text,
  lease                  interval,
  lease_expires_at       timestamptz,
  slot                   bigint,
  CONSTRAINT report_data_weeks_status_check CHECK (status IN ('pending', 'running', 'completed', 'failed', 'skipped')),
  -- What else has to hold, _check_week() looks at: a CHECK costs each claim something.
  CONSTRAINT report_data_weeks_collection_id_week_start_date_key UNIQUE (collection_id, week_start_date)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX idx_report_weeks_collection_id ON reporting.report_data_weeks (collection_id);
CREATE INDEX idx_report_weeks_date_range ON reporting.report_data_weeks (week_start_date, week_end_date);
CREATE INDEX idx_report_weeks_status ON reporting.report_data_weeks (status);
-- Most weeks have none while they are claimed and completed.
CREATE INDEX report_data_weeks_workflow_execution_id_idx ON reporting.report_data_weeks (workflow_execution_id)
  WHERE workflow_execution_id IS NOT NULL;
CREATE INDEX report_data_weeks_duplicate_of_idx ON reporting.report_data_weeks (duplicate_of) WHERE duplicate_of IS NOT NULL;
CREATE INDEX report_data_weeks_claim_idx ON reporting.report_data_weeks (turn, claimable_at) WHERE claimable_at IS NOT NULL;
CREATE UNIQUE INDEX report_data_weeks_slot_key ON reporting.report_data_weeks (slot) WHERE slot IS NOT NULL;
CREATE INDEX report_data_weeks_lease_idx ON reporting.report_data_weeks (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
-- The same result of the same week is kept once.
CREATE UNIQUE INDEX report_data_weeks_result_key
  ON reporting.report_data_weeks (workflow_id, instance_id, week_start_date, week_end_date, data_checksum)
  WHERE status = 'completed' AND data_checksum IS NOT NULL;
COMMENT ON TABLE reporting.report_data_weeks IS 'the weeks of collections; claimed, completed and failed by workers through functions';
COMMENT ON COLUMN reporting.report_data_weeks.execution_date IS 'when it was last claimed';
COMMENT ON COLUMN reporting.report_data_weeks.data_checksum IS 'what the worker says of the result: the same one for the same week is a duplicate';
COMMENT ON COLUMN reporting.report_data_weeks.duplicate_of IS 'of a skipped week, the one that had the same result';
COMMENT ON COLUMN reporting.report_data_weeks.attempts IS 'claims that failed or were abandoned';
COMMENT ON COLUMN reporting.report_data_weeks.turn IS 'the lowest of those that may be claimed goes first; weeks of different collections take turns by it';
COMMENT ON COLUMN reporting.report_data_weeks.claimable_at IS 'it may be claimed from then on; NULL while its collection is not running';
COMMENT ON COLUMN reporting.report_data_weeks.claim IS 'the claim under which it runs, or last ran';
COMMENT ON COLUMN reporting.report_data_weeks.slot IS 'its place among settings.max_running_weeks; beyond them where there was no bound';

CREATE TRIGGER check_report_collections
  BEFORE INSERT OR UPDATE OF id, collection_id, workflow_id, instance_id, collection_type, target_weeks, start_date, end_date
  ON reporting.report_data_collections FOR EACH ROW EXECUTE FUNCTION reporting._check_collection();
-- Unless the weeks' triggers write them, which need not be checked.
CREATE TRIGGER keep_report_collections
  BEFORE UPDATE OF status, weeks_completed, weeks_skipped, weeks_failed, progress_percentage, cancelled_at
  ON reporting.report_data_collections FOR EACH ROW
  WHEN (pg_catalog.pg_trigger_depth() = 0) EXECUTE FUNCTION reporting._check_collection();
CREATE TRIGGER update_report_collections_updated_at BEFORE UPDATE ON reporting.report_data_collections
  FOR EACH ROW EXECUTE FUNCTION reporting.update_updated_at_column();
CREATE TRIGGER check_report_weeks BEFORE INSERT OR UPDATE ON reporting.report_data_weeks
  FOR EACH ROW EXECUTE FUNCTION reporting._check_week();
CREATE TRIGGER keep_report_weeks
  BEFORE DELETE OR UPDATE OF id, collection_id, workflow_id, instance_id, week_start_date, week_end_date
  ON reporting.report_data_weeks FOR EACH ROW EXECUTE FUNCTION reporting._keep_week();
CREATE TRIGGER update_report_weeks_updated_at BEFORE UPDATE ON reporting.report_data_weeks
  FOR EACH ROW EXECUTE FUNCTION reporting.update_updated_at_column();
CREATE TRIGGER count_new_report_weeks AFTER INSERT ON reporting.report_data_weeks
  FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION reporting._count_week();
CREATE TRIGGER count_report_weeks AFTER UPDATE OF status ON reporting.report_data_weeks
  FOR EACH ROW WHEN (NEW.status <> OLD.status AND NEW.status <> 'running') EXECUTE FUNCTION reporting._count_week();

CREATE VIEW reporting.collection_progress WITH (security_invoker = true) AS
  SELECT c.collection_id, c.id, c.workflow_id, c.instance_id, c.user_id, c.collection_type, c.status, c.progress_percentage,
         c.start_date, c.end_date, c.target_weeks, w.pending, w.running, c.weeks_completed AS completed,
         c.weeks_skipped AS skipped, c.weeks_failed AS failed, w.workers, w.oldest_lease, w.next_week,
         greatest(c.updated_at, w.changed_at) AS changed_at,
         w.expired > 0
         OR (c.status = 'pending' OR c.status = 'running') AND w.running = 0
            AND greatest(c.updated_at, w.changed_at, w.next_try_at) < pg_catalog.now() - s.lease AS stuck,
         c.error_message, c.created_at
    FROM reporting.report_data_collections AS c
   CROSS JOIN reporting.settings AS s
   CROSS JOIN LATERAL (
         SELECT count(*) FILTER (WHERE k.status = 'pending')::int AS pending,
                count(*) FILTER (WHERE k.status = 'running')::int AS running,
                count(*) FILTER (WHERE k.status = 'running' AND k.lease_expires_at <= pg_catalog.now())::int AS expired,
                count(DISTINCT k.worker) FILTER (WHERE k.status = 'running')::int AS workers,
                min(k.execution_date) FILTER (WHERE k.status = 'running') AS oldest_lease,
                min(k.week_start_date) FILTER (WHERE k.status = 'pending') AS next_week,
                min(k.claimable_at) AS next_try_at,
                max(k.updated_at) AS changed_at
           FROM reporting.report_data_weeks AS k WHERE k.collection_id = c.id) AS w;
COMMENT ON VIEW reporting.collection_progress IS 'where each collection stands: weeks by state, who works on it, since when; stuck: a lease is over, or nobody has worked on it for longer than settings.lease';

-- Rights ------------------------------------------------------------------------------------------

ALTER TABLE reporting.report_data_collections ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.report_data_weeks ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON reporting.report_data_collections, reporting.report_data_weeks, reporting.collection_progress
  FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON SEQUENCE reporting.report_data_weeks_claim_seq FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON reporting.report_data_collections, reporting.report_data_weeks, reporting.collection_progress
  TO authenticated, service_role;
-- Not among them: what follows from the weeks.
GRANT INSERT (id, collection_id, workflow_id, instance_id, user_id, collection_type, target_weeks, start_date, end_date, configuration),
    UPDATE (user_id, error_message, configuration), DELETE
  ON reporting.report_data_collections TO service_role;
-- Weeks go with their collection.
GRANT INSERT, UPDATE ON reporting.report_data_weeks TO service_role;
GRANT USAGE ON SEQUENCE reporting.report_data_weeks_claim_seq TO service_role;

CREATE POLICY report_data_collections_owner_select ON reporting.report_data_collections FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid()));
CREATE POLICY report_data_collections_service_all ON reporting.report_data_collections TO service_role
  USING (true) WITH CHECK (true);
CREATE POLICY report_data_weeks_owner_select ON reporting.report_data_weeks FOR SELECT TO authenticated
  USING (collection_id = ANY (ARRAY(
           SELECT c.id FROM reporting.report_data_collections c WHERE c.user_id = (SELECT auth.uid()))));
CREATE POLICY report_data_weeks_service_all ON reporting.report_data_weeks TO service_role USING (true) WITH CHECK (true);
