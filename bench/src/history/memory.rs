//! What a backend takes up while it works: the client runs on the server's machine and may look.

use anyhow::{Context, Result};
use postgres::Client;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// In bytes.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    /// Memory of its own before it began.
    pub before: u64,
    /// The most of it that was seen.
    pub own: u64,
    /// The most that was ever resident, shared buffers that it has touched included.
    pub resident: u64,
}

/// Runs something in a session and watches its backend meanwhile; nothing where the system does not tell.
pub fn watch<T>(
    client: &mut Client,
    work: impl FnOnce(&mut Client) -> Result<T>,
) -> Result<(T, Option<Peak>)> {
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
    let Some(before) = field(pid, "RssAnon:") else {
        return Ok((work(client)?, None));
    };
    let (done, own) = (AtomicBool::new(false), AtomicU64::new(before));
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                own.fetch_max(field(pid, "RssAnon:").unwrap_or(0), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let result = work(client);
        done.store(true, Ordering::Relaxed);
        result
    })?;
    let peak = Peak {
        before,
        own: own.into_inner(),
        resident: field(pid, "VmHWM:").context("the backend is gone")?,
    };
    Ok((result, Some(peak)))
}

fn field(pid: i32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kb: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb * 1024)
}
