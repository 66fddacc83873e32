//! What a batch needs to know of the plant, read once: settings, machines, shifts, targets.

use super::{Refusal, rows};
use crate::error::{Error, Result};
use crate::postgres::{spi, time};
use gemba_core::shifts::{Counting, Shift, Target};
use pgrx::Uuid;
use pgrx::prelude::*;
use rust_decimal::Decimal;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

/// In place of an id that cannot be missing.
pub fn nobody() -> Uuid {
    Uuid::from_bytes([0; 16])
}

/// A machine's number in this batch.
pub type AssetNo = usize;

pub struct Asset {
    pub id: Uuid,
    pub planned_minutes: Option<Decimal>,
    pub ideal_rate: Option<Decimal>,
    pub hourly_rate: Option<Decimal>,
    pub cost_per_unit: Option<Decimal>,
    pub targets: Vec<Target>,
}

pub struct Settings {
    pub zone: time::ServerZone,
    pub day_starts: i64,
    pub counting: Counting,
    pub tolerance_pct: Decimal,
    pub clock_tolerance: i64,
    pub default_planned_minutes: Decimal,
    pub default_ideal_rate: Decimal,
    pub default_hourly_rate: Decimal,
    pub default_cost_per_unit: Decimal,
    pub default_severity: String,
    /// The transaction's time.
    pub now: i64,
}

pub struct Model {
    pub settings: Settings,
    pub shifts: Vec<Shift>,
    pub assets: Vec<Asset>,
    by_id: HashMap<[u8; 16], AssetNo>,
    by_source: HashMap<String, AssetNo>,
}

/// How a row names its machine: by its id, by what the source system calls it, or by both.
pub struct Name<'a> {
    id: Option<[u8; 16]>,
    source: Option<Cow<'a, str>>,
}

/// The names that a row has.
pub fn name<'a>(
    asset_id: Option<&'a RawValue>,
    source_id: Option<&'a RawValue>,
) -> Result<Name<'a>, Refusal> {
    let id = rows::text("asset_id", asset_id)?
        .map(|text| {
            uuid::Uuid::try_parse(text.trim()).map_err(|_| {
                let reason = format!("asset_id is not a uuid: {}", rows::quoted(&text));
                Refusal::of("asset_id", reason)
            })
        })
        .transpose()?
        .map(uuid::Uuid::into_bytes);
    let source = rows::text("source_id", source_id)?;
    if id.is_none() && source.is_none() {
        let reason = "asset_id and source_id are both missing";
        return Err(Refusal::of("asset_id", reason));
    }
    Ok(Name { id, source })
}

/// What has to be looked up of a machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Costs, speeds and targets.
    Daily,
    /// Targets only.
    Live,
}

impl Model {
    /// Reads what the machines of these names need. They cannot be deleted until the transaction ends.
    pub fn read<'a>(names: impl Iterator<Item = &'a Name<'a>>, detail: Detail) -> Result<Self> {
        let (mut ids, mut sources) = (Vec::new(), Vec::new());
        for name in names {
            ids.extend(name.id);
            sources.extend(name.source.as_deref().map(str::to_owned));
        }
        ids.sort_unstable();
        ids.dedup();
        sources.sort_unstable();
        sources.dedup();
        let mut model = Self {
            settings: settings()?,
            shifts: shifts()?,
            assets: Vec::new(),
            by_id: HashMap::new(),
            by_source: HashMap::new(),
        };
        let found = assets(ids, sources, detail)?;
        for (number, (source, asset)) in found.into_iter().enumerate() {
            model.by_id.insert(*asset.id.as_bytes(), number);
            model.by_source.insert(source, number);
            model.assets.push(asset);
        }
        model.read_targets()?;
        Ok(model)
    }

    /// The machine that a row names.
    pub fn asset(&self, name: &Name) -> Result<AssetNo, Refusal> {
        let by_id = name
            .id
            .map(|id| {
                self.by_id.get(&id).copied().ok_or_else(|| {
                    let id = uuid::Uuid::from_bytes(id);
                    Refusal::of("asset_id", format!("no asset has the id {id}"))
                })
            })
            .transpose()?;
        let by_source = name
            .source
            .as_deref()
            .map(|source| {
                self.by_source.get(source).copied().ok_or_else(|| {
                    let reason = format!("no asset has the source_id {}", rows::quoted(source));
                    Refusal::of("source_id", reason)
                })
            })
            .transpose()?;
        match (by_id, by_source) {
            (Some(id), Some(source)) if id != source => Err(Refusal::of(
                "source_id",
                "asset_id and source_id name different assets",
            )),
            (Some(asset), _) | (None, Some(asset)) => Ok(asset),
            (None, None) => Err(Refusal::of(
                "asset_id",
                "asset_id and source_id are both missing",
            )),
        }
    }

    fn read_targets(&mut self) -> Result<()> {
        let ids: Vec<Uuid> = self.assets.iter().map(|asset| asset.id).collect();
        for (id, target) in targets(&ids, &self.shifts)? {
            if let Some(number) = self.by_id.get(id.as_bytes()) {
                self.assets[*number].targets.push(target);
            }
        }
        Ok(())
    }
}

