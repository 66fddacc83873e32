SELECT count(*) || ' ' || coalesce(md5(string_agg(
         concat_ws('|', asset_id, extract(epoch FROM snapshot_timestamp)::bigint, current_output, target_output,
                   output_variance, status),
         E'\n' ORDER BY snapshot_timestamp, asset_id)), '')
  FROM {live_snapshots}
