-- Who may do what: one line for each object, one column for each role in $1.
-- Letters as in PostgreSQL's own ACLs; "-" is nothing. MAINTAIN (17 and later) is left out, so that the
-- picture is the same on all majors. Partitions count as one object for each parent: their names hold dates.
WITH spaces AS (
  SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE nspname = ANY ($2::text[])
), objects AS (
  SELECT 1 AS sort, 'schema' AS kind, nspname::text AS name, r.role,
         CASE WHEN has_schema_privilege(r.role, s.oid, 'USAGE') THEN 'U' ELSE '' END
         || CASE WHEN has_schema_privilege(r.role, s.oid, 'CREATE') THEN 'C' ELSE '' END AS may
    FROM spaces s CROSS JOIN unnest($1::text[]) AS r (role)
  UNION
  SELECT 2, CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'matview' WHEN 'f' THEN 'foreign' ELSE 'table' END,
         CASE WHEN c.relispartition THEN pg_catalog.pg_partition_root(c.oid)::regclass::text || ' (partitions)'
              ELSE c.oid::regclass::text END, r.role,
         (SELECT coalesce(string_agg(letter, '' ORDER BY n), '') FROM
            (VALUES (1, 'SELECT', 'r'), (2, 'INSERT', 'a'), (3, 'UPDATE', 'w'), (4, 'DELETE', 'd'),
                    (5, 'TRUNCATE', 'D'), (6, 'REFERENCES', 'x'), (7, 'TRIGGER', 't')) AS p (n, privilege, letter)
           WHERE has_table_privilege(r.role, c.oid, privilege))
         -- Something on single columns only.
         || (SELECT coalesce(string_agg('(' || letter || ')', '' ORDER BY n), '') FROM
            (VALUES (1, 'SELECT', 'r'), (2, 'INSERT', 'a'), (3, 'UPDATE', 'w')) AS p (n, privilege, letter)
           WHERE has_any_column_privilege(r.role, c.oid, privilege) AND NOT has_table_privilege(r.role, c.oid, privilege))
    FROM pg_catalog.pg_class c JOIN spaces s ON s.oid = c.relnamespace CROSS JOIN unnest($1::text[]) AS r (role)
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  UNION
  SELECT 3, 'sequence', c.oid::regclass::text, r.role,
         CASE WHEN has_sequence_privilege(r.role, c.oid, 'SELECT') THEN 'r' ELSE '' END
         || CASE WHEN has_sequence_privilege(r.role, c.oid, 'UPDATE') THEN 'w' ELSE '' END
         || CASE WHEN has_sequence_privilege(r.role, c.oid, 'USAGE') THEN 'U' ELSE '' END
    FROM pg_catalog.pg_class c JOIN spaces s ON s.oid = c.relnamespace CROSS JOIN unnest($1::text[]) AS r (role)
   WHERE c.relkind = 'S'
  UNION
  SELECT 4, 'function', p.oid::regprocedure::text, r.role,
         CASE WHEN has_function_privilege(r.role, p.oid, 'EXECUTE') THEN 'X' ELSE '' END
    FROM pg_catalog.pg_proc p JOIN spaces s ON s.oid = p.pronamespace CROSS JOIN unnest($1::text[]) AS r (role)
)
SELECT name, sort,
       kind || ' ' || name || ':' || string_agg(format(' %s=%s', role, coalesce(nullif(may, ''), '-')), ''
                                                   ORDER BY array_position($1::text[], role), may) AS line
  FROM objects
 GROUP BY sort, kind, name
 ORDER BY sort, name COLLATE "C"
