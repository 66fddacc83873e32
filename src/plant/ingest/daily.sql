-- Upserts computed days; returns those that were inserted (true) or changed (false). What is the same already
-- is left alone.
INSERT INTO plant.daily_summaries AS d
  (asset_id, report_date, oee_percentage, actual_output, target_output, downtime_minutes, waste_count,
   financial_loss_dollars, availability_percentage, performance_percentage, performance_raw_percentage,
   quality_percentage, planned_minutes, good_count, downtime_loss, waste_loss, oee_state, estimated)
SELECT g.asset_id, date '2000-01-01' + g.day, g.oee::numeric, g.total, g.target, g.downtime, g.waste,
       g.loss::numeric, g.availability::numeric, g.performance::numeric, g.performance_raw::numeric,
       g.quality::numeric, g.planned, g.good, g.downtime_loss::numeric, g.waste_loss::numeric,
       g.state::plant.oee_state, g.estimated::text[]
  FROM unnest($1::uuid[], $2::int[], $3::text[], $4::int[], $5::int[], $6::int[], $7::int[], $8::text[], $9::text[],
              $10::text[], $11::text[], $12::text[], $13::int[], $14::int[], $15::text[], $16::text[], $17::text[],
              $18::text[])
       AS g (asset_id, day, oee, total, target, downtime, waste, loss, availability, performance, performance_raw,
             quality, planned, good, downtime_loss, waste_loss, state, estimated)
ON CONFLICT (asset_id, report_date) DO UPDATE
   SET oee_percentage = excluded.oee_percentage, actual_output = excluded.actual_output,
       target_output = excluded.target_output, downtime_minutes = excluded.downtime_minutes,
       waste_count = excluded.waste_count, financial_loss_dollars = excluded.financial_loss_dollars,
       availability_percentage = excluded.availability_percentage,
       performance_percentage = excluded.performance_percentage,
       performance_raw_percentage = excluded.performance_raw_percentage,
       quality_percentage = excluded.quality_percentage, planned_minutes = excluded.planned_minutes,
       good_count = excluded.good_count, downtime_loss = excluded.downtime_loss, waste_loss = excluded.waste_loss,
       oee_state = excluded.oee_state, estimated = excluded.estimated
 WHERE (d.oee_percentage, d.actual_output, d.target_output, d.downtime_minutes, d.waste_count,
        d.financial_loss_dollars, d.availability_percentage, d.performance_percentage, d.performance_raw_percentage,
        d.quality_percentage, d.planned_minutes, d.good_count, d.downtime_loss, d.waste_loss, d.oee_state, d.estimated)
       IS DISTINCT FROM
       (excluded.oee_percentage, excluded.actual_output, excluded.target_output, excluded.downtime_minutes,
        excluded.waste_count, excluded.financial_loss_dollars, excluded.availability_percentage,
        excluded.performance_percentage, excluded.performance_raw_percentage, excluded.quality_percentage,
        excluded.planned_minutes, excluded.good_count, excluded.downtime_loss, excluded.waste_loss,
        excluded.oee_state, excluded.estimated)
RETURNING d.asset_id, d.report_date - date '2000-01-01', d.xmax = 0
