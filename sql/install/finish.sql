-- Grants and comments on what belongs to the extension. They stand here, where they run at every
-- CREATE EXTENSION, because a dump does not carry the grants that an extension makes on its own members.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA gemba, telemetry FROM PUBLIC;
-- Supabase and others give new objects away by default privileges.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA gemba, telemetry FROM anon, authenticated, service_role;
REVOKE ALL ON ALL TABLES IN SCHEMA gemba FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA gemba FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON SCHEMA gemba, gemba_archive, telemetry FROM PUBLIC, anon, authenticated, service_role;

-- Triggers run with the writer's rights, so whoever writes must be able to execute these; nobody can
-- name them, though, without USAGE on their schema.
REVOKE ALL ON SCHEMA gemba_internal FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
    gemba_internal.note_insert(timestamptz, int, int, int, bigint, text), gemba_internal.capture_rows(),
    gemba_internal.capture_truncate()
  TO PUBLIC;

-- Clients -----------------------------------------------------------------------------------------
GRANT USAGE ON SCHEMA telemetry TO authenticated, service_role;
-- Rollups and live views of anybody's tables call these with the rights of owner and reader. The first
-- two only calculate; the third asks whether the caller may read the rollup.
GRANT USAGE ON SCHEMA gemba TO PUBLIC;
GRANT EXECUTE ON FUNCTION gemba.bucket_start(interval, timestamptz, text),
    gemba.buckets(interval, timestamptz, timestamptz, text), gemba.pending_buckets(int)
  TO PUBLIC;
-- Policies call these as the reader; they say something about nobody but the caller.
GRANT EXECUTE ON FUNCTION telemetry.access_tier(), telemetry.sees_everything(), telemetry.sample_sensor_ids()
  TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION
    telemetry.latest_values(text[]),
    telemetry.series(text, timestamptz, timestamptz, interval, text, text),
    telemetry.totals(timestamptz, timestamptz, interval, text),
    telemetry.data_quality(timestamptz, timestamptz, text[])
  TO authenticated, service_role;

-- Operation: the application's own servers and jobs ------------------------------------------------
GRANT SELECT ON ALL TABLES IN SCHEMA gemba TO service_role;
GRANT EXECUTE ON FUNCTION
    gemba._leaves(oid, text), gemba.available_migrations(),
    gemba.maintain_partitions(), gemba.refresh_rollup(text), gemba.refresh_rollups(),
    telemetry.refresh(), telemetry.choose_sample(), telemetry.ensure_partitions(timestamptz, timestamptz),
    telemetry.upload_session(), telemetry.import_uploaded(text, int, text, text, text)
  TO service_role;
-- Reading the server's files is a right of its own.
GRANT USAGE ON SCHEMA telemetry TO pg_read_server_files;
GRANT EXECUTE ON FUNCTION telemetry.import_csv(text, int, text, text, text) TO pg_read_server_files;

-- What these return is short; planned for a thousand rows, a live view would look like a monster.
ALTER FUNCTION gemba.pending_buckets(int) ROWS 1;
ALTER FUNCTION gemba.buckets(interval, timestamptz, timestamptz, text) ROWS 100;

