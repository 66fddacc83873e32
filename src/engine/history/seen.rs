//! Refusing to read a compressed partition as if it had no rows.
//!
//! Segments are new rows. To a transaction whose snapshot is older than they are, the partition that it knows would be empty:
//! the same as after a TRUNCATE, or after an ALTER TABLE that writes a table anew. Rather than that, it is told.

#![expect(unsafe_code, reason = "asks a snapshot about a row of the catalog")]

use super::layout::Layout;
use crate::error::{Error, Result};
use pgrx::prelude::*;

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
        let made_by = pg_sys::HeapTupleHeaderGetXmin((*tuple).t_data);
        pg_sys::ReleaseSysCache(tuple);
        pg_sys::TransactionIdIsCurrentTransactionId(made_by)
            || !pg_sys::XidInMVCCSnapshot(made_by, snapshot)
    };
    if seen {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        "the partition was compressed after this transaction's snapshot was taken",
    )
    .detail(format!(
        "partition {}",
        crate::postgres::relation::Relation::open(layout.table)?.sql()
    ))
    .hint("run the transaction again"))
}
