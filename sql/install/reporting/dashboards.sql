-- Making, changing, sharing and restoring dashboards. All with the caller's rights: policies decide.

-- The dashboard of an id, as far as the caller may read it; what others may not see does not exist for them.
CREATE FUNCTION reporting._dashboard(dashboard text) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    found_id uuid := (SELECT d.id FROM reporting.dashboards d WHERE d.dashboard_id = dashboard);
  BEGIN
    IF found_id IS NULL THEN
      RAISE EXCEPTION 'the dashboard does not exist' USING ERRCODE = 'P0002',
        DETAIL = format('dashboard %s', coalesce(dashboard, 'NULL')),
        HINT = 'see reporting.my_dashboards; one that is not shared with you is not there for you';
    END IF;
    RETURN found_id;
  END
  $body$;

-- The same, where the caller is about to change it, and takes turns on that with others, or only looks at its history.
CREATE FUNCTION reporting._editable_dashboard(dashboard text, turn boolean DEFAULT true) RETURNS uuid
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    found_id uuid := reporting._dashboard(dashboard);
  BEGIN
    IF row_security_active('reporting.dashboards')
       AND NOT EXISTS (SELECT FROM reporting.editable_dashboards() AS e WHERE e = found_id) THEN
      RAISE EXCEPTION 'you may not change this dashboard' USING ERRCODE = '42501',
        DETAIL = format('dashboard %s', dashboard),
        HINT = 'its owner can share it with the right to edit; reporting.duplicate_dashboard() makes one of your own';
    END IF;
    -- First the dashboard and then its widgets, in this order for all who change them.
    IF _editable_dashboard.turn THEN
      PERFORM FROM reporting.dashboards d WHERE d.id = found_id FOR NO KEY UPDATE;
    END IF;
    RETURN found_id;
  END
  $body$;

-- The same, where only the owner may.
CREATE FUNCTION reporting._own_dashboard(dashboard text) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    found_id uuid := reporting._dashboard(dashboard);
  BEGIN
    IF row_security_active('reporting.dashboards')
       AND NOT EXISTS (SELECT FROM reporting.dashboards d WHERE d.id = found_id AND d.user_id = (SELECT auth.uid())) THEN
      RAISE EXCEPTION 'the dashboard is not yours' USING ERRCODE = '42501', DETAIL = format('dashboard %s', dashboard),
        HINT = 'only its owner shares it';
    END IF;
    RETURN found_id;
  END
  $body$;

CREATE FUNCTION reporting._owner(owner uuid) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    me uuid := (SELECT auth.uid());
  BEGIN
    IF row_security_active('reporting.dashboards') AND (me IS NULL OR owner <> me) THEN
      RAISE EXCEPTION 'dashboards are made for oneself' USING ERRCODE = '42501',
        DETAIL = format('owner %s, called by %s', coalesce(owner::text, 'NULL'), coalesce(me::text, 'nobody who is logged in')),
        HINT = 'call it with the claims of a logged-in user, or as service_role';
    END IF;
    RETURN coalesce(owner, me);
  END
  $body$;

CREATE FUNCTION reporting.create_dashboard(
    name text, template_type text DEFAULT 'custom', description text DEFAULT NULL, layout_config jsonb DEFAULT '{}',
    filter_config jsonb DEFAULT '{}', is_public boolean DEFAULT false, is_template boolean DEFAULT false,
    owner uuid DEFAULT NULL)
  RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    made text;
  BEGIN
    INSERT INTO reporting.dashboards
           (name, template_type, description, layout_config, filter_config, is_public, is_template, user_id)
    VALUES (create_dashboard.name, create_dashboard.template_type, create_dashboard.description,
            coalesce(create_dashboard.layout_config, '{}'), coalesce(create_dashboard.filter_config, '{}'),
            coalesce(create_dashboard.is_public, false), coalesce(create_dashboard.is_template, false),
            reporting._owner(create_dashboard.owner))
    RETURNING dashboard_id INTO made;
    RETURN made;
  END
  $body$;

CREATE FUNCTION reporting.add_widget(
    dashboard text, widget_type text, title text, data_source jsonb, position_config jsonb DEFAULT NULL,
    chart_type text DEFAULT NULL, display_config jsonb DEFAULT '{}', widget_id text DEFAULT NULL)
  RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    board uuid := reporting._editable_dashboard(dashboard);
    name text := coalesce(add_widget.widget_id, reporting.new_id('widget'));
    place jsonb := add_widget.position_config;
  BEGIN
    IF place IS NULL THEN
      -- Below everything, half as wide as the grid.
      SELECT jsonb_build_object(
               'x', 0, 'width', greatest(coalesce((d.layout_config ->> 'columns')::int, 12) / 2, 1), 'height', 4,
               'y', (SELECT coalesce(max((w.position_config ->> 'y')::int + (w.position_config ->> 'height')::int), 0)
                       FROM reporting.dashboard_widgets w WHERE w.dashboard_id = board))
        INTO place FROM reporting.dashboards d WHERE d.id = board;
    END IF;
    INSERT INTO reporting.dashboard_widgets
           (widget_id, dashboard_id, widget_type, chart_type, title, data_source, display_config, position_config)
    VALUES (name, board, add_widget.widget_type, add_widget.chart_type, add_widget.title, add_widget.data_source,
            coalesce(add_widget.display_config, '{}'), place);
    RETURN name;
  END
  $body$;

