-- What was asked about the figures, and what was answered.

CREATE TABLE reporting.ai_insights (
  id                uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  insight_id        varchar(255) NOT NULL DEFAULT reporting.new_id('insight'),
  user_id           uuid NOT NULL DEFAULT auth.uid() REFERENCES auth.users (id) ON DELETE CASCADE,
  dashboard_id      uuid REFERENCES reporting.dashboards (id) ON DELETE SET NULL,
  query_text        text NOT NULL,
  response_text     text NOT NULL,
  data_context      jsonb NOT NULL DEFAULT '{}',
  confidence_score  numeric(3,2),
  insight_type      varchar(100),
  related_metrics   jsonb NOT NULL DEFAULT '{}',
  -- Not now(): what one transaction records has an order.
  created_at        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  conversation_id   uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
  is_private        boolean NOT NULL DEFAULT false,
  search            tsvector NOT NULL GENERATED ALWAYS AS (
    pg_catalog.to_tsvector('pg_catalog.english', query_text || ' ' || response_text)) STORED,
  CONSTRAINT ai_insights_insight_id_key UNIQUE (insight_id),
  CONSTRAINT ai_insights_insight_id_check CHECK (insight_id ~ '^insight_[0-9A-Za-z_-]+$'),
  CONSTRAINT ai_insights_confidence_score_check CHECK (confidence_score BETWEEN 0 AND 1),
  CONSTRAINT ai_insights_insight_type_check CHECK (insight_type IN ('trend_analysis', 'anomaly_detection', 'optimization')),
  CONSTRAINT ai_insights_text_check CHECK (pg_catalog.length(query_text) + pg_catalog.length(response_text) <= 200000)
);
CREATE INDEX idx_ai_insights_user_id ON reporting.ai_insights (user_id);
CREATE INDEX idx_ai_insights_dashboard_id ON reporting.ai_insights (dashboard_id);
CREATE INDEX idx_ai_insights_created_at ON reporting.ai_insights (created_at);
CREATE INDEX idx_ai_insights_type ON reporting.ai_insights (insight_type);
CREATE INDEX ai_insights_conversation_id_idx ON reporting.ai_insights (conversation_id);
CREATE INDEX ai_insights_is_private_idx ON reporting.ai_insights (is_private, dashboard_id) WHERE NOT is_private;
CREATE INDEX ai_insights_search_idx ON reporting.ai_insights USING gin (search);
COMMENT ON TABLE reporting.ai_insights IS 'questions and answers about figures, of people, of assistants and of the detectors here';
COMMENT ON COLUMN reporting.ai_insights.confidence_score IS '0 to 1; docs/reporting.md says what the detectors mean by it';
COMMENT ON COLUMN reporting.ai_insights.conversation_id IS 'what belongs to one conversation has the same';
COMMENT ON COLUMN reporting.ai_insights.is_private IS 'for its author alone; otherwise whoever may read the dashboard reads it';

ALTER TABLE reporting.ai_insights ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON reporting.ai_insights FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, DELETE ON reporting.ai_insights TO authenticated;
GRANT INSERT (user_id, dashboard_id, query_text, response_text, data_context, confidence_score, insight_type, related_metrics,
    conversation_id, is_private) ON reporting.ai_insights TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON reporting.ai_insights TO service_role;

CREATE POLICY ai_insights_reader_select ON reporting.ai_insights FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid())
         OR NOT is_private AND EXISTS (SELECT FROM reporting.dashboards d WHERE d.id = ai_insights.dashboard_id));
-- For all who read a dashboard only those write who may change it.
CREATE POLICY ai_insights_author_insert ON reporting.ai_insights FOR INSERT TO authenticated
  WITH CHECK (user_id = (SELECT auth.uid())
              AND (dashboard_id IS NULL
                   OR CASE WHEN is_private
                           THEN EXISTS (SELECT FROM reporting.dashboards d WHERE d.id = ai_insights.dashboard_id)
                           ELSE dashboard_id IN (SELECT reporting.editable_dashboards()) END));
-- Whose dashboard it is decides what its readers are told there, also of editors who are no longer any.
CREATE POLICY ai_insights_author_delete ON reporting.ai_insights FOR DELETE TO authenticated
  USING (user_id = (SELECT auth.uid())
         OR NOT is_private
            AND dashboard_id = ANY (ARRAY(SELECT d.id FROM reporting.dashboards d WHERE d.user_id = (SELECT auth.uid()))));
CREATE POLICY ai_insights_service_all ON reporting.ai_insights TO service_role USING (true) WITH CHECK (true);
