DROP TABLE plant.machine_states;
