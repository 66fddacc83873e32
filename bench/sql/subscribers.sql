-- Two readers, among ten thousand others.
INSERT INTO auth.users (id, email) VALUES
  ('00000000-0000-0000-0000-0000000000f1', 'free@example.org'),
  ('00000000-0000-0000-0000-0000000000a1', 'professional@example.org');
INSERT INTO telemetry.subscriptions (user_id, tier) VALUES
  ('00000000-0000-0000-0000-0000000000f1', 'free'),
  ('00000000-0000-0000-0000-0000000000a1', 'professional');
WITH others AS (
  INSERT INTO auth.users (email) SELECT format('user%s@example.org', n) FROM generate_series(1, 10000) AS n
  RETURNING id)
INSERT INTO telemetry.subscriptions (user_id, tier)
  SELECT id, CASE WHEN row_number() OVER () % 10 = 0 THEN 'professional' ELSE 'free' END FROM others;
ANALYZE auth.users;
ANALYZE telemetry.subscriptions;
ANALYZE telemetry.sensors;
