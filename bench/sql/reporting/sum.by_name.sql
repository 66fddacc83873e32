SELECT {key} AS id, jsonb_strip_nulls(jsonb_build_object(
         'impressions', sum((m -> 'impressions')::numeric), 'clicks', sum((m -> 'clicks')::numeric),
         'purchases', sum((m -> 'purchases')::numeric), 'spend', sum((m -> 'spend')::numeric),
         'sales', sum((m -> 'sales')::numeric), 'units_sold', sum((m -> 'units_sold')::numeric),
         'add_to_cart', sum((m -> 'add_to_cart')::numeric), 'new_to_brand', sum((m -> 'new_to_brand')::numeric),
         'detail_page_views', sum((m -> 'detail_page_views')::numeric),
         'branded_searches', sum((m -> 'branded_searches')::numeric),
         'video_starts', sum((m -> 'video_starts')::numeric), 'video_completes', sum((m -> 'video_completes')::numeric),
         'viewable_impressions', sum((m -> 'viewable_impressions')::numeric),
         'invalid_clicks', sum((m -> 'invalid_clicks')::numeric), 'subscriptions', sum((m -> 'subscriptions')::numeric),
         'refunds', sum((m -> 'refunds')::numeric)))::text AS sums
  FROM {table} GROUP BY 1 ORDER BY 1
