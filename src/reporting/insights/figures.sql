-- The figures of a metric that count: of workflows $1 (NULL: of all that the caller may read), in the aggregation $2,
-- on accounts $3 (NULL: on all), of whole periods between $7 and $8, with dimensions as $6 wants them. $4 is the metric;
-- of a ratio its numerator, and $5 its denominator.
WITH figures AS (
  SELECT a.data_date, a.aggregation_key, a.workflow_id, a.instance_id,
         CASE WHEN jsonb_typeof(a.metrics -> $4) = 'number' AND ($5 IS NULL OR jsonb_typeof(a.metrics -> $5) = 'number')
              THEN (a.metrics -> $4)::numeric END AS metric,
         CASE WHEN jsonb_typeof(a.metrics -> $4) = 'number' AND jsonb_typeof(a.metrics -> $5) = 'number'
              THEN (a.metrics -> $5)::numeric END AS denominator
    FROM reporting.report_data_aggregates AS a
   WHERE ($1 IS NULL OR a.workflow_id = ANY ($1))
     AND a.aggregation_type = $2
     AND ($3 IS NULL OR a.instance_id = ANY ($3))
     AND ($7 IS NULL OR a.data_date >= $7)
     AND ($8 IS NULL OR a.data_date <= $8)
     AND CASE $2
           WHEN 'weekly' THEN a.aggregation_key = to_char(a.data_date, 'YYYY-MM-DD') || '_' || to_char(a.data_date + 6, 'YYYY-MM-DD')
           ELSE NOT EXISTS (
                  SELECT FROM reporting.workflow_data AS w
                   WHERE w.workflow_id = a.workflow_id AND w.instance_id = a.instance_id
                     AND (w.first_day > a.data_date
                          OR w.last_day < (a.data_date + CASE $2 WHEN 'monthly' THEN interval '1 month' ELSE interval '3 months' END)::date - 1))
         END
     AND NOT EXISTS (
           SELECT FROM jsonb_each($6) AS f
            WHERE NOT EXISTS (
                    SELECT FROM jsonb_array_elements(CASE jsonb_typeof(f.value) WHEN 'array' THEN f.value ELSE jsonb_build_array(f.value) END) AS v
                     -- Of an array, one of its elements.
                     WHERE a.dimensions -> f.key @> v.value))
)