/// The targets of these machines, of all dates.
pub fn targets(assets: &[Uuid], shifts: &[Shift]) -> Result<Vec<(Uuid, Target)>> {
    let shift_numbers: HashMap<&str, usize> = shifts
        .iter()
        .enumerate()
        .map(|(number, shift)| (shift.name.as_str(), number))
        .collect();
    let rows = spi::read_all(
        "SELECT t.asset_id, t.shift::text, t.effective_date - date '2000-01-01', t.target_output
           FROM unnest($1) AS wanted (id) JOIN plant.shift_targets t ON t.asset_id = wanted.id",
        &[assets.to_vec().into()],
        |row| {
            Ok((
                row.get::<Uuid>(1)?.unwrap_or_else(nobody),
                row.get::<String>(2)?,
                row.get::<i32>(3)?,
                row.get::<i32>(4)?.unwrap_or_default(),
            ))
        },
    )?;
    Ok(rows
        .into_iter()
        .filter_map(|(asset, shift, effective, output)| {
            let shift = match shift {
                // A shift that came after the shifts were read is left out.
                Some(name) => Some(*shift_numbers.get(name.as_str())?),
                None => None,
            };
            let target = Target {
                shift,
                effective,
                output: output.into(),
            };
            Some((asset, target))
        })
        .collect())
}

fn decimal(row: &pgrx::spi::SpiHeapTupleData, column: usize) -> Result<Option<Decimal>> {
    Ok(row
        .get::<crate::postgres::numeric::Numeric>(column)?
        .map(|value| value.0))
}

fn assets(
    ids: Vec<[u8; 16]>,
    sources: Vec<String>,
    detail: Detail,
) -> Result<Vec<(String, Asset)>> {
    let ids: Vec<Uuid> = ids.into_iter().map(Uuid::from_bytes).collect();
    spi::write_returning(
        "SELECT a.id, a.source_id::text, a.planned_minutes, a.ideal_rate, c.standard_hourly_rate, c.cost_per_unit
           FROM (SELECT x.id, x.source_id, x.planned_minutes, x.ideal_rate FROM plant.assets x
                  WHERE x.id IN (SELECT unnest($1)
                                  UNION ALL
                                 SELECT y.id FROM unnest($2::varchar[]) AS named (source_id)
                                   JOIN plant.assets y ON y.source_id = named.source_id)
                  ORDER BY x.id FOR KEY SHARE) AS a
           LEFT JOIN plant.cost_centers c ON $3 AND c.asset_id = a.id",
        &[ids.into(), sources.into(), (detail == Detail::Daily).into()],
        |row| {
            Ok((
                row.get::<String>(2)?.unwrap_or_default(),
                Asset {
                    id: row.get::<Uuid>(1)?.unwrap_or_else(nobody),
                    planned_minutes: decimal(row, 3)?,
                    ideal_rate: decimal(row, 4)?,
                    hourly_rate: decimal(row, 5)?,
                    cost_per_unit: decimal(row, 6)?,
                    targets: Vec::new(),
                },
            ))
        },
    )
}

/// The plant's settings.
///
/// # Errors
/// `55000` when somebody has deleted the row.
pub fn settings() -> Result<Settings> {
    let settings = spi::read_row(
        "SELECT s.time_zone, pg_catalog.date_part('epoch', s.day_starts_at)::bigint, s.live_counts_per,
                s.tolerance_pct, (pg_catalog.date_part('epoch', s.clock_tolerance) * 1000000)::bigint,
                s.default_planned_minutes, s.default_ideal_rate, s.default_hourly_rate, s.default_cost_per_unit,
                s.default_severity, pg_catalog.now()
           FROM plant.settings s",
        &[],
        |row| {
            let required = |column| decimal(row, column).map(Option::unwrap_or_default);
            Ok(Settings {
                zone: time::ServerZone::trusted(&row.get::<String>(1)?.unwrap_or_default()),
                day_starts: row.get::<i64>(2)?.unwrap_or_default() * 1_000_000,
                counting: if row.get::<String>(3)?.as_deref() == Some("day") {
                    Counting::Day
                } else {
                    Counting::Shift
                },
                tolerance_pct: required(4)?,
                clock_tolerance: row.get::<i64>(5)?.unwrap_or_default(),
                default_planned_minutes: required(6)?,
                default_ideal_rate: required(7)?,
                default_hourly_rate: required(8)?,
                default_cost_per_unit: required(9)?,
                default_severity: row.get::<String>(10)?.unwrap_or_default(),
                now: row.get::<TimestampWithTimeZone>(11)?.map_or(0, time::micros),
            })
        },
    )?;
    settings.ok_or_else(|| {
        Error::state("the plant has no settings")
            .detail("table plant.settings is empty")
            .hint("INSERT INTO plant.settings DEFAULT VALUES")
    })
}

/// The shifts, in the order of their names.
pub fn shifts() -> Result<Vec<Shift>> {
    spi::read_all(
        "SELECT s.name::text, pg_catalog.date_part('epoch', s.starts_at)::bigint,
                pg_catalog.date_part('epoch', s.ends_at)::bigint
           FROM plant.shifts s ORDER BY s.name COLLATE \"C\"",
        &[],
        |row| {
            Ok(Shift {
                name: row.get::<String>(1)?.unwrap_or_default(),
                starts: row.get::<i64>(2)?.unwrap_or_default() * 1_000_000,
                ends: row.get::<i64>(3)?.unwrap_or_default() * 1_000_000,
            })
        },
    )
}
