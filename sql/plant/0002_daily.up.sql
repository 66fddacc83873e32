-- Pipeline A: yesterday by machine, as the morning report reads it.

CREATE TABLE plant.daily_summaries (
  id                          uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  asset_id                    uuid NOT NULL REFERENCES plant.assets (id) ON DELETE CASCADE,
  report_date                 date NOT NULL,
  oee_percentage              numeric(5,2),
  actual_output               int,
  target_output               int,
  downtime_minutes            int,
  waste_count                 int,
  financial_loss_dollars      numeric(12,2),
  smart_summary_text          text,
  created_at                  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at                  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  -- What stands behind the figures above.
  availability_percentage     numeric(5,2),
  performance_percentage      numeric(5,2),
  performance_raw_percentage  numeric(10,2),
  quality_percentage          numeric(5,2),
  planned_minutes             int,
  good_count                  int,
  downtime_loss               numeric(12,2),
  waste_loss                  numeric(12,2),
  oee_state                   plant.oee_state,
  estimated                   text[] NOT NULL DEFAULT '{}',
  CONSTRAINT daily_summaries_asset_id_report_date_key UNIQUE (asset_id, report_date),
  CONSTRAINT daily_summaries_oee_percentage_check CHECK (oee_percentage BETWEEN 0 AND 100),
  CONSTRAINT daily_summaries_counts_check
    CHECK (actual_output >= 0 AND target_output >= 0 AND waste_count >= 0 AND good_count >= 0
           AND downtime_minutes >= 0 AND planned_minutes >= 0),
  CONSTRAINT daily_summaries_percentages_check
    CHECK (availability_percentage BETWEEN 0 AND 100 AND performance_percentage BETWEEN 0 AND 100
           AND quality_percentage BETWEEN 0 AND 100 AND performance_raw_percentage >= 0
           AND performance_raw_percentage < 'NaN'),
  CONSTRAINT daily_summaries_report_date_check CHECK (pg_catalog.isfinite(report_date)),
  CONSTRAINT daily_summaries_losses_check
    CHECK (financial_loss_dollars < 'NaN' AND downtime_loss < 'NaN' AND waste_loss < 'NaN')
);
CREATE INDEX daily_summaries_report_date_idx ON plant.daily_summaries (report_date);
COMMENT ON TABLE plant.daily_summaries IS 'one row for each machine and day; written by plant.ingest_daily()';
COMMENT ON COLUMN plant.daily_summaries.downtime_minutes IS 'rounded to the minute; exact in oee_state';
COMMENT ON COLUMN plant.daily_summaries.financial_loss_dollars IS 'downtime_loss + waste_loss, in the plant''s currency';
COMMENT ON COLUMN plant.daily_summaries.performance_raw_percentage IS 'performance as measured; above 100 when the ideal rate is set too low';
COMMENT ON COLUMN plant.daily_summaries.oee_state IS 'times and counts, exact, to be rolled up with plant.oee_merge';
COMMENT ON COLUMN plant.daily_summaries.estimated IS 'inputs that were the plant''s defaults, because neither the row nor the machine had them';

CREATE TRIGGER daily_summaries_updated_at BEFORE UPDATE ON plant.daily_summaries
  FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();

ALTER TABLE plant.daily_summaries ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON plant.daily_summaries FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON plant.daily_summaries TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON plant.daily_summaries TO service_role;
CREATE POLICY daily_summaries_reader_select ON plant.daily_summaries FOR SELECT TO authenticated USING (true);
CREATE POLICY daily_summaries_service_all ON plant.daily_summaries TO service_role USING (true) WITH CHECK (true);
