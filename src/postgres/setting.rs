//! Settings for the length of one piece of work.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use core::ffi::CStr;
use pgrx::pg_sys;
use std::ffi::CString;

/// Runs `work` with a setting that an ordinary user may change at this value, and puts everything that changes
/// meanwhile back afterwards.
pub fn with_setting<T>(name: &CStr, value: &str, work: impl FnOnce() -> T) -> T {
    with_settings(&[(name, value)], work)
}

/// The same with several of them.
pub fn with_settings<T>(settings: &[(&CStr, &str)], work: impl FnOnce() -> T) -> T {
    // SAFETY: the nest level that is begun is ended here; an error ends it with its transaction.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for (name, value) in settings {
            let value = CString::new(*value).unwrap_or_default();
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        let result = work();
        pg_sys::AtEOXact_GUC(false, level);
        result
    }
}
