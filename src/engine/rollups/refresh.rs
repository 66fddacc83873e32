//! Recomputing the buckets that changed.

use super::capture;
use super::definition::Rollup;
use super::pending::{expired, range, whole_buckets};
use super::{leaves, slices, table};
use crate::engine::partitions::{self, set::Set};
use crate::error::Result;
use crate::postgres::relation::Relation;
use crate::postgres::setting::with_setting;
use crate::postgres::spi::ident;
use crate::postgres::{role, spi, time, type_cache};
use gemba_core::ranges::RangeSet;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use std::time::Instant;

/// What a refresh did.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    pub rollup: String,
    /// Ranges of neighbouring buckets that were recomputed.
    pub ranges: i64,
    pub rows_written: i64,
    pub rows_removed: i64,
    /// Changed ranges left as they were, because retention has taken their source rows.
    pub ranges_frozen: i64,
    pub milliseconds: f64,
}

/// Brings one rollup up to date, its sources first.
pub fn refresh_with_sources(rollup: &Rollup) -> Result<Vec<Outcome>> {
    let mut outcomes = match rollup.source_rollup {
        Some(source) => refresh_with_sources(&Rollup::by_id(source)?)?,
        None => Vec::new(),
    };
    outcomes.push(refresh(rollup)?);
    Ok(outcomes)
}

/// Brings up to date every rollup that reads this table directly, for whoever is about to take rows away.
pub fn refresh_source(source: pg_sys::Oid) -> Result<()> {
    // The rows of a rollup are whatever its own source says.
    if let Some(id) = Rollup::id_of(source)? {
        refresh_with_sources(&Rollup::by_id(id)?)?;
    }
    for id in capture::rollups_on(source)? {
        refresh(&Rollup::by_id(id)?)?;
    }
    Ok(())
}

/// Brings one rollup up to date with its source.
pub fn refresh(rollup: &Rollup) -> Result<Outcome> {
    let started = Instant::now();
    // One refresh of a rollup at a time; a second one waits here and then finds nothing to do.
    spi::write(
        "SELECT 1 FROM gemba.rollup_definitions WHERE id = $1 FOR UPDATE",
        &[rollup.id.into()],
    )?;
    // The weakest lock there is, and yet no partition can be dropped or detached under our feet.
    role::as_owner(rollup.source.owner, || {
        spi::write(
            &format!("LOCK TABLE {} IN ACCESS SHARE MODE", rollup.source.sql()),
            &[],
        )
    })?;
    leaves::follow(rollup)?;
    capture::write_so_far(rollup.id);

    let mut todo: RangeSet = spi::write_returning(
        "DELETE FROM gemba.rollup_changes WHERE rollup_id = $1 RETURNING from_bucket, to_bucket",
        &[rollup.id.into()],
        |row| range(row, 1),
    )?
    .into_iter()
    .map(|r| whole_buckets(rollup, r))
    .collect();

    let mut outcome = Outcome {
        rollup: rollup.table.sql(),
        ..Outcome::default()
    };
    let asked = todo.clone();
    for (from, to) in expired(rollup)?.iter() {
        if asked.iter().any(|(f, t)| f < to && from < t) {
            outcome.ranges_frozen += 1;
        }
        todo.remove(from, to);
    }
    // A first build, or a truncated table, asks for everything: that is what both sides hold.
    let todo = bounded(rollup, &todo)?;

    let children = children(rollup)?;
    for slice in slices::cut(rollup, &todo)? {
        pgrx::check_for_interrupts!();
        let (from, to) = (slice.from, slice.to);
        if slice.missing {
            partitions::ensure_written(&Set::of(rollup.table.oid)?, from, to)?;
        }
        let (written, removed) = recompute(rollup, from, to)?;
        outcome.ranges += 1;
        outcome.rows_written += written;
        outcome.rows_removed += removed;
        if written + removed > 0 {
            for child in &children {
                capture::note_rollup(child, from, to)?;
            }
        }
    }
    outcome.milliseconds = started.elapsed().as_secs_f64() * 1_000.0;
    spi::write(
        "UPDATE gemba.rollup_definitions SET refreshed_at = pg_catalog.clock_timestamp(), refresh_ms = $2,
                ranges_changed = $3, rows_changed = $4 WHERE id = $1",
        &[
            rollup.id.into(),
            outcome.milliseconds.into(),
            outcome.ranges.into(),
            (outcome.rows_written + outcome.rows_removed).into(),
        ],
    )?;
    Ok(outcome)
}

