SELECT gemba.unaudit('sqp.settings'),
       gemba.unaudit('sqp.refresh_dependencies'),
       gemba.unaudit('sqp.refresh_quality_rules'),
       gemba.unaudit('sqp.watched_schemas');
