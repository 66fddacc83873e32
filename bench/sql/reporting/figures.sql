-- {workflows} workflows of one user, each on two accounts: three years of weeks, and months and quarters of them.
INSERT INTO auth.users (id, email) VALUES
  ('00000000-0000-4000-8000-00000000000a', 'owner@example.org'), ('00000000-0000-4000-8000-00000000000b', 'viewer@example.org');
INSERT INTO reporting.amc_instances (id, instance_id, instance_name)
SELECT ('10000000-0000-4000-8000-00000000000' || n)::uuid, 'amc-' || n, 'account ' || n FROM generate_series(1, 2) AS n;
INSERT INTO reporting.workflows (id, name, user_id)
SELECT ('20000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'workflow ' || n, '00000000-0000-4000-8000-00000000000a'
  FROM generate_series(1, {workflows}) AS n;

INSERT INTO reporting.report_data_aggregates
       (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics, dimensions, row_count)
SELECT w.id, i.id, 'weekly', d.day || '_' || d.day + 6, d.day,
       jsonb_build_object(
         'impressions', (h & 65535) * 10, 'clicks', h % 1000, 'purchases', h % 50, 'spend', round((h % 100000) / 100.0, 2),
         'sales', round((h % 1000000) / 100.0, 2), 'units_sold', h % 70, 'add_to_cart', h % 300, 'new_to_brand', h % 20,
         'detail_page_views', h % 5000, 'branded_searches', h % 200),
       '{"country": ["JP", "DE"]}', 100
  FROM reporting.workflows w CROSS JOIN reporting.amc_instances i
 CROSS JOIN (SELECT n, date '2023-01-02' + 7 * n FROM generate_series(0, 155) AS n) AS d (n, day)
 CROSS JOIN LATERAL (SELECT hashtextextended(w.id::text || i.id, d.n) & 2147483647) AS x (h);

INSERT INTO reporting.report_data_aggregates
       (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics, dimensions, row_count)
SELECT a.workflow_id, a.instance_id, p.type, p.key, p.first, reporting.metrics_sum(a.metrics), '{"country": ["JP", "DE"]}', 400
  FROM reporting.report_data_aggregates a
 CROSS JOIN LATERAL (VALUES ('monthly', to_char(a.data_date, 'YYYY-MM'), date_trunc('month', a.data_date)::date),
                            ('quarterly', to_char(a.data_date, 'YYYY-"Q"Q'), date_trunc('quarter', a.data_date)::date)) AS p (type, key, first)
 GROUP BY 1, 2, 3, 4, 5;
