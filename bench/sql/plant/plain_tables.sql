-- The seed's own tables, with the neighbours that it names and leaves undefined.
CREATE TABLE assets (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name       varchar(255) NOT NULL,
  source_id  varchar(255) NOT NULL UNIQUE,
  area       varchar(100)
);

CREATE TABLE daily_summaries (
  id                      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  asset_id                uuid NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
  report_date             date NOT NULL,
  oee_percentage          decimal(5,2),
  actual_output           integer,
  target_output           integer,
  downtime_minutes        integer,
  waste_count             integer,
  financial_loss_dollars  decimal(12,2),
  smart_summary_text      text,
  created_at              timestamptz DEFAULT now(),
  updated_at              timestamptz DEFAULT now(),
  -- Also the index on these two that the seed asks for.
  UNIQUE (asset_id, report_date)
);
CREATE INDEX ON daily_summaries (report_date);

CREATE TABLE live_snapshots (
  id                  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  asset_id            uuid NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
  snapshot_timestamp  timestamptz NOT NULL,
  current_output      integer,
  target_output       integer,
  output_variance     integer GENERATED ALWAYS AS (current_output - target_output) STORED,
  status              text CHECK (status IN ('on_target', 'behind', 'ahead')),
  created_at          timestamptz DEFAULT now(),
  -- In place of the seed's index on the same columns: ON CONFLICT needs a unique one.
  UNIQUE (asset_id, snapshot_timestamp)
);
CREATE INDEX ON live_snapshots (snapshot_timestamp);

CREATE TABLE safety_events (
  id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  asset_id         uuid NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
  event_timestamp  timestamptz NOT NULL,
  reason_code      text NOT NULL,
  severity         text NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
  description      text,
  is_resolved      boolean DEFAULT false,
  resolved_at      timestamptz,
  resolved_by      uuid,
  created_at       timestamptz DEFAULT now()
);
CREATE INDEX ON safety_events (event_timestamp);
CREATE INDEX ON safety_events (asset_id, is_resolved);
CREATE INDEX ON safety_events (severity);
