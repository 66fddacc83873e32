-- One active row for a function and a table. It goes forwards or stays; no row comes back when it would go
-- backwards.
INSERT INTO sqp.refresh_checkpoints AS k
       (function_name, table_schema, table_name, checkpoint_data, last_processed_row, total_rows, status,
        created_at, updated_at, expires_at)
VALUES ($1, $2, $3, $4::jsonb, $5, $6, 'active', $7, $7, $8)
ON CONFLICT (function_name, table_schema, table_name) WHERE status = 'active' DO UPDATE
   SET checkpoint_data = excluded.checkpoint_data,
       last_processed_row = coalesce(excluded.last_processed_row, k.last_processed_row),
       total_rows = CASE WHEN coalesce(excluded.total_rows, k.total_rows)
                              >= coalesce(excluded.last_processed_row, k.last_processed_row, 0)
                         THEN coalesce(excluded.total_rows, k.total_rows) ELSE excluded.total_rows END,
       updated_at = excluded.updated_at,
       expires_at = excluded.expires_at
 WHERE NOT coalesce(excluded.last_processed_row < k.last_processed_row, false)
RETURNING expires_at
