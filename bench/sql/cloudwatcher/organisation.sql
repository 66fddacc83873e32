-- {users} users in {departments} departments: one company (1), ten regions (2 to 11), depots below them. User 1 and
-- user 12 are admins, users 2 to 11 manage the regions, the others are technicians of one depot each.
-- {locations} locations in depots, with {stocked} of {parts} parts each; {suppliers} suppliers of each part.
-- {requests} requests of 100 devices, {orders} orders with three approvals each.
SET session_replication_role = replica;
SELECT setseed(0.42);
CREATE FUNCTION id(kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
  AS $$ SELECT (kind || '0000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
-- The depot that a number belongs to.
CREATE FUNCTION depot(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT id('1', 12 + n % ({departments} - 11)) $$;

INSERT INTO auth.users (id, email) SELECT id('0', n), n || '@example.org' FROM generate_series(1, {users}) AS n;
INSERT INTO cloudwatcher.users (id, email, name) SELECT id('0', n), n || '@example.org', 'user ' || n FROM generate_series(1, {users}) AS n;
INSERT INTO cloudwatcher.departments (id, name, parent_id, manager_id)
SELECT id('1', n), 'department ' || n, CASE WHEN n > 11 THEN id('1', 2 + n % 10) WHEN n > 1 THEN id('1', 1) END,
       CASE WHEN n BETWEEN 2 AND 11 THEN id('0', n) END
  FROM generate_series(1, {departments}) AS n;
INSERT INTO cloudwatcher.user_roles (user_id, role_id)
SELECT id('0', n), r.id FROM generate_series(1, {users}) AS n
  JOIN cloudwatcher.roles r ON r.name = CASE WHEN n IN (1, 12) THEN 'admin' WHEN n BETWEEN 2 AND 11 THEN 'manager' ELSE 'technician' END;
INSERT INTO cloudwatcher.user_departments (user_id, dept_id)
SELECT id('0', n), CASE WHEN n IN (1, 12) THEN id('1', 1) WHEN n BETWEEN 2 AND 11 THEN id('1', n) ELSE depot(n) END
  FROM generate_series(1, {users}) AS n;

INSERT INTO cloudwatcher.locations (id, name, dept_id) SELECT id('2', n), 'location ' || n, depot(n) FROM generate_series(1, {locations}) AS n;
INSERT INTO cloudwatcher.parts (id, part_code, name, description, category)
SELECT id('3', n), 'P-' || n, 'part ' || n, repeat('what it is and what it is for; ', 4), 'category ' || n % 50 FROM generate_series(1, {parts}) AS n;
INSERT INTO cloudwatcher.part_variants (id, part_id, variant_code) SELECT id('4', n), id('3', n), 'V' FROM generate_series(1, {parts}) AS n;
INSERT INTO cloudwatcher.suppliers (id, name, lead_time_days, is_active)
SELECT id('5', n), 'supplier ' || n, n % 20, n % 10 <> 0 FROM generate_series(1, 1000) AS n;
INSERT INTO cloudwatcher.part_suppliers (part_id, variant_id, supplier_id, sku, supplier_cost, is_preferred)
SELECT id('3', n), id('4', n), id('5', 1 + (n * 7 + k * 31) % 1000), n || '-' || k, (random() * 100)::numeric(10,2), k = 1
  FROM generate_series(1, {parts}) AS n CROSS JOIN generate_series(1, {suppliers}) AS k;
-- About two in a hundred are to be ordered.
INSERT INTO cloudwatcher.inventory (part_id, location_id, quantity_on_hand, reorder_point, reorder_quantity)
SELECT id('3', 1 + (l * 397 + k) % {parts}), id('2', l), (random() * 500)::int, 10, 50
  FROM generate_series(1, {locations}) AS l CROSS JOIN generate_series(1, {stocked}) AS k;

SELECT gemba.ensure_partitions('cloudwatcher.requests', now() - interval '90 days', now());
INSERT INTO cloudwatcher.devices (device_id, dept_id) SELECT 'truck-' || lpad(n::text, 4, '0'), depot(n) FROM generate_series(0, 999) AS n;
INSERT INTO cloudwatcher.requests (device_id, request_type, status, payload, dept_id, created_at)
SELECT 'truck-' || lpad((n % 100)::text, 4, '0'), 'get_parts', CASE WHEN n / 100 % 10 = 0 THEN 'pending' ELSE 'completed' END,
       jsonb_build_object('part', n), depot(n % 100), now() - random() * interval '85 days'
  FROM generate_series(1, {requests}) AS n;

INSERT INTO cloudwatcher.orders (id, status, dept_id, location_id, total_amount, approval_levels, created_by, submitted_at)
SELECT id('6', n), 'pending-approval', depot(1 + n % {locations}), id('2', 1 + n % {locations}), 30000, 3, id('0', {users}), now()
  FROM generate_series(1, {orders}) AS n;
INSERT INTO cloudwatcher.order_approvals (order_id, approver_id, approval_level, status)
SELECT id('6', n), CASE k WHEN 1 THEN d.manager_id WHEN 2 THEN id('0', 1) ELSE id('0', 12) END, k, CASE WHEN k = 1 THEN 'pending' ELSE 'waiting' END
  FROM generate_series(1, {orders}) AS n
  JOIN cloudwatcher.departments p ON p.id = depot(1 + n % {locations})
  JOIN cloudwatcher.departments d ON d.id = p.parent_id
 CROSS JOIN generate_series(1, 3) AS k;
RESET session_replication_role;
