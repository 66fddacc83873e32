-- Requests come in: each once, however often it is sent.

-- The department of a device, and who asks. One that nobody has heard of belongs to the department of the first who
-- does, if that is clear.
CREATE FUNCTION cloudwatcher._find_device(device text, permission text, register boolean, OUT department uuid, OUT who uuid)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    active boolean;
    works uuid[];
  BEGIN
    IF device IS NULL THEN
      PERFORM cloudwatcher._refuse_null('device_id');
    END IF;
    SELECT d.dept_id, d.is_active INTO department, active FROM cloudwatcher.devices d WHERE d.device_id = device;
    IF NOT FOUND AND NOT register THEN
      PERFORM cloudwatcher._refuse_unseen(permission, 'device', device);
    ELSIF NOT FOUND THEN
      who := cloudwatcher._require(permission);
      IF device = '' OR length(device) > 50 THEN
        RAISE EXCEPTION 'device_id is out of its range' USING ERRCODE = '22023', DETAIL = format('%s characters', length(device)),
          HINT = 'give a name of 1 to 50 characters';
      END IF;
      IF NOT cloudwatcher._is_service() THEN
        works := ARRAY(SELECT w.dept_id FROM cloudwatcher.user_departments w WHERE w.user_id = who LIMIT 2);
      END IF;
      IF cardinality(works) IS DISTINCT FROM 1 THEN
        RAISE EXCEPTION 'the device is not registered' USING ERRCODE = '22023', DETAIL = format('device %s', device),
          HINT = 'insert it into cloudwatcher.devices with its department';
      END IF;
      INSERT INTO cloudwatcher.devices (device_id, dept_id) VALUES (device, works[1]) ON CONFLICT (device_id) DO NOTHING;
      SELECT d.dept_id, d.is_active INTO department, active FROM cloudwatcher.devices d WHERE d.device_id = device;
    END IF;
    who := cloudwatcher._require_seen(permission, department, 'device', device);
    IF NOT active THEN
      RAISE EXCEPTION 'the device is not active' USING ERRCODE = '55000', DETAIL = format('device %s', device),
        HINT = 'set is_active in cloudwatcher.devices to let it in again';
    END IF;
  END
  $body$;

