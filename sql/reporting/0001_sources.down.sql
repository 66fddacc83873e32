-- Together, because the accounts' policy asks the workflows, which refer to the accounts.
DROP TABLE reporting.workflow_executions, reporting.workflows, reporting.amc_instances, reporting.settings;
