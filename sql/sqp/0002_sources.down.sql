DROP TABLE sqp.yearly_summary;
DROP TABLE sqp.quarterly_summary;
DROP TABLE sqp.monthly_summary;
DROP TABLE sqp.weekly_summary;
DROP TABLE sqp.daily_sqp_data;
DROP MATERIALIZED VIEW sqp.search_performance_summary;
DROP TABLE sqp.search_query_performance;
DROP TABLE sqp.asin_performance_data;
