SELECT gemba.unschedule('gemba: audit seals');
SELECT gemba.unschedule('gemba: access');
