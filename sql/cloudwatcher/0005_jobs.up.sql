SELECT gemba.schedule('cloudwatcher: approvals', '5 minutes', 'SELECT * FROM cloudwatcher.escalate_approvals()', run_as => 'service_role');
