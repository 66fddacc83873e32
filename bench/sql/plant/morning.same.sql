-- Of plant.morning_report() what the seed's tables can say too.
SELECT name, area, oee, oee_gap, band, actual_output, target_output, output_variance, output_variance_percentage,
       downtime_minutes, waste_count, financial_loss, oee_rank, loss_rank, trend_7, trend_30, open_safety_events,
       priority, summary
  FROM plant.morning_report($1)
