SELECT gemba.unschedule('telemetry: sensors');
