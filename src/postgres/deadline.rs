//! A time by which work has to be done, beside the caller's own statement_timeout.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::pg_sys;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

// Of timeout.h, which pgrx has no bindings of.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: core::ffi::c_int, handler: extern "C" fn()) -> core::ffi::c_int;
    fn enable_timeout_after(id: core::ffi::c_int, delay_ms: core::ffi::c_int);
    fn disable_timeout(id: core::ffi::c_int, keep_indicator: bool);
}

/// timeout.h's USER_TIMEOUT, with which a new one is asked for.
const USER_TIMEOUT: core::ffi::c_int = if cfg!(any(feature = "pg15", feature = "pg16")) {
    12
} else {
    13
};

static TIMEOUT: AtomicI32 = AtomicI32::new(-1);
static PASSED: AtomicBool = AtomicBool::new(false);

/// Runs in a signal handler: it may only set flags.
extern "C" fn cancel() {
    PASSED.store(true, Ordering::SeqCst);
    // SAFETY: what the server's own handler of a cancel request does.
    unsafe {
        (&raw mut pg_sys::InterruptPending).write_volatile(1);
        (&raw mut pg_sys::QueryCancelPending).write_volatile(1);
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// Has the present deadline passed? Then the cancel that was caught is its own.
pub fn passed() -> bool {
    PASSED.load(Ordering::SeqCst)
}

/// Runs `work`, whose statements are cancelled when so many milliseconds have passed. `None`: no limit.
pub fn within<T>(milliseconds: Option<i32>, work: impl FnOnce() -> T) -> T {
    /// Takes the deadline away also when `work` unwinds.
    struct Disarm(core::ffi::c_int);
    impl Drop for Disarm {
        fn drop(&mut self) {
            // SAFETY: the timeout was registered; a cancel that came too late is forgotten.
            unsafe {
                disable_timeout(self.0, false);
                if PASSED.swap(false, Ordering::SeqCst) {
                    (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
                }
            }
        }
    }
    let Some(milliseconds) = milliseconds else {
        return work();
    };
    let mut timeout = TIMEOUT.load(Ordering::SeqCst);
    // SAFETY: registered once for this process, whose timeouts PostgreSQL has initialised by now.
    unsafe {
        if timeout < 0 {
            timeout = RegisterTimeout(USER_TIMEOUT, cancel);
            TIMEOUT.store(timeout, Ordering::SeqCst);
        }
        PASSED.store(false, Ordering::SeqCst);
        enable_timeout_after(timeout, milliseconds.max(1));
    }
    let _disarm = Disarm(timeout);
    work()
}
