-- Weeks of collections: handing them out, and hearing how they went. As service_role, with its own rights.

CREATE FUNCTION reporting._check_lease(lease interval) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF lease < interval '1 millisecond' OR lease > interval '30 days' THEN
      RAISE EXCEPTION 'lease is out of its range' USING ERRCODE = '22023', DETAIL = format('lease %L', lease),
        HINT = 'give the time within which the worker reports again, up to 30 days; without it reporting.settings.lease';
    END IF;
  END
  $body$;

-- A place among settings.max_running_weeks that nobody has and nobody else is about to take. It is held by an
-- advisory lock until the end of the transaction that writes it down, so claims exceed the bound never, and wait
-- for each other never.
CREATE FUNCTION reporting._free_place(bound int) RETURNS int
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    used bigint[] := ARRAY(SELECT w.slot FROM reporting.report_data_weeks w WHERE w.slot IS NOT NULL);
    places int := bound;
    place int;
  BEGIN
    IF cardinality(used) >= bound THEN
      RETURN NULL;
    END IF;
    IF bound < ANY (used) THEN
      -- The bound was lowered, or there was none: what runs beyond it takes up places below it.
      SELECT coalesce(max(t), 0) INTO places FROM generate_series(0, bound) AS t
       WHERE t + (SELECT count(*) FROM unnest(used) AS u WHERE u > t) <= bound;
    END IF;
    FOR place IN SELECT t FROM generate_series(1, places) AS t
                  WHERE NOT EXISTS (SELECT FROM unnest(used) AS u WHERE u = t) ORDER BY random() LOOP
      IF pg_try_advisory_xact_lock(1919250544, place) THEN
        -- Looked at again: somebody may have taken it and be done with his transaction since the first look.
        IF NOT EXISTS (SELECT FROM reporting.report_data_weeks w WHERE w.slot = place) THEN
          RETURN place;
        END IF;
      END IF;
    END LOOP;
    RETURN NULL;
  END
  $body$;

