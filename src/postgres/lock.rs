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
    poll(patience, || try_table_once(table, mode))
}

/// Takes turns with others that do the same kind of work: waits for a lock on a catalog table that
/// conflicts with itself, and that only its owner can take.
pub fn take_turns(table: &str) -> crate::error::Result<()> {
    // As a write, although it writes nothing: what is read after the wait has to see what the other
    // session did meanwhile, and only a transaction that writes looks with a new snapshot each time.
    super::spi::write(
        &format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"),
        &[],
    )?;
    Ok(())
}

/// The same on a table that others go on reading and writing meanwhile.
pub fn take_turns_beside_writers(table: &str) -> crate::error::Result<()> {
    super::spi::write(
        &format!("LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE"),
        &[],
    )?;
    Ok(())
}

/// One try, without patience.
pub fn try_table_once(table: pg_sys::Oid, mode: pg_sys::LOCKMODE) -> bool {
    // SAFETY: the lock manager accepts any oid; the caller resolves the table again afterwards. With a
    // transaction id, everything that is read from now on is read with a new snapshot, and so shows what
    // the lock's last holder did.
    unsafe {
        let granted = pg_sys::ConditionalLockRelationOid(table, mode);
        if granted {
            pg_sys::GetCurrentTransactionId();
        }
        granted
    }
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
