-- Devices come and go. Whatever is heard of one counts: a connection, a sign of life, a request.

-- The same kind of connection again is the same one, if it was not silent for too long.
CREATE FUNCTION cloudwatcher.connect_device(device_id text, connection_type text DEFAULT 'polling', ip inet DEFAULT NULL)
  RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz;
    department uuid;
    who uuid;
    present record;
    connection uuid;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.device_connections');
    IF connect_device.connection_type IS NULL OR connect_device.connection_type NOT IN ('websocket', 'polling', 'webhook') THEN
      RAISE EXCEPTION 'connection_type is not one of its values' USING ERRCODE = '22023',
        DETAIL = format('connection_type %L', connect_device.connection_type), HINT = 'use ''websocket'', ''polling'' or ''webhook''';
    END IF;
    who := cloudwatcher._hold_device(connect_device.device_id, true);
    SELECT d.dept_id INTO department FROM cloudwatcher.devices d WHERE d.device_id = connect_device.device_id;
    moment := clock_timestamp();
    SELECT c.id, c.connection_type, c.last_seen_at, c.last_seen_at < moment - s.offline_after AS lost INTO present
      FROM cloudwatcher.device_connections c, cloudwatcher.settings s
     WHERE c.device_id = connect_device.device_id AND c.disconnected_at IS NULL;
    UPDATE cloudwatcher.devices d SET last_seen_at = moment WHERE d.device_id = connect_device.device_id;
    IF present.id IS NOT NULL AND present.connection_type = connect_device.connection_type AND NOT present.lost THEN
      UPDATE cloudwatcher.device_connections c SET last_seen_at = moment, ip_address = coalesce(connect_device.ip, c.ip_address)
       WHERE c.id = present.id;
      RETURN present.id;
    END IF;
    UPDATE cloudwatcher.device_connections c
       SET disconnected_at = CASE WHEN present.lost THEN greatest(c.last_seen_at, c.connected_at) ELSE greatest(moment, c.connected_at) END
     WHERE c.id = present.id;
    INSERT INTO cloudwatcher.device_connections
           (device_id, dept_id, user_id, connection_type, ip_address, connected_at, last_seen_at)
    VALUES (connect_device.device_id, department, (SELECT u.id FROM cloudwatcher.users u WHERE u.id = who),
            connect_device.connection_type, connect_device.ip, moment, moment)
    RETURNING id INTO connection;
    RETURN connection;
  END
  $body$;

-- One at a time reports on a device.
CREATE FUNCTION cloudwatcher._hold_device(device text, register boolean) RETURNS uuid
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid;
  BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('devices cannot be reported on');
    END IF;
    SELECT f.who INTO who FROM cloudwatcher._find_device(device, 'requests.create', register) AS f;
    PERFORM FROM cloudwatcher.devices d WHERE d.device_id = device FOR NO KEY UPDATE;
    RETURN who;
  END
  $body$;