CREATE FUNCTION reporting.claim_week(worker text, lease interval DEFAULT NULL)
  RETURNS TABLE (
    week uuid, claim bigint, collection text, workflow uuid, instance uuid, week_start date, week_end date, attempt int,
    lease_expires_at timestamptz, configuration jsonb)
  -- Planning costs more than all of this.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz := clock_timestamp();
    bound int;
    term interval;
    expired boolean;
    waiting boolean;
    beyond boolean;
    number bigint;
    place bigint;
    of_collection uuid;
  BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('weeks cannot be claimed');
    END IF;
    IF worker IS NULL OR worker = '' THEN
      RAISE EXCEPTION 'the worker has no name' USING ERRCODE = '22023', DETAIL = format('worker %L', worker),
        HINT = 'give a name that tells who works on the week';
    END IF;
    IF claim_week.lease IS NOT NULL THEN
      PERFORM reporting._check_lease(claim_week.lease);
    END IF;
    -- (By the ends of indexes, which no plan reads the tables for.)
    SELECT s.max_running_weeks, coalesce(claim_week.lease, s.lease),
           (SELECT min(w.lease_expires_at) FROM reporting.report_data_weeks w) <= moment,
           EXISTS (SELECT FROM reporting.report_data_collections c WHERE c.status = 'pending'),
           (SELECT max(w.slot) FROM reporting.report_data_weeks w) > s.max_running_weeks
      INTO bound, term, expired, waiting, beyond
      FROM reporting.settings s;
    IF expired THEN
      PERFORM reporting.reap_weeks();
    END IF;
    IF waiting THEN
      PERFORM reporting._admit();
    END IF;
    IF expired OR waiting THEN
      moment := clock_timestamp();
    END IF;
    IF bound = 0 THEN
      RETURN;
    END IF;
    number := nextval('reporting.report_data_weeks_claim_seq');
    FOR n IN 1 .. 6 LOOP
      IF bound IS NULL THEN
        -- Beyond every bound that there may be later.
        place := 1000000 + number;
      ELSIF n = 6 OR beyond THEN
        place := reporting._free_place(bound);
        EXIT WHEN place IS NULL;
      ELSE
        -- By chance: most are free.
        place := 1 + floor(random() * bound);
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(1919250544, place::int);
      END IF;
      UPDATE reporting.report_data_weeks w
         SET status = 'running', execution_date = moment, claim = number, worker = claim_week.worker, lease = term,
             lease_expires_at = moment + term, slot = place
       WHERE w.id = (SELECT k.id FROM reporting.report_data_weeks k WHERE k.claimable_at <= moment
                      ORDER BY k.turn, k.claimable_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
         AND (w.status = 'pending') IS TRUE
         -- Whoever had the place may have it still, or have taken it and be done with his transaction.
         AND NOT EXISTS (SELECT FROM reporting.report_data_weeks o WHERE o.slot = place)
      RETURNING w.id, w.claim, w.collection_id, w.workflow_id, w.instance_id, w.week_start_date, w.week_end_date,
                w.attempts + 1, w.lease_expires_at
        INTO week, claim, of_collection, workflow, instance, week_start, week_end, attempt, lease_expires_at;
      IF FOUND THEN
        SELECT c.collection_id, c.configuration INTO collection, configuration
          FROM reporting.report_data_collections c WHERE c.id = of_collection;
        RETURN NEXT;
        RETURN;
      END IF;
      -- The place was taken, or else there is nothing to do.
      EXIT WHEN bound IS NULL OR NOT EXISTS (SELECT FROM reporting.report_data_weeks o WHERE o.slot = place);
    END LOOP;
  END
  $body$;

CREATE FUNCTION reporting.reap_weeks() RETURNS int
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    moment timestamptz := clock_timestamp();
    most int := (SELECT s.max_attempts FROM reporting.settings s);
    reaped int;
  BEGIN
    PERFORM gemba._require_current_snapshots('abandoned weeks cannot be taken back');
    -- The clock was set back: such a lease would last for as long as that was.
    UPDATE reporting.report_data_weeks w SET lease_expires_at = moment + w.lease
     WHERE w.id IN (SELECT k.id FROM reporting.report_data_weeks k
                     WHERE k.lease_expires_at > moment + 2 * k.lease FOR NO KEY UPDATE SKIP LOCKED);
    UPDATE reporting.report_data_weeks w
       SET attempts = w.attempts + 1, status = CASE WHEN w.attempts + 1 >= most THEN 'failed' ELSE 'pending' END,
           error_message = format('the lease of %s expired at %s: the worker did not report any more', w.worker, w.lease_expires_at),
           claimable_at = moment
      FROM (SELECT k.id FROM reporting.report_data_weeks k WHERE k.lease_expires_at <= moment
             ORDER BY k.collection_id, k.week_start_date FOR NO KEY UPDATE SKIP LOCKED) AS o
     WHERE w.id = o.id;
    GET DIAGNOSTICS reaped = ROW_COUNT;
    RETURN reaped;
  END
  $body$;

-- Says why a week cannot be reported on.
CREATE FUNCTION reporting._refuse_week(week uuid, claim bigint) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    w reporting.report_data_weeks;
  BEGIN
    SELECT * INTO w FROM reporting.report_data_weeks k WHERE k.id = week;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'the week does not exist' USING ERRCODE = 'P0002', DETAIL = format('week %s', coalesce(week::text, 'NULL')),
        HINT = 'reporting.claim_week() hands out weeks and their ids';
    END IF;
    IF _refuse_week.claim <> w.claim OR _refuse_week.claim IS NOT NULL AND (w.claim IS NULL OR w.status IN ('pending', 'failed')) THEN
      RAISE EXCEPTION 'the week is not yours any more' USING ERRCODE = '55000',
        DETAIL = format('week %s of %s is %s, last under claim %s%s', week, w.week_start_date, w.status, coalesce(w.claim::text, 'none'),
                        coalesce(': ' || w.error_message, '')),
        HINT = 'stop working on it; its lease was over, or its collection was cancelled';
    END IF;
    IF w.status = 'completed' THEN
      RAISE EXCEPTION 'the week has been completed' USING ERRCODE = '55000',
        DETAIL = format('week %s of %s, with checksum %s', week, w.week_start_date, coalesce(w.data_checksum, 'NULL')),
        HINT = 'what is done stays; another collection can collect it again';
    END IF;
    RAISE EXCEPTION 'the week is not running' USING ERRCODE = '55000',
      DETAIL = format('week %s of %s is %s%s', week, w.week_start_date, w.status, coalesce(': ' || w.error_message, '')),
      HINT = 'reporting.claim_week() hands out the next one';
  END
  $body$;

CREATE FUNCTION reporting.heartbeat_week(week uuid, lease interval DEFAULT NULL, claim bigint DEFAULT NULL) RETURNS timestamptz
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz := clock_timestamp();
    until timestamptz;
  BEGIN
    PERFORM reporting._check_lease(heartbeat_week.lease);
    UPDATE reporting.report_data_weeks w
       SET lease = coalesce(heartbeat_week.lease, w.lease), lease_expires_at = moment + coalesce(heartbeat_week.lease, w.lease)
     WHERE w.id = week AND (w.status = 'running') IS TRUE AND (heartbeat_week.claim IS NULL OR w.claim = heartbeat_week.claim)
    RETURNING w.lease_expires_at INTO until;
    IF NOT FOUND THEN
      PERFORM reporting._refuse_week(week, heartbeat_week.claim);
    END IF;
    RETURN until;
  END
  $body$;

-- A run that a week names is one of the same workflow.
CREATE FUNCTION reporting._check_execution(week uuid, execution uuid) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    flow uuid := (SELECT e.workflow_id FROM reporting.workflow_executions e WHERE e.id = execution);
  BEGIN
    IF flow IS NULL THEN
      RAISE EXCEPTION 'the execution does not exist' USING ERRCODE = '23503', DETAIL = format('execution %s', execution),
        HINT = 'see id in reporting.workflow_executions';
    END IF;
    IF flow <> (SELECT w.workflow_id FROM reporting.report_data_weeks w WHERE w.id = week) THEN
      RAISE EXCEPTION 'the execution is one of another workflow' USING ERRCODE = '22023',
        DETAIL = format('execution %s of workflow %s, week %s', execution, flow, week),
        HINT = 'name the run that collected this week';
    END IF;
  END
  $body$;

CREATE FUNCTION reporting.complete_week(
    week uuid, row_count bigint DEFAULT NULL, checksum text DEFAULT NULL, execution uuid DEFAULT NULL, claim bigint DEFAULT NULL,
    OUT status text, OUT duplicate_of uuid, OUT collection_status text, OUT progress int)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  #variable_conflict use_column
  DECLARE
    of_collection uuid;
    flow uuid;
    account uuid;
    first date;
    broken text;
  BEGIN
    IF complete_week.row_count < 0 OR checksum = '' OR length(checksum) > 255 THEN
      RAISE EXCEPTION 'this is not the result of a week' USING ERRCODE = '22023',
        DETAIL = format('row_count %s, checksum %L', complete_week.row_count, left(checksum, 300)),
        HINT = 'row_count is not negative, a checksum has 1 to 255 characters; leave out what is not known';
    END IF;
    IF execution IS NOT NULL THEN
      PERFORM reporting._check_execution(week, execution);
    END IF;
    BEGIN
      UPDATE reporting.report_data_weeks w
         SET status = 'completed', row_count = complete_week.row_count, data_checksum = checksum, error_message = NULL,
             workflow_execution_id = coalesce(execution, w.workflow_execution_id)
       WHERE w.id = week AND (w.status = 'running') IS TRUE AND (complete_week.claim IS NULL OR w.claim = complete_week.claim)
      RETURNING w.status, w.collection_id, w.workflow_id, w.instance_id, w.week_start_date
        INTO status, of_collection, flow, account, first;
    EXCEPTION WHEN unique_violation THEN
      GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
      IF broken <> 'report_data_weeks_result_key' THEN
        RAISE;
      END IF;
      -- Another collection has the same result of the same week.
      UPDATE reporting.report_data_weeks w
         SET status = 'skipped', row_count = complete_week.row_count, data_checksum = checksum, duplicate_of = o.id,
             error_message = 'the same result as another collection''s',
             workflow_execution_id = coalesce(execution, w.workflow_execution_id)
        FROM reporting.report_data_weeks o
       WHERE w.id = week AND (w.status = 'running') IS TRUE AND (complete_week.claim IS NULL OR w.claim = complete_week.claim)
         AND (o.workflow_id, o.instance_id, o.week_start_date, o.week_end_date, o.data_checksum)
             = (w.workflow_id, w.instance_id, w.week_start_date, w.week_end_date, checksum) AND o.status = 'completed'
      RETURNING w.status, w.duplicate_of, w.collection_id INTO status, duplicate_of, of_collection;
      IF NOT FOUND THEN
        -- It was taken away at this moment, or this transaction's snapshot is older than it.
        RAISE EXCEPTION 'the same result was recorded at the same time' USING ERRCODE = '40001',
          DETAIL = format('week %s, checksum %s', week, checksum), HINT = 'call it again';
      END IF;
    END;
    IF of_collection IS NULL THEN
      -- Reported before? Then the answer is the same.
      SELECT w.status, w.duplicate_of, w.collection_id INTO status, duplicate_of, of_collection
        FROM reporting.report_data_weeks w
       WHERE w.id = week AND (complete_week.claim IS NULL OR w.claim = complete_week.claim)
         AND (w.status = 'completed' AND w.data_checksum IS NOT DISTINCT FROM checksum
              OR w.status = 'skipped' AND w.data_checksum = checksum);
      IF NOT FOUND THEN
        PERFORM reporting._refuse_week(week, complete_week.claim);
      END IF;
    ELSIF complete_week.row_count IS NOT NULL AND flow IS NOT NULL
      AND EXISTS (SELECT FROM reporting.report_data_aggregates g
                   WHERE g.workflow_id = flow AND g.instance_id = account AND g.aggregation_type = 'weekly' AND g.data_date = first
                     AND g.row_count <> complete_week.row_count) THEN
      -- What it brought was recorded before anybody knew of how many rows.
      PERFORM reporting._note_row_count(week);
    END IF;
    SELECT c.status, c.progress_percentage INTO collection_status, progress
      FROM reporting.report_data_collections c WHERE c.id = of_collection;
  END
  $body$;

CREATE FUNCTION reporting.fail_week(
    week uuid, error text, claim bigint DEFAULT NULL, OUT status text, OUT attempts int, OUT next_attempt_at timestamptz)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    rules reporting.settings;
  BEGIN
    SELECT * INTO rules FROM reporting.settings s;
    UPDATE reporting.report_data_weeks w
       SET attempts = w.attempts + 1, status = CASE WHEN w.attempts + 1 >= rules.max_attempts THEN 'failed' ELSE 'pending' END,
           error_message = coalesce(error, 'no message'), claimable_at = clock_timestamp() + rules.retry_after
     WHERE w.id = week AND (w.status = 'running') IS TRUE AND (fail_week.claim IS NULL OR w.claim = fail_week.claim)
    RETURNING w.status, w.attempts, w.claimable_at INTO status, attempts, next_attempt_at;
    IF NOT FOUND THEN
      -- Reported before? Then the answer is the same.
      SELECT w.status, w.attempts, w.claimable_at INTO status, attempts, next_attempt_at
        FROM reporting.report_data_weeks w
       WHERE w.id = week AND w.status IN ('pending', 'failed') AND w.attempts > 0
         AND (fail_week.claim IS NULL OR w.claim = fail_week.claim);
      IF NOT FOUND THEN
        PERFORM reporting._refuse_week(week, fail_week.claim);
      END IF;
    END IF;
  END
  $body$;

CREATE FUNCTION reporting.skip_week(
    week uuid, reason text DEFAULT NULL, OUT status text, OUT collection_status text, OUT progress int)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    of_collection uuid;
    was text;
    is_cancelled boolean;
  BEGIN
    -- The week first, as everybody takes it.
    PERFORM FROM reporting.report_data_weeks w WHERE w.id = week FOR NO KEY UPDATE;
    SELECT w.status, c.id, c.cancelled_at IS NOT NULL INTO was, of_collection, is_cancelled
      FROM reporting.report_data_weeks w JOIN reporting.report_data_collections c ON c.id = w.collection_id WHERE w.id = week;
    IF was IS NULL OR was = 'completed' THEN
      PERFORM reporting._refuse_week(week, NULL);
    END IF;
    IF is_cancelled AND was <> 'skipped' THEN
      RAISE EXCEPTION 'the collection was cancelled' USING ERRCODE = '55000', DETAIL = format('week %s', week),
        HINT = 'that is for good; reporting.start_collection() plans its weeks again';
    END IF;
    UPDATE reporting.report_data_weeks w SET status = 'skipped', error_message = coalesce(reason, 'skipped')
     WHERE w.id = week AND w.status <> 'skipped';
    status := 'skipped';
    SELECT c.status, c.progress_percentage INTO collection_status, progress
      FROM reporting.report_data_collections c WHERE c.id = of_collection;
  END
  $body$;
