-- $1: runs whose process may still be starting; $2: so many interruptions in a row are enough
WITH orphan AS (
  SELECT r.id, r.attempt
    FROM gemba.job_runs r
   WHERE r.status = 'running' AND r.runner = 'worker' AND r.id <> ALL ($1)
     AND CASE WHEN r.pid IS NULL THEN
           -- A process that starts later than this finds its run ended, and goes.
           r.started_at < pg_catalog.clock_timestamp() - interval '5 seconds'
           OR r.started_at > pg_catalog.clock_timestamp() + interval '1 minute'
           OR r.started_at < pg_catalog.pg_postmaster_start_time()
         ELSE NOT EXISTS (
           SELECT FROM pg_catalog.pg_stat_activity a
            WHERE a.pid = r.pid AND a.backend_start = r.process_started_at)
         END
     FOR UPDATE OF r SKIP LOCKED
), ended AS (
  UPDATE gemba.job_runs r
     SET status = 'interrupted', finished_at = pg_catalog.clock_timestamp(), message = 'its process ended without a result'
    FROM orphan o
   WHERE r.id = o.id
  RETURNING r.id, r.job, r.attempt
), again AS (
  UPDATE gemba.jobs j
     SET run_id = NULL,
         again_at = CASE WHEN j.interruptions + 1 < $2 THEN coalesce(j.again_at, pg_catalog.clock_timestamp()) ELSE j.again_at END,
         attempt = CASE WHEN j.interruptions + 1 < $2 THEN e.attempt - 1 ELSE 0 END,
         interruptions = CASE WHEN j.interruptions + 1 < $2 THEN j.interruptions + 1 ELSE 0 END
    FROM ended e
   WHERE j.run_id = e.id
)
SELECT job FROM ended
