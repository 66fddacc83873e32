//! A scan that several processes of a query share: each takes the segments of blocks that no other has taken, and
//! one of them the late rows.

#![expect(unsafe_code, reason = "shares memory with other processes")]

use super::super::cursor::Counts;
use super::scan::state;
use pgrx::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub fn register(routine: &mut pg_sys::FdwRoutine) {
    routine.EstimateDSMForeignScan = Some(estimate);
    routine.InitializeDSMForeignScan = Some(initialize);
    routine.ReInitializeDSMForeignScan = Some(reinitialize);
    routine.InitializeWorkerForeignScan = Some(join);
    routine.ShutdownForeignScan = Some(shut_down);
}

/// What lies in front of the server's own description of the shared scan.
#[repr(C, align(64))]
struct Head {
    late_taken: AtomicBool,
    read: AtomicU64,
    skipped: AtomicU64,
    late: AtomicU64,
}

/// The shared scan, as one of the processes sees it.
pub struct Shared {
    head: *mut Head,
    /// What the workers had counted when the memory was still there.
    ended: Option<Counts>,
    is_worker: bool,
}

impl Shared {
    pub fn table(&self) -> pg_sys::ParallelTableScanDesc {
        // SAFETY: there is room for it behind the head.
        unsafe { self.head.add(1).cast() }
    }

    /// The first to ask takes the late rows.
    pub fn takes_late(&self) -> bool {
        // SAFETY: the shared memory is there while the scan runs.
        !unsafe { &*self.head }
            .late_taken
            .swap(true, Ordering::AcqRel)
    }

    pub fn counts(&self, own: Counts) -> Counts {
        let others = self.ended.unwrap_or_default();
        Counts {
            read: own.read + others.read,
            skipped: own.skipped + others.skipped,
            late: own.late + others.late,
        }
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn estimate(
    node: *mut pg_sys::ForeignScanState,
    _context: *mut pg_sys::ParallelContext,
) -> pg_sys::Size {
    // SAFETY: the node's scan has begun.
    unsafe {
        let Some(scan) = state(node) else {
            return size_of::<Head>() as pg_sys::Size;
        };
        let table = scan.store.as_ref().map_or(0, |store| {
            pg_sys::table_parallelscan_estimate(store.relation, (*(*node).ss.ps.state).es_snapshot)
        });
        // Room to align the head.
        (size_of::<Head>() + align_of::<Head>()) as pg_sys::Size + table
    }
}

/// The head in the memory that the server gives.
fn head(memory: *mut std::ffi::c_void) -> *mut Head {
    let address = memory.cast::<u8>();
    // SAFETY: there is room to align it; the address is the same in all processes but for what the memory begins with,
    // which is aligned more than this.
    unsafe { address.add(address.align_offset(align_of::<Head>())).cast() }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn initialize(
    node: *mut pg_sys::ForeignScanState,
    _context: *mut pg_sys::ParallelContext,
    memory: *mut std::ffi::c_void,
) {
    // SAFETY: the memory is as large as was asked for.
    unsafe {
        let Some(scan) = state(node) else {
            return;
        };
        let head = head(memory);
        head.write(Head {
            late_taken: AtomicBool::new(false),
            read: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            late: AtomicU64::new(0),
        });
        let shared = Shared {
            head,
            ended: None,
            is_worker: false,
        };
        if let Some(store) = &scan.store {
            let snapshot = (*(*node).ss.ps.state).es_snapshot;
            pg_sys::table_parallelscan_initialize(store.relation, shared.table(), snapshot);
        }
        scan.shared = Some(shared);
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn reinitialize(
    node: *mut pg_sys::ForeignScanState,
    _context: *mut pg_sys::ParallelContext,
    _toc: *mut std::ffi::c_void,
) {
    // SAFETY: it was initialized before.
    unsafe {
        if let Some(scan) = state(node)
            && let (Some(shared), Some(store)) = (&scan.shared, &scan.store)
        {
            (*shared.head).late_taken.store(false, Ordering::Release);
            pg_sys::table_parallelscan_reinitialize(store.relation, shared.table());
        }
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn join(
    node: *mut pg_sys::ForeignScanState,
    _toc: *mut pg_sys::shm_toc,
    memory: *mut std::ffi::c_void,
) {
    // SAFETY: the leader has initialized it.
    unsafe {
        if let Some(scan) = state(node) {
            scan.shared = Some(Shared {
                head: head(memory),
                ended: None,
                is_worker: true,
            });
        }
    }
}

/// The shared memory is about to go: workers leave their counts in it, the leader takes them out.
///
/// # Safety
/// Called by the executor.
#[pg_guard]
unsafe extern "C-unwind" fn shut_down(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: the memory is still there.
    unsafe {
        let Some(scan) = state(node) else {
            return;
        };
        let own = scan.cursor.counts;
        let Some(shared) = &mut scan.shared else {
            return;
        };
        if shared.ended.is_some() {
            return;
        }
        let head = &*shared.head;
        if shared.is_worker {
            head.read.fetch_add(own.read, Ordering::AcqRel);
            head.skipped.fetch_add(own.skipped, Ordering::AcqRel);
            head.late.fetch_add(own.late, Ordering::AcqRel);
            shared.ended = Some(Counts::default());
        } else {
            shared.ended = Some(Counts {
                read: head.read.load(Ordering::Acquire),
                skipped: head.skipped.load(Ordering::Acquire),
                late: head.late.load(Ordering::Acquire),
            });
        }
    }
}
