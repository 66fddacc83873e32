-- Two years' worth for a large plant, one in twenty still open.
INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity, description, is_resolved,
                                 resolved_at)
  SELECT md5('machine ' || n * 37 % {assets})::uuid, now() - n * interval '4 hours', 'Safety Issue',
         (ARRAY['low', 'medium', 'high', 'critical'])[1 + n % 4], 'guard open at station ' || n % 9, n % 20 <> 0,
         CASE WHEN n % 20 <> 0 THEN now() - n * interval '4 hours' + interval '1 hour' END
    FROM generate_series(1, {events}) AS n;
ANALYZE plant.safety_events, plant.safety_event_log;
