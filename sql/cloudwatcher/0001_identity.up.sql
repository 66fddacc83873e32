-- Who may do what, and where.

CREATE TABLE cloudwatcher.settings (
  one                      boolean PRIMARY KEY DEFAULT true,
  offline_after            interval NOT NULL DEFAULT '5 minutes',
  max_attempts             int NOT NULL DEFAULT 3,
  retry_after              interval NOT NULL DEFAULT '30 seconds',
  approval_thresholds      numeric(14,2)[] NOT NULL DEFAULT '{100,5000,25000}',
  escalate_after           interval NOT NULL DEFAULT '24 hours',
  approvals_expire_after   interval NOT NULL DEFAULT '48 hours',
  forecast_days            int NOT NULL DEFAULT 365,
  CONSTRAINT settings_one_check CHECK (one),
  CONSTRAINT settings_offline_after_check CHECK (offline_after > interval '0'),
  CONSTRAINT settings_max_attempts_check CHECK (max_attempts BETWEEN 1 AND 1000),
  CONSTRAINT settings_retry_after_check CHECK (retry_after BETWEEN interval '0' AND interval '30 days'),
  CONSTRAINT settings_approval_thresholds_check CHECK (pg_catalog.cardinality(approval_thresholds) BETWEEN 1 AND 3
    AND pg_catalog.array_ndims(approval_thresholds) = 1 AND pg_catalog.array_lower(approval_thresholds, 1) = 1
    AND pg_catalog.array_position(approval_thresholds, NULL) IS NULL AND 0 <= ALL (approval_thresholds)
    AND 'NaN' <> ALL (approval_thresholds)
    AND (approval_thresholds[2] IS NULL OR approval_thresholds[1] < approval_thresholds[2])
    AND (approval_thresholds[3] IS NULL OR approval_thresholds[2] < approval_thresholds[3])),
  CONSTRAINT settings_escalate_after_check CHECK (escalate_after > interval '0'),
  CONSTRAINT settings_approvals_expire_after_check CHECK (approvals_expire_after > escalate_after),
  CONSTRAINT settings_forecast_days_check CHECK (forecast_days BETWEEN 7 AND 3650)
);
INSERT INTO cloudwatcher.settings DEFAULT VALUES;
COMMENT ON TABLE cloudwatcher.settings IS 'one row: what is true of all requests, orders and stock; yours to change';
COMMENT ON COLUMN cloudwatcher.settings.offline_after IS 'a device that was silent for so long is offline, and its connection over';
COMMENT ON COLUMN cloudwatcher.settings.max_attempts IS 'after so many failures a request has failed';
COMMENT ON COLUMN cloudwatcher.settings.retry_after IS 'wait before a request is tried again; twice as long each time';
COMMENT ON COLUMN cloudwatcher.settings.approval_thresholds IS 'an order above the first amount needs one approval, above the second two, above the third three';
COMMENT ON COLUMN cloudwatcher.settings.escalate_after IS 'an approval undecided for so long goes to the next one up';
COMMENT ON COLUMN cloudwatcher.settings.approvals_expire_after IS 'an approval undecided for so long rejects the order';
COMMENT ON COLUMN cloudwatcher.settings.forecast_days IS 'so many days of consumption are looked at for a forecast';

CREATE TABLE cloudwatcher.users (
  id              uuid PRIMARY KEY REFERENCES auth.users (id),
  email           varchar(255) NOT NULL,
  name            varchar(255) NOT NULL,
  oauth_provider  varchar(50),
  oauth_id        varchar(255),
  is_active       boolean NOT NULL DEFAULT true,
  last_login      timestamptz,
  created_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT users_email_key UNIQUE (email),
  CONSTRAINT users_oauth_id_key UNIQUE (oauth_id),
  CONSTRAINT users_email_check CHECK (email <> ''),
  CONSTRAINT users_name_check CHECK (name <> '')
);
CREATE UNIQUE INDEX users_lower_email_key ON cloudwatcher.users (pg_catalog.lower(email));
CREATE INDEX users_is_active_idx ON cloudwatcher.users (is_active);
COMMENT ON TABLE cloudwatcher.users IS 'people; the id is that of auth.users; they are deactivated, not deleted';
COMMENT ON COLUMN cloudwatcher.users.oauth_provider IS 'for instance azure-ad, google, local';
COMMENT ON COLUMN cloudwatcher.users.is_active IS 'false takes every right away at once';

