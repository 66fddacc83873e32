-- What has to happen again and again.
SELECT gemba.schedule('gemba: audit seals', '5 minutes', 'SELECT * FROM gemba.seal_audit()', run_as => 'service_role', timeout => '6 hours');
SELECT gemba.schedule('gemba: access', '1 minute', 'SELECT gemba.collect_access()', run_as => 'service_role');
