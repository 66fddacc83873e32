-- Dashboards, what they show, who may see and change them, and how they looked before.

CREATE TABLE reporting.dashboards (
  id             uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  dashboard_id   varchar(255) NOT NULL DEFAULT reporting.new_id('dash'),
  name           varchar(255) NOT NULL,
  description    text,
  user_id        uuid DEFAULT auth.uid() REFERENCES auth.users (id) ON DELETE CASCADE,
  template_type  varchar(100),
  layout_config  jsonb NOT NULL DEFAULT '{}',
  filter_config  jsonb NOT NULL DEFAULT '{}',
  is_public      boolean NOT NULL DEFAULT false,
  is_template    boolean NOT NULL DEFAULT false,
  version        int NOT NULL DEFAULT 1,
  created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT dashboards_dashboard_id_key UNIQUE (dashboard_id),
  CONSTRAINT dashboards_name_check CHECK (name <> ''),
  CONSTRAINT dashboards_dashboard_id_check CHECK (dashboard_id ~ '^dash_[0-9A-Za-z_-]+$'),
  CONSTRAINT dashboards_template_type_check CHECK (template_type IN ('performance', 'attribution', 'audience', 'custom'))
);
CREATE INDEX idx_dashboards_user_id ON reporting.dashboards (user_id);
CREATE INDEX idx_dashboards_template_type ON reporting.dashboards (template_type);
CREATE INDEX idx_dashboards_is_public ON reporting.dashboards (is_public) WHERE is_public = true;
CREATE INDEX dashboards_is_template_idx ON reporting.dashboards (is_template) WHERE is_template;
COMMENT ON TABLE reporting.dashboards IS 'dashboards; their owner may do everything, others what policies and shares let them';
COMMENT ON COLUMN reporting.dashboards.dashboard_id IS 'the id that people and links use';
COMMENT ON COLUMN reporting.dashboards.user_id IS 'the owner; NULL: the house''s own';
COMMENT ON COLUMN reporting.dashboards.layout_config IS 'the grid: {"columns": 1 to 48, 12 without it, "row_height": pixels, "custom": anything}';
COMMENT ON COLUMN reporting.dashboards.filter_config IS 'filters and period of widgets that have none of their own';
COMMENT ON COLUMN reporting.dashboards.is_public IS 'every logged-in user may read it, and what it shows';
COMMENT ON COLUMN reporting.dashboards.is_template IS 'every logged-in user may read it and make one like it, without seeing its data';
COMMENT ON COLUMN reporting.dashboards.version IS 'goes up by one with each transaction that changes what it looks like';

CREATE TABLE reporting.dashboard_widgets (
  id               uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  widget_id        varchar(255) NOT NULL DEFAULT reporting.new_id('widget'),
  dashboard_id     uuid NOT NULL REFERENCES reporting.dashboards (id) ON DELETE CASCADE,
  widget_type      varchar(100) NOT NULL,
  chart_type       varchar(100),
  title            varchar(255) NOT NULL,
  data_source      jsonb NOT NULL,
  display_config   jsonb NOT NULL DEFAULT '{}',
  position_config  jsonb NOT NULL,
  created_at       timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at       timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT dashboard_widgets_dashboard_id_widget_id_key UNIQUE (dashboard_id, widget_id),
  CONSTRAINT dashboard_widgets_widget_id_check CHECK (widget_id <> ''),
  CONSTRAINT dashboard_widgets_widget_type_check CHECK (widget_type IN ('chart', 'table', 'metric_card', 'text')),
  CONSTRAINT dashboard_widgets_chart_type_check CHECK (chart_type IN ('line', 'bar', 'pie', 'scatter', 'area')),
  CONSTRAINT dashboard_widgets_types_check CHECK ((widget_type = 'chart') = (chart_type IS NOT NULL))
);
CREATE INDEX idx_dashboard_widgets_dashboard_id ON reporting.dashboard_widgets (dashboard_id);
CREATE INDEX idx_dashboard_widgets_type ON reporting.dashboard_widgets (widget_type);
COMMENT ON TABLE reporting.dashboard_widgets IS 'what a dashboard consists of; docs/reporting.md says what each type''s configuration may hold';
COMMENT ON COLUMN reporting.dashboard_widgets.data_source IS 'workflows, metrics, period, filters; of a text its content';
COMMENT ON COLUMN reporting.dashboard_widgets.position_config IS '{"x", "y", "width", "height"} in cells of the dashboard''s grid; no two widgets overlap';

