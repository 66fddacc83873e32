-- Old requests are put away by the month, with what hangs on them. Orders and decisions stay.

-- A month of requests that is kept no longer goes where its partition goes, gemba_archive: what hangs on its requests
-- into tables named after it. All of that in one sub-transaction for each month: done, or not begun.
CREATE FUNCTION cloudwatcher.archive_requests()
  RETURNS TABLE (partition text, archived text, action text, rows bigint, detail text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    month record;
    tables text[];
    counts bigint[];
    told text;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.requests');
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('requests cannot be archived');
    END IF;
    FOR month IN
      SELECT l.leaf, c.relname AS name
        FROM gemba._leaves('cloudwatcher.requests'::regclass, 'UTC') AS l
        JOIN pg_class c ON c.oid = l.leaf
       WHERE l.to_time <= now() - (SELECT s.requests_kept FROM cloudwatcher.settings s)
       ORDER BY l.from_time
    LOOP
      partition := month.name;
      BEGIN
        SELECT array_agg(m.archived), array_agg(m.rows) INTO tables, counts FROM cloudwatcher._archive_month(month.leaf) AS m;
      EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
        GET STACKED DIAGNOSTICS told = PG_EXCEPTION_DETAIL;
        archived := NULL;
        action := 'deferred';
        rows := NULL;
        detail := SQLERRM || coalesce(': ' || nullif(told, ''), '');
        RETURN NEXT;
        -- The next months would wait for the same.
        RETURN;
      END;
      FOR n IN 1 .. cardinality(tables) LOOP
        archived := tables[n];
        action := 'archived';
        rows := counts[n];
        detail := NULL;
        RETURN NEXT;
      END LOOP;
    END LOOP;
  END
  $body$;

CREATE FUNCTION cloudwatcher._archive_month(leaf oid) RETURNS TABLE (archived text, rows bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    old regclass := leaf::regclass;
    stem text := (SELECT c.relname FROM pg_class c WHERE c.oid = leaf);
    -- What goes, by its ids; what hangs on something else before that.
    kinds text[] := ARRAY['request_metadata', 'response_metadata', 'cloud_file_refs', 'responses'];
    finds text[] := ARRAY[
      'SELECT m.id FROM cloudwatcher.request_metadata m JOIN %1$s r ON r.id = m.request_id',
      'SELECT m.id FROM cloudwatcher.response_metadata m JOIN cloudwatcher.responses p ON p.id = m.response_id JOIN %1$s r ON r.id = p.request_id',
      'SELECT f.id FROM cloudwatcher.cloud_file_refs f JOIN %1$s r ON r.id = f.request_id UNION ALL '
      'SELECT f.id FROM cloudwatcher.cloud_file_refs f JOIN cloudwatcher.responses p ON p.id = f.response_id JOIN %1$s r ON r.id = p.request_id',
      'SELECT p.id FROM cloudwatcher.responses p JOIN %1$s r ON r.id = p.request_id'];
    number int := 0;
    suffix text := '';
    target text;
    done text;
  BEGIN
    -- From here on nobody else changes what is old, and those who did are done.
    LOCK TABLE cloudwatcher.request_archives IN EXCLUSIVE MODE NOWAIT;
    -- What was not answered by now never will be.
    EXECUTE format(
      'UPDATE %s r SET status = ''processing'', claimed_by = ''archive'', lease_expires_at = now(), next_attempt_at = NULL
        WHERE r.status = ''pending''', old);
    EXECUTE format(
      'UPDATE %s r SET status = ''failed'', lease_expires_at = NULL, error_message = ''expired'' WHERE r.status = ''processing''', old);
    EXECUTE format(
      'UPDATE cloudwatcher.responses p SET status = ''failed'' FROM %s r WHERE p.request_id = r.id AND p.status = ''processing''', old);
    WHILE EXISTS (
      SELECT FROM pg_class c JOIN unnest(kinds) AS k ON c.relname = format('%s_%s%s', stem, k, suffix)
       WHERE c.relnamespace = 'gemba_archive'::regnamespace)
    LOOP
      number := number + 1;
      suffix := format('_%s', number);
    END LOOP;
    FOR n IN 1 .. cardinality(kinds) LOOP
      target := format('gemba_archive.%I', format('%s_%s%s', stem, kinds[n], suffix));
      EXECUTE format('CREATE TABLE %s (LIKE cloudwatcher.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', target, kinds[n]);
      PERFORM cloudwatcher._seal_archive(target::regclass);
      EXECUTE format(
        'WITH gone AS (DELETE FROM cloudwatcher.%I c WHERE c.id IN (%s) RETURNING c.*) INSERT INTO %s SELECT * FROM gone',
        kinds[n], format(finds[n], old), target);
      GET DIAGNOSTICS rows = ROW_COUNT;
      EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (id)', target);
      archived := target;
      RETURN NEXT;
    END LOOP;
    EXECUTE format('DELETE FROM cloudwatcher.request_keys k USING %s r WHERE k.request_id = r.id', old);
    EXECUTE format('SELECT count(*) FROM %s', old) INTO rows;
    INSERT INTO cloudwatcher.request_archives AS a (partition, requests) VALUES (stem, rows)
    ON CONFLICT (partition) DO UPDATE SET requests = a.requests + excluded.requests, archived_at = excluded.archived_at;
    done := cloudwatcher._retire_requests(leaf);
    archived := old::text;
    RETURN NEXT;
  END
  $body$;

-- Nobody but its owner reads what is put away, whatever default privileges say.
CREATE FUNCTION cloudwatcher._seal_archive(archive regclass) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    grantee text;
  BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', archive);
    FOR grantee IN
      SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_class c, aclexplode(c.relacl) AS a WHERE c.oid = archive AND a.grantee <> c.relowner
    LOOP
      EXECUTE format('REVOKE ALL ON %s FROM %s', archive, grantee);
    END LOOP;
  END
  $body$;
