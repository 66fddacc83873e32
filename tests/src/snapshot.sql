-- (kind, name, detail) of everything outside the system's own schemas. Runs with an empty search_path.
-- Object ids never appear: they differ after a restore.
WITH spaces AS (
  SELECT oid, nspname, nspowner, nspacl FROM pg_catalog.pg_namespace
   WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
), relations AS (
  SELECT c.*, quote_ident(s.nspname) || '.' || quote_ident(c.relname) AS name
    FROM pg_catalog.pg_class c JOIN spaces s ON s.oid = c.relnamespace
), functions AS (
  SELECT p.*, p.oid::regprocedure::text AS name
    FROM pg_catalog.pg_proc p JOIN spaces s ON s.oid = p.pronamespace
), acls AS (
  -- A NULL acl means the defaults; the two spellings count as the same.
  SELECT 'schema' AS kind, quote_ident(nspname) AS name, coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM spaces
  UNION ALL
  SELECT 'relation', name, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, relowner))
    FROM relations WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  UNION ALL
  SELECT 'column', r.name || '.' || quote_ident(a.attname), a.attacl
    FROM relations r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid WHERE a.attacl IS NOT NULL
  UNION ALL
  SELECT 'function', name, coalesce(proacl, acldefault('f', proowner)) FROM functions
  UNION ALL
  SELECT 'type', t.oid::regtype::text, coalesce(t.typacl, acldefault('T', t.typowner))
    FROM pg_catalog.pg_type t JOIN spaces s ON s.oid = t.typnamespace WHERE t.typtype IN ('d', 'e')
)
SELECT 'grants on ' || kind AS kind, name,
       (SELECT string_agg(format('%s:%s%s by %s', CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END,
                                 x.privilege_type, CASE WHEN x.is_grantable THEN '*' ELSE '' END, x.grantor::regrole), ' '
                          ORDER BY x.grantee::regrole::text COLLATE "C", x.privilege_type COLLATE "C", x.grantor::regrole::text COLLATE "C")
          FROM aclexplode(acl) AS x) AS detail
  FROM acls
UNION ALL
SELECT 'schema', quote_ident(nspname), 'owner ' || nspowner::regrole FROM spaces
UNION ALL
SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'f' THEN 'foreign table'
                    WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' END, name,
       format('owner %s kind %s persistence %s rls %s%s partition of %s %s options %s am %s key %s', relowner::regrole, relkind, relpersistence,
              relrowsecurity, CASE WHEN relforcerowsecurity THEN ' forced' ELSE '' END,
              (SELECT inhparent::regclass FROM pg_catalog.pg_inherits WHERE inhrelid = relations.oid),
              pg_catalog.pg_get_expr(relpartbound, oid),
              (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(reloptions) AS o),
              (SELECT amname FROM pg_catalog.pg_am WHERE pg_am.oid = relam),
              CASE relkind WHEN 'p' THEN pg_catalog.pg_get_partkeydef(oid) END)
       || CASE WHEN relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(oid) ELSE '' END
  FROM relations WHERE relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
UNION ALL
SELECT 'column', r.name || '.' || quote_ident(a.attname),
       format('%s %s%s identity %s generated %s collation %s statistics %s default %s',
              -- A dump leaves no gaps where columns were dropped.
              row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' not null' ELSE '' END, a.attidentity, a.attgenerated, a.attcollation::regcollation,
              nullif(a.attstattarget, -1), pg_catalog.pg_get_expr(d.adbin, d.adrelid))
  FROM relations r
  JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
 WHERE r.relkind IN ('r', 'p', 'f', 'v', 'm')
UNION ALL
SELECT 'foreign table options', r.name, format('server %s %s', s.srvname, (SELECT array_agg(o ORDER BY o COLLATE "C") FROM unnest(f.ftoptions) AS o))
  FROM pg_catalog.pg_foreign_table f JOIN relations r ON r.oid = f.ftrelid JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
UNION ALL
SELECT 'column options', r.name || '.' || quote_ident(a.attname), (SELECT array_agg(o ORDER BY o COLLATE "C")::text FROM unnest(a.attfdwoptions) AS o)
  FROM relations r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND NOT a.attisdropped WHERE a.attfdwoptions IS NOT NULL
