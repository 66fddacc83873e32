-- The engine's parts that are SQL: helpers, views for people, triggers.

-- Who is logged in, for what runs with the extension's rights.
CREATE FUNCTION gemba._user() RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    -- What auth.uid() says too; but that is somebody else's code, and this runs with the extension's rights.
    RETURN nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '')::uuid;
  EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
  END
  $body$;

-- As whom that runs: the role that was set, current_user being the owner of a SECURITY DEFINER function.
CREATE FUNCTION gemba._caller() RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT CASE WHEN current_setting('role') = 'none' THEN session_user::text ELSE current_setting('role') END
  $body$;

-- For tables that say when a row was changed last.
CREATE FUNCTION gemba._set_updated_at() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    NEW.updated_at := now();
    RETURN NEW;
  END
  $body$;

-- For queues whose workers hold what they claimed until they are silent for so long.
CREATE FUNCTION gemba._check_lease(lease interval) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF lease IS NULL OR lease < interval '1 millisecond' OR lease > interval '30 days' THEN
      RAISE EXCEPTION 'lease is out of its range' USING ERRCODE = '22023', DETAIL = format('lease %L', lease),
        HINT = 'give the time within which the worker reports again, up to 30 days';
    END IF;
  END
  $body$;

CREATE FUNCTION gemba._leaves(parent oid, time_zone text)
  RETURNS TABLE (leaf oid, from_time timestamptz, to_time timestamptz)
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC'
  AS $body$
    -- pg_get_expr writes bounds in the session's style and zone, which not every style can be read back from.
    SELECT b.oid,
           CASE WHEN b.edges[1] = 'MINVALUE' THEN '-infinity'::timestamptz
                WHEN b.zoned THEN btrim(b.edges[1], '''')::timestamptz
                ELSE btrim(b.edges[1], '''')::timestamp AT TIME ZONE time_zone END,
           CASE WHEN b.edges[2] = 'MAXVALUE' THEN 'infinity'::timestamptz
                WHEN b.zoned THEN btrim(b.edges[2], '''')::timestamptz
                ELSE btrim(b.edges[2], '''')::timestamp AT TIME ZONE time_zone END
      FROM (SELECT c.oid, a.atttypid = 'timestamptz'::regtype AS zoned,
                   regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                '^FOR VALUES FROM [(](.+)[)] TO [(](.+)[)]$') AS edges
              FROM pg_partitioned_table p
              JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
              JOIN pg_inherits i ON i.inhparent = p.partrelid
              JOIN pg_class c ON c.oid = i.inhrelid
             WHERE p.partrelid = parent AND p.partstrat = 'r' AND p.partnatts = 1
               AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)) AS b
     WHERE b.edges IS NOT NULL
  $body$;

CREATE VIEW gemba.partitions WITH (security_invoker = true) AS
  SELECT s.parent,
         l.leaf::pg_catalog.regclass AS partition,
         l.from_time,
         l.to_time,
         greatest(c.reltuples, 0)::bigint AS estimated_rows,
         CASE WHEN c.relkind OPERATOR(pg_catalog.<>) 'f' THEN pg_catalog.pg_total_relation_size(l.leaf)
              -- Of a compressed partition, what stands behind it.
              ELSE (SELECT coalesce(pg_catalog.sum(pg_catalog.pg_total_relation_size(b.oid)), 0)::bigint
                      FROM pg_catalog.pg_foreign_table AS f
                     CROSS JOIN LATERAL pg_catalog.pg_options_to_table(f.ftoptions) AS o
                      JOIN pg_catalog.pg_class AS b
                        ON b.relname OPERATOR(pg_catalog.=) o.option_value
                        OR b.relname OPERATOR(pg_catalog.=) (o.option_value OPERATOR(pg_catalog.||) '_late')
                      JOIN pg_catalog.pg_namespace AS n
                        ON n.oid OPERATOR(pg_catalog.=) b.relnamespace AND n.nspname OPERATOR(pg_catalog.=) 'gemba_history'
                     WHERE f.ftrelid OPERATOR(pg_catalog.=) l.leaf AND o.option_name OPERATOR(pg_catalog.=) 'segments')
         END AS bytes,
         -- Foreign tables cannot have it: what protects them is that nobody has a grant.
         c.relrowsecurity OR c.relkind OPERATOR(pg_catalog.=) 'f' AS rls,
         c.relacl IS NULL OR NOT EXISTS (
           SELECT FROM pg_catalog.aclexplode(c.relacl) AS a WHERE a.grantee OPERATOR(pg_catalog.<>) c.relowner
         ) AS no_grants,
         s.on_expire,
         l.to_time OPERATOR(pg_catalog.+) s.retain AS expires_at
    FROM gemba.partition_sets AS s
   CROSS JOIN LATERAL gemba._leaves(s.parent::pg_catalog.oid, s.time_zone) AS l
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) l.leaf;
COMMENT ON VIEW gemba.partitions IS 'every partition of the managed tables: range, size, whether it is sealed (rls, no_grants), and when it will be retired';

