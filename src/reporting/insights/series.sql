-- The sums by period, oldest first: the last $10 periods, or where that is NULL those from $11 on; and $12 before them, which
-- are not shown. $9 is the factor of a ratio. The value is NULL where one of those that have figures here is missing.
, known AS (
  SELECT f.* FROM figures AS f WHERE f.metric IS NOT NULL
), periods AS (
  SELECT k.data_date, min(k.aggregation_key) AS aggregation_key, count(*) AS sources,
         sum(k.metric) AS metric, sum(k.denominator) AS denominator
    FROM known AS k GROUP BY k.data_date
), numbered AS (
  SELECT p.*, row_number() OVER (ORDER BY p.data_date DESC) AS number,
         count(*) FILTER (WHERE p.data_date >= $11) OVER () AS asked_for
    FROM periods AS p
), chosen AS (
  SELECT n.*, n.number <= coalesce($10, n.asked_for) AS shown
    FROM numbered AS n WHERE n.number <= coalesce($10, n.asked_for) + $12
), everybody AS (
  SELECT count(DISTINCT (k.workflow_id, k.instance_id)) AS sources
    FROM known AS k WHERE k.data_date >= (SELECT min(c.data_date) FROM chosen AS c)
)
SELECT c.data_date - DATE '2000-01-03',
       CASE $2 WHEN 'weekly' THEN (c.data_date - DATE '2000-01-03')::float8 / 7
               ELSE (extract(year FROM c.data_date) * 12 + extract(month FROM c.data_date) - 1)::float8
                    / CASE $2 WHEN 'monthly' THEN 1 ELSE 3 END END,
       c.aggregation_key, c.shown,
       CASE WHEN c.sources < e.sources THEN NULL
            WHEN $5 IS NULL THEN c.metric
            ELSE round($9::numeric * c.metric / nullif(c.denominator, 0), 6) END::text
  FROM chosen AS c CROSS JOIN everybody AS e
 ORDER BY c.data_date
