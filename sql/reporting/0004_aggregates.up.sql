-- What was collected, by week, month and quarter, and how ratios are made of it.

CREATE TABLE reporting.metric_definitions (
  name         text PRIMARY KEY,
  numerator    text NOT NULL,
  denominator  text NOT NULL,
  factor       numeric NOT NULL DEFAULT 1,
  description  text,
  CONSTRAINT metric_definitions_name_check CHECK (pg_catalog.length(name) BETWEEN 1 AND 100),
  CONSTRAINT metric_definitions_metrics_check CHECK (numerator <> '' AND denominator <> ''),
  CONSTRAINT metric_definitions_factor_check CHECK (pg_catalog.abs(factor) BETWEEN 1e-30 AND 1e30)
);
COMMENT ON TABLE reporting.metric_definitions IS 'ratios of base metrics: factor × numerator / denominator, computed from sums and never averaged; yours to change';
COMMENT ON COLUMN reporting.metric_definitions.numerator IS 'name of a base metric';
INSERT INTO reporting.metric_definitions (name, numerator, denominator, factor, description) VALUES
  ('ctr', 'clicks', 'impressions', 100, 'click-through rate, percent'),
  ('cvr', 'purchases', 'clicks', 100, 'conversion rate, percent'),
  ('acos', 'spend', 'sales', 100, 'advertising cost of sales, percent'),
  ('roas', 'sales', 'spend', 1, 'return on advertising spend'),
  ('cpc', 'spend', 'clicks', 1, 'cost per click'),
  ('cpm', 'spend', 'impressions', 1000, 'cost per thousand impressions');

CREATE TABLE reporting.report_data_aggregates (
  id                uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  workflow_id       uuid NOT NULL REFERENCES reporting.workflows (id) ON DELETE CASCADE,
  instance_id       uuid NOT NULL REFERENCES reporting.amc_instances (id) ON DELETE CASCADE,
  aggregation_type  varchar(100) NOT NULL,
  aggregation_key   varchar(255) NOT NULL,
  metrics           jsonb NOT NULL,
  dimensions        jsonb NOT NULL DEFAULT '{}',
  data_date         date NOT NULL,
  -- A source may well return more rows than an int holds.
  row_count         bigint NOT NULL DEFAULT 0,
  created_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
  recorded          jsonb,
  CONSTRAINT report_data_aggregates_key UNIQUE (workflow_id, instance_id, aggregation_type, aggregation_key, data_date),
  CONSTRAINT report_data_aggregates_aggregation_type_check CHECK (aggregation_type IN ('weekly', 'monthly', 'quarterly')),
  CONSTRAINT report_data_aggregates_objects_check
    CHECK (pg_catalog.jsonb_typeof(metrics) = 'object' AND pg_catalog.jsonb_typeof(dimensions) = 'object'),
  CONSTRAINT report_data_aggregates_row_count_check CHECK (row_count >= 0),
  CONSTRAINT report_data_aggregates_key_check CHECK (
    CASE aggregation_type
      WHEN 'weekly' THEN aggregation_key ~ '^\d{4}-\d{2}-\d{2}_\d{4}-\d{2}-\d{2}$'
        AND data_date = pg_catalog.make_date(pg_catalog.substr(aggregation_key, 1, 4)::int,
              pg_catalog.substr(aggregation_key, 6, 2)::int, pg_catalog.substr(aggregation_key, 9, 2)::int)
        AND reporting._week_end(aggregation_key) - data_date BETWEEN 0 AND 6
      WHEN 'monthly' THEN aggregation_key ~ '^\d{4}-\d{2}$'
        AND data_date = pg_catalog.make_date(pg_catalog.substr(aggregation_key, 1, 4)::int,
              pg_catalog.substr(aggregation_key, 6, 2)::int, 1)
      ELSE aggregation_key ~ '^\d{4}-Q[1-4]$'
        AND data_date = pg_catalog.make_date(pg_catalog.substr(aggregation_key, 1, 4)::int,
              pg_catalog.substr(aggregation_key, 7, 1)::int * 3 - 2, 1)
    END)
);
CREATE INDEX idx_report_aggregates_workflow_instance ON reporting.report_data_aggregates (workflow_id, instance_id);
CREATE INDEX idx_report_aggregates_type_date ON reporting.report_data_aggregates (aggregation_type, data_date);
CREATE INDEX idx_report_aggregates_key_date ON reporting.report_data_aggregates (aggregation_key, data_date);
CREATE INDEX report_data_aggregates_series_idx
  ON reporting.report_data_aggregates (workflow_id, aggregation_type, data_date, instance_id);
