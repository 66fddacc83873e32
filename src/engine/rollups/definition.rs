//! What a rollup is, and the SQL that follows from it.
//!
//! A measure is stored as *states* that can be merged: an average as a sum and a count, a standard
//! deviation as count, sum and sum of squares, a first or last value with its time. What people read
//! (`avg`, `stddev`) is a generated column over them, so that days can be built from hours exactly.

use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::spi::{ident, literal};
use crate::postgres::{spi, time};
use gemba_core::calendar::Step;
use pgrx::JsonB;
use pgrx::datum::Interval;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

/// The fixed list of functions: measures are never SQL text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Stddev,
    First,
    Last,
}

/// One measure as the caller wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    pub name: String,
    pub function: Function,
    /// The raw table's column. `count` needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

/// A mergeable part of a measure, stored in a column of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Value,
    Count,
    Sum,
    SumOfSquares,
    /// The time of a first or last value.
    At,
}

/// A stored column: its name, and the aggregate that computes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub column: String,
    pub aggregate: String,
}

/// A rollup as the catalog knows it.
pub struct Rollup {
    pub id: i32,
    pub table: Relation,
    pub source: Relation,
    pub source_rollup: Option<i32>,
    pub time_column: String,
    pub bucket: Interval,
    pub step: Step,
    pub zone: time::ServerZone,
    pub group_by: Vec<String>,
    pub measures: Vec<Measure>,
    /// Its table is partitioned, and old partitions are retired.
    pub retires: bool,
}

impl Rollup {
    /// # Errors
    /// `42704` when the catalog has no such rollup.
    pub fn by_id(id: i32) -> Result<Self> {
        let row = spi::read_row(
            "SELECT r.rollup::oid, r.source::oid, r.source_rollup, r.time_column::text, r.bucket,
                    r.group_by::text[], r.measures, r.time_zone,
                    EXISTS (SELECT FROM gemba.partition_sets s WHERE s.parent = r.rollup AND s.retain IS NOT NULL)
               FROM gemba.rollup_definitions r WHERE r.id = $1",
            &[id.into()],
            |row| {
                Ok((
                    row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid),
                    row.get::<pg_sys::Oid>(2)?.unwrap_or(pg_sys::InvalidOid),
                    row.get::<i32>(3)?,
                    row.get::<String>(4)?.unwrap_or_default(),
                    row.get::<Interval>(5)?,
                    row.get::<Vec<String>>(6)?.unwrap_or_default(),
                    row.get::<JsonB>(7)?,
                    row.get::<String>(8)?.unwrap_or_default(),
                    row.get::<bool>(9)?.unwrap_or(false),
                ))
            },
        )?;
        let Some((
            table,
            source,
            source_rollup,
            time_column,
            Some(bucket),
            group_by,
            Some(measures),
            zone,
            retires,
        )) = row
        else {
            return Err(Error::missing("the rollup does not exist")
                .detail(format!("rollup number {id}"))
                .hint("see gemba.rollups"));
        };
        Ok(Self {
            id,
            table: Relation::open(table)?,
            source: Relation::open(source)?,
            source_rollup,
            time_column,
            step: time::step(&bucket)?,
            bucket,
            zone: time::ServerZone::trusted(&zone),
            group_by,
            measures: parse_measures(&measures)?,
            retires,
        })
    }

    /// The rollup stored in this table, if it is one.
    pub fn id_of(table: pg_sys::Oid) -> Result<Option<i32>> {
        spi::read_one::<i32>(
            "SELECT id FROM gemba.rollup_definitions WHERE rollup = $1",
            &[table.into()],
        )
    }

    /// The rollup of this name.
    ///
    /// # Errors
    /// `42704` when there is none.
    pub fn named(name: &str) -> Result<Self> {
        let id = spi::read_one::<i32>(
            "SELECT id FROM gemba.rollup_definitions WHERE rollup = pg_catalog.to_regclass($1)",
            &[name.into()],
        )?
        .ok_or_else(|| {
            Error::missing("the rollup does not exist")
                .detail(format!("rollup {name:?}"))
                .hint("give its table as schema.name; gemba.rollups lists them")
        })?;
        Self::by_id(id)
    }

    /// The stored columns, in the table's order, each with the aggregate over the source.
    pub fn states(&self) -> Vec<State> {
        states(
            &self.measures,
            self.source_rollup.is_some(),
            &self.time_column,
        )
    }

    /// Column of `self` that holds this part of a measure, as SQL writes it.
    fn grouping(&self) -> String {
        self.group_by
            .iter()
            .map(|name| format!(", {}", ident(name)))
            .collect()
    }

    /// `SELECT bucket, group columns, states FROM source WHERE time >= from AND time < to GROUP BY …`.
    /// `from` and `to` are SQL expressions; `source` is given because a live view reads a live view.
    pub fn select(&self, source: &str, from: &str, to: &str) -> String {
        let time = ident(&self.time_column);
        let states: String = self
            .states()
            .iter()
            .map(|state| format!(", {} AS {}", state.aggregate, ident(&state.column)))
            .collect();
        let group: String = (2..2 + self.group_by.len())
            .map(|n| format!(", {n}"))
            .collect();
        format!(
            "SELECT {bucket} AS bucket{grouping}{states} FROM {source} AS source \
             WHERE {time} >= {from} AND {time} < {to} AND {time} > '-infinity' GROUP BY 1{group}",
            bucket = bucket_expression(
                self.step,
                &time::interval_text(&self.bucket),
                self.zone.name(),
                &time
            ),
            grouping = self.grouping(),
        )
    }

    /// The columns that a reader of the live view gets: as the table's.
    pub fn columns(&self) -> Vec<String> {
        let mut columns = vec!["bucket".to_owned()];
        columns.extend(self.group_by.iter().cloned());
        columns.extend(self.states().into_iter().map(|state| state.column));
        columns
    }

    /// Generated columns: name and expression over the states.
    pub fn derived(&self) -> Vec<(String, String)> {
        self.measures
            .iter()
            .filter_map(|measure| {
                let part = |part| ident(&part_column(&self.measures, measure, part));
                let expression = match measure.function {
                    Function::Avg => {
                        // numeric, or the average of integers would be one.
                        format!("{} / NULLIF({}, 0)::numeric", part(Part::Sum), part(Part::Count))
                    }
                    Function::Stddev => {
                        let (n, sum, squares) =
                            (part(Part::Count), part(Part::Sum), part(Part::SumOfSquares));
                        format!(
                            "CASE WHEN {n} > 1 THEN sqrt(greatest({n} * {squares} - {sum} * {sum}, 0) \
                             / ({n}::numeric * ({n} - 1))) END"
                        )
                    }
                    _ => return None,
                };
                Some((measure.name.clone(), expression))
            })
            .collect()
    }
}

