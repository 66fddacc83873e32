-- Derived tables: three sources that a worker elsewhere loads, five summaries that this database builds from them.
-- One source fails, what depends on it waits, it recovers, and the rest follows; then the worker does it by itself.
\pset footer off
\pset null '·'
SET client_min_messages = warning;

INSERT INTO sqp.daily_sqp_data (date, query, asin, impressions, clicks, purchases, spend, sales)
SELECT d::date, q.query, a.asin, n.impressions, n.impressions / 20, n.impressions / 150, n.impressions * 0.012, n.impressions * 0.09
  FROM generate_series(current_date - 400, current_date - 1, interval '1 day') AS d
 CROSS JOIN (VALUES ('steel mug'), ('travel mug'), ('thermos 1l')) AS q (query)
 CROSS JOIN (VALUES ('B0MUG00001'), ('B0MUG00002')) AS a (asin)
 CROSS JOIN LATERAL (SELECT 800 + (hashtextextended(q.query || a.asin || d, 7) & 1023)::bigint AS impressions) AS n;

\echo # Everything is due: SELECT … FROM sqp.refresh_plan();
UPDATE sqp.refresh_config SET next_refresh_at = date_trunc('hour', now());
SELECT position, table_name, priority, state, reason FROM sqp.refresh_plan();

\echo '# A worker claims the sources: SELECT … FROM sqp.claim_refresh(''edge-1'', ''5 minutes'', 3);'
SELECT run_id, table_name, method, attempt FROM sqp.claim_refresh('edge-1', '5 minutes', 3);

\echo # … daily_sqp_data saves a checkpoint and is done, asin_performance_data fails
SELECT sqp.save_checkpoint('sync-daily', 'daily_sqp_data', '{"page": 12}', 1200, 2400) \g /dev/null
SELECT sqp.complete_checkpoint('sync-daily', 'daily_sqp_data') \g /dev/null
SELECT d.status, d.next_refresh_at > now() AS next_is_later
  FROM sqp.refresh_config c, sqp.complete_refresh(c.run_id, rows_processed => 2400) AS d WHERE c.table_name = 'daily_sqp_data';
SELECT d.status, d.attempt, d.parked
  FROM sqp.refresh_config c, sqp.fail_refresh(c.run_id, 'quota exceeded', '{"http": 429}') AS d
 WHERE c.table_name = 'asin_performance_data';
SELECT sqp.complete_refresh(c.run_id, 900) FROM sqp.refresh_config c WHERE c.table_name = 'search_query_performance' \g /dev/null

\echo # What does not need it goes on: SELECT … FROM sqp.refresh_due();
SELECT table_name, status, rows, message FROM sqp.refresh_due();
\echo # … and what needs it says why it waits
SELECT position, table_name, state, reason FROM sqp.refresh_plan() WHERE state NOT IN ('scheduled');

\echo # The source recovers; a second worker takes it up
SELECT sqp.retry_refresh('asin_performance_data') \g /dev/null
SELECT sqp.complete_refresh(c.run_id, 350) FROM sqp.claim_refresh('edge-2', '5 minutes') AS c \g /dev/null

\echo '# The worker does the rest by itself: SELECT gemba.run_job_now(''sqp: refreshes'');'
SELECT gemba.enable_job('sqp: refreshes'), gemba.run_job_now('sqp: refreshes') \g /dev/null
DO $$
BEGIN
  FOR n IN 1 .. 100 LOOP
    EXIT WHEN NOT EXISTS (SELECT FROM sqp.refresh_plan() WHERE state IN ('due', 'waiting', 'blocked', 'running'));
    COMMIT;
    PERFORM pg_sleep(0.1);
  END LOOP;
END $$;
SELECT table_name, status, worker LIKE 'database session %' AS in_database, rows_processed, error_message
  FROM sqp.refresh_audit_log ORDER BY id;
SELECT job, runner, status FROM gemba.job_runs WHERE job = 'sqp: refreshes' ORDER BY id DESC LIMIT 1;
SELECT state, running, due FROM gemba.worker_status();

SELECT gemba.enable_job(name) FROM gemba.jobs \g /dev/null
