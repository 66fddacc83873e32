SELECT gemba.unaudit('telemetry.sensors'),
       gemba.unaudit('telemetry.subscriptions'),
       gemba.unaudit('telemetry.plausible_ranges');
