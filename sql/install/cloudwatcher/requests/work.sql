-- Requests are worked on: by one worker at a time, as long as it reports back in time, and answered once.

-- Work that nobody reported on in time goes back, or has failed, if that happened too often.
CREATE FUNCTION cloudwatcher._end_lost_claims(moment timestamptz, kept_from timestamptz) RETURNS int
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off
  AS $body$
  DECLARE
    failed uuid[];
    ended int;
  BEGIN
    WITH lost AS MATERIALIZED (
      SELECT r.id, r.created_at FROM cloudwatcher.requests r
       WHERE r.status = 'processing' AND r.lease_expires_at <= moment AND r.created_at > kept_from
       ORDER BY r.lease_expires_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED
    ), changed AS (
      -- (As old as they are, they are the first to be claimed.)
      UPDATE cloudwatcher.requests r
         SET status = CASE WHEN r.attempts - r.attempts_forgiven < s.max_attempts THEN 'pending' ELSE 'failed' END,
             next_attempt_at = CASE WHEN r.attempts - r.attempts_forgiven < s.max_attempts THEN r.created_at END,
             lease_expires_at = NULL,
             error_message = format('%s did not report in time', r.claimed_by)
        FROM lost l, cloudwatcher.settings s
       WHERE r.id = l.id AND r.created_at = l.created_at
      RETURNING r.id, r.status)
    SELECT count(*), array_agg(c.id) FILTER (WHERE c.status = 'failed') INTO ended, failed FROM changed c;
    IF failed IS NOT NULL THEN
      UPDATE cloudwatcher.responses p SET status = 'failed' WHERE p.request_id = ANY (failed) AND p.status = 'processing';
    END IF;
    RETURN ended;
  END
  $body$;

