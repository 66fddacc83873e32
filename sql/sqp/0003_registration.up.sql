-- What there is, is registered now; what comes later registers itself.

INSERT INTO sqp.refresh_config (table_schema, table_name, priority, next_refresh_at)
SELECT n.nspname, c.relname, sqp._priority(c.relname), pg_catalog.now() + interval '1 hour'
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = 'sqp' AND c.relkind IN ('r', 'p', 'm')
   AND c.relname IN ('asin_performance_data', 'search_query_performance', 'search_performance_summary', 'daily_sqp_data',
                     'weekly_summary', 'monthly_summary', 'quarterly_summary', 'yearly_summary')
 ORDER BY c.relname
ON CONFLICT (table_schema, table_name) DO NOTHING;

UPDATE sqp.refresh_config SET function_schema = 'sqp', function_name = 'build_' || table_name
 WHERE table_schema = 'sqp' AND table_name IN ('weekly_summary', 'monthly_summary', 'quarterly_summary', 'yearly_summary');

INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id)
SELECT p.id, d.id
  FROM sqp.refresh_config AS p
 CROSS JOIN sqp.refresh_config AS d
 WHERE p.table_schema = 'sqp' AND d.table_schema = 'sqp'
   AND (p.table_name, d.table_name) IN (
         ('asin_performance_data', 'search_performance_summary'),
         ('asin_performance_data', 'weekly_summary'),
         ('asin_performance_data', 'monthly_summary'),
         -- What they are built from.
         ('search_query_performance', 'search_performance_summary'),
         ('daily_sqp_data', 'weekly_summary'), ('daily_sqp_data', 'monthly_summary'),
         ('daily_sqp_data', 'quarterly_summary'), ('daily_sqp_data', 'yearly_summary'))
ON CONFLICT DO NOTHING;

CREATE EVENT TRIGGER auto_register_refresh_tables ON ddl_command_end
  WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE MATERIALIZED VIEW', 'CREATE SCHEMA',
               'ALTER TABLE', 'ALTER MATERIALIZED VIEW', 'ALTER SCHEMA')
  EXECUTE FUNCTION sqp.auto_register_table_for_refresh();
COMMENT ON EVENT TRIGGER auto_register_refresh_tables IS 'registers new tables of sqp.watched_schemas for refresh; SET gemba.auto_register = off keeps it still';
CREATE EVENT TRIGGER auto_register_refresh_tables_drop ON sql_drop
  EXECUTE FUNCTION sqp._forget_dropped_tables();
COMMENT ON EVENT TRIGGER auto_register_refresh_tables_drop IS 'takes dropped tables out of sqp.refresh_config; their history stays';
