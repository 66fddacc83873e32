-- The audit trail: who changed what. It outlives what it tells of, so nothing in it refers to another table.

CREATE TABLE cloudwatcher.audit_logs (
  id              uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
  table_name      text COLLATE "C" NOT NULL,
  operation       varchar(10) NOT NULL,
  record_id       text COLLATE "C",
  user_id         uuid,
  role_name       text NOT NULL,
  old_values      jsonb,
  new_values      jsonb,
  change_reason   text,
  ip_address      inet,
  transaction_id  bigint NOT NULL,
  system_id       bigint NOT NULL,
  statement_at    timestamptz NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  CONSTRAINT audit_logs_operation_check CHECK (operation = 'INSERT' OR operation = 'UPDATE' OR operation = 'DELETE'
    OR operation = 'TRUNCATE' OR operation = 'AUDIT' OR operation = 'UNAUDIT')
) PARTITION BY RANGE (created_at);
COMMENT ON TABLE cloudwatcher.audit_logs IS 'audit trail: one row for each row that was changed in a table under gemba.audit(); nobody writes here but the triggers';
COMMENT ON COLUMN cloudwatcher.audit_logs.id IS 'UUID version 7: in the order in which changes were made, also of one transaction';
COMMENT ON COLUMN cloudwatcher.audit_logs.table_name IS 'schema.table, quoted where SQL needs it';
COMMENT ON COLUMN cloudwatcher.audit_logs.operation IS 'AUDIT and UNAUDIT tell when the trail of a table began and ended';
COMMENT ON COLUMN cloudwatcher.audit_logs.record_id IS 'the primary key; of several columns, a JSON array of their values as text; NULL without one';
COMMENT ON COLUMN cloudwatcher.audit_logs.user_id IS 'who was logged in, by the request''s token; NULL without one';
COMMENT ON COLUMN cloudwatcher.audit_logs.role_name IS 'the database role that asked for the change';
COMMENT ON COLUMN cloudwatcher.audit_logs.old_values IS 'of an UPDATE the columns that changed, of a DELETE all';
COMMENT ON COLUMN cloudwatcher.audit_logs.new_values IS 'of an UPDATE the columns that changed, of an INSERT all';
COMMENT ON COLUMN cloudwatcher.audit_logs.change_reason IS 'what the setting gemba.change_reason said';
COMMENT ON COLUMN cloudwatcher.audit_logs.ip_address IS 'what the setting gemba.client_ip said, otherwise the address of the connection';
COMMENT ON COLUMN cloudwatcher.audit_logs.transaction_id IS 'the transaction, as pg_current_xact_id() numbers it in the cluster system_id';
COMMENT ON COLUMN cloudwatcher.audit_logs.system_id IS 'the cluster that wrote it, as pg_control_system() names it';
COMMENT ON COLUMN cloudwatcher.audit_logs.statement_at IS 'when the client''s statement began';
COMMENT ON COLUMN cloudwatcher.audit_logs.created_at IS 'when the change was made';

CREATE INDEX audit_logs_table_name_record_id_idx ON cloudwatcher.audit_logs (table_name, record_id);
CREATE INDEX audit_logs_operation_idx ON cloudwatcher.audit_logs (operation);
CREATE INDEX audit_logs_user_id_idx ON cloudwatcher.audit_logs (user_id);
CREATE INDEX audit_logs_created_at_idx ON cloudwatcher.audit_logs (created_at);
CREATE INDEX audit_logs_transaction_id_idx ON cloudwatcher.audit_logs USING brin (transaction_id) WITH (autosummarize = on);

ALTER TABLE cloudwatcher.audit_logs ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON cloudwatcher.audit_logs FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON cloudwatcher.audit_logs TO authenticated, service_role;
CREATE POLICY audit_logs_service_select ON cloudwatcher.audit_logs FOR SELECT TO service_role USING (true);

-- Kept for ever. Each partition, as everywhere in this house, is unique by itself.
SELECT gemba.manage_partitions('cloudwatcher.audit_logs', '1 year', premake => 4, unique_on => ARRAY['id']);
