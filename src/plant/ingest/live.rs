//! Pipeline B: what each machine has made by now, and safety events.

use super::daily::superseded;
use super::model::{AssetNo, Detail, Model};
use super::{Given, Outcome, Parsed, Refusal, parsed, rows};
use crate::engine::partitions;
use crate::engine::partitions::set::Set;
use crate::error::Result;
use crate::postgres::{role, spi, time};
use gemba_core::calendar::Zone;
use gemba_core::instant::Instant;
use gemba_core::shifts;
use gemba_core::variance::{Status, variance};
use pgrx::Uuid;
use pgrx::prelude::*;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

const SEVERITIES: [&str; 4] = ["low", "medium", "high", "critical"];

#[derive(PartialEq)]
struct Snapshot {
    asset: AssetNo,
    at: i64,
    output: i32,
    target: Option<i32>,
    status: Option<Status>,
}

struct SafetyEvent {
    asset: AssetNo,
    at: i64,
    code: String,
    severity: String,
    description: Option<String>,
    source_record_id: Option<String>,
    duration_minutes: Option<String>,
    financial_impact: Option<String>,
}

/// The times that can be taken.
struct Times {
    /// Snapshots from before this have been retired, or are about to be.
    first: i64,
    /// After this, it is a clock that is wrong.
    last: i64,
}

/// Takes the rows; of several snapshots of one machine and moment the last one counts.
pub fn ingest(given: &[Given]) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let parsed = parsed::<rows::Live>(given, &mut outcome);
    let model = Model::read(parsed.iter().map(|parsed| &parsed.name), Detail::Live)?;
    let codes = safety_codes()?;
    let table = spi::read_one("SELECT 'plant.live_snapshots'::regclass::oid", &[])?
        .unwrap_or(pg_sys::InvalidOid);
    let (set, horizon) = role::as_extension(|| {
        let set = Set::of(table)?;
        let horizon = partitions::horizon(&set)?;
        Ok((set, horizon))
    })?;
    let times = Times {
        first: horizon.map_or(i64::MIN, |horizon| set.floor(horizon)),
        last: model
            .settings
            .now
            .saturating_add(model.settings.clock_tolerance),
    };
    let mut snapshots: HashMap<(AssetNo, i64), (&Given, Snapshot)> =
        HashMap::with_capacity(parsed.len());
    let mut events = Vec::new();
    for Parsed { row, fields, name } in &parsed {
        let found = model.asset(name).and_then(|asset| {
            let at = moment(&model, &times, fields)?;
            Ok((asset, at, safety_event(&model, &codes, asset, at, fields)?))
        });
        let (asset, at, event) = match found {
            Ok(found) => found,
            Err(refusal) => {
                outcome.refuse(row, refusal);
                continue;
            }
        };
        let is_event = event.is_some();
        // An event is never lost for the sake of something else in its row.
        let mut remark = None;
        if let Some((event, wrong)) = event {
            events.push(event);
            remark =
                wrong.map(|refusal| refusal.but("only the safety event was taken, without it"));
        }
        match snapshot(&model, &times, asset, at, fields) {
            // A row with a remark is given back as a whole, but for its event.
            Ok(Some(_)) if remark.is_some() => {}
            Ok(Some(snapshot)) => {
                if let Some((earlier, before)) = snapshots.remove(&(asset, at)) {
                    if before == snapshot {
                        outcome.unchanged += 1;
                    } else {
                        outcome.refuse(earlier, superseded("for this asset and moment"));
                    }
                }
                snapshots.insert((asset, at), (row, snapshot));
            }
            // Only an event: neither inserted nor updated a snapshot.
            Ok(None) if is_event => outcome.unchanged += i64::from(remark.is_none()),
            Ok(None) => {
                remark = Some(Refusal::of("current_output", "current_output is missing"));
            }
            Err(refusal) if is_event => {
                remark.get_or_insert(refusal.but("only the safety event was taken"));
            }
            Err(refusal) => remark = Some(refusal),
        }
        if let Some(refusal) = remark {
            outcome.refuse(row, refusal);
        }
    }
    let mut snapshots: Vec<Snapshot> = snapshots
        .into_values()
        .map(|(_, snapshot)| snapshot)
        .collect();
    // Everybody locks in the same order: machines are numbered by their ids.
    snapshots.sort_unstable_by_key(|snapshot| (snapshot.at, snapshot.asset));
    write_snapshots(&model, &set, &snapshots, &mut outcome)?;
    write_events(&model, &events, &mut outcome)?;
    outcome.store_rejects("live")?;
    Ok(outcome)
}

