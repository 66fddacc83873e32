-- Who may refresh what now.

-- What may run is written twice: here, and for all tables at once in src/sqp/plan.rs, which explains it. A test
-- compares the two.

-- Will a soft parent run by itself, or has it to wait for something that does not come now? Whoever waits for it
-- would wait for that too.
CREATE FUNCTION sqp._will_run(config int, moment timestamptz) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    WITH RECURSIVE needed AS (
      SELECT c.id, c.run_id, c.next_refresh_at, c.last_refresh_started_at,
             c.is_enabled AND c.attempts = 0 AND c.parked_at IS NULL AND c.next_refresh_at <= moment AS goes
        FROM sqp.refresh_config c WHERE c.id = config
      UNION
      SELECT p.id, p.run_id, p.next_refresh_at, p.last_refresh_started_at,
             p.is_enabled AND p.attempts = 0 AND p.parked_at IS NULL AND p.next_refresh_at <= moment
        FROM needed n
        JOIN sqp.refresh_dependencies d ON d.dependent_config_id = n.id AND d.dependency_type = 'hard'
        JOIN sqp.refresh_config p ON p.id = d.parent_config_id
       WHERE n.goes AND n.run_id IS NULL
         AND (p.last_refresh_at IS NULL OR p.last_refresh_at <= n.last_refresh_started_at
              OR p.attempts > 0 OR p.parked_at IS NOT NULL
              OR p.last_status = 'warning' AND p.warning_blocks
              OR p.run_id IS NOT NULL OR p.is_enabled AND p.next_refresh_at <= n.next_refresh_at))
    SELECT coalesce(bool_and(n.goes), false) FROM needed n
  $body$;