-- Looks into tables that nobody else may read, and tells how much there is, not what.
CREATE FUNCTION gemba._history()
  RETURNS TABLE (partition oid, segments bigint, row_count numeric, late_rows bigint, raw_bytes bigint, stored_bytes bigint,
                 first_at timestamptz, last_at timestamptz)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    part record;
  BEGIN
    FOR part IN
      SELECT f.ftrelid AS partition, s.oid AS segments, l.oid AS late, c.relname, coalesce(p.time_zone, 'UTC') AS zone,
             coalesce((SELECT o.option_value::bigint FROM pg_options_to_table(f.ftoptions) AS o
                        WHERE o.option_name = 'raw_bytes' AND o.option_value ~ '^[0-9]{1,18}$'), 0) AS raw
        FROM pg_foreign_table f
        JOIN pg_foreign_server v ON v.oid = f.ftserver AND v.srvname = 'gemba_history'
       CROSS JOIN LATERAL pg_options_to_table(f.ftoptions) AS c (option_name, relname)
        JOIN pg_class t ON t.oid = f.ftrelid
        JOIN pg_class s ON s.relname = c.relname AND s.relnamespace = 'gemba_history'::regnamespace AND s.relowner = t.relowner
        JOIN pg_class l ON l.relname = c.relname || '_late' AND l.relnamespace = s.relnamespace
        LEFT JOIN pg_inherits i ON i.inhrelid = f.ftrelid
        LEFT JOIN gemba.partition_sets p ON p.parent = i.inhparent
       WHERE c.option_name = 'segments'
    LOOP
      partition := part.partition;
      raw_bytes := part.raw;
      stored_bytes := pg_total_relation_size(part.segments) + pg_total_relation_size(part.late);
      EXECUTE format(
        'SELECT count(*), coalesce(sum(row_count), 0), (SELECT count(*) FROM gemba_history.%I),
                min(first_at)::timestamptz, max(last_at)::timestamptz FROM gemba_history.%I',
        part.relname || '_late', part.relname)
        INTO segments, row_count, late_rows, first_at, last_at;
      RETURN NEXT;
    END LOOP;
  END
  $body$;

CREATE VIEW gemba.history WITH (security_invoker = true) AS
  SELECT i.inhparent::pg_catalog.regclass AS parent,
         h.partition::pg_catalog.regclass AS partition,
         (h.row_count OPERATOR(pg_catalog.+) h.late_rows)::bigint AS rows,
         h.late_rows,
         h.segments,
         h.raw_bytes,
         h.stored_bytes,
         CASE WHEN h.stored_bytes OPERATOR(pg_catalog.>) 0
              THEN pg_catalog.round(h.raw_bytes OPERATOR(pg_catalog./) h.stored_bytes::numeric, 1) END AS ratio,
         h.first_at,
         h.last_at
    FROM gemba._history() AS h
    LEFT JOIN pg_catalog.pg_inherits AS i ON i.inhrelid OPERATOR(pg_catalog.=) h.partition;
COMMENT ON VIEW gemba.history IS 'compressed partitions: their rows, how many of them are late, in how many segments, the bytes they take up and took up before, and their first and last time';

CREATE VIEW gemba.rollups WITH (security_invoker = true) AS
  SELECT d.id, d.rollup, d.source, d.bucket, d.time_zone, d.group_by, d.measures,
         d.refreshed_at, d.refresh_ms, d.ranges_changed, d.rows_changed,
         p.pending_ranges, p.pending_from,
         CASE WHEN p.pending_ranges OPERATOR(pg_catalog.=) 0 THEN interval '0'
              ELSE pg_catalog.now() OPERATOR(pg_catalog.-) coalesce(d.refreshed_at, d.created_at) END AS lag
    FROM gemba.rollup_definitions AS d
   CROSS JOIN LATERAL (
     SELECT pg_catalog.count(*) AS pending_ranges, pg_catalog.min(b.from_bucket) AS pending_from
       FROM gemba.pending_buckets(d.id) AS b) AS p;
COMMENT ON VIEW gemba.rollups IS 'every rollup: when it was refreshed, how much that changed, and how far it lags (0 when nothing changed since)';

