SELECT a.id AS asset_id, a.name, a.area, l.snapshot_timestamp, l.current_output, l.target_output, l.output_variance,
       round(100.0 * l.output_variance / nullif(l.target_output, 0), 2) AS output_variance_percentage,
       CASE WHEN l.snapshot_timestamp IS NULL THEN 'no data'
            WHEN l.snapshot_timestamp < now() - interval '30 minutes' THEN 'stale'
            ELSE coalesce(l.status, 'no target') END AS status,
       greatest(now() - l.snapshot_timestamp, interval '0') AS age
  FROM assets a
  LEFT JOIN LATERAL (SELECT x.* FROM live_snapshots x WHERE x.asset_id = a.id
                      ORDER BY x.snapshot_timestamp DESC LIMIT 1) AS l ON true
 ORDER BY a.name, a.id
