//! A compressed partition becomes an ordinary one again. Its writers wait until that is done, its readers do not.

use super::{compress, swap};
use crate::engine::partitions::leaf;
use crate::engine::partitions::set::{Leaf, Set};
use crate::error::Result;
use crate::postgres::relation::Relation;
use crate::postgres::{lock, role, spi};
use pgrx::prelude::*;

/// Decompresses one partition; returns its rows.
///
/// # Errors
/// `55P03` when the locks are not to be had within `gemba.lock_patience`.
pub fn partition(set: &Set, range: &Leaf) -> Result<u64> {
    role::require_current_snapshots("a partition cannot be decompressed")?;
    let old = Relation::open(range.oid)?;
    if !lock::try_table(old.oid, pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE) {
        return Err(leaf::busy(&old));
    }
    swap::still_there(set, &old)?;
    swap::refuse_dependents(&old)?;
    let new = leaf::build(set, range.from)?;
    let columns = spi::read_all(
        "SELECT attname::text FROM pg_catalog.pg_attribute
          WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        &[old.oid.into()],
        |row| Ok(spi::ident(&row.get::<String>(1)?.unwrap_or_default())),
    )?
    .join(", ");
    let rows = role::as_owner(old.owner, || {
        spi::write(
            &format!(
                "INSERT INTO {} ({columns}) SELECT {columns} FROM {}",
                new.sql(),
                old.sql()
            ),
            &[],
        )
    })?;
    swap::require_same_rows(&old, rows as i64, compress::done(&old)?.rows)?;
    leaf::index(set, &new)?;
    role::as_owner(old.owner, || {
        spi::write(&format!("ANALYZE {}", new.sql()), &[])
    })?;
    swap::replace(set, range, &old, &new)?;
    Ok(rows)
}
