-- Brings snapshots that were there already to what was sent now; what is the same is left alone. Rows are
-- locked in the order in which everybody inserts them.
WITH given AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::int[], $4::int[], $5::text[])
                AS g (asset_id, at, output, target, status)
), known AS MATERIALIZED (
  SELECT l.id, l.snapshot_timestamp, g.output, g.target, g.status
    FROM plant.live_snapshots l
    JOIN given g ON g.asset_id = l.asset_id AND g.at = l.snapshot_timestamp
   WHERE l.snapshot_timestamp >= (SELECT min(at) FROM given) AND l.snapshot_timestamp <= (SELECT max(at) FROM given)
     AND (l.current_output, l.target_output, l.status) IS DISTINCT FROM (g.output, g.target, g.status)
   ORDER BY l.snapshot_timestamp, l.asset_id
     FOR NO KEY UPDATE OF l
)
UPDATE plant.live_snapshots l
   SET current_output = k.output, target_output = k.target, status = k.status
  FROM known k
 WHERE l.id = k.id AND l.snapshot_timestamp = k.snapshot_timestamp
