SELECT s.key, trim_scale(round((s.sums).run / nullif((s.sums).planned, 0), 12))::text,
       trim_scale(round((s.sums).net / nullif((s.sums).run, 0), 12))::text,
       trim_scale(round((s.sums).ideal / nullif((s.sums).run, 0), 12))::text,
       trim_scale(round(coalesce((s.sums).effective / nullif((s.sums).net, 0),
                                 (s.sums).good / nullif((s.sums).total, 0)), 12))::text,
       trim_scale(round((s.sums).effective / nullif((s.sums).planned, 0), 12))::text
  FROM (SELECT {key} AS key,
               oee_sums(planned_minutes, downtime_minutes, ideal_cycle_seconds, total_count, good_count) AS sums
          FROM {table} {group}) AS s
 ORDER BY 1