/// The start of the bucket that a time lies in, as SQL; the same grid as `gemba_core::calendar`.
pub fn bucket_expression(step: Step, width: &str, zone_name: &str, time: &str) -> String {
    let (width, zone) = (literal(width), literal(zone_name));
    match step {
        Step::Fixed(_) => {
            format!("date_bin({width}::interval, {time}, '2000-01-01 00:00+00'::timestamptz)")
        }
        // Where the clocks are changed around midnight, the server's own functions and a calendar that
        // tiles the line of time do not agree. Without such changes they do, and are faster.
        Step::Days(_) | Step::Months(_) if !time::ServerZone::trusted(zone_name).is_utc() => {
            format!("gemba.bucket_start({width}::interval, {time}, {zone})")
        }
        Step::Days(1) => format!("date_trunc('day', {time}, {zone})"),
        Step::Days(days) => format!(
            "date_bin('{days} days'::interval, {time} AT TIME ZONE {zone}, '2001-01-01'::timestamp) AT TIME ZONE {zone}"
        ),
        Step::Months(1) => format!("date_trunc('month', {time}, {zone})"),
        Step::Months(months) => {
            let local = format!("({time} AT TIME ZONE {zone})");
            let month = format!(
                "(extract(year FROM {local})::int * 12 + extract(month FROM {local})::int - 1)"
            );
            // The calendar counts months from January 2000, which is month 24000 of this count.
            let offset = 24_000 % months;
            format!(
                "(date_trunc('month', {local}) - make_interval(months => \
                 ((({month} - {offset}) % {months}) + {months}) % {months})) AT TIME ZONE {zone}"
            )
        }
    }
}

/// Refuses a rollup whose buckets are wider than the table's partitions: when one is retired, the buckets
/// that reach beyond it could neither be recomputed nor go on.
pub fn refuse_wider_than(rollup: &str, bucket: Step, partition: Step) -> Result<()> {
    if bucket.approximate_micros() <= partition.approximate_micros() {
        return Ok(());
    }
    Err(
        Error::invalid("the buckets would be wider than the table's partitions")
            .detail(format!("rollup {rollup}"))
            .hint("make a rollup with narrower buckets of the table, and this one from that"),
    )
}

/// Refuses a rollup of a rollup whose buckets are not made of whole buckets of its source.
pub fn refuse_unless_nested(
    rollup: &str,
    step: Step,
    zone: &time::ServerZone,
    source: &Rollup,
) -> Result<()> {
    if nests((step, zone), (source.step, &source.zone)) {
        return Ok(());
    }
    Err(Error::invalid("the buckets are not made of whole buckets of the source")
        .detail(format!("rollup {rollup}, source {}", source.table.sql()))
        .hint("choose a wider bucket or a time zone whose days begin with a bucket of the source, or read the table itself"))
}

