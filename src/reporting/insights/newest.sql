-- The newest period that has the metric, and the first day of the one that is $9 periods before it.
SELECT f.data_date,
       CASE $2 WHEN 'weekly' THEN f.data_date - 7 * $9 - 6
               ELSE (f.data_date - $9 * CASE $2 WHEN 'monthly' THEN interval '1 month' ELSE interval '3 months' END)::date END
  FROM figures AS f
 WHERE f.metric IS NOT NULL
 ORDER BY f.data_date DESC
 LIMIT 1
