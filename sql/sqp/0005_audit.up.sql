-- Who changes what everything else goes by is kept.
SELECT gemba.audit('sqp.settings'),
       gemba.audit('sqp.refresh_dependencies'),
       gemba.audit('sqp.refresh_quality_rules'),
       gemba.audit('sqp.watched_schemas');
