-- {objects} objects twice: in metrics_kinds the keys depend on the workflow, of which there are five kinds
-- with 8 to 12 keys each; in metrics_drawn each object has 8 to 12 of 16 keys that are drawn for it.
CREATE UNLOGGED TABLE metrics_all (workflow int, h bigint, m jsonb);
INSERT INTO metrics_all
SELECT n % 1000, h, jsonb_build_object(
         'impressions', (h & 65535) * 10, 'clicks', h % 1000, 'purchases', h % 50, 'spend', round((h % 100000) / 100.0, 2),
         'sales', round((h % 1000000) / 100.0, 2), 'units_sold', h % 70, 'add_to_cart', h % 300, 'new_to_brand', h % 20,
         'detail_page_views', h % 5000, 'branded_searches', h % 200, 'video_starts', h % 900, 'video_completes', h % 400,
         'viewable_impressions', h % 60000, 'invalid_clicks', h % 9, 'subscriptions', h % 5,
         'refunds', round(-(h % 3000) / 100.0, 2))
  FROM (SELECT n, hashint4(n)::bigint & 2147483647 AS h FROM generate_series(1, {objects}) AS n) AS x;

CREATE UNLOGGED TABLE metrics_kinds (workflow int, m jsonb);
INSERT INTO metrics_kinds
SELECT a.workflow, a.m - k.others
  FROM metrics_all AS a
  JOIN (SELECT kind, array_agg(key) AS others
          FROM (SELECT kind, key, row_number() OVER (PARTITION BY kind ORDER BY hashtextextended(key, kind)) AS place
                  FROM generate_series(0, 4) AS kind, (SELECT jsonb_object_keys(m) FROM metrics_all LIMIT 16) AS x (key)) AS y
         WHERE place > 8 + kind GROUP BY kind) AS k ON k.kind = a.workflow % 5;

CREATE UNLOGGED TABLE metrics_drawn (workflow int, m jsonb);
INSERT INTO metrics_drawn
SELECT a.workflow, (SELECT jsonb_object_agg(k.key, k.value)
                      FROM (SELECT e.key, e.value FROM jsonb_each(a.m) AS e
                             ORDER BY hashtextextended(e.key, a.h) LIMIT 8 + a.h % 5) AS k)
  FROM metrics_all AS a;
DROP TABLE metrics_all;
