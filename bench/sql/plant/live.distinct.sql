SELECT a.id AS asset_id, a.name, a.area, l.snapshot_timestamp, l.current_output, l.target_output, l.output_variance,
       round(100.0 * l.output_variance / nullif(l.target_output, 0), 2) AS output_variance_percentage,
       CASE WHEN l.snapshot_timestamp IS NULL THEN 'no data'
            WHEN l.snapshot_timestamp < now() - interval '30 minutes' THEN 'stale'
            ELSE coalesce(l.status, 'no target') END AS status,
       greatest(now() - l.snapshot_timestamp, interval '0') AS age
  FROM assets a
  LEFT JOIN (SELECT DISTINCT ON (x.asset_id) x.* FROM live_snapshots x
              ORDER BY x.asset_id, x.snapshot_timestamp DESC) AS l ON l.asset_id = a.id
 ORDER BY a.name, a.id
