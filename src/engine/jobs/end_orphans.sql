-- $1: runs whose process may still be starting
UPDATE gemba.job_runs r
   SET status = 'interrupted', finished_at = pg_catalog.clock_timestamp(),
       message = CASE WHEN r.pid IS NULL THEN 'its process ended before it began; see the server''s log'
                      ELSE 'its process ended without a result' END
 WHERE r.id IN (
   SELECT o.id
     FROM gemba.job_runs o
    WHERE o.status = 'running' AND o.runner = 'worker' AND o.id <> ALL ($1)
      AND CASE WHEN o.pid IS NULL THEN
            -- A process that starts later than this finds its run ended, and goes.
            o.started_at < pg_catalog.clock_timestamp() - interval '5 seconds'
            OR o.started_at > pg_catalog.clock_timestamp() + interval '1 minute'
            OR o.started_at < pg_catalog.pg_postmaster_start_time()
          ELSE NOT EXISTS (
            SELECT FROM pg_catalog.pg_stat_activity a
             WHERE a.pid = o.pid AND a.backend_start = o.process_started_at)
          END
      FOR UPDATE SKIP LOCKED)
RETURNING r.job
