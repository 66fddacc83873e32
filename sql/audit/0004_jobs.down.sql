SELECT gemba.unschedule('gemba: audit seals');
