-- Weeks as they are recorded, and the months and quarters that are built from them.

-- The ratios that can be made of these sums.
CREATE FUNCTION reporting._ratios(metrics jsonb) RETURNS jsonb
  LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT coalesce(jsonb_object_agg(d.name, round(d.factor * (metrics -> d.numerator)::numeric / (metrics -> d.denominator)::numeric, 6)), '{}')
      FROM reporting.metric_definitions d
     WHERE jsonb_typeof(metrics -> d.numerator) = 'number' AND jsonb_typeof(metrics -> d.denominator) = 'number'
       AND metrics -> d.denominator <> '0'
  $body$;

-- What several rows say of the same dimensions: what they agree on, and else all that they name.
CREATE FUNCTION reporting._united(all_dimensions jsonb[]) RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
    WITH said AS MATERIALIZED (
      SELECT DISTINCT e.key, e.value FROM unnest(all_dimensions) AS d (dimensions) CROSS JOIN jsonb_each(d.dimensions) AS e
    ), counted AS MATERIALIZED (
      SELECT s.key, s.value, count(*) OVER (PARTITION BY s.key) AS different FROM said s
    ), united AS (
      SELECT c.key, c.value FROM counted c WHERE c.different = 1
      UNION ALL
      SELECT c.key, coalesce(jsonb_agg(DISTINCT n.name) FILTER (WHERE n.name IS NOT NULL), '[]')
        FROM counted c
        LEFT JOIN LATERAL jsonb_array_elements(
               CASE jsonb_typeof(c.value) WHEN 'array' THEN c.value ELSE jsonb_build_array(c.value) END) AS n (name) ON true
       WHERE c.different > 1
       GROUP BY c.key
    )
    SELECT coalesce(jsonb_object_agg(u.key, u.value), '{}') FROM united u
  $body$;

-- Months and quarters of a workflow on an account that have a day between two dates, anew from its weeks. Whoever
-- calls it has the pair's row of workflow_data locked.
CREATE FUNCTION reporting._build_periods(workflow uuid, instance uuid, from_day date, to_day date)
  RETURNS TABLE (aggregation_type text, aggregation_key text, totals jsonb)
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$
    WITH period AS MATERIALIZED (
      SELECT 'monthly' AS type, to_char(m, 'YYYY-MM') AS key, m::date AS first, (m + interval '1 month')::date - 1 AS last
        FROM generate_series(date_trunc('month', from_day::timestamp), to_day::timestamp, interval '1 month') AS m
      UNION ALL
      SELECT 'quarterly', to_char(q, 'YYYY-"Q"Q'), q::date, (q + interval '3 months')::date - 1
        FROM generate_series(date_trunc('quarter', from_day::timestamp), to_day::timestamp, interval '3 months') AS q
    ), part AS MATERIALIZED (
      SELECT p.type, p.key, w.metrics, w.dimensions, w.row_count, w.last - w.first + 1 AS days,
             greatest(p.first, w.first) - w.first AS a, least(p.last, w.last) - w.first + 1 AS b
        FROM period p
        -- A week may have begun in the period before.
        JOIN LATERAL (SELECT coalesce(g.recorded, g.metrics) AS metrics, g.dimensions, g.row_count, g.data_date AS first, reporting._week_end(g.aggregation_key) AS last
                        FROM reporting.report_data_aggregates g
                       WHERE g.workflow_id = workflow AND g.instance_id = instance AND g.aggregation_type = 'weekly'
                         AND g.data_date BETWEEN p.first - 6 AND p.last) AS w ON w.last >= p.first
    ), total AS (
      SELECT t.type, t.key, jsonb_object_agg(t.metric, t.amount) AS metrics
        FROM (SELECT p.type, p.key, m.key AS metric,
                     -- What falls on days a to b: the difference of two rounded running sums, so that the parts of a
                     -- week always add up to the whole, exactly.
                     sum(CASE WHEN p.b = p.days THEN v.amount ELSE round(v.amount * p.b / p.days, v.places) END
                         - CASE WHEN p.a = 0 THEN 0 ELSE round(v.amount * p.a / p.days, v.places) END) AS amount
                FROM part p
               CROSS JOIN jsonb_each(p.metrics) AS m
               CROSS JOIN LATERAL (SELECT m.value::numeric, scale(m.value::numeric) + 6) AS v (amount, places)
               WHERE jsonb_typeof(m.value) = 'number'
                 AND NOT EXISTS (SELECT FROM reporting.metric_definitions d WHERE d.name = m.key)
               GROUP BY 1, 2, 3) AS t
       GROUP BY 1, 2
    ), around AS (
      SELECT p.type, p.key, reporting._united(array_agg(p.dimensions)) AS dimensions,
             sum(round(p.row_count::numeric * p.b / p.days) - round(p.row_count::numeric * p.a / p.days)) AS row_count
        FROM part p GROUP BY 1, 2
    ), emptied AS (
      DELETE FROM reporting.report_data_aggregates g USING period p
       WHERE g.workflow_id = workflow AND g.instance_id = instance AND g.aggregation_type = p.type AND g.aggregation_key = p.key
         AND g.data_date = p.first AND NOT EXISTS (SELECT FROM part x WHERE x.type = p.type AND x.key = p.key)
    )
    INSERT INTO reporting.report_data_aggregates AS g
           (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics, dimensions, row_count)
    SELECT workflow, instance, p.type, p.key, p.first, coalesce(t.metrics, '{}') || reporting._ratios(coalesce(t.metrics, '{}')),
           r.dimensions, r.row_count
      FROM period p JOIN around r ON r.type = p.type AND r.key = p.key
      LEFT JOIN total t ON t.type = p.type AND t.key = p.key
    ON CONFLICT (workflow_id, instance_id, aggregation_type, aggregation_key, data_date) DO UPDATE
      SET metrics = excluded.metrics, dimensions = excluded.dimensions, row_count = excluded.row_count
      WHERE (g.metrics::text, g.dimensions, g.row_count) IS DISTINCT FROM (excluded.metrics::text, excluded.dimensions, excluded.row_count)
    RETURNING g.aggregation_type, g.aggregation_key, g.metrics
  $body$;