CREATE VIEW gemba.modules WITH (security_invoker = true) AS
  WITH latest AS (
    SELECT DISTINCT ON (v.module, v.version) v.module, v.version, v.direction, v.checksum, v.applied_at
      FROM gemba.schema_versions AS v
     ORDER BY v.module, v.version, v.id DESC)
  SELECT a.module, a.description,
         coalesce(pg_catalog.max(l.version), 0) AS installed_version,
         pg_catalog.max(a.version) AS available_version,
         pg_catalog.max(a.version) OPERATOR(pg_catalog.-) coalesce(pg_catalog.max(l.version), 0) AS pending,
         pg_catalog.max(l.applied_at) AS applied_at,
         coalesce(pg_catalog.array_agg(a.version ORDER BY a.version)
           FILTER (WHERE l.checksum OPERATOR(pg_catalog.<>) a.checksum), '{}') AS changed_versions
    FROM gemba.available_migrations() AS a
    LEFT JOIN latest AS l
      ON l.module OPERATOR(pg_catalog.=) a.module AND l.version OPERATOR(pg_catalog.=) a.version
     AND l.direction OPERATOR(pg_catalog.=) 'up'
   GROUP BY a.module, a.description
   ORDER BY a.module;
COMMENT ON VIEW gemba.modules IS 'installed against available version of each module; changed_versions lists applied migrations whose text is no longer the same';

CREATE FUNCTION gemba_internal.note_insert(
    at timestamptz, rollup int, months int, days int, microseconds bigint, zone text) RETURNS boolean
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gemba_note_insert';
CREATE FUNCTION gemba_internal.capture_rows() RETURNS trigger
  LANGUAGE c AS 'MODULE_PATHNAME', 'gemba_capture_rows';
CREATE FUNCTION gemba_internal.capture_truncate() RETURNS trigger
  LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'gemba_capture_truncate';
CREATE FUNCTION gemba_internal.audit_rows() RETURNS trigger
  LANGUAGE c AS 'MODULE_PATHNAME', 'gemba_audit_rows';

-- The wrapper behind compressed partitions. Nobody has USAGE on its server: they are made by gemba alone.
CREATE FUNCTION gemba_internal.history_handler() RETURNS fdw_handler
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'gemba_history_handler';
CREATE FUNCTION gemba_internal.history_validator(options text[], catalog oid) RETURNS void
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'gemba_history_validator';
CREATE FOREIGN DATA WRAPPER gemba_history
  HANDLER gemba_internal.history_handler VALIDATOR gemba_internal.history_validator;
COMMENT ON FOREIGN DATA WRAPPER gemba_history IS 'compressed partitions: segments in schema gemba_history, read as rows';
CREATE SERVER gemba_history FOREIGN DATA WRAPPER gemba_history;
COMMENT ON SERVER gemba_history IS 'the one server of compressed partitions';
-- Without a search_path of its own: it finds tables as the statement does.
CREATE FUNCTION gemba_internal.guard_history() RETURNS event_trigger
  LANGUAGE c AS 'MODULE_PATHNAME', 'gemba_guard_history';
CREATE EVENT TRIGGER gemba_guard_history ON ddl_command_start WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE')
  EXECUTE FUNCTION gemba_internal.guard_history();
COMMENT ON EVENT TRIGGER gemba_guard_history IS 'refuses changes of a table that its compressed partitions cannot follow';

-- The options of an audited table stand in the arguments of its triggers.
CREATE VIEW gemba.audited_tables WITH (security_invoker = true) AS
  SELECT t.tgrelid::pg_catalog.regclass AS target, o.exclude, o.mask, o.full_rows, o.enabled,
         NOT EXISTS (
           SELECT FROM pg_catalog.unnest(o.exclude OPERATOR(pg_catalog.||) o.mask) AS named
            WHERE NOT EXISTS (
              SELECT FROM pg_catalog.pg_attribute AS a
               WHERE a.attrelid OPERATOR(pg_catalog.=) t.tgrelid AND a.attname OPERATOR(pg_catalog.=) named
                 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped)) AS complete
    FROM (SELECT DISTINCT ON (t.tgrelid) t.tgrelid, t.tgfoid, t.tgargs
            FROM pg_catalog.pg_trigger AS t
            JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
            JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
            JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid
           WHERE n.nspname OPERATOR(pg_catalog.=) 'gemba_internal' AND p.proname OPERATOR(pg_catalog.=) 'audit_rows'
             AND NOT c.relispartition
           ORDER BY t.tgrelid, t.tgname) AS t
   CROSS JOIN LATERAL (
     SELECT pg_catalog.convert_from(
              pg_catalog.substr(t.tgargs, 1, pg_catalog.octet_length(t.tgargs) OPERATOR(pg_catalog.-) 1), 'UTF8'
            )::pg_catalog.jsonb AS options) AS a
   CROSS JOIN LATERAL (
     SELECT ARRAY(SELECT pg_catalog.jsonb_array_elements_text(a.options OPERATOR(pg_catalog.->) 'exclude')::pg_catalog.name) AS exclude,
            ARRAY(SELECT pg_catalog.jsonb_array_elements_text(a.options OPERATOR(pg_catalog.->) 'mask')::pg_catalog.name) AS mask,
            (a.options OPERATOR(pg_catalog.->>) 'full_rows')::boolean AS full_rows,
            -- Four triggers on the table and on each of its partitions that can have them.
            NOT EXISTS (
              SELECT FROM pg_catalog.pg_class AS c
               WHERE (c.oid OPERATOR(pg_catalog.=) t.tgrelid
                      OR c.oid OPERATOR(pg_catalog.=) ANY (SELECT q.relid FROM pg_catalog.pg_partition_tree(t.tgrelid) AS q))
                 AND (c.relkind OPERATOR(pg_catalog.=) 'r' OR c.relkind OPERATOR(pg_catalog.=) 'p')
                 AND 4 OPERATOR(pg_catalog.<>) (
                   SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS s
                    WHERE s.tgrelid OPERATOR(pg_catalog.=) c.oid AND s.tgfoid OPERATOR(pg_catalog.=) t.tgfoid
                      AND s.tgargs OPERATOR(pg_catalog.=) t.tgargs
                      AND (s.tgenabled OPERATOR(pg_catalog.=) 'O' OR s.tgenabled OPERATOR(pg_catalog.=) 'A'))) AS enabled) AS o;
