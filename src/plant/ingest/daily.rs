//! Pipeline A: one row a machine and day.

use super::model::{self, AssetNo, Detail, Model};
use super::{Given, Outcome, Parsed, Refusal, parsed, rows};
use crate::error::Result;
use crate::postgres::{lock, role, spi};
use gemba_core::fixed::Fixed;
use gemba_core::losses::{Loss, financial_loss};
use gemba_core::oee::{Figures, Ideal, Production, State, rounded};
use gemba_core::shifts;
use pgrx::Uuid;
use rust_decimal::Decimal;
use std::collections::HashMap;

/// Minutes of the longest day that there is, when the clocks go back.
const LONGEST_DAY: Decimal = Decimal::from_parts(1_500, 0, 0, false, 0);

/// What numeric(10,2) holds, of a percentage.
const HIGHEST_PERCENTAGE: Decimal = Decimal::from_parts(99_999_999, 0, 0, false, 0);

/// What numeric(12,2) holds.
const HIGHEST_LOSS: Decimal = Decimal::from_parts(1_410_065_407, 2, 0, false, 0); // 9,999,999,999

/// A computed day.
#[derive(PartialEq)]
struct Day {
    asset: AssetNo,
    date: i32,
    state: State,
    total: i32,
    good: i32,
    waste: i32,
    target: Option<i32>,
    planned_minutes: i32,
    downtime_minutes: i32,
    loss: Loss,
    estimated: Vec<&'static str>,
}

/// Takes the rows; of several for one machine and day the last one counts.
pub fn ingest(given: &[Given]) -> Result<Outcome> {
    // Summaries look at the days before and are looked at by the days after: one call at a time, and each
    // sees what the one before it did.
    role::require_current_snapshots("daily rows cannot be ingested")?;
    lock::take_turns_beside_writers("plant.daily_summaries")?;
    let mut outcome = Outcome::default();
    let parsed = parsed::<rows::Daily>(given, &mut outcome);
    let model = Model::read(parsed.iter().map(|parsed| &parsed.name), Detail::Daily)?;
    let tomorrow = shifts::production_date(
        model.settings.now,
        model.settings.day_starts,
        &model.settings.zone,
    ) + 1;
    let mut days: HashMap<(AssetNo, i32), (&Given, Day)> = HashMap::with_capacity(parsed.len());
    for Parsed { row, fields, name } in &parsed {
        match model
            .asset(name)
            .and_then(|asset| compute(&model, asset, fields, tomorrow))
        {
            Ok(day) => {
                if let Some((earlier, before)) = days.remove(&(day.asset, day.date)) {
                    if before == day {
                        outcome.unchanged += 1;
                    } else {
                        outcome.refuse(earlier, superseded("for this asset and date"));
                    }
                }
                days.insert((day.asset, day.date), (row, day));
            }
            Err(refusal) => outcome.refuse(row, refusal),
        }
    }
    let mut days: Vec<Day> = days.into_values().map(|(_, day)| day).collect();
    days.sort_unstable_by_key(|day| (day.asset, day.date));
    write(&model, &days, &mut outcome)?;
    outcome.store_rejects("daily")?;
    Ok(outcome)
}

pub fn superseded(what: &str) -> Refusal {
    Refusal {
        field: None,
        reason: format!("superseded by a later row of the same call {what}"),
    }
}

