-- Who changes what everything else goes by is kept.
SELECT gemba.audit('plant.assets'),
       gemba.audit('plant.cost_centers'),
       gemba.audit('plant.shift_targets'),
       gemba.audit('plant.shifts'),
       gemba.audit('plant.settings'),
       gemba.audit('plant.safety_codes'),
       gemba.audit('plant.safety_events');
