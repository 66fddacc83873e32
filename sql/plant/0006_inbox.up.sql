-- Places for clients that COPY: every column is text, so that one bad value does not refuse the file.

CREATE TABLE plant.daily_inbox (
  line_no              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  asset_id             text,
  source_id            text,
  report_date          text,
  planned_minutes      text,
  downtime_minutes     text,
  total_count          text,
  good_count           text,
  waste_count          text,
  ideal_rate           text,
  ideal_cycle_seconds  text,
  target_output        text,
  sent_at              timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE plant.daily_inbox IS 'rows on their way into plant.daily_summaries: COPY them here, then call plant.process_daily()';

CREATE TABLE plant.live_inbox (
  line_no             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  asset_id            text,
  source_id           text,
  snapshot_timestamp  text,
  current_output      text,
  target_output       text,
  reason_code         text,
  severity            text,
  description         text,
  source_record_id    text,
  duration_minutes    text,
  financial_impact    text,
  sent_at             timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE plant.live_inbox IS 'rows on their way into plant.live_snapshots: COPY them here, then call plant.process_live()';

CREATE TABLE plant.ingest_rejects (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pipeline     text NOT NULL,
  row_number   bigint NOT NULL,
  field        text,
  reason       text NOT NULL,
  raw          text NOT NULL,
  rejected_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT ingest_rejects_pipeline_check CHECK (pipeline IN ('daily', 'live'))
);
CREATE INDEX ingest_rejects_rejected_at_idx ON plant.ingest_rejects (rejected_at);
COMMENT ON TABLE plant.ingest_rejects IS 'rows that the pipelines could not take, and why; kept for settings.keep_rejects';
COMMENT ON COLUMN plant.ingest_rejects.row_number IS 'position in the call, from 1; of the inboxes the line_no';

ALTER TABLE plant.daily_inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE plant.live_inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE plant.ingest_rejects ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON plant.daily_inbox, plant.live_inbox, plant.ingest_rejects
  FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON SEQUENCE plant.daily_inbox_line_no_seq, plant.live_inbox_line_no_seq, plant.ingest_rejects_id_seq
  FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, DELETE ON plant.daily_inbox, plant.live_inbox TO service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON plant.ingest_rejects TO service_role;
CREATE POLICY daily_inbox_service_all ON plant.daily_inbox TO service_role USING (true) WITH CHECK (true);
CREATE POLICY live_inbox_service_all ON plant.live_inbox TO service_role USING (true) WITH CHECK (true);
CREATE POLICY ingest_rejects_service_all ON plant.ingest_rejects TO service_role USING (true) WITH CHECK (true);
