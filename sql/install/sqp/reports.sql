-- How a run ended: well, badly, or without a word.

CREATE FUNCTION sqp._complete(
    runs bigint[], processed bigint[], inserted bigint[], updated bigint[], deleted bigint[], metadata jsonb[],
    memory numeric[], jobs text[])
  RETURNS TABLE (run_id bigint, config_id int, status text, next_refresh_at timestamptz)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  AS $body$
  #variable_conflict use_column
  BEGIN
    RETURN QUERY
    WITH given AS MATERIALIZED (
      SELECT DISTINCT ON (g.run) g.* FROM unnest(runs, processed, inserted, updated, deleted, metadata, memory, jobs)
          WITH ORDINALITY AS g (run, processed, inserted, updated, deleted, metadata, memory, job, place)
       ORDER BY g.run, g.place
    ), mine AS MATERIALIZED (
      SELECT c.id, c.table_schema, c.table_name, c.run_started_at, c.run_warned, c.next_refresh_at, c.refresh_frequency_hours, c.recent_rows, g.*
        FROM given g JOIN sqp.refresh_config c ON c.run_id = g.run
       ORDER BY c.id FOR NO KEY UPDATE OF c
    ), judged AS MATERIALIZED (
      SELECT m.*, t.at, u.usual, u.usual * coalesce(s.row_count_min_ratio, 0.5) AS fewest,
             u.usual * coalesce(s.row_count_max_ratio, 2) AS most,
             coalesce(m.processed BETWEEN u.usual * coalesce(s.row_count_min_ratio, 0.5)
                                      AND u.usual * coalesce(s.row_count_max_ratio, 2), true) AS as_usual,
             sqp._next_turn(m.next_refresh_at, m.refresh_frequency_hours, t.at) AS next
        FROM mine m
       CROSS JOIN (SELECT clock_timestamp() AS at OFFSET 0) AS t
        LEFT JOIN sqp.settings s ON true
       CROSS JOIN LATERAL (
             SELECT CASE WHEN m.processed IS NOT NULL AND cardinality(m.recent_rows) >= 3
                         THEN nullif(sqp._trailing_median(m.recent_rows[greatest(cardinality(m.recent_rows) - 8, 1):]), 0) END AS usual OFFSET 0) AS u
    ), changed AS (
      UPDATE sqp.refresh_config c
         SET last_refresh_at = j.at, last_refresh_started_at = j.run_started_at,
             last_status = CASE WHEN j.run_warned OR NOT j.as_usual THEN 'warning' ELSE 'success' END,
             next_refresh_at = j.next, claimable_at = j.next, attempts = 0, parked_at = NULL,
             run_id = NULL, run_started_at = NULL, run_worker = NULL, run_warned = false, lease = NULL, lease_expires_at = NULL,
             slot = NULL, updated_at = j.at,
             recent_rows = CASE WHEN j.processed IS NULL THEN c.recent_rows
                                ELSE (c.recent_rows || j.processed)[greatest(cardinality(c.recent_rows) - 8, 1):] END
        FROM judged j WHERE c.id = j.id
    ), logged AS (
      UPDATE sqp.refresh_audit_log a
         SET refresh_completed_at = j.at, status = CASE WHEN j.run_warned OR NOT j.as_usual THEN 'warning' ELSE 'success' END,
             rows_processed = j.processed, rows_inserted = j.inserted, rows_updated = j.updated, rows_deleted = j.deleted,
             execution_time_ms = greatest(extract(epoch FROM j.at - j.run_started_at) * 1000, 0)::bigint,
             memory_used_mb = j.memory, bigquery_job_id = j.job, sync_metadata = coalesce(j.metadata, '{}'),
             next_attempt_at = j.next
        FROM judged j WHERE a.id = j.run AND a.refresh_started_at = j.run_started_at
    ), done AS (
      UPDATE sqp.refresh_checkpoints k SET status = 'completed', updated_at = j.at
        FROM judged j WHERE k.table_schema = j.table_schema AND k.table_name = j.table_name AND k.status = 'active'
    ), measured AS (
      INSERT INTO sqp.refresh_data_quality
             (audit_log_id, refresh_started_at, metric_name, metric_value, expected_value, threshold_min, threshold_max, is_within_threshold)
      SELECT j.run, j.run_started_at, 'row_count', j.processed, j.usual, j.fewest, j.most, j.as_usual
        FROM judged j WHERE j.usual IS NOT NULL
    )
    SELECT j.run, j.id, CASE WHEN j.run_warned OR NOT j.as_usual THEN 'warning' ELSE 'success' END, j.next FROM judged j;
  END
  $body$;

