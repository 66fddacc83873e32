//! Taking readings to their partitions.
//!
//! A month that the table does not have yet, and that is closed, is written as segments where the table is
//! compressed. Any other new month is built beside the table, without indexes and in full speed, and
//! attached when everything is in: its rows are written sensor by sensor, so that the index is built
//! without sorting and a chart of one sensor reads neighbouring pages. Everything else, rows for months
//! that exist and rows that may be there twice, goes through a temporary table and one INSERT … ON
//! CONFLICT DO NOTHING a file.

use super::segments::{Closed, Encoder, Series};
use super::sensors::Sensor;
use crate::engine::history::direct::Direct;
use crate::engine::partitions::leaf;
use crate::engine::partitions::set::Set;
use crate::engine::rollups::capture;
use crate::error::Result;
use crate::postgres::heap::HeapWriter;
use crate::postgres::relation::Relation;
use crate::postgres::{numeric, spi};
use gemba_core::ranges::RangeSet;
use gemba_core::wide_csv::MISSING;
use pgrx::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Columns of `telemetry.sensor_readings`, in the order in which a row is filled.
const COLUMNS: [&str; 8] = [
    "id",
    "timestamp",
    "sensor_id",
    "floor_number",
    "equipment_type",
    "reading_value",
    "unit",
    "status",
];

/// Rows of one file and one month that are held back to be written sensor by sensor: a month of minutes.
const HOLD_ROWS: usize = 45_000;

/// What became of a file's readings.
#[derive(Default, Clone, Copy)]
pub struct Tally {
    pub readings: u64,
    pub inserted: u64,
    pub duplicates: u64,
    pub suspect: u64,
}

/// A partition in the making.
enum NewLeaf {
    Ordinary {
        relation: Relation,
        writer: HeapWriter,
        from: i64,
        to: i64,
    },
    Compressed(Direct),
}

impl NewLeaf {
    /// The first time that does not belong to it any more.
    fn to(&self) -> i64 {
        match self {
            Self::Ordinary { to, .. } => *to,
            Self::Compressed(month) => month.to,
        }
    }
}

/// Rows held back, as columns.
#[derive(Default)]
struct Held {
    leaf: i64,
    times: Vec<i64>,
    columns: Vec<Vec<i64>>,
}

/// What an interval between readings is taken for that nothing is known of.
const MINUTE: i64 = 60_000_000;

/// Readings that are there, of a column with gaps.
#[derive(Default)]
struct Present {
    times: Vec<i64>,
    values: Vec<i64>,
}

impl Present {
    fn gather(&mut self, times: &[i64], values: &[i64]) {
        self.times.clear();
        self.values.clear();
        for (&time, &value) in times.iter().zip(values) {
            if value != MISSING {
                self.times.push(time);
                self.values.push(value);
            }
        }
    }
}

/// What the executor would have to know of each sensor, as ready-made datums.
struct Fixed {
    id: pg_sys::Datum,
    floor: pg_sys::Datum,
    equipment_type: Option<pg_sys::Datum>,
    unit: Option<pg_sys::Datum>,
}

pub struct Loader {
    set: Set,
    /// Past the executor there are no triggers, checks or defaults: only where the table has none.
    direct: bool,
    /// Months that are written as segments.
    closed: Option<Closed>,
    encoder: Encoder,
    present: Present,
    /// By the start of their range.
    new_leaves: BTreeMap<i64, NewLeaf>,
    /// Existing partitions as `(from, to)`.
    old_leaves: Vec<(i64, i64)>,
    /// Last instant written directly, by sensor: what is not later might be there already.
    last_direct: HashMap<String, i64>,
    late: HeapWriter,
    touched: RangeSet,
    normal: pg_sys::Datum,
    suspect: pg_sys::Datum,
    /// Ids of directly written rows: high bits from the run, low bits counted here.
    next_id: i64,
    // Of the file at hand:
    file: i32,
    sensors: Vec<Sensor>,
    fixed: Vec<Fixed>,
    held: Held,
    tallies: Vec<Tally>,
}

/// A text as a datum that lives until the end of this call.
fn text(value: &str) -> Option<pg_sys::Datum> {
    value.into_datum()
}

