CREATE SCHEMA audit_test;
CREATE SEQUENCE audit_test.ids;
CREATE FUNCTION audit_test.note(target regclass, operation text, record text, was jsonb, is_now jsonb) RETURNS void
  LANGUAGE sql SECURITY DEFINER AS $$
    INSERT INTO cloudwatcher.audit_logs (id, table_name, operation, record_id, role_name, old_values, new_values,
                                         transaction_id, system_id, statement_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(nextval('audit_test.ids')), 12, '0'))::uuid, format('%I.%I', n.nspname, c.relname),
           operation, record, session_user, was, is_now, pg_current_xact_id()::text::bigint,
           (SELECT system_identifier FROM pg_control_system()), statement_timestamp()
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target $$;

-- Arguments: columns to leave out, columns to mask, whether whole rows are logged.
CREATE FUNCTION audit_test.capture() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
  DECLARE
    was jsonb := to_jsonb(OLD);
    is_now jsonb := to_jsonb(NEW);
    key name[] := (SELECT array_agg(a.attname ORDER BY array_position(i.indkey::int2[], a.attnum)) FROM pg_index i
                     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                    WHERE i.indrelid = TG_RELID AND i.indisprimary);
    record text := (SELECT CASE WHEN count(*) = 1 THEN min(coalesce(is_now, was) ->> k)
                                ELSE jsonb_agg(coalesce(is_now, was) ->> k ORDER BY place)::text END
                      FROM unnest(key) WITH ORDINALITY AS u (k, place));
    root regclass := coalesce(pg_partition_root(TG_RELID), TG_RELID);
  BEGIN
    IF TG_OP = 'TRUNCATE' THEN
      PERFORM audit_test.note(root, TG_OP, NULL, NULL, NULL);
      RETURN NULL;
    END IF;
    was := was - TG_ARGV[0]::text[];
    is_now := is_now - TG_ARGV[0]::text[];
    IF TG_OP = 'UPDATE' AND NOT TG_ARGV[2]::boolean THEN
      SELECT jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, is_now -> o.key) INTO was, is_now
        FROM jsonb_each(was) AS o WHERE o.value IS DISTINCT FROM is_now -> o.key;
      IF was IS NULL THEN
        RETURN NULL;
      END IF;
    END IF;
    SELECT was || coalesce(jsonb_object_agg(m, '***') FILTER (WHERE was ->> m IS NOT NULL), '{}'),
           is_now || coalesce(jsonb_object_agg(m, '***') FILTER (WHERE is_now ->> m IS NOT NULL), '{}')
      INTO was, is_now FROM unnest(TG_ARGV[1]::text[]) AS m;
    PERFORM audit_test.note(root, TG_OP, record, was, is_now);
    RETURN NULL;
  END $$;

CREATE FUNCTION audit_test.unwatch(target regclass) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    EXECUTE format('DROP TRIGGER watch ON %s; DROP TRIGGER watch_truncate ON %1$s', target);
    PERFORM audit_test.note(target, 'UNAUDIT', NULL, NULL, NULL);
  END $$;
CREATE FUNCTION audit_test.watch(target regclass, exclude text[] DEFAULT '{}', mask text[] DEFAULT '{}', full_rows boolean DEFAULT false)
  RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION audit_test.capture(%L, %L, %L)',
                   target, exclude, mask, full_rows);
    EXECUTE format('CREATE OR REPLACE TRIGGER watch_truncate AFTER TRUNCATE ON %s EXECUTE FUNCTION audit_test.capture()', target);
    PERFORM audit_test.note(target, 'AUDIT', NULL, NULL, jsonb_build_object('exclude', exclude, 'mask', mask, 'full_rows', full_rows));
  END $$;