-- Those who write about the same workflow and account come one after the other; what they read afterwards is what
-- the one before has left.
CREATE FUNCTION reporting._take_turns_on_data(workflow uuid, instance uuid) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    INSERT INTO reporting.workflow_data (workflow_id, instance_id) VALUES (workflow, instance) ON CONFLICT DO NOTHING;
    PERFORM FROM reporting.workflow_data d WHERE d.workflow_id = workflow AND d.instance_id = instance FOR NO KEY UPDATE;
  END
  $body$;

-- The names and values of a week that can be summed, each looked at.
CREATE FUNCTION reporting._checked_metrics(metrics jsonb) RETURNS jsonb
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    bad record;
    many bigint;
  BEGIN
    IF metrics IS NULL OR jsonb_typeof(metrics) <> 'object' THEN
      RAISE EXCEPTION 'metrics are an object' USING ERRCODE = '22023',
        DETAIL = format('metrics: %s', coalesce(left(metrics::text, 200), 'NULL')), HINT = 'give {"clicks": 12, "spend": 3.50, …}';
    END IF;
    SELECT e.key, e.value INTO bad FROM jsonb_each(metrics) AS e
     WHERE jsonb_typeof(e.value) NOT IN ('number', 'null') OR e.key = '' OR length(e.key) > 100 ORDER BY e.key LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'a metric is a number' USING ERRCODE = '22023',
        DETAIL = format('metrics.%s: %s', left(bad.key, 200), left(bad.value::text, 200)),
        HINT = 'give numbers, or null where there is none, under names of 1 to 100 characters; what describes them belongs into dimensions';
    END IF;
    SELECT count(*) INTO many FROM jsonb_object_keys(metrics);
    IF many > 500 THEN
      RAISE EXCEPTION 'there are too many metrics' USING ERRCODE = '54000', DETAIL = format('metrics: %s names', many),
        HINT = 'record 500 at most';
    END IF;
    SELECT e.key, e.value INTO bad FROM jsonb_each(metrics) AS e
     WHERE jsonb_typeof(e.value) = 'number' AND (abs(e.value::numeric) >= 1e100 OR scale(e.value::numeric) > 100) ORDER BY e.key LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'the metric is out of its range' USING ERRCODE = '22003',
        DETAIL = format('metrics.%s: %s', left(bad.key, 200), left(bad.value::text, 200)),
        HINT = 'metrics have up to 100 digits before the point and 100 behind it';
    END IF;
    RETURN jsonb_strip_nulls(metrics);
  END
  $body$;

