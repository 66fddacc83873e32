SELECT gemba.unmanage_partitions('cloudwatcher.audit_logs');
DROP TABLE cloudwatcher.audit_logs;
