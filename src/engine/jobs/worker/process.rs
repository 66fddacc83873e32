//! What the worker's processes need from the server: connections, signals, waiting, transactions.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use crate::error::{OrRaise, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

// The server's own signal handlers as they are; pgrx has them wrapped.
unsafe extern "C-unwind" {
    fn die(signal: core::ffi::c_int);
    fn SignalHandlerForConfigReload(signal: core::ffi::c_int);
}

static PRELOADED: AtomicBool = AtomicBool::new(false);

/// Has the postmaster loaded the library? (Its children inherit the answer.)
pub fn preloaded() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}

/// Is the postmaster loading the library now? Then background workers can be registered.
pub fn being_preloaded() -> bool {
    // SAFETY: reads globals of this process.
    let preloading =
        unsafe { pg_sys::process_shared_preload_libraries_in_progress && !pg_sys::IsBinaryUpgrade };
    if preloading {
        PRELOADED.store(true, Ordering::Relaxed);
    }
    preloading
}

/// The first thing a process of the worker does: a SIGTERM interrupts whatever runs, a SIGHUP is noted.
/// (pgrx's own handler of SIGTERM would wait for a statement's end.)
pub fn begin() {
    // SAFETY: the server's own handlers, installed before signals are let through.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        {
            pg_sys::pqsignal(libc::SIGTERM, Some(die));
            pg_sys::pqsignal(libc::SIGHUP, Some(SignalHandlerForConfigReload));
        }
        #[cfg(feature = "pg18")]
        {
            pg_sys::pqsignal_be(libc::SIGTERM, Some(die));
            pg_sys::pqsignal_be(libc::SIGHUP, Some(SignalHandlerForConfigReload));
        }
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Is the process still there that asked for this one?
pub fn parent_lives() -> bool {
    // SAFETY: this process's own entry; the look-up accepts any pid.
    unsafe {
        let entry = pg_sys::MyBgworkerEntry;
        entry.is_null() || !pg_sys::BackendPidGetProc((*entry).bgw_notify_pid).is_null()
    }
}

/// Connects to a database as the cluster's first superuser, or to none.
pub fn connect(database: Option<pg_sys::Oid>) {
    // SAFETY: called once in a background worker that asked for database access.
    unsafe {
        match database {
            Some(oid) => {
                pg_sys::BackgroundWorkerInitializeConnectionByOid(oid, pg_sys::InvalidOid, 0);
            }
            None => {
                pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0)
            }
        }
    }
}

/// Connects as a role, with its rights and settings, and no way to more. A role that cannot log in
/// (service_role cannot) may have jobs all the same: its jobs were scheduled by somebody who may act as it.
pub fn connect_as(database: pg_sys::Oid, role: pg_sys::Oid, can_login: bool) {
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    // SAFETY: as above.
    unsafe {
        let _ = can_login;
        pg_sys::BackgroundWorkerInitializeConnectionByOid(
            database,
            role,
            pg_sys::BGWORKER_BYPASS_ROLELOGINCHECK,
        );
    }
    // Older servers refuse such a role, whatever the caller says. There the process connects as a superuser,
    // becomes the role, and locks itself in: with this flag SET ROLE and SET SESSION AUTHORIZATION are refused,
    // as in a SECURITY DEFINER function, and the end of a transaction does not take it away, because it was there
    // before the first began.
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    // SAFETY: as above; outside a transaction there is nothing that the new user could upset.
    unsafe {
        if can_login {
            pg_sys::BackgroundWorkerInitializeConnectionByOid(database, role, 0);
            return;
        }
        connect(Some(database));
        transaction(|| {
            pg_sys::SetSessionAuthorization(role, pg_sys::superuser_arg(role));
            Ok(())
        });
        pg_sys::SetUserIdAndSecContext(role, pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
    }
}

/// The session of a scheduler is the server's own, whatever settings its database has.
pub fn pin_settings() {
    for (name, value) in [
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"role", c"none"),
        // What somebody holds is left to the next look.
        (c"lock_timeout", c"5s"),
        (c"statement_timeout", c"0"),
    ] {
        // SAFETY: inside a transaction; the texts are static.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
            );
        }
    }
}

/// Runs `work` in a transaction of its own, which may write and sees what others commit, whatever the database's
/// or the role's defaults are. An error ends the process; whoever started it notices.
pub fn transaction<T>(work: impl FnOnce() -> Result<T>) -> T {
    // SAFETY: a background worker outside a transaction; an error never comes back here.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::XactReadOnly = false;
        pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let value = work().or_raise();
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        pg_sys::pgstat_report_stat(false);
        value
    }
}

/// Lets the transaction write that is open, for the bookkeeping at its end.
pub fn allow_writing() {
    // SAFETY: the server looks at it when a statement that writes begins.
    unsafe { pg_sys::XactReadOnly = false }
}