fn compute(
    model: &Model,
    number: AssetNo,
    row: &rows::Daily,
    tomorrow: i32,
) -> Result<Day, Refusal> {
    let (asset, settings) = (&model.assets[number], &model.settings);
    let mut estimated = Vec::new();
    let mut or_default = |name, own: Option<Decimal>, default| {
        own.unwrap_or_else(|| {
            estimated.push(name);
            default
        })
    };
    let date = rows::date("report_date", row.report_date)?;
    if date > tomorrow {
        return Err(Refusal::of("report_date", "report_date is in the future"));
    }
    let planned_minutes = or_default(
        "planned_minutes",
        rows::amount("planned_minutes", row.planned_minutes)?.or(asset.planned_minutes),
        settings.default_planned_minutes,
    );
    if planned_minutes > LONGEST_DAY {
        let reason = format!("planned_minutes is more than a day has: {planned_minutes}");
        return Err(Refusal::of("planned_minutes", reason));
    }
    let downtime_minutes = or_default(
        "downtime_minutes",
        rows::amount("downtime_minutes", row.downtime_minutes)?,
        Decimal::ZERO,
    );
    let ideal = match (
        rows::amount("ideal_rate", row.ideal_rate)?,
        rows::amount("ideal_cycle_seconds", row.ideal_cycle_seconds)?,
    ) {
        (Some(_), Some(_)) => {
            return Err(Refusal::of(
                "ideal_rate",
                "ideal_rate and ideal_cycle_seconds say the same thing: give one of them",
            ));
        }
        (None, Some(cycle)) => Ideal::CycleSeconds(fixed("ideal_cycle_seconds", cycle)?),
        (own, None) => {
            let own = own.or(asset.ideal_rate);
            let rate = or_default("ideal_rate", own, settings.default_ideal_rate);
            Ideal::UnitsPerHour(fixed("ideal_rate", rate)?)
        }
    };
    let hourly_rate = or_default(
        "hourly_rate",
        asset.hourly_rate,
        settings.default_hourly_rate,
    );
    let cost_per_unit = or_default(
        "cost_per_unit",
        asset.cost_per_unit,
        settings.default_cost_per_unit,
    );
    let (total, good, waste) = counts(row, &mut estimated)?;
    let state = State::of(&Production {
        planned_minutes: fixed("planned_minutes", planned_minutes)?,
        downtime_minutes: fixed("downtime_minutes", downtime_minutes)?,
        ideal,
        total_count: total.into(),
        good_count: good.into(),
    })?;
    if percentage(state.figures().performance_raw).is_some_and(|raw| raw > HIGHEST_PERCENTAGE) {
        return Err(Refusal::of(
            "ideal_rate",
            "the machine would have run a million times as fast as ideal",
        ));
    }
    let loss = financial_loss(downtime_minutes, hourly_rate, waste.into(), cost_per_unit)?;
    if loss.total > HIGHEST_LOSS {
        let reason = format!("the loss is too large: {}", loss.total);
        return Err(Refusal::of("waste_count", reason));
    }
    let target = match rows::count("target_output", row.target_output)? {
        Some(target) => Some(target),
        None => shifts::target_of_day(date, &model.shifts, &asset.targets)
            .map(|target| i32::try_from(target).unwrap_or(i32::MAX)),
    };
    Ok(Day {
        asset: number,
        date,
        state,
        total,
        good,
        waste,
        target,
        planned_minutes: minutes(planned_minutes),
        downtime_minutes: minutes(downtime_minutes),
        loss,
        estimated,
    })
}

fn fixed(name: &'static str, value: Decimal) -> Result<Fixed, Refusal> {
    Fixed::of(value).ok_or_else(|| Refusal::of(name, format!("{name} is too large: {value}")))
}

/// Total, good and waste: of the last two either follows from the other.
fn counts(
    row: &rows::Daily,
    estimated: &mut Vec<&'static str>,
) -> Result<(i32, i32, i32), Refusal> {
    let Some(total) = rows::count("total_count", row.total_count)? else {
        return Err(Refusal::of("total_count", "total_count is missing"));
    };
    let good = rows::count("good_count", row.good_count)?;
    let waste = rows::count("waste_count", row.waste_count)?;
    let rest = |name: &'static str, part: i32| {
        total
            .checked_sub(part)
            .filter(|rest| *rest >= 0)
            .ok_or_else(|| {
                Refusal::of(
                    name,
                    format!("{name} is more than the total: {part} of {total}"),
                )
            })
    };
    match (good, waste) {
        (Some(good), Some(waste)) => {
            // What is neither is being worked on again.
            if rest("good_count", good)? < waste {
                let reason = format!(
                    "good_count and waste_count are more than the total: {good} + {waste} of {total}"
                );
                return Err(Refusal::of("waste_count", reason));
            }
            Ok((total, good, waste))
        }
        (Some(good), None) => Ok((total, good, rest("good_count", good)?)),
        (None, Some(waste)) => Ok((total, rest("waste_count", waste)?, waste)),
        (None, None) => {
            estimated.push("good_count");
            Ok((total, total, 0))
        }
    }
}

