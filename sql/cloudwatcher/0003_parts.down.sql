DROP VIEW cloudwatcher.stock_levels;
DROP TABLE cloudwatcher.part_consumption, cloudwatcher.stock_movements, cloudwatcher.stock_reservations, cloudwatcher.inventory,
  cloudwatcher.part_suppliers, cloudwatcher.suppliers, cloudwatcher.part_variants, cloudwatcher.parts, cloudwatcher.locations;
