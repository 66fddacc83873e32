-- Readings, one partition a month of the site's own calendar.

-- Handed out in blocks: the number only has to be unique, and a shared counter costs every insert.
-- Imports number their rows above its end, run by run.
CREATE SEQUENCE telemetry.sensor_readings_id_seq MAXVALUE 68719476735 CACHE 256;

CREATE TABLE telemetry.sensor_readings (
  id              bigint NOT NULL DEFAULT pg_catalog.nextval('telemetry.sensor_readings_id_seq'),
  "timestamp"     timestamptz NOT NULL,
  sensor_id       varchar(50) COLLATE "C" NOT NULL,
  floor_number    int NOT NULL,
  equipment_type  varchar(100),
  reading_value   numeric(10,4),
  unit            varchar(20),
  status          varchar(20) NOT NULL DEFAULT 'normal'
) PARTITION BY RANGE ("timestamp");
ALTER SEQUENCE telemetry.sensor_readings_id_seq OWNED BY telemetry.sensor_readings.id;
COMMENT ON TABLE telemetry.sensor_readings IS 'one row for each value read; unique by (sensor_id, "timestamp")';
COMMENT ON COLUMN telemetry.sensor_readings.status IS 'normal, or suspect when the value is outside telemetry.plausible_ranges';

-- A few kilobytes a partition instead of a b-tree on each: rows arrive in order of time, floor by floor.
CREATE INDEX sensor_readings_brin_idx ON telemetry.sensor_readings
  USING brin ("timestamp", floor_number, equipment_type) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX sensor_readings_suspect_idx ON telemetry.sensor_readings (sensor_id, "timestamp")
  WHERE status = 'suspect';

ALTER TABLE telemetry.sensor_readings ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON telemetry.sensor_readings FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON SEQUENCE telemetry.sensor_readings_id_seq FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON telemetry.sensor_readings TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON telemetry.sensor_readings TO service_role;
GRANT USAGE ON SEQUENCE telemetry.sensor_readings_id_seq TO service_role;

CREATE POLICY sensor_readings_reader_select ON telemetry.sensor_readings FOR SELECT TO authenticated
  USING ((SELECT telemetry.sees_everything())
         OR sensor_id IN (SELECT telemetry.sample_sensor_ids()));
CREATE POLICY sensor_readings_service_all ON telemetry.sensor_readings TO service_role
  USING (true) WITH CHECK (true);

-- No unique constraint on the parent: it would shut out foreign-table partitions. Each partition has it.
SELECT gemba.manage_partitions('telemetry.sensor_readings', '1 month', premake => 3,
  time_zone => 'Asia/Bangkok', unique_on => ARRAY['sensor_id', 'timestamp']);
