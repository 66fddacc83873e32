//! What this backend is doing.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::pg_sys;

/// Is CREATE EXTENSION or ALTER EXTENSION … UPDATE running its script?
pub fn in_extension_script() -> bool {
    // SAFETY: reads a global of this backend.
    unsafe { pg_sys::creating_extension }
}

/// Is this server the target of pg_upgrade?
pub fn in_binary_upgrade() -> bool {
    // SAFETY: reads a global of this backend.
    unsafe { pg_sys::IsBinaryUpgrade }
}
