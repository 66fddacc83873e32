//! Counts that all processes add to.

#![expect(unsafe_code, reason = "memory that processes share, and its lock")]

use gemba_core::access::{self, Count, Key, Place};
use pgrx::pg_guard;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Half a megabyte. Between two collections, so many combinations of table, role, user and operation fit; what comes
/// beyond is counted as lost.
pub const PLACES: usize = 8_192;

const NAME: &CStr = c"gemba access";

#[repr(C)]
struct Shared {
    taken: u32,
    /// Queries for which there was no place, ever, and how many of them have been told.
    lost: u64,
    told: u64,
    places: [Place; PLACES],
}

/// Set by the postmaster before it starts anybody.
static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());
static LOCK: AtomicPtr<pg_sys::LWLock> = AtomicPtr::new(std::ptr::null_mut());

/// The hooks that were there before; written once, when the library is loaded, before there is anybody else.
static mut REQUEST_BEFORE: pg_sys::shmem_request_hook_type = None;
static mut STARTUP_BEFORE: pg_sys::shmem_startup_hook_type = None;

pub fn register() {
    // SAFETY: the postmaster loads libraries one after the other, in one thread.
    unsafe {
        REQUEST_BEFORE = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request);
        STARTUP_BEFORE = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn request() {
    // SAFETY: the hook that was there before, called as the server would; the rest is what this hook is for.
    unsafe {
        if let Some(before) = REQUEST_BEFORE {
            before();
        }
        pg_sys::RequestAddinShmemSpace(size_of::<Shared>());
        pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn startup() {
    // SAFETY: as above. The memory is as large as was asked for, and only the postmaster is there to see it, also
    // after a crash, when it is made again.
    unsafe {
        if let Some(before) = STARTUP_BEFORE {
            before();
        }
        let mut found = false;
        let shared: *mut Shared =
            pg_sys::ShmemInitStruct(NAME.as_ptr(), size_of::<Shared>(), &raw mut found).cast();
        if !found {
            (*shared).taken = 0;
            (*shared).lost = 0;
            (*shared).told = 0;
            (*shared).places.fill(Place::EMPTY);
        }
        let lock = pg_sys::GetNamedLWLockTranche(NAME.as_ptr());
        LOCK.store(&raw mut (*lock).lock, Ordering::Relaxed);
        SHARED.store(shared, Ordering::Relaxed);
    }
}

/// Is there such memory?
pub fn there() -> bool {
    !SHARED.load(Ordering::Relaxed).is_null()
}

/// Does something while nobody else does. None where there is no such memory, or, without `wait`, while somebody
/// else has it. `work` must not raise errors.
fn with<T>(wait: bool, work: impl FnOnce(&mut Shared) -> T) -> Option<T> {
    let shared = SHARED.load(Ordering::Relaxed);
    let lock = LOCK.load(Ordering::Relaxed);
    if shared.is_null() || lock.is_null() {
        return None;
    }
    let mode = pg_sys::LWLockMode::LW_EXCLUSIVE;
    // SAFETY: both are there as long as the server; who has the lock is alone with the memory.
    unsafe {
        if wait {
            pg_sys::LWLockAcquire(lock, mode);
        } else if !pg_sys::LWLockConditionalAcquire(lock, mode) {
            return None;
        }
        let value = work(&mut *shared);
        pg_sys::LWLockRelease(lock);
        Some(value)
    }
}

/// Adds counts. Returns whether it could.
pub fn add<'a>(wait: bool, counts: impl Iterator<Item = (&'a Key, &'a Count)>) -> bool {
    with(wait, |shared| {
        for (key, count) in counts {
            if !access::add(&mut shared.places, &mut shared.taken, key, count) {
                shared.lost = shared.lost.saturating_add(count.queries);
            }
        }
    })
    .is_some()
}

/// What one database has.
pub fn of_database(database: u32) -> Vec<Place> {
    with(true, |shared| access::of_database(&shared.places, database)).unwrap_or_default()
}

pub fn subtract(seen: &[Place]) {
    with(true, |shared| {
        access::subtract(&mut shared.places, &mut shared.taken, seen);
    });
}

/// Queries that were lost since this was last asked.
pub fn newly_lost() -> u64 {
    with(true, |shared| {
        let lost = shared.lost - shared.told;
        shared.told = shared.lost;
        lost
    })
    .unwrap_or(0)
}

/// Places that are taken, and queries that were lost since the server started.
pub fn state() -> (u32, u64) {
    with(true, |shared| (shared.taken, shared.lost)).unwrap_or((0, 0))
}