-- It was heard of. Not written down each time, and never waited for. A connection that was silent for too long ended
-- before.
CREATE FUNCTION cloudwatcher._heard_of(device text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  BEGIN
    UPDATE cloudwatcher.devices d SET last_seen_at = now()
     WHERE d.id = (SELECT e.id FROM cloudwatcher.devices e
                    WHERE e.device_id = device AND (e.last_seen_at IS NULL OR e.last_seen_at < now() - interval '10 seconds')
                      FOR NO KEY UPDATE SKIP LOCKED);
    IF FOUND THEN
      UPDATE cloudwatcher.device_connections c
         SET disconnected_at = CASE WHEN c.last_seen_at < now() - s.offline_after THEN greatest(c.last_seen_at, c.connected_at) END,
             last_seen_at = CASE WHEN c.last_seen_at < now() - s.offline_after THEN c.last_seen_at ELSE now() END
        FROM cloudwatcher.settings s
       WHERE c.id = (SELECT e.id FROM cloudwatcher.device_connections e
                      WHERE e.device_id = device AND e.disconnected_at IS NULL FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
  END
  $body$;

CREATE FUNCTION cloudwatcher.submit_request(
    device_id text, request_type text, payload jsonb DEFAULT '{}', metadata jsonb DEFAULT '{}')
  RETURNS TABLE (request_id uuid, status text, is_new boolean, response_id uuid)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  #variable_conflict use_column
  DECLARE
    department uuid;
    who uuid;
    hash text;
    known record;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.requests');
    IF submit_request.request_type IS NULL OR submit_request.payload IS NULL THEN
      PERFORM cloudwatcher._refuse_null(CASE WHEN submit_request.payload IS NULL THEN 'payload' ELSE 'request_type' END);
    END IF;
    IF submit_request.request_type = '' OR length(submit_request.request_type) > 50 THEN
      RAISE EXCEPTION 'request_type is out of its range' USING ERRCODE = '22023',
        DETAIL = format('%s characters', length(submit_request.request_type)), HINT = 'give a name of 1 to 50 characters';
    END IF;
    IF octet_length(submit_request.payload::text) > 1048576 THEN
      RAISE EXCEPTION 'the payload is too large' USING ERRCODE = '54000',
        DETAIL = format('%s bytes', octet_length(submit_request.payload::text)),
        HINT = 'keep it within 1 MB; large files belong into a cloud, see cloudwatcher.add_file_ref()';
    END IF;
    IF submit_request.metadata IS NOT NULL AND submit_request.metadata <> '{}' THEN
      PERFORM cloudwatcher._check_metadata(submit_request.metadata);
    END IF;
    SELECT f.department, f.who INTO department, who
      FROM cloudwatcher._find_device(submit_request.device_id, 'requests.create', true) AS f;
    PERFORM cloudwatcher._ready_requests();
    hash := cloudwatcher.payload_hash(submit_request.payload);
    request_id := gen_random_uuid();
    is_new := true;
    status := 'pending';
    -- Of two who send the same at once, one waits here for the other.
    FOR attempt IN 1 .. 5 LOOP
      INSERT INTO cloudwatcher.request_keys (device_id, request_type, payload_hash, request_id, created_at)
      VALUES (submit_request.device_id, submit_request.request_type, hash, submit_request.request_id, now())
      ON CONFLICT (payload_hash, device_id, request_type) DO NOTHING;
      IF FOUND THEN
        INSERT INTO cloudwatcher.requests (id, device_id, request_type, payload, payload_hash, dept_id, created_by, created_at)
        VALUES (submit_request.request_id, submit_request.device_id, submit_request.request_type, submit_request.payload, hash,
                department, (SELECT u.id FROM cloudwatcher.users u WHERE u.id = who), now());
        IF submit_request.metadata IS NOT NULL AND submit_request.metadata <> '{}' THEN
          INSERT INTO cloudwatcher.request_metadata (request_id, key, value)
          SELECT submit_request.request_id, m.key, m.value FROM jsonb_each_text(submit_request.metadata) AS m
           WHERE m.value IS NOT NULL;
        END IF;
        PERFORM cloudwatcher._heard_of(submit_request.device_id);
        RETURN NEXT;
        RETURN;
      END IF;
      SELECT r.id, r.status, r.dept_id, p.id AS response,
             r.status <> 'completed' AND r.created_at <= clock_timestamp() - s.requests_kept AS expired
        INTO known
        FROM cloudwatcher.request_keys k
        JOIN cloudwatcher.requests r ON r.id = k.request_id AND r.created_at = k.created_at
       CROSS JOIN cloudwatcher.settings s
        LEFT JOIN cloudwatcher.responses p ON p.request_id = r.id
       WHERE k.payload_hash = hash AND k.device_id = submit_request.device_id AND k.request_type = submit_request.request_type;
      IF FOUND AND NOT known.expired AND known.dept_id IS NOT DISTINCT FROM department THEN
        PERFORM cloudwatcher._heard_of(submit_request.device_id);
        request_id := known.id;
        status := known.status;
        is_new := false;
        response_id := known.response;
        RETURN NEXT;
        RETURN;
      END IF;
      -- Nobody takes up what has expired, and what the device asked for in another department is that one's. (Or it
      -- has been archived since.)
      IF FOUND THEN
        DELETE FROM cloudwatcher.request_keys k
         WHERE k.payload_hash = hash AND k.device_id = submit_request.device_id AND k.request_type = submit_request.request_type
           AND k.request_id = known.id;
      END IF;
    END LOOP;
    RAISE EXCEPTION 'the request is known, and cannot be found' USING ERRCODE = '55000',
      DETAIL = format('device %s, type %s, hash %s', submit_request.device_id, submit_request.request_type, hash),
      HINT = 'try again; if that does not help, delete its row in cloudwatcher.request_keys';
  END
  $body$;

CREATE FUNCTION cloudwatcher._check_metadata(metadata jsonb) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    wrong text;
  BEGIN
    IF jsonb_typeof(metadata) <> 'object' THEN
      RAISE EXCEPTION 'metadata is not an object' USING ERRCODE = '22023', DETAIL = format('it is of type %s', jsonb_typeof(metadata)),
        HINT = 'give an object of plain values: {"app_version": "2.1.0"}';
    END IF;
    SELECT min(m.key) INTO wrong FROM jsonb_each(metadata) AS m
     WHERE jsonb_typeof(m.value) IN ('object', 'array') OR m.key = '' OR length(m.key) > 100;
    IF wrong IS NOT NULL OR octet_length(metadata::text) > 65536 THEN
      RAISE EXCEPTION 'metadata is not flat' USING ERRCODE = '22023',
        DETAIL = coalesce(format('key %s', left(wrong, 200)), format('%s bytes', octet_length(metadata::text))),
        HINT = 'give plain values under keys of 1 to 100 characters, up to 64 kB; the rest belongs into the payload';
    END IF;
  END
  $body$;

-- Many at once. What is wrong with one is told in its place, and spares the others.
CREATE FUNCTION cloudwatcher.submit_requests(requests jsonb)
  RETURNS TABLE (place int, request_id uuid, status text, is_new boolean, response_id uuid, code text, error text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    one record;
    told text;
  BEGIN
    PERFORM cloudwatcher._require('requests.create');
    IF requests IS NULL OR jsonb_typeof(requests) <> 'array' THEN
      RAISE EXCEPTION 'requests is not an array' USING ERRCODE = '22023',
        DETAIL = format('it is of type %s', coalesce(jsonb_typeof(requests), 'NULL')),
        HINT = 'give [{"device_id": …, "request_type": …, "payload": …, "metadata": …}, …]';
    END IF;
    IF jsonb_array_length(requests) > 1000 THEN
      RAISE EXCEPTION 'too many requests at once' USING ERRCODE = '54000', DETAIL = format('%s requests', jsonb_array_length(requests)),
        HINT = 'send up to 1000 at a time';
    END IF;
    -- In one order for everybody (a payload that is left out is empty): two who send the same ones wait for each
    -- other, and not in a circle.
    FOR one IN
      SELECT e.ordinality::int AS place, e.value AS item, jsonb_typeof(e.value) = 'object' AS sound
        FROM jsonb_array_elements(requests) WITH ORDINALITY AS e
       ORDER BY e.value ->> 'device_id', e.value ->> 'request_type', cloudwatcher.payload_hash(coalesce(e.value -> 'payload', '{}')), e.ordinality
    LOOP
      place := one.place;
      request_id := NULL;
      status := NULL;
      is_new := NULL;
      response_id := NULL;
      code := NULL;
      error := NULL;
      IF NOT one.sound THEN
        code := '22023';
        error := 'it is not an object';
      ELSE
        BEGIN
          SELECT s.request_id, s.status, s.is_new, s.response_id INTO request_id, status, is_new, response_id
            FROM cloudwatcher.submit_request(one.item ->> 'device_id', one.item ->> 'request_type',
              coalesce(one.item -> 'payload', '{}'), coalesce(nullif(one.item -> 'metadata', 'null'), '{}')) AS s;
        EXCEPTION WHEN data_exception OR no_data_found OR insufficient_privilege OR program_limit_exceeded
                    OR object_not_in_prerequisite_state THEN
          GET STACKED DIAGNOSTICS told = PG_EXCEPTION_DETAIL;
          code := SQLSTATE;
          error := SQLERRM || coalesce(': ' || nullif(told, ''), '');
        END;
      END IF;
      RETURN NEXT;
    END LOOP;
  END
  $body$;
