//! Cutting what has to be recomputed into pieces, so that a first build works month by month in bounded
//! memory, and a statement writes one partition of the rollup.

use super::definition::Rollup;
use super::pending::first_bucket;
use crate::engine::partitions::set::{self, Set};
use crate::error::Result;
use crate::postgres::spi::ident;
use crate::postgres::{role, spi, time};
use gemba_core::ranges::RangeSet;
use pgrx::prelude::*;

/// A range of whole buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    pub from: i64,
    pub to: i64,
    /// The rollup's table has no partition for it yet, and the source rows.
    pub missing: bool,
}

/// Cuts ranges where a partition of the source ends together with a bucket, and where one of the rollup's
/// own begins or ends. Left out are times for which the rollup has no partition and the source no rows.
pub fn cut(rollup: &Rollup, todo: &RangeSet) -> Result<Vec<Slice>> {
    let source = if rollup.source.kind == 'p' {
        Some(set::leaves(rollup.source.oid, rollup.zone.name())?)
    } else {
        None
    };
    let cuts: Vec<i64> = source
        .iter()
        .flatten()
        .map(|leaf| leaf.to)
        .filter(|&at| at != i64::MAX && rollup.step.floor(at, &rollup.zone) == at)
        .collect();
    let mut slices = Vec::with_capacity(todo.len());
    for (from, to) in todo.iter() {
        for piece in pieces(rollup, source.as_deref(), from, to)? {
            let mut start = piece.from;
            for &cut in cuts
                .iter()
                .filter(|&&cut| cut > piece.from && cut < piece.to)
            {
                slices.push(Slice {
                    from: start,
                    to: cut,
                    ..piece
                });
                start = cut;
            }
            slices.push(Slice {
                from: start,
                ..piece
            });
        }
    }
    Ok(slices)
}

/// The range, cut at the rollup's own partitions.
fn pieces(rollup: &Rollup, source: Option<&[set::Leaf]>, from: i64, to: i64) -> Result<Vec<Slice>> {
    if rollup.table.kind != 'p' {
        return Ok(vec![Slice {
            from,
            to,
            missing: false,
        }]);
    }
    let mut pieces = Vec::new();
    let mut at = from;
    for leaf in set::leaves(rollup.table.oid, rollup.zone.name())? {
        // A bucket lies where its start does.
        let (start, end) = (
            first_bucket(rollup, leaf.from),
            first_bucket(rollup, leaf.to),
        );
        let (start, end) = (start.max(at), end.min(to));
        if start >= end {
            continue;
        }
        fill(rollup, source, at, start, &mut pieces)?;
        pieces.push(Slice {
            from: start,
            to: end,
            missing: false,
        });
        at = end;
    }
    fill(rollup, source, at, to, &mut pieces)?;
    Ok(pieces)
}

/// Steps within a range without partitions for which the source has rows.
fn fill(
    rollup: &Rollup,
    source: Option<&[set::Leaf]>,
    from: i64,
    to: i64,
    pieces: &mut Vec<Slice>,
) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    let own = Set::of(rollup.table.oid)?;
    let mut at = from;
    while at < to {
        pgrx::check_for_interrupts!();
        // A lonely row of long ago must not cost a look at each step since.
        let next = match source {
            Some(leaves) => leaves
                .iter()
                .find(|leaf| leaf.to > at && leaf.from < to)
                .map(|leaf| leaf.from),
            None => first_time(rollup, at, to)?,
        };
        let Some(next) = next else {
            return Ok(());
        };
        let next = if next > at {
            rollup.step.floor(next, &rollup.zone).max(at)
        } else {
            at
        };
        let piece = Slice {
            from: first_bucket(rollup, own.floor(next)).max(at),
            to: first_bucket(rollup, own.next(next)).min(to),
            missing: true,
        };
        if source.is_none() || has_rows(rollup, piece)? {
            pieces.push(piece);
        }
        at = piece.to;
    }
    Ok(())
}

fn first_time(rollup: &Rollup, from: i64, to: i64) -> Result<Option<i64>> {
    let found = look(rollup, from, to, |column| format!("min({column})"), "")?;
    Ok(found.map(time::micros))
}

/// Asked of a partition, which a minimum would read whole.
fn has_rows(rollup: &Rollup, piece: Slice) -> Result<bool> {
    let found = look(rollup, piece.from, piece.to, str::to_owned, "LIMIT 1")?;
    Ok(found.is_some())
}

fn look(
    rollup: &Rollup,
    from: i64,
    to: i64,
    what: impl FnOnce(&str) -> String,
    limit: &str,
) -> Result<Option<TimestampWithTimeZone>> {
    let column = ident(&rollup.time_column);
    role::as_owner(rollup.source.owner, || {
        spi::read_one::<TimestampWithTimeZone>(
            &format!(
                "SELECT {} FROM {} WHERE {column} >= $1 AND {column} < $2 AND {column} > '-infinity' {limit}",
                what(&column),
                rollup.source.sql()
            ),
            &[time::timestamptz(from).into(), time::timestamptz(to).into()],
        )
    })
}