CREATE FUNCTION reporting.record_week_metrics(week uuid, metrics jsonb, dimensions jsonb DEFAULT '{}', claim bigint DEFAULT NULL)
  RETURNS TABLE (aggregation_type text, aggregation_key text, totals jsonb)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    given jsonb := reporting._checked_metrics($2);
    around jsonb := coalesce($3, '{}');
    w record;
    key text;
    other record;
  BEGIN
    IF jsonb_typeof(around) <> 'object' OR octet_length(around::text) > 4000000 THEN
      RAISE EXCEPTION 'dimensions are an object of up to 4 MB' USING ERRCODE = '22023',
        DETAIL = format('dimensions of %s bytes: %s', octet_length(around::text), left(around::text, 200)),
        HINT = 'give {"campaign": ["spring", "brand"], …}';
    END IF;
    PERFORM gemba._require_current_snapshots('metrics cannot be recorded');
    -- The week, its collection, what there is of both: in this order, as whoever completes a week.
    SELECT r.workflow_id, r.instance_id, r.week_start_date AS first, r.week_end_date AS last, r.status, r.row_count, r.claim,
           r.collection_id, r.duplicate_of INTO w
      FROM reporting.report_data_weeks r WHERE r.id = week FOR NO KEY UPDATE;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'the week does not exist' USING ERRCODE = 'P0002', DETAIL = format('week %s', coalesce(week::text, 'NULL')),
        HINT = 'give the id of a row of reporting.report_data_weeks, as reporting.claim_week() returns it';
    END IF;
    IF w.status IN ('pending', 'failed') OR record_week_metrics.claim <> w.claim
       OR record_week_metrics.claim IS NOT NULL AND w.claim IS NULL THEN
      PERFORM reporting._refuse_week(week, record_week_metrics.claim);
    END IF;
    PERFORM FROM reporting.report_data_collections c WHERE c.id = w.collection_id FOR NO KEY UPDATE;
    PERFORM reporting._take_turns_on_data(w.workflow_id, w.instance_id);
    key := to_char(w.first, 'YYYY-MM-DD') || '_' || to_char(w.last, 'YYYY-MM-DD');
    SELECT g.aggregation_key INTO other FROM reporting.report_data_aggregates g
     WHERE g.workflow_id = w.workflow_id AND g.instance_id = w.instance_id AND g.aggregation_type = 'weekly'
       AND g.data_date BETWEEN w.first - 6 AND w.last AND reporting._week_end(g.aggregation_key) >= w.first
     ORDER BY g.aggregation_key <> key DESC LIMIT 1;
    IF other.aggregation_key <> key THEN
      RAISE EXCEPTION 'the week overlaps one that is recorded' USING ERRCODE = '23P01',
        DETAIL = format('week %s, recorded %s', key, other.aggregation_key),
        HINT = 'its days would count twice: collect weeks that begin on the same day, or delete the other one and call reporting.rebuild_aggregates()';
    END IF;
    -- It was left out; or another collection has the same result, and has recorded it.
    IF w.status = 'skipped' AND (w.duplicate_of IS NULL OR other.aggregation_key IS NOT NULL) THEN
      RETURN;
    END IF;
    INSERT INTO reporting.report_data_aggregates AS g
           (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics, recorded, dimensions, row_count)
    VALUES (w.workflow_id, w.instance_id, 'weekly', key, w.first, given || reporting._ratios(given), given, around,
            coalesce(w.row_count, 0))
    ON CONFLICT (workflow_id, instance_id, aggregation_type, aggregation_key, data_date) DO UPDATE
      SET metrics = excluded.metrics, recorded = excluded.recorded, dimensions = excluded.dimensions, row_count = excluded.row_count
      WHERE (g.metrics::text, g.recorded::text, g.dimensions, g.row_count)
            IS DISTINCT FROM (excluded.metrics::text, excluded.recorded::text, excluded.dimensions, excluded.row_count);
    RETURN QUERY
      SELECT 'weekly', key, given || reporting._ratios(given)
      UNION ALL
      SELECT b.* FROM reporting._build_periods(w.workflow_id, w.instance_id, w.first, w.last) AS b;
  END
  $body$;

-- The number of rows that a completed week says it has, for its aggregates too.
CREATE FUNCTION reporting._note_row_count(week uuid) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    w record;
  BEGIN
    SELECT r.workflow_id, r.instance_id, r.week_start_date AS first, r.week_end_date AS last, r.row_count INTO w
      FROM reporting.report_data_weeks r WHERE r.id = week;
    PERFORM reporting._take_turns_on_data(w.workflow_id, w.instance_id);
    UPDATE reporting.report_data_aggregates g SET row_count = w.row_count
     WHERE g.workflow_id = w.workflow_id AND g.instance_id = w.instance_id AND g.aggregation_type = 'weekly'
       AND g.data_date = w.first AND reporting._week_end(g.aggregation_key) = w.last;
    PERFORM FROM reporting._build_periods(w.workflow_id, w.instance_id, w.first, w.last);
  END
  $body$;

