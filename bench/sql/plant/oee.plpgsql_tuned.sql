SELECT s.key, trim_scale(round(s.sums[2] / nullif(s.sums[1], 0), 12))::text,
       trim_scale(round(s.sums[4] / nullif(s.sums[2], 0), 12))::text,
       trim_scale(round(s.sums[3] / nullif(s.sums[2], 0), 12))::text,
       trim_scale(round(coalesce(s.sums[5] / nullif(s.sums[4], 0), s.sums[7] / nullif(s.sums[6], 0)), 12))::text,
       trim_scale(round(s.sums[5] / nullif(s.sums[1], 0), 12))::text
  FROM (SELECT {key} AS key,
               oee_sums_tuned(planned_minutes, downtime_minutes, ideal_cycle_seconds, total_count, good_count) AS sums
          FROM {table} {group}) AS s
 ORDER BY 1
