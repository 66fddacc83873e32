-- Grants and comments on what belongs to the extension. They stand here, where they run at every
-- CREATE EXTENSION, because a dump does not carry the grants that an extension makes on its own members.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA gemba, telemetry FROM PUBLIC;
-- Supabase and others give new objects away by default privileges.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA gemba, telemetry FROM anon, authenticated, service_role;
REVOKE ALL ON ALL TABLES IN SCHEMA gemba FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA gemba FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON SCHEMA gemba, gemba_archive, telemetry FROM PUBLIC, anon, authenticated, service_role;

-- Clients -----------------------------------------------------------------------------------------
GRANT USAGE ON SCHEMA telemetry TO authenticated, service_role;
-- Live views run with the reader's rights and ask which buckets are not refreshed yet.
GRANT USAGE ON SCHEMA gemba TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION gemba.pending_buckets(int) TO authenticated, service_role;
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
    gemba.maintain_partitions(), gemba.ensure_partitions(regclass, timestamptz, timestamptz),
    gemba.refresh_rollup(text), gemba.refresh_rollups()
  TO service_role;

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
COMMENT ON FUNCTION gemba.refresh_rollup(text) IS 'recomputes the buckets of one rollup that changed, those of its source rollups first';
COMMENT ON FUNCTION gemba.refresh_rollups() IS 'the same for every rollup; one that fails is reported and keeps the others from nothing';
COMMENT ON FUNCTION gemba.pending_buckets(int) IS 'ranges of buckets that changed since a rollup was refreshed; the live views compute them from the source';

-- A dump that is being restored brings the tables itself; otherwise they are made now.
SELECT gemba._install();