-- Places among settings.max_parallel that nobody has and nobody else is about to take. A place is held by an
-- advisory lock until the end of the transaction that writes it down, so claims exceed the bound never, and wait
-- for each other never.
CREATE FUNCTION sqp._free_slots(bound int, wanted int) RETURNS int[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    used int[] := ARRAY(SELECT c.slot FROM sqp.refresh_config c WHERE c.slot IS NOT NULL);
    -- What began while there was no bound has no place, and takes one up all the same.
    placeless int := (SELECT count(*) FROM sqp.refresh_config c WHERE c.run_id IS NOT NULL AND c.slot IS NULL);
    places int := greatest(bound - placeless, 0);
    held int[] := '{}';
    free int[] := '{}';
    place int := 0;
  BEGIN
    IF places < ANY (used) THEN
      -- The bound was lowered: what runs beyond it takes up places below it.
      SELECT coalesce(max(t), 0) INTO places FROM generate_series(0, greatest(bound - placeless, 0)) AS t
       WHERE t + (SELECT count(*) FROM unnest(used) AS u WHERE u > t) <= greatest(bound - placeless, 0);
    END IF;
    LOOP
      held := '{}';
      WHILE place < places AND cardinality(held) + cardinality(free) < wanted LOOP
        place := place + 1;
        CONTINUE WHEN place = ANY (used);
        IF pg_try_advisory_xact_lock(1936814081, place) THEN
          held := held || place;
        END IF;
      END LOOP;
      EXIT WHEN held = '{}';
      -- Looked at again: somebody may have taken it and be done with his transaction since the first look.
      free := free || ARRAY(SELECT h FROM unnest(held) AS h
                             WHERE NOT EXISTS (SELECT FROM sqp.refresh_config c WHERE c.slot = h));
    END LOOP;
    RETURN free;
  END
  $body$;

-- Any number of them, and whatever stands in the way: leases that expired, tables that wait for others.
CREATE FUNCTION sqp._claim_many(worker text, lease interval, most int, only_methods text[])
  RETURNS TABLE (
    run_id bigint, config_id int, table_schema text, table_name text, method text, custom_sync_params jsonb, attempt int,
    last_refresh_at timestamptz, lease_expires_at timestamptz)
  -- One plan for all calls, and one that stays right however the tables grow.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz := clock_timestamp();
    wanted int := most;
    batch int;
    seen int;
    taken int;
    bound int;
    slots int[];
    r record;
  BEGIN
    IF EXISTS (SELECT FROM sqp.refresh_config c WHERE c.run_id IS NOT NULL AND c.lease_expires_at <= moment) THEN
      PERFORM FROM sqp.reap_expired_runs();
      moment := clock_timestamp();
    END IF;
    SELECT s.max_parallel INTO bound FROM sqp.settings s;
    IF bound IS NOT NULL THEN
      slots := sqp._free_slots(bound, wanted);
      wanted := cardinality(slots);
    END IF;
    batch := wanted;
    WHILE wanted > 0 LOOP
      seen := 0;
      taken := 0;
      FOR r IN
        WITH candidate AS MATERIALIZED (
          SELECT c.id, c.priority, c.claimable_at, c.next_refresh_at, c.last_refresh_started_at
            FROM sqp.refresh_config c
           WHERE c.is_enabled AND c.claimable_at <= moment AND c.run_id IS NULL
             -- (In words that keep the planner from sorting all that is due by way of the other index.)
             AND c.next_refresh_at + interval '0' <= moment
             AND (only_methods IS NULL OR c.method = ANY (only_methods))
           ORDER BY c.priority DESC, c.claimable_at, c.id
           LIMIT batch FOR NO KEY UPDATE SKIP LOCKED
        ), judged AS MATERIALIZED (
          SELECT k.*, NOT EXISTS (
                   SELECT FROM sqp.refresh_dependencies d
                     JOIN sqp.refresh_config p ON p.id = d.parent_config_id
                    WHERE d.dependent_config_id = k.id
                      AND CASE WHEN d.dependency_type = 'hard'
                               THEN p.last_refresh_at IS NULL OR p.last_refresh_at <= k.last_refresh_started_at
                                    OR p.attempts > 0 OR p.parked_at IS NOT NULL
                                    OR p.last_status = 'warning' AND p.warning_blocks
                                    OR p.run_id IS NOT NULL OR p.is_enabled AND p.next_refresh_at <= k.next_refresh_at
                               ELSE p.is_enabled AND p.attempts = 0 AND p.parked_at IS NULL
                                    AND p.next_refresh_at <= k.next_refresh_at AND sqp._will_run(p.id, moment) END) AS ready
            FROM candidate k
        ), numbered AS MATERIALIZED (
          SELECT j.*, row_number() OVER (PARTITION BY j.ready ORDER BY j.priority DESC, j.claimable_at, j.id) AS place
            FROM judged j
        ), chosen AS MATERIALIZED (
          -- The run starts after this statement began to look, and so after whatever it saw of the parents.
          SELECT n.id, n.ready, n.next_refresh_at, n.place, slots[n.place] AS slot, (SELECT clock_timestamp()) AS at,
                 CASE WHEN n.ready THEN nextval('sqp.refresh_audit_log_id_seq') END AS run
            FROM numbered n WHERE NOT n.ready OR n.place <= wanted
        ), changed AS (
          UPDATE sqp.refresh_config c
             SET run_id = h.run,
                 run_started_at = CASE WHEN h.ready THEN h.at END,
                 run_worker = CASE WHEN h.ready THEN worker END,
                 run_warned = false,
                 lease = CASE WHEN h.ready THEN _claim_many.lease END,
                 lease_expires_at = CASE WHEN h.ready THEN h.at + _claim_many.lease END,
                 slot = CASE WHEN h.ready THEN h.slot END, updated_at = moment,
                 claimable_at = CASE WHEN h.ready THEN h.at + _claim_many.lease
                                     ELSE moment + least(greatest((moment - h.next_refresh_at) / 4, interval '1 second'),
                                                         interval '30 seconds') END
            FROM chosen h WHERE c.id = h.id
          RETURNING c.run_id, c.id, c.table_schema, c.table_name, c.method, c.custom_sync_params, c.attempts + 1 AS attempt,
                    c.last_refresh_at, c.lease_expires_at, c.run_started_at, h.place
        ), logged AS (
          INSERT INTO sqp.refresh_audit_log
                 (id, refresh_config_id, table_schema, table_name, refresh_started_at, status, worker, attempt, method)
          SELECT g.run_id, g.id, g.table_schema, g.table_name, g.run_started_at, 'running', worker, g.attempt, g.method
            FROM changed g WHERE g.run_id IS NOT NULL
        )
        -- Those that were left over, too many being ready, are not in there, and were looked at nevertheless.
        SELECT g.*, (SELECT count(*) FROM candidate) AS looked_at FROM changed g ORDER BY g.place
      LOOP
        seen := r.looked_at;
        CONTINUE WHEN r.run_id IS NULL;
        taken := taken + 1;
        run_id := r.run_id;
        config_id := r.id;
        table_schema := r.table_schema;
        table_name := r.table_name;
        method := r.method;
        custom_sync_params := r.custom_sync_params;
        attempt := r.attempt;
        last_refresh_at := r.last_refresh_at;
        lease_expires_at := r.lease_expires_at;
        RETURN NEXT;
      END LOOP;
      EXIT WHEN seen < batch;
      wanted := wanted - taken;
      slots := slots[taken + 1:];
      -- Many wait for parents: looked at in larger and larger numbers, they are soon all put off.
      batch := least(greatest(batch, 8) * 2, 500);
    END LOOP;
  END
  $body$;

CREATE FUNCTION sqp.claim_refresh(
    worker text, lease interval DEFAULT '5 minutes', most int DEFAULT 1, only_methods text[] DEFAULT NULL)
  RETURNS TABLE (
    run_id bigint, config_id int, table_schema text, table_name text, method text, custom_sync_params jsonb, attempt int,
    last_refresh_at timestamptz, lease_expires_at timestamptz)
  -- Planning costs more than all of this.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz;
    bound int;
    started timestamptz;
    beyond boolean;
    place int;
    top int;
  BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('refreshes cannot be claimed');
    END IF;
    IF most IS NULL OR most < 1 OR most > 10000 THEN
      RAISE EXCEPTION 'most is out of its range' USING ERRCODE = '22023', DETAIL = format('most %s', coalesce(most::text, 'NULL')),
        HINT = 'give the number of refreshes to claim, from 1 to 10000';
    END IF;
    IF NOT only_methods <@ ARRAY['external', 'materialized view', 'function'] THEN
      RAISE EXCEPTION 'only_methods has a method that does not exist' USING ERRCODE = '22023',
        DETAIL = format('only_methods %s', only_methods), HINT = 'use ''external'', ''materialized view'' and ''function''';
    END IF;
    IF lease IS NULL OR lease < interval '1 millisecond' OR lease > interval '30 days' THEN
      PERFORM gemba._check_lease(claim_refresh.lease);
    END IF;
    PERFORM sqp._ready_audit_log();
    IF most = 1 THEN
      -- The usual case, in few and small statements: the first of those due is ready, and there is a place for it.
      SELECT s.max_parallel, (SELECT max(c.priority) FROM sqp.refresh_config c WHERE c.is_enabled),
             EXISTS (SELECT FROM sqp.refresh_config c
                      WHERE c.run_id IS NOT NULL AND (c.slot IS NULL OR c.slot > s.max_parallel))
        INTO bound, top, beyond
        FROM sqp.settings s;
      -- The bound was lowered, or there was none: then _free_slots() counts.
      IF beyond AND bound IS NOT NULL THEN
        bound := 0;
      END IF;
      -- A place by chance: most are free. What _free_slots() says of locks holds here too.
      FOR n IN 1 .. CASE WHEN bound > 0 THEN 5 ELSE 0 END LOOP
        place := 1 + floor(random() * bound);
        EXIT WHEN pg_try_advisory_xact_lock(1936814081, place)
              AND NOT EXISTS (SELECT FROM sqp.refresh_config o WHERE o.slot = place);
        place := NULL;
      END LOOP;
      IF bound IS NULL OR place IS NOT NULL THEN
        moment := clock_timestamp();
        -- Priority by priority, because one index over both would be read through all that is not due.
        FOR n IN 1 .. 5 LOOP
          UPDATE sqp.refresh_config c
             -- (By the clock, and so later than what this statement sees of the parents.)
             SET run_id = nextval('sqp.refresh_audit_log_id_seq'), run_started_at = clock_timestamp(), run_worker = worker,
                 run_warned = false, lease = claim_refresh.lease, lease_expires_at = moment + claim_refresh.lease,
                 claimable_at = moment + claim_refresh.lease, slot = place, updated_at = moment
           WHERE c.id = (
                   SELECT k.id FROM sqp.refresh_config k
                    WHERE k.is_enabled AND k.priority = top AND k.claimable_at <= moment
                      AND k.next_refresh_at + interval '0' <= moment
                      AND (only_methods IS NULL OR k.method = ANY (only_methods))
                    ORDER BY k.claimable_at, k.id
                    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
             AND c.run_id IS NULL
             -- Somebody may have taken the place, and be done with his transaction, since it was looked for.
             AND (place IS NULL OR NOT EXISTS (SELECT FROM sqp.refresh_config o WHERE o.slot = place))
             AND NOT EXISTS (
                   SELECT FROM sqp.refresh_dependencies d
                     JOIN sqp.refresh_config p ON p.id = d.parent_config_id
                    WHERE d.dependent_config_id = c.id
                      AND CASE WHEN d.dependency_type = 'hard'
                               THEN p.last_refresh_at IS NULL OR p.last_refresh_at <= c.last_refresh_started_at
                                    OR p.attempts > 0 OR p.parked_at IS NOT NULL
                                    OR p.last_status = 'warning' AND p.warning_blocks
                                    OR p.run_id IS NOT NULL OR p.is_enabled AND p.next_refresh_at <= c.next_refresh_at
                               ELSE p.is_enabled AND p.attempts = 0 AND p.parked_at IS NULL
                                    AND p.next_refresh_at <= c.next_refresh_at AND sqp._will_run(p.id, moment) END)
          RETURNING c.run_id, c.id, c.table_schema, c.table_name, c.method, c.custom_sync_params, c.attempts + 1,
                    c.last_refresh_at, c.lease_expires_at, c.run_started_at
            INTO run_id, config_id, table_schema, table_name, method, custom_sync_params, attempt, last_refresh_at,
                 lease_expires_at, started;
          IF FOUND THEN
            INSERT INTO sqp.refresh_audit_log
                   (id, refresh_config_id, table_schema, table_name, refresh_started_at, status, worker, attempt, method)
            VALUES (claim_refresh.run_id, config_id, claim_refresh.table_schema, claim_refresh.table_name, started, 'running',
                    claim_refresh.worker, claim_refresh.attempt, claim_refresh.method);
            RETURN NEXT;
            RETURN;
          END IF;
          EXIT WHEN EXISTS (SELECT FROM sqp.refresh_config c WHERE c.is_enabled AND c.priority = top AND c.claimable_at <= moment);
          SELECT max(c.priority) INTO top FROM sqp.refresh_config c WHERE c.is_enabled AND c.priority < top;
          IF top IS NULL THEN
            RETURN;
          END IF;
        END LOOP;
      END IF;
    END IF;
    RETURN QUERY SELECT * FROM sqp._claim_many(worker, claim_refresh.lease, most, only_methods);
  END
  $body$;

CREATE FUNCTION sqp.heartbeat(run bigint, lease interval DEFAULT NULL) RETURNS timestamptz
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz := clock_timestamp();
    until timestamptz;
  BEGIN
    IF heartbeat.lease IS NOT NULL THEN
      PERFORM gemba._check_lease(heartbeat.lease);
    END IF;
    UPDATE sqp.refresh_config c
       SET lease = coalesce(heartbeat.lease, c.lease),
           lease_expires_at = moment + coalesce(heartbeat.lease, c.lease),
           claimable_at = moment + coalesce(heartbeat.lease, c.lease)
     WHERE c.run_id = run
    RETURNING c.lease_expires_at INTO until;
    IF until IS NULL THEN
      PERFORM sqp._refuse_ended(run);
    END IF;
    RETURN until;
  END
  $body$;

-- Says why a run cannot be reported on any more.
CREATE FUNCTION sqp._refuse_ended(run bigint) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    a sqp.refresh_audit_log;
  BEGIN
    SELECT * INTO a FROM sqp.refresh_audit_log l WHERE l.id = run;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'the run does not exist' USING ERRCODE = 'P0002', DETAIL = format('run %s', coalesce(run::text, 'NULL')),
        HINT = 'sqp.claim_refresh() starts runs and gives out their numbers';
    END IF;
    IF a.status IN ('success', 'warning') THEN
      RAISE EXCEPTION 'the run has been completed' USING ERRCODE = '55000',
        DETAIL = format('run %s of %s.%s ended at %s with %s', run, a.table_schema, a.table_name, a.refresh_completed_at, a.status),
        HINT = 'claim the next one';
    END IF;
    RAISE EXCEPTION 'the run is not yours any more' USING ERRCODE = '55000',
      DETAIL = format('run %s of %s.%s ended at %s: %s', run, a.table_schema, a.table_name, a.refresh_completed_at, a.error_message),
      HINT = 'stop working on it; whoever claims it next goes on from its checkpoint';
  END
  $body$;