CREATE FUNCTION sqp.complete_refresh(
    run bigint, rows_processed bigint DEFAULT NULL, rows_inserted bigint DEFAULT NULL, rows_updated bigint DEFAULT NULL,
    rows_deleted bigint DEFAULT NULL, metadata jsonb DEFAULT '{}', memory_used_mb numeric DEFAULT NULL,
    bigquery_job_id text DEFAULT NULL,
    OUT run_id bigint, OUT status text, OUT next_refresh_at timestamptz)
  -- As _complete() does for many; here for one, in few and small statements.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz := clock_timestamp();
    config int;
    started timestamptz;
    counts bigint[];
    usual bigint;
    fewest numeric;
    most numeric;
    children int[];
    in_schema text;
    of_name text;
  BEGIN
    IF least(rows_processed, rows_inserted, rows_updated, rows_deleted) < 0 OR memory_used_mb < 0 OR memory_used_mb = 'NaN' THEN
      RAISE EXCEPTION 'counts and memory must not be negative' USING ERRCODE = '22023',
        DETAIL = format('processed %s, inserted %s, updated %s, deleted %s, memory %s', rows_processed, rows_inserted,
                        rows_updated, rows_deleted, memory_used_mb),
        HINT = 'leave out what is not known';
    END IF;
    UPDATE sqp.refresh_config c
       SET last_refresh_at = moment, last_refresh_started_at = c.run_started_at,
           last_status = CASE WHEN c.run_warned THEN 'warning' ELSE 'success' END,
           next_refresh_at = sqp._next_turn(c.next_refresh_at, c.refresh_frequency_hours, moment),
           claimable_at = sqp._next_turn(c.next_refresh_at, c.refresh_frequency_hours, moment),
           attempts = 0, parked_at = NULL, run_id = NULL, run_started_at = NULL, run_worker = NULL, run_warned = false,
           lease = NULL, lease_expires_at = NULL, slot = NULL, updated_at = moment,
           -- The last nine, and this one.
           recent_rows = CASE WHEN complete_refresh.rows_processed IS NULL THEN c.recent_rows
                              ELSE (c.recent_rows || complete_refresh.rows_processed)[greatest(cardinality(c.recent_rows) - 8, 1):] END
     WHERE c.run_id = run
    RETURNING c.id, c.last_refresh_started_at, c.last_status, c.next_refresh_at, c.recent_rows, c.table_schema, c.table_name
      INTO config, started, status, next_refresh_at, counts, in_schema, of_name;
    IF NOT FOUND THEN
      -- Reported before? Then the answer is the same.
      SELECT a.id, a.status, a.next_attempt_at INTO run_id, status, next_refresh_at
        FROM sqp.refresh_audit_log a WHERE a.id = run AND a.status IN ('success', 'warning');
      IF NOT FOUND THEN
        PERFORM sqp._refuse_ended(run);
      END IF;
      RETURN;
    END IF;
    run_id := run;
    IF rows_processed IS NOT NULL AND cardinality(counts) > 3 THEN
      usual := nullif(sqp._trailing_median(counts[1:cardinality(counts) - 1]), 0);
      IF usual IS NOT NULL THEN
        SELECT usual * s.row_count_min_ratio, usual * s.row_count_max_ratio INTO fewest, most FROM sqp.settings s;
        INSERT INTO sqp.refresh_data_quality
               (audit_log_id, refresh_started_at, metric_name, metric_value, expected_value, threshold_min, threshold_max,
                is_within_threshold)
        VALUES (run, started, 'row_count', rows_processed, usual, fewest, most, rows_processed BETWEEN fewest AND most);
        IF rows_processed NOT BETWEEN fewest AND most THEN
          status := 'warning';
          UPDATE sqp.refresh_config c SET last_status = 'warning' WHERE c.id = config;
        END IF;
      END IF;
    END IF;
    UPDATE sqp.refresh_audit_log a
       SET refresh_completed_at = moment, status = complete_refresh.status,
           rows_processed = complete_refresh.rows_processed, rows_inserted = complete_refresh.rows_inserted,
           rows_updated = complete_refresh.rows_updated, rows_deleted = complete_refresh.rows_deleted,
           execution_time_ms = greatest(extract(epoch FROM moment - started) * 1000, 0)::bigint,
           memory_used_mb = complete_refresh.memory_used_mb, bigquery_job_id = complete_refresh.bigquery_job_id,
           sync_metadata = coalesce(metadata, '{}'), next_attempt_at = complete_refresh.next_refresh_at
     WHERE a.id = run AND a.refresh_started_at = started;
    -- The next turn begins at its beginning.
    UPDATE sqp.refresh_checkpoints k SET status = 'completed', updated_at = moment
     WHERE k.table_schema = in_schema AND k.table_name = of_name AND k.status = 'active';
    children := ARRAY(SELECT d.dependent_config_id FROM sqp.refresh_dependencies d WHERE d.parent_config_id = config);
    IF children <> '{}' THEN
      PERFORM sqp._wake(children);
    END IF;
  END
  $body$;