-- Comments ----------------------------------------------------------------------------------------
COMMENT ON FUNCTION gemba.deploy(text[]) IS 'brings the named modules (all, without arguments) and those they require to their latest version; safe to repeat';
COMMENT ON FUNCTION gemba.undeploy(text, boolean) IS 'takes a module''s tables away; refuses while they hold rows unless force is true';
COMMENT ON FUNCTION gemba.migrate(text, int) IS 'brings one module up or down to a version (NULL: the latest)';
COMMENT ON FUNCTION gemba.available_migrations() IS 'every migration that this version of the extension carries, with its checksum';
COMMENT ON FUNCTION gemba.manage_partitions(regclass, interval, int, interval, text, text, text[]) IS 'keeps a table''s partitions by time: step, number to make ahead, age at which they are retired (dropped, detached or archived), time zone of the boundaries, columns of the unique index of each partition';
COMMENT ON FUNCTION gemba.unmanage_partitions(regclass) IS 'stops keeping a table''s partitions; returns whether it was managed';
COMMENT ON FUNCTION gemba.ensure_partitions(regclass, timestamptz, timestamptz) IS 'makes the partitions that are missing for the half-open range of times';
COMMENT ON FUNCTION gemba.maintain_partitions() IS 'makes partitions ahead and retires expired ones, for all managed tables; one row for each thing done, deferred or failed';
COMMENT ON FUNCTION gemba.create_rollup(text, regclass, text, interval, text[], jsonb, text) IS 'makes a table of aggregates by time bucket and group that refreshes keep exact; measures are structured, never SQL';
COMMENT ON FUNCTION gemba.drop_rollup(text) IS 'drops a rollup, its live view and its triggers';
COMMENT ON FUNCTION gemba.unfreeze_rollup(text, timestamptz, timestamptz) IS 'says that the source rows of a range are all there again (re-attached, reloaded): the next refresh computes it from them; returns the number of frozen ranges freed';
COMMENT ON FUNCTION gemba.refresh_rollup(text) IS 'recomputes the buckets of one rollup that changed, those of its source rollups first';
COMMENT ON FUNCTION gemba.refresh_rollups() IS 'the same for every rollup; one that fails is reported and does not stop the others';
COMMENT ON FUNCTION gemba.pending_buckets(int) IS 'ranges of buckets that changed since a rollup was refreshed; the live views compute them from the source';
COMMENT ON FUNCTION gemba.bucket_start(interval, timestamptz, text) IS 'start of the time bucket that an instant lies in, on the calendar of a time zone';
COMMENT ON FUNCTION gemba.buckets(interval, timestamptz, timestamptz, text) IS 'starts of all buckets that touch the half-open range of times';
COMMENT ON FUNCTION telemetry.access_tier() IS 'the caller''s best valid subscription: professional, free, or NULL';
COMMENT ON FUNCTION telemetry.sees_everything() IS 'does the caller hold a professional subscription?';
COMMENT ON FUNCTION telemetry.sample_sensor_ids() IS 'the sensors of the free sample; none without a valid subscription';
COMMENT ON FUNCTION telemetry.upload_session() IS 'the name of this session, by which lines sent to telemetry.import_lines belong together';
COMMENT ON FUNCTION telemetry.latest_values(text[]) IS 'the newest reading of each sensor (or of those named) that the caller may see';
COMMENT ON FUNCTION telemetry.series(text, timestamptz, timestamptz, interval, text, text) IS 'one sensor by time bucket; fill is none (only buckets with readings), null (gaps as NULL) or previous (carried forward, also from before the range)';
COMMENT ON FUNCTION telemetry.totals(timestamptz, timestamptz, interval, text) IS 'by time bucket, floor, equipment type and unit: the sum of the sensors'' averages, their extremes and the number of readings';
COMMENT ON FUNCTION telemetry.data_quality(timestamptz, timestamptz, text[]) IS 'by sensor and day of the site: readings expected, held, missing, and suspect';
COMMENT ON FUNCTION telemetry.import_csv(text, int, text, text, text) IS 'imports a wide CSV file of the server, a folder of them, or a pattern: one row for each file; all or nothing';
COMMENT ON FUNCTION telemetry.import_uploaded(text, int, text, text, text) IS 'imports the lines that this session has sent to telemetry.import_lines as one file of this name';
COMMENT ON FUNCTION telemetry.refresh() IS 'brings hours and days up to date, registers sensors that are new, keeps the free sample at a tenth';
COMMENT ON FUNCTION telemetry.choose_sample() IS 'keeps the free sample at a tenth of all readings by whole sensors; returns its share';
COMMENT ON FUNCTION telemetry.ensure_partitions(timestamptz, timestamptz) IS 'makes the months of telemetry.sensor_readings that are missing for a range; returns how many';
COMMENT ON FUNCTION gemba_internal.note_insert(timestamptz, int, int, int, bigint, text) IS 'condition of a rollup''s insert trigger: remembers the row''s bucket, and says no';
COMMENT ON FUNCTION gemba_internal.capture_rows() IS 'trigger: remembers the buckets of updated and deleted rows';
COMMENT ON FUNCTION gemba_internal.capture_truncate() IS 'trigger: remembers what a TRUNCATE emptied';

-- A dump that is being restored brings the tables itself; otherwise they are made now.
SELECT gemba._install();
