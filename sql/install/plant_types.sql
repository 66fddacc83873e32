-- Types of the plant's native functions; here because those functions are declared with them.

CREATE TYPE plant.oee_figures AS (
  availability numeric, performance numeric, performance_raw numeric, quality numeric, oee numeric);
COMMENT ON TYPE plant.oee_figures IS 'ratios between 0 and 1, after ISO 22400-2; performance_raw is not capped at 1';
CREATE TYPE plant.teep_figures AS (utilisation numeric, oee numeric, teep numeric);
COMMENT ON TYPE plant.teep_figures IS 'OEE against all the time that there is: teep = utilisation × oee';
CREATE TYPE plant.variance_figures AS (variance numeric, percentage numeric, status text);
COMMENT ON TYPE plant.variance_figures IS 'actual less target, the same in percent of the target, and on_target, behind or ahead';
CREATE TYPE plant.loss_figures AS (downtime_loss numeric, waste_loss numeric, total_loss numeric);
COMMENT ON TYPE plant.loss_figures IS 'money: downtime hours × hourly rate, waste × unit cost, and both';
CREATE TYPE plant.waterfall_figures AS (
  planned_value numeric, availability_loss numeric, performance_loss numeric, quality_loss numeric,
  total_loss numeric, good_value numeric);
COMMENT ON TYPE plant.waterfall_figures IS 'money: what the planned time is worth, what each loss takes off what the one before left, and what remains';
CREATE TYPE plant.oee_state AS (
  planned_seconds numeric, run_seconds numeric, ideal_seconds numeric, net_seconds numeric,
  effective_seconds numeric, total_count numeric, good_count numeric);
COMMENT ON TYPE plant.oee_state IS 'times and counts that can be added up: store one a day, merge them to weeks and areas with plant.oee_merge';
COMMENT ON COLUMN plant.oee_state.planned_seconds IS 'planned busy time (PBT)';
COMMENT ON COLUMN plant.oee_state.run_seconds IS 'actual production time (APT)';
COMMENT ON COLUMN plant.oee_state.ideal_seconds IS 'what the items would have taken at ideal speed (PRI × PQ)';
COMMENT ON COLUMN plant.oee_state.net_seconds IS 'the same, but at most the run time';
COMMENT ON COLUMN plant.oee_state.effective_seconds IS 'the part of the net time that went into good items';
CREATE TYPE plant.ingest_outcome AS (
  rows_read bigint, accepted bigint, inserted bigint, updated bigint, unchanged bigint, rejected bigint,
  safety_events bigint, rejects jsonb);
COMMENT ON TYPE plant.ingest_outcome IS 'what a call of a pipeline did: accepted = inserted + updated + unchanged; rejects is an array of {row, field, reason}';
