DROP TRIGGER workflows_forget_sources ON reporting.workflows;
DROP VIEW reporting.my_dashboards;
DROP TABLE reporting.dashboard_sources, reporting.dashboard_versions, reporting.dashboard_shares,
  reporting.dashboard_widgets, reporting.dashboards;
