-- What to order, of whom, and what will be used. All of it is read with the caller's rights.

-- Of a supplier who sells the variant itself, that entry counts and not the one for the whole part. Whoever has said no
-- price comes last, preferred or not: nothing can be ordered of him as it is.
CREATE FUNCTION cloudwatcher.best_supplier(part uuid, variant uuid DEFAULT NULL, quantity int DEFAULT 1)
  RETURNS TABLE (
    rank int, supplier_id uuid, supplier_name text, sku text, unit_cost numeric, order_quantity int, total_cost numeric,
    lead_time_days int, is_preferred boolean)
  LANGUAGE plpgsql STABLE ROWS 5 SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  BEGIN
    IF quantity IS NULL OR quantity < 1 THEN
      PERFORM cloudwatcher._refuse_quantity(quantity);
    END IF;
    RETURN QUERY
      WITH offer AS (
        SELECT DISTINCT ON (ps.supplier_id)
               ps.supplier_id, s.name, ps.sku, ps.supplier_cost, greatest(quantity, ps.minimum_order_qty) AS amount,
               coalesce(ps.lead_time_days, s.lead_time_days) AS days, ps.is_preferred AS here, s.is_preferred AS everywhere
          FROM cloudwatcher.part_suppliers ps
          JOIN cloudwatcher.suppliers s ON s.id = ps.supplier_id
         WHERE ps.part_id = part AND (ps.variant_id IS NULL OR ps.variant_id = variant) AND s.is_active
         ORDER BY ps.supplier_id, ps.variant_id NULLS LAST)
      SELECT (row_number() OVER best)::int, o.supplier_id, o.name::text, o.sku::text, o.supplier_cost, o.amount,
             o.amount * o.supplier_cost, o.days, o.here OR o.everywhere
        FROM offer o
      WINDOW best AS (ORDER BY o.supplier_cost IS NULL, o.here DESC, o.everywhere DESC, o.amount * o.supplier_cost, o.days, o.name, o.supplier_id)
       ORDER BY 1;
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_part(part, variant);
    END IF;
  END
  $body$;

-- Stock at or below its reorder point, and what was promised beyond what there is. What is on its way counts as
-- if it were there; the rest is ordered in the usual quantity, or in as many as bring it above the reorder point.
CREATE FUNCTION cloudwatcher.reorder_report(location uuid DEFAULT NULL)
  RETURNS TABLE (
    location_id uuid, location_name text, part_id uuid, part_code text, part_name text, variant_id uuid, variant_code text,
    quantity_on_hand int, quantity_reserved int, quantity_available int, backorder int, on_order bigint, reorder_point int,
    suggested_quantity int, supplier_id uuid, supplier_name text, unit_cost numeric, total_cost numeric, days_of_stock numeric)
  LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    since date := current_date - (SELECT s.forecast_days FROM cloudwatcher.settings s);
  BEGIN
    IF location IS NOT NULL AND NOT EXISTS (SELECT FROM cloudwatcher.locations l WHERE l.id = location) THEN
      PERFORM cloudwatcher._not_found('location', location);
    END IF;
    RETURN QUERY
      WITH due AS (
        -- (Two ways to it, and an index for each.)
        SELECT i.* FROM cloudwatcher.inventory i
         WHERE i.quantity_available <= i.reorder_point AND (location IS NULL OR i.location_id = location)
        UNION
        SELECT i.* FROM cloudwatcher.inventory i
         WHERE i.quantity_available < 0 AND (location IS NULL OR i.location_id = location)
      ), named AS (
        SELECT i.*, l.name AS at, p.part_code, p.name, v.variant_code, greatest(0, -i.quantity_available) AS behind,
               (SELECT coalesce(sum(oi.quantity_ordered - oi.quantity_received), 0)
                  FROM cloudwatcher.order_items oi
                  JOIN cloudwatcher.orders o ON o.id = oi.order_id
                 WHERE oi.part_id = i.part_id AND oi.variant_id IS NOT DISTINCT FROM i.variant_id AND o.location_id = i.location_id
                   AND o.order_type <> 'return' AND o.status IN ('pending-approval', 'approved', 'ordered')) AS coming
          FROM due i
          JOIN cloudwatcher.locations l ON l.id = i.location_id AND l.is_active
          JOIN cloudwatcher.parts p ON p.id = i.part_id AND p.is_active
          LEFT JOIN cloudwatcher.part_variants v ON v.id = i.variant_id
      ), judged AS (
        -- What it takes to be above the reorder point; without one, to have what was promised.
        SELECT n.*, coalesce(n.reorder_point::bigint + 1, 0) - n.quantity_available - n.coming AS lacking
          FROM named n)
      SELECT j.location_id, j.at::text, j.part_id, j.part_code::text, j.name::text, j.variant_id, j.variant_code::text,
             j.quantity_on_hand, j.quantity_reserved, j.quantity_available, j.behind, j.coming, j.reorder_point,
             CASE WHEN j.lacking > 0 THEN coalesce(b.order_quantity, w.wanted) ELSE 0 END,
             b.supplier_id, b.supplier_name, b.unit_cost, CASE WHEN j.lacking > 0 THEN b.total_cost ELSE 0 END,
             round(greatest(j.quantity_available, 0) / u.per_day, 1)
        FROM judged j
       CROSS JOIN LATERAL (
         SELECT least(greatest(j.lacking, j.reorder_quantity, 1), 2147483647)::int AS wanted) AS w
        LEFT JOIN LATERAL (
          SELECT f.* FROM cloudwatcher.best_supplier(j.part_id, j.variant_id, w.wanted) f ORDER BY f.rank LIMIT 1) AS b ON true
       CROSS JOIN LATERAL (
         SELECT sum(c.quantity_consumed)::numeric / (current_date - min(c.consumption_date) + 1) AS per_day
           FROM cloudwatcher.part_consumption c
          WHERE c.part_id = j.part_id AND c.location_id = j.location_id AND c.variant_id IS NOT DISTINCT FROM j.variant_id
            AND c.consumption_date > since AND c.consumption_date <= current_date) AS u
       ORDER BY j.at, j.location_id, j.quantity_available, j.part_code, j.variant_code;
  END
  $body$;