/// To the minute; a day's are few.
fn minutes(value: Decimal) -> i32 {
    i32::try_from(rounded(value, 0).trunc()).unwrap_or(i32::MAX)
}

fn percentage(ratio: Option<Decimal>) -> Option<Decimal> {
    ratio
        .and_then(|ratio| ratio.checked_mul(Decimal::ONE_HUNDRED))
        .map(|percentage| rounded(percentage, 2))
}

fn percentage_text(ratio: Option<Decimal>) -> Option<String> {
    percentage(ratio).map(|value| value.to_string())
}

/// A `plant.oee_state` as a literal.
fn state_text(state: &State) -> String {
    let parts: Vec<String> = state.parts().iter().map(ToString::to_string).collect();
    format!("({})", parts.join(","))
}

fn write(model: &Model, days: &[Day], outcome: &mut Outcome) -> Result<()> {
    if days.is_empty() {
        return Ok(());
    }
    let assets: Vec<Uuid> = days.iter().map(|day| model.assets[day.asset].id).collect();
    let dates: Vec<i32> = days.iter().map(|day| day.date).collect();
    let texts = |of: &dyn Fn(&Day) -> Option<String>| -> Vec<Option<String>> {
        days.iter().map(of).collect()
    };
    let whole =
        |of: &dyn Fn(&Day) -> Option<i32>| -> Vec<Option<i32>> { days.iter().map(of).collect() };
    let figures: Vec<Figures> = days.iter().map(|day| day.state.figures()).collect();
    let ratio = |of: fn(&Figures) -> Option<Decimal>| -> Vec<Option<String>> {
        figures
            .iter()
            .map(|figures| percentage_text(of(figures)))
            .collect()
    };
    let written = spi::write_returning(
        include_str!("daily.sql"),
        &[
            assets.into(),
            dates.into(),
            ratio(|f| f.oee).into(),
            whole(&|day| Some(day.total)).into(),
            whole(&|day| day.target).into(),
            whole(&|day| Some(day.downtime_minutes)).into(),
            whole(&|day| Some(day.waste)).into(),
            texts(&|day| Some(day.loss.total.to_string())).into(),
            ratio(|f| f.availability).into(),
            ratio(|f| f.performance).into(),
            ratio(|f| f.performance_raw).into(),
            ratio(|f| f.quality).into(),
            whole(&|day| Some(day.planned_minutes)).into(),
            whole(&|day| Some(day.good)).into(),
            texts(&|day| Some(day.loss.downtime.to_string())).into(),
            texts(&|day| Some(day.loss.waste.to_string())).into(),
            texts(&|day| Some(state_text(&day.state))).into(),
            texts(&|day| Some(format!("{{{}}}", day.estimated.join(",")))).into(),
        ],
        |row| {
            Ok((
                row.get::<Uuid>(1)?.unwrap_or_else(model::nobody),
                row.get::<i32>(2)?.unwrap_or_default(),
                row.get::<bool>(3)?.unwrap_or_default(),
            ))
        },
    )?;
    let inserted = written.iter().filter(|(.., inserted)| *inserted).count() as i64;
    outcome.inserted += inserted;
    outcome.updated += written.len() as i64 - inserted;
    outcome.unchanged += (days.len() - written.len()) as i64;
    if written.is_empty() {
        return Ok(());
    }
    // A day's text speaks of the seven days before it, so a late row changes those of the seven after.
    let (assets, dates): (Vec<Uuid>, Vec<i32>) = written
        .into_iter()
        .map(|(asset, date, _)| (asset, date))
        .unzip();
    spi::write(
        include_str!("summaries.sql"),
        &[assets.into(), dates.into()],
    )?;
    Ok(())
}
