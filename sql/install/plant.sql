-- The plant's functions that are SQL: triggers, aggregates, resolving safety events, and the questions
-- that a morning meeting asks.

-- Triggers ----------------------------------------------------------------------------------------

-- plant._set_resolved() tells the triggers for whom it acts by the setting gemba.resolving: a user's id, or
-- 'nobody'. Without it somebody changes the table directly.
CREATE FUNCTION plant._note_resolution() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF NEW.is_resolved THEN
      NEW.resolved_at := coalesce(NEW.resolved_at, now());
    ELSE
      NEW.resolved_at := NULL;
      NEW.resolved_by := NULL;
    END IF;
    -- The note of the last time does not belong to this one.
    IF TG_OP = 'UPDATE' AND coalesce(current_setting('gemba.resolving', true), '') = ''
       AND NEW.resolution_note IS NOT DISTINCT FROM OLD.resolution_note THEN
      NEW.resolution_note := NULL;
    END IF;
    RETURN NEW;
  END
  $body$;

CREATE FUNCTION plant._log_safety_event() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    acting text := coalesce(current_setting('gemba.resolving', true), '');
    what text := CASE WHEN TG_OP = 'INSERT' THEN 'recorded'
                      WHEN TG_OP = 'DELETE' THEN 'deleted'
                      WHEN OLD.is_resolved = NEW.is_resolved THEN 'changed'
                      WHEN NEW.is_resolved THEN 'resolved'
                      ELSE 'reopened' END;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('plant.safety_event_log');
    INSERT INTO plant.safety_event_log (event_id, action, note, user_id, done_by, was)
    VALUES (coalesce(NEW.id, OLD.id), what,
            CASE WHEN what IN ('recorded', 'resolved', 'reopened') THEN NEW.resolution_note END,
            CASE WHEN acting <> '' THEN nullif(acting, 'nobody')::uuid
                 WHEN what IN ('recorded', 'resolved') THEN coalesce(NEW.resolved_by, gemba._user())
                 ELSE gemba._user() END,
            gemba._caller(), CASE WHEN what IN ('changed', 'deleted') THEN to_jsonb(OLD) END);
    RETURN NULL;
  END
  $body$;

-- Aggregates --------------------------------------------------------------------------------------

