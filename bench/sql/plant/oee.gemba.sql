SELECT f.key, trim_scale((f.figures).availability)::text, trim_scale((f.figures).performance)::text,
       trim_scale((f.figures).performance_raw)::text, trim_scale((f.figures).quality)::text,
       trim_scale((f.figures).oee)::text
  FROM (SELECT {key} AS key,
               plant.oee_agg(planned_minutes, downtime_minutes, ideal_cycle_seconds, total_count, good_count) AS figures
          FROM {table} {group}) AS f
 ORDER BY 1
