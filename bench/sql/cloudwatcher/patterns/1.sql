SELECT * FROM requests 
WHERE device_id = $1 AND status = 'pending'
ORDER BY created_at DESC;
