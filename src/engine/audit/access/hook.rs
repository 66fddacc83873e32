//! What is counted.

#![expect(unsafe_code, reason = "is called by the server with its own lists")]

use super::counts;
use crate::engine::audit::who;
use crate::gucs;
use gemba_core::access::Key;
use pgrx::pg_guard;
use pgrx::pg_sys;

/// The first oid that a table of somebody's can have.
const FIRST: u32 = pg_sys::FirstNormalObjectId;

const HOUR: i64 = 3_600_000_000;

/// As they are stored.
pub const OPERATIONS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// The hook that was there before; written once, when the library is loaded, before there is anybody else.
static mut BEFORE: pg_sys::ExecutorCheckPerms_hook_type = None;

pub fn register() {
    // SAFETY: the postmaster loads libraries one after the other, in one thread.
    unsafe {
        BEFORE = pg_sys::ExecutorCheckPerms_hook;
        pg_sys::ExecutorCheckPerms_hook = Some(permitted);
    }
}

/// Called after the server's own checks, with what a query wants to do with which tables.
#[cfg(not(feature = "pg15"))]
#[pg_guard]
unsafe extern "C-unwind" fn permitted(
    tables: *mut pg_sys::List,
    wishes: *mut pg_sys::List,
    report: bool,
) -> bool {
    // SAFETY: the hook that was there before, called as the server would; the list has these nodes.
    unsafe {
        let allowed = BEFORE.is_none_or(|before| before(tables, wishes, report));
        if allowed && counts() {
            let mut query = Query::default();
            for place in 0..length(wishes) {
                let wish = &*element::<pg_sys::RTEPermissionInfo>(wishes, place);
                query.note(wish.relid, wish.requiredPerms, wish.updatedCols);
            }
            query.count();
        }
        allowed
    }
}

/// Before 16, what is wanted stands with the tables.
#[cfg(feature = "pg15")]
#[pg_guard]
unsafe extern "C-unwind" fn permitted(tables: *mut pg_sys::List, report: bool) -> bool {
    // SAFETY: as above.
    unsafe {
        let allowed = BEFORE.is_none_or(|before| before(tables, report));
        if allowed && counts() {
            let mut query = Query::default();
            for place in 0..length(tables) {
                let table = &*element::<pg_sys::RangeTblEntry>(tables, place);
                if table.rtekind == pg_sys::RTEKind::RTE_RELATION {
                    query.note(table.relid, table.requiredPerms, table.updatedCols);
                }
            }
            query.count();
        }
        allowed
    }
}

/// Is this a query that counts? Not what somebody else's rights are used for, and a parallel query counts once.
fn counts() -> bool {
    // SAFETY: reads the backend's own state.
    unsafe {
        gucs::COUNT_ACCESS.get()
            && pg_sys::ParallelWorkerNumber < 0
            && !pg_sys::InLocalUserIdChange()
    }
}

/// # Safety
/// A list of the server's, or none.
unsafe fn length(list: *mut pg_sys::List) -> usize {
    if list.is_null() {
        return 0;
    }
    // SAFETY: the caller vouches for it.
    unsafe { (*list).length as usize }
}

/// # Safety
/// The list has so many elements, of this type.
unsafe fn element<T>(list: *mut pg_sys::List, place: usize) -> *const T {
    // SAFETY: the caller vouches for it.
    unsafe { (*(*list).elements.add(place)).ptr_value.cast() }
}

/// What a query does with each table: a bit for each operation. It counts once, however often the query names it.
#[derive(Default)]
struct Query(Vec<(pg_sys::Oid, u32)>);

impl Query {
    /// # Safety
    /// The set of columns is one, or null.
    unsafe fn note(
        &mut self,
        table: pg_sys::Oid,
        wanted: pg_sys::AclMode,
        updated: *mut pg_sys::Bitmapset,
    ) {
        let wants = |right: u32| wanted & pg_sys::AclMode::from(right) != 0;
        let operations = [
            wants(pg_sys::ACL_SELECT),
            wants(pg_sys::ACL_INSERT),
            // SELECT … FOR UPDATE wants the right, too, but no column.
            wants(pg_sys::ACL_UPDATE) && !updated.is_null(),
            wants(pg_sys::ACL_DELETE),
        ];
        let bits = (0..)
            .zip(operations)
            .fold(0, |bits, (place, wanted)| bits | u32::from(wanted) << place);
        if let Some(known) = self.0.iter_mut().find(|known| known.0 == table) {
            known.1 |= bits;
            return;
        }
        // SAFETY: a look-up in the system caches: the table is locked, so it is there.
        if bits != 0 && unsafe { has_policies(table) } {
            self.0.push((table, bits));
        }
    }

    fn count(self) {
        for (table, bits) in self.0 {
            // What a change has to read for itself is not a query of its own.
            let bits = if bits == READS { bits } else { bits & !READS };
            for operation in (0..4).filter(|operation| bits & 1 << operation != 0) {
                count(table, operation);
            }
        }
    }
}

/// The bit of SELECT.
const READS: u32 = 1;

/// # Safety
/// Needs a transaction, like every look-up in the system caches.
unsafe fn has_policies(table: pg_sys::Oid) -> bool {
    if table.to_u32() < FIRST {
        return false;
    }
    // SAFETY: the row is looked at before it is given back.
    unsafe {
        let row = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(table),
        );
        if row.is_null() {
            return false;
        }
        let class: *const pg_sys::FormData_pg_class = pg_sys::GETSTRUCT(row).cast();
        let isolated = (*class).relrowsecurity;
        pg_sys::ReleaseSysCache(row);
        isolated
    }
}

fn count(table: pg_sys::Oid, operation: u32) {
    // SAFETY: reads the backend's own state.
    let (database, role, at) = unsafe {
        (
            pg_sys::MyDatabaseId,
            pg_sys::GetOuterUserId(),
            pg_sys::GetCurrentStatementStartTimestamp(),
        )
    };
    let key = Key {
        database: database.to_u32(),
        table: table.to_u32(),
        role: role.to_u32(),
        hour: at.div_euclid(HOUR) as i32,
        user: who::user().unwrap_or_default(),
        operation,
    };
    counts::note(key, at);
}

/// When an hour begins, in microseconds.
pub fn hour_begins(hour: i32) -> i64 {
    i64::from(hour) * HOUR
}
