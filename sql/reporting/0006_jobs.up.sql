-- What has to happen again and again.
SELECT gemba.schedule('reporting: abandoned weeks', '5 minutes', 'SELECT reporting.reap_weeks()', run_as => 'service_role');
