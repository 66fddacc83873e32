-- What the summaries of search queries are built by.

CREATE FUNCTION sqp._build_summary(
    summary name, unit text, part text, active name, from_date date, to_date date)
  RETURNS sqp.refresh_counts
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    lower_bound date := date_trunc(unit, from_date::timestamp)::date;
    step interval := CASE unit WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || unit)::interval END;
    upper_bound date := (date_trunc(unit, to_date::timestamp) + step)::date;
    done sqp.refresh_counts;
  BEGIN
    IF from_date > to_date OR NOT coalesce(isfinite(from_date), true) OR NOT coalesce(isfinite(to_date), true) THEN
      RAISE EXCEPTION 'from_date must not be after to_date, and both finite' USING ERRCODE = '22023',
        DETAIL = format('from %s to %s', from_date, to_date),
        HINT = 'leave a date out for no bound; whole periods are built, from the one of from_date to that of to_date';
    END IF;
    -- Two at once would write the same rows.
    PERFORM pg_advisory_xact_lock(1936814083, hashtext(summary));
    EXECUTE format($query$
      WITH sums AS MATERIALIZED (
        SELECT date_trunc(%1$L, d.date::timestamp)::date AS period_start, d.query, d.asin,
               sum(d.impressions) AS impressions, sum(d.clicks) AS clicks, sum(d.purchases) AS purchases,
               sum(d.spend) AS spend, sum(d.sales) AS sales, count(DISTINCT date_trunc(%2$L, d.date::timestamp)) AS active
          FROM sqp.daily_sqp_data d
         WHERE ($1 IS NULL OR d.date >= $1) AND ($2 IS NULL OR d.date < $2)
         GROUP BY 1, 2, 3
      ), fresh AS MATERIALIZED (
        SELECT s.*, (s.period_start + $3 - interval '1 day')::date AS period_end,
               round(s.clicks / nullif(s.impressions, 0), 6) AS ctr, round(s.purchases / nullif(s.clicks, 0), 6) AS cvr,
               round(s.impressions / nullif(sum(s.impressions) OVER q, 0), 6) AS impression_share,
               round(s.clicks / nullif(sum(s.clicks) OVER q, 0), 6) AS click_share,
               round(s.purchases / nullif(sum(s.purchases) OVER q, 0), 6) AS purchase_share
          FROM sums s WINDOW q AS (PARTITION BY s.period_start, s.query)
      ), written AS (
        INSERT INTO sqp.%3$I AS t (period_start, period_end, query, asin, total_impressions, total_clicks, total_purchases,
            total_spend, total_sales, avg_ctr, avg_cvr, impression_share, click_share, purchase_share, %4$I)
        SELECT f.period_start, f.period_end, f.query, f.asin, f.impressions, f.clicks, f.purchases, f.spend, f.sales, f.ctr, f.cvr,
               f.impression_share, f.click_share, f.purchase_share, f.active
          FROM fresh f
        ON CONFLICT (period_start, query, asin) DO UPDATE
           SET period_end = excluded.period_end, total_impressions = excluded.total_impressions,
               total_clicks = excluded.total_clicks, total_purchases = excluded.total_purchases,
               total_spend = excluded.total_spend, total_sales = excluded.total_sales,
               avg_ctr = excluded.avg_ctr, avg_cvr = excluded.avg_cvr, impression_share = excluded.impression_share,
               click_share = excluded.click_share, purchase_share = excluded.purchase_share, %4$I = excluded.%4$I,
               updated_at = now()
         WHERE (t.period_end, t.total_impressions, t.total_clicks, t.total_purchases, t.total_spend, t.total_sales, t.avg_ctr,
                t.avg_cvr, t.impression_share, t.click_share, t.purchase_share, t.%4$I)
               IS DISTINCT FROM
               (excluded.period_end, excluded.total_impressions, excluded.total_clicks, excluded.total_purchases,
                excluded.total_spend, excluded.total_sales, excluded.avg_ctr, excluded.avg_cvr, excluded.impression_share,
                excluded.click_share, excluded.purchase_share, excluded.%4$I)
        RETURNING t.xmax = 0 AS is_new
      ), removed AS (
        DELETE FROM sqp.%3$I t
         WHERE ($1 IS NULL OR t.period_start >= $1) AND ($2 IS NULL OR t.period_start < $2)
           AND NOT EXISTS (SELECT FROM sums s
                            WHERE s.period_start = t.period_start AND s.query = t.query AND s.asin = t.asin)
        RETURNING t.id
      )
      SELECT (SELECT count(*) FROM sums), (SELECT count(*) FROM written w WHERE w.is_new),
             (SELECT count(*) FROM written w WHERE NOT w.is_new), (SELECT count(*) FROM removed)
      $query$, unit, part, summary, active)
      INTO done
      USING lower_bound, upper_bound, step;
    RETURN done;
  END
  $body$;

CREATE FUNCTION sqp.build_weekly_summary(from_date date DEFAULT NULL, to_date date DEFAULT NULL) RETURNS sqp.refresh_counts
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT * FROM sqp._build_summary('weekly_summary', 'week', 'day', 'active_days', from_date, to_date) $body$;
CREATE FUNCTION sqp.build_monthly_summary(from_date date DEFAULT NULL, to_date date DEFAULT NULL) RETURNS sqp.refresh_counts
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT * FROM sqp._build_summary('monthly_summary', 'month', 'week', 'active_weeks', from_date, to_date) $body$;
CREATE FUNCTION sqp.build_quarterly_summary(from_date date DEFAULT NULL, to_date date DEFAULT NULL) RETURNS sqp.refresh_counts
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT * FROM sqp._build_summary('quarterly_summary', 'quarter', 'month', 'active_months', from_date, to_date) $body$;
CREATE FUNCTION sqp.build_yearly_summary(from_date date DEFAULT NULL, to_date date DEFAULT NULL) RETURNS sqp.refresh_counts
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT * FROM sqp._build_summary('yearly_summary', 'year', 'quarter', 'active_quarters', from_date, to_date) $body$;
