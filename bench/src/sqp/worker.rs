//! The background worker: how late a due job starts, and what it costs while nothing is due.

use super::{Size, target};
use crate::report::Report;
use crate::samples::{Samples, show};
use crate::server::{Server, progress};
use anyhow::{Context, Result};
use postgres::Client;
use std::time::{Duration, Instant};

/// The only database that the server's worker looks after, so that it disturbs no other measurement.
const DATABASE: &str = "bench_jobs";
const LIMIT: Duration = Duration::from_secs(1);

pub fn measure(server: &Server, size: Size, report: &mut Report) -> Result<()> {
    server.create_database(DATABASE)?;
    let mut client = server.connect(DATABASE)?;
    client.batch_execute(
        "CREATE EXTENSION gemba; SELECT gemba.enable_job(name, false) FROM gemba.jobs;",
    )?;
    if !running(&mut client)? {
        report.note("**the worker is not running on this server**, so nothing is measured of it");
        progress("the worker: NOT RUNNING, nothing of it is measured");
        return server.drop_database(DATABASE);
    }
    latency(&mut client, size, report)?;
    idle(&mut client, size, report)?;
    drop(client);
    server.drop_database(DATABASE)
}

fn running(client: &mut Client) -> Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let state: String = client
            .query_one("SELECT state FROM gemba.worker_status()", &[])?
            .get(0);
        if state == "running" {
            return Ok(true);
        }
        if state == "not preloaded" || Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn latency(client: &mut Client, size: Size, report: &mut Report) -> Result<()> {
    progress("the worker: how late a job starts");
    for schedule in ["* * * * * *", "1 second"] {
        client.execute(
            "SELECT gemba.schedule($1, $1, 'SELECT 1', run_as => 'service_role')",
            &[&schedule],
        )?;
    }
    std::thread::sleep(Duration::from_secs(size.watch));
    let mut samples = Samples::default();
    for row in client.query(
        "SELECT extract(epoch FROM started_at - scheduled_for)::float8, status FROM gemba.job_runs WHERE finished_at IS NOT NULL",
        &[],
    )? {
        samples.push(Duration::try_from_secs_f64(row.get::<_, f64>(0)).unwrap_or_default());
    }
    client.batch_execute("SELECT gemba.unschedule(name) FROM gemba.jobs")?;
    report.row(
        "a job that is due each second: from due to started",
        "gemba's worker",
        show(samples.median()),
        format!(
            "p95 {}, longest {}",
            show(samples.percentile(95)),
            show(samples.max())
        ),
        samples.count(),
        String::new(),
    );
    target(
        report,
        "a due job starts within a second",
        samples.count() > 0 && samples.max() < LIMIT,
        &show(samples.max()),
    );
    Ok(())
}

/// CPU time of launcher and scheduler while the next job is a day away.
fn idle(client: &mut Client, size: Size, report: &mut Report) -> Result<()> {
    progress("the worker: what it costs when nothing is due");
    client.batch_execute(
        "SELECT gemba.schedule('daily', '1 day', 'SELECT 1', run_as => 'service_role')",
    )?;
    let pids: Vec<i32> = client
        .query("SELECT pid FROM pg_stat_activity WHERE backend_type IN ('gemba launcher', 'gemba scheduler')", &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let watch = Duration::from_secs(size.watch.max(3) * 3);
    let before = cpu(&pids)?;
    std::thread::sleep(watch);
    let used = cpu(&pids)? - before;
    report.row(
        "the worker while nothing is due",
        "gemba's worker",
        format!("{:.3} % of a core", 100.0 * used / watch.as_secs_f64()),
        format!(
            "{} ms of CPU in {}, {} processes",
            (used * 1_000.0).round(),
            show(watch),
            pids.len()
        ),
        1,
        String::new(),
    );
    Ok(())
}

/// Seconds of CPU time that these processes have used, to a nanosecond.
fn cpu(pids: &[i32]) -> Result<f64> {
    let mut total = 0.0;
    for pid in pids {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))
            .with_context(|| format!("process {pid}"))?;
        let nanoseconds: f64 = text
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .context("the kernel keeps no schedstat")?;
        total += nanoseconds / 1e9;
    }
    Ok(total)
}
