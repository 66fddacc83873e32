SELECT gemba.unschedule('cloudwatcher: approvals');
