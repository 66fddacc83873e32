//! Readings of closed months as segments, past any ordinary table.

use super::sensors::Sensor;
use crate::engine::history::cut::{MOST_ROWS, Span};
use crate::engine::history::direct::{Direct, Encoded};
use crate::engine::history::policy::Policy;
use crate::engine::partitions::set::Set;
use crate::error::{Error, Result};
use gemba_segment::{ColumnBuilder, Kind};
use pgrx::prelude::*;
use std::ops::Range;

/// Decimals of a reading.
const SCALE: u16 = 4;

/// A sensor's readings of one month, in the order of time.
pub struct Series<'a> {
    pub sensor: &'a Sensor,
    /// Its id as a datum.
    pub key: pg_sys::Datum,
    pub times: &'a [i64],
    /// × 10^4, none missing.
    pub values: &'a [i64],
    /// Values outside are suspect.
    pub plausible: (i64, i64),
    pub first_id: i64,
}

/// Which months are to be written as segments, if any.
pub struct Closed {
    policy: Policy,
    until: i64,
}

impl Closed {
    /// None where the table is not compressed, or otherwise than readings are.
    pub fn of(set: &Set) -> Result<Option<Self>> {
        let Some(policy) = Policy::find(set.parent.relation.oid)? else {
            return Ok(None);
        };
        // Somebody may have changed the policy, or the table so that it cannot be compressed any more.
        let as_made = policy.segment_by == ["sensor_id"] && policy.order_by == "timestamp";
        if !as_made || policy.check(set).is_err() {
            return Ok(None);
        }
        // Somebody may have given the table what segments cannot keep since: an index that says what is unique, say.
        if policy.check(set).is_err() {
            return Ok(None);
        }
        Ok(Some(Self {
            until: policy.horizon(set)?,
            policy,
        }))
    }

    pub fn contains(&self, range: &Range<i64>) -> bool {
        range.end <= self.until
    }

    /// Makes the partition of a month whose readings come so often.
    pub fn month(&self, set: &Set, range: Range<i64>, step_micros: i64) -> Result<Direct> {
        let span = Span::choose(range.clone(), 1.0 / step_micros.max(1) as f64);
        Direct::create(set, &self.policy, range, span)
    }
}

/// Encodes series after series; its rooms are used again.
pub struct Encoder {
    columns: [ColumnBuilder; 8],
    ids: Vec<i64>,
    bytes: Vec<u8>,
}

impl Encoder {
    pub fn new() -> Self {
        Self {
            // The columns of telemetry.sensor_readings.
            columns: [
                Kind::Int,
                Kind::Int,
                Kind::Bytes,
                Kind::Int,
                Kind::Bytes,
                Kind::Numeric,
                Kind::Bytes,
                Kind::Bytes,
            ]
            .map(ColumnBuilder::new),
            ids: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Writes a series, cut into segments; returns how many of its values are suspect.
    pub fn write(&mut self, month: &mut Direct, series: &Series) -> Result<u64> {
        let mut suspect = 0;
        let mut start = 0;
        while let Some(&first) = series.times.get(start) {
            let until = month.cut.after(first);
            let rest = &series.times[start..];
            let count = rest.partition_point(|&time| time < until).min(MOST_ROWS);
            suspect += self.segment(month, series, start..start + count)?;
            start += count;
        }
        month.raw_bytes += series.times.len() as u64 * row_bytes(series.sensor);
        Ok(suspect)
    }

    fn segment(&mut self, month: &mut Direct, series: &Series, rows: Range<usize>) -> Result<u64> {
        let (count, first_id) = (rows.len(), series.first_id + rows.start as i64);
        let (times, values) = (&series.times[rows.clone()], &series.values[rows]);
        for column in &mut self.columns {
            column.clear();
        }
        self.ids.clear();
        self.ids.extend(first_id..first_id + count as i64);
        let sensor = series.sensor;
        let [
            ids,
            at,
            sensors,
            floors,
            equipment,
            readings,
            units,
            statuses,
        ] = &mut self.columns;
        ids.extend_ints(&self.ids);
        at.extend_ints(times);
        sensors.repeat_bytes(sensor.id.as_bytes(), count);
        floors.repeat_int(i64::from(sensor.floor), count);
        repeat(equipment, sensor.equipment_type.as_deref(), count);
        readings.extend_numbers(values, SCALE);
        repeat(units, sensor.unit.as_deref(), count);
        let (low, high) = series.plausible;
        let is_odd = |value: &i64| *value < low || *value > high;
        let suspect = values.iter().filter(|value| is_odd(value)).count();
        if suspect == 0 {
            statuses.repeat_bytes(b"normal", count);
        } else {
            for value in values {
                statuses.push_bytes(if is_odd(value) { b"suspect" } else { b"normal" });
            }
        }
        self.bytes.clear();
        gemba_segment::encode_into(&self.columns, &mut self.bytes).map_err(|error| {
            Error::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "a segment cannot be written",
            )
            .detail(error.to_string())
            .hint("please report this")
        })?;
        month.push(&Encoded {
            keys: &[Some(series.key)],
            first: times[0],
            last: times[count - 1],
            rows: count,
            data: &self.bytes,
        });
        Ok(suspect as u64)
    }
}

fn repeat(column: &mut ColumnBuilder, text: Option<&str>, count: usize) {
    match text {
        Some(text) => column.repeat_bytes(text.as_bytes(), count),
        None => column.repeat_null(count),
    }
}

/// About what a reading takes up in an ordinary table: line pointer and head, the values of fixed length, a number of
/// two or three digits, and the texts, each with a byte in front.
fn row_bytes(sensor: &Sensor) -> u64 {
    let text = |text: Option<&str>| text.map_or(0, |text| text.len() as u64 + 1);
    let fixed = 24 + 8 + 8 + 4 + 7 + text(Some("normal"));
    let texts = text(Some(&sensor.id))
        + text(sensor.equipment_type.as_deref())
        + text(sensor.unit.as_deref());
    (fixed + texts).next_multiple_of(8) + 4
}
