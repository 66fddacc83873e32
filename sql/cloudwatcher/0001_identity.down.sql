DROP POLICY audit_logs_auditor_select ON cloudwatcher.audit_logs;
DROP TABLE cloudwatcher.role_permissions, cloudwatcher.user_departments, cloudwatcher.user_roles, cloudwatcher.departments,
  cloudwatcher.roles, cloudwatcher.users, cloudwatcher.settings;
