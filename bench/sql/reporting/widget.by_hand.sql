-- One widget's base metrics: workflows, aggregation, first and last day, metrics, by workflow?, by period?
SELECT CASE WHEN $6 THEN a.workflow_id::text ELSE '-' END AS series,
       CASE WHEN $7 THEN a.aggregation_key ELSE '-' END AS key,
       m.key AS metric, sum(m.value::numeric)::text AS sum
  FROM reporting.report_data_aggregates AS a
 CROSS JOIN LATERAL jsonb_each(a.metrics) AS m
 WHERE a.workflow_id = ANY ($1::text[]::uuid[]) AND a.aggregation_type = $2::text
   AND a.data_date BETWEEN $3::text::date AND $4::text::date AND m.key = ANY ($5::text[])
 GROUP BY 1, 2, 3
