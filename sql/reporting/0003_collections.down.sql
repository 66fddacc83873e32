DROP TABLE reporting.report_data_weeks;
DROP TABLE reporting.report_data_collections;
