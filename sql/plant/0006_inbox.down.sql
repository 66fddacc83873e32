DROP TABLE plant.ingest_rejects;
DROP TABLE plant.live_inbox;
DROP TABLE plant.daily_inbox;
