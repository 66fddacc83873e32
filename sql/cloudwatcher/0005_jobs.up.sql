-- What has to happen again and again.
SELECT gemba.schedule('cloudwatcher: lost connections', '1 minute', 'SELECT cloudwatcher.close_lost_connections()', run_as => 'service_role');
SELECT gemba.schedule('cloudwatcher: old requests', '17 3 * * *', 'SELECT * FROM cloudwatcher.archive_requests()',
  run_as => 'service_role', timeout => '3 hours');
SELECT gemba.schedule('cloudwatcher: approvals', '5 minutes', 'SELECT * FROM cloudwatcher.escalate_approvals()', run_as => 'service_role');