CREATE TABLE cloudwatcher.roles (
  id                               uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  name                             varchar(100) NOT NULL,
  description                      text,
  approval_threshold_amount        numeric(14,2),
  requires_approval                boolean NOT NULL DEFAULT false,
  can_approve_subordinate_requests boolean NOT NULL DEFAULT false,
  created_at                       timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at                       timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT roles_name_key UNIQUE (name),
  CONSTRAINT roles_name_check CHECK (name <> ''),
  CONSTRAINT roles_approval_threshold_amount_check CHECK (approval_threshold_amount >= 0 AND approval_threshold_amount <> 'NaN')
);
COMMENT ON TABLE cloudwatcher.roles IS 'what people are: roles add up; yours to change';
COMMENT ON COLUMN cloudwatcher.roles.approval_threshold_amount IS 'orders of a holder up to this amount need no approval; NULL: the first of settings.approval_thresholds';
COMMENT ON COLUMN cloudwatcher.roles.requires_approval IS 'every order of a holder needs an approval at least';
COMMENT ON COLUMN cloudwatcher.roles.can_approve_subordinate_requests IS 'a holder who manages a department may be asked to approve what is ordered in it and below';

CREATE TABLE cloudwatcher.departments (
  id           uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  name         varchar(255) NOT NULL,
  parent_id    uuid REFERENCES cloudwatcher.departments (id),
  description  text,
  manager_id   uuid REFERENCES cloudwatcher.users (id),
  created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT departments_name_check CHECK (name <> ''),
  CONSTRAINT departments_parent_id_check CHECK (parent_id <> id)
);
CREATE INDEX departments_name_idx ON cloudwatcher.departments (name);
CREATE INDEX departments_parent_id_idx ON cloudwatcher.departments (parent_id);
CREATE INDEX departments_manager_id_idx ON cloudwatcher.departments (manager_id);
COMMENT ON TABLE cloudwatcher.departments IS 'the organisation as a tree: company, region, store …; refers to its managers, who are made first';
COMMENT ON COLUMN cloudwatcher.departments.manager_id IS 'sees everything of the department and below, and approves its orders';

CREATE TABLE cloudwatcher.user_roles (
  id           uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  user_id      uuid NOT NULL REFERENCES cloudwatcher.users (id) ON DELETE CASCADE,
  role_id      uuid NOT NULL REFERENCES cloudwatcher.roles (id) ON DELETE CASCADE,
  assigned_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  assigned_by  uuid REFERENCES cloudwatcher.users (id),
  CONSTRAINT user_roles_user_id_role_id_key UNIQUE (user_id, role_id)
);
CREATE INDEX user_roles_role_id_idx ON cloudwatcher.user_roles (role_id);
CREATE INDEX user_roles_assigned_by_idx ON cloudwatcher.user_roles (assigned_by) WHERE assigned_by IS NOT NULL;
COMMENT ON TABLE cloudwatcher.user_roles IS 'who has which role';

CREATE TABLE cloudwatcher.user_departments (
  id           uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  user_id      uuid NOT NULL REFERENCES cloudwatcher.users (id) ON DELETE CASCADE,
  dept_id      uuid NOT NULL REFERENCES cloudwatcher.departments (id) ON DELETE CASCADE,
  assigned_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT user_departments_user_id_dept_id_key UNIQUE (user_id, dept_id)
);
CREATE INDEX user_departments_dept_id_idx ON cloudwatcher.user_departments (dept_id);
COMMENT ON TABLE cloudwatcher.user_departments IS 'who works where';

CREATE TABLE cloudwatcher.role_permissions (
  id          uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  role_id     uuid NOT NULL REFERENCES cloudwatcher.roles (id) ON DELETE CASCADE,
  permission  varchar(100) NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT role_permissions_role_id_permission_key UNIQUE (role_id, permission),
  CONSTRAINT role_permissions_permission_check CHECK (permission ~ '^[a-z_]+\.[a-z_]+$')
);
CREATE INDEX role_permissions_permission_idx ON cloudwatcher.role_permissions (permission);
COMMENT ON TABLE cloudwatcher.role_permissions IS 'what a role may do; docs/cloudwatcher.md lists the permissions that are asked for';