/// Cuts endless ranges to the times that the source or the rollup holds.
fn bounded(rollup: &Rollup, todo: &RangeSet) -> Result<RangeSet> {
    if !todo
        .iter()
        .any(|(from, to)| from == i64::MIN || to == i64::MAX)
    {
        return Ok(todo.clone());
    }
    let extremes = |table: &Relation, column: &str| -> Result<Option<(i64, i64)>> {
        let column = ident(column);
        let (from, to) = role::as_owner(rollup.source.owner, || {
            spi::read_row(
                &format!(
                    "SELECT min({column}) FILTER (WHERE pg_catalog.isfinite({column})),
                            max({column}) FILTER (WHERE pg_catalog.isfinite({column})) FROM {}",
                    table.sql()
                ),
                &[],
                |row| {
                    Ok((
                        row.get::<TimestampWithTimeZone>(1)?.map(time::micros),
                        row.get::<TimestampWithTimeZone>(2)?.map(time::micros),
                    ))
                },
            )
        })?
        .unwrap_or_default();
        Ok(from.zip(to))
    };
    let held: Vec<_> = [
        extremes(&rollup.source, &rollup.time_column)?,
        extremes(&rollup.table, "bucket")?,
    ]
    .into_iter()
    .flatten()
    .collect();
    let Some(first) = held.iter().map(|h| h.0).min() else {
        return Ok(RangeSet::default());
    };
    let last = held.iter().map(|h| h.1).max().unwrap_or(first);
    let first = rollup.step.floor(first, &rollup.zone);
    let end = rollup.step.next(last, &rollup.zone);
    Ok(todo
        .iter()
        .map(|(from, to)| (from.max(first), to.min(end)))
        .collect())
}

/// Computes the buckets of `[from, to)` anew and writes what differs; returns rows written and removed.
fn recompute(rollup: &Rollup, from: i64, to: i64) -> Result<(i64, i64)> {
    let table = rollup.table.sql();
    let args = || [time::timestamptz(from).into(), time::timestamptz(to).into()];
    role::as_owner(rollup.source.owner, || {
        let select = rollup.select(&rollup.source.sql(), "$1", "$2");
        let columns: Vec<_> = rollup.columns().iter().map(|name| ident(name)).collect();
        let empty = spi::read_one::<bool>(
            &format!("SELECT true FROM {table} WHERE bucket >= $1 AND bucket < $2 LIMIT 1"),
            &args(),
        )?
        .is_none();
        if empty {
            // Written in the order in which a chart of one group reads.
            let order: Vec<_> = table::key(rollup).iter().map(|name| ident(name)).collect();
            let written = spi::write(
                &format!(
                    "INSERT INTO {table} ({columns}) SELECT {columns} FROM ({select}) AS fresh ORDER BY {}",
                    order.join(", "),
                    columns = columns.join(", ")
                ),
                &args(),
            )?;
            return Ok((written as i64, 0));
        }
        if rollup.table.kind == 'p' {
            return write_differences(rollup, &select, &columns.join(", "), &args());
        }
        let key: Vec<_> = std::iter::once("bucket".to_owned())
            .chain(rollup.group_by.iter().map(|name| ident(name)))
            .collect();
        let states: Vec<_> = rollup
            .states()
            .iter()
            .map(|state| ident(&state.column))
            .collect();
        let assignments: Vec<_> = states
            .iter()
            .map(|s| format!("{s} = excluded.{s}"))
            .collect();
        let old: Vec<_> = states.iter().map(|s| format!("held.{s}")).collect();
        let new: Vec<_> = states.iter().map(|s| format!("excluded.{s}")).collect();
        let same = same_key(rollup)?;
        let counts = spi::write_returning(
            &format!(
                "WITH fresh AS MATERIALIZED ({select}),
                 gone AS (
                   DELETE FROM {table} AS held
                    WHERE held.bucket >= $1 AND held.bucket < $2
                      AND NOT EXISTS (SELECT FROM fresh WHERE {same}) RETURNING 1),
                 put AS (
                   INSERT INTO {table} AS held ({columns}) SELECT * FROM fresh
                   ON CONFLICT ({key}) DO UPDATE SET {assignments}
                    WHERE ({old}) IS DISTINCT FROM ({new}) RETURNING 1)
                 SELECT (SELECT pg_catalog.count(*) FROM put), (SELECT pg_catalog.count(*) FROM gone)",
                columns = columns.join(", "),
                key = key.join(", "),
                assignments = assignments.join(", "),
                old = old.join(", "),
                new = new.join(", "),
            ),
            &args(),
            |row| {
                Ok((
                    row.get::<i64>(1)?.unwrap_or(0),
                    row.get::<i64>(2)?.unwrap_or(0),
                ))
            },
        )?;
        Ok(counts.into_iter().next().unwrap_or_default())
    })
}