-- A connection that was silent for too long ended when the device was heard of last.
CREATE FUNCTION cloudwatcher._end_silence(device text, moment timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    UPDATE cloudwatcher.device_connections c SET disconnected_at = greatest(c.last_seen_at, c.connected_at)
      FROM cloudwatcher.settings s
     WHERE c.device_id = device AND c.disconnected_at IS NULL AND c.last_seen_at < moment - s.offline_after;
  END
  $body$;

-- Of the device, and of its connection, if it has one. (It does not open one.)
CREATE FUNCTION cloudwatcher.device_alive(device_id text) RETURNS timestamptz
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.device_connections');
    PERFORM cloudwatcher._hold_device(device_alive.device_id, false);
    moment := clock_timestamp();
    PERFORM cloudwatcher._end_silence(device_alive.device_id, moment);
    UPDATE cloudwatcher.devices d SET last_seen_at = moment WHERE d.device_id = device_alive.device_id;
    UPDATE cloudwatcher.device_connections c SET last_seen_at = moment
     WHERE c.device_id = device_alive.device_id AND c.disconnected_at IS NULL;
    RETURN moment;
  END
  $body$;

-- Returns for how many seconds it was connected; again: the same.
CREATE FUNCTION cloudwatcher.disconnect_device(device_id text) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    moment timestamptz;
    seconds int;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.device_connections');
    PERFORM cloudwatcher._hold_device(disconnect_device.device_id, false);
    moment := clock_timestamp();
    PERFORM cloudwatcher._end_silence(disconnect_device.device_id, moment);
    UPDATE cloudwatcher.device_connections c SET last_seen_at = moment, disconnected_at = greatest(moment, c.connected_at)
     WHERE c.device_id = disconnect_device.device_id AND c.disconnected_at IS NULL
    RETURNING c.session_duration_seconds INTO seconds;
    IF FOUND THEN
      UPDATE cloudwatcher.devices d SET last_seen_at = moment WHERE d.device_id = disconnect_device.device_id;
    ELSE
      SELECT c.session_duration_seconds INTO seconds FROM cloudwatcher.device_connections c
       WHERE c.device_id = disconnect_device.device_id ORDER BY c.connected_at DESC LIMIT 1;
    END IF;
    RETURN seconds;
  END
  $body$;

-- Connections of devices that fell silent ended when they were heard of last.
CREATE FUNCTION cloudwatcher.close_lost_connections() RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    closed int;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.device_connections');
    WITH lost AS MATERIALIZED (
      SELECT c.id FROM cloudwatcher.device_connections c
       WHERE c.disconnected_at IS NULL
         AND c.last_seen_at < clock_timestamp() - (SELECT s.offline_after FROM cloudwatcher.settings s)
         FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE cloudwatcher.device_connections c SET disconnected_at = greatest(c.last_seen_at, c.connected_at)
      FROM lost l WHERE c.id = l.id;
    GET DIAGNOSTICS closed = ROW_COUNT;
    RETURN closed;
  END
  $body$;

-- With the caller's rights: of the devices that he sees.
CREATE FUNCTION cloudwatcher.device_status(device text DEFAULT NULL)
  RETURNS TABLE (
    device_id text, name text, dept_id uuid, is_active boolean, status text, since timestamptz, last_seen_at timestamptz,
    connection_type text, open_requests bigint, undelivered_responses bigint)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  BEGIN
    RETURN QUERY
      SELECT d.device_id::text, d.name::text, d.dept_id, d.is_active,
             CASE WHEN d.last_seen_at IS NULL THEN 'never'
                  WHEN d.last_seen_at < clock_timestamp() - s.offline_after OR d.last_seen_at <= l.disconnected_at THEN 'offline'
                  ELSE 'online' END,
             CASE WHEN d.last_seen_at IS NULL THEN d.created_at
                  WHEN d.last_seen_at < clock_timestamp() - s.offline_after OR d.last_seen_at <= l.disconnected_at THEN d.last_seen_at
                  WHEN l.disconnected_at IS NULL THEN coalesce(l.connected_at, d.last_seen_at)
                  ELSE d.last_seen_at END,
             d.last_seen_at, CASE WHEN l.disconnected_at IS NULL THEN l.connection_type::text END,
             coalesce(q.n, 0), coalesce(w.n, 0)
        FROM cloudwatcher.devices d
       CROSS JOIN cloudwatcher.settings s
        LEFT JOIN LATERAL (
          SELECT c.connected_at, c.disconnected_at, c.connection_type FROM cloudwatcher.device_connections c
           WHERE c.device_id = d.device_id ORDER BY c.connected_at DESC LIMIT 1) AS l ON true
        LEFT JOIN (
          SELECT r.device_id, count(*) AS n FROM cloudwatcher.requests r
           WHERE r.status IN ('pending', 'processing') AND (device_status.device IS NULL OR r.device_id = device_status.device)
           GROUP BY r.device_id) AS q ON q.device_id = d.device_id
        LEFT JOIN (
          SELECT p.device_id, count(*) AS n FROM cloudwatcher.responses p
           WHERE p.status = 'ready' AND (device_status.device IS NULL OR p.device_id = device_status.device)
           GROUP BY p.device_id) AS w ON w.device_id = d.device_id
       WHERE device_status.device IS NULL OR d.device_id = device_status.device
       ORDER BY d.device_id;
  END
  $body$;
