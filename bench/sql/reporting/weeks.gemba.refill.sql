UPDATE reporting.settings SET max_running_collections = {most_collections}, max_running_weeks = {most_weeks};
TRUNCATE reporting.report_data_collections, reporting.report_data_weeks;
SELECT count(*) FROM reporting.workflows w, reporting.start_collection(w.id, target_weeks => 52, end_date => '2025-06-29');
