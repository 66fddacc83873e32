-- Files in a cloud, and what agents decided.

CREATE FUNCTION cloudwatcher.add_file_ref(request uuid, response uuid, provider text, path text, size bigint DEFAULT NULL)
  RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    department uuid;
    file uuid;
    of_what text := CASE WHEN request IS NULL THEN 'response' ELSE 'request' END;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.cloud_file_refs');
    IF num_nonnulls(request, response) <> 1 THEN
      RAISE EXCEPTION 'a file belongs to a request or to a response' USING ERRCODE = '22023',
        DETAIL = format('request %s, response %s', coalesce(request::text, 'NULL'), coalesce(response::text, 'NULL')),
        HINT = 'give one of the two, and NULL for the other';
    END IF;
    IF provider IS NULL OR provider NOT IN ('sharepoint', 'google-drive', 'local') THEN
      RAISE EXCEPTION 'provider is not one of its values' USING ERRCODE = '22023', DETAIL = format('provider %L', provider),
        HINT = 'use ''sharepoint'', ''google-drive'' or ''local''';
    END IF;
    IF path IS NULL OR path = '' OR length(path) > 500 THEN
      RAISE EXCEPTION 'path is out of its range' USING ERRCODE = '22023', DETAIL = format('%s characters', coalesce(length(path), 0)),
        HINT = 'give a path of 1 to 500 characters';
    END IF;
    PERFORM cloudwatcher._check_size(size);
    IF request IS NOT NULL THEN
      SELECT r.dept_id INTO department FROM cloudwatcher.requests r WHERE r.id = request;
    ELSE
      SELECT p.dept_id INTO department FROM cloudwatcher.responses p WHERE p.id = response;
    END IF;
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_unseen('requests.create', of_what, coalesce(request, response)::text);
    END IF;
    PERFORM cloudwatcher._require_seen('requests.create', department, of_what, coalesce(request, response)::text);
    INSERT INTO cloudwatcher.cloud_file_refs (request_id, response_id, file_type, cloud_provider, cloud_path, file_size_bytes)
    VALUES (request, response, of_what, provider, path, size)
    ON CONFLICT ON CONSTRAINT cloud_file_refs_path_key DO NOTHING
    RETURNING id INTO file;
    IF file IS NULL THEN
      SELECT f.id INTO file FROM cloudwatcher.cloud_file_refs f
       WHERE f.request_id IS NOT DISTINCT FROM request AND f.response_id IS NOT DISTINCT FROM response
         AND f.cloud_provider = provider AND f.cloud_path = path;
    END IF;
    RETURN file;
  END
  $body$;

CREATE FUNCTION cloudwatcher._check_size(size bigint) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF size < 0 THEN
      RAISE EXCEPTION 'size is out of its range' USING ERRCODE = '22023', DETAIL = format('size %s', size),
        HINT = 'give the number of bytes, or NULL where it is not known';
    END IF;
  END
  $body$;

-- Locks a file that somebody reports on; returns its state.
CREATE FUNCTION cloudwatcher._hold_file(file uuid) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    department uuid;
    status text;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.cloud_file_refs');
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('files cannot be reported on');
    END IF;
    SELECT coalesce(p.dept_id, r.dept_id) INTO department
      FROM cloudwatcher.cloud_file_refs f
      LEFT JOIN cloudwatcher.requests r ON r.id = f.request_id
      LEFT JOIN cloudwatcher.responses p ON p.id = f.response_id
     WHERE f.id = file;
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_unseen('requests.create', 'file', file::text);
    END IF;
    PERFORM cloudwatcher._require_seen('requests.create', department, 'file', file::text);
    SELECT f.sync_status INTO status FROM cloudwatcher.cloud_file_refs f WHERE f.id = file FOR NO KEY UPDATE;
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_unseen('requests.create', 'file', file::text);
    END IF;
    RETURN status;
  END
  $body$;

CREATE FUNCTION cloudwatcher.file_synced(file uuid, size bigint DEFAULT NULL) RETURNS timestamptz
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    at timestamptz;
  BEGIN
    PERFORM cloudwatcher._check_size(size);
    IF cloudwatcher._hold_file(file) <> 'synced' THEN
      UPDATE cloudwatcher.cloud_file_refs f
         SET sync_status = 'synced', sync_error = NULL, uploaded_at = clock_timestamp(), file_size_bytes = coalesce(size, f.file_size_bytes)
       WHERE f.id = file;
    END IF;
    SELECT f.uploaded_at INTO at FROM cloudwatcher.cloud_file_refs f WHERE f.id = file;
    RETURN at;
  END
  $body$;

CREATE FUNCTION cloudwatcher.file_failed(file uuid, error text) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF error IS NULL THEN
      PERFORM cloudwatcher._refuse_null('error');
    END IF;
    IF cloudwatcher._hold_file(file) = 'synced' THEN
      RAISE EXCEPTION 'the file is in sync' USING ERRCODE = '55000', DETAIL = format('file %s', file),
        HINT = 'add another file where it has changed';
    END IF;
    UPDATE cloudwatcher.cloud_file_refs f SET sync_status = 'failed', sync_error = error WHERE f.id = file;
    RETURN 'failed';
  END
  $body$;

