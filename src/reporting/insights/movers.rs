//! What moved a metric from one period to the next: the workflows, each on its accounts.

use super::series::{Ratio, Source, float};
use super::{Finding, MOVER, filters, given, unit, within};
use crate::error::Result;
use crate::postgres::json::JsonText;
use crate::postgres::numeric::Numeric;
use crate::postgres::spi;
use gemba_core::insights::movers::{self, Item, Mover, Movers};
use gemba_core::insights::text;
use pgrx::Uuid;
use pgrx::datum::Date;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::json;
use std::collections::HashMap;

/// So many periods before the previous one say how much an item moves anyway.
pub const HISTORY: i32 = 12;

/// A workflow on an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair {
    workflow: [u8; 16],
    instance: [u8; 16],
}

/// One period of it, counted back from the newest one.
struct Figure {
    ago: i32,
    key: String,
    /// Not finite where the period was collected and has no such metric.
    value: f64,
}

/// What moved, as findings: what rose most first, then what fell most.
///
/// # Errors
/// Figures that are too large.
pub fn find(source: &Source, most: i32) -> Result<Vec<Finding>> {
    let ratio = source.ratio()?;
    let Some(pairs) = read(source, ratio.as_ref())? else {
        return Ok(Vec::new());
    };
    // Some are not as far as others; comparing what has come of them with nothing would be a fall.
    let (here, left_out): (Vec<_>, Vec<_>) = pairs
        .into_iter()
        .partition(|(_, figures)| comparable(figures, ratio.is_some()));
    let names = names(here.iter().map(|(pair, _)| *pair))?;
    let mut places = HashMap::new();
    let mut items = Vec::with_capacity(here.len());
    for ((pair, figures), name) in here.iter().zip(names) {
        items.push(item(&name, figures));
        places.insert(name, (*pair, figures));
    }
    let mut found = movers::movers(&items, most as usize)?;
    if ratio.is_some() {
        // The ratio of all is not the sum of theirs.
        for mover in found.risers.iter_mut().chain(&mut found.fallers) {
            mover.share = None;
        }
    }
    let total = ratio.is_none().then_some(found.change);
    let Movers {
        risers, fallers, ..
    } = found;
    Ok(risers
        .into_iter()
        .chain(fallers)
        .filter_map(|mover| {
            let (pair, figures) = places.get(&mover.name)?;
            let key = |ago| {
                let figure = figures.iter().find(|figure| figure.ago == ago);
                figure.map(|figure| figure.key.clone())
            };
            Some(Finding {
                kind: MOVER,
                metric: source.metric.to_owned(),
                workflow: Some(Uuid::from_bytes(pair.workflow)),
                instance: Some(Uuid::from_bytes(pair.instance)),
                period: key(0),
                summary: text::mover(source.metric, &mover),
                numbers: numbers(&mover, total, key(1), left_out.len()),
                confidence: mover.confidence(),
            })
        })
        .collect())
}

fn numbers(
    mover: &Mover,
    total: Option<f64>,
    previous_period: Option<String>,
    left_out: usize,
) -> serde_json::Value {
    json!({
        "name": mover.name,
        "presence": mover.presence.as_str(),
        "previous": mover.previous,
        "current": mover.current,
        "change": mover.change,
        "relative": mover.relative,
        "share": mover.share,
        "total_change": total,
        "previous_period": previous_period,
        "earlier_changes": mover.earlier,
        "smaller_changes": mover.smaller,
        "not_comparable": left_out,
    })
}

/// All pairs and their figures, the newest first; `None` where nobody has any.
fn read(source: &Source, ratio: Option<&Ratio>) -> Result<Option<Vec<(Pair, Vec<Figure>)>>> {
    let mut arguments = source.arguments(ratio, None, source.until);
    // Of a ratio the factor is not needed here; the number of periods takes its place.
    arguments.pop();
    arguments.push((HISTORY + 1).into());
    let newest = spi::read_row(
        concat!(include_str!("figures.sql"), include_str!("newest.sql")),
        &arguments,
        |row| Ok((row.get::<Date>(1)?, row.get::<Date>(2)?)),
    )?;
    let Some((newest, since)) = newest else {
        return Ok(None);
    };
    let mut pairs: Vec<(Pair, Vec<Figure>)> = Vec::new();
    let rows = spi::read_all(
        concat!(include_str!("figures.sql"), include_str!("movers.sql")),
        &source.arguments(ratio, since, newest),
        |row| {
            Ok((
                row.get::<Uuid>(1)?,
                row.get::<Uuid>(2)?,
                Figure {
                    ago: row.get(3)?.unwrap_or_default(),
                    key: row.get(4)?.unwrap_or_default(),
                    value: float(row.get(5)?),
                },
            ))
        },
    )?;
    for (workflow, instance, figure) in rows {
        let (Some(workflow), Some(instance)) = (workflow, instance) else {
            continue;
        };
        let pair = Pair {
            workflow: *workflow.as_bytes(),
            instance: *instance.as_bytes(),
        };
        match pairs.last_mut() {
            Some((last, figures)) if *last == pair => figures.push(figure),
            _ => pairs.push((pair, vec![figure])),
        }
    }
    Ok(Some(pairs))
}

