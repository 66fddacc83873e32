//! What happened to a table between two moments, row by row.

#![expect(unsafe_code, reason = "asks the server which rows a snapshot sees")]

use pgrx::prelude::*;

/// Rows that came, and whether any went (or was changed, which is both).
pub struct Changes {
    pub came: Vec<pg_sys::ItemPointerData>,
    pub went: u64,
    /// All rows that are there at the end.
    pub rows: u64,
}

// Millions of rows are asked about while writers wait: what pgrx does around each call is done around all of them.
unsafe extern "C-unwind" {
    fn heap_getnext(
        scan: pg_sys::TableScanDesc,
        direction: pg_sys::ScanDirection::Type,
    ) -> pg_sys::HeapTuple;
    fn HeapTupleSatisfiesVisibility(
        tuple: pg_sys::HeapTuple,
        snapshot: pg_sys::Snapshot,
        buffer: pg_sys::Buffer,
    ) -> bool;
    fn LockBuffer(buffer: pg_sys::Buffer, mode: i32);
}

/// More are not remembered one by one.
pub const MANY: usize = 100_000;

/// Compares what two snapshots see of a table. A row that is changed is another one afterwards, so where both see a
/// row, it is as it was.
///
/// # Safety
/// The snapshots are registered, and the table is locked against whoever could take old rows out of it.
pub unsafe fn between(
    table: pg_sys::Oid,
    before: pg_sys::Snapshot,
    now: pg_sys::Snapshot,
) -> Changes {
    let mut changes = Changes {
        came: Vec::with_capacity(MANY + 1),
        went: 0,
        rows: 0,
    };
    // SAFETY: as the caller says; within the guard nothing needs to be dropped, and the list has room.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(table, lock);
        let scan = pg_sys::heap_beginscan(
            relation,
            &raw mut pg_sys::SnapshotAnyData,
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            pg_sys::ScanOptions::SO_TYPE_SEQSCAN | pg_sys::ScanOptions::SO_ALLOW_STRAT,
        );
        loop {
            pgrx::check_for_interrupts!();
            let changes = &mut changes;
            let ended = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                // In portions, between which a cancel is heard.
                for _ in 0..MANY {
                    let tuple = heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
                    if tuple.is_null() {
                        return true;
                    }
                    let buffer = (*scan.cast::<pg_sys::HeapScanDescData>()).rs_cbuf;
                    LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
                    let was = HeapTupleSatisfiesVisibility(tuple, before, buffer);
                    let is = HeapTupleSatisfiesVisibility(tuple, now, buffer);
                    LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
                    changes.rows += u64::from(is);
                    match (was, is) {
                        (false, true) if changes.came.len() < changes.came.capacity() => {
                            changes.came.push((*tuple).t_self);
                        }
                        (true, false) => changes.went += 1,
                        _ => {}
                    }
                }
                false
            });
            if ended {
                break;
            }
        }
        pg_sys::heap_endscan(scan);
        pg_sys::table_close(relation, lock);
    }
    changes
}
