-- The rows that say which state a machine was in between $1 and $2: those that begin in the window, the last
-- one without an end that began before it, and those with an end that reach into it. $3 limits it to these
-- machines.
WITH wanted AS (
  SELECT DISTINCT x.asset_id FROM unnest($3::uuid[]) AS x (asset_id) WHERE $3 IS NOT NULL
  UNION
  SELECT a.id FROM plant.assets a WHERE $3 IS NULL
)
SELECT m.asset_id, m.started_at, m.ended_at, m.state, m.reason_code
  FROM wanted w
  JOIN plant.machine_states m ON m.asset_id = w.asset_id
 WHERE m.started_at >= $1 AND m.started_at < $2
UNION ALL
SELECT w.asset_id, b.started_at, NULL, b.state, b.reason_code
  FROM wanted w
 CROSS JOIN LATERAL (
   SELECT m.started_at, m.state, m.reason_code FROM plant.machine_states m
    WHERE m.asset_id = w.asset_id AND m.started_at < $1 AND m.ended_at IS NULL
    ORDER BY m.started_at DESC LIMIT 1) AS b
UNION ALL
SELECT m.asset_id, m.started_at, m.ended_at, m.state, m.reason_code
  FROM wanted w
  JOIN plant.machine_states m ON m.asset_id = w.asset_id
 WHERE m.started_at < $1 AND m.ended_at >= $1
 ORDER BY 1, 2
