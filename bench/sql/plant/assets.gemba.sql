-- Machines with their costs, speeds and targets for each of the three shifts; see plant/machines.rs.
INSERT INTO plant.assets (id, name, source_id, area, planned_minutes, ideal_rate)
  SELECT md5('machine ' || n)::uuid, 'Machine ' || n, 'M' || n, 'Area ' || n % 10, 480, 60 + n % 40
    FROM generate_series(0, {assets} - 1) AS n;
INSERT INTO plant.cost_centers (asset_id, standard_hourly_rate, cost_per_unit)
  SELECT md5('machine ' || n)::uuid, 100 + n % 5 * 10, 10 + n % 3
    FROM generate_series(0, {assets} - 1) AS n;
INSERT INTO plant.shift_targets (asset_id, shift, target_output)
  SELECT md5('machine ' || n)::uuid, s.name, 300 + (n * 7 + s.number * 13) % 200
    FROM generate_series(0, {assets} - 1) AS n
   CROSS JOIN (VALUES ('Day', 0), ('Swing', 1), ('Night', 2)) AS s (name, number);
ANALYZE plant.assets, plant.cost_centers, plant.shift_targets;
