-- The plant object model: machines, what an hour and an item of them cost, what is wanted of them and when.

CREATE TABLE plant.settings (
  one                      boolean PRIMARY KEY DEFAULT true,
  plant_name               text NOT NULL DEFAULT 'Plant',
  time_zone                text NOT NULL DEFAULT 'UTC',
  day_starts_at            time NOT NULL DEFAULT '06:00',
  currency                 text NOT NULL DEFAULT 'USD',
  -- For machines without settings of their own; what is computed with these is marked as estimated.
  default_planned_minutes  numeric(8,2) NOT NULL DEFAULT 480,
  default_ideal_rate       numeric(12,4) NOT NULL DEFAULT 100,
  default_hourly_rate      numeric(10,2) NOT NULL DEFAULT 100,
  default_cost_per_unit    numeric(10,2) NOT NULL DEFAULT 10,
  oee_target               numeric(5,2) NOT NULL DEFAULT 85,
  good_from                numeric(5,2) NOT NULL DEFAULT 85,
  fair_from                numeric(5,2) NOT NULL DEFAULT 70,
  low_priority_loss        numeric(12,2) NOT NULL DEFAULT 1000,
  medium_priority_loss     numeric(12,2) NOT NULL DEFAULT 2000,
  high_priority_loss       numeric(12,2) NOT NULL DEFAULT 5000,
  medium_priority_gap      numeric(5,2) NOT NULL DEFAULT 10,
  high_priority_gap        numeric(5,2) NOT NULL DEFAULT 20,
  -- The live view.
  live_counts_per          text NOT NULL DEFAULT 'shift',
  tolerance_pct            numeric(5,2) NOT NULL DEFAULT 5,
  live_window              interval NOT NULL DEFAULT '30 minutes',
  clock_tolerance          interval NOT NULL DEFAULT '10 minutes',
  -- Safety events and rejects.
  default_severity         text NOT NULL DEFAULT 'critical',
  users_resolve            boolean NOT NULL DEFAULT true,
  keep_rejects             interval NOT NULL DEFAULT '30 days',
  updated_at               timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT settings_one_check CHECK (one),
  CONSTRAINT settings_time_zone_check
    CHECK ((timestamptz '2000-01-01 00:00+00' AT TIME ZONE time_zone) IS NOT NULL),
  CONSTRAINT settings_default_planned_minutes_check CHECK (default_planned_minutes BETWEEN 0 AND 1440),
  -- NaN is above every number.
  CONSTRAINT settings_default_ideal_rate_check CHECK (default_ideal_rate > 0 AND default_ideal_rate < 'NaN'),
  CONSTRAINT settings_default_hourly_rate_check CHECK (default_hourly_rate >= 0 AND default_hourly_rate < 'NaN'),
  CONSTRAINT settings_default_cost_per_unit_check
    CHECK (default_cost_per_unit >= 0 AND default_cost_per_unit < 'NaN'),
  CONSTRAINT settings_bands_check CHECK (0 <= fair_from AND fair_from <= good_from AND good_from <= 100),
  CONSTRAINT settings_oee_target_check CHECK (oee_target BETWEEN 0 AND 100),
  CONSTRAINT settings_priority_loss_check
    CHECK (0 < low_priority_loss AND low_priority_loss <= medium_priority_loss
           AND medium_priority_loss <= high_priority_loss AND high_priority_loss < 'NaN'),
  CONSTRAINT settings_priority_gap_check
    CHECK (0 < medium_priority_gap AND medium_priority_gap <= high_priority_gap
           AND high_priority_gap < 'NaN'),
  CONSTRAINT settings_live_counts_per_check CHECK (live_counts_per IN ('shift', 'day')),
  CONSTRAINT settings_tolerance_pct_check CHECK (tolerance_pct >= 0 AND tolerance_pct < 'NaN'),
  CONSTRAINT settings_live_window_check CHECK (live_window > interval '0' AND live_window <= interval '1 year'),
  CONSTRAINT settings_clock_tolerance_check
    CHECK (clock_tolerance BETWEEN interval '0' AND interval '1 day'),
  CONSTRAINT settings_default_severity_check CHECK (default_severity IN ('low', 'medium', 'high', 'critical')),
  CONSTRAINT settings_keep_rejects_check CHECK (keep_rejects BETWEEN interval '0' AND interval '100 years')
);
INSERT INTO plant.settings DEFAULT VALUES;
COMMENT ON TABLE plant.settings IS 'one row: what is true of the whole plant; yours to change';
COMMENT ON COLUMN plant.settings.time_zone IS 'the zone whose clock the shifts and the report''s days follow';
COMMENT ON COLUMN plant.settings.day_starts_at IS 'local time at which the production day of a date begins';
COMMENT ON COLUMN plant.settings.default_ideal_rate IS 'units an hour at ideal speed';
COMMENT ON COLUMN plant.settings.live_counts_per IS 'live counters start again with each shift, or with each production day';
COMMENT ON COLUMN plant.settings.tolerance_pct IS 'a live output within this many percent of its target is on target';
COMMENT ON COLUMN plant.settings.live_window IS 'a machine that has not reported for longer than this is stale';
COMMENT ON COLUMN plant.settings.clock_tolerance IS 'snapshots from further in the future than this are refused';
COMMENT ON COLUMN plant.settings.users_resolve IS 'may logged-in users resolve safety events? Otherwise only service_role does';

