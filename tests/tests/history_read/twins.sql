-- One table twice: in partitions, of which two months are compressed, and in one heap.
SET TimeZone = 'UTC';
CREATE SCHEMA s;
CREATE TABLE s.twin (
  id bigint NOT NULL, sensor int NOT NULL, at timestamptz NOT NULL, place text NOT NULL,
  value numeric(12,4), number numeric, single real, double double precision, flag boolean,
  small smallint, day date, moment timestamp, code uuid, label varchar(20),
  doubled numeric GENERATED ALWAYS AS (value * 2) STORED);
CREATE TABLE s.raw (LIKE s.twin INCLUDING GENERATED) PARTITION BY RANGE (at);
SELECT gemba.manage_partitions('s.raw', '1 month', premake => 0);
SELECT gemba.ensure_partitions('s.raw', '2018-03-01', '2018-05-31');
INSERT INTO s.twin
  SELECT row_number() OVER (), sensor, at, 'floor ' || sensor % 3,
         CASE WHEN r % 5 > 0 THEN (r % 100000) / 100.0 - 300 END,
         CASE WHEN r % 97 = 0 THEN 'NaN' WHEN r % 89 = 0 THEN 1e30 + r + 0.125 WHEN r % 101 = 0 THEN '-Infinity'
              WHEN r % 13 > 0 THEN round(r / 7.0, r % 6) END,
         CASE WHEN r % 19 = 0 THEN '-0'::real WHEN r % 23 = 0 THEN 'NaN' WHEN r % 29 > 0 THEN (r % 2000) / 10.0 - 100 END,
         CASE WHEN r % 17 = 0 THEN '-0'::float8 WHEN r % 31 = 0 THEN 'Infinity' WHEN r % 37 > 0 THEN sqrt(r) END,
         r % 3 = 0, r % 7000 - 3500, at::date - r % 40, at AT TIME ZONE 'UTC' + make_interval(mins => r % 500),
         CASE WHEN r % 4 > 0 THEN md5(r::text)::uuid END, CASE WHEN r % 6 > 0 THEN 'label ' || r % 50 END
    FROM generate_series(timestamptz '2018-03-01', timestamptz '2018-05-31', '23 minutes') AS at,
         generate_series(1, 6) AS sensor,
         LATERAL (SELECT abs(hashint8(extract(epoch FROM at)::bigint + sensor * 1000003)) % 1000000 AS r) AS random;
INSERT INTO s.raw (id, sensor, at, place, value, number, single, double, flag, small, day, moment, code, label)
  SELECT id, sensor, at, place, value, number, single, double, flag, small, day, moment, code, label FROM s.twin;
SELECT gemba.compress_after('s.raw', '{sensor}', 'at', '1 month');
SELECT gemba.compress_partition(partition::regclass) FROM gemba.partitions
 WHERE parent = 's.raw'::regclass AND from_time < '2018-05-01';
CREATE TABLE s.sensors (sensor int PRIMARY KEY, name text NOT NULL);
INSERT INTO s.sensors SELECT n, 'sensor ' || n FROM generate_series(1, 6) AS n;
ANALYZE s.raw, s.twin, s.sensors;
