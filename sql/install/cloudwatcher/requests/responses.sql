-- Answers go out.

-- With the caller's rights: whoever sees the device's answers.
CREATE FUNCTION cloudwatcher.pending_responses(device_id text, n int DEFAULT 100)
  RETURNS TABLE (
    response_id uuid, request_id uuid, request_type text, content jsonb, ai_processed boolean, created_at timestamptz)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  BEGIN
    PERFORM cloudwatcher._check_count(n);
    IF pending_responses.device_id IS NULL THEN
      PERFORM cloudwatcher._refuse_null('device_id');
    END IF;
    RETURN QUERY
      SELECT p.id, p.request_id, r.request_type::text, p.content, p.ai_processed, p.created_at
        FROM (SELECT w.* FROM cloudwatcher.responses w
               WHERE w.device_id = pending_responses.device_id AND w.status = 'ready'
               ORDER BY w.created_at, w.id LIMIT n) AS p
        LEFT JOIN cloudwatcher.requests r ON r.id = p.request_id
       ORDER BY p.created_at, p.id;
  END
  $body$;

-- Locks a response that somebody reports on.
CREATE FUNCTION cloudwatcher._hold_response(response uuid, permission text, OUT status text, OUT delivered_at timestamptz)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    department uuid;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.responses');
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('responses cannot be reported on');
    END IF;
    SELECT p.dept_id INTO department FROM cloudwatcher.responses p WHERE p.id = response;
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_unseen(permission, 'response', response::text);
    END IF;
    PERFORM cloudwatcher._require_seen(permission, department, 'response', response::text);
    SELECT p.status, p.delivered_at INTO status, delivered_at FROM cloudwatcher.responses p WHERE p.id = response FOR NO KEY UPDATE;
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_unseen(permission, 'response', response::text);
    END IF;
  END
  $body$;

CREATE FUNCTION cloudwatcher.acknowledge(response uuid) RETURNS timestamptz
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    held record;
  BEGIN
    SELECT * INTO held FROM cloudwatcher._hold_response(response, 'requests.create');
    IF held.status = 'delivered' THEN
      RETURN held.delivered_at;
    ELSIF held.status <> 'ready' THEN
      RAISE EXCEPTION 'the response is %', held.status USING ERRCODE = '55000', DETAIL = format('response %s', response),
        HINT = 'cloudwatcher.pending_responses() says which ones are ready';
    END IF;
    UPDATE cloudwatcher.responses p SET status = 'delivered', delivered_at = clock_timestamp() WHERE p.id = response
    RETURNING p.delivered_at INTO held.delivered_at;
    RETURN held.delivered_at;
  END
  $body$;

-- It was not to be delivered; why is written beside it.
CREATE FUNCTION cloudwatcher.fail_response(response uuid, error text) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    held record;
  BEGIN
    IF fail_response.error IS NULL THEN
      PERFORM cloudwatcher._refuse_null('error');
    END IF;
    SELECT * INTO held FROM cloudwatcher._hold_response(response, 'requests.create');
    IF held.status = 'failed' THEN
      RETURN held.status;
    ELSIF held.status <> 'ready' THEN
      RAISE EXCEPTION 'the response is %', held.status USING ERRCODE = '55000', DETAIL = format('response %s', response),
        HINT = 'only what is ready can fail to be delivered';
    END IF;
    UPDATE cloudwatcher.responses p SET status = 'failed' WHERE p.id = response;
    INSERT INTO cloudwatcher.response_metadata (response_id, key, value) VALUES (response, 'error', fail_response.error);
    RETURN 'failed';
  END
  $body$;

-- What a request was answered waits for the device once more.
CREATE FUNCTION cloudwatcher.retry_response(response uuid) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    held record;
    request record;
  BEGIN
    SELECT * INTO held FROM cloudwatcher._hold_response(response, 'requests.write');
    IF held.status <> 'failed' THEN
      RETURN held.status;
    END IF;
    SELECT r.id, r.status INTO request
      FROM cloudwatcher.responses p JOIN cloudwatcher.requests r ON r.id = p.request_id WHERE p.id = response;
    IF request.status <> 'completed' THEN
      PERFORM cloudwatcher._refuse_state(request.id, request.status, 'there is no answer yet; cloudwatcher.retry_request() has a failed one tried again');
    END IF;
    UPDATE cloudwatcher.responses p SET status = 'ready' WHERE p.id = response;
    RETURN 'ready';
  END
  $body$;
