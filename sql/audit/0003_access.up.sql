-- Who reads and writes what is kept apart by policies, counted by the hour.

CREATE TABLE cloudwatcher.data_access (
  id          uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  hour        timestamptz NOT NULL,
  table_name  text COLLATE "C" NOT NULL,
  operation   varchar(10) NOT NULL,
  user_id     uuid,
  role_name   text NOT NULL,
  queries     bigint NOT NULL,
  first_at    timestamptz NOT NULL,
  last_at     timestamptz NOT NULL,
  CONSTRAINT data_access_key UNIQUE NULLS NOT DISTINCT (hour, table_name, operation, user_id, role_name),
  CONSTRAINT data_access_operation_check CHECK (operation = 'SELECT' OR operation = 'INSERT' OR operation = 'UPDATE' OR operation = 'DELETE'),
  CONSTRAINT data_access_queries_check CHECK (queries > 0)
);
CREATE INDEX data_access_user_id_idx ON cloudwatcher.data_access (user_id, hour);
CREATE INDEX data_access_table_name_idx ON cloudwatcher.data_access (table_name, hour);
COMMENT ON TABLE cloudwatcher.data_access IS 'audit trail: how often who queried which table with row level security, by the hour; written by gemba.collect_access()';

ALTER TABLE cloudwatcher.data_access ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON cloudwatcher.data_access FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON cloudwatcher.data_access TO service_role;
CREATE POLICY data_access_service_select ON cloudwatcher.data_access FOR SELECT TO service_role USING (true);