CREATE TABLE plant.assets (
  id               uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  name             varchar(255) NOT NULL,
  source_id        varchar(255) NOT NULL,
  area             varchar(100),
  planned_minutes  numeric(8,2),
  ideal_rate       numeric(12,4),
  oee_target       numeric(5,2),
  is_active        boolean NOT NULL DEFAULT true,
  created_at       timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at       timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT assets_source_id_key UNIQUE (source_id),
  CONSTRAINT assets_planned_minutes_check CHECK (planned_minutes BETWEEN 0 AND 1440),
  CONSTRAINT assets_ideal_rate_check CHECK (ideal_rate > 0 AND ideal_rate < 'NaN'),
  CONSTRAINT assets_oee_target_check CHECK (oee_target BETWEEN 0 AND 100)
);
CREATE INDEX assets_area_idx ON plant.assets (area);
COMMENT ON TABLE plant.assets IS 'the machines';
COMMENT ON COLUMN plant.assets.source_id IS 'what the source system calls its location';
COMMENT ON COLUMN plant.assets.planned_minutes IS 'planned busy time of a day; without it the plant''s default, marked as estimated';
COMMENT ON COLUMN plant.assets.ideal_rate IS 'units an hour at ideal speed; without it the plant''s default, marked as estimated';
COMMENT ON COLUMN plant.assets.oee_target IS 'percent; without it the plant''s';
COMMENT ON COLUMN plant.assets.is_active IS 'machines that are not are left out of reports on days without data of theirs';

CREATE TABLE plant.cost_centers (
  id                    uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  asset_id              uuid NOT NULL REFERENCES plant.assets (id) ON DELETE CASCADE,
  standard_hourly_rate  numeric(10,2) NOT NULL,
  cost_per_unit         numeric(10,2),
  created_at            timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at            timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT cost_centers_asset_id_key UNIQUE (asset_id),
  CONSTRAINT cost_centers_standard_hourly_rate_check
    CHECK (standard_hourly_rate >= 0 AND standard_hourly_rate < 'NaN'),
  CONSTRAINT cost_centers_cost_per_unit_check CHECK (cost_per_unit >= 0 AND cost_per_unit < 'NaN')
);
COMMENT ON TABLE plant.cost_centers IS 'what an hour of a machine and an item of it cost';

CREATE TABLE plant.shifts (
  name       varchar(50) PRIMARY KEY,
  starts_at  time NOT NULL,
  ends_at    time NOT NULL
);
COMMENT ON TABLE plant.shifts IS 'local times of the shifts; yours to change';
COMMENT ON COLUMN plant.shifts.ends_at IS 'not after starts_at: on the next day';
INSERT INTO plant.shifts (name, starts_at, ends_at) VALUES
  ('Day', '06:00', '14:00'), ('Swing', '14:00', '22:00'), ('Night', '22:00', '06:00');

CREATE TABLE plant.shift_targets (
  id              uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  asset_id        uuid NOT NULL REFERENCES plant.assets (id) ON DELETE CASCADE,
  target_output   int NOT NULL,
  shift           varchar(50) REFERENCES plant.shifts (name) ON UPDATE CASCADE,
  effective_date  date,
  created_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT shift_targets_asset_id_shift_effective_date_key
    UNIQUE NULLS NOT DISTINCT (asset_id, shift, effective_date),
  CONSTRAINT shift_targets_target_output_check CHECK (target_output >= 0),
  CONSTRAINT shift_targets_effective_date_check CHECK (pg_catalog.isfinite(effective_date))
);
CREATE INDEX shift_targets_shift_idx ON plant.shift_targets (shift);
COMMENT ON TABLE plant.shift_targets IS 'how many items are wanted of a machine in a shift, from a date on';
COMMENT ON COLUMN plant.shift_targets.shift IS 'NULL: the whole production day, where no shift has a target of its own';
COMMENT ON COLUMN plant.shift_targets.effective_date IS 'in force from this production date until a later row''s; NULL: since ever';

CREATE TRIGGER settings_updated_at BEFORE UPDATE ON plant.settings
  FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER assets_updated_at BEFORE UPDATE ON plant.assets
  FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER cost_centers_updated_at BEFORE UPDATE ON plant.cost_centers
  FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER shift_targets_updated_at BEFORE UPDATE ON plant.shift_targets
  FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();

ALTER TABLE plant.settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE plant.assets ENABLE ROW LEVEL SECURITY;
ALTER TABLE plant.cost_centers ENABLE ROW LEVEL SECURITY;
ALTER TABLE plant.shifts ENABLE ROW LEVEL SECURITY;
ALTER TABLE plant.shift_targets ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON plant.settings, plant.assets, plant.cost_centers, plant.shifts, plant.shift_targets
  FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON plant.settings, plant.assets, plant.cost_centers, plant.shifts, plant.shift_targets TO authenticated;
GRANT SELECT, UPDATE ON plant.settings TO service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON plant.assets, plant.cost_centers, plant.shifts, plant.shift_targets
  TO service_role;

CREATE POLICY settings_reader_select ON plant.settings FOR SELECT TO authenticated USING (true);
CREATE POLICY settings_service_all ON plant.settings TO service_role USING (true) WITH CHECK (true);
CREATE POLICY assets_reader_select ON plant.assets FOR SELECT TO authenticated USING (true);
CREATE POLICY assets_service_all ON plant.assets TO service_role USING (true) WITH CHECK (true);
CREATE POLICY cost_centers_reader_select ON plant.cost_centers FOR SELECT TO authenticated USING (true);
CREATE POLICY cost_centers_service_all ON plant.cost_centers TO service_role USING (true) WITH CHECK (true);
CREATE POLICY shifts_reader_select ON plant.shifts FOR SELECT TO authenticated USING (true);
CREATE POLICY shifts_service_all ON plant.shifts TO service_role USING (true) WITH CHECK (true);
CREATE POLICY shift_targets_reader_select ON plant.shift_targets FOR SELECT TO authenticated USING (true);
CREATE POLICY shift_targets_service_all ON plant.shift_targets TO service_role USING (true) WITH CHECK (true);
