//! The formulas as SQL functions. What they compute stands in `gemba_core::{oee, losses, variance}`.

#![expect(unsafe_code, reason = "values of composite types are made of datums")]

use crate::error::{Error, Result};
use crate::postgres::composite::{Composite, composite};
use crate::postgres::numeric::Numeric;
use gemba_core::fixed::Fixed;
use gemba_core::oee::{Figures, Ideal, Production, State};
use gemba_core::{losses, variance};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use rust_decimal::Decimal;

/// A value of a composite type of numerics.
pub fn numerics(name: &str, fields: &[Option<Decimal>]) -> Result<Composite> {
    let datums: Vec<_> = fields
        .iter()
        .map(|field| field.and_then(|value| Numeric(value).into_datum()))
        .collect();
    // SAFETY: all fields of these types are numeric.
    unsafe { composite(name, &datums) }
}

pub fn figures(figures: &Figures) -> Result<Composite> {
    numerics(
        "plant.oee_figures",
        &[
            figures.availability,
            figures.performance,
            figures.performance_raw,
            figures.quality,
            figures.oee,
        ],
    )
}

fn fixed(name: &str, value: Numeric) -> Result<Fixed> {
    Fixed::of(value.0).ok_or_else(|| {
        Error::new(
            PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            format!("{name} is too large"),
        )
        .detail(format!("{name} {}", value.0))
        .hint("give at most 26 digits before the point")
    })
}

fn production(
    planned_minutes: Numeric,
    downtime_minutes: Numeric,
    ideal_cycle_seconds: Numeric,
    total_count: i64,
    good_count: i64,
) -> Result<Production> {
    Ok(Production {
        planned_minutes: fixed("planned_minutes", planned_minutes)?,
        downtime_minutes: fixed("downtime_minutes", downtime_minutes)?,
        ideal: Ideal::CycleSeconds(fixed("ideal_cycle_seconds", ideal_cycle_seconds)?),
        total_count,
        good_count,
    })
}

#[pg_extern(schema = "plant", immutable, parallel_safe, strict, requires = ["plant_types"])]
#[search_path(pg_catalog, pg_temp)]
fn oee(
    planned_minutes: Numeric,
    downtime_minutes: Numeric,
    ideal_cycle_seconds: Numeric,
    total_count: i64,
    good_count: i64,
) -> Result<pgrx::composite_type!('static, "plant.oee_figures"), ErrorReport> {
    let state = State::of(&production(
        planned_minutes,
        downtime_minutes,
        ideal_cycle_seconds,
        total_count,
        good_count,
    )?)
    .map_err(Error::from)?;
    Ok(figures(&state.figures())?)
}

#[pg_extern(schema = "plant", immutable, parallel_safe, strict, requires = ["plant_types"])]
#[search_path(pg_catalog, pg_temp)]
fn teep(
    planned_minutes: Numeric,
    downtime_minutes: Numeric,
    ideal_cycle_seconds: Numeric,
    total_count: i64,
    good_count: i64,
    calendar_minutes: default!(Numeric, "1440"),
) -> Result<pgrx::composite_type!('static, "plant.teep_figures"), ErrorReport> {
    let calendar = fixed("calendar_minutes", calendar_minutes)?;
    let teep = State::of(&production(
        planned_minutes,
        downtime_minutes,
        ideal_cycle_seconds,
        total_count,
        good_count,
    )?)
    .and_then(|state| state.teep(calendar))
    .map_err(Error::from)?;
    Ok(numerics(
        "plant.teep_figures",
        &[teep.utilisation, teep.oee, teep.teep],
    )?)
}

#[pg_extern(schema = "plant", name = "variance", immutable, parallel_safe, strict, requires = ["plant_types"])]
#[search_path(pg_catalog, pg_temp)]
fn variance_sql(
    actual: Numeric,
    target: Numeric,
    tolerance_pct: default!(Numeric, "5"),
) -> Result<pgrx::composite_type!('static, "plant.variance_figures"), ErrorReport> {
    let found = variance::variance(actual.0, target.0, tolerance_pct.0).map_err(Error::from)?;
    let fields = [
        Numeric(found.variance).into_datum(),
        found
            .percentage
            .and_then(|value| Numeric(value).into_datum()),
        found.status.as_str().into_datum(),
    ];
    // SAFETY: numeric, numeric, text, as the type is declared.
    Ok(unsafe { composite("plant.variance_figures", &fields) }?)
}

#[pg_extern(schema = "plant", immutable, parallel_safe, strict, requires = ["plant_types"])]
#[search_path(pg_catalog, pg_temp)]
fn financial_loss(
    downtime_minutes: Numeric,
    hourly_rate: Numeric,
    waste_count: i64,
    cost_per_unit: Numeric,
) -> Result<pgrx::composite_type!('static, "plant.loss_figures"), ErrorReport> {
    let loss = losses::financial_loss(
        downtime_minutes.0,
        hourly_rate.0,
        waste_count,
        cost_per_unit.0,
    )
    .map_err(Error::from)?;
    Ok(numerics(
        "plant.loss_figures",
        &[Some(loss.downtime), Some(loss.waste), Some(loss.total)],
    )?)
}

#[pg_extern(schema = "plant", immutable, parallel_safe, strict, requires = ["plant_types"])]
#[search_path(pg_catalog, pg_temp)]
fn loss_waterfall(
    planned_minutes: Numeric,
    downtime_minutes: Numeric,
    ideal_cycle_seconds: Numeric,
    total_count: i64,
    good_count: i64,
    value_per_unit: Numeric,
) -> Result<pgrx::composite_type!('static, "plant.waterfall_figures"), ErrorReport> {
    let fall = losses::waterfall(
        &production(
            planned_minutes,
            downtime_minutes,
            ideal_cycle_seconds,
            total_count,
            good_count,
        )?,
        value_per_unit.0,
    )
    .map_err(Error::from)?;
    Ok(numerics(
        "plant.waterfall_figures",
        &[
            Some(fall.planned),
            Some(fall.availability),
            Some(fall.performance),
            Some(fall.quality),
            Some(fall.total),
            Some(fall.good),
        ],
    )?)
}
