-- The seed's columns as a hypertable with its default chunks (7 days) and its default index on the time.

CREATE TABLE sensor_readings (
  id              bigserial,
  "timestamp"     timestamptz NOT NULL,
  sensor_id       varchar(50) NOT NULL,
  floor_number    integer NOT NULL,
  equipment_type  varchar(100),
  reading_value   decimal(10,4),
  unit            varchar(20),
  status          varchar(20) DEFAULT 'normal'
);
-- As gemba's own: a shared counter costs every insert.
ALTER SEQUENCE sensor_readings_id_seq CACHE 256;
SELECT create_hypertable('sensor_readings', by_range('timestamp'));
CREATE INDEX ON sensor_readings (sensor_id, "timestamp");