INSERT INTO cloudwatcher.roles (name, description, approval_threshold_amount, requires_approval, can_approve_subordinate_requests) VALUES
  ('admin', 'Full system access', 25000, false, true),
  ('manager', 'Department management', 5000, false, true),
  ('technician', 'Device operations', NULL, false, false),
  ('viewer', 'Read-only access', 0, true, false);

INSERT INTO cloudwatcher.role_permissions (role_id, permission)
SELECT r.id, p.permission
  FROM (VALUES
    ('admin', ARRAY['users.read', 'users.write', 'roles.read', 'roles.write', 'departments.read', 'departments.write',
       'departments.subtree', 'departments.all', 'requests.read', 'requests.create', 'requests.write', 'devices.read', 'devices.write',
       'parts.read', 'parts.write', 'inventory.read', 'inventory.write', 'inventory.count', 'locations.write',
       'orders.read', 'orders.create', 'orders.approve', 'orders.approve_any', 'orders.order', 'orders.receive', 'orders.cancel',
       'decisions.read', 'audit.read']),
    ('manager', ARRAY['users.read', 'roles.read', 'departments.read', 'departments.subtree', 'requests.read', 'requests.create',
       'requests.write', 'devices.read', 'devices.write', 'parts.read', 'inventory.read', 'inventory.write', 'inventory.count',
       'orders.read', 'orders.create', 'orders.approve', 'orders.order', 'orders.receive', 'orders.cancel', 'decisions.read']),
    ('technician', ARRAY['users.read', 'roles.read', 'departments.read', 'requests.read', 'requests.create', 'devices.read',
       'parts.read', 'inventory.read', 'inventory.write', 'orders.read', 'orders.create', 'orders.receive']),
    ('viewer', ARRAY['users.read', 'roles.read', 'departments.read', 'requests.read', 'devices.read', 'parts.read', 'inventory.read',
       'orders.read'])) AS given(role, permissions)
  JOIN cloudwatcher.roles r ON r.name = given.role
 CROSS JOIN LATERAL pg_catalog.unnest(given.permissions) AS p(permission);

CREATE TRIGGER set_updated_at BEFORE UPDATE ON cloudwatcher.users FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER set_updated_at BEFORE UPDATE ON cloudwatcher.roles FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER set_updated_at BEFORE UPDATE ON cloudwatcher.departments FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER refuse_cycle BEFORE INSERT OR UPDATE OF parent_id ON cloudwatcher.departments
  FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL) EXECUTE FUNCTION cloudwatcher._refuse_cycle();
CREATE TRIGGER refuse_more_than_own BEFORE INSERT OR UPDATE ON cloudwatcher.role_permissions
  FOR EACH ROW EXECUTE FUNCTION cloudwatcher._refuse_more_than_own();
CREATE TRIGGER refuse_more_than_own BEFORE INSERT OR UPDATE ON cloudwatcher.user_roles
  FOR EACH ROW EXECUTE FUNCTION cloudwatcher._refuse_more_than_own();
CREATE TRIGGER refuse_higher_limit BEFORE INSERT OR UPDATE ON cloudwatcher.roles
  FOR EACH ROW EXECUTE FUNCTION cloudwatcher._refuse_higher_limit();
CREATE TRIGGER refuse_higher_amounts BEFORE UPDATE ON cloudwatcher.settings
  FOR EACH ROW EXECUTE FUNCTION cloudwatcher._refuse_higher_amounts();

-- Rights ------------------------------------------------------------------------------------------

ALTER TABLE cloudwatcher.settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.departments ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.user_roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.user_departments ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.role_permissions ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON cloudwatcher.settings, cloudwatcher.users, cloudwatcher.roles, cloudwatcher.departments, cloudwatcher.user_roles,
    cloudwatcher.user_departments, cloudwatcher.role_permissions
  FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE ON cloudwatcher.users TO authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON cloudwatcher.roles, cloudwatcher.departments, cloudwatcher.user_roles,
    cloudwatcher.user_departments, cloudwatcher.role_permissions
  TO authenticated, service_role;
GRANT SELECT, UPDATE ON cloudwatcher.settings TO authenticated, service_role;