impl Loader {
    /// `run` is a number that no other import has or will have.
    pub fn start(run: i64) -> Result<Self> {
        let readings = spi::read_one::<pg_sys::Oid>(
            "SELECT 'telemetry.sensor_readings'::pg_catalog.regclass::oid",
            &[],
        )?
        .unwrap_or(pg_sys::InvalidOid);
        let set = Set::of(readings)?;
        // Nobody else may add partitions until this is over: they might be the same ones.
        leaf::lock_for_attach(&set)?;
        let old_leaves = set.leaves()?;
        // With the types that are written here, whatever somebody has made of the table's own.
        spi::write(
            "CREATE TEMPORARY TABLE gemba_late (
               id bigint, \"timestamp\" timestamptz, sensor_id varchar(50), floor_number int,
               equipment_type varchar(100), reading_value numeric(10,4), unit varchar(20),
               status varchar(20), file int) ON COMMIT DROP",
            &[],
        )?;
        let late = spi::read_one::<pg_sys::Oid>(
            "SELECT 'pg_temp.gemba_late'::pg_catalog.regclass::oid",
            &[],
        )?
        .unwrap_or(pg_sys::InvalidOid);
        Ok(Self {
            direct: may_write_directly(&set)?,
            closed: Closed::of(&set)?,
            encoder: Encoder::new(),
            present: Present::default(),
            set,
            new_leaves: BTreeMap::new(),
            old_leaves: old_leaves.iter().map(|leaf| (leaf.from, leaf.to)).collect(),
            last_direct: HashMap::new(),
            late: HeapWriter::open(late, false),
            touched: RangeSet::default(),
            normal: text("normal").unwrap_or(pg_sys::Datum::null()),
            suspect: text("suspect").unwrap_or(pg_sys::Datum::null()),
            // Above all numbers that the sequence hands out (it ends at 2^36).
            next_id: run << 36,
            file: -1,
            sensors: Vec::new(),
            fixed: Vec::new(),
            held: Held::default(),
            tallies: Vec::new(),
        })
    }

    pub fn begin_file(&mut self, sensors: Vec<Sensor>) {
        self.fixed = sensors
            .iter()
            .map(|sensor| Fixed {
                id: text(&sensor.id).unwrap_or(pg_sys::Datum::null()),
                floor: pg_sys::Datum::from(sensor.floor),
                equipment_type: sensor.equipment_type.as_deref().and_then(text),
                unit: sensor.unit.as_deref().and_then(text),
            })
            .collect();
        self.sensors = sensors;
        self.file += 1;
        self.tallies.push(Tally::default());
    }

    /// Takes a block: instants in strictly increasing order, and for each of the file's channels a value
    /// for each instant.
    pub fn add(&mut self, instants: &[i64], columns: &[Vec<i64>]) -> Result<()> {
        let mut start = 0;
        while start < instants.len() {
            let (from, to) = self.range_of(instants[start]);
            let count = instants[start..].partition_point(|&instant| instant < to);
            let rows = start..start + count;
            let in_order = self.held.leaf == from
                && self
                    .held
                    .times
                    .last()
                    .is_none_or(|&last| last < instants[start]);
            if !in_order || self.held.times.len() >= HOLD_ROWS {
                self.write_held()?;
                self.held.leaf = from;
                self.held.columns = vec![Vec::new(); columns.len()];
            }
            self.held.times.extend_from_slice(&instants[rows.clone()]);
            for (held, column) in self.held.columns.iter_mut().zip(columns) {
                held.extend_from_slice(&column[rows.clone()]);
            }
            start += count;
        }
        Ok(())
    }

    /// The range of the partition, existing or not, that an instant belongs to.
    fn range_of(&self, instant: i64) -> (i64, i64) {
        if let Some((&from, leaf)) = self.new_leaves.range(..=instant).next_back()
            && instant < leaf.to()
        {
            return (from, leaf.to());
        }
        if let Some(&range) = self
            .old_leaves
            .iter()
            .find(|&&(from, to)| from <= instant && instant < to)
        {
            return range;
        }
        // What is left of the step beside partitions that somebody cut otherwise.
        let (from, to) = (self.set.floor(instant), self.set.next(instant));
        let before = self
            .old_leaves
            .iter()
            .map(|leaf| leaf.1)
            .filter(|&end| end <= instant);
        let after = self
            .old_leaves
            .iter()
            .map(|leaf| leaf.0)
            .filter(|&start| start > instant);
        (before.fold(from, i64::max), after.fold(to, i64::min))
    }

    /// Writes what is held back, sensor by sensor.
    fn write_held(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let Some(&first) = held.times.first() else {
            return Ok(());
        };
        let last = held.times.last().copied().unwrap_or(first);
        let (from, to) = self.range_of(first);
        let exists = self.old_leaves.contains(&(from, to));
        if !exists && !self.new_leaves.contains_key(&from) {
            self.create_leaf(from, to, &held.times)?;
        }
        let direct = self.direct && !exists;
        if direct {
            self.touched.insert(first, last + 1);
        }
        for number in 0..self.sensors.len() {
            pgrx::check_for_interrupts!();
            let sensor = &self.sensors[number];
            let Some(values) = held.columns.get(sensor.channel) else {
                continue;
            };
            let after = self
                .last_direct
                .get(&sensor.id)
                .copied()
                .unwrap_or(i64::MIN);
            let (low, high) = sensor.plausible.unwrap_or((i64::MIN + 1, i64::MAX));
            let tally = &mut self.tallies[self.file as usize];
            let fixed = &self.fixed[number];
            let (normal, suspect, file) = (self.normal, self.suspect, self.file);
            let mut leaf = if direct {
                self.new_leaves.get_mut(&from)
            } else {
                None
            };
            let mut rows = held.times.len();
            if let Some(NewLeaf::Compressed(month)) = &mut leaf {
                // What is not later than the last may be there already, and takes the long way below.
                rows = held.times.partition_point(|&instant| instant <= after);
                self.present.gather(&held.times[rows..], &values[rows..]);
                let series = Series {
                    sensor,
                    key: fixed.id,
                    times: &self.present.times,
                    values: &self.present.values,
                    plausible: (low, high),
                    first_id: self.next_id,
                };
                let written = series.times.len() as u64;
                tally.suspect += self.encoder.write(month, &series)?;
                tally.readings += written;
                tally.inserted += written;
                self.next_id += written as i64;
            }
            for (&instant, &value) in held.times[..rows].iter().zip(values) {
                if value == MISSING {
                    continue;
                }
                tally.readings += 1;
                let odd = value < low || value > high;
                tally.suspect += u64::from(odd);
                let id = self.next_id;
                self.next_id += 1;
                let fill = |datums: &mut [pg_sys::Datum], nulls: &mut [bool]| {
                    nulls[..4].fill(false);
                    datums[0] = pg_sys::Datum::from(id);
                    datums[1] = pg_sys::Datum::from(instant);
                    datums[2] = fixed.id;
                    datums[3] = fixed.floor;
                    if let Some(equipment_type) = fixed.equipment_type {
                        datums[4] = equipment_type;
                        nulls[4] = false;
                    }
                    datums[5] = numeric::of_mantissa(value, 4);
                    nulls[5] = false;
                    if let Some(unit) = fixed.unit {
                        datums[6] = unit;
                        nulls[6] = false;
                    }
                    datums[7] = if odd { suspect } else { normal };
                    nulls[7] = false;
                    if let Some(number) = datums.get_mut(8) {
                        *number = pg_sys::Datum::from(file);
                        nulls[8] = false;
                    }
                };
                match &mut leaf {
                    Some(NewLeaf::Ordinary { writer, .. }) if instant > after => {
                        writer.push(fill);
                        tally.inserted += 1;
                    }
                    _ => self.late.push(fill),
                }
            }
            if direct && last > after {
                self.last_direct
                    .insert(self.sensors[number].id.clone(), last);
            }
        }
        Ok(())
    }

    /// Makes the partition for a range whose first readings have these times.
    fn create_leaf(&mut self, from: i64, to: i64, times: &[i64]) -> Result<()> {
        if !self.direct {
            leaf::create(&self.set, from, to)?;
            self.old_leaves.push((from, to));
            return Ok(());
        }
        let new = match &self.closed {
            Some(closed) if closed.contains(&(from..to)) => {
                let step = super::usual_step(times).unwrap_or(MINUTE);
                NewLeaf::Compressed(closed.month(&self.set, from..to, step)?)
            }
            _ => {
                let relation = leaf::build(&self.set, from)?;
                NewLeaf::Ordinary {
                    writer: HeapWriter::open(relation.oid, true),
                    relation,
                    from,
                    to,
                }
            }
        };
        self.new_leaves.insert(from, new);
        Ok(())
    }

    /// Readings of the file at hand so far.
    pub fn readings(&self) -> i64 {
        self.tallies.last().map_or(0, |tally| tally.readings as i64)
    }

    /// The file is through; its tally is final after `finish`.
    pub fn end_file(&mut self) -> Result<()> {
        self.write_held()
    }

    /// Indexes and attaches the new partitions, then adds the late rows; returns a tally for each file.
    pub fn finish(mut self) -> Result<Vec<Tally>> {
        let readings = self.set.parent.relation.clone();
        let new_leaves = std::mem::take(&mut self.new_leaves);
        let count = new_leaves.len();
        for (number, new) in new_leaves.into_values().enumerate() {
            pgrx::check_for_interrupts!();
            let (name, rows) = match new {
                NewLeaf::Compressed(month) => month.attach(&self.set)?,
                NewLeaf::Ordinary {
                    relation,
                    writer,
                    from,
                    to,
                } => {
                    let rows = writer.finish();
                    leaf::index(&self.set, &relation)?;
                    leaf::attach(&self.set, &relation, from, to)?;
                    // The planner would otherwise know nothing of the table until autovacuum comes by.
                    spi::write(&format!("ANALYZE {}", relation.sql()), &[])?;
                    (relation.name, rows)
                }
            };
            notice!(
                "gemba: partition {} of {count}: {name}, {rows} rows",
                number + 1
            );
        }
        for (from, to) in self.touched.iter() {
            capture::note(readings.oid, from, to)?;
        }
        let late = self.late.finish();
        if late > 0 {
            notice!("gemba: {late} readings for months that exist already");
            let columns = COLUMNS.map(spi::ident).join(", ");
            for (file, tally) in self.tallies.iter_mut().enumerate() {
                let rest = tally.readings - tally.inserted;
                if rest == 0 {
                    continue;
                }
                let inserted = spi::write(
                    &format!(
                        "INSERT INTO telemetry.sensor_readings ({columns})
                         SELECT {columns} FROM pg_temp.gemba_late WHERE file = $1 ON CONFLICT DO NOTHING"
                    ),
                    &[(file as i32).into()],
                )?;
                tally.inserted += inserted;
                tally.duplicates += rest - inserted;
            }
        }
        spi::write("DROP TABLE pg_temp.gemba_late", &[])?;
        Ok(self.tallies)
    }
}

