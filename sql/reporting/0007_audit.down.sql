SELECT gemba.unaudit('reporting.settings'),
       gemba.unaudit('reporting.amc_instances'),
       gemba.unaudit('reporting.workflows'),
       gemba.unaudit('reporting.metric_definitions'),
       gemba.unaudit('reporting.dashboard_shares'),
       gemba.unaudit('reporting.dashboard_sources');
