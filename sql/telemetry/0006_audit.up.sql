-- Who changes what everything else goes by is kept.
SELECT gemba.audit('telemetry.sensors', 'in_sample'),
       gemba.audit('telemetry.subscriptions'),
       gemba.audit('telemetry.plausible_ranges');
