DROP TABLE cloudwatcher.data_access;
