-- Sensors, what is plausible of them, and who may see how much.

CREATE TABLE telemetry.sensors (
  sensor_id        varchar(50) COLLATE "C" PRIMARY KEY,
  floor_number     int NOT NULL,
  zone             int,
  device           varchar(100),
  equipment_type   varchar(100),
  unit             varchar(20),
  source           text,
  sample_interval  interval NOT NULL DEFAULT '1 minute',
  in_sample        boolean NOT NULL DEFAULT false,
  created_at       timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT sensors_equipment_type_check
    CHECK (equipment_type IN ('HVAC', 'lighting', 'electrical', 'environment')),
  CONSTRAINT sensors_sample_interval_check CHECK (sample_interval > interval '0')
);
CREATE INDEX sensors_floor_number_idx ON telemetry.sensors (floor_number);
CREATE INDEX sensors_equipment_type_idx ON telemetry.sensors (equipment_type);
CREATE INDEX sensors_in_sample_idx ON telemetry.sensors (sensor_id) WHERE in_sample;
COMMENT ON TABLE telemetry.sensors IS 'one row for each channel that is measured';
COMMENT ON COLUMN telemetry.sensors.floor_number IS 'floor of the building; 0 where none is known';
COMMENT ON COLUMN telemetry.sensors.source IS 'the column of the file that the sensor was first imported from';
COMMENT ON COLUMN telemetry.sensors.sample_interval IS 'how often a reading is due; data_quality() counts the missing ones by it';
COMMENT ON COLUMN telemetry.sensors.in_sample IS 'belongs to the tenth of all readings that free subscriptions see; kept by telemetry.choose_sample()';

CREATE TABLE telemetry.plausible_ranges (
  unit       varchar(20) PRIMARY KEY,
  min_value  numeric(10,4) NOT NULL,
  max_value  numeric(10,4) NOT NULL,
  CONSTRAINT plausible_ranges_order_check CHECK (min_value <= max_value)
);
COMMENT ON TABLE telemetry.plausible_ranges IS 'values outside are imported with status suspect; yours to change';
INSERT INTO telemetry.plausible_ranges (unit, min_value, max_value) VALUES
  ('kW', 0, 300),     -- the whole building peaks near 700
  ('degC', 15, 45),   -- indoors, in the tropics
  ('RH%', 5, 100),
  ('lux', 0, 100000);

CREATE TABLE telemetry.subscriptions (
  id                      uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  user_id                 uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
  tier                    varchar(20) NOT NULL DEFAULT 'free',
  stripe_subscription_id  varchar(100),
  status                  varchar(20) NOT NULL DEFAULT 'active',
  created_at              timestamptz NOT NULL DEFAULT pg_catalog.now(),
  expires_at              timestamptz,
  CONSTRAINT subscriptions_tier_check CHECK (tier IN ('free', 'professional')),
  CONSTRAINT subscriptions_status_check CHECK (status IN ('active', 'cancelled', 'past_due'))
);
CREATE INDEX subscriptions_user_id_idx ON telemetry.subscriptions (user_id);
CREATE UNIQUE INDEX subscriptions_stripe_subscription_id_idx
  ON telemetry.subscriptions (stripe_subscription_id) WHERE stripe_subscription_id IS NOT NULL;
COMMENT ON TABLE telemetry.subscriptions IS 'who may see how much: an active, unexpired free subscription the sample, a professional one everything, no subscription nothing';

ALTER TABLE telemetry.sensors ENABLE ROW LEVEL SECURITY;
ALTER TABLE telemetry.plausible_ranges ENABLE ROW LEVEL SECURITY;
ALTER TABLE telemetry.subscriptions ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON telemetry.sensors, telemetry.plausible_ranges, telemetry.subscriptions
  FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON telemetry.sensors, telemetry.plausible_ranges, telemetry.subscriptions TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE
  ON telemetry.sensors, telemetry.plausible_ranges, telemetry.subscriptions TO service_role;

-- The inner selects make the planner call each function once a query instead of once a row.
CREATE POLICY sensors_reader_select ON telemetry.sensors FOR SELECT TO authenticated
  USING ((SELECT telemetry.sees_everything())
         OR sensor_id IN (SELECT telemetry.sample_sensor_ids()));
CREATE POLICY sensors_service_all ON telemetry.sensors TO service_role USING (true) WITH CHECK (true);
CREATE POLICY plausible_ranges_reader_select ON telemetry.plausible_ranges FOR SELECT TO authenticated
  USING (true);
CREATE POLICY plausible_ranges_service_all ON telemetry.plausible_ranges TO service_role
  USING (true) WITH CHECK (true);
CREATE POLICY subscriptions_owner_select ON telemetry.subscriptions FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid()));
CREATE POLICY subscriptions_service_all ON telemetry.subscriptions TO service_role
  USING (true) WITH CHECK (true);
