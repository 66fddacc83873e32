-- The morning report by hand, over the seed's tables and two more columns: the trends are weighted by planned time.
WITH history AS (
  SELECT h.asset_id,
         100 * sum(h.effective_seconds) FILTER (WHERE h.report_date >= $1 - 7)
           / nullif(sum(h.planned_seconds) FILTER (WHERE h.report_date >= $1 - 7), 0) AS oee_7,
         100 * sum(h.effective_seconds) / nullif(sum(h.planned_seconds), 0) AS oee_30
    FROM daily_summaries h
   WHERE h.report_date >= $1 - 30 AND h.report_date < $1
   GROUP BY h.asset_id
), open_events AS (
  SELECT e.asset_id, count(*) AS events FROM safety_events e WHERE NOT e.is_resolved GROUP BY e.asset_id
)
SELECT a.name, a.area, d.oee_percentage AS oee, 85 - d.oee_percentage AS oee_gap,
       CASE WHEN d.id IS NULL THEN 'no data' WHEN d.oee_percentage IS NULL THEN 'not planned'
            WHEN d.oee_percentage >= 85 THEN 'good' WHEN d.oee_percentage >= 70 THEN 'fair' ELSE 'poor' END AS band,
       d.actual_output, d.target_output, d.actual_output - d.target_output AS output_variance,
       round(100.0 * (d.actual_output - d.target_output) / nullif(d.target_output, 0), 2) AS output_variance_percentage,
       d.downtime_minutes, d.waste_count, d.financial_loss_dollars AS financial_loss,
       CASE WHEN d.oee_percentage IS NOT NULL
            THEN rank() OVER (ORDER BY d.oee_percentage DESC NULLS LAST) END AS oee_rank,
       CASE WHEN d.financial_loss_dollars IS NOT NULL
            THEN rank() OVER (ORDER BY d.financial_loss_dollars DESC NULLS LAST) END AS loss_rank,
       round(d.oee_percentage - h.oee_7, 2) AS trend_7, round(d.oee_percentage - h.oee_30, 2) AS trend_30,
       coalesce(o.events, 0) AS open_safety_events,
       CASE WHEN d.id IS NULL THEN NULL
            WHEN d.financial_loss_dollars >= 5000 OR 85 - d.oee_percentage >= 20 THEN 'high'
            WHEN d.financial_loss_dollars >= 2000 OR 85 - d.oee_percentage >= 10 THEN 'medium'
            WHEN d.financial_loss_dollars >= 1000 THEN 'low' ELSE 'none' END AS priority,
       d.smart_summary_text AS summary
  FROM assets a
  LEFT JOIN daily_summaries d ON d.asset_id = a.id AND d.report_date = $1
  LEFT JOIN history h ON h.asset_id = a.id
  LEFT JOIN open_events o ON o.asset_id = a.id
 ORDER BY d.financial_loss_dollars DESC NULLS LAST, a.name, a.id
