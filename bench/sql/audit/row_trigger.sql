-- What people write for themselves: the log of the seed, and a trigger for each row.
CREATE TABLE audit_logs (
  id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  table_name  varchar(255) NOT NULL,
  operation   varchar(10) NOT NULL,
  record_id   uuid,
  user_id     uuid,
  old_values  jsonb,
  new_values  jsonb,
  ip_address  inet,
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON audit_logs (table_name, record_id);
CREATE INDEX ON audit_logs (operation);
CREATE INDEX ON audit_logs (user_id);
CREATE INDEX ON audit_logs (created_at);
CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit_logs (table_name, operation, record_id, user_id, old_values, new_values, ip_address)
  VALUES (TG_TABLE_NAME, TG_OP, coalesce(NEW.id, OLD.id),
          (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid,
          CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END, CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END,
          inet_client_addr());
  RETURN NULL;
END $$;
CREATE TRIGGER log_row AFTER INSERT OR UPDATE OR DELETE ON parts FOR EACH ROW EXECUTE FUNCTION log_row();
