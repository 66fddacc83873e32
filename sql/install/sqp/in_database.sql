-- Refreshes that need no worker from outside. The work itself is in src/sqp/in_database.rs.

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