/// A partitioned rollup has no unique index for ON CONFLICT to go by. The three parts touch different rows:
/// refreshes of one rollup take turns, and nobody else writes there.
fn write_differences(
    rollup: &Rollup,
    select: &str,
    columns: &str,
    args: &[DatumWithOid],
) -> Result<(i64, i64)> {
    let states: Vec<_> = rollup
        .states()
        .iter()
        .map(|state| ident(&state.column))
        .collect();
    let of = |table: &str| -> String {
        let all: Vec<_> = states.iter().map(|s| format!("{table}.{s}")).collect();
        all.join(", ")
    };
    let assignments: Vec<_> = states.iter().map(|s| format!("{s} = fresh.{s}")).collect();
    let statement = format!(
        "WITH fresh AS MATERIALIZED ({select}),
         changed AS (
           UPDATE {table} AS held SET {assignments} FROM fresh
            WHERE {held} AND {same} AND ({old}) IS DISTINCT FROM ({new}) RETURNING 1),
         added AS (
           INSERT INTO {table} ({columns}) SELECT {columns} FROM fresh
            WHERE NOT EXISTS (SELECT FROM {table} AS held WHERE {held} AND {same}) RETURNING 1),
         gone AS (
           DELETE FROM {table} AS held
            WHERE {held} AND NOT EXISTS (SELECT FROM fresh WHERE {same}) RETURNING 1)
         SELECT (SELECT pg_catalog.count(*) FROM changed) + (SELECT pg_catalog.count(*) FROM added),
                (SELECT pg_catalog.count(*) FROM gone)",
        table = rollup.table.sql(),
        assignments = assignments.join(", "),
        held = "held.bucket >= $1 AND held.bucket < $2",
        same = same_key(rollup)?,
        old = of("held"),
        new = of("fresh"),
    );
    // Of the newest buckets statistics know nothing, and a plan for one row would compare each with each.
    let counts = with_setting(c"enable_nestloop", "off", || {
        spi::write_returning(&statement, args, |row| {
            Ok((
                row.get::<i64>(1)?.unwrap_or(0),
                row.get::<i64>(2)?.unwrap_or(0),
            ))
        })
    })?;
    Ok(counts.into_iter().next().unwrap_or_default())
}

/// `held` and `fresh` have the same bucket and group. Plain equality, which can be hashed, wherever
/// the column cannot be NULL; otherwise beside it, where the type allows, that of the hashes.
fn same_key(rollup: &Rollup) -> Result<String> {
    let mut same = "fresh.bucket = held.bucket".to_owned();
    for name in &rollup.group_by {
        let quoted = ident(name);
        let column = rollup.table.column(name)?;
        if column.not_null {
            same.push_str(&format!(" AND fresh.{quoted} = held.{quoted}"));
            continue;
        }
        same.push_str(&format!(
            " AND fresh.{quoted} IS NOT DISTINCT FROM held.{quoted}"
        ));
        if type_cache::is_hashable(column.type_oid) {
            same.push_str(&format!(
                " AND pg_catalog.hash_record(ROW(fresh.{quoted})) = pg_catalog.hash_record(ROW(held.{quoted}))"
            ));
        }
    }
    Ok(same)
}

fn children(rollup: &Rollup) -> Result<Vec<Rollup>> {
    spi::read_all(
        "SELECT id FROM gemba.rollup_definitions WHERE source_rollup = $1 ORDER BY id",
        &[rollup.id.into()],
        |row| Ok(row.get::<i32>(1)?.unwrap_or_default()),
    )?
    .into_iter()
    .map(Rollup::by_id)
    .collect()
}
