-- A truck asks for parts, the depot is short of them, an order goes up the hierarchy and comes back as stock; and all of
-- it stands in a trail that can be checked.
\pset footer off
\pset null '·'
SET client_min_messages = warning;

-- A company, a region with its manager, a depot with its technician, two trucks.
INSERT INTO auth.users (id, email) VALUES
  ('c1000000-0000-4000-8000-000000000001', 'admin@example.org'), ('c1000000-0000-4000-8000-000000000002', 'maria@example.org'),
  ('c1000000-0000-4000-8000-000000000003', 'tom@example.org'), ('c1000000-0000-4000-8000-000000000004', 'hans@example.org'),
  ('c1000000-0000-4000-8000-000000000005', 'tina@example.org')
ON CONFLICT DO NOTHING;
INSERT INTO cloudwatcher.users (id, email, name) VALUES
  ('c1000000-0000-4000-8000-000000000001', 'admin@example.org', 'Ada (admin)'), ('c1000000-0000-4000-8000-000000000002', 'maria@example.org', 'Maria (region)'),
  ('c1000000-0000-4000-8000-000000000003', 'tom@example.org', 'Tom (depot west)'), ('c1000000-0000-4000-8000-000000000004', 'hans@example.org', 'Hans (company)'),
  ('c1000000-0000-4000-8000-000000000005', 'tina@example.org', 'Tina (depot east)');
INSERT INTO cloudwatcher.departments (id, name, parent_id, manager_id) VALUES
  ('c2000000-0000-4000-8000-000000000001', 'Company', NULL, 'c1000000-0000-4000-8000-000000000004'),
  ('c2000000-0000-4000-8000-000000000002', 'Region', 'c2000000-0000-4000-8000-000000000001', 'c1000000-0000-4000-8000-000000000002'),
  ('c2000000-0000-4000-8000-000000000003', 'Depot west', 'c2000000-0000-4000-8000-000000000002', NULL),
  ('c2000000-0000-4000-8000-000000000004', 'Depot east', 'c2000000-0000-4000-8000-000000000002', NULL);
INSERT INTO cloudwatcher.user_roles (user_id, role_id)
SELECT u.id, r.id FROM cloudwatcher.users u JOIN cloudwatcher.roles r
    ON r.name = CASE WHEN u.name LIKE 'Ada%' THEN 'admin' WHEN u.name LIKE 'T%' THEN 'technician' ELSE 'manager' END;
INSERT INTO cloudwatcher.user_departments (user_id, dept_id) VALUES
  ('c1000000-0000-4000-8000-000000000003', 'c2000000-0000-4000-8000-000000000003'),
  ('c1000000-0000-4000-8000-000000000005', 'c2000000-0000-4000-8000-000000000004');
INSERT INTO cloudwatcher.devices (device_id, name, dept_id) VALUES ('truck-001', 'Truck 1', 'c2000000-0000-4000-8000-000000000003');
INSERT INTO cloudwatcher.locations (id, name, dept_id) VALUES
  ('c3000000-0000-4000-8000-000000000001', 'Shelves west', 'c2000000-0000-4000-8000-000000000003');
INSERT INTO cloudwatcher.parts (id, part_code, name) VALUES ('c4000000-0000-4000-8000-000000000001', 'BRK-PAD-12', 'Brake pad');
INSERT INTO cloudwatcher.suppliers (id, name, lead_time_days, is_preferred) VALUES
  ('c5000000-0000-4000-8000-000000000001', 'Nordic Brakes', 4, true), ('c5000000-0000-4000-8000-000000000002', 'Cheap Parts', 21, false);
INSERT INTO cloudwatcher.part_suppliers (part_id, supplier_id, sku, supplier_cost, minimum_order_qty, is_preferred) VALUES
  ('c4000000-0000-4000-8000-000000000001', 'c5000000-0000-4000-8000-000000000001', 'NB-12', 38.50, 10, true),
  ('c4000000-0000-4000-8000-000000000001', 'c5000000-0000-4000-8000-000000000002', 'CP-77', 31.00, 100, false);
SELECT FROM cloudwatcher.receive_stock('c4000000-0000-4000-8000-000000000001', 'c3000000-0000-4000-8000-000000000001', 12) \g /dev/null
UPDATE cloudwatcher.inventory SET reorder_point = 10, reorder_quantity = 60;
-- Half a year of consumption: two on each working day, and the odd breakdown.
INSERT INTO cloudwatcher.part_consumption (part_id, location_id, quantity_consumed, consumption_date)
SELECT 'c4000000-0000-4000-8000-000000000001', 'c3000000-0000-4000-8000-000000000001', 2 + (extract(day FROM day) = 13)::int * 3, day::date
  FROM generate_series(current_date - 180, current_date - 1, interval '1 day') AS day WHERE extract(isodow FROM day) < 6;

\echo '# Tom (depot west) submits what truck-001 asks for, twice: SELECT … FROM cloudwatcher.submit_request(…);'
SET ROLE authenticated;
SET request.jwt.claims = '{"sub": "c1000000-0000-4000-8000-000000000003", "role": "authenticated"}';
SELECT request_id AS request FROM cloudwatcher.submit_request('truck-001', 'get_parts', '{"part": "BRK-PAD-12", "quantity": 8}', '{"app_version": "2.1.0"}') \gset
SELECT request_id = :'request' AS same_request, status, is_new
  FROM cloudwatcher.submit_request('truck-001', 'get_parts', '{"quantity": 8.0, "part": "BRK-PAD-12"}');

