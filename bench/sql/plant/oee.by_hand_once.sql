-- The same, and OFFSET 0 keeps the planner from writing each product out wherever it is used.
SELECT s.key, trim_scale(round(s.run / nullif(s.planned, 0), 12))::text,
       trim_scale(round(s.net / nullif(s.run, 0), 12))::text, trim_scale(round(s.ideal / nullif(s.run, 0), 12))::text,
       trim_scale(round(coalesce(s.effective / nullif(s.net, 0), s.good / nullif(s.total, 0)), 12))::text,
       trim_scale(round(s.effective / nullif(s.planned, 0), 12))::text
  FROM (SELECT {key} AS key, 60 * sum(planned_minutes) AS planned, sum(run) AS run, sum(ideal) AS ideal,
               sum(least(ideal, run)) AS net,
               sum(CASE WHEN ideal <= run THEN ideal_cycle_seconds * good_count
                        ELSE round(run * good_count / total_count, 12) END) AS effective,
               sum(total_count) AS total, sum(good_count) AS good
          FROM (SELECT *, (planned_minutes - downtime_minutes) * 60 AS run, ideal_cycle_seconds * total_count AS ideal
                  FROM {table} OFFSET 0) AS p {group}) AS s
 ORDER BY 1
