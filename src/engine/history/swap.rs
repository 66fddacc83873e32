//! One table takes another's place among the partitions of a table.

use crate::engine::partitions::leaf;
use crate::engine::partitions::set::{Leaf, Set};
use crate::engine::rollups;
use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::{backend, lock, role, spi};
use pgrx::prelude::*;

/// Drops the partition and attaches the new table under its name and for its range. Both hold the same rows, and the
/// caller has locked out writers. Everybody else waits for the blink of an eye that the catalog change takes.
///
/// # Errors
/// `55P03` when the locks are not to be had within `gemba.lock_patience`.
pub fn replace(set: &Set, range: &Leaf, old: &Relation, new: &Relation) -> Result<()> {
    let parent = &set.parent.relation;
    let exclusive = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
    if !(lock::try_table(parent.oid, exclusive) && lock::try_table(old.oid, exclusive)) {
        return Err(leaf::busy(parent));
    }
    role::as_owner(parent.owner, || {
        backend::as_own_ddl(|| -> Result<()> {
            spi::write(
                &format!(
                    "ALTER TABLE {} DETACH PARTITION {}",
                    parent.sql(),
                    old.sql()
                ),
                &[],
            )?;
            spi::write(&format!("DROP {} {}", kind(old), old.sql()), &[])?;
            rename(new, &old.schema, &old.name)
        })
    })?;
    let new = Relation::open(new.oid)?;
    if new.kind == 'f' {
        let sql = format!(
            "ALTER FOREIGN TABLE {} OPTIONS (ADD copied 'true')",
            new.sql()
        );
        backend::as_own_ddl(|| spi::write(&sql, &[]))?;
    }
    leaf::attach(set, &new, range.from, range.to)?;
    rollups::leaves::leaf_replaced(parent.oid, old.oid, new.oid)
}

/// Gives a table this schema and name, which are free.
fn rename(table: &Relation, schema: &str, name: &str) -> Result<()> {
    let mut sql = table.sql();
    if table.schema != schema {
        // The table, or its partition, was moved; on the way it needs a name that neither schema has.
        let between = format!("gemba_swap_{}", table.oid.to_u32());
        spi::write(&format!("ALTER TABLE {sql} RENAME TO {between}"), &[])?;
        spi::write(
            &format!(
                "ALTER TABLE {} SET SCHEMA {}",
                spi::qualified(&table.schema, &between),
                spi::ident(schema)
            ),
            &[],
        )?;
        sql = spi::qualified(schema, &between);
    } else if table.name == name {
        return Ok(());
    }
    spi::write(
        &format!("ALTER TABLE {sql} RENAME TO {}", spi::ident(name)),
        &[],
    )?;
    Ok(())
}

/// Whoever waited for a lock may find that another session has replaced or retired the partition meanwhile.
///
/// # Errors
/// `55P03`: the next run sees what there is now.
pub fn still_there(set: &Set, leaf: &Relation) -> Result<()> {
    if set.leaves()?.iter().any(|other| other.oid == leaf.oid) {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        "another session has replaced the partition meanwhile",
    )
    .detail(format!("partition {}", leaf.sql()))
    .hint("gemba.partitions shows what there is now"))
}

/// What was made of the partition itself, and not of its table, would be in the way when it is dropped. Better to know
/// before the work than after it.
///
/// # Errors
/// `2BP01` with the first of them.
pub fn refuse_dependents(leaf: &Relation) -> Result<()> {
    let dependent = spi::read_one::<String>(
        "SELECT pg_catalog.pg_describe_object(d.classid, d.objid, 0) FROM pg_catalog.pg_depend d
          WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 AND d.deptype = 'n'
            AND (d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                 OR d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                    AND d.objid NOT IN (SELECT r.oid FROM pg_catalog.pg_rewrite r WHERE r.ev_class = $1))
          ORDER BY 1 LIMIT 1",
        &[leaf.oid.into()],
    )?;
    match dependent {
        None => Ok(()),
        Some(dependent) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            "something depends on the partition itself",
        )
        .detail(format!("{dependent} depends on {}", leaf.sql()))
        .hint("drop it, or let it use the partitioned table")),
    }
}

/// The last look before the old rows go.
///
/// # Errors
/// `XX000`; nothing has changed.
pub fn require_same_rows(old: &Relation, new_rows: i64, old_rows: i64) -> Result<()> {
    if new_rows == old_rows {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        "the copy of a partition has not as many rows as the partition",
    )
    .detail(format!(
        "partition {}: {old_rows} rows, copied {new_rows}",
        old.sql()
    ))
    .hint("the partition stays as it was; please report this"))
}

fn kind(table: &Relation) -> &'static str {
    if table.kind == 'f' {
        "FOREIGN TABLE"
    } else {
        "TABLE"
    }
}
