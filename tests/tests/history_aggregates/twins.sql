-- One table twice: in partitions, of which two months are compressed, and in one heap.
CREATE SCHEMA s;
CREATE TABLE s.twin (
  sensor int, place text, at timestamptz NOT NULL,
  small smallint, middle int, large bigint, exact numeric(12,2), number numeric,
  single real, double double precision, day date, moment timestamp, flag boolean, id uuid, label text);
CREATE TABLE s.raw (LIKE s.twin) PARTITION BY RANGE (at);
SET TimeZone = 'UTC';
SELECT gemba.manage_partitions('s.raw', '1 month', premake => 0);
SELECT gemba.ensure_partitions('s.raw', '2018-03-01', '2018-04-30');
SELECT gemba.ensure_partitions('s.raw', '2018-10-01', '2018-11-30');

CREATE FUNCTION s.rows(from_at timestamptz, to_at timestamptz, every interval, seed int) RETURNS SETOF s.twin
LANGUAGE sql AS $$
  SELECT sensor, CASE WHEN sensor % 3 > 0 THEN 'floor ' || sensor % 3 END, at + make_interval(secs => sensor * 7),
         CASE WHEN r % 7 > 0 THEN r % 1000 - 500 END,
         CASE WHEN r % 11 > 0 THEN r * 17 - 900000000 END,
         CASE WHEN sensor <> 4 THEN 9000000000000000000 - r END,
         CASE WHEN r % 5 > 0 THEN (r % 100000) / 100.0 - 300 END,
         CASE WHEN r % 97 = 0 AND sensor = 2 THEN 'NaN'
              WHEN r % 101 = 0 AND sensor = 3 THEN 'Infinity'
              WHEN r % 103 = 0 AND sensor = 3 THEN '-Infinity'
              WHEN r % 89 = 0 AND sensor = 1 THEN 1e30 + r + 0.125
              WHEN r % 13 > 0 THEN round(r / 7.0, r % 6) END,
         CASE WHEN r % 19 = 0 THEN '-0'::real WHEN r % 23 = 0 THEN 'NaN' WHEN r % 29 > 0 THEN (r % 2000) / 10.0 - 100 END,
         CASE WHEN r % 17 = 0 THEN '-0'::float8 WHEN r % 31 = 0 AND sensor = 1 THEN 'Infinity' WHEN r % 37 > 0 THEN sqrt(r) END,
         at::date - r % 40, at AT TIME ZONE 'UTC' + make_interval(mins => r % 500), r % 3 = 0,
         CASE WHEN r % 4 > 0 THEN md5(r::text)::uuid END, CASE WHEN r % 6 > 0 THEN 'label ' || r % 50 END
    FROM generate_series(from_at, to_at - every, every) AS at,
         generate_series(1, 5) AS sensor,
         LATERAL (SELECT abs(hashint8(extract(epoch FROM at)::bigint + sensor * 1000003 + seed)) % 1000000 AS r) AS random
$$;
-- Times of the clocks' changes among them: Havana in March and November, Berlin in March and October.
INSERT INTO s.twin SELECT * FROM s.rows('2018-03-01', '2018-05-01', '41 minutes', 1);
INSERT INTO s.twin SELECT * FROM s.rows('2018-10-01', '2018-11-12', '47 minutes', 2);
INSERT INTO s.raw SELECT * FROM s.twin;
SELECT gemba.compress_after('s.raw', '{sensor,place}', 'at', '1 month');
SELECT gemba.compress_partition(partition::regclass) FROM gemba.partitions
 WHERE parent = 's.raw'::regclass AND (from_time = '2018-03-01' OR from_time IN ('2018-10-01', '2018-11-01'));
ANALYZE s.raw, s.twin;