/// Both periods were collected; or the pair is new, and its first period is the newest one. A ratio needs both
/// values: it does not become zero where there is none.
fn comparable(figures: &[Figure], ratio: bool) -> bool {
    let value = |ago| {
        let figure = figures.iter().find(|figure| figure.ago == ago);
        figure.map(|figure| figure.value)
    };
    match (value(0), value(1)) {
        (Some(current), Some(previous)) => !ratio || (current.is_finite() && previous.is_finite()),
        (Some(_), None) => !ratio && figures.len() == 1,
        (None, _) => false,
    }
}

fn item(name: &str, figures: &[Figure]) -> Item {
    let value = |ago| {
        let figure = figures.iter().find(|figure| figure.ago == ago)?;
        figure.value.is_finite().then_some(figure.value)
    };
    Item {
        name: name.to_owned(),
        previous: value(1),
        current: value(0),
        history: (2..=HISTORY + 1).rev().map(value).collect(),
    }
}

/// What people call the pairs: the workflow, with the account where several are looked at, with ids where
/// that is not enough or the caller may not read the name.
fn names(pairs: impl Iterator<Item = Pair>) -> Result<Vec<String>> {
    let pairs: Vec<Pair> = pairs.collect();
    let workflows = named(
        "SELECT w.id, w.name FROM reporting.workflows AS w WHERE w.id = ANY ($1)",
        pairs.iter().map(|pair| pair.workflow),
    )?;
    let instances = named(
        "SELECT i.id, i.instance_name FROM reporting.amc_instances AS i WHERE i.id = ANY ($1)",
        pairs.iter().map(|pair| pair.instance),
    )?;
    let name = |names: &HashMap<[u8; 16], String>, id: [u8; 16]| match names.get(&id) {
        Some(name) => name.clone(),
        None => Uuid::from_bytes(id).to_string(),
    };
    let accounts = count(pairs.iter().map(|pair| pair.workflow));
    let mut all: Vec<String> = pairs
        .iter()
        .map(|pair| {
            let workflow = name(&workflows, pair.workflow);
            if accounts.get(&pair.workflow) == Some(&1) {
                workflow
            } else {
                format!("{workflow} on {}", name(&instances, pair.instance))
            }
        })
        .collect();
    let alike = count(all.clone().into_iter());
    for (pair, name) in pairs.iter().zip(&mut all) {
        if alike.get(name) != Some(&1) {
            let (workflow, instance) = (
                Uuid::from_bytes(pair.workflow),
                Uuid::from_bytes(pair.instance),
            );
            *name = format!("{name} ({workflow}, {instance})");
        }
    }
    Ok(all)
}

fn named(sql: &str, ids: impl Iterator<Item = [u8; 16]>) -> Result<HashMap<[u8; 16], String>> {
    let ids: Vec<Uuid> = ids.map(Uuid::from_bytes).collect();
    let rows = spi::read_all(sql, &[ids.into()], |row| {
        Ok((row.get::<Uuid>(1)?, row.get::<String>(2)?))
    })?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, name)| Some((*id?.as_bytes(), name?)))
        .collect())
}

fn count<T: Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}

#[pg_extern(schema = "reporting", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn detect_movers(
    metric: Option<&str>,
    aggregation: default!(Option<&str>, "'weekly'"),
    most: default!(Option<i32>, "5"),
    workflows: default!(Option<Vec<Option<Uuid>>>, "NULL"),
    filters: default!(Option<JsonText>, "'{}'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(insight_type, &'static str),
            name!(metric_name, String),
            name!(workflow_id, Option<Uuid>),
            name!(instance_id, Option<Uuid>),
            name!(period_key, Option<String>),
            name!(summary, String),
            name!(numbers, JsonText),
            name!(confidence, Option<Numeric>),
        ),
    >,
    ErrorReport,
> {
    let source = Source {
        workflows: workflows.map(|workflows| workflows.into_iter().flatten().collect()),
        instances: None,
        metric: given("metric", metric)?,
        unit: unit(aggregation)?,
        filters: &self::filters(filters)?,
        until: None,
    };
    let most = within("most", most, 1..=100)?;
    let found = spi::with_callers_snapshot(|| find(&source, most))?;
    Ok(TableIterator::new(found.into_iter().map(Finding::row)))
}
