INSERT INTO assets (id, name, source_id, area)
  SELECT md5('machine ' || n)::uuid, 'Machine ' || n, 'M' || n, 'Area ' || n % 10
    FROM generate_series(0, {assets} - 1) AS n;
ANALYZE assets;
