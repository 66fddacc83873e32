-- A bare queue, as one would write it in two statements: what is done leaves the index.
CREATE TABLE queue (
  id        bigint PRIMARY KEY,
  priority  int NOT NULL,
  run_at    timestamptz NOT NULL,
  status    text NOT NULL,
  worker    text,
  last_run  timestamptz
) WITH (fillfactor = 50);
CREATE INDEX queue_ready_idx ON queue (priority DESC, run_at, id) WHERE status = 'ready';
INSERT INTO queue (id, priority, run_at, status)
SELECT n, CASE WHEN n <= {tables} / 2 THEN 90 ELSE 70 END, now(), 'done' FROM generate_series(1, {tables}) AS n;
