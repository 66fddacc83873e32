//! What this process has counted and not yet added to what all have.

#![expect(unsafe_code, reason = "is called back by the server")]

use super::shared;
use crate::postgres::time;
use gemba_core::access::{Count, Key};
use pgrx::pg_guard;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// How often a process adds its counts at most, in microseconds.
const PAUSE: i64 = 1_000_000;

/// With so many different ones a process does not wait for the end of its transaction.
const MANY: usize = 1_024;

thread_local! {
    static COUNTS: RefCell<HashMap<Key, Count>> = RefCell::default();
    static ADDED_AT: Cell<i64> = const { Cell::new(i64::MIN) };
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

pub fn note(key: Key, at: i64) {
    listen();
    let many = COUNTS.with(|counts| {
        // Nobody has it: nothing here calls anything that could come back.
        let Ok(mut counts) = counts.try_borrow_mut() else {
            return false;
        };
        counts
            .entry(key)
            .and_modify(|count| count.add(&Count::one(at)))
            .or_insert(Count::one(at));
        counts.len() >= MANY
    });
    if many {
        publish(true);
    }
}

/// Adds what there is to what all have.
pub fn publish(wait: bool) {
    COUNTS.with(|counts| {
        let Ok(mut counts) = counts.try_borrow_mut() else {
            return;
        };
        if !counts.is_empty() && shared::add(wait, counts.iter()) {
            counts.clear();
            ADDED_AT.set(time::now());
        }
    });
}

fn listen() {
    if LISTENS.replace(true) {
        return;
    }
    // SAFETY: the functions are there as long as the process.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_end), std::ptr::null_mut());
        pg_sys::before_shmem_exit(Some(at_exit), pg_sys::Datum::from(0));
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if matches!(
        event,
        XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE
    ) && COUNTS.with(|counts| counts.try_borrow().is_ok_and(|counts| !counts.is_empty()))
        && time::now().saturating_sub(ADDED_AT.get()) >= PAUSE
    {
        publish(false);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_exit(_code: i32, _argument: pg_sys::Datum) {
    publish(true);
}
