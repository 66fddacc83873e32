//! A time by which work has to be done, beside the caller's own statement_timeout.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::pg_sys;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

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

thread_local! {
    /// When the deadline that holds now is.
    static AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs `work`, whose statements are cancelled when so many milliseconds have passed, or those of a deadline
/// around this one. `None`: no limit of its own.
pub fn within<T>(milliseconds: Option<i32>, work: impl FnOnce() -> T) -> T {
    /// Puts back the deadline around this one, also when `work` unwinds.
    struct Restore(Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            disarm();
            AT.set(self.0);
            if let Some(outer) = self.0 {
                arm(outer);
            }
        }
    }
    let Some(milliseconds) = milliseconds else {
        return work();
    };
    let own = Instant::now() + Duration::from_millis(milliseconds.max(1).unsigned_abs().into());
    let outer = AT.get();
    let at = outer.map_or(own, |outer| outer.min(own));
    AT.set(Some(at));
    let _restore = Restore(outer);
    arm(at);
    work()
}

fn arm(at: Instant) {
    let left = at.saturating_duration_since(Instant::now()).as_millis();
    let mut timeout = TIMEOUT.load(Ordering::SeqCst);
    // SAFETY: registered once for this process, whose timeouts PostgreSQL has initialised by now.
    unsafe {
        if timeout < 0 {
            timeout = RegisterTimeout(USER_TIMEOUT, cancel);
            TIMEOUT.store(timeout, Ordering::SeqCst);
        }
        PASSED.store(false, Ordering::SeqCst);
        enable_timeout_after(timeout, i32::try_from(left).unwrap_or(i32::MAX).max(1));
    }
}

fn disarm() {
    // SAFETY: the timeout was registered when it was armed; a cancel that came too late is forgotten.
    unsafe {
        disable_timeout(TIMEOUT.load(Ordering::SeqCst), false);
        if PASSED.swap(false, Ordering::SeqCst) {
            (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
        }
    }
}