CREATE INDEX report_data_aggregates_instance_id_idx ON reporting.report_data_aggregates (instance_id);
COMMENT ON TABLE reporting.report_data_aggregates IS 'metrics of a workflow on an account by period: weeks as recorded, months and quarters built from them';
COMMENT ON COLUMN reporting.report_data_aggregates.aggregation_key IS 'YYYY-MM-DD_YYYY-MM-DD of a week, YYYY-MM of a month, YYYY-Qn of a quarter';
COMMENT ON COLUMN reporting.report_data_aggregates.recorded IS 'of a week, the metrics as its worker sent them; with the ratios that can be made of them they are its metrics';
COMMENT ON COLUMN reporting.report_data_aggregates.data_date IS 'first day of the period';

CREATE TABLE reporting.workflow_data (
  workflow_id  uuid NOT NULL REFERENCES reporting.workflows (id) ON DELETE CASCADE,
  instance_id  uuid NOT NULL REFERENCES reporting.amc_instances (id) ON DELETE CASCADE,
  version      bigint NOT NULL DEFAULT 1,
  first_day    date,
  last_day     date,
  changed_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  CONSTRAINT workflow_data_pkey PRIMARY KEY (workflow_id, instance_id)
);
CREATE INDEX workflow_data_instance_id_idx ON reporting.workflow_data (instance_id);
COMMENT ON TABLE reporting.workflow_data IS 'what there is of a workflow on an account; its version changes with each change of the aggregates, by which an unchanged dashboard is known';

CREATE TRIGGER update_report_aggregates_updated_at BEFORE UPDATE ON reporting.report_data_aggregates
  FOR EACH ROW EXECUTE FUNCTION reporting.update_updated_at_column();
CREATE TRIGGER report_data_aggregates_note_insert AFTER INSERT ON reporting.report_data_aggregates
  REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION reporting._note_data();
CREATE TRIGGER report_data_aggregates_note_update AFTER UPDATE ON reporting.report_data_aggregates
  REFERENCING OLD TABLE AS gone NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION reporting._note_data();
CREATE TRIGGER report_data_aggregates_note_delete AFTER DELETE ON reporting.report_data_aggregates
  REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION reporting._note_data();
CREATE TRIGGER metric_definitions_check AFTER INSERT OR UPDATE ON reporting.metric_definitions
  FOR EACH STATEMENT EXECUTE FUNCTION reporting._check_metric_definitions();

-- Rights ------------------------------------------------------------------------------------------

ALTER TABLE reporting.metric_definitions ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.report_data_aggregates ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.workflow_data ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON reporting.metric_definitions, reporting.report_data_aggregates, reporting.workflow_data
  FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON reporting.metric_definitions, reporting.report_data_aggregates, reporting.workflow_data
  TO authenticated, service_role;
GRANT INSERT, UPDATE, DELETE ON reporting.metric_definitions, reporting.report_data_aggregates, reporting.workflow_data
  TO service_role;

CREATE POLICY metric_definitions_reader_select ON reporting.metric_definitions FOR SELECT TO authenticated USING (true);
CREATE POLICY metric_definitions_service_all ON reporting.metric_definitions TO service_role USING (true) WITH CHECK (true);
-- One's own, and what dashboards show that one may read: asked once for each workflow that is not one's own.
CREATE POLICY report_data_aggregates_reader_select ON reporting.report_data_aggregates FOR SELECT TO authenticated
  USING (workflow_id IN (SELECT w.id FROM reporting.workflows w WHERE w.user_id = (SELECT auth.uid()))
         OR reporting.is_shown(workflow_id));
CREATE POLICY report_data_aggregates_service_all ON reporting.report_data_aggregates TO service_role
  USING (true) WITH CHECK (true);
CREATE POLICY workflow_data_reader_select ON reporting.workflow_data FOR SELECT TO authenticated
  USING (workflow_id IN (SELECT w.id FROM reporting.workflows w WHERE w.user_id = (SELECT auth.uid()))
         OR reporting.is_shown(workflow_id));
CREATE POLICY workflow_data_service_all ON reporting.workflow_data TO service_role USING (true) WITH CHECK (true);
