-- Devices, what they ask for and what they are answered.

-- Longer than it takes a request to become old (cloudwatcher._hold_archive), by more than any transaction lasts.
ALTER TABLE cloudwatcher.settings ADD COLUMN requests_kept interval NOT NULL DEFAULT '90 days',
  ADD CONSTRAINT settings_requests_kept_check CHECK (requests_kept >= interval '35 days');
COMMENT ON COLUMN cloudwatcher.settings.requests_kept IS 'a month of requests that ended so long ago is archived, with what hangs on them';

CREATE TABLE cloudwatcher.devices (
  id             uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  device_id      varchar(50) COLLATE "C" NOT NULL,
  name           varchar(255),
  dept_id        uuid NOT NULL REFERENCES cloudwatcher.departments (id),
  is_active      boolean NOT NULL DEFAULT true,
  last_seen_at   timestamptz,
  created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT devices_device_id_key UNIQUE (device_id),
  CONSTRAINT devices_device_id_check CHECK (device_id <> '')
);
CREATE INDEX devices_dept_id_idx ON cloudwatcher.devices (dept_id);
COMMENT ON TABLE cloudwatcher.devices IS 'devices and the department that each belongs to: it decides who sees their requests';

CREATE TABLE cloudwatcher.requests (
  id                uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
  device_id         varchar(50) COLLATE "C" NOT NULL,
  request_type      varchar(50) COLLATE "C" NOT NULL,
  status            varchar(50) COLLATE "C" NOT NULL DEFAULT 'pending',
  payload           jsonb NOT NULL DEFAULT '{}',
  payload_hash      varchar(64) COLLATE "C",
  dept_id           uuid REFERENCES cloudwatcher.departments (id),
  created_by        uuid REFERENCES cloudwatcher.users (id),
  attempts          int NOT NULL DEFAULT 0,
  attempts_forgiven int NOT NULL DEFAULT 0,
  next_attempt_at   timestamptz DEFAULT pg_catalog.now(),
  claimed_by        text,
  lease_expires_at  timestamptz,
  error_message     text,
  created_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT requests_status_check CHECK (status = 'pending' OR status = 'processing' OR status = 'completed' OR status = 'failed'),
  CONSTRAINT requests_next_attempt_at_check CHECK (status <> 'pending' OR next_attempt_at IS NOT NULL),
  CONSTRAINT requests_lease_expires_at_check CHECK ((status = 'processing') = (lease_expires_at IS NOT NULL)),
  CONSTRAINT requests_claimed_by_check CHECK (status <> 'processing' OR claimed_by IS NOT NULL)
) PARTITION BY RANGE (created_at);
COMMENT ON TABLE cloudwatcher.requests IS 'what devices ask for, by month; kept 90 days, then archived';
COMMENT ON COLUMN cloudwatcher.requests.payload_hash IS 'SHA-256 of the canonical payload: the same one of the same device and type is the same request';
COMMENT ON COLUMN cloudwatcher.requests.attempts IS 'how often it was claimed: the present attempt, or the last one';
COMMENT ON COLUMN cloudwatcher.requests.attempts_forgiven IS 'how many of them do not count, because somebody had it tried again since';
COMMENT ON COLUMN cloudwatcher.requests.next_attempt_at IS 'when a pending request may be claimed';
COMMENT ON COLUMN cloudwatcher.requests.claimed_by IS 'the worker that works on it, or did last';
COMMENT ON COLUMN cloudwatcher.requests.lease_expires_at IS 'until when the worker has to report';
COMMENT ON COLUMN cloudwatcher.requests.dept_id IS 'the department that it belongs to: the device''s, otherwise that of whoever submitted it';

CREATE INDEX requests_device_id_status_created_at_idx ON cloudwatcher.requests (device_id, status, created_at DESC);
CREATE INDEX requests_request_type_idx ON cloudwatcher.requests (request_type);
CREATE INDEX requests_status_idx ON cloudwatcher.requests (status, created_at);
CREATE INDEX requests_created_at_idx ON cloudwatcher.requests (created_at);
CREATE INDEX requests_payload_hash_idx ON cloudwatcher.requests (payload_hash);
CREATE INDEX requests_dept_id_idx ON cloudwatcher.requests (dept_id, created_at);
CREATE INDEX requests_created_by_idx ON cloudwatcher.requests (created_by) WHERE created_by IS NOT NULL;
-- What may be claimed, and who has to report.
CREATE INDEX requests_next_attempt_at_idx ON cloudwatcher.requests (next_attempt_at) WHERE status = 'pending';
CREATE INDEX requests_request_type_next_attempt_at_idx ON cloudwatcher.requests (request_type, next_attempt_at) WHERE status = 'pending';
CREATE INDEX requests_lease_expires_at_idx ON cloudwatcher.requests (lease_expires_at) WHERE status = 'processing';

