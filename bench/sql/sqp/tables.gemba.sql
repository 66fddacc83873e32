-- {tables} configured tables, the upper half by priority being parents of the lower half.
INSERT INTO sqp.refresh_config (table_schema, table_name, priority, refresh_frequency_hours, next_refresh_at)
SELECT 'elsewhere', 'table_' || n, CASE WHEN n <= {tables} / 2 THEN 90 ELSE 70 END, 1, now() + interval '1 day'
  FROM generate_series(1, {tables}) AS n;
INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id)
SELECT p.id, c.id
  FROM sqp.refresh_config p
  JOIN sqp.refresh_config c ON c.table_name = 'table_' || (substr(p.table_name, 7)::int + {tables} / 2)
 WHERE p.table_schema = 'elsewhere' AND c.table_schema = 'elsewhere';
UPDATE sqp.refresh_config SET is_enabled = false WHERE table_schema <> 'elsewhere';
