-- Five sums of the columns as they are: no cap and no share, so not the same figures.
SELECT {key} AS key, sum(planned_minutes)::text, sum(downtime_minutes)::text,
       sum(ideal_cycle_seconds * total_count)::text, sum(total_count)::text, sum(good_count)::text
  FROM {table} {group}
 ORDER BY 1