CREATE TABLE reporting.dashboard_shares (
  id                   uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  dashboard_id         uuid NOT NULL REFERENCES reporting.dashboards (id) ON DELETE CASCADE,
  shared_by_user_id    uuid NOT NULL DEFAULT auth.uid() REFERENCES auth.users (id) ON DELETE CASCADE,
  shared_with_user_id  uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
  permission_level     varchar(50) NOT NULL DEFAULT 'view',
  created_at           timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT dashboard_shares_dashboard_id_shared_with_user_id_key UNIQUE (dashboard_id, shared_with_user_id),
  CONSTRAINT dashboard_shares_permission_level_check CHECK (permission_level IN ('view', 'edit')),
  CONSTRAINT dashboard_shares_users_check CHECK (shared_by_user_id <> shared_with_user_id)
);
CREATE INDEX idx_dashboard_shares_shared_with ON reporting.dashboard_shares (shared_with_user_id);
CREATE INDEX dashboard_shares_shared_by_user_id_idx ON reporting.dashboard_shares (shared_by_user_id);
COMMENT ON TABLE reporting.dashboard_shares IS 'who else may see a dashboard (view), or change its widgets and layout too (edit)';

CREATE TABLE reporting.dashboard_versions (
  dashboard_id   uuid NOT NULL REFERENCES reporting.dashboards (id) ON DELETE CASCADE,
  version        int NOT NULL,
  layout_config  jsonb NOT NULL,
  filter_config  jsonb NOT NULL,
  widgets        jsonb NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  created_by     uuid,
  CONSTRAINT dashboard_versions_pkey PRIMARY KEY (dashboard_id, version)
);
COMMENT ON TABLE reporting.dashboard_versions IS 'how dashboards looked, the last settings.keep_versions of each; written by triggers, read by reporting.restore_layout()';
COMMENT ON COLUMN reporting.dashboard_versions.created_by IS 'the logged-in user who changed it, kept also when the user is deleted';

CREATE TABLE reporting.dashboard_sources (
  dashboard_id  uuid NOT NULL REFERENCES reporting.dashboards (id) ON DELETE CASCADE,
  workflow_id   uuid NOT NULL REFERENCES reporting.workflows (id) ON DELETE CASCADE,
  CONSTRAINT dashboard_sources_pkey PRIMARY KEY (dashboard_id, workflow_id)
);
CREATE INDEX dashboard_sources_workflow_id_idx ON reporting.dashboard_sources (workflow_id);
COMMENT ON TABLE reporting.dashboard_sources IS 'workflows that their owner has let a dashboard show: who may read the dashboard may read what they collected. Written when the owner puts one into a widget, and gone with the last widget that shows it';

CREATE TRIGGER update_dashboards_updated_at BEFORE UPDATE ON reporting.dashboards
  FOR EACH ROW EXECUTE FUNCTION reporting.update_updated_at_column();
CREATE TRIGGER dashboards_check BEFORE INSERT OR UPDATE ON reporting.dashboards
  FOR EACH ROW EXECUTE FUNCTION reporting._check_dashboard_row();
CREATE TRIGGER dashboards_layout_insert AFTER INSERT ON reporting.dashboards
  FOR EACH ROW EXECUTE FUNCTION reporting._keep_dashboard();
CREATE TRIGGER dashboards_layout_update AFTER UPDATE OF name, description, layout_config, filter_config ON reporting.dashboards
  FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name OR OLD.description IS DISTINCT FROM NEW.description
                     OR OLD.layout_config IS DISTINCT FROM NEW.layout_config
                     OR OLD.filter_config IS DISTINCT FROM NEW.filter_config)
  EXECUTE FUNCTION reporting._keep_dashboard();

CREATE TRIGGER update_dashboard_widgets_updated_at BEFORE UPDATE ON reporting.dashboard_widgets
  FOR EACH ROW EXECUTE FUNCTION reporting.update_updated_at_column();
CREATE TRIGGER dashboard_widgets_check BEFORE INSERT OR UPDATE ON reporting.dashboard_widgets
  FOR EACH ROW EXECUTE FUNCTION reporting._check_widget_row();
-- In this order: the layout first, because it takes turns on the dashboard.
CREATE TRIGGER dashboard_widgets_layout_insert AFTER INSERT ON reporting.dashboard_widgets
  REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION reporting._keep_widgets();
CREATE TRIGGER dashboard_widgets_layout_update AFTER UPDATE ON reporting.dashboard_widgets
  REFERENCING OLD TABLE AS gone NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION reporting._keep_widgets();
CREATE TRIGGER dashboard_widgets_layout_delete AFTER DELETE ON reporting.dashboard_widgets
  REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION reporting._keep_widgets();
