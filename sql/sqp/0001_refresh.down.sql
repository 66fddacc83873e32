-- Archived months keep what they hold; only what ties them to the tables that go is taken off.
DO $$
DECLARE
  tie record;
BEGIN
  FOR tie IN SELECT c.conname, c.conrelid::pg_catalog.regclass AS archived FROM pg_catalog.pg_constraint AS c
              WHERE c.contype = 'f' AND c.confrelid = 'sqp.refresh_config'::pg_catalog.regclass
                AND (SELECT r.relnamespace FROM pg_catalog.pg_class AS r WHERE r.oid = c.conrelid)
                    = 'gemba_archive'::pg_catalog.regnamespace
  LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', tie.archived, tie.conname);
  END LOOP;
END $$;
DROP VIEW sqp.staleness;
DROP TABLE sqp.refresh_checkpoints;
DROP TABLE sqp.refresh_quality_rules;
DROP TABLE sqp.refresh_data_quality;
DROP TABLE sqp.refresh_dependencies;
DROP TABLE sqp.refresh_audit_log;
DROP SEQUENCE sqp.refresh_audit_log_id_seq CASCADE;
DROP TABLE sqp.refresh_config;
DROP TABLE sqp.watched_schemas;
DROP TABLE sqp.settings;
