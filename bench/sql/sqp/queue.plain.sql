-- A bare queue of what has to happen again and again, as one would write it in two statements.
CREATE TABLE queue (
  id        bigint PRIMARY KEY,
  priority  int NOT NULL,
  run_at    timestamptz NOT NULL,
  worker    text,
  last_run  timestamptz
) WITH (fillfactor = 50);
CREATE INDEX queue_due_idx ON queue (priority DESC, run_at, id);
INSERT INTO queue (id, priority, run_at)
SELECT n, CASE WHEN n <= {tables} / 2 THEN 90 ELSE 70 END, now() + interval '1 day' FROM generate_series(1, {tables}) AS n;
