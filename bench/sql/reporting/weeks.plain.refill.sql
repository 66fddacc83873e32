TRUNCATE report_data_collections, report_data_weeks;
INSERT INTO report_data_collections SELECT FROM generate_series(1, {collections});
INSERT INTO report_data_weeks (collection_id, week_start_date, week_end_date)
SELECT c.id, date '2024-07-01' + 7 * n, date '2024-07-07' + 7 * n
  FROM report_data_collections c, generate_series(0, 51) AS n;
