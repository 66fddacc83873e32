SELECT id, jsonb_object_agg(key, s)::text AS sums
  FROM (SELECT {key} AS id, e.key, sum(e.value::numeric) AS s FROM {table}, jsonb_each(m) AS e GROUP BY 1, 2) AS x
 GROUP BY id ORDER BY id
