-- Telemetry's functions that are SQL: who may see what, and the questions that a dashboard asks.

CREATE FUNCTION telemetry.upload_session() RETURNS text
  -- With the extension's rights: a role that was SET may not look at its own session's start.
  LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
    -- What log_line_prefix calls %c: unique among sessions, also after a process number comes again.
    SELECT to_hex(trunc(extract(epoch FROM backend_start))::bigint) || '.' || to_hex(pid)
      FROM pg_stat_get_activity(pg_backend_pid())
  $body$;

CREATE FUNCTION telemetry.latest_values(sensors text[] DEFAULT NULL)
  RETURNS TABLE (sensor_id varchar, "timestamp" timestamptz, reading_value numeric, unit varchar, status varchar)
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT s.sensor_id, r."timestamp", r.reading_value, s.unit, r.status
      FROM telemetry.sensors s
     CROSS JOIN LATERAL (
       -- Newest partition first; it stops at the first row.
       SELECT x."timestamp", x.reading_value, x.status FROM telemetry.sensor_readings x
        WHERE x.sensor_id = s.sensor_id ORDER BY x."timestamp" DESC LIMIT 1) AS r
     WHERE sensors IS NULL OR s.sensor_id = ANY (sensors::varchar[])
     ORDER BY s.sensor_id
  $body$;

CREATE FUNCTION telemetry.series(
    sensor text, from_ts timestamptz, to_ts timestamptz, bucket interval DEFAULT '1 hour',
    fill text DEFAULT 'null', time_zone text DEFAULT 'Asia/Bangkok')
  RETURNS TABLE (bucket_start timestamptz, avg_value numeric, min_value numeric, max_value numeric,
                 reading_count bigint, filled boolean)
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    first_bucket timestamptz;
    before numeric;
    row_count bigint;
    -- Hours can answer if every bucket begins with one, which depends on the zone too.
    whole_hours boolean := extract(epoch FROM bucket)::bigint % 3600 = 0
      AND extract(epoch FROM gemba.bucket_start(bucket, from_ts, time_zone))::bigint % 3600 = 0
      AND extract(epoch FROM to_ts)::bigint % 3600 = 0;
  BEGIN
    IF fill IS NULL OR fill NOT IN ('none', 'null', 'previous') THEN
      RAISE EXCEPTION 'fill is not one of its values' USING ERRCODE = '22023',
        DETAIL = format('fill %L', fill),
        HINT = 'use ''none'' (only buckets with readings), ''null'' (gaps as NULL) or ''previous'' (carry forward)';
    END IF;
    first_bucket := gemba.bucket_start(bucket, from_ts, time_zone);
    IF fill = 'previous' AND whole_hours THEN
      -- The value that was there when the window opened: that of the last hour before it.
      SELECT h.avg_value INTO before FROM telemetry.hourly_aggregates_live h
       WHERE h.sensor_id = sensor::varchar AND h.bucket < first_bucket AND h.reading_count > 0
       ORDER BY h.bucket DESC LIMIT 1;
    ELSIF fill = 'previous' THEN
      SELECT r.reading_value INTO before FROM telemetry.sensor_readings r
       WHERE r.sensor_id = sensor::varchar AND r."timestamp" < first_bucket AND r.reading_value IS NOT NULL
       ORDER BY r."timestamp" DESC LIMIT 1;
    END IF;
    RETURN QUERY
    WITH parts AS (
      SELECT gemba.bucket_start(series.bucket, h.bucket, time_zone) AS start,
             h.sum_value AS total, h.min_value AS low, h.max_value AS high, h.reading_count AS readings
        FROM telemetry.hourly_aggregates_live h
       WHERE whole_hours AND h.sensor_id = sensor::varchar
         AND h.bucket >= first_bucket AND h.bucket < to_ts
      UNION ALL
      SELECT gemba.bucket_start(series.bucket, r."timestamp", time_zone),
             r.reading_value, r.reading_value, r.reading_value,
             CASE WHEN r.reading_value IS NULL THEN 0 ELSE 1 END
        FROM telemetry.sensor_readings r
       WHERE NOT whole_hours AND r.sensor_id = sensor::varchar
         AND r."timestamp" >= first_bucket AND r."timestamp" < to_ts
    ), known AS (
      SELECT p.start, sum(p.total) / nullif(sum(p.readings), 0) AS mean, min(p.low) AS low, max(p.high) AS high,
             sum(p.readings)::bigint AS readings
        FROM parts p GROUP BY p.start
    ), spread AS (
      SELECT b.start, k.mean, k.low, k.high, coalesce(k.readings, 0) AS readings,
             -- Every known value opens a run; the gap behind it belongs to the run.
             count(k.mean) OVER (ORDER BY b.start) AS run
        FROM gemba.buckets(series.bucket, first_bucket, to_ts, time_zone) AS b (start)
        LEFT JOIN known k ON k.start = b.start
       WHERE fill <> 'none' OR k.readings > 0
    )
    SELECT s.start,
           CASE WHEN fill <> 'previous' OR s.mean IS NOT NULL THEN s.mean
                WHEN s.run = 0 THEN before
                ELSE first_value(s.mean) OVER (PARTITION BY s.run ORDER BY s.start) END,
           s.low, s.high, s.readings, s.mean IS NULL AND fill = 'previous'
      FROM spread s ORDER BY s.start;
  END
  $body$;