-- Whoever may do anything here: reports read them with the caller's rights.
CREATE POLICY settings_reader_select ON cloudwatcher.settings FOR SELECT TO authenticated
  USING ((SELECT EXISTS (SELECT FROM cloudwatcher.my_permissions())));
CREATE POLICY settings_writer_update ON cloudwatcher.settings FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('roles.write')));
CREATE POLICY settings_service_all ON cloudwatcher.settings TO service_role USING (true) WITH CHECK (true);

CREATE POLICY users_reader_select ON cloudwatcher.users FOR SELECT TO authenticated
  USING (id = (SELECT auth.uid()) OR (SELECT cloudwatcher.has_permission('users.read')) AND cloudwatcher.sees_user(id));
CREATE POLICY users_writer_insert ON cloudwatcher.users FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('users.write')));
CREATE POLICY users_writer_update ON cloudwatcher.users FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('users.write')) AND cloudwatcher.sees_user(id));
CREATE POLICY users_service_all ON cloudwatcher.users TO service_role USING (true) WITH CHECK (true);

CREATE POLICY roles_reader_select ON cloudwatcher.roles FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('roles.read')));
CREATE POLICY roles_writer_insert ON cloudwatcher.roles FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('roles.write')));
CREATE POLICY roles_writer_update ON cloudwatcher.roles FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('roles.write')));
CREATE POLICY roles_writer_delete ON cloudwatcher.roles FOR DELETE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('roles.write')));
CREATE POLICY roles_service_all ON cloudwatcher.roles TO service_role USING (true) WITH CHECK (true);

CREATE POLICY role_permissions_reader_select ON cloudwatcher.role_permissions FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('roles.read')));
CREATE POLICY role_permissions_writer_insert ON cloudwatcher.role_permissions FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('roles.write')));
CREATE POLICY role_permissions_writer_update ON cloudwatcher.role_permissions FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('roles.write')));
CREATE POLICY role_permissions_writer_delete ON cloudwatcher.role_permissions FOR DELETE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('roles.write')));
CREATE POLICY role_permissions_service_all ON cloudwatcher.role_permissions TO service_role USING (true) WITH CHECK (true);

CREATE POLICY departments_reader_select ON cloudwatcher.departments FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('departments.read')) AND cloudwatcher.sees_department(id));
CREATE POLICY departments_writer_insert ON cloudwatcher.departments FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('departments.write')) AND cloudwatcher.sees_department(parent_id));
CREATE POLICY departments_writer_update ON cloudwatcher.departments FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('departments.write')) AND cloudwatcher.sees_department(id))
  WITH CHECK ((SELECT cloudwatcher.has_permission('departments.write')) AND cloudwatcher.sees_department(parent_id));
CREATE POLICY departments_writer_delete ON cloudwatcher.departments FOR DELETE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('departments.write')) AND cloudwatcher.sees_department(id));
CREATE POLICY departments_service_all ON cloudwatcher.departments TO service_role USING (true) WITH CHECK (true);

CREATE POLICY user_roles_reader_select ON cloudwatcher.user_roles FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid()) OR (SELECT cloudwatcher.has_permission('users.read')) AND cloudwatcher.sees_user(user_id));
CREATE POLICY user_roles_writer_insert ON cloudwatcher.user_roles FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('roles.write')) AND cloudwatcher.sees_user(user_id));
CREATE POLICY user_roles_writer_delete ON cloudwatcher.user_roles FOR DELETE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('roles.write')) AND cloudwatcher.sees_user(user_id));
CREATE POLICY user_roles_service_all ON cloudwatcher.user_roles TO service_role USING (true) WITH CHECK (true);

CREATE POLICY user_departments_reader_select ON cloudwatcher.user_departments FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid()) OR (SELECT cloudwatcher.has_permission('users.read')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY user_departments_writer_insert ON cloudwatcher.user_departments FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('users.write')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY user_departments_writer_delete ON cloudwatcher.user_departments FOR DELETE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('users.write')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY user_departments_service_all ON cloudwatcher.user_departments TO service_role USING (true) WITH CHECK (true);

-- The trail of everything, for whoever may read it.
CREATE POLICY audit_logs_auditor_select ON cloudwatcher.audit_logs FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('audit.read')));
