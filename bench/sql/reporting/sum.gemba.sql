SELECT {key} AS id, reporting.metrics_sum(m)::text AS sums FROM {table} GROUP BY 1 ORDER BY 1