CREATE FUNCTION reporting.rebuild_aggregates(workflow uuid DEFAULT NULL, instance uuid DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    pair record;
    changed bigint := 0;
    more bigint;
  BEGIN
    PERFORM gemba._require_current_snapshots('aggregates cannot be built');
    FOR pair IN
      SELECT d.workflow_id, d.instance_id FROM reporting.workflow_data d
       WHERE (workflow IS NULL OR d.workflow_id = workflow) AND (instance IS NULL OR d.instance_id = instance)
       ORDER BY 1, 2
    LOOP
      PERFORM reporting._take_turns_on_data(pair.workflow_id, pair.instance_id);
      UPDATE reporting.report_data_aggregates g
         SET metrics = coalesce(g.recorded, g.metrics) || reporting._ratios(coalesce(g.recorded, g.metrics))
       WHERE g.workflow_id = pair.workflow_id AND g.instance_id = pair.instance_id AND g.aggregation_type = 'weekly'
         AND (coalesce(g.recorded, g.metrics) || reporting._ratios(coalesce(g.recorded, g.metrics)))::text <> g.metrics::text;
      GET DIAGNOSTICS more = ROW_COUNT;
      changed := changed + more;
      -- From the first day of which there is anything to the last, weeks that were deleted included.
      SELECT changed + count(b.*) INTO changed
        FROM (SELECT min(g.data_date) AS first, max(g.data_date) + 92 AS last FROM reporting.report_data_aggregates g
               WHERE g.workflow_id = pair.workflow_id AND g.instance_id = pair.instance_id) AS e
       CROSS JOIN LATERAL reporting._build_periods(pair.workflow_id, pair.instance_id, e.first, e.last) AS b
       WHERE e.first IS NOT NULL;
    END LOOP;
    RETURN changed;
  END
  $body$;

-- Whoever changes aggregates, in whatever way: what there is of them, and a new version.
CREATE FUNCTION reporting._note_data() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    pair record;
    touched jsonb;
  BEGIN
    IF TG_OP = 'INSERT' THEN
      SELECT jsonb_agg(DISTINCT jsonb_build_array(f.workflow_id, f.instance_id)) INTO touched FROM fresh f;
    ELSIF TG_OP = 'DELETE' THEN
      SELECT jsonb_agg(DISTINCT jsonb_build_array(g.workflow_id, g.instance_id)) INTO touched FROM gone g;
    ELSE
      SELECT jsonb_agg(DISTINCT b.pair) INTO touched
        FROM (SELECT jsonb_build_array(g.workflow_id, g.instance_id) FROM gone g
              UNION SELECT jsonb_build_array(f.workflow_id, f.instance_id) FROM fresh f) AS b (pair);
    END IF;
    INSERT INTO reporting.workflow_data AS d (workflow_id, instance_id, first_day, last_day)
    SELECT o.id, i.id, e.first_day, e.last_day
      FROM jsonb_array_elements(touched) AS t (pair)
      -- Not where the workflow is being deleted, and the aggregates with it.
      JOIN reporting.workflows o ON o.id = (t.pair ->> 0)::uuid
      JOIN reporting.amc_instances i ON i.id = (t.pair ->> 1)::uuid
     CROSS JOIN LATERAL (
       SELECT min(g.data_date) AS first_day, max(reporting._week_end(g.aggregation_key)) AS last_day
         FROM reporting.report_data_aggregates g
        WHERE g.workflow_id = o.id AND g.instance_id = i.id AND g.aggregation_type = 'weekly') AS e
     -- In one order for all, against deadlocks.
     ORDER BY o.id, i.id
    ON CONFLICT (workflow_id, instance_id) DO UPDATE
      SET version = d.version + 1, changed_at = clock_timestamp(), first_day = excluded.first_day, last_day = excluded.last_day;
    RETURN NULL;
  END
  $body$;

CREATE FUNCTION reporting._check_metric_definitions() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    bad record;
  BEGIN
    -- One at a time: two that are made at once could refer to each other.
    PERFORM FROM reporting.settings FOR NO KEY UPDATE;
    SELECT d.name, o.name AS ratio INTO bad FROM reporting.metric_definitions d
      JOIN reporting.metric_definitions o ON o.name IN (d.numerator, d.denominator) ORDER BY 1, 2 LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'a ratio is made of base metrics' USING ERRCODE = '22023',
        DETAIL = format('%s refers to %s, which is a ratio itself', bad.name, bad.ratio),
        HINT = 'name the metrics that are recorded as numerator and denominator';
    END IF;
    RETURN NULL;
  END
  $body$;