CREATE FUNCTION sqp.complete_refreshes(
    runs bigint[], rows_processed bigint[] DEFAULT NULL, rows_inserted bigint[] DEFAULT NULL,
    rows_updated bigint[] DEFAULT NULL, rows_deleted bigint[] DEFAULT NULL, metadata jsonb[] DEFAULT NULL,
    memory_used_mb numeric[] DEFAULT NULL, bigquery_job_ids text[] DEFAULT NULL)
  RETURNS TABLE (run_id bigint, status text, next_refresh_at timestamptz, problem text)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    done bigint[] := '{}';
    configs int[] := '{}';
    ended record;
    r record;
  BEGIN
    IF 0 > ANY (rows_processed) OR 0 > ANY (rows_inserted) OR 0 > ANY (rows_updated) OR 0 > ANY (rows_deleted)
       OR 0 > ANY (memory_used_mb) OR 'NaN' = ANY (memory_used_mb) THEN
      RAISE EXCEPTION 'counts and memory must not be negative' USING ERRCODE = '22023',
        DETAIL = format('processed %s, inserted %s, updated %s, deleted %s, memory %s', rows_processed, rows_inserted,
                        rows_updated, rows_deleted, memory_used_mb),
        HINT = 'give NULL for what is not known';
    END IF;
    FOR r IN SELECT * FROM sqp._complete(runs, rows_processed, rows_inserted, rows_updated, rows_deleted, metadata,
                                         memory_used_mb, bigquery_job_ids)
    LOOP
      run_id := r.run_id;
      status := r.status;
      next_refresh_at := r.next_refresh_at;
      done := done || r.run_id;
      configs := configs || r.config_id;
      RETURN NEXT;
    END LOOP;
    PERFORM sqp._wake_children(configs);
    -- One that cannot be completed costs the others nothing.
    FOR r IN SELECT DISTINCT g.run FROM unnest(runs) AS g (run) WHERE g.run <> ALL (done) OR g.run IS NULL ORDER BY 1 LOOP
      SELECT a.status, a.next_attempt_at, a.error_message INTO ended FROM sqp.refresh_audit_log a WHERE a.id = r.run;
      run_id := r.run;
      status := ended.status;
      next_refresh_at := ended.next_attempt_at;
      problem := CASE WHEN ended.status IS NULL THEN 'the run does not exist'
                      WHEN ended.status NOT IN ('success', 'warning') THEN 'the run is not yours any more: ' || coalesce(ended.error_message, '') END;
      RETURN NEXT;
    END LOOP;
  END
  $body$;

-- Ends a run that did not succeed: back-off, or parked when it was one failure too many.
CREATE FUNCTION sqp._fail(run bigint, message text, details jsonb, at_once boolean)
  RETURNS TABLE (config_id int, attempts int, next_attempt_at timestamptz)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz := clock_timestamp();
    c sqp.refresh_config;
  BEGIN
    SELECT * INTO c FROM sqp.refresh_config k WHERE k.run_id = run FOR NO KEY UPDATE;
    IF NOT FOUND THEN
      RETURN;
    END IF;
    config_id := c.id;
    attempts := c.attempts + 1;
    next_attempt_at := CASE
      WHEN c.attempts + 1 >= c.max_attempts THEN NULL
      WHEN at_once THEN moment
      ELSE moment + make_interval(secs => sqp._backoff(
             c.attempts + 1, (extract(epoch FROM c.retry_base) * 1000000)::bigint,
             coalesce((SELECT (extract(epoch FROM s.max_backoff) * 1000000)::bigint FROM sqp.settings s), 3600000000),
             random()) / 1000000.0) END;
    UPDATE sqp.refresh_config k
       SET attempts = k.attempts + 1, last_status = 'failed',
           claimable_at = coalesce(_fail.next_attempt_at, 'infinity'),
           parked_at = CASE WHEN _fail.next_attempt_at IS NULL THEN moment END,
           run_id = NULL, run_started_at = NULL, run_worker = NULL, run_warned = false, lease = NULL, lease_expires_at = NULL, slot = NULL
     WHERE k.id = c.id;
    UPDATE sqp.refresh_audit_log a
       SET refresh_completed_at = moment, status = 'failed', error_message = message, error_details = details,
           execution_time_ms = greatest(extract(epoch FROM moment - c.run_started_at) * 1000, 0)::bigint,
           next_attempt_at = _fail.next_attempt_at
     WHERE a.id = run AND a.refresh_started_at = c.run_started_at;
    -- Nobody waits softly for what failed.
    PERFORM sqp._wake_children(ARRAY[c.id]);
    RETURN NEXT;
  END
  $body$;

