//! Rounds of work that several clients take from one queue.

use crate::server::Server;
use anyhow::{Context, Result, ensure};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One client of one side.
pub trait Worker: Send {
    /// Takes what it can get, and reports it done; returns how many that were.
    fn work(&mut self) -> Result<usize>;
}

/// One side: how its queue is filled again, and its workers.
pub struct Side<'a> {
    pub name: &'a str,
    pub database: &'a str,
    pub refill: &'a str,
    pub workers: Vec<Box<dyn Worker>>,
}

/// All that there is once, by all workers together. Filling and vacuuming is outside the measured time.
pub fn round(server: &Server, side: &mut Side<'_>, total: u32) -> Result<Duration> {
    let mut client = server.connect(side.database)?;
    client.batch_execute(side.refill)?;
    client.batch_execute("VACUUM ANALYZE")?;
    let done = AtomicU64::new(0);
    let start = Barrier::new(side.workers.len() + 1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<Duration> {
        let threads: Vec<_> = side
            .workers
            .iter_mut()
            .map(|worker| {
                let (done, start, stop) = (&done, &start, &stop);
                scope.spawn(move || -> Result<()> {
                    start.wait();
                    let deadline = Instant::now() + Duration::from_secs(120);
                    while !stop.load(Ordering::Relaxed)
                        && done.load(Ordering::Relaxed) < u64::from(total)
                    {
                        ensure!(Instant::now() < deadline, "a round does not end");
                        let worked = worker.work()?;
                        done.fetch_add(worked as u64, Ordering::Relaxed);
                        if worked == 0 {
                            // What is left is in others' hands.
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        start.wait();
        let begin = Instant::now();
        for thread in threads {
            let outcome = thread.join().ok().context("a client died")?;
            if outcome.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            outcome?;
        }
        let elapsed = begin.elapsed();
        ensure!(
            done.load(Ordering::Relaxed) == u64::from(total),
            "{} did {} of {total}",
            side.name,
            done.load(Ordering::Relaxed)
        );
        Ok(elapsed)
    })
}
