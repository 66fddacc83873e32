-- One location in a depot of {departments}, with plenty of each of {parts} parts; user 1 is its technician.
SET session_replication_role = replica;
CREATE FUNCTION id(kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
  AS $$ SELECT (kind || '0000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
INSERT INTO auth.users (id, email) VALUES (id('0', 1), '1@example.org');
INSERT INTO cloudwatcher.users (id, email, name) VALUES (id('0', 1), '1@example.org', 'user 1');
INSERT INTO cloudwatcher.departments (id, name, parent_id)
SELECT id('1', n), 'department ' || n, CASE WHEN n > 11 THEN id('1', 2 + n % 10) WHEN n > 1 THEN id('1', 1) END
  FROM generate_series(1, {departments}) AS n;
INSERT INTO cloudwatcher.user_roles (user_id, role_id) SELECT id('0', 1), r.id FROM cloudwatcher.roles r WHERE r.name = 'technician';
INSERT INTO cloudwatcher.user_departments (user_id, dept_id) VALUES (id('0', 1), id('1', 12));
INSERT INTO cloudwatcher.locations (id, name, dept_id) VALUES (id('2', 1), 'location 1', id('1', 12));
INSERT INTO cloudwatcher.parts (id, part_code, name) SELECT id('3', n), 'P-' || n, 'part ' || n FROM generate_series(1, {parts}) AS n;
INSERT INTO cloudwatcher.inventory (part_id, location_id, quantity_on_hand, reorder_point)
SELECT id('3', n), id('2', 1), 1000000, 10 FROM generate_series(1, {parts}) AS n;
RESET session_replication_role;
