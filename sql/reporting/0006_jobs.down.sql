SELECT gemba.unschedule('reporting: abandoned weeks');
