-- What has to happen again and again.
SELECT gemba.schedule('sqp: refreshes', '10 seconds', 'CALL sqp.refresh_all_due()', run_as => 'service_role', timeout => '6 hours');
SELECT gemba.schedule('sqp: expired runs', '30 seconds', 'SELECT * FROM sqp.reap_expired_runs()', run_as => 'service_role');
SELECT gemba.schedule('sqp: expired checkpoints', '5 minutes', 'SELECT sqp.expire_checkpoints()', run_as => 'service_role');
