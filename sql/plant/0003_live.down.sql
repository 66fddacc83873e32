SELECT gemba.drop_rollup('plant.live_hourly');
SELECT gemba.unmanage_partitions('plant.live_snapshots');
DROP TABLE plant.live_snapshots;
-- Days that were detached or archived stay, without their reference to machines that are about to go.
DO $$
DECLARE
  day regclass;
BEGIN
  FOR day IN
    SELECT conrelid FROM pg_catalog.pg_constraint
     WHERE contype = 'f' AND confrelid = 'plant.assets'::pg_catalog.regclass AND conname = 'live_snapshots_asset_id_fkey'
  LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT live_snapshots_asset_id_fkey', day);
  END LOOP;
END $$;
