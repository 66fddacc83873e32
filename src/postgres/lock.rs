//! Table locks that never make others wait.
//!
//! A lock request that waits is itself a lock: every later query on the table queues behind it, so a
//! maintenance job waiting for one long SELECT stops the whole application. These locks are polled.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use crate::gucs;
use pgrx::prelude::*;
use std::time::{Duration, Instant};

/// Polls for `mode` on the table until it is granted (then held to the end of the transaction) or until
/// `gemba.lock_patience` has passed. Returns whether it was granted.
pub fn try_table(table: pg_sys::Oid, mode: pg_sys::LOCKMODE) -> bool {
    let patience = Duration::from_millis(gucs::LOCK_PATIENCE_MS.get().max(0) as u64);
    poll(patience, || {
        // SAFETY: the lock manager accepts any oid; the caller resolves the table again afterwards.
        unsafe { pg_sys::ConditionalLockRelationOid(table, mode) }
    })
}

/// Waits for `mode` on the table itself (not on its partitions) and holds it to the end of the
/// transaction. Only for modes that let readers and writers pass, or the queue behind it is ours.
pub fn table(table: pg_sys::Oid, mode: pg_sys::LOCKMODE) {
    // SAFETY: as above.
    unsafe { pg_sys::LockRelationOid(table, mode) }
}

/// Takes the transaction-level advisory lock that serialises one kind of work (deploys, partition
/// changes of one table, imports), waiting for it. `class` is an arbitrary constant of that kind.
pub fn advisory(class: i32, key: i32) -> crate::error::Result<()> {
    // As a write, although it writes nothing: what is read after the wait has to see what the other
    // session did meanwhile, and only a transaction that writes looks with a new snapshot each time.
    super::spi::write(
        "SELECT pg_catalog.pg_advisory_xact_lock($1, $2)",
        &[class.into(), key.into()],
    )?;
    Ok(())
}

fn poll(patience: Duration, mut granted: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if granted() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        pgrx::check_for_interrupts!();
        // Short enough to catch the gap between two statements of a busy table.
        std::thread::sleep(Duration::from_millis(10));
    }
}