/// Codes that make a safety event, by their small letters: as the table writes them, and the severity of
/// rows that bring none.
type Codes = HashMap<String, (String, Option<String>)>;

fn safety_codes() -> Result<Codes> {
    let codes = spi::read_all(
        "SELECT c.reason_code, c.severity FROM plant.safety_codes c",
        &[],
        |row| {
            let code = row.get::<String>(1)?.unwrap_or_default();
            Ok((code.to_ascii_lowercase(), (code, row.get::<String>(2)?)))
        },
    )?;
    Ok(codes.into_iter().collect())
}

const FIELD: &str = "snapshot_timestamp";

fn moment(model: &Model, times: &Times, row: &rows::Live) -> Result<i64, Refusal> {
    let at = match rows::time(FIELD, row.snapshot_timestamp)? {
        Instant::Absolute(at) => at,
        Instant::Local(local) => model.settings.zone.instant(local),
    };
    if at > times.last {
        let reason = format!("{FIELD} is in the future: {}", time::instant_text(at));
        return Err(Refusal::of(FIELD, reason));
    }
    Ok(at)
}

fn snapshot(
    model: &Model,
    times: &Times,
    asset: AssetNo,
    at: i64,
    row: &rows::Live,
) -> Result<Option<Snapshot>, Refusal> {
    let Some(output) = rows::count("current_output", row.current_output)? else {
        return Ok(None);
    };
    if at < times.first {
        let reason = format!(
            "{FIELD} is older than what is kept: {}",
            time::instant_text(at)
        );
        return Err(Refusal::of(FIELD, reason));
    }
    let settings = &model.settings;
    let target = match rows::count("target_output", row.target_output)? {
        Some(target) => Some(target),
        None => shifts::target_at(
            at,
            &model.shifts,
            &model.assets[asset].targets,
            settings.day_starts,
            settings.counting,
            &settings.zone,
        )
        .map(|running| i32::try_from(running.prorated).unwrap_or(i32::MAX)),
    };
    let status = target
        .map(|target| variance(output.into(), target.into(), settings.tolerance_pct))
        .transpose()?
        .map(|variance| variance.status);
    Ok(Some(Snapshot {
        asset,
        at,
        output,
        target,
        status,
    }))
}

/// The event that a row reports, if it does, and what in it could not be taken.
fn safety_event(
    model: &Model,
    codes: &Codes,
    asset: AssetNo,
    at: i64,
    row: &rows::Live,
) -> Result<Option<(SafetyEvent, Option<Refusal>)>, Refusal> {
    let Some(code) = rows::text("reason_code", row.reason_code)? else {
        return Ok(None);
    };
    let Some((code, usual)) = codes.get(&code.trim().to_ascii_lowercase()) else {
        return Ok(None);
    };
    let mut wrong = None;
    let severity = or_remark(&mut wrong, severity(row)).flatten();
    Ok(Some((
        SafetyEvent {
            asset,
            at,
            code: code.clone(),
            severity: severity
                .or_else(|| usual.clone())
                .unwrap_or_else(|| model.settings.default_severity.clone()),
            description: or_remark(&mut wrong, words("description", row.description)).flatten(),
            source_record_id: or_remark(&mut wrong, record_id(row)).flatten(),
            duration_minutes: or_remark(
                &mut wrong,
                cents("duration_minutes", row.duration_minutes, 8),
            )
            .flatten(),
            financial_impact: or_remark(
                &mut wrong,
                cents("financial_impact", row.financial_impact, 10),
            )
            .flatten(),
        },
        wrong,
    )))
}

/// The value, or nothing and a remark; of several remarks the first.
fn or_remark<T>(remark: &mut Option<Refusal>, value: Result<T, Refusal>) -> Option<T> {
    value.map_err(|refusal| remark.get_or_insert(refusal)).ok()
}

fn words(name: &'static str, field: Option<&RawValue>) -> Result<Option<String>, Refusal> {
    Ok(rows::text(name, field)?.map(Cow::into_owned))
}

fn severity(row: &rows::Live) -> Result<Option<String>, Refusal> {
    let Some(text) = rows::text("severity", row.severity)? else {
        return Ok(None);
    };
    let severity = text.trim().to_ascii_lowercase();
    if SEVERITIES.contains(&severity.as_str()) {
        return Ok(Some(severity));
    }
    let reason = format!(
        "severity is none of low, medium, high, critical: {}",
        rows::quoted(&text)
    );
    Err(Refusal::of("severity", reason))
}

