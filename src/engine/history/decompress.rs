//! A compressed partition becomes an ordinary one again. Its writers wait until that is done, its readers do not.

#![expect(
    unsafe_code,
    reason = "hands the server's values from one table to the other"
)]

use super::{compress, swap};
use crate::engine::partitions::leaf;
use crate::engine::partitions::set::{Leaf, Set};
use crate::error::Result;
use crate::postgres::heap::HeapWriter;
use crate::postgres::relation::Relation;
use crate::postgres::{descriptor, lock, role, spi};
use pgrx::prelude::*;
use std::ffi::CString;

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
    let rows = role::as_owner(old.owner, || copy(&old, &new))?;
    swap::require_same_rows(&old, rows as i64, compress::done(&old)?.rows)?;
    leaf::index(set, &new)?;
    role::as_owner(old.owner, || {
        spi::write(&format!("ANALYZE {}", new.sql()), &[])
    })?;
    swap::replace(set, range, &old, &new)?;
    Ok(rows)
}

/// Rows that are taken from the cursor at once.
const BATCH: i64 = 1_000;

/// Copies all rows. They are marked as visible to all from the start, as COPY FREEZE does: a transaction whose snapshot
/// is older than this would otherwise find an empty table.
fn copy(old: &Relation, new: &Relation) -> Result<u64> {
    let columns = spi::read_all(
        "SELECT attname::text, atttypid FROM pg_catalog.pg_attribute
          WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        &[new.oid.into()],
        |row| {
            let type_oid = row.get::<pg_sys::Oid>(2)?.unwrap_or(pg_sys::InvalidOid);
            Ok((
                spi::ident(&row.get::<String>(1)?.unwrap_or_default()),
                descriptor::storage(type_oid),
            ))
        },
    )?;
    let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let sql = format!("SELECT {} FROM {}", names.join(", "), old.sql());
    let command = CString::new(sql).unwrap_or_default();
    let mut writer = HeapWriter::open(new.oid, true);
    Spi::connect(|_| {
        let mut values = vec![pg_sys::Datum::null(); columns.len()];
        let mut nulls = vec![true; columns.len()];
        // SAFETY: the cursor belongs to this connection; the writer gets copies, because a batch of the cursor's is freed
        // before one of the writer's may be full. The new table has just these columns.
        unsafe {
            let cursor = pg_sys::SPI_cursor_open_with_args(
                std::ptr::null(),
                command.as_ptr(),
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null(),
                false,
                0,
            );
            loop {
                pgrx::check_for_interrupts!();
                pg_sys::SPI_cursor_fetch(cursor, true, BATCH as _);
                let table = pg_sys::SPI_tuptable;
                let tuples = std::slice::from_raw_parts((*table).vals, (*table).numvals as usize);
                for &tuple in tuples {
                    pg_sys::heap_deform_tuple(
                        tuple,
                        (*table).tupdesc,
                        values.as_mut_ptr(),
                        nulls.as_mut_ptr(),
                    );
                    writer.push(|into, are_null| {
                        for (place, (_, storage)) in columns.iter().enumerate() {
                            if !nulls[place] {
                                into[place] = descriptor::copy(values[place], *storage);
                                are_null[place] = false;
                            }
                        }
                    });
                }
                let ended = tuples.is_empty();
                pg_sys::SPI_freetuptable(table);
                if ended {
                    break;
                }
            }
            pg_sys::SPI_cursor_close(cursor);
        }
    });
    Ok(writer.finish())
}
