//! The partitions of a rollup's source: which the last refresh has seen, which came and which went.

use super::capture;
use super::definition::Rollup;
use super::pending::range;
use crate::engine::partitions::set;
use crate::error::Result;
use crate::postgres::relation::Relation;
use crate::postgres::{spi, time};
use pgrx::prelude::*;

/// Notices partitions that came (attached with rows in them, perhaps) or went since the last refresh.
pub fn follow(rollup: &Rollup) -> Result<()> {
    if rollup.source.kind != 'p' {
        return Ok(());
    }
    spi::write(
        "INSERT INTO gemba.rollup_expired (rollup_id, from_time, to_time, leaf)
         SELECT l.rollup_id, l.from_time, l.to_time, l.leaf::oid FROM gemba.rollup_leaves l
          WHERE l.rollup_id = $1
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i
                             WHERE i.inhrelid = l.leaf AND i.inhparent = $2)
         ON CONFLICT (rollup_id, from_time) DO UPDATE
            SET to_time = greatest(rollup_expired.to_time, excluded.to_time), leaf = excluded.leaf",
        &[rollup.id.into(), rollup.source.oid.into()],
    )?;
    spi::write(
        "DELETE FROM gemba.rollup_leaves l
          WHERE l.rollup_id = $1
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i
                             WHERE i.inhrelid = l.leaf AND i.inhparent = $2)",
        &[rollup.id.into(), rollup.source.oid.into()],
    )?;
    let known: std::collections::HashSet<pg_sys::Oid> = spi::read_all(
        "SELECT leaf::oid FROM gemba.rollup_leaves WHERE rollup_id = $1",
        &[rollup.id.into()],
        |row| Ok(row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid)),
    )?
    .into_iter()
    .collect();
    for leaf in set::leaves(rollup.source.oid, rollup.zone.name())? {
        if known.contains(&leaf.oid) {
            continue;
        }
        let relation = Relation::open(leaf.oid)?;
        // A partition that was detached and comes back brings its rows, whatever became of them.
        spi::write(
            "DELETE FROM gemba.rollup_expired WHERE rollup_id = $1 AND leaf = $2",
            &[rollup.id.into(), leaf.oid.into()],
        )?;
        // A partition that a person attached lacks the trigger that notices TRUNCATE.
        let watched = capture::try_watch_truncate(rollup.source.oid, &relation)?;
        capture::note_rollup(rollup, leaf.from, leaf.to)?;
        if !watched {
            // Somebody is writing to it. It is read whole now, and again by the next refresh.
            continue;
        }
        // (One that was made since we asked is in the list already.)
        spi::write(
            "INSERT INTO gemba.rollup_leaves (rollup_id, leaf, from_time, to_time)
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            &[
                rollup.id.into(),
                leaf.oid.into(),
                time::timestamptz(leaf.from).into(),
                time::timestamptz(leaf.to).into(),
            ],
        )?;
    }
    Ok(())
}

/// Ranges of partitions that the last refresh saw and that are no longer partitions of the source.
pub fn vanished(rollup: &Rollup) -> Result<Vec<(i64, i64)>> {
    spi::read_all(
        "SELECT l.from_time, l.to_time FROM gemba.rollup_leaves l
          WHERE l.rollup_id = $1
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i
                             WHERE i.inhrelid = l.leaf AND i.inhparent = $2)",
        &[rollup.id.into(), rollup.source.oid.into()],
        |row| range(row, 1),
    )
}

/// The partition manager has given a rollup's own table an empty partition. For the rollups that are built
/// from it nothing has changed: what a refresh writes there, it notes itself.
pub fn made_empty(rollup_table: pg_sys::Oid, leaf: pg_sys::Oid, from: i64, to: i64) -> Result<()> {
    spi::write(
        "INSERT INTO gemba.rollup_leaves (rollup_id, leaf, from_time, to_time)
         SELECT d.id, $2, $3, $4 FROM gemba.rollup_definitions d
          WHERE d.source = $1 AND d.source_rollup IS NOT NULL",
        &[
            rollup_table.into(),
            leaf.into(),
            time::timestamptz(from).into(),
            time::timestamptz(to).into(),
        ],
    )?;
    Ok(())
}

/// Another table with the same rows has taken the place of a partition: the rollups take it for the same.
#[cfg_attr(
    not(any(test, feature = "pg_test")),
    expect(dead_code, reason = "for whatever stores partitions in another way")
)]
pub fn leaf_replaced(source: pg_sys::Oid, old: pg_sys::Oid, new: pg_sys::Oid) -> Result<()> {
    for statement in [
        "UPDATE gemba.rollup_leaves SET leaf = $3
          WHERE leaf = $2 AND rollup_id IN (SELECT id FROM gemba.rollup_definitions WHERE source = $1)",
        // It may have been away for a while, and be back without any refresh having looked.
        "UPDATE gemba.rollup_expired SET leaf = $3
          WHERE leaf = $2 AND rollup_id IN (SELECT id FROM gemba.rollup_definitions WHERE source = $1)",
    ] {
        spi::write(statement, &[source.into(), old.into(), new.into()])?;
    }
    Ok(())
}