CREATE FUNCTION telemetry.totals(
    from_ts timestamptz, to_ts timestamptz, bucket interval DEFAULT '1 day',
    time_zone text DEFAULT 'Asia/Bangkok')
  RETURNS TABLE (bucket_start timestamptz, floor_number int, equipment_type varchar, unit varchar,
                 sensors bigint, total numeric, min_value numeric, max_value numeric, reading_count bigint)
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
    -- The sum, over the sensors of a floor, of their averages: of kW the floor's mean load.
    SELECT m.start, s.floor_number, s.equipment_type, s.unit,
           count(*), sum(m.mean), min(m.low), max(m.high), sum(m.readings)::bigint
      FROM (SELECT h.sensor_id, gemba.bucket_start(totals.bucket, h.bucket, totals.time_zone) AS start,
                   sum(h.sum_value) / nullif(sum(h.reading_count), 0) AS mean,
                   min(h.min_value) AS low, max(h.max_value) AS high, sum(h.reading_count) AS readings
              FROM (SELECT gemba.bucket_start(totals.bucket, from_ts, totals.time_zone) AS start,
                           -- Days can answer whole days of the site that end with the range, hours what
                           -- begins and ends with an hour, and only readings the rest.
                           CASE WHEN totals.bucket >= interval '1 day' AND totals.time_zone = 'Asia/Bangkok'
                                  AND gemba.bucket_start('1 day', to_ts, 'Asia/Bangkok') = to_ts THEN 'days'
                                WHEN extract(epoch FROM totals.bucket)::bigint % 3600 = 0
                                  AND extract(epoch FROM gemba.bucket_start(totals.bucket, from_ts, totals.time_zone))::bigint % 3600 = 0
                                  AND extract(epoch FROM to_ts)::bigint % 3600 = 0 THEN 'hours'
                                ELSE 'readings' END AS of) AS ask
             CROSS JOIN LATERAL (
                    SELECT d.sensor_id, d.bucket, d.sum_value, d.reading_count, d.min_value, d.max_value
                      FROM telemetry.daily_aggregates_live d
                     WHERE ask.of = 'days' AND d.bucket >= ask.start AND d.bucket < to_ts
                    UNION ALL
                    SELECT d.sensor_id, d.bucket, d.sum_value, d.reading_count, d.min_value, d.max_value
                      FROM telemetry.hourly_aggregates_live d
                     WHERE ask.of = 'hours' AND d.bucket >= ask.start AND d.bucket < to_ts
                    UNION ALL
                    SELECT r.sensor_id, r."timestamp", r.reading_value, 1, r.reading_value, r.reading_value
                      FROM telemetry.sensor_readings r
                     WHERE ask.of = 'readings' AND r."timestamp" >= ask.start AND r."timestamp" < to_ts
                       AND r.reading_value IS NOT NULL) AS h
             GROUP BY 1, 2) AS m
      JOIN telemetry.sensors s ON s.sensor_id = m.sensor_id
     GROUP BY 1, 2, 3, 4
     ORDER BY 1, 2, 3, 4
  $body$;

CREATE FUNCTION telemetry.data_quality(from_ts timestamptz, to_ts timestamptz, sensors text[] DEFAULT NULL)
  RETURNS TABLE (sensor_id varchar, day date, expected bigint, readings bigint, missing bigint, suspect bigint)
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT s.sensor_id, (d.start AT TIME ZONE 'Asia/Bangkok')::date,
           e.expected, coalesce(a.reading_count, 0),
           greatest(e.expected - coalesce(a.reading_count, 0), 0),
           coalesce(q.suspect, 0)
      FROM telemetry.sensors s
     CROSS JOIN gemba.buckets(interval '1 day', from_ts, to_ts, 'Asia/Bangkok') AS d (start)
     CROSS JOIN LATERAL (
       SELECT (extract(epoch FROM interval '1 day') / extract(epoch FROM s.sample_interval))::bigint AS expected) AS e
      LEFT JOIN telemetry.daily_aggregates_live a ON a.sensor_id = s.sensor_id AND a.bucket = d.start
      LEFT JOIN (
        SELECT r.sensor_id, gemba.bucket_start(interval '1 day', r."timestamp", 'Asia/Bangkok') AS start,
               count(*) AS suspect
          FROM telemetry.sensor_readings r
         WHERE r.status = 'suspect'
           AND r."timestamp" >= gemba.bucket_start(interval '1 day', from_ts, 'Asia/Bangkok')
           AND r."timestamp" < to_ts + interval '1 day'
         GROUP BY 1, 2) AS q ON q.sensor_id = s.sensor_id AND q.start = d.start
     WHERE sensors IS NULL OR s.sensor_id = ANY (sensors::varchar[])
     ORDER BY 1, 2
  $body$;
