-- What the tables of reports look at by themselves.

CREATE FUNCTION reporting.update_updated_at_column() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    NEW.updated_at := now();
    RETURN NEW;
  END
  $body$;

-- With the writer's rights: whom policies do not bind, this does not bind either.
CREATE FUNCTION reporting._check_dashboard_row() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    -- Policies let editors update the row; of it they may change what it looks like, and nothing else.
    IF TG_OP = 'UPDATE' AND row_security_active(TG_RELID) AND OLD.user_id IS DISTINCT FROM (SELECT auth.uid())
       AND (OLD.name, OLD.description, OLD.template_type, OLD.is_public, OLD.is_template)
           IS DISTINCT FROM (NEW.name, NEW.description, NEW.template_type, NEW.is_public, NEW.is_template) THEN
      RAISE EXCEPTION 'only the owner may change this of a dashboard' USING ERRCODE = '42501',
        DETAIL = format('dashboard %s', OLD.dashboard_id),
        HINT = 'who shares it with the right to edit may change widgets, layout and filters; ask the owner for the rest';
    END IF;
    IF TG_OP = 'INSERT' OR (OLD.layout_config, OLD.filter_config) IS DISTINCT FROM (NEW.layout_config, NEW.filter_config) THEN
      PERFORM reporting._check_dashboard(NEW.layout_config, NEW.filter_config);
    END IF;
    RETURN NEW;
  END
  $body$;

CREATE FUNCTION reporting._check_widget_row() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF TG_OP = 'INSERT'
       OR (OLD.widget_type, OLD.chart_type, OLD.title, OLD.data_source, OLD.display_config, OLD.position_config)
          IS DISTINCT FROM
          (NEW.widget_type, NEW.chart_type, NEW.title, NEW.data_source, NEW.display_config, NEW.position_config) THEN
      PERFORM reporting._check_widget(NEW.widget_type, NEW.chart_type, NEW.title, NEW.data_source, NEW.display_config,
                                      NEW.position_config);
    END IF;
    RETURN NEW;
  END
  $body$;

-- What follows writes what nobody else can, and so runs with the extension's rights.

CREATE FUNCTION reporting._keep_dashboard() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    PERFORM reporting._keep_layouts(ARRAY[NEW.id]);
    RETURN NULL;
  END
  $body$;

CREATE FUNCTION reporting._keep_widgets() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    boards uuid[];
  BEGIN
    IF TG_OP = 'INSERT' THEN
      SELECT array_agg(DISTINCT f.dashboard_id) INTO boards FROM fresh f;
    ELSIF TG_OP = 'DELETE' THEN
      SELECT array_agg(DISTINCT g.dashboard_id) INTO boards FROM gone g;
    ELSE
      SELECT array_agg(DISTINCT b.dashboard_id) INTO boards
        FROM (SELECT g.dashboard_id FROM gone g UNION SELECT f.dashboard_id FROM fresh f) AS b;
    END IF;
    PERFORM reporting._keep_layouts(boards);
    RETURN NULL;
  END
  $body$;

