//! What is counted.

#![expect(unsafe_code, reason = "is called by the server with its own lists")]

use super::counts;
use crate::engine::audit::who;
use crate::gucs;
use gemba_core::access::Key;
use pgrx::pg_guard;
use pgrx::pg_sys;
use std::cell::Cell;

/// The first oid that a table of somebody's can have.
const FIRST: u32 = pg_sys::FirstNormalObjectId;

const HOUR: i64 = 3_600_000_000;

/// As they are stored.
pub const OPERATIONS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// The hooks that were there before; written once, when the library is loaded, before there is anybody else.
static mut START_BEFORE: pg_sys::ExecutorStart_hook_type = None;
static mut PERMITTED_BEFORE: pg_sys::ExecutorCheckPerms_hook_type = None;

thread_local! {
    /// Is a query being started, which is counted there?
    static STARTING: Cell<bool> = const { Cell::new(false) };
}

pub fn register() {
    // SAFETY: the postmaster loads libraries one after the other, in one thread.
    unsafe {
        START_BEFORE = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(start);
        PERMITTED_BEFORE = pg_sys::ExecutorCheckPerms_hook;
        pg_sys::ExecutorCheckPerms_hook = Some(permitted);
    }
}

/// Called when a query is about to run; counts it when the server has found that it may.
#[pg_guard]
unsafe extern "C-unwind" fn start(query: *mut pg_sys::QueryDesc, flags: i32) {
    /// Puts the flag back also when an error passes.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            STARTING.set(self.0);
        }
    }
    // SAFETY: the hook that was there before, or what the server would have called; the query has its plan.
    unsafe {
        {
            let _restore = Restore(STARTING.replace(true));
            match START_BEFORE {
                Some(before) => before(query, flags),
                None => pg_sys::standard_ExecutorStart(query, flags),
            }
        }
        // EXPLAIN alone reads nothing.
        if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 == 0 && counts() {
            let plan = &*(*query).plannedstmt;
            #[cfg(not(feature = "pg15"))]
            Query::of(plan.permInfos).count();
            #[cfg(feature = "pg15")]
            Query::of(plan.rtable).count();
        }
    }
}

/// Called when the server has checked rights, with what is wanted of which tables. Queries are counted when they
/// start; COPY asks for the rights of its table and runs no query, but where policies make it one.
#[cfg(not(feature = "pg15"))]
#[pg_guard]
unsafe extern "C-unwind" fn permitted(
    tables: *mut pg_sys::List,
    wishes: *mut pg_sys::List,
    report: bool,
) -> bool {
    // SAFETY: the hook that was there before, called as the server would; the list has these nodes.
    unsafe {
        let allowed = PERMITTED_BEFORE.is_none_or(|before| before(tables, wishes, report));
        if allowed {
            note_copy(wishes);
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
        let allowed = PERMITTED_BEFORE.is_none_or(|before| before(tables, report));
        if allowed {
            note_copy(tables);
        }
        allowed
    }
}

/// # Safety
/// As for [`Query::of`].
unsafe fn note_copy(wishes: *mut pg_sys::List) {
    // SAFETY: the caller vouches for the list.
    unsafe {
        // Whoever asks for two tables at once, as for a new foreign key, queries them afterwards.
        if STARTING.get() || length(wishes) != 1 || !counts() {
            return;
        }
        let mut query = Query::of(wishes);
        query
            .0
            .retain(|(table, bits)| *bits != READS || !has_policies_for_caller(*table));
        query.count();
    }
}

/// Do policies decide what the caller sees of the table?
///
/// # Safety
/// The table is locked.
unsafe fn has_policies_for_caller(table: pg_sys::Oid) -> bool {
    // SAFETY: a look-up; no error of its own is asked for.
    let found = unsafe { pg_sys::check_enable_rls(table, pg_sys::InvalidOid, true) };
    found == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
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
    /// What a query wants: since 16 a list of `RTEPermissionInfo`, before of `RangeTblEntry`. Its tables are locked.
    #[cfg(not(feature = "pg15"))]
    unsafe fn of(wishes: *mut pg_sys::List) -> Self {
        let mut query = Self::default();
        // SAFETY: the caller vouches for the list.
        unsafe {
            for place in 0..length(wishes) {
                let wish = &*element::<pg_sys::RTEPermissionInfo>(wishes, place);
                query.note(wish.relid, wish.requiredPerms, wish.updatedCols);
            }
        }
        query
    }

    /// # Safety
    /// As above.
    #[cfg(feature = "pg15")]
    unsafe fn of(tables: *mut pg_sys::List) -> Self {
        let mut query = Self::default();
        // SAFETY: the caller vouches for the list.
        unsafe {
            for place in 0..length(tables) {
                let table = &*element::<pg_sys::RangeTblEntry>(tables, place);
                if table.rtekind == pg_sys::RTEKind::RTE_RELATION {
                    query.note(table.relid, table.requiredPerms, table.updatedCols);
                }
            }
        }
        query
    }

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
