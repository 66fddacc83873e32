DROP TABLE cloudwatcher.audit_seals;