COMMENT ON VIEW gemba.audited_tables IS 'tables under gemba.audit(): what is left out or masked; enabled: all their triggers are there and on; complete: every column that is named is still there (otherwise all but the key is masked)';

-- The catalog forgets tables that are dropped; otherwise it would keep oids that another table may get.
CREATE FUNCTION gemba._forget_dropped() RETURNS event_trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    gone oid[];
    compressed boolean;
    segments text;
    orphan record;
  BEGIN
    SELECT array_agg(objid), bool_or(object_type = 'foreign table') INTO gone, compressed
      FROM pg_event_trigger_dropped_objects()
     WHERE classid = 'pg_class'::regclass AND objsubid = 0 AND object_type IN ('table', 'foreign table');
    IF gone IS NULL THEN
      RETURN;
    END IF;
    DELETE FROM gemba.partition_sets WHERE parent::oid = ANY (gone);
    DELETE FROM gemba.compression_policies WHERE parent::oid = ANY (gone);
    -- Segments go with their partition, and late rows with their segments: in one statement, because this trigger
    -- notices it too.
    -- (Not at other drops: a restore makes segments first, and somebody else may drop a table meanwhile.)
    SELECT string_agg(format('gemba_history.%I', c.relname), ', ') INTO segments
      FROM pg_class c
     WHERE compressed AND c.relnamespace = 'gemba_history'::regnamespace AND c.relkind = 'r'
       AND NOT EXISTS (
         SELECT FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
          CROSS JOIN LATERAL pg_options_to_table(f.ftoptions) AS o
          WHERE s.srvname = 'gemba_history' AND o.option_name = 'segments'
            AND c.relname IN (o.option_value, o.option_value || '_late'));
    IF segments IS NOT NULL THEN
      EXECUTE 'DROP TABLE ' || segments;
    END IF;
    -- A rollup whose table is gone leaves triggers on its source.
    FOR orphan IN
      SELECT t.tgname, n.nspname, c.relname
        FROM gemba.rollup_definitions r
        JOIN pg_trigger t ON t.tgname ~ ('^gemba_rollup_' || r.id || '(_insert|_truncate)?$')
                         AND t.tgparentid = 0
        JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE r.rollup::oid = ANY (gone)
    LOOP
      EXECUTE format('DROP TRIGGER %I ON %I.%I', orphan.tgname, orphan.nspname, orphan.relname);
    END LOOP;
    WITH RECURSIVE lost AS (
      SELECT id FROM gemba.rollup_definitions WHERE rollup::oid = ANY (gone) OR source::oid = ANY (gone)
      UNION
      SELECT child.id FROM gemba.rollup_definitions child JOIN lost ON child.source_rollup = lost.id),
    forgotten AS (
      DELETE FROM gemba.rollup_definitions WHERE id IN (SELECT id FROM lost) RETURNING id),
    changes AS (DELETE FROM gemba.rollup_changes WHERE rollup_id IN (SELECT id FROM forgotten)),
    expired AS (DELETE FROM gemba.rollup_expired WHERE rollup_id IN (SELECT id FROM forgotten))
    DELETE FROM gemba.rollup_leaves WHERE rollup_id IN (SELECT id FROM forgotten);
  END
  $body$;
CREATE EVENT TRIGGER gemba_forget_dropped ON sql_drop EXECUTE FUNCTION gemba._forget_dropped();
COMMENT ON EVENT TRIGGER gemba_forget_dropped IS 'takes dropped tables out of gemba''s catalog';
