WITH seen AS (
  SELECT *
    FROM unnest($1::timestamptz[], $2::oid[], $3::text[], $4::uuid[], $5::oid[], $6::bigint[],
                           $7::timestamptz[], $8::timestamptz[])
      AS u (hour, relation, operation, user_id, role, queries, first_at, last_at)),
named AS (
  -- A table that is gone was queried nevertheless. The engine's own are nobody's data.
  SELECT s.*, CASE WHEN c.oid IS NULL THEN 'dropped table ' || s.relation::text
              ELSE pg_catalog.format('%I.%I', n.nspname, c.relname) END AS table_name,
         pg_catalog.pg_get_userbyid(s.role)::text AS role_name
    FROM seen s
    LEFT JOIN pg_catalog.pg_class c ON c.oid = s.relation
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname IS DISTINCT FROM 'gemba')
INSERT INTO cloudwatcher.data_access AS d (hour, table_name, operation, user_id, role_name, queries, first_at, last_at)
SELECT m.hour, m.table_name, m.operation, m.user_id, m.role_name,
       pg_catalog.sum(m.queries)::bigint, pg_catalog.min(m.first_at), pg_catalog.max(m.last_at)
  FROM named m
 GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT ON CONSTRAINT data_access_key DO UPDATE
   SET queries = d.queries + excluded.queries,
       first_at = least(d.first_at, excluded.first_at),
       last_at = greatest(d.last_at, excluded.last_at)
