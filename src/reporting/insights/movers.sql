-- Each of them by period, counted back from the newest one, which begins at $8. $9 is the factor of a ratio. The value is NULL
-- where the period was collected and has no such metric.
SELECT f.workflow_id, f.instance_id,
       CASE $2 WHEN 'weekly' THEN ($8 - f.data_date) / 7
               ELSE (((extract(year FROM $8) - extract(year FROM f.data_date)) * 12
                      + extract(month FROM $8) - extract(month FROM f.data_date))::int
                     / CASE $2 WHEN 'monthly' THEN 1 ELSE 3 END) END,
       f.aggregation_key,
       CASE WHEN $5 IS NULL THEN f.metric
            ELSE round($9::numeric * f.metric / nullif(f.denominator, 0), 6) END::text
  FROM figures AS f
 ORDER BY f.workflow_id, f.instance_id, f.data_date DESC
