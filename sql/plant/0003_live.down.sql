SELECT gemba.drop_rollup('plant.live_hourly');
SELECT gemba.unmanage_partitions('plant.live_snapshots');
DROP TABLE plant.live_snapshots;
