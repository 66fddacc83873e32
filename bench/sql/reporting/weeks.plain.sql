-- The seed's own tables, indexes and triggers, as far as weeks are concerned, and nothing else.
CREATE TABLE report_data_collections (id uuid PRIMARY KEY DEFAULT gen_random_uuid());
CREATE TABLE report_data_weeks (
  id                     uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  collection_id          uuid REFERENCES report_data_collections (id) ON DELETE CASCADE,
  workflow_execution_id  uuid,
  week_start_date        date NOT NULL,
  week_end_date          date NOT NULL,
  status                 varchar(50) DEFAULT 'pending',
  execution_date         timestamptz,
  row_count              int,
  data_checksum          varchar(255),
  error_message          text,
  created_at             timestamptz DEFAULT now(),
  updated_at             timestamptz DEFAULT now(),
  UNIQUE (collection_id, week_start_date)
) WITH (fillfactor = 50);
CREATE INDEX idx_report_weeks_collection_id ON report_data_weeks (collection_id);
CREATE INDEX idx_report_weeks_date_range ON report_data_weeks (week_start_date, week_end_date);
CREATE INDEX idx_report_weeks_status ON report_data_weeks (status);
CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at = now();
  RETURN NEW;
END;
$$;
CREATE TRIGGER update_report_weeks_updated_at BEFORE UPDATE ON report_data_weeks
  FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
