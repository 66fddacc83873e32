//! Claiming and completing weeks, beside two statements over the seed's own table.
//!
//! A round works off all weeks of all collections. Both sides do the same rounds with the same clients.

use super::{Size, target};
use crate::queue::{Side, Worker, round};
use crate::report::{Report, factor, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress};
use anyhow::{Result, ensure};
use postgres::{Client, Statement};

const GEMBA: &str = "bench_reporting_weeks";
const PLAIN: &str = "bench_reporting_weeks_plain";
const WEEKS: u32 = 52;
const WANTED: f64 = 0.7;

struct Bare {
    client: Client,
    claim: Statement,
    complete: Statement,
}

impl Worker for Bare {
    fn work(&mut self) -> Result<usize> {
        let Some(row) = self.client.query_opt(&self.claim, &[])? else {
            return Ok(0);
        };
        let week: String = row.get(0);
        self.client.execute(&self.complete, &[&week])?;
        Ok(1)
    }
}

struct Gemba {
    client: Client,
    claim: Statement,
    complete: Statement,
}

impl Worker for Gemba {
    fn work(&mut self) -> Result<usize> {
        let Some(row) = self.client.query_opt(&self.claim, &[])? else {
            return Ok(0);
        };
        let (week, claim): (String, i64) = (row.get(0), row.get(1));
        self.client.execute(&self.complete, &[&week, &claim])?;
        Ok(1)
    }
}

fn bare_workers(server: &Server, size: Size) -> Result<Vec<Box<dyn Worker>>> {
    (0..size.clients)
        .map(|_| {
            let mut client = server.connect(PLAIN)?;
            // In the order of the index on status, which is none: by date would cost it more. Without the setting it
            // reads the table from its beginning, through all that is done.
            client.batch_execute("SET enable_seqscan = off")?;
            let claim = client.prepare(
                "UPDATE report_data_weeks SET status = 'running', execution_date = now()
                  WHERE id = (SELECT id FROM report_data_weeks WHERE status = 'pending' LIMIT 1 FOR UPDATE SKIP LOCKED)
              RETURNING id::text, collection_id, week_start_date, week_end_date",
            )?;
            let complete = client.prepare(
                "UPDATE report_data_weeks SET status = 'completed', row_count = 1000, data_checksum = md5($1) WHERE id = $1::text::uuid",
            )?;
            Ok(Box::new(Bare { client, claim, complete }) as Box<dyn Worker>)
        })
        .collect()
}

fn gemba_workers(server: &Server, size: Size) -> Result<Vec<Box<dyn Worker>>> {
    (0..size.clients)
        .map(|number| {
            let mut client = server.connect(GEMBA)?;
            client.batch_execute("SET ROLE service_role")?;
            let claim = client.prepare(&format!(
                "SELECT week::text, claim, collection, workflow, instance, week_start, week_end FROM reporting.claim_week('w{number}')"
            ))?;
            let complete = client.prepare("SELECT reporting.complete_week($1::text::uuid, 1000, md5($1), claim => $2)")?;
            Ok(Box::new(Gemba { client, claim, complete }) as Box<dyn Worker>)
        })
        .collect()
}

pub fn measure(server: &Server, size: Size, report: &mut Report) -> Result<()> {
    progress("weeks: tables");
    let collections = size.collections.to_string();
    let weeks = size.collections * WEEKS;
    for (database, extension, sql) in [
        (
            GEMBA,
            "CREATE EXTENSION gemba",
            include_str!("../../sql/reporting/weeks.gemba.sql"),
        ),
        (
            PLAIN,
            "SELECT",
            include_str!("../../sql/reporting/weeks.plain.sql"),
        ),
    ] {
        server.create_database(database)?;
        let mut client = server.connect(database)?;
        client.batch_execute(extension)?;
        client.batch_execute(&sql.replace("{collections}", &collections))?;
    }
    report.note(&format!(
        "weeks: {} collections of {WEEKS} weeks, {} clients, two transactions a week (claim, complete with a checksum), as service_role, with fsync and synchronous commit; letting the collections run is part of it; the bare queue is the seed's own table with its indexes and its trigger, a claim taking any pending week, without order, bounds, lease, counts, duplicates or row security",
        size.collections, size.clients
    ));
    let refill = |most_collections: &str, most_weeks: &str| {
        include_str!("../../sql/reporting/weeks.gemba.refill.sql")
            .replace("{most_collections}", most_collections)
            .replace("{most_weeks}", most_weeks)
    };
    // With room for everybody, and as the settings come.
    let (wide, narrow) = (refill("1000", "1000"), refill("5", "10"));
    let bare = include_str!("../../sql/reporting/weeks.plain.refill.sql")
        .replace("{collections}", &collections);
    let mut sides = [
        Side {
            name: "bare two-statement queue",
            database: PLAIN,
            refill: &bare,
            workers: bare_workers(server, size)?,
        },
        Side {
            name: "gemba: claim_week, complete_week",
            database: GEMBA,
            refill: &wide,
            workers: gemba_workers(server, size)?,
        },
        Side {
            name: "gemba, 5 collections and 10 weeks at a time",
            database: GEMBA,
            refill: &narrow,
            workers: gemba_workers(server, size)?,
        },
    ];
    let mut samples = [Samples::default(), Samples::default(), Samples::default()];
    for number in 0..size.rounds {
        progress(&format!("weeks: round {number} of {}", size.rounds));
        // Another side first each time.
        for turn in 0..sides.len() {
            let which = (number + turn) % sides.len();
            samples[which].push(round(server, &mut sides[which], weeks)?);
            if which > 0 {
                collected(server, size)?;
            }
        }
    }
    let rate = |samples: &Samples| f64::from(weeks) / samples.median().as_secs_f64().max(1e-9);
    let bare = rate(&samples[0]);
    for (side, samples) in sides.iter().zip(&samples) {
        report.row(
            "weeks, claimed and completed",
            side.name,
            format!("{} weeks/s", thousands(rate(samples) as u64)),
            format!("a round: {} ({})", show(samples.median()), samples.spread()),
            samples.count(),
            if side.database == PLAIN {
                String::new()
            } else {
                format!("{} the bare queue", factor(rate(samples) / bare))
            },
        );
    }
    let found = rate(&samples[1]);
    target(
        report,
        &format!("claim and complete weeks at least {WANTED}x the bare queue"),
        found >= WANTED * bare,
        &factor(found / bare),
    );
    drop(sides);
    server.drop_database(PLAIN)?;
    server.drop_database(GEMBA)
}

/// Every week once, by its first claim, and every collection complete.
fn collected(server: &Server, size: Size) -> Result<()> {
    let row = server.connect(GEMBA)?.query_one(
        "SELECT (SELECT count(*) FROM reporting.report_data_collections WHERE status = 'completed' AND weeks_completed = 52),
                (SELECT count(*) FROM reporting.report_data_weeks WHERE status = 'completed' AND attempts = 0)",
        &[],
    )?;
    let (collections, weeks): (i64, i64) = (row.get(0), row.get(1));
    ensure!(
        collections == i64::from(size.collections) && weeks == i64::from(size.collections * WEEKS),
        "{collections} collections and {weeks} weeks are complete"
    );
    Ok(())
}
