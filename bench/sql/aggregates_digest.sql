-- One line that is the same on every side when both aggregates are.
SELECT (SELECT count(*) || ' hours, ' || coalesce(md5(string_agg(
          concat_ws(' ', sensor_id, extract(epoch FROM bucket)::bigint, reading_count, min_value, max_value,
                    round(avg_value, 6)),
          E'\n' ORDER BY sensor_id COLLATE "C", bucket)), '') FROM {hourly})
    || ', ' ||
       (SELECT count(*) || ' days, ' || coalesce(md5(string_agg(
          concat_ws(' ', sensor_id, extract(epoch FROM bucket)::bigint, reading_count, min_value, max_value,
                    round(avg_value, 6)),
          E'\n' ORDER BY sensor_id COLLATE "C", bucket)), '') FROM {daily})
