-- Refreshes: which table is next, who runs it, how it ended. Where one statement decides, it is here; graphs,
-- checkpoints and what this database refreshes itself are in Rust.

CREATE TYPE sqp.refresh_counts AS (rows_processed bigint, rows_inserted bigint, rows_updated bigint, rows_deleted bigint);
COMMENT ON TYPE sqp.refresh_counts IS 'what a refresh did; a refresh function that returns it has it written into the audit log';

-- Triggers ----------------------------------------------------------------------------------------

CREATE FUNCTION sqp._fill_refresh_config() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    found_oid oid;
    kind "char";
  BEGIN
    IF TG_OP = 'INSERT' THEN
      NEW.next_refresh_at := coalesce(NEW.next_refresh_at, now());
      NEW.claimable_at := coalesce(NEW.claimable_at, NEW.next_refresh_at);
    END IF;
    -- Not as CHECKs: each would be read and compiled anew at every claim, which changes none of these.
    IF NEW.table_schema = '' OR NEW.table_name = '' OR NOT isfinite(NEW.next_refresh_at)
       OR NEW.max_attempts NOT BETWEEN 1 AND 1000 OR NEW.attempts < 0
       OR NEW.retry_base NOT BETWEEN interval '1 millisecond' AND interval '30 days'
       OR (NEW.function_schema IS NULL) <> (NEW.function_name IS NULL) THEN
      RAISE EXCEPTION 'the row is not one that can be refreshed' USING ERRCODE = '23514',
        DETAIL = format('table_schema %L, table_name %L, next_refresh_at %s, max_attempts %s, retry_base %s, function %s.%s',
                        NEW.table_schema, NEW.table_name, NEW.next_refresh_at, NEW.max_attempts, NEW.retry_base,
                        NEW.function_schema, NEW.function_name),
        HINT = 'names are not empty, times are finite, max_attempts is from 1 to 1000, retry_base from a millisecond to 30 days',
        SCHEMA = 'sqp', TABLE = 'refresh_config';
    END IF;
    -- Without to_regclass(), which would refuse a schema that the caller may not use.
    SELECT c.oid, c.relkind INTO found_oid, kind
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = NEW.table_schema::name AND c.relname = NEW.table_name::name
       AND c.relkind IN ('r', 'p', 'm', 'f', 'v')
       AND octet_length(NEW.table_schema) < 64 AND octet_length(NEW.table_name) < 64;
    NEW.relation := found_oid;
    NEW.method := CASE WHEN NEW.function_name IS NOT NULL THEN 'function'
                       WHEN kind = 'm' THEN 'materialized view'
                       ELSE 'external' END;
    RETURN NEW;
  END
  $body$;

CREATE FUNCTION sqp.update_refresh_config_timestamp() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    NEW.updated_at := now();
    IF NEW.next_refresh_at IS NULL THEN
      NEW.next_refresh_at := now();
    ELSIF NOT isfinite(NEW.next_refresh_at) THEN
      RAISE EXCEPTION 'a table is refreshed at a finite time' USING ERRCODE = '23514',
        DETAIL = format('next_refresh_at %s of %s.%s', NEW.next_refresh_at, NEW.table_schema, NEW.table_name),
        HINT = 'is_enabled = false keeps it from being refreshed', SCHEMA = 'sqp', TABLE = 'refresh_config';
    END IF;
    -- Somebody changes the schedule. (Who runs a refresh sets claimable_at too.)
    IF (NEW.next_refresh_at <> OLD.next_refresh_at OR NEW.is_enabled AND NOT OLD.is_enabled)
       AND NEW.claimable_at = OLD.claimable_at AND NEW.run_id IS NULL AND NEW.parked_at IS NULL THEN
      NEW.claimable_at := NEW.next_refresh_at;
    END IF;
    RETURN NEW;
  END
  $body$;

CREATE FUNCTION sqp._abandon_run() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    UPDATE sqp.refresh_audit_log a
       SET status = 'failed', refresh_completed_at = clock_timestamp(),
           error_message = 'the table was taken out of sqp.refresh_config while it was being refreshed'
     WHERE a.id = OLD.run_id AND a.refresh_started_at = OLD.run_started_at;
    RETURN OLD;
  END
  $body$;

CREATE FUNCTION sqp.cleanup_expired_checkpoints() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    moment timestamptz := clock_timestamp();
  BEGIN
    -- Those that somebody is saving at this moment are not waited for.
    UPDATE sqp.refresh_checkpoints k SET status = 'expired', updated_at = moment
     WHERE k.id IN (SELECT e.id FROM sqp.refresh_checkpoints e
                     WHERE e.status = 'active' AND e.expires_at <= moment FOR UPDATE SKIP LOCKED);
    RETURN NULL;
  END
  $body$;

-- Names -------------------------------------------------------------------------------------------

