//! Time in each machine state, with the state carried in from before the window.

use super::ingest::model::nobody;
use crate::error::{Error, Result};
use crate::postgres::numeric::Numeric;
use crate::postgres::{spi, time};
use gemba_core::oee::{PLACES, rounded};
use gemba_core::states::{self, Availability, Event, Spell, State};
use pgrx::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use rust_decimal::Decimal;
use std::collections::{BTreeMap, HashMap};

/// What a machine did in the window, and the reasons that its spells refer to.
struct Machine {
    asset: Uuid,
    spells: Vec<Spell>,
}

/// The window up to now at most: time that has not happened is not counted.
fn window(
    from: Option<TimestampWithTimeZone>,
    to: Option<TimestampWithTimeZone>,
) -> Result<(i64, i64)> {
    let (Some(from), Some(to)) = (from, to) else {
        return Err(Error::invalid("from_ts and to_ts must not be null")
            .hint("give the window as two instants"));
    };
    let (from, to) = (time::micros(from), time::micros(to));
    if from >= to || from == i64::MIN || to == i64::MAX {
        return Err(
            Error::invalid("from_ts must be before to_ts, and both finite")
                .detail(format!(
                    "from {} to {}",
                    time::timestamptz(from),
                    time::timestamptz(to)
                ))
                .hint("the range is half-open: to_ts is the first instant that does not count"),
        );
    }
    Ok((from, to.min(time::transaction_start())))
}

fn machines(
    from: i64,
    to: i64,
    assets: Option<Vec<Option<Uuid>>>,
) -> Result<(Vec<Machine>, Vec<String>)> {
    let mut codes: Vec<String> = Vec::new();
    let mut code_numbers: HashMap<String, u32> = HashMap::new();
    let mut events: BTreeMap<[u8; 16], Vec<Event>> = BTreeMap::new();
    let rows = spi::read_all(
        include_str!("states.sql"),
        &[
            time::timestamptz(from).into(),
            time::timestamptz(to).into(),
            assets.into(),
        ],
        |row| {
            Ok((
                row.get::<Uuid>(1)?.unwrap_or_else(nobody),
                row.get::<TimestampWithTimeZone>(2)?,
                row.get::<TimestampWithTimeZone>(3)?,
                row.get::<String>(4)?,
                row.get::<String>(5)?,
            ))
        },
    )?;
    for (asset, at, until, state, reason) in rows {
        let events = events.entry(*asset.as_bytes()).or_default();
        let Some(state) = state else {
            continue; // a machine of which nothing is known
        };
        let state: State = state.parse().map_err(|_| {
            Error::state("a machine state is none that is known").detail(format!("state {state:?}"))
        })?;
        let reason = reason.map(|code| {
            *code_numbers.entry(code.clone()).or_insert_with(|| {
                codes.push(code);
                codes.len() as u32 - 1
            })
        });
        events.push(Event {
            at: at.map_or(i64::MIN, time::micros),
            until: until.map(time::micros),
            state,
            reason,
        });
    }
    let machines = events
        .into_iter()
        .map(|(asset, events)| Machine {
            asset: Uuid::from_bytes(asset),
            spells: states::spells(&events, from, to),
        })
        .collect();
    Ok((machines, codes))
}

fn decimal(micros: i64) -> Decimal {
    Decimal::new(micros, 6).normalize()
}

fn minutes(micros: i64) -> Numeric {
    Numeric(rounded(decimal(micros) / Decimal::from(60), PLACES).normalize())
}

#[pg_extern(schema = "plant", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn state_durations(
    from_ts: Option<TimestampWithTimeZone>,
    to_ts: Option<TimestampWithTimeZone>,
    assets: default!(Option<Vec<Option<Uuid>>>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(asset_id, Uuid),
            name!(state, String),
            name!(reason_code, Option<String>),
            name!(seconds, Numeric),
            name!(share, Numeric),
            name!(entries, i64),
            name!(carried_in, bool),
        ),
    >,
    ErrorReport,
> {
    let (from, to) = window(from_ts, to_ts)?;
    let (machines, codes) = machines(from, to, assets)?;
    let mut rows = Vec::new();
    for machine in machines {
        for part in states::durations(&machine.spells) {
            rows.push((
                machine.asset,
                part.state
                    .map_or_else(|| "unknown".to_owned(), |state| state.to_string()),
                part.reason
                    .and_then(|number| codes.get(number as usize).cloned()),
                Numeric(decimal(part.micros)),
                Numeric(rounded(decimal(part.micros) / decimal(to - from), PLACES).normalize()),
                part.entries,
                part.carried_in,
            ));
        }
    }
    Ok(TableIterator::new(rows))
}

#[pg_extern(schema = "plant", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn availability(
    from_ts: Option<TimestampWithTimeZone>,
    to_ts: Option<TimestampWithTimeZone>,
    assets: default!(Option<Vec<Option<Uuid>>>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(asset_id, Uuid),
            name!(planned_minutes, Numeric),
            name!(downtime_minutes, Numeric),
            name!(run_minutes, Numeric),
            name!(planned_stop_minutes, Numeric),
            name!(idle_minutes, Numeric),
            name!(unknown_minutes, Numeric),
            name!(availability, Option<Numeric>),
        ),
    >,
    ErrorReport,
> {
    let (from, to) = window(from_ts, to_ts)?;
    let (machines, _) = machines(from, to, assets)?;
    let rows: Vec<_> = machines
        .into_iter()
        .map(|machine| {
            let times = Availability::of(&machine.spells);
            (
                machine.asset,
                minutes(times.planned()),
                minutes(times.stopped),
                minutes(times.run),
                minutes(times.planned_stop),
                minutes(times.idle),
                minutes(times.unknown),
                decimal(times.run)
                    .checked_div(decimal(times.planned()))
                    .map(|ratio| Numeric(rounded(ratio, PLACES).normalize())),
            )
        })
        .collect();
    Ok(TableIterator::new(rows))
}
