SELECT gemba.unschedule('cloudwatcher: lost connections');
SELECT gemba.unschedule('cloudwatcher: old requests');
SELECT gemba.unschedule('cloudwatcher: approvals');
