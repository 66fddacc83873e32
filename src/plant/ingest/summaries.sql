-- Writes again the texts that a change of these days can have changed: their own and those of the seven
-- days after. Rows that somebody else wrote, without times and counts, keep the text that they have.
UPDATE plant.daily_summaries d
   SET smart_summary_text = fresh.text
  FROM (SELECT d.id,
               plant._summary(
                 a.name, d.oee_percentage, coalesce(a.oee_target, s.oee_target), d.availability_percentage,
                 d.performance_percentage, d.quality_percentage, d.oee_state, d.waste_count, d.target_output,
                 d.financial_loss_dollars, s.currency, before.oee, week.median, d.estimated) AS text
          FROM (SELECT DISTINCT near.id
                  FROM unnest($1::uuid[], $2::int[]) AS g (asset_id, day)
                 CROSS JOIN LATERAL (
                       -- One short walk along the index a row, whatever the planner knows; OFFSET keeps it so.
                       SELECT n.id FROM plant.daily_summaries n
                        WHERE n.asset_id = g.asset_id AND n.oee_state IS NOT NULL
                          AND n.report_date BETWEEN date '2000-01-01' + g.day AND date '2000-01-01' + g.day + 7
                       OFFSET 0) AS near) AS touched
          JOIN plant.daily_summaries d ON d.id = touched.id
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
