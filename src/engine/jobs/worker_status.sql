SELECT (SELECT a.pid FROM pg_catalog.pg_stat_activity a WHERE a.backend_type = 'gemba launcher' LIMIT 1),
       (SELECT a.pid FROM pg_catalog.pg_stat_activity a
         WHERE a.backend_type = 'gemba scheduler' AND a.datname = pg_catalog.current_database() LIMIT 1),
       pg_catalog.pg_is_in_recovery(),
       (SELECT pg_catalog.count(*) FROM gemba.job_runs r WHERE r.status = 'running'),
       j.due, j.overdue_by, j.next_run_at
  FROM (SELECT pg_catalog.count(*) FILTER (WHERE d.at <= pg_catalog.clock_timestamp()) AS due,
               pg_catalog.clock_timestamp()
                 - pg_catalog.min(d.at) FILTER (WHERE d.at <= pg_catalog.clock_timestamp()) AS overdue_by,
               pg_catalog.min(d.at) AS next_run_at
          FROM (SELECT least(j.next_run_at, j.again_at) AS at FROM gemba.jobs j WHERE j.enabled AND j.run_id IS NULL) AS d) AS j