CREATE FUNCTION reporting.remove_widget(dashboard text, widget text) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    board uuid := reporting._editable_dashboard(dashboard);
  BEGIN
    DELETE FROM reporting.dashboard_widgets w WHERE w.dashboard_id = board AND w.widget_id = widget;
    RETURN FOUND;
  END
  $body$;

CREATE FUNCTION reporting.move_widgets(dashboard text, positions jsonb) RETURNS int
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    board uuid := reporting._editable_dashboard(dashboard);
    unknown text;
    moved int;
  BEGIN
    IF positions IS NULL OR jsonb_typeof(positions) <> 'object' THEN
      RAISE EXCEPTION 'positions are an object' USING ERRCODE = '22023',
        DETAIL = format('positions %s', coalesce(left(positions::text, 200), 'NULL')),
        HINT = 'give {"widget_…": {"x": 0, "y": 0, "width": 6, "height": 4}, …}';
    END IF;
    SELECT p.key INTO unknown FROM jsonb_each(positions) AS p
     WHERE NOT EXISTS (SELECT FROM reporting.dashboard_widgets w WHERE w.dashboard_id = board AND w.widget_id = p.key)
     ORDER BY p.key LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'the dashboard has no such widget' USING ERRCODE = 'P0002',
        DETAIL = format('widget %s of dashboard %s', unknown, dashboard),
        HINT = 'see widget_id in reporting.dashboard_widgets; nothing was moved';
    END IF;
    -- All at once: in between, they may stand on each other.
    UPDATE reporting.dashboard_widgets w SET position_config = p.value
      FROM jsonb_each(positions) AS p
     WHERE w.dashboard_id = board AND w.widget_id = p.key AND w.position_config <> p.value;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
  END
  $body$;

-- A new dashboard of the caller's with the same widgets.
CREATE FUNCTION reporting._copy(board uuid, name text, owner uuid) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    copied uuid;
    made text;
  BEGIN
    INSERT INTO reporting.dashboards (name, description, user_id, template_type, layout_config, filter_config)
    SELECT coalesce(_copy.name, d.name), d.description, reporting._owner(_copy.owner), d.template_type, d.layout_config,
           d.filter_config
      FROM reporting.dashboards d WHERE d.id = board
    RETURNING id, dashboard_id INTO copied, made;
    INSERT INTO reporting.dashboard_widgets
           (widget_id, dashboard_id, widget_type, chart_type, title, data_source, display_config, position_config)
    SELECT w.widget_id, copied, w.widget_type, w.chart_type, w.title, w.data_source, w.display_config, w.position_config
      FROM reporting.dashboard_widgets w WHERE w.dashboard_id = board;
    RETURN made;
  END
  $body$;

