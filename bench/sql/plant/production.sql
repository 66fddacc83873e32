-- Rows to aggregate, the same in every run: shifts of 480 and 720 minutes and a few that were not planned,
-- downtime to the hundredth, cycles to the thousandth, and every fifth row faster than ideal.
CREATE UNLOGGED TABLE production (
  asset_id             int NOT NULL,
  planned_minutes      numeric(8,2) NOT NULL,
  downtime_minutes     numeric(8,2) NOT NULL,
  ideal_cycle_seconds  numeric(8,3) NOT NULL,
  total_count          bigint NOT NULL,
  good_count           bigint NOT NULL
);
SELECT setseed(0.5);
INSERT INTO production
SELECT asset_id, planned, down, cycle, total, total - floor(total * waste * waste * 0.1)::bigint
  FROM (SELECT asset_id, planned, down, cycle, waste,
               floor((planned - down) * 60 / cycle * (0.6 + 0.5 * speed)::numeric)::bigint AS total
          FROM (SELECT asset_id, planned, round(planned * (stop * stop * 0.4)::numeric, 2) AS down, cycle, speed, waste
                  FROM (SELECT n % {assets} + 1 AS asset_id, (0.5 + n % {assets} * 0.0371)::numeric(8,3) AS cycle,
                               CASE WHEN kind < 0.8 THEN 480.00 WHEN kind < 0.99 THEN 720.00 ELSE 0.00 END AS planned,
                               stop, speed, waste
                          FROM (SELECT n, random() AS kind, random() AS stop, random() AS speed, random() AS waste
                                  FROM generate_series(1, {rows}) AS n) AS numbers) AS shifts) AS stops) AS made;
CREATE UNLOGGED TABLE production_tenth AS SELECT * FROM production LIMIT {rows} / 10;
