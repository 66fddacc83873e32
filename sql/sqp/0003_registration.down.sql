DROP EVENT TRIGGER auto_register_refresh_tables_drop;
DROP EVENT TRIGGER auto_register_refresh_tables;
DELETE FROM sqp.refresh_config
 WHERE table_schema = 'sqp'
   AND table_name IN ('asin_performance_data', 'search_query_performance', 'search_performance_summary', 'daily_sqp_data',
                      'weekly_summary', 'monthly_summary', 'quarterly_summary', 'yearly_summary');