CREATE FUNCTION plant._oee_add(internal, numeric, numeric, numeric, bigint, bigint) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_oee_add';
CREATE FUNCTION plant._oee_remove(internal, numeric, numeric, numeric, bigint, bigint) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_oee_remove';
CREATE FUNCTION plant._oee_add_state(internal, plant.oee_state) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_oee_add_state';
CREATE FUNCTION plant._oee_remove_state(internal, plant.oee_state) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_oee_remove_state';
CREATE FUNCTION plant._oee_combine(internal, internal) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_oee_combine';
CREATE FUNCTION plant._oee_serialize(internal) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_oee_serialize';
CREATE FUNCTION plant._oee_deserialize(bytea, internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_oee_deserialize';
CREATE FUNCTION plant._oee_final_figures(internal) RETURNS plant.oee_figures
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_oee_final_figures';
CREATE FUNCTION plant._oee_final_state(internal) RETURNS plant.oee_state
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_oee_final_state';

CREATE AGGREGATE plant.oee_agg(
    planned_minutes numeric, downtime_minutes numeric, ideal_cycle_seconds numeric, total_count bigint, good_count bigint) (
  SFUNC = plant._oee_add, STYPE = internal, SSPACE = 128, FINALFUNC = plant._oee_final_figures,
  COMBINEFUNC = plant._oee_combine, SERIALFUNC = plant._oee_serialize, DESERIALFUNC = plant._oee_deserialize,
  MSFUNC = plant._oee_add, MINVFUNC = plant._oee_remove, MSTYPE = internal, MSSPACE = 128,
  MFINALFUNC = plant._oee_final_figures, PARALLEL = SAFE);
CREATE AGGREGATE plant.oee_state_agg(
    planned_minutes numeric, downtime_minutes numeric, ideal_cycle_seconds numeric, total_count bigint, good_count bigint) (
  SFUNC = plant._oee_add, STYPE = internal, SSPACE = 128, FINALFUNC = plant._oee_final_state,
  COMBINEFUNC = plant._oee_combine, SERIALFUNC = plant._oee_serialize, DESERIALFUNC = plant._oee_deserialize,
  MSFUNC = plant._oee_add, MINVFUNC = plant._oee_remove, MSTYPE = internal, MSSPACE = 128,
  MFINALFUNC = plant._oee_final_state, PARALLEL = SAFE);
CREATE AGGREGATE plant.oee_agg(state plant.oee_state) (
  SFUNC = plant._oee_add_state, STYPE = internal, SSPACE = 128, FINALFUNC = plant._oee_final_figures,
  COMBINEFUNC = plant._oee_combine, SERIALFUNC = plant._oee_serialize, DESERIALFUNC = plant._oee_deserialize,
  MSFUNC = plant._oee_add_state, MINVFUNC = plant._oee_remove_state, MSTYPE = internal, MSSPACE = 128,
  MFINALFUNC = plant._oee_final_figures, PARALLEL = SAFE);
CREATE AGGREGATE plant.oee_merge(state plant.oee_state) (
  SFUNC = plant._oee_add_state, STYPE = internal, SSPACE = 128, FINALFUNC = plant._oee_final_state,
  COMBINEFUNC = plant._oee_combine, SERIALFUNC = plant._oee_serialize, DESERIALFUNC = plant._oee_deserialize,
  MSFUNC = plant._oee_add_state, MINVFUNC = plant._oee_remove_state, MSTYPE = internal, MSSPACE = 128,
  MFINALFUNC = plant._oee_final_state, PARALLEL = SAFE);

-- Safety events -----------------------------------------------------------------------------------

CREATE FUNCTION plant._set_resolved(event uuid, resolved boolean, note text, user_id uuid)
  RETURNS TABLE (id uuid, is_resolved boolean, resolved_at timestamptz, resolved_by uuid, changed boolean)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    serves boolean := pg_has_role(gemba._caller()::name, 'service_role', 'MEMBER');
    acting uuid := coalesce(user_id, gemba._user());
    known boolean;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('plant.safety_events');
    IF user_id IS NOT NULL AND NOT serves THEN
      RAISE EXCEPTION 'only service_role may act on behalf of somebody' USING ERRCODE = '42501',
        DETAIL = format('on_behalf_of %s, called by %s', user_id, gemba._caller()),
        HINT = 'leave on_behalf_of out: the logged-in user is recorded';
    END IF;
    IF NOT serves AND acting IS NULL THEN
      RAISE EXCEPTION 'nobody is logged in' USING ERRCODE = '42501',
        DETAIL = format('called by %s without a user in request.jwt.claims', gemba._caller()),
        HINT = 'call it with the claims of a logged-in user, or as service_role';
    END IF;
    IF NOT serves AND NOT coalesce((SELECT s.users_resolve FROM plant.settings s), false) THEN
      RAISE EXCEPTION 'users may not resolve safety events here' USING ERRCODE = '42501',
        DETAIL = format('called by %s', gemba._caller()),
        HINT = 'plant.settings.users_resolve is false: let the application''s server do it as service_role';
    END IF;
    SELECT e.is_resolved INTO known FROM plant.safety_events e WHERE e.id = event FOR UPDATE;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'the safety event does not exist' USING ERRCODE = 'P0002',
        DETAIL = format('id %s', coalesce(event::text, 'NULL')), HINT = 'see plant.safety_events';
    END IF;
    -- Held, and looked at: a view in its place could run code of its owner's with the extension's rights.
    LOCK TABLE auth.users IN ACCESS SHARE MODE;
    IF (SELECT c.relkind FROM pg_class c WHERE c.oid = 'auth.users'::regclass) NOT IN ('r', 'p') THEN
      RAISE EXCEPTION 'auth.users is not a table' USING ERRCODE = '55000',
        HINT = 'safety events are resolved by users of the auth schema';
    END IF;
    IF acting IS NOT NULL AND NOT EXISTS (SELECT FROM auth.users u WHERE u.id = acting) THEN
      RAISE EXCEPTION 'the user does not exist' USING ERRCODE = '23503', DETAIL = format('user %s', acting),
        HINT = 'only users of auth.users resolve and reopen safety events';
    END IF;
    PERFORM set_config('gemba.resolving', coalesce(acting::text, 'nobody'), true);
    UPDATE plant.safety_events e
       SET is_resolved = resolved, resolution_note = note, resolved_by = CASE WHEN resolved THEN acting END
     WHERE e.id = event AND e.is_resolved IS DISTINCT FROM resolved;
    PERFORM set_config('gemba.resolving', '', true);
    RETURN QUERY
      SELECT e.id, e.is_resolved, e.resolved_at, e.resolved_by, known IS DISTINCT FROM resolved
        FROM plant.safety_events e WHERE e.id = event;
  END
  $body$;

CREATE FUNCTION plant.resolve_safety_event(id uuid, note text DEFAULT NULL, on_behalf_of uuid DEFAULT NULL)
  RETURNS TABLE (event_id uuid, is_resolved boolean, resolved_at timestamptz, resolved_by uuid, changed boolean)
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT * FROM plant._set_resolved($1, true, $2, $3) $body$;

CREATE FUNCTION plant.reopen_safety_event(id uuid, note text DEFAULT NULL, on_behalf_of uuid DEFAULT NULL)
  RETURNS TABLE (event_id uuid, is_resolved boolean, resolved_at timestamptz, resolved_by uuid, changed boolean)
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT * FROM plant._set_resolved($1, false, $2, $3) $body$;

-- Reading -----------------------------------------------------------------------------------------
-- All with the caller's rights, so policies decide.

CREATE FUNCTION plant._percent(ratio numeric) RETURNS numeric
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT round(ratio * 100, 2) $body$;

CREATE FUNCTION plant.morning_report(report_date date DEFAULT NULL)
  RETURNS TABLE (
    asset_id uuid, name varchar, area varchar, oee numeric, availability numeric, performance numeric, quality numeric,
    oee_target numeric, oee_gap numeric, band text, actual_output int, target_output int, output_variance int,
    output_variance_percentage numeric, downtime_minutes int, waste_count int, financial_loss numeric,
    oee_rank bigint, loss_rank bigint, trend_7 numeric, trend_30 numeric, open_safety_events bigint, priority text,
    estimated text[], summary text)
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
    WITH asked AS MATERIALIZED (
      SELECT coalesce(morning_report.report_date, plant.today() - 1) AS day
    ), history AS (
      -- OEE over the days before, weighted by their planned time.
      SELECT h.asset_id,
             100 * sum((h.oee_state).effective_seconds) FILTER (WHERE h.report_date >= asked.day - 7)
               / nullif(sum((h.oee_state).planned_seconds) FILTER (WHERE h.report_date >= asked.day - 7), 0) AS oee_7,
             100 * sum((h.oee_state).effective_seconds) / nullif(sum((h.oee_state).planned_seconds), 0) AS oee_30
        FROM asked
        JOIN plant.daily_summaries h ON h.report_date >= asked.day - 30 AND h.report_date < asked.day
       GROUP BY h.asset_id
    ), open_events AS (
      SELECT e.asset_id, count(*) AS events FROM plant.safety_events e WHERE NOT e.is_resolved GROUP BY e.asset_id
    ), days AS (
      SELECT a.id, a.name, a.area, d.oee_percentage, d.availability_percentage, d.performance_percentage,
             d.quality_percentage, coalesce(a.oee_target, s.oee_target) AS target,
             coalesce(a.oee_target, s.oee_target) - d.oee_percentage AS gap,
             d.actual_output, d.target_output, d.actual_output - d.target_output AS variance,
             round(100.0 * (d.actual_output - d.target_output) / nullif(d.target_output, 0), 2) AS variance_percentage,
             d.downtime_minutes, d.waste_count, d.financial_loss_dollars AS loss,
             round(d.oee_percentage - h.oee_7, 2) AS trend_7, round(d.oee_percentage - h.oee_30, 2) AS trend_30,
             coalesce(o.events, 0) AS events, d.estimated, d.smart_summary_text, d.id IS NOT NULL AS reported,
             s.good_from, s.fair_from, s.low_priority_loss, s.medium_priority_loss, s.high_priority_loss,
             s.medium_priority_gap, s.high_priority_gap
        FROM plant.assets a
       CROSS JOIN plant.settings s
       CROSS JOIN asked
        LEFT JOIN plant.daily_summaries d ON d.asset_id = a.id AND d.report_date = asked.day
        LEFT JOIN history h ON h.asset_id = a.id
        LEFT JOIN open_events o ON o.asset_id = a.id
       WHERE a.is_active OR d.id IS NOT NULL
    )
    SELECT y.id, y.name, y.area, y.oee_percentage, y.availability_percentage, y.performance_percentage,
           y.quality_percentage, y.target, y.gap,
           CASE WHEN NOT y.reported THEN 'no data'
                WHEN y.oee_percentage IS NULL THEN 'not planned'
                WHEN y.oee_percentage >= y.good_from THEN 'good'
                WHEN y.oee_percentage >= y.fair_from THEN 'fair'
                ELSE 'poor' END,
           y.actual_output, y.target_output, y.variance, y.variance_percentage, y.downtime_minutes, y.waste_count, y.loss,
           CASE WHEN y.oee_percentage IS NOT NULL THEN rank() OVER (ORDER BY y.oee_percentage DESC NULLS LAST) END,
           CASE WHEN y.loss IS NOT NULL THEN rank() OVER (ORDER BY y.loss DESC NULLS LAST) END,
           y.trend_7, y.trend_30, y.events,
           CASE WHEN NOT y.reported THEN NULL
                WHEN y.loss >= y.high_priority_loss OR y.gap >= y.high_priority_gap THEN 'high'
                WHEN y.loss >= y.medium_priority_loss OR y.gap >= y.medium_priority_gap THEN 'medium'
                WHEN y.loss >= y.low_priority_loss THEN 'low'
                ELSE 'none' END,
           y.estimated, y.smart_summary_text
      FROM days y
     ORDER BY y.loss DESC NULLS LAST, y.name, y.id
  $body$;

CREATE FUNCTION plant.live_status()
  RETURNS TABLE (
    asset_id uuid, name varchar, area varchar, snapshot_timestamp timestamptz, current_output int, target_output int,
    output_variance int, output_variance_percentage numeric, status text, age interval)
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT a.id, a.name, a.area, l.snapshot_timestamp, l.current_output, l.target_output, l.output_variance,
           round(100.0 * l.output_variance / nullif(l.target_output, 0), 2),
           CASE WHEN l.snapshot_timestamp IS NULL THEN 'no data'
                WHEN l.snapshot_timestamp < now() - s.live_window THEN 'stale'
                ELSE coalesce(l.status, 'no target') END,
           CASE WHEN l.snapshot_timestamp IS NOT NULL THEN greatest(now() - l.snapshot_timestamp, interval '0') END
      FROM plant.assets a
     CROSS JOIN plant.settings s
      LEFT JOIN LATERAL (
        -- Newest partition first; it stops at the first row.
        SELECT x.snapshot_timestamp, x.current_output, x.target_output, x.output_variance, x.status
          FROM plant.live_snapshots x
         WHERE x.asset_id = a.id ORDER BY x.snapshot_timestamp DESC LIMIT 1) AS l ON true
     WHERE a.is_active
     ORDER BY a.name, a.id
  $body$;

CREATE FUNCTION plant.oee_trend(
    asset uuid, from_date date, to_date date, bucket interval DEFAULT '1 day')
  RETURNS TABLE (
    bucket_start date, oee numeric, availability numeric, performance numeric, quality numeric,
    planned_minutes numeric, downtime_minutes numeric, actual_output bigint, waste_count bigint,
    financial_loss numeric, days bigint)
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  BEGIN
    IF bucket IS NULL OR bucket <> date_trunc('day', bucket) THEN
      RAISE EXCEPTION 'bucket is not one of whole days' USING ERRCODE = '22023', DETAIL = format('bucket %L', bucket),
        HINT = 'use for instance ''1 day'', ''7 days'' or ''1 month''';
    END IF;
    RETURN QUERY
    WITH known AS (
      SELECT gemba.bucket_start(bucket, d.report_date::timestamp AT TIME ZONE 'UTC', 'UTC') AS start,
             plant.oee_agg(d.oee_state) AS f, sum((d.oee_state).planned_seconds) / 60 AS planned,
             sum((d.oee_state).planned_seconds - (d.oee_state).run_seconds) / 60 AS down,
             sum(d.actual_output) AS output, sum(d.waste_count) AS waste, sum(d.financial_loss_dollars) AS loss,
             count(DISTINCT d.report_date) AS days
        FROM plant.daily_summaries d
       WHERE d.report_date >= from_date AND d.report_date <= to_date AND (asset IS NULL OR d.asset_id = asset)
       GROUP BY 1
    )
    SELECT (b.start AT TIME ZONE 'UTC')::date, plant._percent((k.f).oee), plant._percent((k.f).availability),
           plant._percent((k.f).performance), plant._percent((k.f).quality), round(k.planned, 2), round(k.down, 2),
           k.output, k.waste, k.loss, coalesce(k.days, 0)
      FROM gemba.buckets(bucket, from_date::timestamp AT TIME ZONE 'UTC',
                         (to_date + 1)::timestamp AT TIME ZONE 'UTC', 'UTC') AS b (start)
      LEFT JOIN known k ON k.start = b.start
     ORDER BY b.start;
  END
  $body$;

CREATE FUNCTION plant.loss_pareto(from_date date, to_date date, by text DEFAULT 'asset')
  RETURNS TABLE (rank bigint, name text, loss numeric, minutes numeric, share numeric, cumulative_share numeric)
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  BEGIN
    IF by IS NULL OR by NOT IN ('asset', 'area', 'kind', 'reason') THEN
      RAISE EXCEPTION 'by is not one of its values' USING ERRCODE = '22023', DETAIL = format('by %L', by),
        HINT = 'use ''asset'', ''area'', ''kind'' (downtime or waste) or ''reason'' (of the stops in plant.machine_states)';
    END IF;
    RETURN QUERY
    WITH summaries AS (
      SELECT d.*, a.name AS asset_name, a.area
        FROM plant.daily_summaries d JOIN plant.assets a ON a.id = d.asset_id
       WHERE d.report_date >= from_date AND d.report_date <= to_date AND by <> 'reason'
    ), parts AS (
      SELECT s.asset_id::text AS key, s.asset_name::text AS label, s.financial_loss_dollars AS loss,
             s.downtime_minutes::numeric AS minutes
        FROM summaries s WHERE by = 'asset'
      UNION ALL
      SELECT s.area, coalesce(s.area, 'no area'), s.financial_loss_dollars, s.downtime_minutes
        FROM summaries s WHERE by = 'area'
      UNION ALL
      SELECT k.kind, k.kind, k.loss, k.minutes
        FROM summaries s
       CROSS JOIN LATERAL (VALUES ('downtime', s.downtime_loss, s.downtime_minutes::numeric),
                                  ('waste', s.waste_loss, 0)) AS k (kind, loss, minutes)
       WHERE by = 'kind'
      UNION ALL
      SELECT t.reason_code, coalesce(t.reason_code, 'no reason'),
             t.seconds / 3600 * coalesce(c.standard_hourly_rate, p.default_hourly_rate), t.seconds / 60
        FROM plant.settings p
       CROSS JOIN LATERAL plant.state_durations(
              (from_date + p.day_starts_at) AT TIME ZONE p.time_zone,
              (to_date + 1 + p.day_starts_at) AT TIME ZONE p.time_zone) AS t
        LEFT JOIN plant.cost_centers c ON c.asset_id = t.asset_id
       WHERE by = 'reason' AND from_date <= to_date AND t.state = 'stopped'
    ), sums AS (
      SELECT p.key, min(p.label) AS label, round(sum(p.loss), 2) AS loss, round(sum(p.minutes), 2) AS minutes
        FROM parts p GROUP BY p.key HAVING sum(p.loss) > 0
    )
    SELECT row_number() OVER w, s.label, s.loss, s.minutes,
           round(100 * s.loss / sum(s.loss) OVER (), 2), round(100 * sum(s.loss) OVER w / sum(s.loss) OVER (), 2)
      FROM sums s
    WINDOW w AS (ORDER BY s.loss DESC, s.label, s.key)
     ORDER BY 1;
  END
  $body$;

CREATE FUNCTION plant.safety_summary(from_date date, to_date date)
  RETURNS TABLE (
    severity text, reason_code text, events bigint, open bigint, resolved bigint, assets bigint,
    oldest_open timestamptz, mean_time_to_resolve interval, duration_minutes numeric, financial_impact numeric)
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT e.severity, e.reason_code, count(*), count(*) FILTER (WHERE NOT e.is_resolved),
           count(*) FILTER (WHERE e.is_resolved), count(DISTINCT e.asset_id),
           min(e.event_timestamp) FILTER (WHERE NOT e.is_resolved),
           avg(e.resolved_at - e.event_timestamp) FILTER (WHERE e.is_resolved),
           sum(e.duration_minutes), sum(e.financial_impact)
      FROM plant.settings s
      JOIN plant.safety_events e
        ON e.event_timestamp >= (from_date + s.day_starts_at) AT TIME ZONE s.time_zone
       AND e.event_timestamp < (to_date + 1 + s.day_starts_at) AT TIME ZONE s.time_zone
     GROUP BY e.severity, e.reason_code
     ORDER BY array_position(ARRAY['critical', 'high', 'medium', 'low'], e.severity), e.reason_code
  $body$;

-- Everything that the page shows, with numbers as texts, so that they arrive as they are.
CREATE FUNCTION plant._morning_page(report_date date) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    WITH report AS MATERIALIZED (
      SELECT * FROM plant.morning_report(_morning_page.report_date)
    ), live AS MATERIALIZED (
      SELECT * FROM plant.live_status()
    )
    SELECT jsonb_build_object(
      'plant', s.plant_name, 'report_date', _morning_page.report_date, 'time_zone', s.time_zone, 'currency', s.currency,
      'generated_at', to_char(now() AT TIME ZONE s.time_zone, 'YYYY-MM-DD HH24:MI'),
      'good_from', s.good_from::text, 'fair_from', s.fair_from::text,
      'totals', (
        SELECT jsonb_build_object(
          'oee', plant._percent((f.figures).oee)::text, 'availability', plant._percent((f.figures).availability)::text,
          'performance', plant._percent((f.figures).performance)::text, 'quality', plant._percent((f.figures).quality)::text,
          'oee_target', s.oee_target::text, 'actual_output', f.actual::text, 'target_output', f.target::text,
          'downtime_minutes', f.down::text, 'waste_count', f.waste::text, 'financial_loss', f.loss::text,
          'assets', (SELECT count(*) FROM report), 'reporting', f.reporting,
          'open_safety_events', (SELECT count(*) FROM plant.safety_events e WHERE NOT e.is_resolved))
          FROM (SELECT plant.oee_agg(d.oee_state) AS figures, sum(d.actual_output) AS actual,
                       -- Of all that reported, or of none: otherwise it does not compare with the output.
                       CASE WHEN bool_and(d.target_output IS NOT NULL) THEN sum(d.target_output) END AS target,
                       sum(d.downtime_minutes) AS down, sum(d.waste_count) AS waste, sum(d.financial_loss_dollars) AS loss,
                       count(*) AS reporting
                  FROM plant.daily_summaries d WHERE d.report_date = _morning_page.report_date) AS f),
      'assets', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
          'name', r.name, 'area', r.area, 'oee', r.oee::text, 'availability', r.availability::text,
          'performance', r.performance::text, 'quality', r.quality::text, 'oee_target', r.oee_target::text, 'band', r.band,
          'actual_output', r.actual_output::text, 'target_output', r.target_output::text,
          'output_variance_percentage', r.output_variance_percentage::text, 'downtime_minutes', r.downtime_minutes::text,
          'waste_count', r.waste_count::text, 'financial_loss', r.financial_loss::text, 'loss_rank', r.loss_rank,
          'trend_7', r.trend_7::text, 'trend_30', r.trend_30::text, 'priority', coalesce(r.priority, 'none'),
          'open_safety_events', r.open_safety_events, 'estimated', coalesce(r.estimated, '{}'), 'summary', r.summary)), '[]')
          FROM report r),
      'losses', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
          'name', p.name, 'kind', p.kind, 'loss', p.loss::text, 'share', p.share::text,
          'cumulative_share', p.cumulative_share::text) ORDER BY p.place), '[]')
          FROM (SELECT a.name, k.kind, k.loss, row_number() OVER w AS place,
                       round(100 * k.loss / sum(k.loss) OVER (), 2) AS share,
                       round(100 * sum(k.loss) OVER w / sum(k.loss) OVER (), 2) AS cumulative_share
                  FROM plant.daily_summaries d
                  JOIN plant.assets a ON a.id = d.asset_id
                 CROSS JOIN LATERAL (VALUES ('downtime', d.downtime_loss), ('waste', d.waste_loss)) AS k (kind, loss)
                 WHERE d.report_date = _morning_page.report_date AND k.loss > 0
                WINDOW w AS (ORDER BY k.loss DESC, a.name, a.id, k.kind)) AS p),
      'trend', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
          'date', t.bucket_start, 'oee', t.oee::text, 'target', s.oee_target::text) ORDER BY t.bucket_start), '[]')
          FROM plant.oee_trend(NULL, _morning_page.report_date - 29, _morning_page.report_date) AS t),
      'live', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
          'name', l.name,
          'status', CASE WHEN l.status IN ('on_target', 'behind', 'ahead') THEN l.status END,
          'freshness', CASE WHEN l.status IN ('stale', 'no data') THEN l.status ELSE 'fresh' END,
          'current_output', l.current_output::text, 'target_output', l.target_output::text,
          'minutes_old', floor(extract(epoch FROM l.age) / 60)::text)), '[]')
          FROM live l),
      'safety', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
          'severity', e.severity, 'asset', a.name, 'reason_code', e.reason_code,
          'event_timestamp', to_char(e.event_timestamp AT TIME ZONE s.time_zone, 'YYYY-MM-DD HH24:MI'),
          'description', e.description)
          ORDER BY array_position(ARRAY['critical', 'high', 'medium', 'low'], e.severity), e.event_timestamp, e.id), '[]')
          FROM plant.safety_events e JOIN plant.assets a ON a.id = e.asset_id WHERE NOT e.is_resolved))
      FROM plant.settings s
  $body$;
