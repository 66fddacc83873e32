//! Keeps a scheduler in each database that has jobs.

#![expect(unsafe_code, reason = "the entry point of a process is a C function")]

use super::databases;
use super::process::{self, Child};
use crate::gucs;
use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often the list of databases is read. A new extension or job says so by itself.
const LOOK: Duration = Duration::from_secs(10);
/// A scheduler that ended is started again after this time, then after twice as long, and so on: it ended
/// because there is no extension (yet), or because of an error that may last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// One that lived this long had something to do: its end is a new accident.
const SETTLED: Duration = Duration::from_secs(30);

/// Called when the library is loaded: asks the postmaster for a launcher, if it is the one who loads.
pub fn register() {
    if !process::being_preloaded() {
        return;
    }
    BackgroundWorkerBuilder::new("gemba launcher")
        .set_type("gemba launcher")
        .set_library("gemba")
        .set_function("gemba_launcher_main")
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(Duration::from_secs(1)))
        .enable_spi_access()
        .load();
}

struct Scheduler {
    child: Option<Child>,
    started: Instant,
    pause: Duration,
}

impl Scheduler {
    fn new() -> Self {
        Self {
            child: None,
            started: Instant::now(),
            pause: Duration::ZERO,
        }
    }

    /// Starts it unless it is there or its pause is not over.
    fn keep(&mut self, database: pg_sys::Oid) {
        if let Some(child) = &self.child {
            if !child.ended() {
                return;
            }
            self.child = None;
            self.pause = if self.started.elapsed() > SETTLED {
                FIRST_PAUSE
            } else {
                (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
            };
            self.started = Instant::now();
        }
        if self.started.elapsed() < self.pause {
            return;
        }
        self.started = Instant::now();
        self.child = Child::start(
            "gemba scheduler",
            "gemba_scheduler_main",
            i64::from(database.to_u32()),
            "",
        );
        if self.child.is_none() {
            warning!("gemba: no process is free for a scheduler; raise max_worker_processes");
            self.pause = LOOK;
        }
    }

    fn due(&self) -> Duration {
        match self.child {
            Some(_) => LOOK,
            None => self.pause.saturating_sub(self.started.elapsed()),
        }
    }
}

/// The launcher's process.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gemba_launcher_main(_argument: pg_sys::Datum) {
    process::begin();
    process::connect(None);
    let mut schedulers: HashMap<pg_sys::Oid, Scheduler> = HashMap::new();
    loop {
        let wanted = wanted();
        schedulers.retain(|oid, scheduler| {
            let wanted = wanted.contains(oid);
            if let (false, Some(child)) = (wanted, &scheduler.child) {
                child.terminate();
            }
            wanted
        });
        for oid in &wanted {
            schedulers
                .entry(*oid)
                .or_insert_with(Scheduler::new)
                .keep(*oid);
        }
        let pause = schedulers
            .values()
            .map(Scheduler::due)
            .min()
            .unwrap_or(LOOK);
        if process::wait(pause.clamp(Duration::from_millis(10), LOOK)) {
            for scheduler in schedulers.values_mut() {
                scheduler.pause = Duration::ZERO;
            }
        }
    }
}

fn wanted() -> Vec<pg_sys::Oid> {
    let setting = gucs::WORKER_DATABASES.get();
    let setting = setting
        .as_deref()
        .map(|names| names.to_string_lossy().into_owned())
        .unwrap_or_default();
    let names: Vec<&str> = setting.split(',').map(str::trim).collect();
    databases::list()
        .into_iter()
        .filter(|database| {
            names
                .iter()
                .any(|name| *name == "*" || *name == database.name)
        })
        .map(|database| database.oid)
        .collect()
}
