-- What has to happen again and again. The hours and days are the engine's rollups, which have a job already.
SELECT gemba.schedule('telemetry: sensors', '*/15 * * * *', 'SELECT * FROM telemetry.refresh()', run_as => 'service_role');
