-- What has to happen again and again.
SELECT gemba.schedule('sqp: refreshes', '10 seconds', 'CALL sqp.refresh_all_due()', run_as => 'service_role', timeout => '6 hours');
SELECT gemba.schedule('sqp: expired runs', '30 seconds', 'SELECT * FROM sqp.reap_expired_runs()', run_as => 'service_role');
SELECT gemba.schedule('sqp: expired checkpoints', '5 minutes', 'SELECT sqp.expire_checkpoints()', run_as => 'service_role');
-- As long as the audit log keeps its partitions in place.
SELECT gemba.schedule('sqp: old quality', '47 3 * * *',
  $$DELETE FROM sqp.refresh_data_quality WHERE created_at < pg_catalog.now() - interval '24 months'$$, run_as => 'service_role');
