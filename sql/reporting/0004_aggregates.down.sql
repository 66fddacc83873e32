DROP TABLE reporting.workflow_data;
DROP TABLE reporting.report_data_aggregates;
DROP TABLE reporting.metric_definitions;
