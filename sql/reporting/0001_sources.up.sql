-- What reports are made of: accounts, the queries that run on them, and their runs.

CREATE TABLE reporting.settings (
  one                      boolean PRIMARY KEY DEFAULT true,
  max_running_collections  int DEFAULT 5,
  max_running_weeks        int DEFAULT 10,
  max_weeks                int NOT NULL DEFAULT 52,
  max_attempts             int NOT NULL DEFAULT 3,
  lease                    interval NOT NULL DEFAULT '24 hours',
  retry_after              interval NOT NULL DEFAULT '0',
  end_lag_days             int NOT NULL DEFAULT 14,
  keep_versions            int NOT NULL DEFAULT 50,
  CONSTRAINT settings_one_check CHECK (one),
  CONSTRAINT settings_max_running_collections_check CHECK (max_running_collections BETWEEN 0 AND 100000),
  CONSTRAINT settings_max_running_weeks_check CHECK (max_running_weeks BETWEEN 0 AND 100000),
  CONSTRAINT settings_max_weeks_check CHECK (max_weeks BETWEEN 1 AND 1000),
  CONSTRAINT settings_max_attempts_check CHECK (max_attempts BETWEEN 1 AND 1000),
  CONSTRAINT settings_lease_check CHECK (lease BETWEEN interval '1 millisecond' AND interval '30 days'),
  CONSTRAINT settings_retry_after_check CHECK (retry_after BETWEEN interval '0' AND interval '30 days'),
  CONSTRAINT settings_end_lag_days_check CHECK (end_lag_days BETWEEN 0 AND 3650),
  CONSTRAINT settings_keep_versions_check CHECK (keep_versions BETWEEN 1 AND 10000)
);
INSERT INTO reporting.settings DEFAULT VALUES;
COMMENT ON TABLE reporting.settings IS 'one row: what is true of all collections and dashboards; yours to change';
COMMENT ON COLUMN reporting.settings.max_running_collections IS 'so many collections run at a time at most; NULL: no bound';
COMMENT ON COLUMN reporting.settings.max_running_weeks IS 'so many weeks of all collections run at a time at most; NULL: no bound';
COMMENT ON COLUMN reporting.settings.max_weeks IS 'a collection has so many weeks at most';
COMMENT ON COLUMN reporting.settings.max_attempts IS 'after so many failures a week has failed, until reporting.retry_failed()';
COMMENT ON COLUMN reporting.settings.lease IS 'a running week without a sign of life for so long is abandoned and tried again, where its worker asked for nothing else';
COMMENT ON COLUMN reporting.settings.retry_after IS 'wait before a failed week is tried again';
COMMENT ON COLUMN reporting.settings.end_lag_days IS 'a collection ends so many days ago where nobody says otherwise: later days are not complete at their source yet';
COMMENT ON COLUMN reporting.settings.keep_versions IS 'so many layouts of a dashboard are kept';

CREATE TABLE reporting.amc_instances (
  id             uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  instance_id    text NOT NULL,
  instance_name  text NOT NULL,
  region         text,
  endpoint_url   text,
  account_id     text,
  status         text NOT NULL DEFAULT 'active',
  capabilities   jsonb NOT NULL DEFAULT '{}',
  created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT amc_instances_instance_id_key UNIQUE (instance_id)
);
COMMENT ON TABLE reporting.amc_instances IS 'accounts at the source (Amazon Marketing Cloud instances) that workflows run on';
COMMENT ON COLUMN reporting.amc_instances.instance_id IS 'what the source calls it';

CREATE TABLE reporting.workflows (
  id           uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  workflow_id  text NOT NULL DEFAULT reporting.new_id('wf'),
  name         text NOT NULL,
  description  text,
  instance_id  uuid REFERENCES reporting.amc_instances (id) ON DELETE SET NULL,
  sql_query    text,
  parameters   jsonb NOT NULL DEFAULT '{}',
  user_id      uuid REFERENCES auth.users (id) ON DELETE CASCADE,
  status       text NOT NULL DEFAULT 'active',
  is_template  boolean NOT NULL DEFAULT false,
  tags         jsonb NOT NULL DEFAULT '[]',
  created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT workflows_workflow_id_key UNIQUE (workflow_id)
);
CREATE INDEX workflows_instance_id_idx ON reporting.workflows (instance_id);
CREATE INDEX workflows_user_id_idx ON reporting.workflows (user_id);
CREATE INDEX workflows_is_template_idx ON reporting.workflows (is_template) WHERE is_template;
COMMENT ON TABLE reporting.workflows IS 'queries whose results are collected; the application''s servers write them and run them';
COMMENT ON COLUMN reporting.workflows.instance_id IS 'the account that it runs on; NULL: collections say which';
COMMENT ON COLUMN reporting.workflows.sql_query IS 'in the language of the source; nothing here runs it';
COMMENT ON COLUMN reporting.workflows.user_id IS 'whose it is: the owner reads it and what it collected, and lets dashboards show it';

