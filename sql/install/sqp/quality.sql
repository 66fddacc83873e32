-- What is measured of a run, and whether it is as it should be.

CREATE FUNCTION sqp.record_quality(
    run bigint, metric text, value numeric, expected numeric DEFAULT NULL, threshold_min numeric DEFAULT NULL,
    threshold_max numeric DEFAULT NULL)
  RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    within boolean;
    started timestamptz;
  BEGIN
    IF metric IS NULL OR metric = '' OR record_quality.threshold_min = 'NaN' OR record_quality.threshold_max = 'NaN'
       OR record_quality.threshold_min > record_quality.threshold_max THEN
      RAISE EXCEPTION 'the metric needs a name, and thresholds in order' USING ERRCODE = '22023',
        DETAIL = format('metric %L, threshold_min %s, threshold_max %s', metric, coalesce(record_quality.threshold_min::text, 'NULL'),
                        coalesce(record_quality.threshold_max::text, 'NULL')),
        HINT = 'leave a threshold out where there is none';
    END IF;
    -- What could not be measured is not within anything.
    within := CASE WHEN record_quality.threshold_min IS NULL AND record_quality.threshold_max IS NULL THEN
                     CASE WHEN value IS NOT NULL AND value <> 'NaN' THEN true END
                   ELSE value IS NOT NULL AND value <> 'NaN'
                        AND value >= coalesce(record_quality.threshold_min, '-infinity')
                        AND value <= coalesce(record_quality.threshold_max, 'infinity') END;
    IF within THEN
      SELECT c.run_started_at INTO started FROM sqp.refresh_config c WHERE c.run_id = run FOR KEY SHARE;
    ELSE
      UPDATE sqp.refresh_config c SET run_warned = c.run_warned OR within IS FALSE WHERE c.run_id = run
      RETURNING c.run_started_at INTO started;
    END IF;
    IF started IS NULL THEN
      PERFORM sqp._refuse_ended(run);
    END IF;
    INSERT INTO sqp.refresh_data_quality
           (audit_log_id, refresh_started_at, metric_name, metric_value, expected_value, threshold_min, threshold_max, is_within_threshold)
    VALUES (run, started, metric, value, expected, record_quality.threshold_min, record_quality.threshold_max, within);
    RETURN within;
  END
  $body$;

CREATE FUNCTION sqp.measure_quality(run bigint)
  RETURNS TABLE (metric_name text, metric_value numeric, threshold_min numeric, threshold_max numeric, is_within_threshold boolean)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    config sqp.refresh_config;
    target oid;
    list text;
    found_values numeric[];
    rule record;
  BEGIN
    SELECT * INTO config FROM sqp.refresh_config c WHERE c.run_id = run;
    IF NOT FOUND THEN
      PERFORM sqp._refuse_ended(run);
    END IF;
    -- Held, so that it is not another table by the time it is read. No views: what they call would run with the
    -- caller's rights.
    target := sqp._hold_table(config.table_schema, config.table_name);
    IF target IS NULL THEN
      RETURN;
    END IF;
    -- All of them in one pass over the table; a column that is not there, or of a strange type, gives NULL.
    SELECT string_agg(CASE
             WHEN q.metric = 'row_count' THEN 'count(*)::numeric'
             WHEN a.attname IS NULL THEN 'NULL::numeric'
             WHEN q.metric = 'null_share' THEN format('round((count(*) - count(%1$I)) / nullif(count(*), 0)::numeric, 6)', a.attname)
             WHEN a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
             THEN format('round((extract(epoch FROM clock_timestamp() - max(%1$I)::timestamptz) / 3600)::numeric, 6)', a.attname)
             ELSE 'NULL::numeric' END, ', ' ORDER BY q.id)
      INTO list
      FROM sqp.refresh_quality_rules q
      LEFT JOIN pg_attribute a ON a.attrelid = target AND a.attname = q.column_name AND a.attnum > 0 AND NOT a.attisdropped
     WHERE q.config_id = config.id;
    IF list IS NULL THEN
      RETURN;
    END IF;
    EXECUTE format('SELECT ARRAY[%s] FROM %I.%I', list, config.table_schema, config.table_name) INTO found_values;
    FOR rule IN
      SELECT CASE WHEN q.column_name IS NULL THEN q.metric ELSE format('%s(%s)', q.metric, q.column_name) END AS name,
             q.threshold_min, q.threshold_max, found_values[row_number() OVER (ORDER BY q.id)] AS value
        FROM sqp.refresh_quality_rules q WHERE q.config_id = config.id ORDER BY q.id
    LOOP
      metric_name := rule.name;
      metric_value := rule.value;
      threshold_min := rule.threshold_min;
      threshold_max := rule.threshold_max;
      is_within_threshold := sqp.record_quality(run, rule.name, rule.value, NULL, rule.threshold_min, rule.threshold_max);
      RETURN NEXT;
    END LOOP;
  END
  $body$;
