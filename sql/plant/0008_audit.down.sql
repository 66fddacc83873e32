SELECT gemba.unaudit('plant.assets'),
       gemba.unaudit('plant.cost_centers'),
       gemba.unaudit('plant.shift_targets'),
       gemba.unaudit('plant.shifts'),
       gemba.unaudit('plant.settings'),
       gemba.unaudit('plant.safety_codes'),
       gemba.unaudit('plant.safety_events');