-- Takes turns on the dashboards, looks whether their widgets fit, and keeps the layout as a version: one for
-- all that a transaction changes.
CREATE FUNCTION reporting._keep_layouts(boards uuid[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    board uuid;
    kept int := (SELECT s.keep_versions FROM reporting.settings s);
    now_at int;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('reporting.dashboards');
    PERFORM gemba._refuse_foreign_owner('reporting.dashboard_versions');
    FOREACH board IN ARRAY coalesce((SELECT array_agg(b ORDER BY b) FROM unnest(boards) AS b), '{}') LOOP
      -- Written in any case, so that two who change the same dashboard at once come one after the other, and
      -- one with an old snapshot not at all.
      UPDATE reporting.dashboards d
         SET version = d.version + CASE WHEN v.version IS NULL OR v.created_at = now() THEN 0 ELSE 1 END
        FROM reporting.dashboards o
        LEFT JOIN LATERAL (SELECT x.version, x.created_at FROM reporting.dashboard_versions x
                            WHERE x.dashboard_id = o.id ORDER BY x.version DESC LIMIT 1) AS v ON true
       WHERE d.id = board AND o.id = d.id
      RETURNING d.version INTO now_at;
      -- It is being deleted, and its widgets with it.
      CONTINUE WHEN NOT FOUND;
      PERFORM reporting._check_layout(board);
      INSERT INTO reporting.dashboard_versions AS v (dashboard_id, version, layout_config, filter_config, widgets, created_by)
      SELECT d.id, d.version, d.layout_config, d.filter_config,
             coalesce((SELECT jsonb_agg(jsonb_build_object(
                                'widget_id', w.widget_id, 'widget_type', w.widget_type, 'chart_type', w.chart_type,
                                'title', w.title, 'data_source', w.data_source, 'display_config', w.display_config,
                                'position_config', w.position_config) ORDER BY w.widget_id)
                         FROM reporting.dashboard_widgets w WHERE w.dashboard_id = d.id), '[]'),
             gemba._user()
        FROM reporting.dashboards d WHERE d.id = board
      ON CONFLICT (dashboard_id, version) DO UPDATE
        SET layout_config = excluded.layout_config, filter_config = excluded.filter_config, widgets = excluded.widgets;
      DELETE FROM reporting.dashboard_versions v WHERE v.dashboard_id = board AND v.version <= now_at - kept;
    END LOOP;
  END
  $body$;

-- Whoever puts a workflow of his own into a widget lets the dashboard's readers see it. What was in the widget before
-- is no news: moving a widget that somebody else has filled agrees to nothing. With the writer's rights: the policies
-- of dashboard_sources say for whom it works. Whom they do not bind acts for the dashboard's owner.
CREATE FUNCTION reporting._note_sources() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    bound boolean := row_security_active('reporting.dashboard_sources');
    me uuid := (SELECT auth.uid());
  BEGIN
    IF TG_OP <> 'INSERT' THEN
      DELETE FROM reporting.dashboard_sources s
       USING (SELECT DISTINCT g.dashboard_id, named.workflow::uuid AS workflow_id
                FROM gone g
               CROSS JOIN jsonb_array_elements_text(g.data_source -> 'workflows') AS named(workflow)) AS was
       WHERE s.dashboard_id = was.dashboard_id AND s.workflow_id = was.workflow_id
         AND NOT EXISTS (SELECT FROM reporting.dashboard_widgets w
                          CROSS JOIN jsonb_array_elements_text(w.data_source -> 'workflows') AS named(workflow)
                          WHERE w.dashboard_id = s.dashboard_id AND named.workflow::uuid = s.workflow_id);
    END IF;
    -- A layout that is restored brings its widgets back, and not what somebody else may have put into them.
    IF TG_OP = 'DELETE' OR current_setting('gemba.restoring_layout', true) = 'on' THEN
      RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
      INSERT INTO reporting.dashboard_sources (dashboard_id, workflow_id)
      SELECT DISTINCT f.dashboard_id, o.id
        FROM fresh f
        JOIN reporting.dashboards d ON d.id = f.dashboard_id
       CROSS JOIN jsonb_array_elements_text(f.data_source -> 'workflows') AS named(workflow)
        JOIN reporting.workflows o ON o.id = named.workflow::uuid
         AND CASE WHEN bound THEN o.user_id = me ELSE o.user_id IS NOT DISTINCT FROM d.user_id END
      ON CONFLICT DO NOTHING;
    ELSE
      INSERT INTO reporting.dashboard_sources (dashboard_id, workflow_id)
      SELECT DISTINCT f.dashboard_id, o.id
        FROM fresh f
        JOIN reporting.dashboards d ON d.id = f.dashboard_id
       CROSS JOIN jsonb_array_elements_text(f.data_source -> 'workflows') AS named(workflow)
        JOIN reporting.workflows o ON o.id = named.workflow::uuid
         AND CASE WHEN bound THEN o.user_id = me ELSE o.user_id IS NOT DISTINCT FROM d.user_id END
       WHERE NOT EXISTS (SELECT FROM gone g CROSS JOIN jsonb_array_elements_text(g.data_source -> 'workflows') AS before(workflow)
                          WHERE g.id = f.id AND g.dashboard_id = f.dashboard_id AND before.workflow::uuid = named.workflow::uuid)
      ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
  END
  $body$;

-- What its old owner has agreed to, the new one has not.
CREATE FUNCTION reporting._forget_sources() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    DELETE FROM reporting.dashboard_sources s WHERE s.workflow_id = NEW.id;
    RETURN NULL;
  END
  $body$;
