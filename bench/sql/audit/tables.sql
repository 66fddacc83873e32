-- What is written, and a table to write it to that nobody audits. {rows}
CREATE TABLE given AS
  SELECT pg_catalog.gen_random_uuid() AS id, 'part number ' || n AS name,
         (ARRAY['draft', 'approved', 'ordered'])[1 + n % 3]::varchar(20) AS status, n % 1000 AS quantity,
         ((n % 100000) / 100.0)::numeric(12,2) AS price, n % 2 = 0 AS active,
         now() - n * interval '1 second' AS made_at, CASE WHEN n % 4 > 0 THEN md5(n::text) END AS note
    FROM generate_series(1, {rows}) AS n;
CREATE TABLE parts (
  id        uuid PRIMARY KEY,
  name      text NOT NULL,
  status    varchar(20) NOT NULL,
  quantity  int NOT NULL,
  price     numeric(12,2) NOT NULL,
  active    boolean NOT NULL,
  made_at   timestamptz NOT NULL,
  note      text
);
