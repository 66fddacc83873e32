-- What keeps the tables of refreshes in order: names become relations, the schedule is looked at, expired checkpoints go.

CREATE TYPE sqp.refresh_counts AS (rows_processed bigint, rows_inserted bigint, rows_updated bigint, rows_deleted bigint);
COMMENT ON TYPE sqp.refresh_counts IS 'what a refresh did; a refresh function that returns it has it written into the audit log';

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

-- How far somebody got with a table goes where its registration goes, and ends with it.
CREATE FUNCTION sqp._carry_checkpoints() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF TG_OP = 'DELETE' THEN
      UPDATE sqp.refresh_checkpoints k SET status = 'expired', updated_at = clock_timestamp()
       WHERE k.table_schema = OLD.table_schema AND k.table_name = OLD.table_name AND k.status = 'active';
    ELSIF (NEW.table_schema, NEW.table_name) <> (OLD.table_schema, OLD.table_name) THEN
      UPDATE sqp.refresh_checkpoints k SET status = 'expired', updated_at = clock_timestamp()
       WHERE k.table_schema = NEW.table_schema AND k.table_name = NEW.table_name AND k.status = 'active';
      UPDATE sqp.refresh_checkpoints k SET table_schema = NEW.table_schema, table_name = NEW.table_name
       WHERE k.table_schema = OLD.table_schema AND k.table_name = OLD.table_name AND k.status = 'active';
    END IF;
    RETURN NULL;
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
