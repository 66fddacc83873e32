SELECT gemba.unschedule('plant: daily inbox');
SELECT gemba.unschedule('plant: live inbox');