CREATE TABLE reporting.workflow_executions (
  id                    uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  execution_id          text NOT NULL DEFAULT reporting.new_id('exec'),
  workflow_id           uuid NOT NULL REFERENCES reporting.workflows (id) ON DELETE CASCADE,
  status                text NOT NULL DEFAULT 'pending',
  progress              int NOT NULL DEFAULT 0,
  execution_parameters  jsonb NOT NULL DEFAULT '{}',
  output_location       text,
  row_count             bigint,
  size_bytes            bigint,
  error_message         text,
  started_at            timestamptz,
  completed_at          timestamptz,
  triggered_by          text,
  created_at            timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at            timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT workflow_executions_execution_id_key UNIQUE (execution_id),
  CONSTRAINT workflow_executions_progress_check CHECK (progress BETWEEN 0 AND 100),
  CONSTRAINT workflow_executions_row_count_check CHECK (row_count >= 0),
  CONSTRAINT workflow_executions_size_bytes_check CHECK (size_bytes >= 0),
  CONSTRAINT workflow_executions_times_check CHECK (completed_at >= started_at)
);
CREATE INDEX workflow_executions_workflow_id_idx ON reporting.workflow_executions (workflow_id);
COMMENT ON TABLE reporting.workflow_executions IS 'runs of workflows at the source';

CREATE TRIGGER update_amc_instances_updated_at BEFORE UPDATE ON reporting.amc_instances
  FOR EACH ROW EXECUTE FUNCTION reporting.update_updated_at_column();
CREATE TRIGGER update_workflows_updated_at BEFORE UPDATE ON reporting.workflows
  FOR EACH ROW EXECUTE FUNCTION reporting.update_updated_at_column();
CREATE TRIGGER update_workflow_executions_updated_at BEFORE UPDATE ON reporting.workflow_executions
  FOR EACH ROW EXECUTE FUNCTION reporting.update_updated_at_column();

-- Rights ------------------------------------------------------------------------------------------

ALTER TABLE reporting.settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.amc_instances ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.workflows ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.workflow_executions ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON reporting.settings, reporting.amc_instances, reporting.workflows, reporting.workflow_executions
  FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON reporting.settings, reporting.amc_instances, reporting.workflows, reporting.workflow_executions
  TO authenticated, service_role;
GRANT UPDATE ON reporting.settings TO service_role;
GRANT INSERT, UPDATE, DELETE ON reporting.amc_instances, reporting.workflows, reporting.workflow_executions TO service_role;

CREATE POLICY settings_reader_select ON reporting.settings FOR SELECT TO authenticated USING (true);
CREATE POLICY settings_service_all ON reporting.settings TO service_role USING (true) WITH CHECK (true);
CREATE POLICY workflows_reader_select ON reporting.workflows FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid()) OR is_template);
CREATE POLICY workflows_service_all ON reporting.workflows TO service_role USING (true) WITH CHECK (true);
-- Accounts are known to those whose workflows run on them.
CREATE POLICY amc_instances_reader_select ON reporting.amc_instances FOR SELECT TO authenticated
  USING (id = ANY (ARRAY(SELECT w.instance_id FROM reporting.workflows w WHERE w.user_id = (SELECT auth.uid()))));
CREATE POLICY amc_instances_service_all ON reporting.amc_instances TO service_role USING (true) WITH CHECK (true);
CREATE POLICY workflow_executions_reader_select ON reporting.workflow_executions FOR SELECT TO authenticated
  USING (workflow_id = ANY (ARRAY(SELECT w.id FROM reporting.workflows w WHERE w.user_id = (SELECT auth.uid()))));
CREATE POLICY workflow_executions_service_all ON reporting.workflow_executions TO service_role USING (true) WITH CHECK (true);
