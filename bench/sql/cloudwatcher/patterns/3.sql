SELECT ps.*, s.name, s.lead_time_days
FROM part_suppliers ps
JOIN suppliers s ON ps.supplier_id = s.id
WHERE ps.part_id = $1 
  AND ps.variant_id = $2
  AND s.is_active = true
ORDER BY ps.is_preferred DESC, ps.supplier_cost ASC;
