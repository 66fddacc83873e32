//! From memory into the table.
//!
//! What was seen is taken out of memory when the transaction that has written it commits, and not before: a collection
//! that fails loses nothing, and one that succeeds counts nothing twice.

#![expect(unsafe_code, reason = "is called back by the server")]

use super::{counts, hook, shared};
use crate::error::Result;
use crate::postgres::{lock, role, spi, time};
use gemba_core::access::{Key, Place};
use pgrx::pg_guard;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

struct Collected {
    subtransaction: pg_sys::SubTransactionId,
    places: Vec<Place>,
}

thread_local! {
    /// What this transaction has collected, and in which part of it.
    static COLLECTED: RefCell<Vec<Collected>> = RefCell::default();
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// Returns how many queries were moved.
///
/// # Errors
/// `25001` where it could not see what others have collected.
pub fn collect() -> Result<i64> {
    role::require_current_snapshots("counts of accesses cannot be collected")?;
    lock::take_turns("cloudwatcher.data_access")?;
    counts::publish(true);
    // SAFETY: reads the backend's own state.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let seen = without_collected(shared::of_database(database));
    if seen.is_empty() {
        return Ok(0);
    }
    write(&seen)?;
    let queries: u64 = seen.iter().map(|place| place.count.queries).sum();
    remember(seen);
    Ok(i64::try_from(queries).unwrap_or(i64::MAX))
}

fn write(seen: &[Place]) -> Result<()> {
    fn column<T>(seen: &[Place], value: impl Fn(&Place) -> T) -> Vec<T> {
        seen.iter().map(value).collect()
    }
    let instant = |at: i64| time::timestamptz(at);
    spi::write(
        include_str!("collect.sql"),
        &[
            column(seen, |place| instant(hook::hour_begins(place.key.hour))).into(),
            column(seen, |place| pg_sys::Oid::from(place.key.table)).into(),
            column(seen, |place| operation(&place.key)).into(),
            column(seen, |place| {
                (place.key.user != [0; 16]).then(|| pgrx::Uuid::from_bytes(place.key.user))
            })
            .into(),
            column(seen, |place| pg_sys::Oid::from(place.key.role)).into(),
            column(seen, |place| place.count.queries as i64).into(),
            column(seen, |place| instant(place.count.first_at)).into(),
            column(seen, |place| instant(place.count.last_at)).into(),
        ],
    )?;
    Ok(())
}

fn operation(key: &Key) -> &'static str {
    hook::OPERATIONS[key.operation as usize % hook::OPERATIONS.len()]
}

/// Without what this very transaction has written already.
fn without_collected(mut seen: Vec<Place>) -> Vec<Place> {
    let mut before: HashMap<Key, u64> = HashMap::new();
    COLLECTED.with_borrow(|collected| {
        for place in collected.iter().flat_map(|part| &part.places) {
            *before.entry(place.key).or_default() += place.count.queries;
        }
    });
    for place in &mut seen {
        let before = before.get(&place.key).copied().unwrap_or(0);
        place.count.queries = place.count.queries.saturating_sub(before);
    }
    seen.retain(|place| place.count.queries > 0);
    seen
}

fn remember(places: Vec<Place>) {
    // SAFETY: the functions are there as long as the process; the other one reads the backend's own state.
    let subtransaction = unsafe {
        if !LISTENS.replace(true) {
            pg_sys::RegisterXactCallback(Some(at_end), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(at_end_of_part), std::ptr::null_mut());
        }
        pg_sys::GetCurrentSubTransactionId()
    };
    COLLECTED.with_borrow_mut(|collected| {
        collected.push(Collected {
            subtransaction,
            places,
        });
    });
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => {
            for part in COLLECTED.take() {
                shared::subtract(&part.places);
            }
        }
        XACT_EVENT_ABORT => {
            COLLECTED.take();
        }
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end_of_part(
    event: pg_sys::SubXactEvent::Type,
    part: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::SubXactEvent::{SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB};
    COLLECTED.with_borrow_mut(|collected| match event {
        SUBXACT_EVENT_ABORT_SUB => collected.retain(|one| one.subtransaction != part),
        SUBXACT_EVENT_COMMIT_SUB => {
            for one in collected
                .iter_mut()
                .filter(|one| one.subtransaction == part)
            {
                one.subtransaction = parent;
            }
        }
        _ => {}
    });
}
