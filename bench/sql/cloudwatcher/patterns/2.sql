SELECT i.*, p.name 
FROM inventory i
JOIN parts p ON i.part_id = p.id
WHERE i.location_id = $1 
  AND i.quantity_available <= i.reorder_point
ORDER BY i.quantity_available;
