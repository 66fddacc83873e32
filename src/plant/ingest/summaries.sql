-- Writes again the texts that a change of these days can have changed: their own and those of the seven
-- days after.
UPDATE plant.daily_summaries d
   SET smart_summary_text = fresh.text
  FROM (SELECT d.id,
               plant._summary(
                 a.name, d.oee_percentage, coalesce(a.oee_target, s.oee_target), d.availability_percentage,
                 d.performance_percentage, d.quality_percentage, d.oee_state, d.waste_count, d.target_output,
                 d.financial_loss_dollars, s.currency, before.oee, week.median, d.estimated) AS text
          FROM (SELECT DISTINCT g.asset_id, date '2000-01-01' + g.day + later AS report_date
                  FROM unnest($1::uuid[], $2::int[]) AS g (asset_id, day)
                 CROSS JOIN generate_series(0, 7) AS later) AS near
          JOIN plant.daily_summaries d ON d.asset_id = near.asset_id AND d.report_date = near.report_date
          JOIN plant.assets a ON a.id = d.asset_id
         CROSS JOIN plant.settings s
          LEFT JOIN LATERAL (
               SELECT p.oee_percentage AS oee FROM plant.daily_summaries p
                WHERE p.asset_id = d.asset_id AND p.report_date = d.report_date - 1) AS before ON true
         CROSS JOIN LATERAL (
               -- Without percentile_cont, which leaves numeric.
               SELECT avg(o.oee) AS median
                 FROM (SELECT w.oee_percentage AS oee, row_number() OVER (ORDER BY w.oee_percentage) AS place,
                              count(*) OVER () AS days
                         FROM plant.daily_summaries w
                        WHERE w.asset_id = d.asset_id AND w.oee_percentage IS NOT NULL
                          AND w.report_date BETWEEN d.report_date - 7 AND d.report_date - 1) AS o
                WHERE o.place IN ((o.days + 1) / 2, (o.days + 2) / 2)) AS week) AS fresh
 WHERE d.id = fresh.id AND d.smart_summary_text IS DISTINCT FROM fresh.text
