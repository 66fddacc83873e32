SELECT count(*) || ' ' || coalesce(md5(string_agg(
         concat_ws('|', asset_id, report_date, oee_percentage, actual_output, target_output, downtime_minutes,
                   waste_count, financial_loss_dollars),
         E'\n' ORDER BY report_date, asset_id)), '')
  FROM {daily_summaries}
