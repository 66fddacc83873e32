DROP VIEW reporting.my_dashboards;
DROP TABLE reporting.dashboard_sources;
DROP TABLE reporting.dashboard_versions;
DROP TABLE reporting.dashboard_shares;
DROP TABLE reporting.dashboard_widgets;
DROP TABLE reporting.dashboards;