CREATE FUNCTION sqp.fail_refresh(run bigint, message text, details jsonb DEFAULT NULL)
  RETURNS TABLE (run_id bigint, status text, attempt int, next_attempt_at timestamptz, parked boolean)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  BEGIN
    PERFORM FROM sqp._fail(run, coalesce(message, 'no message'), details, false);
    -- Reported before? Then the answer is the same.
    SELECT a.id, a.status, a.attempt, a.next_attempt_at, a.next_attempt_at IS NULL
      INTO run_id, status, attempt, next_attempt_at, parked
      FROM sqp.refresh_audit_log a WHERE a.id = run AND a.status = 'failed';
    IF NOT FOUND THEN
      PERFORM sqp._refuse_ended(run);
    END IF;
    RETURN NEXT;
  END
  $body$;

-- Refreshes in this database name their session as the worker: NULL for others.
CREATE FUNCTION sqp._session_lives(worker text) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT CASE WHEN worker ~ '^database session [0-9]{1,9}$'
                THEN EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = substr(worker, 18)::int AND a.datname = current_database()) END
  $body$;

CREATE FUNCTION sqp.reap_expired_runs()
  RETURNS TABLE (run_id bigint, config_id int, table_schema text, table_name text, worker text, attempts int, parked boolean)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz := clock_timestamp();
    r record;
  BEGIN
    PERFORM gemba._require_current_snapshots('expired runs cannot be taken back');
    -- The clock was set back: such a lease would last for as long as that was.
    UPDATE sqp.refresh_config c SET lease_expires_at = moment + c.lease, claimable_at = moment + c.lease
     WHERE c.id IN (SELECT k.id FROM sqp.refresh_config k
                     WHERE k.run_id IS NOT NULL AND k.lease_expires_at > moment + 2 * k.lease FOR NO KEY UPDATE SKIP LOCKED);
    FOR r IN SELECT c.run_id, c.id, c.table_schema, c.table_name, c.run_worker, c.lease_expires_at FROM sqp.refresh_config c
              WHERE c.run_id IS NOT NULL AND NOT coalesce(sqp._session_lives(c.run_worker), c.lease_expires_at > moment)
              ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED
    LOOP
      SELECT f.attempts, f.next_attempt_at IS NULL INTO attempts, parked
        FROM sqp._fail(r.run_id, CASE WHEN sqp._session_lives(r.run_worker) IS NULL
                              THEN format('the lease expired at %s: the worker did not report any more', r.lease_expires_at)
                              ELSE 'its session ended before the refresh did' END,
                       jsonb_build_object('worker', r.run_worker, 'lease_expires_at', r.lease_expires_at), true) AS f;
      run_id := r.run_id;
      config_id := r.id;
      table_schema := r.table_schema;
      table_name := r.table_name;
      worker := r.run_worker;
      RETURN NEXT;
    END LOOP;
  END
  $body$;

CREATE FUNCTION sqp.retry_refresh(target text) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    config int := sqp._config(target);
  BEGIN
    UPDATE sqp.refresh_config c SET parked_at = NULL, attempts = 0, claimable_at = c.next_refresh_at
     WHERE c.id = config AND c.run_id IS NULL AND c.attempts > 0;
    RETURN FOUND;
  END
  $body$;

CREATE FUNCTION sqp.request_refresh(target text) RETURNS timestamptz
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    config int := sqp._config(target);
    moment timestamptz := clock_timestamp();
    due timestamptz;
    parked boolean;
    enabled boolean;
  BEGIN
    -- Back by whole frequencies, so that the schedule afterwards is what it was.
    UPDATE sqp.refresh_config c
       SET next_refresh_at = CASE WHEN c.next_refresh_at <= moment THEN c.next_refresh_at
             ELSE c.next_refresh_at - make_interval(hours => c.refresh_frequency_hours)
                    * ceil(extract(epoch FROM c.next_refresh_at - moment) / (3600 * c.refresh_frequency_hours))::double precision END,
           claimable_at = CASE WHEN c.parked_at IS NULL THEN least(c.next_refresh_at, moment) ELSE c.claimable_at END
     WHERE c.id = config AND c.run_id IS NULL
    RETURNING c.next_refresh_at, c.parked_at IS NOT NULL, c.is_enabled INTO due, parked, enabled;
    IF due IS NULL THEN
      -- It is running.
      SELECT c.next_refresh_at INTO due FROM sqp.refresh_config c WHERE c.id = config;
    ELSIF parked OR NOT enabled THEN
      RAISE EXCEPTION 'the table is not refreshed at present' USING ERRCODE = '55000',
        DETAIL = format('table %L is %s', target, CASE WHEN parked THEN 'parked after too many failures' ELSE 'disabled' END),
        HINT = CASE WHEN parked THEN 'sqp.retry_refresh() tries it again' ELSE 'set is_enabled in sqp.refresh_config' END;
    END IF;
    RETURN due;
  END
  $body$;
