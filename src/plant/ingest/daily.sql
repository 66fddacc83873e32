-- Upserts computed days; returns how many were inserted and how many changed. No other call runs at the
-- same time, and what is the same already is left alone.
WITH given AS (
  SELECT g.asset_id, date '2000-01-01' + g.day AS report_date, g.oee::numeric(5,2) AS oee, g.total, g.target,
         g.downtime, g.waste, g.loss::numeric(12,2) AS loss, g.availability::numeric(5,2) AS availability,
         g.performance::numeric(5,2) AS performance, g.performance_raw::numeric(10,2) AS performance_raw,
         g.quality::numeric(5,2) AS quality, g.planned, g.good, g.downtime_loss::numeric(12,2) AS downtime_loss,
         g.waste_loss::numeric(12,2) AS waste_loss, g.state::plant.oee_state AS state, g.estimated::text[] AS estimated
    FROM unnest($1::uuid[], $2::int[], $3::text[], $4::int[], $5::int[], $6::int[], $7::int[], $8::text[], $9::text[],
                $10::text[], $11::text[], $12::text[], $13::int[], $14::int[], $15::text[], $16::text[], $17::text[],
                $18::text[])
         AS g (asset_id, day, oee, total, target, downtime, waste, loss, availability, performance, performance_raw,
               quality, planned, good, downtime_loss, waste_loss, state, estimated)
), updated AS (
  UPDATE plant.daily_summaries d
     SET oee_percentage = g.oee, actual_output = g.total, target_output = g.target, downtime_minutes = g.downtime,
         waste_count = g.waste, financial_loss_dollars = g.loss, availability_percentage = g.availability,
         performance_percentage = g.performance, performance_raw_percentage = g.performance_raw,
         quality_percentage = g.quality, planned_minutes = g.planned, good_count = g.good,
         downtime_loss = g.downtime_loss, waste_loss = g.waste_loss, oee_state = g.state, estimated = g.estimated
    FROM given g
   WHERE d.asset_id = g.asset_id AND d.report_date = g.report_date
     AND (d.oee_percentage, d.actual_output, d.target_output, d.downtime_minutes, d.waste_count,
          d.financial_loss_dollars, d.availability_percentage, d.performance_percentage,
          d.performance_raw_percentage, d.quality_percentage, d.planned_minutes, d.good_count, d.downtime_loss,
          d.waste_loss, d.oee_state, d.estimated)
         IS DISTINCT FROM
         (g.oee, g.total, g.target, g.downtime, g.waste, g.loss, g.availability, g.performance, g.performance_raw,
          g.quality, g.planned, g.good, g.downtime_loss, g.waste_loss, g.state, g.estimated)
  RETURNING 1
), inserted AS (
  INSERT INTO plant.daily_summaries
    (asset_id, report_date, oee_percentage, actual_output, target_output, downtime_minutes, waste_count,
     financial_loss_dollars, availability_percentage, performance_percentage, performance_raw_percentage,
     quality_percentage, planned_minutes, good_count, downtime_loss, waste_loss, oee_state, estimated)
  SELECT g.asset_id, g.report_date, g.oee, g.total, g.target, g.downtime, g.waste, g.loss, g.availability,
         g.performance, g.performance_raw, g.quality, g.planned, g.good, g.downtime_loss, g.waste_loss, g.state,
         g.estimated
    FROM given g
  ON CONFLICT (asset_id, report_date) DO NOTHING
  RETURNING 1
)
SELECT (SELECT count(*) FROM inserted), (SELECT count(*) FROM updated)