fn record_id(row: &rows::Live) -> Result<Option<String>, Refusal> {
    const NAME: &str = "source_record_id";
    /// An index has to hold it.
    const LONGEST: usize = 200;
    let id = rows::text(NAME, row.source_record_id)?.map(|text| text.trim().to_owned());
    match id {
        Some(id) if id.chars().count() > LONGEST => {
            let reason = format!(
                "{NAME} is longer than {LONGEST} characters: {}",
                rows::quoted(&id)
            );
            Err(Refusal::of(NAME, reason))
        }
        id => Ok(id),
    }
}

/// An amount with two decimal places and at most so many digits before the point.
fn cents(
    name: &'static str,
    field: Option<&RawValue>,
    digits: u32,
) -> Result<Option<String>, Refusal> {
    let Some(value) = rows::amount(name, field)? else {
        return Ok(None);
    };
    let value = gemba_core::oee::rounded(value, 2);
    if value >= rust_decimal::Decimal::from(10_i64.pow(digits)) {
        return Err(Refusal::of(name, format!("{name} is too large: {value}")));
    }
    Ok(Some(value.to_string()))
}

fn write_snapshots(
    model: &Model,
    set: &Set,
    snapshots: &[Snapshot],
    outcome: &mut Outcome,
) -> Result<()> {
    let steps: BTreeSet<i64> = snapshots.iter().map(|s| set.floor(s.at)).collect();
    role::as_extension(|| {
        steps
            .iter()
            .try_for_each(|step| partitions::ensure_written(set, *step, set.next(*step)))
    })?;
    if snapshots.is_empty() {
        return Ok(());
    }
    let assets: Vec<Uuid> = snapshots.iter().map(|s| model.assets[s.asset].id).collect();
    let moments: Vec<TimestampWithTimeZone> =
        snapshots.iter().map(|s| time::timestamptz(s.at)).collect();
    let outputs: Vec<i32> = snapshots.iter().map(|s| s.output).collect();
    let targets: Vec<Option<i32>> = snapshots.iter().map(|s| s.target).collect();
    let statuses: Vec<Option<&str>> = snapshots
        .iter()
        .map(|s| s.status.map(Status::as_str))
        .collect();
    let arguments = [
        assets.into(),
        moments.into(),
        outputs.into(),
        targets.into(),
        statuses.into(),
    ];
    let inserted = spi::write(
        "INSERT INTO plant.live_snapshots (asset_id, snapshot_timestamp, current_output, target_output, status)
         SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::int[], $4::int[], $5::text[])
         ON CONFLICT (asset_id, snapshot_timestamp) DO NOTHING",
        &arguments,
    )? as i64;
    let known = snapshots.len() as i64 - inserted;
    let updated = if known == 0 {
        0
    } else {
        spi::write(include_str!("live.sql"), &arguments)? as i64
    };
    outcome.inserted += inserted;
    outcome.updated += updated;
    outcome.unchanged += known - updated;
    Ok(())
}

/// Records each event once, whatever was sent how often.
fn write_events(model: &Model, events: &[SafetyEvent], outcome: &mut Outcome) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let assets: Vec<Uuid> = events.iter().map(|e| model.assets[e.asset].id).collect();
    let moments: Vec<TimestampWithTimeZone> =
        events.iter().map(|e| time::timestamptz(e.at)).collect();
    let column = |of: fn(&SafetyEvent) -> Option<&str>| -> Vec<Option<String>> {
        events.iter().map(|e| of(e).map(str::to_owned)).collect()
    };
    outcome.safety_events += spi::write(
        "INSERT INTO plant.safety_events
           (asset_id, event_timestamp, reason_code, severity, description, source_record_id, duration_minutes,
            financial_impact)
         SELECT e.asset_id, e.at, e.code, e.severity, e.description, e.record, e.minutes::numeric(10,2),
                e.impact::numeric(12,2)
           FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[],
                                  $7::text[], $8::text[])
                AS e (asset_id, at, code, severity, description, record, minutes, impact)
          ORDER BY e.record, e.asset_id, e.at, e.code
         ON CONFLICT DO NOTHING",
        &[
            assets.into(),
            moments.into(),
            column(|e| Some(&e.code)).into(),
            column(|e| Some(&e.severity)).into(),
            column(|e| e.description.as_deref()).into(),
            column(|e| e.source_record_id.as_deref()).into(),
            column(|e| e.duration_minutes.as_deref()).into(),
            column(|e| e.financial_impact.as_deref()).into(),
        ],
    )? as i64;
    Ok(())
}
