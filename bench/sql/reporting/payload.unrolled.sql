-- The figures of a dashboard's charts and tables, and the values of its cards, one a row; $1 is the dashboard.
SELECT concat_ws(' ', w ->> 'widget_id', coalesce(f.series, '-'), f.key, f.metric, f.value)
  FROM jsonb_array_elements(reporting.dashboard_payload($1) -> 'widgets') AS w
 CROSS JOIN LATERAL (
       SELECT p.series, p.point ->> 'key', m.key, m.value
         FROM (SELECT coalesce(d ->> 'workflow', '-') AS series, coalesce(d -> 'points', jsonb_build_array(d)) AS points
                 FROM jsonb_array_elements(CASE jsonb_typeof(w -> 'data') WHEN 'array' THEN w -> 'data' ELSE '[]' END) AS d) AS s
        CROSS JOIN LATERAL (SELECT s.series, jsonb_array_elements(s.points)) AS p (series, point)
        CROSS JOIN LATERAL jsonb_each_text(p.point -> 'metrics') AS m
       UNION ALL
       SELECT '-', '-', '-', w -> 'data' ->> 'value' WHERE w ->> 'type' = 'metric_card') AS f (series, key, metric, value)