CREATE TRIGGER dashboard_widgets_sources_insert AFTER INSERT ON reporting.dashboard_widgets
  REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION reporting._note_sources();
CREATE TRIGGER dashboard_widgets_sources_update AFTER UPDATE ON reporting.dashboard_widgets
  REFERENCING OLD TABLE AS gone NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION reporting._note_sources();
CREATE TRIGGER dashboard_widgets_sources_delete AFTER DELETE ON reporting.dashboard_widgets
  REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION reporting._note_sources();

CREATE TRIGGER workflows_forget_sources AFTER UPDATE OF user_id ON reporting.workflows
  FOR EACH ROW WHEN (OLD.user_id IS DISTINCT FROM NEW.user_id) EXECUTE FUNCTION reporting._forget_sources();

CREATE VIEW reporting.my_dashboards WITH (security_invoker = true) AS
  SELECT d.dashboard_id, d.name, d.description, d.template_type, d.is_public, d.is_template, d.version, d.user_id,
         CASE WHEN d.user_id = (SELECT auth.uid()) THEN 'owner' ELSE s.permission_level END AS permission, d.created_at, d.updated_at, d.id
    FROM reporting.dashboards AS d
    LEFT JOIN reporting.dashboard_shares AS s ON s.dashboard_id = d.id AND s.shared_with_user_id = (SELECT auth.uid())
   WHERE d.user_id = (SELECT auth.uid()) OR d.id = ANY (ARRAY(SELECT reporting.shared_dashboards()));
COMMENT ON VIEW reporting.my_dashboards IS 'the caller''s own dashboards and those shared with the caller, with what the caller may do';

-- Rights ------------------------------------------------------------------------------------------

ALTER TABLE reporting.dashboards ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.dashboard_widgets ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.dashboard_shares ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.dashboard_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE reporting.dashboard_sources ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON reporting.dashboards, reporting.dashboard_widgets, reporting.dashboard_shares, reporting.dashboard_versions,
    reporting.dashboard_sources, reporting.my_dashboards
  FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON reporting.dashboards, reporting.dashboard_widgets, reporting.dashboard_shares, reporting.dashboard_versions,
    reporting.dashboard_sources, reporting.my_dashboards
  TO authenticated, service_role;
GRANT DELETE ON reporting.dashboards, reporting.dashboard_widgets, reporting.dashboard_shares, reporting.dashboard_sources
  TO authenticated;
-- Not among them: ids and times, a dashboard's owner and version, a widget's dashboard, who shared what with whom.
GRANT INSERT (name, description, user_id, template_type, layout_config, filter_config, is_public, is_template),
    UPDATE (name, description, template_type, layout_config, filter_config, is_public, is_template)
  ON reporting.dashboards TO authenticated;
GRANT INSERT (widget_id, dashboard_id, widget_type, chart_type, title, data_source, display_config, position_config),
    UPDATE (widget_id, widget_type, chart_type, title, data_source, display_config, position_config)
  ON reporting.dashboard_widgets TO authenticated;
GRANT INSERT (dashboard_id, shared_by_user_id, shared_with_user_id, permission_level), UPDATE (permission_level)
  ON reporting.dashboard_shares TO authenticated;
GRANT INSERT (dashboard_id, workflow_id) ON reporting.dashboard_sources TO authenticated;
GRANT INSERT, UPDATE, DELETE
  ON reporting.dashboards, reporting.dashboard_widgets, reporting.dashboard_shares, reporting.dashboard_sources TO service_role;
GRANT DELETE ON reporting.dashboard_versions TO service_role;

-- The inner selects are run once a query; the arrays let an index find the rows.
CREATE POLICY dashboards_reader_select ON reporting.dashboards FOR SELECT TO authenticated
  USING (user_id = (SELECT auth.uid()) OR is_public OR is_template
         OR id = ANY (ARRAY(SELECT reporting.shared_dashboards())));
CREATE POLICY dashboards_owner_insert ON reporting.dashboards FOR INSERT TO authenticated
  WITH CHECK (user_id = (SELECT auth.uid()));
-- What of it an editor may not change, reporting._check_dashboard_row() refuses.
CREATE POLICY dashboards_editor_update ON reporting.dashboards FOR UPDATE TO authenticated
  USING (user_id = (SELECT auth.uid()) OR id = ANY (ARRAY(SELECT reporting.shared_dashboards('edit'))))
  WITH CHECK (user_id = (SELECT auth.uid()) OR id = ANY (ARRAY(SELECT reporting.shared_dashboards('edit'))));
CREATE POLICY dashboards_owner_delete ON reporting.dashboards FOR DELETE TO authenticated
  USING (user_id = (SELECT auth.uid()));
