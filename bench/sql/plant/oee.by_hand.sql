-- The same sums: capped at the run time row by row, shared between good and bad items where that was reached.
SELECT s.key, trim_scale(round(s.run / nullif(s.planned, 0), 12))::text,
       trim_scale(round(s.net / nullif(s.run, 0), 12))::text, trim_scale(round(s.ideal / nullif(s.run, 0), 12))::text,
       trim_scale(round(coalesce(s.effective / nullif(s.net, 0), s.good / nullif(s.total, 0)), 12))::text,
       trim_scale(round(s.effective / nullif(s.planned, 0), 12))::text
  FROM (SELECT {key} AS key, 60 * sum(planned_minutes) AS planned, 60 * sum(planned_minutes - downtime_minutes) AS run,
               sum(ideal_cycle_seconds * total_count) AS ideal,
               sum(least(ideal_cycle_seconds * total_count, (planned_minutes - downtime_minutes) * 60)) AS net,
               sum(CASE WHEN ideal_cycle_seconds * total_count <= (planned_minutes - downtime_minutes) * 60
                        THEN ideal_cycle_seconds * good_count
                        ELSE round((planned_minutes - downtime_minutes) * 60 * good_count / total_count, 12)
                   END) AS effective,
               sum(total_count) AS total, sum(good_count) AS good
          FROM {table} {group}) AS s
 ORDER BY 1
