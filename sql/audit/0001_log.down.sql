-- What is audited could not be written to any more.
SELECT gemba.unaudit(target) FROM gemba.audited_tables;
SELECT gemba.unmanage_partitions('cloudwatcher.audit_logs');
DROP TABLE cloudwatcher.audit_logs;
