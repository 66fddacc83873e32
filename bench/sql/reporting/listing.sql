-- {dashboards} dashboards of {users} users, and {shares} shares: ten for each dashboard.
SET session_replication_role = replica;
INSERT INTO auth.users (id, email)
SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.org' FROM generate_series(1, {users}) AS n;
INSERT INTO reporting.dashboards (id, name, user_id)
SELECT ('30000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'dashboard ' || n,
       ('00000000-0000-4000-8000-' || lpad((n % {users} + 1)::text, 12, '0'))::uuid
  FROM generate_series(1, {dashboards}) AS n;
INSERT INTO reporting.dashboard_shares (dashboard_id, shared_by_user_id, shared_with_user_id, permission_level)
SELECT ('30000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid,
       ('00000000-0000-4000-8000-' || lpad((n % {users} + 1)::text, 12, '0'))::uuid,
       ('00000000-0000-4000-8000-' || lpad(((n + k * 37) % {users} + 1)::text, 12, '0'))::uuid,
       CASE WHEN k % 3 = 0 THEN 'edit' ELSE 'view' END
  FROM generate_series(1, {dashboards}) AS n CROSS JOIN generate_series(1, 10) AS k;
RESET session_replication_role;

-- The same rows under a policy that asks a function for each of them, as it is often written.
CREATE SCHEMA by_row;
CREATE TABLE by_row.dashboards AS SELECT * FROM reporting.dashboards;
CREATE TABLE by_row.shares AS SELECT * FROM reporting.dashboard_shares;
ALTER TABLE by_row.dashboards ADD PRIMARY KEY (id);
CREATE INDEX ON by_row.dashboards (user_id);
CREATE UNIQUE INDEX ON by_row.shares (dashboard_id, shared_with_user_id);
CREATE INDEX ON by_row.shares (shared_with_user_id);
CREATE FUNCTION by_row.may_see(dashboard uuid) RETURNS boolean
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT EXISTS (SELECT FROM by_row.shares s WHERE s.dashboard_id = $1 AND s.shared_with_user_id = auth.uid()) $body$;
ALTER TABLE by_row.dashboards ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON by_row.dashboards FOR SELECT TO authenticated
  USING (user_id = auth.uid() OR is_public OR is_template OR by_row.may_see(id));
GRANT USAGE ON SCHEMA by_row TO authenticated;
GRANT SELECT ON by_row.dashboards TO authenticated;
