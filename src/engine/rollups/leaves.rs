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
          WHERE d.source = $1 AND d.source_rollup IS NOT NULL
         ON CONFLICT (rollup_id, leaf) DO UPDATE
            SET from_time = excluded.from_time, to_time = excluded.to_time",
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

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use crate::postgres::spi;
    use pgrx::prelude::*;

    /// Rows that a refresh wrote, and ranges that it found frozen. (How many it looked at says little here: what
    /// this transaction has changed is looked at by each refresh until it ends.)
    fn refresh(rollup: &str) -> Option<(i64, i64)> {
        spi::write_returning(
            "SELECT rows_written, ranges_frozen FROM gemba.refresh_rollup($1) WHERE rollup = $1",
            &[rollup.into()],
            |row| {
                Ok((
                    row.get::<i64>(1)?.unwrap_or(-1),
                    row.get::<i64>(2)?.unwrap_or(-1),
                ))
            },
        )
        .ok()?
        .pop()
    }

    fn run(sql: &str) {
        Spi::run(sql).expect(sql);
    }

    fn oid(table: &str) -> pg_sys::Oid {
        spi::read_one::<pg_sys::Oid>("SELECT $1::pg_catalog.regclass::oid", &[table.into()])
            .expect("a query")
            .expect(table)
    }

    /// A table and its hours, both in partitions, and its days.
    fn furnish() {
        run(r#"CREATE SCHEMA s;
               CREATE TABLE s.raw (at timestamptz NOT NULL, n int) PARTITION BY RANGE (at);
               SELECT gemba.manage_partitions('s.raw', '1 day', premake => 0);
               SELECT gemba.ensure_partitions('s.raw', '2024-01-01Z', '2024-01-04Z');
               SELECT gemba.create_rollup('s.hourly', 's.raw', 'at', '1 hour', NULL,
                 '{"n": {"function": "count"}}', partition_by => '1 day');
               SELECT gemba.create_rollup('s.daily', 's.hourly', 'bucket', '1 day', NULL);
               INSERT INTO s.raw SELECT timestamptz '2024-01-01Z' + k * interval '1 hour', k FROM generate_series(0, 71) AS k"#);
        assert_eq!(refresh("s.daily"), Some((3, 0)));
    }

    /// Puts a table with the same rows in the place of a partition of the second of January.
    fn replace(parent: &str, leaf: &str, tell: bool) {
        let old = oid(leaf);
        run(&format!(
            "ALTER TABLE {parent} DETACH PARTITION {leaf};
             CREATE TABLE s.other (LIKE {leaf} INCLUDING GENERATED);
             INSERT INTO s.other SELECT * FROM {leaf};
             DROP TABLE {leaf};
             ALTER TABLE {parent} ATTACH PARTITION s.other FOR VALUES FROM ('2024-01-02Z') TO ('2024-01-03Z')"
        ));
        if tell {
            super::leaf_replaced(oid(parent), old, oid("s.other")).expect("an update");
        }
    }

    #[pg_test]
    fn a_partition_that_was_replaced_is_the_same() {
        furnish();
        replace("s.raw", "s.raw_p20240102", true);
        assert_eq!(refresh("s.hourly"), Some((0, 0)));
        run("INSERT INTO s.raw VALUES ('2024-01-02 12:00Z', 1)");
        assert_eq!(refresh("s.hourly"), Some((1, 0)));
        assert_eq!(refresh("s.daily"), Some((1, 0)));
    }

    #[pg_test]
    fn so_is_one_of_a_rollup() {
        furnish();
        replace("s.hourly", "s.hourly_p20240102", true);
        assert_eq!(refresh("s.daily"), Some((0, 0)));
        run("INSERT INTO s.raw VALUES ('2024-01-02 12:00Z', 1)");
        assert_eq!(refresh("s.daily"), Some((1, 0)));
    }

    #[pg_test]
    fn without_being_told_it_is_one_that_went_and_another_that_came() {
        furnish();
        replace("s.raw", "s.raw_p20240102", false);
        assert_eq!(refresh("s.hourly"), Some((0, 1)));
        run("INSERT INTO s.raw VALUES ('2024-01-02 12:00Z', 1)");
        assert_eq!(refresh("s.hourly"), Some((0, 1)));
    }

    #[pg_test]
    fn one_that_was_away_and_is_replaced_brings_its_rows_back() {
        furnish();
        run("ALTER TABLE s.raw DETACH PARTITION s.raw_p20240102");
        assert_eq!(refresh("s.hourly"), Some((0, 1)));
        run(
            "ALTER TABLE s.raw ATTACH PARTITION s.raw_p20240102 FOR VALUES FROM ('2024-01-02Z') TO ('2024-01-03Z')",
        );
        replace("s.raw", "s.raw_p20240102", true);
        assert_eq!(refresh("s.hourly"), Some((0, 0)));
        run("INSERT INTO s.raw VALUES ('2024-01-02 12:00Z', 1)");
        assert_eq!(refresh("s.hourly"), Some((1, 0)));
    }
}
