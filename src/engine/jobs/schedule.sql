-- A job that is scheduled again keeps its place in time unless its timetable changes.
INSERT INTO gemba.jobs AS j (name, schedule, time_zone, command, owner, run_as, timeout, retries, retry_after, enabled,
                             anchor, next_run_at)
VALUES ($1, $2, $3, $4, $5::name, $6::name, $7, $8, $9, $10, $11, $12)
ON CONFLICT (name) DO UPDATE SET
  schedule = excluded.schedule, time_zone = excluded.time_zone, command = excluded.command, owner = excluded.owner,
  run_as = excluded.run_as, timeout = excluded.timeout, retries = excluded.retries, retry_after = excluded.retry_after,
  enabled = excluded.enabled, updated_at = excluded.anchor,
  anchor = CASE WHEN (j.schedule, j.time_zone) = (excluded.schedule, excluded.time_zone) THEN j.anchor ELSE excluded.anchor END,
  next_run_at = CASE WHEN (j.schedule, j.time_zone) = (excluded.schedule, excluded.time_zone) THEN j.next_run_at
                     ELSE excluded.next_run_at END
WHERE EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = j.owner AND pg_catalog.pg_has_role($13, r.oid, $14))
   OR (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid = $13)
RETURNING j.id