/// Refuses partitions of a rollup's table that would cut a bucket in two.
pub fn refuse_cut_buckets(
    rollup: &str,
    bucket: (Step, &time::ServerZone),
    partition: (Step, &time::ServerZone),
) -> Result<()> {
    if nests(partition, bucket) {
        return Ok(());
    }
    Err(
        Error::invalid("the partitions are not made of whole buckets")
            .detail(format!("rollup {rollup}"))
            .hint("choose partitions at least as wide as a bucket that begin, in their time zone, where a bucket does"),
    )
}

/// Whether each step of the first calendar is made of whole steps of the second.
fn nests(wide: (Step, &time::ServerZone), narrow: (Step, &time::ServerZone)) -> bool {
    // Ten years of boundaries, with every change of the clocks in them.
    const FROM: i64 = 536_500_800_000_000;
    const TO: i64 = FROM + 3_653 * gemba_core::calendar::DAY;
    let mut at = wide.0.floor(FROM, wide.1);
    let mut nested = wide.0.approximate_micros() >= narrow.0.approximate_micros();
    // Fine steps repeat themselves: a month of boundaries on either side of the year says enough.
    let mut tries = 0;
    while nested && at < TO && tries < 20_000 {
        nested = narrow.0.floor(at, narrow.1) == at;
        at = wide.0.next(at, wide.1);
        tries += 1;
    }
    nested
}

/// Reads measures, either as a list of `{"name", "function", "column"}` or as an object
/// `{name: {"function", "column"}}`.
///
/// # Errors
/// `22023` with what is wrong: an unknown function, a missing column, two measures of one name.
pub fn parse_measures(json: &JsonB) -> Result<Vec<Measure>> {
    let invalid = |detail: String| {
        Error::invalid("the measures are not understood").detail(detail).hint(
            "give for instance {\"total\": {\"function\": \"sum\", \"column\": \"value\"}, \"n\": {\"function\": \"count\"}}; \
             functions are count, sum, avg, min, max, stddev, first, last",
        )
    };
    let list = match &json.0 {
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(name, value)| {
                let mut value = value.clone();
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("name".into(), name.clone().into());
                }
                value
            })
            .collect(),
        serde_json::Value::Array(list) => list.clone(),
        other => return Err(invalid(format!("measures {other}"))),
    };
    let mut measures: Vec<Measure> = Vec::with_capacity(list.len());
    for value in list {
        let text = value.to_string();
        let measure: Measure = serde_json::from_value(value)
            .map_err(|error| invalid(format!("measure {text}: {error}")))?;
        if measure.column.is_none() && measure.function != Function::Count {
            return Err(invalid(format!("measure {text}: it needs a column")));
        }
        if measure.name.is_empty() || measure.name == "bucket" {
            return Err(invalid(format!("measure {text}: it needs another name")));
        }
        if measures.iter().any(|other| other.name == measure.name) {
            return Err(invalid(format!(
                "two measures are named {:?}",
                measure.name
            )));
        }
        measures.push(measure);
    }
    if measures.is_empty() {
        return Err(invalid("there is no measure".into()));
    }
    for measure in &measures {
        for &part in parts(measure.function) {
            let column = part_column(&measures, measure, part);
            let owner = measures.iter().find(|other| other.name == column);
            let shared = |other: &Measure| {
                let function = match part {
                    Part::Value => measure.function,
                    Part::Sum if measure.function == Function::Avg => Function::Sum,
                    Part::Count => Function::Count,
                    _ => return false,
                };
                other.function == function && other.column == measure.column
            };
            if owner.is_some_and(|other| !shared(other)) {
                return Err(invalid(format!(
                    "measure {:?} needs a column {column:?}, which is the name of another measure",
                    measure.name
                )));
            }
        }
    }
    Ok(measures)
}

fn parts(function: Function) -> &'static [Part] {
    match function {
        Function::Count | Function::Sum | Function::Min | Function::Max => &[Part::Value],
        Function::Avg => &[Part::Sum, Part::Count],
        Function::Stddev => &[Part::Count, Part::Sum, Part::SumOfSquares],
        Function::First | Function::Last => &[Part::Value, Part::At],
    }
}

/// The column that stores one part of a measure. An average uses the sum and the count of the same
/// column where the rollup has them as measures anyway.
fn part_column(measures: &[Measure], measure: &Measure, part: Part) -> String {
    let shared = |function| {
        measures
            .iter()
            .find(|other| other.function == function && other.column == measure.column)
            .map(|other| other.name.clone())
    };
    let own = |suffix| format!("{}_{suffix}", measure.name);
    match (measure.function, part) {
        (_, Part::Value) => measure.name.clone(),
        (Function::Avg, Part::Sum) => shared(Function::Sum).unwrap_or_else(|| own("sum")),
        (_, Part::Sum) => own("sum"),
        (_, Part::Count) => shared(Function::Count).unwrap_or_else(|| own("count")),
        (_, Part::SumOfSquares) => own("sumsq"),
        (_, Part::At) => own("at"),
    }
}

