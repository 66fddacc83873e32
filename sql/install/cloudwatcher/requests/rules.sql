-- What holds for requests whoever writes them: what changes into what, and that nothing hangs on a request that
-- does not exist. (A partitioned table whose key is not unique by itself cannot be the target of a foreign key.)

CREATE FUNCTION cloudwatcher.payload_hash(payload jsonb) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_payload_hash';

-- Guards ------------------------------------------------------------------------------------------
-- What somebody may not see does not exist for him, so that nobody learns of it by trying ids.

CREATE FUNCTION cloudwatcher._refuse_unseen(permission text, what text, id text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    PERFORM cloudwatcher._require(permission);
    RAISE EXCEPTION '% not found', what USING ERRCODE = 'P0002', DETAIL = format('%s %s', what, coalesce(id, 'NULL')),
      HINT = 'look it up again: it does not exist, or belongs to a department that is not yours';
  END
  $body$;

-- For what exists: returns who is logged in, NULL for a server that acts for nobody.
CREATE FUNCTION cloudwatcher._require_seen(permission text, department uuid, what text, id text) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := gemba._user();
  BEGIN
    IF NOT cloudwatcher._is_service() AND NOT cloudwatcher._allows(who, permission, department) THEN
      PERFORM cloudwatcher._refuse_unseen(permission, what, id);
    END IF;
    RETURN who;
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_null(what text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION '% is missing', what USING ERRCODE = '22004', DETAIL = format('%s NULL', what), HINT = 'give a value';
  END
  $body$;

CREATE FUNCTION cloudwatcher._check_count(n int) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF n IS NULL OR n < 1 OR n > 10000 THEN
      RAISE EXCEPTION 'n is out of its range' USING ERRCODE = '22023', DETAIL = format('n %s', coalesce(n::text, 'NULL')),
        HINT = 'give a number from 1 to 10000';
    END IF;
  END
  $body$;

-- Triggers ----------------------------------------------------------------------------------------

CREATE FUNCTION cloudwatcher._keep_as_it_is() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION '% cannot be changed', TG_ARGV[0] USING ERRCODE = '55000',
      DETAIL = format('table %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME), HINT = TG_ARGV[1],
      SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_transition(what text, id uuid, before text, after text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION 'a % cannot go from % to %', what, before, after USING ERRCODE = '55000',
      DETAIL = format('%s %s', what, id), HINT = 'go step by step, by the functions that do it';
  END
  $body$;

CREATE FUNCTION cloudwatcher._guard_request() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF OLD.status = 'completed' THEN
      RAISE EXCEPTION 'a completed request cannot be changed' USING ERRCODE = '55000', DETAIL = format('request %s', OLD.id),
        HINT = 'another payload is another request';
    END IF;
    IF NEW.status <> OLD.status
       AND NOT (OLD.status = 'pending' AND NEW.status = 'processing'
                OR OLD.status = 'processing' AND NEW.status IN ('completed', 'failed', 'pending')
                OR OLD.status = 'failed' AND NEW.status = 'pending')
    THEN
      PERFORM cloudwatcher._refuse_transition('request', OLD.id, OLD.status, NEW.status);
    END IF;
    IF OLD.created_at < now() - interval '4 weeks' THEN
      PERFORM cloudwatcher._hold_archive();
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
  END
  $body$;

CREATE FUNCTION cloudwatcher._guard_response() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    -- (A request that is tried again is answered again. What it was answered is delivered again.)
    IF NEW.status <> OLD.status
       AND NOT (OLD.status = 'processing' AND NEW.status IN ('ready', 'failed')
                OR OLD.status = 'ready' AND NEW.status IN ('delivered', 'failed')
                OR OLD.status = 'failed' AND NEW.status IN ('processing', 'ready')
                   AND (NEW.status = 'ready') = EXISTS (
                     SELECT FROM cloudwatcher.requests r WHERE r.id = OLD.request_id AND r.status = 'completed'))
    THEN
      PERFORM cloudwatcher._refuse_transition('response', OLD.id, OLD.status, NEW.status);
    END IF;
    IF (OLD.status IN ('ready', 'delivered') OR OLD.status = 'failed' AND NEW.status = 'ready')
       AND (NEW.content IS DISTINCT FROM OLD.content OR NEW.ai_processed <> OLD.ai_processed)
       OR OLD.status = 'delivered' AND NEW.delivered_at IS DISTINCT FROM OLD.delivered_at
    THEN
      RAISE EXCEPTION 'an answer cannot be changed' USING ERRCODE = '55000', DETAIL = format('response %s is %s', OLD.id, OLD.status),
        HINT = 'let the device ask with another payload: that is another request';
    END IF;
    IF OLD.created_at < now() - interval '4 weeks' THEN
      PERFORM cloudwatcher._hold_archive();
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
  END
  $body$;

-- While requests are being archived, with what hangs on them, nobody else changes old ones. (So a request must be
-- kept longer than it takes to become old.)
CREATE FUNCTION cloudwatcher._hold_archive() RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    LOCK TABLE cloudwatcher.request_archives IN ROW SHARE MODE NOWAIT;
  EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'old requests are being archived' USING ERRCODE = '55P03',
      DETAIL = 'cloudwatcher.archive_requests() is running', HINT = 'try again in a moment';
  END
  $body$;

-- What the foreign keys would do.
CREATE FUNCTION cloudwatcher._check_requests() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    wanted uuid[];
    oldest timestamptz;
    held int;
  BEGIN
    PERFORM gemba._refuse_foreign_owner(TG_RELID::regclass);
    SELECT array_agg(DISTINCT n.request_id) INTO wanted FROM new_rows n WHERE n.request_id IS NOT NULL;
    IF wanted IS NULL THEN
      RETURN NULL;
    END IF;
    -- Locked: nobody deletes them before this transaction ends.
    WITH found AS MATERIALIZED (
      SELECT r.id, r.created_at FROM cloudwatcher.requests r WHERE r.id = ANY (wanted) FOR KEY SHARE)
    SELECT count(*), min(f.created_at) INTO held, oldest FROM found f;
    IF held < cardinality(wanted) THEN
      RAISE EXCEPTION 'the request does not exist' USING ERRCODE = '23503',
        DETAIL = format('request %s', (SELECT w FROM unnest(wanted) AS w
                                        WHERE NOT EXISTS (SELECT FROM cloudwatcher.requests r WHERE r.id = w) LIMIT 1)),
        HINT = 'it was never submitted, or is archived', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = 'request_id';
    END IF;
    IF oldest < now() - interval '4 weeks' THEN
      PERFORM cloudwatcher._hold_archive();
    END IF;
    RETURN NULL;
  END
  $body$;

-- What is added to an answer is added to its request.
CREATE FUNCTION cloudwatcher._check_responses() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    PERFORM gemba._refuse_foreign_owner(TG_RELID::regclass);
    IF EXISTS (SELECT FROM new_rows n
                 JOIN cloudwatcher.responses p ON p.id = n.response_id
                 JOIN cloudwatcher.requests r ON r.id = p.request_id
                WHERE r.created_at < now() - interval '4 weeks')
    THEN
      PERFORM cloudwatcher._hold_archive();
    END IF;
    RETURN NULL;
  END
  $body$;

CREATE FUNCTION cloudwatcher._forget_request() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    holder text;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.requests');
    IF EXISTS (SELECT FROM cloudwatcher.agent_decisions d WHERE d.request_id = OLD.id) THEN
      holder := 'agent_decisions';
    ELSIF to_regclass('cloudwatcher.orders') IS NOT NULL
          AND EXISTS (SELECT FROM cloudwatcher.orders o WHERE o.request_id = OLD.id)
    THEN
      holder := 'orders';
    END IF;
    IF holder IS NOT NULL THEN
      RAISE EXCEPTION 'the request is still referred to' USING ERRCODE = '23503', DETAIL = format('request %s in %s', OLD.id, holder),
        HINT = 'requests with orders or decisions are archived, not deleted',
        SCHEMA = 'cloudwatcher', TABLE = holder, COLUMN = 'request_id';
    END IF;
    DELETE FROM cloudwatcher.request_metadata m WHERE m.request_id = OLD.id;
    DELETE FROM cloudwatcher.cloud_file_refs f WHERE f.request_id = OLD.id;
    DELETE FROM cloudwatcher.responses p WHERE p.request_id = OLD.id;
    DELETE FROM cloudwatcher.request_keys k WHERE k.request_id = OLD.id;
    RETURN NULL;
  END
  $body$;
