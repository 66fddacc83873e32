-- Which table is refreshed before which; cycles are refused, and who waits for a parent is woken when it is done.

CREATE FUNCTION sqp._take_turns_on_dependencies() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    -- Two writers, each with half of a cycle, must see each other's half.
    PERFORM gemba._require_current_snapshots('dependencies cannot be changed');
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