CREATE FUNCTION sqp._find_config(target text) RETURNS int
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    found_id int;
    parts text[];
  BEGIN
    SELECT c.id INTO found_id FROM sqp.refresh_config c WHERE c.table_schema = 'sqp' AND c.table_name = target;
    IF found_id IS NULL AND strpos(target, '.') > 0 THEN
      SELECT c.id INTO found_id FROM sqp.refresh_config c
       WHERE c.table_schema = split_part(target, '.', 1) AND c.table_name = substr(target, strpos(target, '.') + 1);
    END IF;
    IF found_id IS NULL AND strpos(target, '"') > 0 THEN
      -- As SQL quotes it, which is how a regclass is written.
      BEGIN
        parts := parse_ident(target);
      EXCEPTION WHEN invalid_parameter_value THEN
        RETURN NULL;
      END;
      SELECT c.id INTO found_id FROM sqp.refresh_config c
       WHERE c.table_name = parts[cardinality(parts)]
         AND c.table_schema = CASE cardinality(parts) WHEN 1 THEN 'sqp' WHEN 2 THEN parts[1] END;
    END IF;
    RETURN found_id;
  END
  $body$;

CREATE FUNCTION sqp._config(target text) RETURNS int
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    found_id int := sqp._find_config(target);
  BEGIN
    IF found_id IS NULL THEN
      RAISE EXCEPTION 'the table is not registered for refresh' USING ERRCODE = '42704',
        DETAIL = format('table %L', target),
        HINT = 'give its name in schema sqp, or ''schema.name''; INSERT INTO sqp.refresh_config registers it';
    END IF;
    RETURN found_id;
  END
  $body$;

CREATE FUNCTION sqp._priority(table_name text) RETURNS int
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT CASE WHEN table_name LIKE '%\_data' THEN 90 WHEN table_name LIKE '%summary%' THEN 80 ELSE 70 END
  $body$;