CREATE FUNCTION cloudwatcher.retry_file(file uuid) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    status text := cloudwatcher._hold_file(file);
  BEGIN
    IF status = 'failed' THEN
      UPDATE cloudwatcher.cloud_file_refs f SET sync_status = 'pending', sync_error = NULL WHERE f.id = file;
      RETURN 'pending';
    END IF;
    RETURN status;
  END
  $body$;

CREATE FUNCTION cloudwatcher._guard_file() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF OLD.sync_status = 'synced' AND NEW.sync_status <> 'synced' THEN
      PERFORM cloudwatcher._refuse_transition('file', OLD.id, OLD.sync_status, NEW.sync_status);
    END IF;
    IF OLD.created_at < now() - interval '4 weeks' THEN
      PERFORM cloudwatcher._hold_archive();
    END IF;
    RETURN NEW;
  END
  $body$;

-- With the caller's rights.
CREATE FUNCTION cloudwatcher.files_out_of_sync(provider text DEFAULT NULL, n int DEFAULT 100)
  RETURNS TABLE (
    file_id uuid, request_id uuid, response_id uuid, cloud_provider text, cloud_path text, file_size_bytes bigint,
    sync_status text, sync_error text, created_at timestamptz)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  BEGIN
    PERFORM cloudwatcher._check_count(n);
    RETURN QUERY
      SELECT f.id, f.request_id, f.response_id, f.cloud_provider::text, f.cloud_path::text, f.file_size_bytes,
             f.sync_status::text, f.sync_error, f.created_at
        FROM cloudwatcher.cloud_file_refs f
       WHERE f.sync_status IN ('pending', 'failed')
         AND (files_out_of_sync.provider IS NULL OR f.cloud_provider = files_out_of_sync.provider)
       ORDER BY f.created_at, f.id LIMIT n;
  END
  $body$;

CREATE FUNCTION cloudwatcher.record_decision(
    request uuid, agent text, decision_type text, decision text, reasoning jsonb DEFAULT '{}', confidence numeric DEFAULT NULL)
  RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    department uuid;
    made uuid;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.agent_decisions');
    IF agent IS NULL OR record_decision.decision_type IS NULL OR decision IS NULL OR record_decision.reasoning IS NULL THEN
      PERFORM cloudwatcher._refuse_null(CASE WHEN agent IS NULL THEN 'agent' WHEN record_decision.decision_type IS NULL THEN 'decision_type'
                                             WHEN decision IS NULL THEN 'decision' ELSE 'reasoning' END);
    END IF;
    IF length(agent) NOT BETWEEN 1 AND 100 OR length(record_decision.decision_type) NOT BETWEEN 1 AND 100 THEN
      RAISE EXCEPTION 'agent or decision_type is out of its range' USING ERRCODE = '22023',
        DETAIL = format('%s and %s characters', length(agent), length(record_decision.decision_type)),
        HINT = 'give names of 1 to 100 characters';
    END IF;
    IF confidence < 0 OR confidence > 1 THEN
      RAISE EXCEPTION 'confidence is out of its range' USING ERRCODE = '22023', DETAIL = format('confidence %s', confidence),
        HINT = 'give a number from 0 to 1, or NULL';
    END IF;
    SELECT r.dept_id INTO department FROM cloudwatcher.requests r WHERE r.id = request;
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_unseen('requests.write', 'request', request::text);
    END IF;
    INSERT INTO cloudwatcher.agent_decisions
           (request_id, dept_id, agent_name, decision_type, decision_value, reasoning, confidence_score)
    VALUES (request, department, agent, record_decision.decision_type, decision, record_decision.reasoning, confidence)
    RETURNING id INTO made;
    RETURN made;
  END
  $body$;

-- With the caller's rights. The newest first.
CREATE FUNCTION cloudwatcher.decisions(
    request uuid DEFAULT NULL, agent text DEFAULT NULL, only_type text DEFAULT NULL, holding jsonb DEFAULT NULL,
    min_confidence numeric DEFAULT NULL, max_confidence numeric DEFAULT NULL, n int DEFAULT 100)
  RETURNS TABLE (
    decision_id uuid, request_id uuid, agent_name text, decision_type text, decision_value text, reasoning jsonb,
    confidence_score numeric, created_at timestamptz)
  -- Which index serves depends on what is asked for.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
  AS $body$
  #variable_conflict use_column
  BEGIN
    PERFORM cloudwatcher._check_count(n);
    RETURN QUERY
      SELECT d.id, d.request_id, d.agent_name::text, d.decision_type::text, d.decision_value, d.reasoning, d.confidence_score, d.created_at
        FROM cloudwatcher.agent_decisions d
       WHERE (decisions.request IS NULL OR d.request_id = decisions.request)
         AND (decisions.agent IS NULL OR d.agent_name = decisions.agent)
         AND (only_type IS NULL OR d.decision_type = only_type)
         AND (holding IS NULL OR d.reasoning @> holding)
         AND (decisions.min_confidence IS NULL OR d.confidence_score >= decisions.min_confidence)
         AND (decisions.max_confidence IS NULL OR d.confidence_score <= decisions.max_confidence)
       ORDER BY d.created_at DESC, d.id LIMIT n;
  END
  $body$;
