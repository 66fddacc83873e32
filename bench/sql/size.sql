-- Bytes of a table with all its partitions or chunks: the rows, and everything.
WITH RECURSIVE tree AS (
  SELECT $1::text::regclass::oid AS relid
  UNION ALL
  SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.relid)
SELECT sum(pg_table_size(relid))::bigint, sum(pg_total_relation_size(relid))::bigint FROM tree
