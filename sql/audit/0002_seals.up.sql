-- Seals: batches of the trail's rows, chained by their hashes.

CREATE TABLE cloudwatcher.audit_seals (
  id             bigint PRIMARY KEY,
  system_id      bigint NOT NULL,
  upto           bigint NOT NULL,
  row_count      bigint NOT NULL,
  first_at       timestamptz,
  last_at        timestamptz,
  digests        bytea NOT NULL,
  batch_hash     bytea NOT NULL,
  previous_hash  bytea NOT NULL,
  seal_hash      bytea NOT NULL,
  sealed_at      timestamptz NOT NULL,
  CONSTRAINT audit_seals_id_check CHECK (id > 0),
  CONSTRAINT audit_seals_row_count_check CHECK (row_count >= 0)
);
ALTER TABLE cloudwatcher.audit_seals ALTER COLUMN digests SET STORAGE EXTERNAL;
CREATE INDEX audit_seals_last_at_idx ON cloudwatcher.audit_seals (last_at);
COMMENT ON TABLE cloudwatcher.audit_seals IS 'audit trail: sealed batches, numbered without gaps; written by gemba.seal_audit(), checked by gemba.verify_audit()';
COMMENT ON COLUMN cloudwatcher.audit_seals.system_id IS 'the cluster that sealed it';
COMMENT ON COLUMN cloudwatcher.audit_seals.upto IS 'every transaction of that cluster below this one had ended: its rows are in this batch or an earlier one';
COMMENT ON COLUMN cloudwatcher.audit_seals.digests IS 'for each row, in the order of ids: its id and the first 16 bytes of its hash';
COMMENT ON COLUMN cloudwatcher.audit_seals.batch_hash IS 'SHA-256 of the ids and whole hashes of the rows';
COMMENT ON COLUMN cloudwatcher.audit_seals.seal_hash IS 'SHA-256 of everything else in this row, previous_hash included';

ALTER TABLE cloudwatcher.audit_seals ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON cloudwatcher.audit_seals FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON cloudwatcher.audit_seals TO service_role;
CREATE POLICY audit_seals_service_select ON cloudwatcher.audit_seals FOR SELECT TO service_role USING (true);
