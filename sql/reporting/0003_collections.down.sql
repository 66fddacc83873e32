DROP VIEW reporting.collection_progress;
DROP TABLE reporting.report_data_weeks;
DROP SEQUENCE reporting.report_data_weeks_claim_seq;
DROP TABLE reporting.report_data_collections;
