//! One table takes another's place among the partitions of a table.

use crate::engine::partitions::leaf;
use crate::engine::partitions::set::{Leaf, Set};
use crate::engine::rollups;
use crate::error::Result;
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
            spi::write(
                &format!(
                    "ALTER TABLE {} RENAME TO {}",
                    new.sql(),
                    spi::ident(&old.name)
                ),
                &[],
            )?;
            Ok(())
        })
    })?;
    let new = Relation::open(new.oid)?;
    leaf::attach(set, &new, range.from, range.to)?;
    rollups::leaves::leaf_replaced(parent.oid, old.oid, new.oid)
}

fn kind(table: &Relation) -> &'static str {
    if table.kind == 'f' {
        "FOREIGN TABLE"
    } else {
        "TABLE"
    }
}