-- Without a location: wherever the caller sees it; without a variant: all of them together.
CREATE FUNCTION cloudwatcher.consumption_forecast(
    part uuid, location uuid DEFAULT NULL, horizon int DEFAULT 30, variant uuid DEFAULT NULL, as_of date DEFAULT NULL)
  RETURNS TABLE (day date, quantity numeric, low numeric, high numeric, method text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    -- Today is not over.
    last_day date := coalesce(as_of, current_date - 1);
    earliest date;
    history float8[];
  BEGIN
    PERFORM cloudwatcher._refuse_part(part, variant);
    IF location IS NOT NULL AND NOT EXISTS (SELECT FROM cloudwatcher.locations l WHERE l.id = location) THEN
      PERFORM cloudwatcher._not_found('location', location);
    END IF;
    IF horizon IS NULL THEN
      RAISE EXCEPTION 'the horizon is missing' USING ERRCODE = '22004', DETAIL = 'horizon NULL', HINT = 'give a number of days';
    END IF;
    IF last_day NOT BETWEEN '1900-01-01' AND current_date + 1 THEN
      RAISE EXCEPTION 'as_of is out of its range' USING ERRCODE = '22023', DETAIL = format('as_of %s', as_of),
        HINT = 'give the last day of what is known: today or before';
    END IF;
    SELECT last_day - s.forecast_days + 1 INTO earliest FROM cloudwatcher.settings s;
    WITH used AS (
      SELECT c.consumption_date AS day, sum(c.quantity_consumed)::float8 AS quantity
        FROM cloudwatcher.part_consumption c
       WHERE c.part_id = part AND (location IS NULL OR c.location_id = location) AND (variant IS NULL OR c.variant_id = variant)
         AND c.consumption_date BETWEEN earliest AND last_day
       GROUP BY c.consumption_date)
    SELECT array_agg(coalesce(u.quantity, 0) ORDER BY d.n) INTO history
      FROM (SELECT min(u.day) AS first FROM used u) AS f
     CROSS JOIN LATERAL generate_series(0, last_day - f.first) AS d(n)
      LEFT JOIN used u ON u.day = f.first + d.n;
    RETURN QUERY
      SELECT last_day + f.ahead, round(f.quantity::numeric, 3), round(f.low::numeric, 3), round(f.high::numeric, 3), f.method
        FROM cloudwatcher._forecast(coalesce(history, '{}'), horizon) AS f;
  END
  $body$;
