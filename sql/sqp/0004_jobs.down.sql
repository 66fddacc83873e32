SELECT gemba.unschedule('sqp: refreshes');
SELECT gemba.unschedule('sqp: expired runs');
SELECT gemba.unschedule('sqp: expired checkpoints');
SELECT gemba.unschedule('sqp: old quality');
