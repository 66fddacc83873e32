-- The rows that say which state a machine was in between $1 and $2: those that begin in the window, the last
-- one without an end that began before it, and those with an end that reach into it. $3 limits it to these
-- machines; each has a row without a state besides, so that also those are there of which nothing is known.
WITH wanted AS (
  SELECT x.asset_id FROM unnest($3::uuid[]) AS x (asset_id) WHERE x.asset_id IS NOT NULL
  UNION
  SELECT a.id FROM plant.assets a
   WHERE $3 IS NULL AND (a.is_active OR EXISTS (SELECT FROM plant.machine_states s WHERE s.asset_id = a.id))
)
SELECT w.asset_id, NULL::timestamptz AS started_at, NULL::timestamptz AS ended_at, NULL AS state, NULL AS reason_code
  FROM wanted w
UNION ALL
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
