DROP TABLE plant.shift_targets;
DROP TABLE plant.shifts;
DROP TABLE plant.cost_centers;
DROP TABLE plant.assets;
DROP TABLE plant.settings;