fn states(measures: &[Measure], from_rollup: bool, time_column: &str) -> Vec<State> {
    let mut states: Vec<State> = Vec::new();
    for measure in measures {
        for &part in parts(measure.function) {
            let column = part_column(measures, measure, part);
            if states.iter().any(|state| state.column == column) {
                continue;
            }
            // A shared column is computed by the measure that owns it.
            if column != measure.name && measures.iter().any(|other| other.name == column) {
                continue;
            }
            let aggregate = if from_rollup {
                merge(measure.function, part, measure, measures)
            } else {
                let value = measure
                    .column
                    .as_deref()
                    .map_or_else(|| "*".to_owned(), ident);
                accumulate(measure.function, part, &value, &ident(time_column))
            };
            states.push(State { column, aggregate });
        }
    }
    states
}

/// The aggregate over raw rows.
fn accumulate(function: Function, part: Part, value: &str, time: &str) -> String {
    match (function, part) {
        (Function::Count, _) | (_, Part::Count) => format!("count({value})"),
        (Function::Sum, _) | (Function::Avg, Part::Sum) => format!("sum({value})"),
        (Function::Min, _) => format!("min({value})"),
        (Function::Max, _) => format!("max({value})"),
        // In numeric, where sums do not depend on the order of the rows.
        (_, Part::Sum) => format!("sum({value}::numeric)"),
        (_, Part::SumOfSquares) => format!("sum({value}::numeric * {value}::numeric)"),
        // Of several values at one time the smallest is the first and the greatest the last.
        (Function::First, Part::At) => format!("min({time}) FILTER (WHERE {value} IS NOT NULL)"),
        (_, Part::At) => format!("max({time}) FILTER (WHERE {value} IS NOT NULL)"),
        (Function::First, _) => format!(
            "(array_agg({value} ORDER BY {time}, {value}) FILTER (WHERE {value} IS NOT NULL))[1]"
        ),
        (_, Part::Value) => format!(
            "(array_agg({value} ORDER BY {time} DESC, {value} DESC) FILTER (WHERE {value} IS NOT NULL))[1]"
        ),
    }
}

/// The aggregate over another rollup's states.
fn merge(function: Function, part: Part, measure: &Measure, measures: &[Measure]) -> String {
    let column = |part| ident(&part_column(measures, measure, part));
    let state = column(part);
    match (function, part) {
        (Function::Count, _) | (_, Part::Count) => format!("sum({state})::bigint"),
        (Function::Sum | Function::Avg | Function::Stddev, _) => format!("sum({state})"),
        (Function::Min, _) | (Function::First, Part::At) => format!("min({state})"),
        (Function::Max, _) | (Function::Last, Part::At) => format!("max({state})"),
        (Function::First, _) => {
            format!(
                "(array_agg({state} ORDER BY {}, {state}))[1]",
                column(Part::At)
            )
        }
        (Function::Last, _) => format!(
            "(array_agg({state} ORDER BY {} DESC NULLS LAST, {state} DESC))[1]",
            column(Part::At)
        ),
    }
}

/// The measures of a rollup of a rollup: those of the source that are named, or without any, all. They
/// keep their names, and their columns go on naming the raw table's, so that an average finds the sum
/// and the count beside it wherever it is stored.
pub fn inherit_measures(given: Option<Vec<Measure>>, source: &Rollup) -> Result<Vec<Measure>> {
    let Some(given) = given else {
        return Ok(source.measures.clone());
    };
    let mut wanted: Vec<String> = Vec::new();
    for measure in &given {
        let Some(held) = source
            .measures
            .iter()
            .find(|held| held.name == measure.name && held.function == measure.function)
        else {
            let known: Vec<_> = source
                .measures
                .iter()
                .map(|held| format!("{} ({:?})", held.name, held.function).to_lowercase())
                .collect();
            return Err(Error::invalid(
                "a rollup of a rollup keeps measures of its source, under their names",
            )
            .detail(format!(
                "measure {:?} of {}",
                measure.name,
                source.table.sql()
            ))
            .hint(format!("choose of: {}", known.join(", "))));
        };
        wanted.push(held.name.clone());
        for &part in parts(held.function) {
            wanted.push(part_column(&source.measures, held, part));
        }
    }
    Ok(source
        .measures
        .iter()
        .filter(|held| wanted.contains(&held.name))
        .cloned()
        .collect())
}
