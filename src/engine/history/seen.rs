//! Refusing to read a compressed partition as if it had no rows.
//!
//! Segments are new rows. To a transaction whose snapshot is older than they are, the partition that it knows would be empty:
//! the same as after a TRUNCATE, or after an ALTER TABLE that writes a table anew. Rather than that, it is told.

#![expect(unsafe_code, reason = "asks a snapshot about a row of the catalog")]

use super::layout::Layout;
use crate::error::{Error, Result};
use crate::postgres::spi;
use pgrx::prelude::*;
use std::ffi::CStr;

/// # Errors
/// `40001` when the segments took an ordinary partition's place after the snapshot at hand was taken.
pub fn require(layout: &Layout) -> Result<()> {
    // SAFETY: plain look-ups in a transaction; the tuple is released after it was read.
    let seen = unsafe {
        if !layout.copied || !pg_sys::ActiveSnapshotSet() {
            return Ok(());
        }
        let snapshot = pg_sys::GetActiveSnapshot();
        if (*snapshot).snapshot_type != pg_sys::SnapshotType::SNAPSHOT_MVCC {
            return Ok(());
        }
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::FOREIGNTABLEREL as i32,
            pg_sys::Datum::from(layout.table),
        );
        if tuple.is_null() {
            return Ok(());
        }
        // The row was written when the partition was made, in the transaction that replaced the old one.
        let header = &*(*tuple).t_data;
        let frozen =
            u32::from(header.t_infomask) & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN;
        let made_by = header.t_choice.t_heap.t_xmin;
        pg_sys::ReleaseSysCache(tuple);
        frozen
            || pg_sys::TransactionIdIsCurrentTransactionId(made_by)
            || !pg_sys::XidInMVCCSnapshot(made_by, snapshot)
    };
    if seen {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        "the partition was compressed after this transaction's snapshot was taken",
    )
    .detail(format!("partition {}", name(layout.table)))
    .hint("run the transaction again"))
}

/// A query would look with the old snapshot, which does not know the table either.
fn name(table: pg_sys::Oid) -> String {
    // SAFETY: look-ups in the system caches, which return NULL or a palloc'd string.
    unsafe {
        let text = |name: *mut std::ffi::c_char| {
            if name.is_null() {
                String::new()
            } else {
                CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        };
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
        spi::qualified(&text(schema), &text(pg_sys::get_rel_name(table)))
    }
}
