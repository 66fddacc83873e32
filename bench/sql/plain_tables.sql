-- The seed's own table. Its BIGSERIAL PRIMARY KEY cannot be on a partitioned table, whose keys must hold
-- the partitioning column: hence (id, "timestamp").

CREATE TABLE sensor_readings (
  id              bigserial,
  "timestamp"     timestamptz NOT NULL,
  sensor_id       varchar(50) NOT NULL,
  floor_number    integer NOT NULL,
  equipment_type  varchar(100),
  reading_value   decimal(10,4),
  unit            varchar(20),
  status          varchar(20) DEFAULT 'normal',
  PRIMARY KEY (id, "timestamp")
) PARTITION BY RANGE ("timestamp");

CREATE INDEX ON sensor_readings USING brin ("timestamp");
CREATE INDEX ON sensor_readings (sensor_id, "timestamp");
CREATE INDEX ON sensor_readings (equipment_type);
CREATE INDEX ON sensor_readings (floor_number);

-- One partition a month.
DO $$
DECLARE
  month timestamptz;
BEGIN
  FOR month IN SELECT generate_series(timestamptz '2018-06-01 00:00+00', '2020-01-01 00:00+00', '1 month') LOOP
    EXECUTE format('CREATE TABLE %I PARTITION OF sensor_readings FOR VALUES FROM (%L) TO (%L)',
                   'sensor_readings_' || to_char(month, 'YYYY_MM'), month, month + interval '1 month');
  END LOOP;
END $$;
