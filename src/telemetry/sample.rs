//! The tenth of all readings that a free subscription sees: whole sensors, always the same ones.

use crate::error::Result;
use crate::postgres::spi;
use gemba_core::sample::{self, Candidate};

/// The seed's figure for the free tier.
const SHARE: f64 = 0.10;

/// Adapts the sample to what there is and returns the share of all readings that it holds.
pub fn keep() -> Result<f64> {
    let candidates = spi::read_all(
        "SELECT s.sensor_id::text, coalesce(sum(d.reading_count), 0)::bigint, s.in_sample
           FROM telemetry.sensors s LEFT JOIN telemetry.daily_aggregates d USING (sensor_id)
          GROUP BY s.sensor_id ORDER BY s.sensor_id",
        &[],
        |row| {
            Ok(Candidate {
                id: row.get::<String>(1)?.unwrap_or_default(),
                readings: row.get::<i64>(2)?.unwrap_or_default().unsigned_abs(),
                chosen: row.get::<bool>(3)?.unwrap_or_default(),
            })
        },
    )?;
    let chosen = sample::choose(&candidates, SHARE);
    let ids: Vec<String> = chosen
        .iter()
        .map(|&index| candidates[index].id.clone())
        .collect();
    spi::write(
        "UPDATE telemetry.sensors SET in_sample = NOT in_sample
          WHERE in_sample <> (sensor_id = ANY ($1::varchar[]))",
        &[ids.into()],
    )?;
    let total: u64 = candidates.iter().map(|candidate| candidate.readings).sum();
    let held: u64 = chosen.iter().map(|&index| candidates[index].readings).sum();
    Ok(if total == 0 {
        0.0
    } else {
        held as f64 / total as f64
    })
}

/// Sensors that were only ever written as readings, by COPY or INSERT, get a row of their own.
pub fn register_unknown_sensors() -> Result<u64> {
    spi::write(
        "INSERT INTO telemetry.sensors (sensor_id, floor_number, equipment_type, unit, source)
         SELECT u.sensor_id, r.floor_number,
                CASE WHEN r.equipment_type IN ('HVAC', 'lighting', 'electrical', 'environment')
                     THEN r.equipment_type END,
                r.unit, 'written as readings'
           FROM (SELECT DISTINCT d.sensor_id FROM telemetry.daily_aggregates d
                  WHERE NOT EXISTS (SELECT FROM telemetry.sensors s WHERE s.sensor_id = d.sensor_id)) AS u
          CROSS JOIN LATERAL (
            SELECT x.floor_number, x.equipment_type, x.unit FROM telemetry.sensor_readings x
             WHERE x.sensor_id = u.sensor_id ORDER BY x.\"timestamp\" DESC LIMIT 1) AS r
         ON CONFLICT (sensor_id) DO NOTHING",
        &[],
    )
}