UNION ALL
-- (Of a table with foreign partitions, which have no indexes, a restored server never takes the index as complete.)
SELECT 'index', r.name, format('%s valid %s parent %s', pg_catalog.pg_get_indexdef(r.oid),
                               CASE WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = h.inhrelid
                                                      WHERE h.inhparent = i.indrelid) THEN i.indisvalid END,
                               (SELECT inhparent::regclass FROM pg_catalog.pg_inherits WHERE inhrelid = r.oid))
  FROM relations r JOIN pg_catalog.pg_index i ON i.indexrelid = r.oid
UNION ALL
-- Not-null constraints have rows of their own from 18 on; the columns above tell of them. A check such as
-- varchar IN ('a', 'b') comes back with its casts in other places, and means the same: casts are left out.
SELECT 'constraint', r.name || '.' || quote_ident(c.conname),
       CASE c.contype WHEN 'c' THEN regexp_replace(pg_catalog.pg_get_constraintdef(c.oid), '::(character varying|text)(\[\])?|[()]', '', 'g')
            ELSE pg_catalog.pg_get_constraintdef(c.oid) END || ' validated ' || c.convalidated::text
  FROM pg_catalog.pg_constraint c JOIN relations r ON r.oid = c.conrelid WHERE c.contype <> 'n'
UNION ALL
SELECT 'trigger', r.name || '.' || quote_ident(t.tgname), pg_catalog.pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
  FROM pg_catalog.pg_trigger t JOIN relations r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'policy', quote_ident(schemaname) || '.' || quote_ident(tablename) || '.' || quote_ident(policyname),
       format('%s %s to %s using %s check %s', permissive, cmd, roles, qual, with_check)
  FROM pg_catalog.pg_policies
UNION ALL
SELECT 'function', name,
       format('owner %s kind %s %s %s%s%s parallel %s settings %s cost %s rows %s support %s language %s returns %s args %s body %s', proowner::regrole, prokind, provolatile,
              CASE WHEN prosecdef THEN 'definer ' ELSE '' END, CASE WHEN proisstrict THEN 'strict ' ELSE '' END,
              CASE WHEN proleakproof THEN 'leakproof ' ELSE '' END, proparallel, proconfig, procost, prorows, prosupport,
              (SELECT lanname FROM pg_catalog.pg_language l WHERE l.oid = prolang), pg_catalog.pg_get_function_result(oid),
              pg_catalog.pg_get_function_arguments(oid), md5(prosrc || coalesce(pg_catalog.pg_get_function_sqlbody(oid), '')))
  FROM functions
UNION ALL
SELECT 'aggregate', a.aggfnoid::regprocedure::text,
       format('%s %s %s %s %s %s %s', aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggtranstype::regtype, agginitval)
  FROM pg_catalog.pg_aggregate a JOIN functions f ON f.oid = a.aggfnoid
UNION ALL
SELECT 'event trigger', quote_ident(evtname), format('%s %s %s %s owner %s', evtevent, evtfoid::regprocedure, evtenabled, evttags, evtowner::regrole)
  FROM pg_catalog.pg_event_trigger
UNION ALL
SELECT 'default grants', format('%s %s %s', defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype),
       (SELECT string_agg(x::text, ' ' ORDER BY x::text COLLATE "C") FROM unnest(defaclacl) AS x)
  FROM pg_catalog.pg_default_acl
UNION ALL
-- An extension's comments and members: what belongs to it, and what is said of everything else.
SELECT 'comment', i.type || ' ' || i.identity, d.description
  FROM pg_catalog.pg_description d
 CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
 WHERE d.objoid >= 16384
UNION ALL
SELECT 'member', e.extname || ': ' || i.type || ' ' || i.identity, NULL
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
 CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) AS i
 WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e' AND d.objid >= 16384
UNION ALL
SELECT 'extension', extname, format('version %s schema %s owner %s tables %s conditions %s', extversion, extnamespace::regnamespace, extowner::regrole,
       (SELECT string_agg(o::regclass::text, ',' ORDER BY o::regclass::text COLLATE "C") FROM unnest(extconfig) AS o), extcondition)
  FROM pg_catalog.pg_extension;