/// Whether the table is as this extension made it: no columns, triggers, constraints or defaults of
/// somebody else's, which writing past the executor would ignore.
fn may_write_directly(set: &Set) -> Result<bool> {
    let table = set.parent.relation.oid;
    let columns: Vec<String> = spi::read_all(
        "SELECT attname || ' ' || pg_catalog.format_type(atttypid, atttypmod)
                || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
           FROM pg_catalog.pg_attribute
          WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        &[table.into()],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )?;
    let as_made = [
        "id bigint NOT NULL",
        "timestamp timestamp with time zone NOT NULL",
        "sensor_id character varying(50) NOT NULL",
        "floor_number integer NOT NULL",
        "equipment_type character varying(100)",
        "reading_value numeric(10,4)",
        "unit character varying(20)",
        "status character varying(20) NOT NULL",
    ];
    let guarded = spi::read_one::<bool>(
        "SELECT true WHERE EXISTS (
             SELECT FROM pg_catalog.pg_trigger
              WHERE tgrelid = $1 AND NOT tgisinternal
                AND tgname !~ '^gemba_rollup_[0-9]+(_insert|_truncate)?$')
           OR EXISTS (SELECT FROM pg_catalog.pg_constraint
                       WHERE conrelid = $1 AND contype IN ('c', 'f', 'x', 'p', 'u'))",
        &[table.into()],
    )?;
    Ok(columns == as_made && guarded.is_none())
}