/// What pg_stat_activity shows: the statement that runs, or nothing.
pub fn show(command: Option<&core::ffi::CStr>) {
    // SAFETY: the text is copied.
    unsafe {
        match command {
            Some(command) => pg_sys::pgstat_report_activity(
                pg_sys::BackendState::STATE_RUNNING,
                command.as_ptr(),
            ),
            None => {
                pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null())
            }
        }
    }
}

/// Sleeps until the time is over, somebody wakes this process, or the server ends. Returns whether settings
/// were reloaded meanwhile.
pub fn wait(time: Duration) -> bool {
    // SAFETY: this process's own latch; with WL_EXIT_ON_PM_DEATH it does not outlive the postmaster.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            (pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH) as i32,
            core::ffi::c_long::try_from(time.as_millis()).unwrap_or(core::ffi::c_long::MAX),
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
        pgrx::check_for_interrupts!();
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() == 0 {
            return false;
        }
        (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
        pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        true
    }
}

/// A process that this one has started.
pub struct Child(*mut pg_sys::BackgroundWorkerHandle);

impl Child {
    /// Starts a process that tells this one when it begins and ends. None when there is no room for it.
    pub fn start(kind: &str, function: &str, argument: i64, extra: &str) -> Option<Self> {
        let mut worker = pg_sys::BackgroundWorker {
            bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS
                | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32,
            bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
            bgw_restart_time: pg_sys::BGW_NEVER_RESTART,
            bgw_main_arg: argument.into_datum().unwrap_or(pg_sys::Datum::null()),
            // SAFETY: reads a global of this process.
            bgw_notify_pid: unsafe { pg_sys::MyProcPid },
            ..Default::default()
        };
        write_name(&mut worker.bgw_name, kind);
        write_name(&mut worker.bgw_type, kind);
        write_name(&mut worker.bgw_library_name, "gemba");
        write_name(&mut worker.bgw_function_name, function);
        write_name(&mut worker.bgw_extra, extra);
        let mut handle = std::ptr::null_mut();
        // SAFETY: the handle outlives any transaction, so it is made in the context that does too.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let started = pg_sys::RegisterDynamicBackgroundWorker(&raw mut worker, &raw mut handle);
            pg_sys::MemoryContextSwitchTo(before);
            // Not then_some(), which would make one of no handle and drop it.
            started.then(|| Self(handle))
        }
    }

    /// Has it ended (or never begun)?
    pub fn ended(&self) -> bool {
        let mut pid = 0;
        // SAFETY: a handle that is live until it is dropped.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &raw mut pid) };
        use pg_sys::BgwHandleStatus::{BGWH_POSTMASTER_DIED, BGWH_STOPPED};
        matches!(status, BGWH_STOPPED | BGWH_POSTMASTER_DIED)
    }

    pub fn terminate(&self) {
        // SAFETY: as above.
        unsafe { pg_sys::TerminateBackgroundWorker(self.0) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: palloc'd by the server for us, and not used any more.
        unsafe { pg_sys::pfree(self.0.cast()) }
    }
}

/// A C string in a field of fixed size, cut where it does not fit.
fn write_name(field: &mut [core::ffi::c_char], text: &str) {
    let room = field.len().saturating_sub(1);
    for (to, from) in field.iter_mut().take(room).zip(text.bytes()) {
        *to = from as core::ffi::c_char;
    }
}

thread_local! {
    /// Scheduler and launcher, if this transaction gave them something to do.
    static TO_WAKE: Cell<Option<(Option<i32>, Option<i32>)>> = const { Cell::new(None) };
}

/// Wakes these processes when the transaction commits.
pub fn wake_at_commit(scheduler: Option<i32>, launcher: Option<i32>) {
    TO_WAKE.set(Some((scheduler, launcher)));
    pgrx::register_xact_callback(pgrx::PgXactCallbackEvent::Commit, || {
        if let Some((scheduler, launcher)) = TO_WAKE.take() {
            wake(scheduler, launcher);
        }
    });
    pgrx::register_xact_callback(pgrx::PgXactCallbackEvent::Abort, || TO_WAKE.set(None));
}

fn wake(scheduler: Option<i32>, launcher: Option<i32>) {
    // SAFETY: a pid is looked up among the server's own processes first, so no other program is signalled.
    unsafe {
        match (scheduler, launcher) {
            (Some(pid), _) => {
                let process = pg_sys::BackendPidGetProc(pid);
                if !process.is_null() {
                    pg_sys::SetLatch(&raw mut (*process).procLatch);
                }
            }
            // A reload makes the launcher look at all databases at once.
            (None, Some(pid)) => {
                if !pg_sys::BackendPidGetProc(pid).is_null() {
                    libc::kill(pid, libc::SIGHUP);
                }
            }
            (None, None) => {}
        }
    }
}
