-- {more} more requests, of devices of all depots.
SET session_replication_role = replica;
INSERT INTO cloudwatcher.requests (device_id, request_type, status, payload, dept_id, created_at)
SELECT 'truck-' || lpad((n % 1000)::text, 4, '0'), 'get_parts', CASE WHEN n / 1000 % 10 = 0 THEN 'pending' ELSE 'completed' END,
       jsonb_build_object('part', n), depot(n % 1000), now() - random() * interval '85 days'
  FROM generate_series(1, {more}) AS n;
RESET session_replication_role;
