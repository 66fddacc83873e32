//! Seals: how fast the trail is sealed and verified, and what sealing costs those who write meanwhile.

use crate::Options;
use crate::report::{Report, factor, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress, time};
use anyhow::{Context, Result, ensure};
use postgres::Client;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DATABASE: &str = "bench_audit_seals";
const RUNS: usize = 5;
/// Rows that are verified in a second.
const WANTED: f64 = 200_000.0;
const WRITERS: usize = 4;

const TABLE: &str = "CREATE EXTENSION gemba;
  CREATE TABLE parts (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text, price numeric, quantity int, active boolean,
                      made_at timestamptz DEFAULT now(), note text, place int);
  SELECT gemba.audit('parts')";

pub fn measure(server: &Server, options: &Options, report: &mut Report) -> Result<()> {
    progress("audit trail: seals");
    let rows: u64 = if options.quick { 20_000 } else { 1_000_000 };
    server.create_database(DATABASE)?;
    let mut client = server.connect(DATABASE)?;
    client.batch_execute(TABLE)?;
    for _ in 0..rows / 10_000 {
        client.batch_execute(
            "INSERT INTO parts (name, price, quantity, active, note, place)
             SELECT 'part ' || n, n * 1.10, n, n % 2 = 0, 'something about ' || n, n % 100 FROM generate_series(1, 10000) n",
        )?;
    }
    client.batch_execute("VACUUM ANALYZE cloudwatcher.audit_logs")?;
    let (took, sealed) = time(|| seal(&mut client))?;
    ensure!(sealed >= rows as i64, "only {sealed} rows were sealed");
    report.row(
        &format!("sealing {} rows of the trail", thousands(rows)),
        "gemba: seal_audit()",
        show(took),
        rate(rows, took),
        1,
        String::new(),
    );
    let mut samples = Samples::default();
    for _ in 0..if options.quick { 1 } else { RUNS } {
        let (took, problems) = time(|| {
            Ok(client
                .query("SELECT * FROM gemba.verify_audit()", &[])?
                .len())
        })?;
        ensure!(problems == 0, "a sound trail has {problems} problems");
        samples.push(took);
    }
    report.row(
        &format!("verifying {} rows of the trail", thousands(rows)),
        "gemba: verify_audit()",
        show(samples.median()),
        format!("{}, one process", rate(rows, samples.median())),
        samples.count(),
        String::new(),
    );
    let fast = rows as f64 / samples.median().as_secs_f64();
    report.note(&format!(
        "target {}: at least 200,000 rows verified in a second: {}",
        if fast >= WANTED { "met" } else { "**missed**" },
        rate(rows, samples.median())
    ));
    beside_writers(server, options, report)?;
    drop(client);
    server.drop_database(DATABASE)
}

fn rate(rows: u64, took: Duration) -> String {
    let rate = rows as f64 / took.as_secs_f64();
    format!("{} rows/s", thousands(rate as u64))
}

/// Returns how many rows were sealed.
fn seal(client: &mut Client) -> Result<i64> {
    let sealed = client.query("SELECT row_count FROM gemba.seal_audit()", &[])?;
    Ok(sealed.iter().map(|row| row.get::<_, i64>(0)).sum())
}

/// Writers by themselves, and beside a sealer that never rests.
fn beside_writers(server: &Server, options: &Options, report: &mut Report) -> Result<()> {
    let length = Duration::from_secs(if options.quick { 1 } else { 10 });
    let (mut alone, mut beside) = (Samples::default(), Samples::default());
    // In turns, so that both have the same of whatever else happens.
    for _ in 0..if options.quick { 1 } else { 3 } {
        write(server, length, false, &mut alone)?;
        write(server, length, true, &mut beside)?;
    }
    for (samples, side) in [
        (&alone, "no sealer"),
        (&beside, "beside a sealer that never rests"),
    ] {
        report.row(
            &format!("audited UPDATE of one row, {WRITERS} clients"),
            side,
            show(samples.median()),
            format!("p99 {}", show(samples.percentile(99))),
            samples.count(),
            factor(alone.median().as_secs_f64() / samples.median().as_secs_f64()),
        );
    }
    Ok(())
}

fn write(server: &Server, length: Duration, sealing: bool, samples: &mut Samples) -> Result<()> {
    let start = Barrier::new(WRITERS);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let sealer = sealing.then(|| {
            let done = &done;
            scope.spawn(move || -> Result<()> {
                let mut client = server.connect(DATABASE)?;
                while !done.load(Ordering::Relaxed) {
                    seal(&mut client)?;
                }
                Ok(())
            })
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let start = &start;
                scope.spawn(move || -> Result<Vec<Duration>> {
                    let prepared = server.connect(DATABASE).and_then(|mut client| {
                        let ids: Vec<String> = client
                            .query(
                                "SELECT id::text FROM parts ORDER BY random() LIMIT 1000",
                                &[],
                            )?
                            .iter()
                            .map(|row| row.get(0))
                            .collect();
                        let update = client.prepare(
                            "UPDATE parts SET quantity = quantity + 1 WHERE id = $1::text::uuid",
                        )?;
                        Ok((client, ids, update))
                    });
                    // Also without a session: the others wait here.
                    start.wait();
                    let (mut client, ids, update) = prepared?;
                    let mut taken = Vec::new();
                    let end = Instant::now() + length;
                    for id in ids.iter().cycle() {
                        if Instant::now() >= end {
                            break;
                        }
                        taken.push(time(|| Ok(client.execute(&update, &[id])?))?.0);
                    }
                    Ok(taken)
                })
            })
            .collect();
        let outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            for took in outcome.ok().context("a writer died")?? {
                samples.push(took);
            }
        }
        if let Some(sealer) = sealer {
            sealer.join().ok().context("the sealer died")??;
        }
        Ok(())
    })
}
