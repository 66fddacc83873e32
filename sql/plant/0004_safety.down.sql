DROP TABLE plant.safety_event_log;
DROP TABLE plant.safety_events;
DROP TABLE plant.safety_codes;