-- A partitioned table cannot be unique by anything without its key. Here is what is known of requests that are kept.
CREATE TABLE cloudwatcher.request_keys (
  device_id     varchar(50) COLLATE "C" NOT NULL,
  request_type  varchar(50) COLLATE "C" NOT NULL,
  payload_hash  varchar(64) COLLATE "C" NOT NULL,
  request_id    uuid NOT NULL,
  created_at    timestamptz NOT NULL,
  CONSTRAINT request_keys_pkey PRIMARY KEY (payload_hash, device_id, request_type)
);
CREATE INDEX request_keys_request_id_idx ON cloudwatcher.request_keys (request_id);
COMMENT ON TABLE cloudwatcher.request_keys IS 'which request a payload is already known as; nobody''s to read';

CREATE TABLE cloudwatcher.request_metadata (
  id          uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  request_id  uuid NOT NULL,
  key         varchar(100) NOT NULL,
  value       text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX request_metadata_request_id_idx ON cloudwatcher.request_metadata (request_id);
CREATE INDEX request_metadata_key_value_idx ON cloudwatcher.request_metadata (key, pg_catalog.left(value, 200));
COMMENT ON TABLE cloudwatcher.request_metadata IS 'attributes of requests';

CREATE TABLE cloudwatcher.responses (
  id            uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  request_id    uuid NOT NULL,
  device_id     varchar(50) COLLATE "C" NOT NULL,
  dept_id       uuid REFERENCES cloudwatcher.departments (id),
  status        varchar(50) COLLATE "C" NOT NULL DEFAULT 'processing',
  content       jsonb NOT NULL DEFAULT '{}',
  ai_processed  boolean NOT NULL DEFAULT false,
  delivered_at  timestamptz,
  created_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT responses_request_id_key UNIQUE (request_id),
  CONSTRAINT responses_status_check CHECK (status = 'processing' OR status = 'ready' OR status = 'delivered' OR status = 'failed'),
  CONSTRAINT responses_delivered_at_check CHECK ((status = 'delivered') = (delivered_at IS NOT NULL))
);
CREATE INDEX responses_status_idx ON cloudwatcher.responses (status);
CREATE INDEX responses_ai_processed_idx ON cloudwatcher.responses (ai_processed);
CREATE INDEX responses_device_id_idx ON cloudwatcher.responses (device_id, created_at) WHERE status = 'ready';
CREATE INDEX responses_dept_id_idx ON cloudwatcher.responses (dept_id);
COMMENT ON TABLE cloudwatcher.responses IS 'the answer to a request, one at most, and whether it was delivered';

CREATE TABLE cloudwatcher.response_metadata (
  id           uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  response_id  uuid NOT NULL REFERENCES cloudwatcher.responses (id) ON DELETE CASCADE,
  key          varchar(100) NOT NULL,
  value        text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX response_metadata_response_id_idx ON cloudwatcher.response_metadata (response_id);
CREATE INDEX response_metadata_key_value_idx ON cloudwatcher.response_metadata (key, pg_catalog.left(value, 200));
COMMENT ON TABLE cloudwatcher.response_metadata IS 'attributes of responses';

CREATE TABLE cloudwatcher.device_connections (
  id                        uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  device_id                 varchar(50) COLLATE "C" NOT NULL,
  dept_id                   uuid REFERENCES cloudwatcher.departments (id),
  user_id                   uuid REFERENCES cloudwatcher.users (id),
  connection_type           varchar(50) NOT NULL DEFAULT 'polling',
  ip_address                inet,
  connected_at              timestamptz NOT NULL DEFAULT pg_catalog.now(),
  last_seen_at              timestamptz NOT NULL DEFAULT pg_catalog.now(),
  disconnected_at           timestamptz,
  session_duration_seconds  int GENERATED ALWAYS AS (EXTRACT(epoch FROM disconnected_at - connected_at)::int) STORED,
  created_at                timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT device_connections_connection_type_check CHECK (connection_type = 'websocket' OR connection_type = 'polling' OR connection_type = 'webhook'),
  CONSTRAINT device_connections_times_check CHECK (disconnected_at >= connected_at)
);
CREATE INDEX device_connections_device_id_idx ON cloudwatcher.device_connections (device_id, connected_at DESC);
CREATE INDEX device_connections_connected_at_idx ON cloudwatcher.device_connections (connected_at);
CREATE INDEX device_connections_user_id_idx ON cloudwatcher.device_connections (user_id);
CREATE INDEX device_connections_dept_id_idx ON cloudwatcher.device_connections (dept_id);
CREATE UNIQUE INDEX device_connections_open_key ON cloudwatcher.device_connections (device_id) WHERE disconnected_at IS NULL;
COMMENT ON TABLE cloudwatcher.device_connections IS 'when a device was connected; one open connection at a time';

CREATE TABLE cloudwatcher.cloud_file_refs (
  id               uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  request_id       uuid,
  response_id      uuid REFERENCES cloudwatcher.responses (id) ON DELETE CASCADE,
  file_type        varchar(50) NOT NULL,
  cloud_provider   varchar(50) NOT NULL,
  cloud_path       varchar(500) NOT NULL,
  file_size_bytes  bigint,
  uploaded_at      timestamptz,
  sync_status      varchar(50) NOT NULL DEFAULT 'pending',
  sync_error       text,
  created_at       timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT cloud_file_refs_of_check CHECK (pg_catalog.num_nonnulls(request_id, response_id) = 1),
  CONSTRAINT cloud_file_refs_file_type_check CHECK (file_type = 'request' AND request_id IS NOT NULL OR file_type = 'response' AND response_id IS NOT NULL),
  CONSTRAINT cloud_file_refs_cloud_provider_check CHECK (cloud_provider = 'sharepoint' OR cloud_provider = 'google-drive' OR cloud_provider = 'local'),
  CONSTRAINT cloud_file_refs_sync_status_check CHECK (sync_status = 'pending' OR sync_status = 'synced' OR sync_status = 'failed'),
  CONSTRAINT cloud_file_refs_file_size_bytes_check CHECK (file_size_bytes >= 0),
  CONSTRAINT cloud_file_refs_path_key UNIQUE NULLS NOT DISTINCT (request_id, response_id, cloud_provider, cloud_path)
);
CREATE INDEX cloud_file_refs_request_id_idx ON cloudwatcher.cloud_file_refs (request_id);
CREATE INDEX cloud_file_refs_response_id_idx ON cloudwatcher.cloud_file_refs (response_id);
CREATE INDEX cloud_file_refs_cloud_provider_idx ON cloudwatcher.cloud_file_refs (cloud_provider);
CREATE INDEX cloud_file_refs_sync_status_idx ON cloudwatcher.cloud_file_refs (sync_status);
COMMENT ON TABLE cloudwatcher.cloud_file_refs IS 'files of requests and responses in a cloud, and whether they are in sync';

CREATE TABLE cloudwatcher.agent_decisions (
  id                uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  request_id        uuid NOT NULL,
  dept_id           uuid REFERENCES cloudwatcher.departments (id),
  agent_name        varchar(100) NOT NULL,
  decision_type     varchar(100) NOT NULL,
  decision_value    text NOT NULL,
  reasoning         jsonb NOT NULL DEFAULT '{}',
  confidence_score  numeric(3,2),
  created_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT agent_decisions_confidence_score_check CHECK (confidence_score BETWEEN 0 AND 1)
);
CREATE INDEX agent_decisions_request_id_idx ON cloudwatcher.agent_decisions (request_id);
CREATE INDEX agent_decisions_agent_name_idx ON cloudwatcher.agent_decisions (agent_name, created_at DESC);
CREATE INDEX agent_decisions_decision_type_idx ON cloudwatcher.agent_decisions (decision_type, created_at DESC);
CREATE INDEX agent_decisions_reasoning_idx ON cloudwatcher.agent_decisions USING gin (reasoning pg_catalog.jsonb_path_ops);
CREATE INDEX agent_decisions_dept_id_idx ON cloudwatcher.agent_decisions (dept_id);
COMMENT ON TABLE cloudwatcher.agent_decisions IS 'what agents decided about requests, and why; kept when the request is archived';
COMMENT ON COLUMN cloudwatcher.agent_decisions.confidence_score IS '0 to 1';

CREATE TABLE cloudwatcher.request_archives (
  partition    text PRIMARY KEY,
  requests     bigint NOT NULL,
  archived_at  timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE cloudwatcher.request_archives IS 'which months of requests were archived, and when; while that is done, it is locked';

-- What holds for everybody who writes ----------------------------------------------------------------

CREATE TRIGGER set_updated_at BEFORE UPDATE OF device_id, name, dept_id, is_active ON cloudwatcher.devices
  FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER refuse_change BEFORE UPDATE OF device_id ON cloudwatcher.devices
  FOR EACH ROW WHEN (NEW.device_id <> OLD.device_id)
  EXECUTE FUNCTION cloudwatcher._keep_as_it_is('what a device is called', 'register another one, and set is_active of this one to false');

CREATE TRIGGER guard_request BEFORE UPDATE ON cloudwatcher.requests FOR EACH ROW EXECUTE FUNCTION cloudwatcher._guard_request();
CREATE TRIGGER refuse_change BEFORE UPDATE OF id, device_id, request_type, payload, payload_hash, dept_id, created_by, created_at
  ON cloudwatcher.requests FOR EACH ROW
  WHEN (NEW.id <> OLD.id OR NEW.device_id <> OLD.device_id OR NEW.request_type <> OLD.request_type OR NEW.payload <> OLD.payload
        OR NEW.payload_hash IS DISTINCT FROM OLD.payload_hash OR NEW.dept_id IS DISTINCT FROM OLD.dept_id
        OR NEW.created_by IS DISTINCT FROM OLD.created_by OR NEW.created_at <> OLD.created_at)
  EXECUTE FUNCTION cloudwatcher._keep_as_it_is('what was requested', 'another payload is another request');
CREATE TRIGGER forget_request AFTER DELETE ON cloudwatcher.requests FOR EACH ROW EXECUTE FUNCTION cloudwatcher._forget_request();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON cloudwatcher.requests FOR EACH STATEMENT
  EXECUTE FUNCTION cloudwatcher._keep_as_it_is('all requests at once', 'DELETE them, with what hangs on them');

CREATE TRIGGER guard_response BEFORE UPDATE ON cloudwatcher.responses FOR EACH ROW EXECUTE FUNCTION cloudwatcher._guard_response();
CREATE TRIGGER refuse_change BEFORE UPDATE OF id, request_id, device_id, dept_id, created_at ON cloudwatcher.responses FOR EACH ROW
  WHEN (NEW.id <> OLD.id OR NEW.request_id <> OLD.request_id OR NEW.device_id <> OLD.device_id
        OR NEW.dept_id IS DISTINCT FROM OLD.dept_id OR NEW.created_at <> OLD.created_at)
  EXECUTE FUNCTION cloudwatcher._keep_as_it_is('what a response answers', 'it belongs to one request for good');

CREATE TRIGGER check_requests AFTER INSERT ON cloudwatcher.request_metadata
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._check_requests();
CREATE TRIGGER check_requests AFTER INSERT ON cloudwatcher.responses
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._check_requests();
CREATE TRIGGER check_requests AFTER INSERT ON cloudwatcher.cloud_file_refs
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._check_requests();
CREATE TRIGGER check_responses AFTER INSERT ON cloudwatcher.cloud_file_refs
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._check_responses();
CREATE TRIGGER check_responses AFTER INSERT ON cloudwatcher.response_metadata
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._check_responses();
CREATE TRIGGER check_requests AFTER INSERT ON cloudwatcher.agent_decisions
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._check_requests();
CREATE TRIGGER refuse_change BEFORE UPDATE OF request_id ON cloudwatcher.request_metadata FOR EACH ROW
  WHEN (NEW.request_id <> OLD.request_id)
  EXECUTE FUNCTION cloudwatcher._keep_as_it_is('whose attribute it is', 'insert another one');
CREATE TRIGGER refuse_change BEFORE UPDATE OF request_id, response_id ON cloudwatcher.cloud_file_refs FOR EACH ROW
  WHEN (NEW.request_id IS DISTINCT FROM OLD.request_id OR NEW.response_id IS DISTINCT FROM OLD.response_id)
  EXECUTE FUNCTION cloudwatcher._keep_as_it_is('whose file it is', 'insert another one');
CREATE TRIGGER guard_file BEFORE UPDATE ON cloudwatcher.cloud_file_refs FOR EACH ROW EXECUTE FUNCTION cloudwatcher._guard_file();
CREATE TRIGGER refuse_change BEFORE UPDATE ON cloudwatcher.agent_decisions FOR EACH ROW
  EXECUTE FUNCTION cloudwatcher._keep_as_it_is('what was decided', 'record another decision');

-- Rights ------------------------------------------------------------------------------------------

ALTER TABLE cloudwatcher.devices ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.request_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.request_metadata ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.responses ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.response_metadata ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.device_connections ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.cloud_file_refs ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.agent_decisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.request_archives ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON cloudwatcher.devices, cloudwatcher.requests, cloudwatcher.request_keys, cloudwatcher.request_metadata,
    cloudwatcher.responses, cloudwatcher.response_metadata, cloudwatcher.device_connections, cloudwatcher.cloud_file_refs,
    cloudwatcher.agent_decisions, cloudwatcher.request_archives
  FROM PUBLIC, anon, authenticated, service_role;
-- What happens to requests is the functions' business.
GRANT SELECT ON cloudwatcher.requests, cloudwatcher.request_metadata, cloudwatcher.responses, cloudwatcher.response_metadata,
    cloudwatcher.device_connections, cloudwatcher.cloud_file_refs, cloudwatcher.agent_decisions
  TO authenticated, service_role;
GRANT SELECT ON cloudwatcher.request_archives TO service_role;
GRANT SELECT, INSERT, UPDATE ON cloudwatcher.devices TO authenticated, service_role;
GRANT INSERT ON cloudwatcher.request_metadata, cloudwatcher.response_metadata TO service_role;

CREATE POLICY devices_reader_select ON cloudwatcher.devices FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('devices.read')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY devices_writer_insert ON cloudwatcher.devices FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('devices.write')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY devices_writer_update ON cloudwatcher.devices FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('devices.write')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY devices_service_all ON cloudwatcher.devices TO service_role USING (true) WITH CHECK (true);

CREATE POLICY requests_reader_select ON cloudwatcher.requests FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('requests.read')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY requests_service_all ON cloudwatcher.requests TO service_role USING (true) WITH CHECK (true);
CREATE POLICY request_keys_service_all ON cloudwatcher.request_keys TO service_role USING (true) WITH CHECK (true);

-- What hangs on a request is seen by whoever sees the request.
CREATE POLICY request_metadata_reader_select ON cloudwatcher.request_metadata FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM cloudwatcher.requests r WHERE r.id = request_metadata.request_id));
CREATE POLICY request_metadata_service_all ON cloudwatcher.request_metadata TO service_role USING (true) WITH CHECK (true);
CREATE POLICY responses_reader_select ON cloudwatcher.responses FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('requests.read')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY responses_service_all ON cloudwatcher.responses TO service_role USING (true) WITH CHECK (true);
CREATE POLICY response_metadata_reader_select ON cloudwatcher.response_metadata FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM cloudwatcher.responses r WHERE r.id = response_metadata.response_id));
CREATE POLICY response_metadata_service_all ON cloudwatcher.response_metadata TO service_role USING (true) WITH CHECK (true);
CREATE POLICY device_connections_reader_select ON cloudwatcher.device_connections FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('devices.read')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY device_connections_service_all ON cloudwatcher.device_connections TO service_role USING (true) WITH CHECK (true);
CREATE POLICY cloud_file_refs_reader_select ON cloudwatcher.cloud_file_refs FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM cloudwatcher.requests r WHERE r.id = cloud_file_refs.request_id)
         OR EXISTS (SELECT FROM cloudwatcher.responses p WHERE p.id = cloud_file_refs.response_id));
CREATE POLICY cloud_file_refs_service_all ON cloudwatcher.cloud_file_refs TO service_role USING (true) WITH CHECK (true);
CREATE POLICY agent_decisions_reader_select ON cloudwatcher.agent_decisions FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('decisions.read')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY agent_decisions_service_all ON cloudwatcher.agent_decisions TO service_role USING (true) WITH CHECK (true);
CREATE POLICY request_archives_service_select ON cloudwatcher.request_archives FOR SELECT TO service_role USING (true);

-- Without retain: archive_requests() retires them, together with what hangs on them.
SELECT gemba.manage_partitions('cloudwatcher.requests', '1 month', premake => 3, on_expire => 'archive', unique_on => ARRAY['id']);