CREATE POLICY dashboards_service_all ON reporting.dashboards TO service_role USING (true) WITH CHECK (true);

-- The inner query is under the dashboards' policy.
CREATE POLICY dashboard_widgets_reader_select ON reporting.dashboard_widgets FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM reporting.dashboards d WHERE d.id = dashboard_widgets.dashboard_id));
CREATE POLICY dashboard_widgets_editor_insert ON reporting.dashboard_widgets FOR INSERT TO authenticated
  WITH CHECK (dashboard_id IN (SELECT reporting.editable_dashboards()));
CREATE POLICY dashboard_widgets_editor_update ON reporting.dashboard_widgets FOR UPDATE TO authenticated
  USING (dashboard_id IN (SELECT reporting.editable_dashboards()))
  WITH CHECK (dashboard_id IN (SELECT reporting.editable_dashboards()));
CREATE POLICY dashboard_widgets_editor_delete ON reporting.dashboard_widgets FOR DELETE TO authenticated
  USING (dashboard_id IN (SELECT reporting.editable_dashboards()));
CREATE POLICY dashboard_widgets_service_all ON reporting.dashboard_widgets TO service_role USING (true) WITH CHECK (true);

CREATE POLICY dashboard_shares_reader_select ON reporting.dashboard_shares FOR SELECT TO authenticated
  USING (shared_with_user_id = (SELECT auth.uid())
         OR dashboard_id = ANY (ARRAY(SELECT d.id FROM reporting.dashboards d WHERE d.user_id = (SELECT auth.uid()))));
CREATE POLICY dashboard_shares_owner_insert ON reporting.dashboard_shares FOR INSERT TO authenticated
  WITH CHECK (shared_by_user_id = (SELECT auth.uid())
              AND EXISTS (SELECT FROM reporting.dashboards d WHERE d.id = dashboard_shares.dashboard_id AND d.user_id = (SELECT auth.uid())));
CREATE POLICY dashboard_shares_owner_update ON reporting.dashboard_shares FOR UPDATE TO authenticated
  USING (EXISTS (SELECT FROM reporting.dashboards d WHERE d.id = dashboard_shares.dashboard_id AND d.user_id = (SELECT auth.uid())))
  WITH CHECK (EXISTS (SELECT FROM reporting.dashboards d WHERE d.id = dashboard_shares.dashboard_id AND d.user_id = (SELECT auth.uid())));
-- Who was given a share may give it back.
CREATE POLICY dashboard_shares_either_delete ON reporting.dashboard_shares FOR DELETE TO authenticated
  USING (shared_with_user_id = (SELECT auth.uid())
         OR EXISTS (SELECT FROM reporting.dashboards d WHERE d.id = dashboard_shares.dashboard_id AND d.user_id = (SELECT auth.uid())));
CREATE POLICY dashboard_shares_service_all ON reporting.dashboard_shares TO service_role USING (true) WITH CHECK (true);

CREATE POLICY dashboard_versions_editor_select ON reporting.dashboard_versions FOR SELECT TO authenticated
  USING (dashboard_id = ANY (ARRAY(SELECT reporting.editable_dashboards())));
CREATE POLICY dashboard_versions_service_all ON reporting.dashboard_versions TO service_role USING (true) WITH CHECK (true);

CREATE POLICY dashboard_sources_reader_select ON reporting.dashboard_sources FOR SELECT TO authenticated
  USING (workflow_id = ANY (ARRAY(SELECT w.id FROM reporting.workflows w WHERE w.user_id = (SELECT auth.uid())))
         OR dashboard_id = ANY (ARRAY(SELECT reporting.editable_dashboards())));
-- Only who owns a workflow may let a dashboard show it.
CREATE POLICY dashboard_sources_owner_insert ON reporting.dashboard_sources FOR INSERT TO authenticated
  WITH CHECK (dashboard_id IN (SELECT reporting.editable_dashboards())
              AND EXISTS (SELECT FROM reporting.workflows w WHERE w.id = dashboard_sources.workflow_id AND w.user_id = (SELECT auth.uid())));
CREATE POLICY dashboard_sources_either_delete ON reporting.dashboard_sources FOR DELETE TO authenticated
  USING (workflow_id = ANY (ARRAY(SELECT w.id FROM reporting.workflows w WHERE w.user_id = (SELECT auth.uid())))
         OR dashboard_id = ANY (ARRAY(SELECT reporting.editable_dashboards())));
CREATE POLICY dashboard_sources_service_all ON reporting.dashboard_sources TO service_role USING (true) WITH CHECK (true);
