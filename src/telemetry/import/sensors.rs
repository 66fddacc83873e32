//! The sensors behind a file's columns.

use super::source::Opening;
use crate::error::Result;
use crate::postgres::spi;
use gemba_core::cu_bems::{self, Channel};

/// One column of a file, and the sensor that it is.
pub struct Sensor {
    pub id: String,
    pub floor: i32,
    pub equipment_type: Option<String>,
    pub unit: Option<String>,
    /// Position of the column among the file's channels.
    pub channel: usize,
    pub plausible: Option<(i64, i64)>,
}

/// The sensors of a file, in the order of their ids.
pub fn of_file(opening: &Opening, prefix: &str, floor: Option<i32>) -> Vec<Sensor> {
    let mut sensors: Vec<Sensor> = opening
        .channels
        .iter()
        .enumerate()
        .map(|(number, channel)| Sensor {
            id: cu_bems::sensor_id(prefix, floor_of(channel, floor), channel),
            floor: floor_of(channel, floor).unwrap_or(0),
            equipment_type: channel.equipment_type.map(str::to_owned),
            // As much as the column holds; a longer text would be stored and could not be restored.
            unit: channel
                .unit
                .as_deref()
                .map(|unit| storable(unit).chars().take(20).collect()),
            channel: number,
            plausible: opening.plausible.get(number).copied().flatten(),
        })
        .collect();
    // Readings are written sensor by sensor; in this order an index over them is built without sorting.
    sensors.sort_by(|a, b| a.id.cmp(&b.id));
    sensors
}

fn floor_of(channel: &Channel, floor: Option<i32>) -> Option<i32> {
    channel.floor.or(floor)
}

/// Adds those that are new; known sensors stay as somebody may have edited them.
pub fn register(sensors: &[Sensor], channels: &[Channel], step_micros: Option<i64>) -> Result<u64> {
    let column = |value: &dyn Fn(&Sensor) -> Option<String>| -> Vec<Option<String>> {
        sensors.iter().map(value).collect()
    };
    spi::write(
        "INSERT INTO telemetry.sensors
           (sensor_id, floor_number, zone, device, equipment_type, unit, source, sample_interval)
         SELECT n.id, n.floor_number, n.zone, left(n.device, 100), n.equipment_type, left(n.unit, 20), n.source,
                coalesce($8 * interval '1 microsecond', interval '1 minute')
           FROM unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[])
                AS n (id, floor_number, zone, device, equipment_type, unit, source)
         ON CONFLICT (sensor_id) DO NOTHING",
        &[
            sensors.iter().map(|sensor| sensor.id.clone()).collect::<Vec<_>>().into(),
            sensors.iter().map(|sensor| sensor.floor).collect::<Vec<_>>().into(),
            sensors.iter().map(|sensor| channels[sensor.channel].zone).collect::<Vec<_>>().into(),
            column(&|sensor| Some(storable(&channels[sensor.channel].device))).into(),
            column(&|sensor| sensor.equipment_type.clone()).into(),
            column(&|sensor| sensor.unit.clone()).into(),
            column(&|sensor| Some(storable(&channels[sensor.channel].header))).into(),
            step_micros.into(),
        ],
    )
}

/// NUL cannot be stored in a text.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