CREATE FUNCTION reporting.create_from_template(template text, name text DEFAULT NULL, owner uuid DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    board uuid := reporting._dashboard(template);
  BEGIN
    IF NOT (SELECT d.is_template FROM reporting.dashboards d WHERE d.id = board) THEN
      RAISE EXCEPTION 'the dashboard is not a template' USING ERRCODE = '22023', DETAIL = format('dashboard %s', template),
        HINT = 'templates are those with is_template; reporting.duplicate_dashboard() copies any other';
    END IF;
    RETURN reporting._copy(board, name, owner);
  END
  $body$;

CREATE FUNCTION reporting.duplicate_dashboard(dashboard text, name text DEFAULT NULL, owner uuid DEFAULT NULL) RETURNS text
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT reporting._copy(reporting._dashboard($1), $2, $3) $body$;

CREATE FUNCTION reporting.share_dashboard(dashboard text, with_user uuid, permission text DEFAULT 'view') RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    board uuid := reporting._own_dashboard(dashboard);
    owner uuid := (SELECT d.user_id FROM reporting.dashboards d WHERE d.id = board);
  BEGIN
    IF permission IS NULL OR permission NOT IN ('view', 'edit') THEN
      RAISE EXCEPTION 'there is no such permission' USING ERRCODE = '22023',
        DETAIL = format('permission %s', coalesce(permission, 'NULL')), HINT = 'use ''view'' or ''edit''';
    END IF;
    IF with_user IS NULL OR with_user = owner THEN
      RAISE EXCEPTION 'a dashboard is shared with somebody else' USING ERRCODE = '22023',
        DETAIL = format('with_user %s', coalesce(with_user::text, 'NULL')), HINT = 'give the id of another user';
    END IF;
    IF owner IS NULL THEN
      RAISE EXCEPTION 'the dashboard has no owner who could share it' USING ERRCODE = '55000',
        DETAIL = format('dashboard %s', dashboard), HINT = 'set is_public, or give it an owner';
    END IF;
    INSERT INTO reporting.dashboard_shares AS s (dashboard_id, shared_by_user_id, shared_with_user_id, permission_level)
    VALUES (board, owner, with_user, permission)
    ON CONFLICT (dashboard_id, shared_with_user_id) DO UPDATE SET permission_level = excluded.permission_level
      WHERE s.permission_level <> excluded.permission_level;
    RETURN FOUND;
  EXCEPTION WHEN foreign_key_violation THEN
    RAISE EXCEPTION 'the user does not exist' USING ERRCODE = '23503', DETAIL = format('user %s', with_user),
      HINT = 'dashboards are shared with users of auth.users';
  END
  $body$;

CREATE FUNCTION reporting.unshare(dashboard text, with_user uuid) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    board uuid := reporting._dashboard(dashboard);
  BEGIN
    -- Who was given a share may give it back.
    IF with_user IS DISTINCT FROM (SELECT auth.uid()) THEN
      PERFORM reporting._own_dashboard(dashboard);
    END IF;
    DELETE FROM reporting.dashboard_shares s WHERE s.dashboard_id = board AND s.shared_with_user_id = with_user;
    RETURN FOUND;
  END
  $body$;

CREATE FUNCTION reporting.layout_versions(dashboard text)
  RETURNS TABLE (version int, created_at timestamptz, created_by uuid, widgets int, is_current boolean)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    board uuid := reporting._editable_dashboard(dashboard, false);
  BEGIN
    RETURN QUERY
      SELECT v.version, v.created_at, v.created_by, jsonb_array_length(v.widgets), v.version = d.version
        FROM reporting.dashboard_versions v JOIN reporting.dashboards d ON d.id = v.dashboard_id
       WHERE v.dashboard_id = board ORDER BY v.version DESC;
  END
  $body$;

CREATE FUNCTION reporting.restore_layout(dashboard text, version int) RETURNS int
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    board uuid := reporting._editable_dashboard(dashboard);
    wanted record;
    now_at int;
  BEGIN
    SELECT v.layout_config, v.filter_config, v.widgets INTO wanted
      FROM reporting.dashboard_versions v WHERE v.dashboard_id = board AND v.version = restore_layout.version;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'the dashboard has no such version' USING ERRCODE = 'P0002',
        DETAIL = format('version %s of dashboard %s', coalesce(version::text, 'NULL'), dashboard),
        HINT = 'see reporting.layout_versions(dashboard); the last reporting.settings.keep_versions are kept';
    END IF;
    PERFORM set_config('gemba.restoring_layout', 'on', true);
    -- One statement, so that only what comes out of it has to fit.
    WITH kept AS (
      SELECT k.* FROM jsonb_to_recordset(wanted.widgets) AS k(
               widget_id text, widget_type text, chart_type text, title text, data_source jsonb, display_config jsonb,
               position_config jsonb)
    ), frame AS (
      UPDATE reporting.dashboards d SET layout_config = wanted.layout_config, filter_config = wanted.filter_config
       WHERE d.id = board
         AND (d.layout_config, d.filter_config) IS DISTINCT FROM (wanted.layout_config, wanted.filter_config)
    ), removed AS (
      DELETE FROM reporting.dashboard_widgets w
       WHERE w.dashboard_id = board AND w.widget_id NOT IN (SELECT k.widget_id FROM kept k)
    ), changed AS (
      UPDATE reporting.dashboard_widgets w
         SET widget_type = k.widget_type, chart_type = k.chart_type, title = k.title, data_source = k.data_source,
             display_config = k.display_config, position_config = k.position_config
        FROM kept k
       WHERE w.dashboard_id = board AND w.widget_id = k.widget_id
         AND (w.widget_type, w.chart_type, w.title, w.data_source, w.display_config, w.position_config)
             IS DISTINCT FROM (k.widget_type, k.chart_type, k.title, k.data_source, k.display_config, k.position_config)
    )
    INSERT INTO reporting.dashboard_widgets
           (widget_id, dashboard_id, widget_type, chart_type, title, data_source, display_config, position_config)
    SELECT k.widget_id, board, k.widget_type, k.chart_type, k.title, k.data_source, k.display_config, k.position_config
      FROM kept k
     WHERE NOT EXISTS (SELECT FROM reporting.dashboard_widgets w WHERE w.dashboard_id = board AND w.widget_id = k.widget_id);
    PERFORM set_config('gemba.restoring_layout', '', true);
    SELECT d.version INTO now_at FROM reporting.dashboards d WHERE d.id = board;
    RETURN now_at;
  END
  $body$;
