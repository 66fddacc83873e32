-- Who changes what everything else goes by is kept.
SELECT gemba.audit('reporting.settings'),
       gemba.audit('reporting.amc_instances'),
       gemba.audit('reporting.workflows'),
       gemba.audit('reporting.metric_definitions'),
       gemba.audit('reporting.dashboard_shares'),
       gemba.audit('reporting.dashboard_sources');
