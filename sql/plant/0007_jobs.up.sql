-- What clients left in the inboxes by COPY or INSERT.
SELECT gemba.schedule('plant: daily inbox', '1 minute', 'SELECT * FROM plant.process_daily()', run_as => 'service_role');
SELECT gemba.schedule('plant: live inbox', '30 seconds', 'SELECT * FROM plant.process_live()', run_as => 'service_role');