CREATE FUNCTION sqp._require_current_snapshots(what text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
      RAISE EXCEPTION '% in a transaction of this isolation level', what USING ERRCODE = '25001',
        DETAIL = format('isolation level %s', current_setting('transaction_isolation')),
        HINT = 'call it in READ COMMITTED';
    END IF;
  END
  $body$;

-- Dependencies ------------------------------------------------------------------------------------

CREATE FUNCTION sqp._take_turns_on_dependencies() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    -- Two writers, each with half of a cycle, must see each other's half.
    PERFORM sqp._require_current_snapshots('dependencies cannot be changed');
    PERFORM pg_advisory_xact_lock(1936814082, 0);
    RETURN NULL;
  END
  $body$;

CREATE FUNCTION sqp._check_dependencies() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    children int[] := '{}';
    more int[];
    parents_found int[];
    children_found int[];
    circle text;
  BEGIN
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
      SELECT coalesce(array_agg(DISTINCT f.dependent_config_id), '{}') INTO children FROM fresh f;
      IF children = '{}' THEN
        RETURN NULL;
      END IF;
      -- A cycle that a new edge closes runs through what can be reached from it.
      WITH RECURSIVE reached (id) AS (
        SELECT unnest(children)
        UNION
        SELECT d.dependent_config_id FROM reached r JOIN sqp.refresh_dependencies d ON d.parent_config_id = r.id)
      SELECT array_agg(d.parent_config_id), array_agg(d.dependent_config_id) INTO parents_found, children_found
        FROM sqp.refresh_dependencies d WHERE d.parent_config_id IN (SELECT r.id FROM reached r);
      SELECT string_agg(format('%s.%s', c.table_schema, c.table_name), ' → ' ORDER BY p.place) INTO circle
        FROM unnest(sqp._cycle(parents_found, children_found)) WITH ORDINALITY AS p (id, place)
        JOIN sqp.refresh_config c ON c.id = p.id;
      IF circle IS NOT NULL THEN
        RAISE EXCEPTION 'tables would wait for each other' USING ERRCODE = '23514', DETAIL = circle,
          HINT = 'leave out one of these dependencies', SCHEMA = 'sqp', TABLE = 'refresh_dependencies';
      END IF;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
      SELECT coalesce(array_agg(DISTINCT g.dependent_config_id), '{}') INTO more FROM gone g;
      children := children || more;
    END IF;
    PERFORM sqp._list_dependencies(children);
    -- What had to wait for a parent that it has no more.
    IF TG_OP <> 'INSERT' THEN
      PERFORM sqp._wake(children);
    END IF;
    RETURN NULL;
  END
  $body$;

CREATE FUNCTION sqp._list_dependencies(children int[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    UPDATE sqp.refresh_config c SET dependencies = l.names
      FROM (SELECT k.id, coalesce(array_agg(CASE WHEN p.table_schema = k.table_schema THEN p.table_name
                                                 ELSE p.table_schema || '.' || p.table_name END
                                            ORDER BY p.table_schema, p.table_name) FILTER (WHERE p.id IS NOT NULL), '{}') AS names
              FROM sqp.refresh_config k
              LEFT JOIN sqp.refresh_dependencies d ON d.dependent_config_id = k.id
              LEFT JOIN sqp.refresh_config p ON p.id = d.parent_config_id
             WHERE k.id = ANY (children)
             GROUP BY k.id) AS l
     WHERE c.id = l.id AND c.dependencies <> l.names;
  END
  $body$;

CREATE FUNCTION sqp._depend_as_listed() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    parents int[] := '{}';
    listed text;
    parent int;
  BEGIN
    FOREACH listed IN ARRAY NEW.dependencies LOOP
      SELECT c.id INTO parent FROM sqp.refresh_config c WHERE c.table_schema = NEW.table_schema AND c.table_name = listed;
      parents := parents || coalesce(parent, sqp._config(listed));
    END LOOP;
    DELETE FROM sqp.refresh_dependencies d
     WHERE d.dependent_config_id = NEW.id AND d.parent_config_id <> ALL (parents);
    INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id)
      SELECT DISTINCT p, NEW.id FROM unnest(parents) AS p ON CONFLICT DO NOTHING;
    -- As the names are written here: in order, and each once.
    PERFORM sqp._list_dependencies(ARRAY[NEW.id]);
    RETURN NULL;
  END
  $body$;

CREATE FUNCTION sqp.add_dependency(parent text, dependent text, dependency_type text DEFAULT 'hard') RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    parent_id int := sqp._config(parent);
    dependent_id int := sqp._config(dependent);
    changed boolean;
  BEGIN
    IF dependency_type IS NULL OR dependency_type NOT IN ('hard', 'soft') THEN
      RAISE EXCEPTION 'dependency_type is not one of its values' USING ERRCODE = '22023',
        DETAIL = format('dependency_type %L', dependency_type), HINT = 'use ''hard'' or ''soft''';
    END IF;
    INSERT INTO sqp.refresh_dependencies AS d (parent_config_id, dependent_config_id, dependency_type)
    VALUES (parent_id, dependent_id, add_dependency.dependency_type)
    ON CONFLICT (parent_config_id, dependent_config_id) DO UPDATE SET dependency_type = excluded.dependency_type
     WHERE d.dependency_type <> excluded.dependency_type
    RETURNING true INTO changed;
    RETURN coalesce(changed, false);
  END
  $body$;

CREATE FUNCTION sqp.remove_dependency(parent text, dependent text) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    parent_id int := sqp._config(parent);
    dependent_id int := sqp._config(dependent);
  BEGIN
    DELETE FROM sqp.refresh_dependencies d WHERE d.parent_config_id = parent_id AND d.dependent_config_id = dependent_id;
    RETURN FOUND;
  END
  $body$;

-- Those that look again later because a parent came first, look again now. One that is being put off at this very
-- moment would not hear of it, so whoever holds it is waited for; but by asking again, never in line, where two
-- that wait for each other would be a deadlock. After 50 ms it is left to its own next look.
CREATE FUNCTION sqp._wake(configs int[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    soon timestamptz := clock_timestamp() + interval '1 second';
    asleep int[] := configs;
    held int[];
    put_off int[];
    due bigint;
  BEGIN
    FOR n IN 1 .. 50 LOOP
      -- What is not due is not being put off either.
      WITH child AS MATERIALIZED (
        SELECT k.id FROM sqp.refresh_config k
         WHERE k.id = ANY (asleep) AND k.next_refresh_at <= soon AND k.run_id IS NULL AND k.attempts = 0
      ), taken AS MATERIALIZED (
        SELECT k.id, k.run_id IS NULL AND k.attempts = 0 AND k.parked_at IS NULL AND k.claimable_at > k.next_refresh_at AS put_off
          FROM sqp.refresh_config k WHERE k.id = ANY (ARRAY(SELECT c.id FROM child c)) FOR NO KEY UPDATE SKIP LOCKED)
      SELECT (SELECT count(*) FROM child), array_agg(t.id), array_agg(t.id) FILTER (WHERE t.put_off)
        INTO due, held, put_off
        FROM taken t;
      IF put_off IS NOT NULL THEN
        UPDATE sqp.refresh_config c SET claimable_at = c.next_refresh_at WHERE c.id = ANY (put_off);
      END IF;
      EXIT WHEN due = coalesce(cardinality(held), 0);
      asleep := ARRAY(SELECT k FROM unnest(asleep) AS k WHERE k <> ALL (coalesce(held, '{}')));
      PERFORM pg_sleep(0.001);
    END LOOP;
  END
  $body$;

CREATE FUNCTION sqp._wake_children(parents int[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    children int[] := ARRAY(SELECT DISTINCT d.dependent_config_id FROM sqp.refresh_dependencies d
                             WHERE d.parent_config_id = ANY (parents));
  BEGIN
    IF children <> '{}' THEN
      PERFORM sqp._wake(children);
    END IF;
  END
  $body$;

-- Claims ------------------------------------------------------------------------------------------
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
              OR p.is_enabled AND p.next_refresh_at <= n.next_refresh_at))
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
    places int := bound;
    held int[] := '{}';
    free int[] := '{}';
    place int := 0;
  BEGIN
    IF bound < ANY (used) THEN
      -- The bound was lowered: what runs beyond it takes up places below it.
      SELECT coalesce(max(t), 0) INTO places FROM generate_series(0, bound) AS t
       WHERE t + (SELECT count(*) FROM unnest(used) AS u WHERE u > t) <= bound;
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
           WHERE c.is_enabled AND c.claimable_at <= moment AND c.next_refresh_at <= moment AND c.run_id IS NULL
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
                                    OR p.is_enabled AND p.next_refresh_at <= k.next_refresh_at
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
    place int;
    top int;
  BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM sqp._require_current_snapshots('refreshes cannot be claimed');
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
      PERFORM sqp._check_lease(claim_refresh.lease);
    END IF;
    PERFORM sqp._ready_audit_log();
    IF most = 1 THEN
      -- The usual case, in few and small statements: the first of those due is ready, and there is a place for it.
      SELECT s.max_parallel, (SELECT max(c.priority) FROM sqp.refresh_config c WHERE c.is_enabled) INTO bound, top
        FROM sqp.settings s;
      IF bound > 0 THEN
        -- A place by chance: most are free. What _free_slots() says of locks holds here too.
        place := 1 + floor(random() * bound);
        IF NOT pg_try_advisory_xact_lock(1936814081, place) THEN
          place := NULL;
        END IF;
      END IF;
      IF bound IS NULL OR place IS NOT NULL THEN
        moment := clock_timestamp();
        -- Priority by priority, because one index over both would be read through all that is not due.
        FOR n IN 1 .. 5 LOOP
          UPDATE sqp.refresh_config c
             SET run_id = nextval('sqp.refresh_audit_log_id_seq'), run_started_at = moment, run_worker = worker,
                 run_warned = false, lease = claim_refresh.lease, lease_expires_at = moment + claim_refresh.lease,
                 claimable_at = moment + claim_refresh.lease, slot = place, updated_at = moment
           WHERE c.id = (
                   SELECT k.id FROM sqp.refresh_config k
                    WHERE k.is_enabled AND k.priority = top AND k.claimable_at <= moment AND k.next_refresh_at <= moment
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
                                    OR p.is_enabled AND p.next_refresh_at <= c.next_refresh_at
                               ELSE p.is_enabled AND p.attempts = 0 AND p.parked_at IS NULL
                                    AND p.next_refresh_at <= c.next_refresh_at AND sqp._will_run(p.id, moment) END)
          RETURNING c.run_id, c.id, c.table_schema, c.table_name, c.method, c.custom_sync_params, c.attempts + 1,
                    c.last_refresh_at, c.lease_expires_at
            INTO run_id, config_id, table_schema, table_name, method, custom_sync_params, attempt, last_refresh_at,
                 lease_expires_at;
          IF FOUND THEN
            INSERT INTO sqp.refresh_audit_log
                   (id, refresh_config_id, table_schema, table_name, refresh_started_at, status, worker, attempt, method)
            VALUES (claim_refresh.run_id, config_id, claim_refresh.table_schema, claim_refresh.table_name, moment, 'running',
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

CREATE FUNCTION sqp._check_lease(lease interval) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF lease IS NULL OR lease < interval '1 millisecond' OR lease > interval '30 days' THEN
      RAISE EXCEPTION 'lease is out of its range' USING ERRCODE = '22023', DETAIL = format('lease %L', lease),
        HINT = 'give the time within which the worker reports again, up to 30 days';
    END IF;
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
      PERFORM sqp._check_lease(heartbeat.lease);
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

-- Ends -------------------------------------------------------------------------------------------

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
      SELECT c.id, c.run_started_at, c.run_warned, c.next_refresh_at, c.refresh_frequency_hours, c.recent_rows, g.*
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
    RETURNING c.id, c.last_refresh_started_at, c.last_status, c.next_refresh_at, c.recent_rows
      INTO config, started, status, next_refresh_at, counts;
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

CREATE FUNCTION sqp.reap_expired_runs()
  RETURNS TABLE (run_id bigint, config_id int, table_schema text, table_name text, worker text, attempts int, parked boolean)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz := clock_timestamp();
    r record;
  BEGIN
    PERFORM sqp._require_current_snapshots('expired runs cannot be taken back');
    -- The clock was set back: such a lease would last for as long as that was.
    UPDATE sqp.refresh_config c SET lease_expires_at = moment + c.lease, claimable_at = moment + c.lease
     WHERE c.id IN (SELECT k.id FROM sqp.refresh_config k
                     WHERE k.run_id IS NOT NULL AND k.lease_expires_at > moment + 2 * k.lease FOR NO KEY UPDATE SKIP LOCKED);
    FOR r IN SELECT c.run_id, c.id, c.table_schema, c.table_name, c.run_worker, c.lease_expires_at FROM sqp.refresh_config c
              WHERE c.run_id IS NOT NULL AND c.lease_expires_at <= moment ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED
    LOOP
      SELECT f.attempts, f.next_attempt_at IS NULL INTO attempts, parked
        FROM sqp._fail(r.run_id, format('the lease expired at %s: the worker did not report any more', r.lease_expires_at),
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

-- Quality -----------------------------------------------------------------------------------------

CREATE FUNCTION sqp.record_quality(
    run bigint, metric text, value numeric, expected numeric DEFAULT NULL, threshold_min numeric DEFAULT NULL,
    threshold_max numeric DEFAULT NULL)
  RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    within boolean;
    started timestamptz;
  BEGIN
    IF metric IS NULL OR metric = '' OR record_quality.threshold_min = 'NaN' OR record_quality.threshold_max = 'NaN'
       OR record_quality.threshold_min > record_quality.threshold_max THEN
      RAISE EXCEPTION 'the metric needs a name, and thresholds in order' USING ERRCODE = '22023',
        DETAIL = format('metric %L, threshold_min %s, threshold_max %s', metric, coalesce(record_quality.threshold_min::text, 'NULL'),
                        coalesce(record_quality.threshold_max::text, 'NULL')),
        HINT = 'leave a threshold out where there is none';
    END IF;
    -- What could not be measured is not within anything.
    within := CASE WHEN record_quality.threshold_min IS NULL AND record_quality.threshold_max IS NULL THEN
                     CASE WHEN value IS NOT NULL AND value <> 'NaN' THEN true END
                   ELSE value IS NOT NULL AND value <> 'NaN'
                        AND value >= coalesce(record_quality.threshold_min, '-infinity')
                        AND value <= coalesce(record_quality.threshold_max, 'infinity') END;
    IF within THEN
      SELECT c.run_started_at INTO started FROM sqp.refresh_config c WHERE c.run_id = run FOR KEY SHARE;
    ELSE
      UPDATE sqp.refresh_config c SET run_warned = c.run_warned OR within IS FALSE WHERE c.run_id = run
      RETURNING c.run_started_at INTO started;
    END IF;
    IF started IS NULL THEN
      PERFORM sqp._refuse_ended(run);
    END IF;
    INSERT INTO sqp.refresh_data_quality
           (audit_log_id, refresh_started_at, metric_name, metric_value, expected_value, threshold_min, threshold_max, is_within_threshold)
    VALUES (run, started, metric, value, expected, record_quality.threshold_min, record_quality.threshold_max, within);
    RETURN within;
  END
  $body$;

CREATE FUNCTION sqp.measure_quality(run bigint)
  RETURNS TABLE (metric_name text, metric_value numeric, threshold_min numeric, threshold_max numeric, is_within_threshold boolean)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    config sqp.refresh_config;
    target oid;
    list text;
    found_values numeric[];
    rule record;
  BEGIN
    SELECT * INTO config FROM sqp.refresh_config c WHERE c.run_id = run;
    IF NOT FOUND THEN
      PERFORM sqp._refuse_ended(run);
    END IF;
    -- Held, so that it is not another table by the time it is read. No views: what they call would run with the
    -- caller's rights.
    target := sqp._hold_table(config.table_schema, config.table_name);
    IF target IS NULL THEN
      RETURN;
    END IF;
    -- All of them in one pass over the table; a column that is not there, or of a strange type, gives NULL.
    SELECT string_agg(CASE
             WHEN q.metric = 'row_count' THEN 'count(*)::numeric'
             WHEN a.attname IS NULL THEN 'NULL::numeric'
             WHEN q.metric = 'null_share' THEN format('round((count(*) - count(%1$I)) / nullif(count(*), 0)::numeric, 6)', a.attname)
             WHEN a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
             THEN format('round((extract(epoch FROM clock_timestamp() - max(%1$I)::timestamptz) / 3600)::numeric, 6)', a.attname)
             ELSE 'NULL::numeric' END, ', ' ORDER BY q.id)
      INTO list
      FROM sqp.refresh_quality_rules q
      LEFT JOIN pg_attribute a ON a.attrelid = target AND a.attname = q.column_name AND a.attnum > 0 AND NOT a.attisdropped
     WHERE q.config_id = config.id;
    IF list IS NULL THEN
      RETURN;
    END IF;
    EXECUTE format('SELECT ARRAY[%s] FROM %I.%I', list, config.table_schema, config.table_name) INTO found_values;
    FOR rule IN
      SELECT CASE WHEN q.column_name IS NULL THEN q.metric ELSE format('%s(%s)', q.metric, q.column_name) END AS name,
             q.threshold_min, q.threshold_max, found_values[row_number() OVER (ORDER BY q.id)] AS value
        FROM sqp.refresh_quality_rules q WHERE q.config_id = config.id ORDER BY q.id
    LOOP
      metric_name := rule.name;
      metric_value := rule.value;
      threshold_min := rule.threshold_min;
      threshold_max := rule.threshold_max;
      is_within_threshold := sqp.record_quality(run, rule.name, rule.value, NULL, rule.threshold_min, rule.threshold_max);
      RETURN NEXT;
    END LOOP;
  END
  $body$;

-- In this database -----------------------------------------------------------------------------------

CREATE FUNCTION sqp.set_refresh_function(target text, refresh_function regprocedure) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    config int := sqp._config(target);
    f record;
  BEGIN
    IF refresh_function IS NULL THEN
      UPDATE sqp.refresh_config c SET function_schema = NULL, function_name = NULL WHERE c.id = config;
      RETURN;
    END IF;
    SELECT p.proname, n.nspname, p.prokind, p.pronargs - p.pronargdefaults AS required INTO f
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = refresh_function;
    IF f.required > 0 OR f.prokind <> 'f' THEN
      RAISE EXCEPTION 'a refresh function can be called without arguments' USING ERRCODE = '22023',
        DETAIL = format('function %s', refresh_function), HINT = 'give its arguments defaults; procedures and aggregates do not serve';
    END IF;
    IF NOT has_function_privilege(refresh_function, 'EXECUTE') OR NOT has_schema_privilege(f.nspname, 'USAGE') THEN
      RAISE EXCEPTION 'you may not execute the refresh function yourself' USING ERRCODE = '42501',
        DETAIL = format('function %s, called by %s', refresh_function, current_user),
        HINT = 'GRANT EXECUTE on it and USAGE on its schema: it runs with the rights of whoever refreshes';
    END IF;
    UPDATE sqp.refresh_config c SET function_schema = f.nspname, function_name = f.proname WHERE c.id = config;
  END
  $body$;

CREATE FUNCTION sqp.refresh_due(most int DEFAULT 100)
  RETURNS TABLE (table_schema text, table_name text, status text, rows bigint, message text)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    claimed record;
  BEGIN
    IF most IS NULL OR most < 0 THEN
      RAISE EXCEPTION 'most is out of its range' USING ERRCODE = '22023', DETAIL = format('most %s', coalesce(most::text, 'NULL')),
        HINT = 'give the number of refreshes to do at most';
    END IF;
    FOR n IN 1 .. most LOOP
      -- One after the other: what one does may make the next one due.
      SELECT c.run_id, c.table_schema, c.table_name INTO claimed
        FROM sqp.claim_refresh(format('database session %s', pg_backend_pid()), '1 hour', 1,
                               ARRAY['materialized view', 'function']) AS c;
      EXIT WHEN NOT FOUND;
      table_schema := claimed.table_schema;
      table_name := claimed.table_name;
      SELECT d.status, d.rows, d.message INTO status, rows, message FROM sqp.refresh_in_database(claimed.run_id) AS d;
      RETURN NEXT;
    END LOOP;
  END
  $body$;

-- Commits after each; without a search_path of its own, because such a procedure could not.
CREATE PROCEDURE sqp.refresh_all_due()
  LANGUAGE c AS 'MODULE_PATHNAME', 'gemba_refresh_all_due';

-- Registration ------------------------------------------------------------------------------------

CREATE FUNCTION sqp._refuse_foreign_owner() RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    guarded regclass;
  BEGIN
    -- Their triggers would run with the rights of whoever writes here, which are the extension's.
    SELECT c.oid INTO guarded
      FROM pg_class c JOIN pg_extension x ON x.extname = 'gemba'
     WHERE c.relnamespace = 'sqp'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relowner <> x.extowner
       AND c.relname IN ('refresh_config', 'refresh_dependencies', 'refresh_audit_log', 'refresh_quality_rules', 'watched_schemas')
       AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = c.relowner)
     LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'the table belongs to somebody else than the extension' USING ERRCODE = '55000',
        DETAIL = format('table %s', guarded), HINT = 'give it back to the owner of the extension';
    END IF;
  END
  $body$;

-- Lets the registrations of these tables follow what happened to them; registers those that are new to a
-- watched schema. Returns how many it registered.
CREATE FUNCTION sqp._register(tables oid[], are_new boolean) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    t record;
    known sqp.refresh_config;
    registered bigint := 0;
  BEGIN
    FOR t IN
      SELECT c.oid, c.relname::text AS name, n.nspname::text AS schema, w.schema_name IS NOT NULL AS watched
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN sqp.watched_schemas w ON w.schema_name = n.nspname
       WHERE c.oid = ANY (tables) AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND c.relpersistence <> 't'
         -- This room's own, which nobody refreshes.
         AND NOT (n.nspname = 'sqp' AND c.relname IN (
               'refresh_config', 'refresh_audit_log', 'refresh_dependencies', 'refresh_data_quality', 'refresh_quality_rules',
               'refresh_checkpoints', 'settings', 'watched_schemas'))
         AND NOT EXISTS (SELECT FROM pg_depend d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
                            AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
       ORDER BY n.nspname, c.relname
    LOOP
      SELECT * INTO known FROM sqp.refresh_config r WHERE r.relation = t.oid;
      IF FOUND THEN
        CONTINUE WHEN known.table_schema = t.schema AND known.table_name = t.name;
        IF NOT t.watched AND known.table_schema <> t.schema
           AND EXISTS (SELECT FROM sqp.watched_schemas w WHERE w.schema_name = known.table_schema) THEN
          DELETE FROM sqp.refresh_config r WHERE r.id = known.id;
          CONTINUE;
        END IF;
        -- The name may be registered for something that is not there any more.
        DELETE FROM sqp.refresh_config r
         WHERE r.table_schema = t.schema AND r.table_name = t.name AND r.id <> known.id;
        UPDATE sqp.refresh_config r SET table_schema = t.schema, table_name = t.name WHERE r.id = known.id;
        PERFORM sqp._list_dependencies(ARRAY(
          SELECT known.id UNION SELECT d.dependent_config_id FROM sqp.refresh_dependencies d WHERE d.parent_config_id = known.id));
      ELSIF are_new AND t.watched THEN
        -- Registered by name already, before it was there: then it is that one.
        INSERT INTO sqp.refresh_config AS r (table_schema, table_name, priority, next_refresh_at)
        VALUES (t.schema, t.name, sqp._priority(t.name), now() + interval '24 hours')
        ON CONFLICT (table_schema, table_name) DO UPDATE SET table_name = excluded.table_name;
        registered := registered + 1;
      END IF;
    END LOOP;
    RETURN registered;
  END
  $body$;

-- What the event trigger does once it has seen that there is something to do.
CREATE FUNCTION sqp._follow_ddl(tables oid[], are_new boolean, renamed_schema oid, old_name text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    within oid[];
  BEGIN
    -- Most statements are no business of ours.
    IF renamed_schema IS NULL
       AND NOT EXISTS (
         SELECT FROM pg_class c
           JOIN pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN sqp.refresh_config r ON r.relation = c.oid
          WHERE c.oid = ANY (tables)
            AND CASE WHEN r.id IS NOT NULL THEN r.table_schema <> n.nspname OR r.table_name <> c.relname
                     ELSE are_new AND EXISTS (SELECT FROM sqp.watched_schemas w WHERE w.schema_name = n.nspname) END)
       AND NOT EXISTS (
         SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
           JOIN sqp.refresh_config r ON r.relation = i.inhrelid
          WHERE i.inhparent = ANY (tables)) THEN
      RETURN;
    END IF;
    PERFORM sqp._refuse_foreign_owner();
    -- A table that was attached is a partition now.
    DELETE FROM sqp.refresh_config r USING pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
     WHERE i.inhparent = ANY (tables) AND r.relation = i.inhrelid;
    IF renamed_schema IS NOT NULL THEN
      UPDATE sqp.watched_schemas w SET schema_name = n.nspname FROM pg_namespace n
       WHERE n.oid = renamed_schema AND w.schema_name = old_name;
      within := ARRAY(SELECT r.relation FROM sqp.refresh_config r JOIN pg_class c ON c.oid = r.relation
                       WHERE c.relnamespace = renamed_schema);
    END IF;
    PERFORM sqp._register(coalesce(tables, '{}') || coalesce(within, '{}'), are_new);
  END
  $body$;

CREATE FUNCTION sqp._forget(tables oid[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF EXISTS (SELECT FROM sqp.refresh_config c WHERE c.relation = ANY (tables::regclass[])) THEN
      PERFORM sqp._refuse_foreign_owner();
      DELETE FROM sqp.refresh_config c WHERE c.relation = ANY (tables::regclass[]);
    END IF;
  END
  $body$;

-- With the extension's rights, because whoever creates a table need not have any here. A table of ours that
-- somebody holds is not waited for long: nobody's DDL is to hang on this.
CREATE FUNCTION sqp.auto_register_table_for_refresh() RETURNS event_trigger
  LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'
  AS 'MODULE_PATHNAME', 'gemba_register_tables';
CREATE FUNCTION sqp._forget_dropped_tables() RETURNS event_trigger
  LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'
  AS 'MODULE_PATHNAME', 'gemba_forget_tables';

CREATE FUNCTION sqp.watch_schema(schema_name text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = watch_schema.schema_name) THEN
      RAISE EXCEPTION 'the schema does not exist' USING ERRCODE = '3F000',
        DETAIL = format('schema %L', watch_schema.schema_name), HINT = 'name a schema of this database';
    END IF;
    INSERT INTO sqp.watched_schemas VALUES (watch_schema.schema_name) ON CONFLICT DO NOTHING;
    RETURN sqp.register_existing(watch_schema.schema_name);
  END
  $body$;

CREATE FUNCTION sqp.unwatch_schema(schema_name text) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  BEGIN
    DELETE FROM sqp.watched_schemas w WHERE w.schema_name = unwatch_schema.schema_name;
    RETURN FOUND;
  END
  $body$;

CREATE FUNCTION sqp.register_existing(schema_name text DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    -- What was dropped, or dropped and made again, while nobody looked.
    gone int[] := ARRAY(SELECT c.id FROM sqp.refresh_config c
                         WHERE c.relation IS NOT NULL AND NOT EXISTS (SELECT FROM pg_class k WHERE k.oid = c.relation));
    before bigint;
  BEGIN
    UPDATE sqp.refresh_config c SET table_name = c.table_name WHERE c.id = ANY (gone);
    DELETE FROM sqp.refresh_config c WHERE c.id = ANY (gone) AND c.relation IS NULL;
    SELECT count(*) INTO before FROM sqp.refresh_config;
    PERFORM sqp._register(ARRAY(SELECT c.oid FROM pg_class c
                                  JOIN pg_namespace n ON n.oid = c.relnamespace
                                  JOIN sqp.watched_schemas w ON w.schema_name = n.nspname
                                 WHERE n.nspname = coalesce(register_existing.schema_name, n.nspname)), true);
    RETURN (SELECT count(*) FROM sqp.refresh_config) - before;
  END
  $body$;

-- Summaries ---------------------------------------------------------------------------------------

CREATE FUNCTION sqp._build_summary(
    summary name, unit text, part text, active name, from_date date, to_date date)
  RETURNS sqp.refresh_counts
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    lower_bound date := date_trunc(unit, from_date::timestamp)::date;
    step interval := CASE unit WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || unit)::interval END;
    upper_bound date := (date_trunc(unit, to_date::timestamp) + step)::date;
    done sqp.refresh_counts;
  BEGIN
    IF from_date > to_date OR NOT coalesce(isfinite(from_date), true) OR NOT coalesce(isfinite(to_date), true) THEN
      RAISE EXCEPTION 'from_date must not be after to_date, and both finite' USING ERRCODE = '22023',
        DETAIL = format('from %s to %s', from_date, to_date),
        HINT = 'leave a date out for no bound; whole periods are built, from the one of from_date to that of to_date';
    END IF;
    -- Two at once would write the same rows.
    PERFORM pg_advisory_xact_lock(1936814083, hashtext(summary));
    EXECUTE format($query$
      WITH sums AS MATERIALIZED (
        SELECT date_trunc(%1$L, d.date::timestamp)::date AS period_start, d.query, d.asin,
               sum(d.impressions) AS impressions, sum(d.clicks) AS clicks, sum(d.purchases) AS purchases,
               sum(d.spend) AS spend, sum(d.sales) AS sales, count(DISTINCT date_trunc(%2$L, d.date::timestamp)) AS active
          FROM sqp.daily_sqp_data d
         WHERE ($1 IS NULL OR d.date >= $1) AND ($2 IS NULL OR d.date < $2)
         GROUP BY 1, 2, 3
      ), fresh AS MATERIALIZED (
        SELECT s.*, (s.period_start + $3 - interval '1 day')::date AS period_end,
               round(s.clicks / nullif(s.impressions, 0), 6) AS ctr, round(s.purchases / nullif(s.clicks, 0), 6) AS cvr,
               round(s.impressions / nullif(sum(s.impressions) OVER q, 0), 6) AS impression_share,
               round(s.clicks / nullif(sum(s.clicks) OVER q, 0), 6) AS click_share,
               round(s.purchases / nullif(sum(s.purchases) OVER q, 0), 6) AS purchase_share
          FROM sums s WINDOW q AS (PARTITION BY s.period_start, s.query)
      ), written AS (
        INSERT INTO sqp.%3$I AS t (period_start, period_end, query, asin, total_impressions, total_clicks, total_purchases,
            total_spend, total_sales, avg_ctr, avg_cvr, impression_share, click_share, purchase_share, %4$I)
        SELECT f.period_start, f.period_end, f.query, f.asin, f.impressions, f.clicks, f.purchases, f.spend, f.sales, f.ctr, f.cvr,
               f.impression_share, f.click_share, f.purchase_share, f.active
          FROM fresh f
        ON CONFLICT (period_start, query, asin) DO UPDATE
           SET period_end = excluded.period_end, total_impressions = excluded.total_impressions,
               total_clicks = excluded.total_clicks, total_purchases = excluded.total_purchases,
               total_spend = excluded.total_spend, total_sales = excluded.total_sales,
               avg_ctr = excluded.avg_ctr, avg_cvr = excluded.avg_cvr, impression_share = excluded.impression_share,
               click_share = excluded.click_share, purchase_share = excluded.purchase_share, %4$I = excluded.%4$I,
               updated_at = now()
         WHERE (t.period_end, t.total_impressions, t.total_clicks, t.total_purchases, t.total_spend, t.total_sales, t.avg_ctr,
                t.avg_cvr, t.impression_share, t.click_share, t.purchase_share, t.%4$I)
               IS DISTINCT FROM
               (excluded.period_end, excluded.total_impressions, excluded.total_clicks, excluded.total_purchases,
                excluded.total_spend, excluded.total_sales, excluded.avg_ctr, excluded.avg_cvr, excluded.impression_share,
                excluded.click_share, excluded.purchase_share, excluded.%4$I)
        RETURNING t.xmax = 0 AS is_new
      ), removed AS (
        DELETE FROM sqp.%3$I t
         WHERE ($1 IS NULL OR t.period_start >= $1) AND ($2 IS NULL OR t.period_start < $2)
           AND NOT EXISTS (SELECT FROM sums s
                            WHERE s.period_start = t.period_start AND s.query = t.query AND s.asin = t.asin)
        RETURNING t.id
      )
      SELECT (SELECT count(*) FROM sums), (SELECT count(*) FROM written w WHERE w.is_new),
             (SELECT count(*) FROM written w WHERE NOT w.is_new), (SELECT count(*) FROM removed)
      $query$, unit, part, summary, active)
      INTO done
      USING lower_bound, upper_bound, step;
    RETURN done;
  END
  $body$;

CREATE FUNCTION sqp.build_weekly_summary(from_date date DEFAULT NULL, to_date date DEFAULT NULL) RETURNS sqp.refresh_counts
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT * FROM sqp._build_summary('weekly_summary', 'week', 'day', 'active_days', from_date, to_date) $body$;
CREATE FUNCTION sqp.build_monthly_summary(from_date date DEFAULT NULL, to_date date DEFAULT NULL) RETURNS sqp.refresh_counts
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT * FROM sqp._build_summary('monthly_summary', 'month', 'week', 'active_weeks', from_date, to_date) $body$;
CREATE FUNCTION sqp.build_quarterly_summary(from_date date DEFAULT NULL, to_date date DEFAULT NULL) RETURNS sqp.refresh_counts
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT * FROM sqp._build_summary('quarterly_summary', 'quarter', 'month', 'active_months', from_date, to_date) $body$;
CREATE FUNCTION sqp.build_yearly_summary(from_date date DEFAULT NULL, to_date date DEFAULT NULL) RETURNS sqp.refresh_counts
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT * FROM sqp._build_summary('yearly_summary', 'year', 'quarter', 'active_quarters', from_date, to_date) $body$;
