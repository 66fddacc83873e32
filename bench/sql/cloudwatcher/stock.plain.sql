-- The least that can be kept of it.
CREATE TABLE stock (part int PRIMARY KEY, on_hand int NOT NULL, reserved int NOT NULL DEFAULT 0, CHECK (reserved <= on_hand));
CREATE TABLE reservations (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), part int NOT NULL REFERENCES stock, quantity int NOT NULL,
  open int NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO stock (part, on_hand) SELECT n, 1000000 FROM generate_series(1, {parts}) AS n;
