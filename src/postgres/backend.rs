//! What this backend is doing.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::pg_sys;
use std::cell::Cell;

thread_local! {
    static OWN_DDL: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, whose data definition is housekeeping of ours: event triggers of ours take no notice of it.
pub fn as_own_ddl<T>(work: impl FnOnce() -> T) -> T {
    /// Puts the flag back also when `work` unwinds.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            OWN_DDL.set(self.0);
        }
    }
    let _restore = Restore(OWN_DDL.replace(true));
    work()
}

/// Is this data definition our own housekeeping?
pub fn in_own_ddl() -> bool {
    OWN_DDL.get()
}

/// Is CREATE EXTENSION or ALTER EXTENSION … UPDATE running its script?
pub fn in_extension_script() -> bool {
    // SAFETY: reads a global of this backend.
    unsafe { pg_sys::creating_extension }
}

/// Raises the server's own error where nothing may be written: on a standby, in a read-only transaction.
pub fn refuse_read_only(command: &std::ffi::CStr) {
    // SAFETY: reads the backend's own state; the name is used for the error.
    unsafe { pg_sys::PreventCommandIfReadOnly(command.as_ptr()) }
}

/// Is this server a standby?
pub fn in_recovery() -> bool {
    // SAFETY: reads shared state of the server.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Is this server the target of pg_upgrade?
pub fn in_binary_upgrade() -> bool {
    // SAFETY: reads a global of this backend.
    unsafe { pg_sys::IsBinaryUpgrade }
}
