SELECT gemba.unmanage_partitions('cloudwatcher.requests');
DROP TABLE cloudwatcher.request_archives, cloudwatcher.agent_decisions, cloudwatcher.cloud_file_refs, cloudwatcher.device_connections, cloudwatcher.response_metadata,
  cloudwatcher.responses, cloudwatcher.request_metadata, cloudwatcher.request_keys, cloudwatcher.requests, cloudwatcher.devices;
ALTER TABLE cloudwatcher.settings DROP COLUMN requests_kept;