CREATE FUNCTION cloudwatcher.claim_requests(
    worker text, n int DEFAULT 1, lease interval DEFAULT '5 minutes', only_types text[] DEFAULT NULL)
  RETURNS TABLE (
    request_id uuid, device_id text, request_type text, payload jsonb, attempt int, lease_expires_at timestamptz)
  -- One plan for all calls, and one that stays right however the table grows.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz := clock_timestamp();
    kept_from timestamptz;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.requests');
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('requests cannot be claimed');
    END IF;
    IF worker IS NULL OR worker = '' OR length(worker) > 200 THEN
      RAISE EXCEPTION 'worker is out of its range' USING ERRCODE = '22023', DETAIL = format('worker %L', left(worker, 250)),
        HINT = 'give a name of 1 to 200 characters that no other worker has';
    END IF;
    PERFORM cloudwatcher._check_count(n);
    PERFORM gemba._check_lease(claim_requests.lease);
    -- What has expired is about to be archived.
    SELECT moment - s.requests_kept INTO kept_from FROM cloudwatcher.settings s;
    IF moment >= (SELECT min(r.lease_expires_at) FROM cloudwatcher.requests r WHERE r.status = 'processing' AND r.created_at > kept_from) THEN
      PERFORM cloudwatcher._end_lost_claims(moment, kept_from);
    END IF;
    -- (One type is found in an index of its own, however few there are among the others. Written so that the index of
    -- all types, which looks cheaper to the planner, does not have the order.)
    IF cardinality(only_types) = 1 AND only_types[1] IS NOT NULL THEN
      RETURN QUERY
        WITH chosen AS MATERIALIZED (
          SELECT r.id, r.created_at FROM cloudwatcher.requests r
           WHERE r.status = 'pending' AND r.next_attempt_at <= moment AND r.created_at > kept_from
             AND r.request_type BETWEEN only_types[1] AND only_types[1]
           ORDER BY r.request_type, r.next_attempt_at LIMIT n FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE cloudwatcher.requests r
           SET status = 'processing', attempts = r.attempts + 1, claimed_by = worker, next_attempt_at = NULL,
               lease_expires_at = moment + claim_requests.lease
          FROM chosen c
         WHERE r.id = c.id AND r.created_at = c.created_at
        RETURNING r.id, r.device_id::text, r.request_type::text, r.payload, r.attempts, r.lease_expires_at;
      RETURN;
    END IF;
    RETURN QUERY
      WITH chosen AS MATERIALIZED (
        SELECT r.id, r.created_at FROM cloudwatcher.requests r
         WHERE r.status = 'pending' AND r.next_attempt_at <= moment AND r.created_at > kept_from
           AND (only_types IS NULL OR r.request_type = ANY (only_types))
         ORDER BY r.next_attempt_at LIMIT n FOR NO KEY UPDATE SKIP LOCKED)
      UPDATE cloudwatcher.requests r
         SET status = 'processing', attempts = r.attempts + 1, claimed_by = worker, next_attempt_at = NULL,
             lease_expires_at = moment + claim_requests.lease
        FROM chosen c
       WHERE r.id = c.id AND r.created_at = c.created_at
      RETURNING r.id, r.device_id::text, r.request_type::text, r.payload, r.attempts, r.lease_expires_at;
  END
  $body$;

CREATE FUNCTION cloudwatcher.extend_lease(worker text, requests uuid[], lease interval DEFAULT '5 minutes')
  RETURNS TABLE (request_id uuid, lease_expires_at timestamptz)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.requests');
    PERFORM gemba._check_lease(extend_lease.lease);
    IF worker IS NULL OR requests IS NULL THEN
      PERFORM cloudwatcher._refuse_null(CASE WHEN worker IS NULL THEN 'worker' ELSE 'requests' END);
    END IF;
    RETURN QUERY
      WITH held AS MATERIALIZED (
        SELECT r.id, r.created_at FROM cloudwatcher.requests r
         WHERE r.id = ANY (requests) AND r.status = 'processing' AND r.claimed_by = worker
         ORDER BY r.id FOR NO KEY UPDATE)
      UPDATE cloudwatcher.requests r SET lease_expires_at = clock_timestamp() + extend_lease.lease
        FROM held h WHERE r.id = h.id AND r.created_at = h.created_at
      RETURNING r.id, r.lease_expires_at;
  END
  $body$;

-- Locks a request that a worker reports on. Somebody else's is none of its business any more, and what it says of an
-- earlier attempt comes too late.
CREATE FUNCTION cloudwatcher._hold_request(
    request uuid, worker text, attempt int, OUT status text, OUT attempts int, OUT attempts_forgiven int, OUT device_id text, OUT dept_id uuid, OUT created_at timestamptz,
    OUT error_message text)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
  AS $body$
  #variable_conflict use_column
  DECLARE
    holder text;
  BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('requests cannot be reported on');
    END IF;
    SELECT r.status, r.attempts, r.attempts_forgiven, r.device_id, r.dept_id, r.created_at, r.error_message, r.claimed_by
      INTO status, attempts, attempts_forgiven, device_id, dept_id, created_at, error_message, holder
      FROM cloudwatcher.requests r WHERE r.id = request FOR NO KEY UPDATE;
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_unseen('requests.write', 'request', request::text);
      -- A server may do everything, and does not find it either.
    END IF;
    IF worker IS NOT NULL AND holder IS DISTINCT FROM worker THEN
      RAISE EXCEPTION 'the request is not yours any more' USING ERRCODE = '55000',
        DETAIL = format('request %s is %s, and was claimed by %s last', request, status, coalesce(holder, 'nobody')),
        HINT = 'stop working on it; whoever claimed it next reports on it';
    END IF;
    IF attempt <> attempts THEN
      RAISE EXCEPTION 'the attempt is over' USING ERRCODE = '55000',
        DETAIL = format('request %s is at attempt %s, not %s', request, attempts, attempt),
        HINT = 'stop working on it; whoever claimed it last reports on it';
    END IF;
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_state(request uuid, status text, hint text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION 'the request is %', status USING ERRCODE = '55000', DETAIL = format('request %s', request), HINT = hint;
  END
  $body$;

-- Announces an answer: there is a response to refer to, before it is ready.
CREATE FUNCTION cloudwatcher.begin_response(request uuid, worker text DEFAULT NULL) RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    held record;
    response uuid;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.responses');
    SELECT * INTO held FROM cloudwatcher._hold_request(request, worker, NULL);
    SELECT p.id INTO response FROM cloudwatcher.responses p WHERE p.request_id = request;
    IF held.status = 'completed' AND response IS NOT NULL THEN
      RETURN response;
    END IF;
    IF held.status <> 'processing' THEN
      PERFORM cloudwatcher._refuse_state(request, held.status, 'claim it first: cloudwatcher.claim_requests()');
    END IF;
    IF response IS NULL THEN
      INSERT INTO cloudwatcher.responses (request_id, device_id, dept_id) VALUES (request, held.device_id, held.dept_id)
      RETURNING id INTO response;
    END IF;
    RETURN response;
  END
  $body$;

CREATE FUNCTION cloudwatcher.complete_request(
    request uuid, content jsonb, ai_processed boolean DEFAULT false, worker text DEFAULT NULL, attempt int DEFAULT NULL)
  RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
  AS $body$
  #variable_conflict use_column
  DECLARE
    held record;
    response uuid;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.requests');
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.responses');
    IF complete_request.content IS NULL OR complete_request.ai_processed IS NULL THEN
      PERFORM cloudwatcher._refuse_null(CASE WHEN complete_request.content IS NULL THEN 'content' ELSE 'ai_processed' END);
    END IF;
    SELECT * INTO held FROM cloudwatcher._hold_request(request, worker, attempt);
    IF held.status = 'completed' THEN
      SELECT p.id INTO response FROM cloudwatcher.responses p
       WHERE p.request_id = request AND p.content = complete_request.content;
      IF FOUND THEN
        RETURN response;
      END IF;
      PERFORM cloudwatcher._refuse_state(request, 'completed with another answer',
        'let the device ask with another payload: that is another request');
    ELSIF held.status <> 'processing' THEN
      PERFORM cloudwatcher._refuse_state(request, held.status, 'claim it first: cloudwatcher.claim_requests()');
    END IF;
    UPDATE cloudwatcher.requests r SET status = 'completed', lease_expires_at = NULL, error_message = NULL
     WHERE r.id = request AND r.created_at = held.created_at;
    INSERT INTO cloudwatcher.responses AS p (request_id, device_id, dept_id, status, content, ai_processed)
    VALUES (request, held.device_id, held.dept_id, 'ready', complete_request.content, complete_request.ai_processed)
    ON CONFLICT (request_id) DO UPDATE
       SET status = 'ready', content = excluded.content, ai_processed = excluded.ai_processed
     WHERE p.status = 'processing'
    RETURNING p.id INTO response;
    IF response IS NULL THEN
      PERFORM cloudwatcher._refuse_state(request, 'answered already', 'look at its row in cloudwatcher.responses');
    END IF;
    RETURN response;
  END
  $body$;

-- The same for many: [{"request": …, "content": …, "ai_processed": …, "attempt": …}, …]. What cannot be completed is
-- told in its row, and spares the others.
CREATE FUNCTION cloudwatcher.complete_requests(results jsonb, worker text DEFAULT NULL)
  RETURNS TABLE (request_id uuid, response_id uuid, refused text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_mergejoin = off
  AS $body$
  #variable_conflict use_column
  DECLARE
    ids uuid[];
    contents jsonb[];
    flags boolean[];
    tries int[];
    wrongs text[];
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.requests');
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.responses');
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('requests cannot be reported on');
    END IF;
    IF results IS NULL OR jsonb_typeof(results) <> 'array' OR jsonb_array_length(results) > 10000 THEN
      RAISE EXCEPTION 'results is not an array of up to 10000' USING ERRCODE = '22023',
        DETAIL = format('it is of type %s', coalesce(jsonb_typeof(results), 'NULL')),
        HINT = 'give [{"request": …, "content": …, "ai_processed": …, "attempt": …}, …]';
    END IF;
    -- The same one twice is one; with something else, the first one counts.
    SELECT array_agg(g.id), array_agg(g.content), array_agg(g.flag), array_agg(g.attempt),
           array_agg(coalesce(g.wrong, CASE WHEN g.nth > 1 THEN 'the request is in here before, with another answer' END))
      INTO ids, contents, flags, tries, wrongs
      FROM (
        SELECT u.*, row_number() OVER w AS nth, u.wrong IS NULL AND row_number() OVER w > 1
                 AND (u.content, u.flag, coalesce(u.attempt, -1))
                     = (first_value(u.content) OVER w, first_value(u.flag) OVER w, first_value(coalesce(u.attempt, -1)) OVER w) AS again
          FROM (
            SELECT t.place, CASE WHEN t.known THEN t.request::uuid END AS id, t.content,
                   CASE WHEN jsonb_typeof(t.flag) = 'boolean' THEN t.flag::boolean ELSE false END AS flag,
                   CASE WHEN t.attempt ~ '^[0-9]{1,9}$' THEN t.attempt::int END AS attempt,
                   CASE WHEN t.kind <> 'object' THEN format('item %s is not an object', t.place)
                        WHEN t.request IS NULL THEN format('item %s has no request', t.place)
                        WHEN NOT t.known THEN format('item %s: request is not a UUID: %s', t.place, left(t.request, 100))
                        WHEN t.content IS NULL THEN format('item %s has no content', t.place)
                        WHEN jsonb_typeof(t.flag) <> 'boolean' THEN
                          format('item %s: ai_processed is not true or false: %s', t.place, left(t.flag::text, 100))
                        WHEN t.attempt !~ '^[0-9]{1,9}$' THEN format('item %s: attempt is not a number: %s', t.place, left(t.attempt, 100))
                   END AS wrong
              FROM (
                SELECT e.ordinality AS place, jsonb_typeof(e.value) AS kind, e.value ->> 'request' AS request,
                       e.value ->> 'request' ~ '^([0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}$' AS known,
                       nullif(e.value -> 'content', 'null') AS content, nullif(e.value -> 'ai_processed', 'null') AS flag,
                       e.value ->> 'attempt' AS attempt
                  FROM jsonb_array_elements(results) WITH ORDINALITY AS e) AS t) AS u
        WINDOW w AS (PARTITION BY u.id, u.wrong IS NULL ORDER BY u.place)) AS g
     WHERE NOT g.again;
    RETURN QUERY
      WITH held AS MATERIALIZED (
        SELECT r.id, r.created_at, r.device_id, r.dept_id, r.status, r.claimed_by, r.attempts FROM cloudwatcher.requests r
         WHERE r.id = ANY (ids) ORDER BY r.id FOR NO KEY UPDATE
      ), told AS MATERIALIZED (
        -- (A response is changed along with its request, which is locked.)
        SELECT g.id, g.content, g.flag, h.created_at, h.device_id, h.dept_id, p.id AS response,
               CASE WHEN g.wrong IS NOT NULL THEN g.wrong
                    WHEN h.id IS NULL THEN 'request not found'
                    WHEN worker IS NOT NULL AND h.claimed_by IS DISTINCT FROM worker THEN 'the request is not yours any more'
                    WHEN g.attempt <> h.attempts THEN format('the attempt is over: it is at %s', h.attempts)
                    WHEN h.status = 'completed' AND p.content = g.content THEN 'the same'
                    WHEN h.status = 'completed' THEN 'the request is completed with another answer'
                    WHEN h.status <> 'processing' THEN 'the request is ' || h.status
                    WHEN p.status <> 'processing' THEN 'the request is answered already' END AS why
          FROM unnest(ids, contents, flags, tries, wrongs) AS g (id, content, flag, attempt, wrong)
          LEFT JOIN held h ON h.id = g.id
          LEFT JOIN cloudwatcher.responses p ON p.request_id = g.id
      ), changed AS (
        UPDATE cloudwatcher.requests r SET status = 'completed', lease_expires_at = NULL, error_message = NULL
          FROM told t WHERE t.why IS NULL AND r.id = t.id AND r.created_at = t.created_at
      ), answered AS (
        INSERT INTO cloudwatcher.responses AS p (request_id, device_id, dept_id, status, content, ai_processed)
        SELECT t.id, t.device_id, t.dept_id, 'ready', t.content, t.flag FROM told t WHERE t.why IS NULL
        ON CONFLICT (request_id) DO UPDATE
           SET status = 'ready', content = excluded.content, ai_processed = excluded.ai_processed
        RETURNING p.request_id, p.id)
      SELECT t.id, coalesce(a.id, CASE WHEN t.why = 'the same' THEN t.response END), nullif(t.why, 'the same')
        FROM told t LEFT JOIN answered a ON a.request_id = t.id AND t.why IS NULL;
  END
  $body$;

CREATE FUNCTION cloudwatcher.fail_request(
    request uuid, error text, worker text DEFAULT NULL, retry boolean DEFAULT true, attempt int DEFAULT NULL)
  RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    held record;
    becomes text;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.requests');
    IF fail_request.error IS NULL OR fail_request.retry IS NULL THEN
      PERFORM cloudwatcher._refuse_null(CASE WHEN fail_request.error IS NULL THEN 'error' ELSE 'retry' END);
    END IF;
    SELECT * INTO held FROM cloudwatcher._hold_request(request, worker, attempt);
    IF held.status IN ('pending', 'failed') AND held.attempts > 0 AND held.error_message = fail_request.error THEN
      RETURN held.status;
    END IF;
    IF held.status <> 'processing' THEN
      PERFORM cloudwatcher._refuse_state(request, held.status, 'claim it first: cloudwatcher.claim_requests()');
    END IF;
    UPDATE cloudwatcher.requests r
       SET status = CASE WHEN again.yes THEN 'pending' ELSE 'failed' END,
           -- Twice as long each time, up to a thousand times.
           next_attempt_at = CASE WHEN again.yes THEN clock_timestamp() + again.after * power(2, least(r.attempts - r.attempts_forgiven - 1, 10)) END,
           lease_expires_at = NULL, error_message = fail_request.error
      FROM (SELECT retry AND held.attempts - held.attempts_forgiven < s.max_attempts AND held.created_at > clock_timestamp() - s.requests_kept AS yes,
                   s.retry_after AS after FROM cloudwatcher.settings s) AS again
     WHERE r.id = request AND r.created_at = held.created_at
    RETURNING r.status INTO becomes;
    IF becomes = 'failed' THEN
      UPDATE cloudwatcher.responses p SET status = 'failed' WHERE p.request_id = request AND p.status = 'processing';
    END IF;
    RETURN becomes;
  END
  $body$;

CREATE FUNCTION cloudwatcher.retry_request(request uuid) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    department uuid;
    held record;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.requests');
    SELECT r.dept_id INTO department FROM cloudwatcher.requests r WHERE r.id = request;
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_unseen('requests.write', 'request', request::text);
    END IF;
    PERFORM cloudwatcher._require_seen('requests.write', department, 'request', request::text);
    SELECT * INTO held FROM cloudwatcher._hold_request(request, NULL, NULL);
    IF held.status = 'completed' THEN
      PERFORM cloudwatcher._refuse_state(request, held.status,
        'cloudwatcher.retry_response() has its answer delivered once more; for another answer, the device asks with another payload');
    ELSIF held.status IN ('failed', 'pending')
          AND held.created_at <= clock_timestamp() - (SELECT s.requests_kept FROM cloudwatcher.settings s)
    THEN
      RAISE EXCEPTION 'the request has expired' USING ERRCODE = '55000', DETAIL = format('request %s of %s', request, held.created_at),
        HINT = 'let the device submit it again: it becomes another request';
    ELSIF held.status = 'failed' THEN
      UPDATE cloudwatcher.requests r
         SET status = 'pending', attempts_forgiven = r.attempts, next_attempt_at = now(), claimed_by = NULL, error_message = NULL
       WHERE r.id = request AND r.created_at = held.created_at;
      UPDATE cloudwatcher.responses p SET status = 'processing' WHERE p.request_id = request AND p.status = 'failed';
      RETURN 'pending';
    END IF;
    RETURN held.status;
  END
  $body$;
