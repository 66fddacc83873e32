DROP TABLE reporting.workflow_executions;
DROP TABLE reporting.workflows;
DROP TABLE reporting.amc_instances;
DROP TABLE reporting.settings;
