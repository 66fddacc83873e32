//! Whether what was looked up before may have changed since.

#![expect(unsafe_code, reason = "reads the server's snapshot")]

use pgrx::prelude::*;

// Policies ask for each row of a query. These two read a variable and raise no error, so they need none of what
// pgrx does around calls that might, which costs ten times as much.
unsafe extern "C-unwind" {
    fn GetActiveSnapshot() -> pg_sys::Snapshot;
    fn GetUserId() -> pg_sys::Oid;
}

/// What decides what can be seen: who asks, how many transactions had ended, and how many commands of one's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    role: pg_sys::Oid,
    ended: u64,
    own: pg_sys::CommandId,
}

impl Seen {
    /// As the running query sees things.
    pub fn now() -> Self {
        // SAFETY: a query that calls a function runs with an active snapshot.
        unsafe {
            let snapshot = GetActiveSnapshot();
            Self {
                role: GetUserId(),
                ended: (*snapshot).snapXactCompletionCount,
                own: (*snapshot).curcid,
            }
        }
    }

    /// Does it tell one query from another? Not under a snapshot that came from elsewhere (in a parallel worker, or
    /// by SET TRANSACTION SNAPSHOT), which does not count what has ended.
    pub fn is_telling(&self) -> bool {
        self.ended != 0
    }
}
