-- Tables register themselves. The event triggers' own part is in src/sqp/registration.rs.

-- What registering writes, and what follows from that.
CREATE FUNCTION sqp._refuse_foreign_owner() RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    PERFORM gemba._refuse_foreign_owner(c.oid)
       FROM pg_class c
      WHERE c.relnamespace = 'sqp'::regnamespace AND c.relkind IN ('r', 'p', 'v')
        AND c.relname IN ('refresh_config', 'refresh_dependencies', 'refresh_audit_log', 'refresh_quality_rules', 'watched_schemas');
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
  LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
  AS 'MODULE_PATHNAME', 'gemba_register_tables';
CREATE FUNCTION sqp._forget_dropped_tables() RETURNS event_trigger
  LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
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
    IF left(watch_schema.schema_name, 3) = 'pg_' OR watch_schema.schema_name = 'information_schema' THEN
      RAISE EXCEPTION 'the server''s own schemas are not refreshed' USING ERRCODE = '22023',
        DETAIL = format('schema %L', watch_schema.schema_name), HINT = 'name a schema of your own';
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