\echo '# A server claims it, an agent decides, the answer waits for the truck'
RESET ROLE; RESET request.jwt.claims;
SELECT request_id = :'request' AS is_it, device_id, payload, attempt FROM cloudwatcher.claim_requests('server 1');
SELECT FROM cloudwatcher.record_decision(:'request', 'PartsSpecialist', 'selection', 'BRK-PAD-12',
  '{"because": "fits truck-001 and is in stock", "candidates": 3}', 0.93) \g /dev/null
SELECT FROM cloudwatcher.complete_request(:'request', '{"part": "BRK-PAD-12", "available": 12}', ai_processed => true) \g /dev/null
SET ROLE authenticated;
SET request.jwt.claims = '{"sub": "c1000000-0000-4000-8000-000000000003", "role": "authenticated"}';
SELECT request_type, content, ai_processed FROM cloudwatcher.pending_responses('truck-001');
SELECT cloudwatcher.acknowledge(response_id) IS NOT NULL AS delivered FROM cloudwatcher.pending_responses('truck-001');

\echo '# Tom reserves eight pads and uses them; that brings stock to its reorder point'
SELECT quantity_on_hand, quantity_reserved, quantity_available
  FROM cloudwatcher.reserve_stock('c4000000-0000-4000-8000-000000000001', 'c3000000-0000-4000-8000-000000000001', 8,
         reservation => 'c6000000-0000-4000-8000-000000000001');
SELECT quantity_on_hand, quantity_reserved, quantity_available
  FROM cloudwatcher.consume_part('c4000000-0000-4000-8000-000000000001', 'c3000000-0000-4000-8000-000000000001', 8,
         reservation => 'c6000000-0000-4000-8000-000000000001');
SELECT part_code, quantity_available AS available, reorder_point, suggested_quantity, supplier_name, total_cost, days_of_stock FROM cloudwatcher.reorder_report();
SELECT round(sum(quantity)) AS needed_in_30_days, min(method) AS method
  FROM cloudwatcher.consumption_forecast('c4000000-0000-4000-8000-000000000001', 'c3000000-0000-4000-8000-000000000001');

\echo '# He orders 60: too much for him alone, so the order goes to his region''s manager'
SELECT cloudwatcher.create_order_from_request(:'request', 'c3000000-0000-4000-8000-000000000001') AS "order" \gset
SELECT cloudwatcher.add_item(:'order', 'c4000000-0000-4000-8000-000000000001', 60) \g /dev/null
SELECT status, levels, (SELECT u.name FROM cloudwatcher.users u WHERE u.id = s.approver) AS asked FROM cloudwatcher.submit_order(:'order') AS s;
\echo '# What he must not do: approve it himself, change it now, skip a step'
\set ON_ERROR_STOP 0
\set SHOW_CONTEXT never
SELECT * FROM cloudwatcher.decide_approval(:'order', 'approved');
SELECT cloudwatcher.add_item(:'order', 'c4000000-0000-4000-8000-000000000001', 1);
UPDATE cloudwatcher.orders SET status = 'approved';
\set ON_ERROR_STOP 1
\echo '# Tina, of the other depot, does not even see it'
SET request.jwt.claims = '{"sub": "c1000000-0000-4000-8000-000000000005", "role": "authenticated"}';
SELECT count(*) AS orders, (SELECT count(*) FROM cloudwatcher.inventory) AS stock FROM cloudwatcher.orders;

\echo '# Maria approves, marks it as ordered; Tom receives it in two parts'
SET request.jwt.claims = '{"sub": "c1000000-0000-4000-8000-000000000002", "role": "authenticated"}';
SELECT status FROM cloudwatcher.decide_approval(:'order', 'approved', 'stock is low');
SELECT cloudwatcher.mark_ordered(:'order', current_date + 4) \g /dev/null
SET request.jwt.claims = '{"sub": "c1000000-0000-4000-8000-000000000003", "role": "authenticated"}';
SELECT status FROM cloudwatcher.receive_items(:'order', (SELECT jsonb_agg(jsonb_build_object('item', id, 'quantity', 20)) FROM cloudwatcher.order_items));
SELECT status FROM cloudwatcher.receive_items(:'order');
SELECT part_code, quantity, quantity_available, reorder_due FROM cloudwatcher.stock_levels;
SELECT event_type, (SELECT u.name FROM cloudwatcher.users u WHERE u.id = h.user_id) AS by FROM cloudwatcher.order_history h ORDER BY created_at;
RESET ROLE; RESET request.jwt.claims;

\echo '# All of it is in the audit trail: SELECT … FROM gemba.row_history(''cloudwatcher.orders'', …);'
SELECT operation, (SELECT u.name FROM cloudwatcher.users u WHERE u.id = h.user_id) AS by, new_values ->> 'status' AS status
  FROM gemba.row_history('cloudwatcher.orders', :'order') AS h;
SELECT table_name, count(*) FROM cloudwatcher.audit_logs WHERE table_name LIKE 'cloudwatcher.%' AND operation <> 'AUDIT' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 6;
\echo '# Sealed, and checked'
SELECT count(*) AS seals, sum(row_count) AS rows FROM gemba.seal_audit();
SELECT count(*) AS problems FROM gemba.verify_audit();
\echo '# Even the owner of the database cannot tamper with it unseen'
BEGIN;
UPDATE cloudwatcher.audit_logs SET user_id = NULL WHERE table_name = 'cloudwatcher.orders' AND operation = 'UPDATE' AND new_values ->> 'status' = 'approved';
SELECT problem, table_name, seal FROM gemba.verify_audit();
ROLLBACK;
