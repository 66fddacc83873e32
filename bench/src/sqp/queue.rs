//! Claiming and completing, beside two statements over a bare table.
//!
//! A round begins with every table being due and ends when all have been refreshed once. Both sides do the
//! same rounds with the same clients, and both are vacuumed between rounds, outside the measured time.

use super::{Size, target};
use crate::queue::{Side, Worker, round};
use crate::report::{Report, factor, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress};
use anyhow::Result;
use postgres::{Client, Statement};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const GEMBA: &str = "bench_sqp";
const PLAIN: &str = "bench_sqp_plain";

/// A table that nobody may claim twice at a time.
struct Claims {
    taken: Vec<AtomicBool>,
    total: AtomicU64,
    doubled: AtomicU64,
}

impl Claims {
    fn new(tables: u32) -> Self {
        Self {
            // Ids of tables begin with those that the room brings.
            taken: (0..tables as usize + 1_000)
                .map(|_| AtomicBool::new(false))
                .collect(),
            total: AtomicU64::new(0),
            doubled: AtomicU64::new(0),
        }
    }

    fn take(&self, table: usize) {
        self.total.fetch_add(1, Ordering::Relaxed);
        if self.taken[table].swap(true, Ordering::SeqCst) {
            self.doubled.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn give_back(&self, table: usize) {
        self.taken[table].store(false, Ordering::SeqCst);
    }
}

struct Bare {
    claims: Arc<Claims>,
    client: Client,
    claim: Statement,
    complete: Statement,
}

impl Worker for Bare {
    fn work(&mut self) -> Result<usize> {
        let Some(row) = self.client.query_opt(&self.claim, &[])? else {
            return Ok(0);
        };
        let id: i64 = row.get(0);
        self.claims.take(id as usize);
        self.claims.give_back(id as usize);
        self.client.execute(&self.complete, &[&id])?;
        Ok(1)
    }
}

struct Gemba {
    claims: Arc<Claims>,
    client: Client,
    claim: Statement,
    complete: Statement,
    batch: i32,
}

impl Worker for Gemba {
    fn work(&mut self) -> Result<usize> {
        let rows = self.client.query(&self.claim, &[&self.batch])?;
        let runs: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        let tables: Vec<i32> = rows.iter().map(|row| row.get(1)).collect();
        for table in &tables {
            self.claims.take(*table as usize);
        }
        for table in &tables {
            self.claims.give_back(*table as usize);
        }
        match runs.as_slice() {
            [] => {}
            [run] if self.batch == 1 => {
                self.client.execute(&self.complete, &[run])?;
            }
            runs => {
                self.client.execute(&self.complete, &[&runs])?;
            }
        }
        Ok(runs.len())
    }
}

fn bare_workers(server: &Server, size: Size, claims: &Arc<Claims>) -> Result<Vec<Box<dyn Worker>>> {
    (0..size.clients)
        .map(|_| {
            let mut client = server.connect(PLAIN)?;
            let claim = client.prepare(
                "UPDATE queue SET worker = 'w', run_at = now() + interval '5 minutes'
                  WHERE id = (SELECT id FROM queue WHERE run_at <= now()
                               ORDER BY priority DESC, run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
              RETURNING id",
            )?;
            let complete = client.prepare(
                "UPDATE queue SET worker = NULL, last_run = now(), run_at = now() + interval '1 day' WHERE id = $1",
            )?;
            Ok(Box::new(Bare { claims: Arc::clone(claims), client, claim, complete }) as Box<dyn Worker>)
        })
        .collect()
}

fn gemba_workers(
    server: &Server,
    size: Size,
    batch: i32,
    claims: &Arc<Claims>,
) -> Result<Vec<Box<dyn Worker>>> {
    (0..size.clients)
        .map(|number| {
            let mut client = server.connect(GEMBA)?;
            client.batch_execute("SET ROLE service_role")?;
            let claim = client.prepare(&format!(
                "SELECT run_id, config_id FROM sqp.claim_refresh('w{number}', '5 minutes', $1)"
            ))?;
            let complete = client.prepare(if batch == 1 {
                "SELECT sqp.complete_refresh($1, rows_processed => 1000)"
            } else {
                "SELECT sqp.complete_refreshes($1)"
            })?;
            Ok(Box::new(Gemba {
                claims: Arc::clone(claims),
                client,
                claim,
                complete,
                batch,
            }) as Box<dyn Worker>)
        })
        .collect()
}

pub fn measure(server: &Server, size: Size, report: &mut Report) -> Result<()> {
    progress("refreshes: tables");
    let tables = size.tables.to_string();
    for (database, extension, sql) in [
        (
            GEMBA,
            "CREATE EXTENSION gemba",
            include_str!("../../sql/sqp/tables.gemba.sql"),
        ),
        (
            PLAIN,
            "SELECT",
            include_str!("../../sql/sqp/queue.plain.sql"),
        ),
    ] {
        server.create_database(database)?;
        let mut client = server.connect(database)?;
        client.batch_execute(extension)?;
        client.batch_execute(&sql.replace("{tables}", &tables))?;
    }
    // Every claim of a batch would otherwise meet the bound for parallel runs.
    server
        .connect(GEMBA)?
        .batch_execute("UPDATE sqp.settings SET max_parallel = 1000")?;
    report.note(&format!(
        "refreshes: {} configured tables, half of them depending on the other half; {} clients, two transactions a refresh (claim, complete), as service_role, with fsync and synchronous commit; each round refreshes every table once; the bare queue is one table with one index on (priority, time), a claim setting the time back by five minutes and a completion by a day, without row security, history, lease or dependencies",
        thousands(size.tables.into()),
        size.clients
    ));
    let claims = Arc::new(Claims::new(size.tables));
    let bare_claims = Arc::new(Claims::new(size.tables));
    let refill = "UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '1 minute' WHERE table_schema = 'elsewhere'";
    let refill_bare = "UPDATE queue SET run_at = now() - interval '1 minute'";
    let mut sides = [
        Side {
            name: "bare two-statement queue",
            database: PLAIN,
            refill: refill_bare,
            workers: bare_workers(server, size, &bare_claims)?,
        },
        Side {
            name: "gemba: claim_refresh, complete_refresh",
            database: GEMBA,
            refill,
            workers: gemba_workers(server, size, 1, &claims)?,
        },
    ];
    let mut samples = [Samples::default(), Samples::default()];
    for number in 0..size.rounds {
        // Another side first each time.
        for turn in 0..2 {
            let which = (number + turn) % 2;
            let side = &mut sides[which];
            samples[which].push(round(server, side, size.tables)?);
        }
    }
    let rate =
        |samples: &Samples| f64::from(size.tables) / samples.median().as_secs_f64().max(1e-9);
    let bare = rate(&samples[0]);
    for (side, samples) in sides.iter().zip(&samples) {
        row(
            report,
            "refreshes, one claim at a time",
            side.name,
            samples,
            rate(samples),
            bare,
        );
    }
    let single = rate(&samples[1]);
    target(
        report,
        "claim and complete at least 0.8x the bare queue",
        single >= 0.8 * bare,
        &factor(single / bare),
    );

    let mut batches = Side {
        name: "gemba: claim_refresh, complete_refreshes",
        database: GEMBA,
        refill,
        workers: gemba_workers(server, size, size.batch, &claims)?,
    };
    let mut samples = Samples::default();
    for number in 0..size.rounds_of_batches {
        if number % 10 == 0 {
            progress(&format!(
                "refreshes: batches, round {number} of {}",
                size.rounds_of_batches
            ));
        }
        samples.push(round(server, &mut batches, size.tables)?);
    }
    row(
        report,
        &format!("refreshes, batches of {}", size.batch),
        batches.name,
        &samples,
        rate(&samples),
        bare,
    );
    target(
        report,
        &format!(
            "in batches of {} at least 5x one at a time (0.8x the bare queue)",
            size.batch
        ),
        rate(&samples) >= 5.0 * 0.8 * bare,
        &format!(
            "{} the bare queue, {} gemba's own single claims",
            factor(rate(&samples) / bare),
            factor(rate(&samples) / single)
        ),
    );
    let (total, doubled) = (
        claims.total.load(Ordering::Relaxed),
        claims.doubled.load(Ordering::Relaxed),
    );
    target(
        report,
        "no table claimed twice at a time",
        doubled == 0,
        &format!("{doubled} of {} claims", thousands(total)),
    );
    drop(sides);
    drop(batches);
    server.drop_database(PLAIN)
}

fn row(report: &mut Report, what: &str, side: &str, samples: &Samples, rate: f64, bare: f64) {
    report.row(
        what,
        side,
        format!("{} refreshes/s", thousands(rate as u64)),
        format!("a round: {} ({})", show(samples.median()), samples.spread()),
        samples.count(),
        if side.starts_with("bare") {
            String::new()
        } else {
            format!("{} the bare queue", factor(rate / bare))
        },
    );
}
