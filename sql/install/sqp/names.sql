-- Tables by the names that people give them.

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
    SELECT CASE WHEN right(table_name, 5) = '_data' THEN 90 WHEN table_name LIKE '%summary%' THEN 80 ELSE 70 END
  $body$;
