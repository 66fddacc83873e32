-- What the engine needs again and again. Ordinary jobs: they can be changed, switched off and removed.
SELECT gemba.schedule('gemba: partitions', '*/10 * * * *', 'SELECT * FROM gemba.maintain_partitions()', run_as => 'service_role'),
       gemba.schedule('gemba: rollups', '1 minute', 'SELECT * FROM gemba.refresh_rollups()', run_as => 'service_role'),
       gemba.schedule('gemba: job history', '17 3 * * *', 'SELECT gemba.expire_job_runs()', run_as => 'service_role')
