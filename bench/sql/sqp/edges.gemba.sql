-- More dependencies, each from a table to a later one: {edges} in all, in place of those that there are.
DELETE FROM sqp.refresh_dependencies;
WITH numbered AS (
  SELECT id, row_number() OVER (ORDER BY id) AS n, count(*) OVER () AS tables
    FROM sqp.refresh_config WHERE table_schema = 'elsewhere'
), drawn AS (
  SELECT DISTINCT 1 + (hashint8extended(g, 1) & 2147483647) % (t.tables - 1) AS parent, g
    FROM generate_series(1, {edges} * 3 / 2) AS g, (SELECT max(tables) AS tables FROM numbered) AS t
), pairs AS (
  SELECT DISTINCT d.parent, d.parent + 1 + (hashint8extended(d.g, 2) & 2147483647) % (t.tables - d.parent) AS child
    FROM drawn d, (SELECT max(tables) AS tables FROM numbered) AS t
)
INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id, dependency_type)
SELECT p.id, c.id, CASE WHEN (x.parent + x.child) % 4 = 0 THEN 'soft' ELSE 'hard' END
  FROM (SELECT * FROM pairs LIMIT {edges}) AS x
  JOIN numbered p ON p.n = x.parent
  JOIN numbered c ON c.n = x.child;
