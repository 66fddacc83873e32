//! Reserving and releasing stock as a technician, beside two plain statements each over bare tables.
//!
//! Every client reserves one of a part drawn by lot and releases it again, each in a transaction of its own.

use super::{Size, target};
use crate::queue::{Side, Worker, round};
use crate::report::{Report, factor, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress};
use anyhow::{Result, ensure};
use gemba_tests::Random;
use postgres::{Client, Statement};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const GEMBA: &str = "bench_cloudwatcher_stock";
const PLAIN: &str = "bench_cloudwatcher_stock_plain";

const CLIENTS: u64 = 8;

/// Reservations and releases a second, together.
const WANTED: f64 = 3_000.0;

/// What is left of a round, in pairs of a reservation and its release.
#[derive(Clone)]
struct Left(Arc<AtomicI64>);

impl Left {
    fn take(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) > 0
    }
}

struct Bare {
    left: Left,
    client: Client,
    random: Random,
    parts: u64,
    reserve: Statement,
    release: Statement,
}

impl Worker for Bare {
    fn work(&mut self) -> Result<usize> {
        if !self.left.take() {
            return Ok(0);
        }
        let part = 1 + self.random.below(self.parts) as i32;
        let row = self.client.query_one(&self.reserve, &[&part])?;
        let id: String = row.get(0);
        let released = self.client.execute(&self.release, &[&id])?;
        ensure!(released == 1, "a reservation was not released");
        Ok(2)
    }
}

struct Gemba {
    left: Left,
    client: Client,
    random: Random,
    parts: u64,
    reserve: Statement,
    release: Statement,
}

impl Worker for Gemba {
    fn work(&mut self) -> Result<usize> {
        if !self.left.take() {
            return Ok(0);
        }
        let part = format!(
            "30000000-0000-4000-8000-{:012}",
            1 + self.random.below(self.parts)
        );
        let row = self.client.query_one(&self.reserve, &[&part])?;
        let id: String = row.get(0);
        let open: i32 = self.client.query_one(&self.release, &[&id])?.get(0);
        ensure!(open == 0, "a reservation was not released");
        Ok(2)
    }
}

fn bare_workers(server: &Server, size: Size, left: &Left) -> Result<Vec<Box<dyn Worker>>> {
    (0..CLIENTS)
        .map(|number| {
            let mut client = server.connect(PLAIN)?;
            let reserve = client.prepare(
                "WITH room AS (UPDATE stock SET reserved = reserved + 1 WHERE part = $1 AND on_hand - reserved >= 1 RETURNING part)
                 INSERT INTO reservations (part, quantity, open) SELECT part, 1, 1 FROM room RETURNING id::text",
            )?;
            let release = client.prepare(
                "WITH released AS (UPDATE reservations SET open = 0 WHERE id = $1::text::uuid AND open > 0 RETURNING part, quantity)
                 UPDATE stock s SET reserved = s.reserved - r.quantity FROM released r WHERE s.part = r.part",
            )?;
            Ok(Box::new(Bare {
                left: left.clone(),
                client,
                random: Random::new(number),
                parts: size.reserved.into(),
                reserve,
                release,
            }) as Box<dyn Worker>)
        })
        .collect()
}

fn gemba_workers(server: &Server, size: Size, left: &Left) -> Result<Vec<Box<dyn Worker>>> {
    (0..CLIENTS)
        .map(|number| {
            let mut client = server.connect(GEMBA)?;
            client.batch_execute(
                "SET request.jwt.claims = '{\"role\": \"authenticated\", \"sub\": \"00000000-0000-4000-8000-000000000001\"}';
                 SET ROLE authenticated",
            )?;
            let reserve = client.prepare(
                "SELECT reservation_id::text FROM cloudwatcher.reserve_stock($1::text::uuid, '20000000-0000-4000-8000-000000000001', 1)",
            )?;
            let release = client.prepare("SELECT open FROM cloudwatcher.release_stock($1::text::uuid)")?;
            Ok(Box::new(Gemba {
                left: left.clone(),
                client,
                random: Random::new(number),
                parts: size.reserved.into(),
                reserve,
                release,
            }) as Box<dyn Worker>)
        })
        .collect()
}

pub fn measure(server: &Server, size: Size, report: &mut Report) -> Result<()> {
    progress("stock: tables");
    for (database, extension, sql) in [
        (
            GEMBA,
            "CREATE EXTENSION gemba",
            include_str!("../../sql/cloudwatcher/stock.gemba.sql"),
        ),
        (
            PLAIN,
            "SELECT",
            include_str!("../../sql/cloudwatcher/stock.plain.sql"),
        ),
    ] {
        server.create_database(database)?;
        let mut client = server.connect(database)?;
        client.batch_execute(extension)?;
        client.batch_execute(
            &sql.replace("{parts}", &size.reserved.to_string())
                .replace("{departments}", &size.departments.to_string()),
        )?;
    }
    report.note(&format!(
        "stock: {} parts of one location among {} departments; {CLIENTS} clients reserve and release one of a part drawn by lot, each in a transaction of its own, as a technician, with fsync and synchronous commit; the bare tables are a stock and its reservations with their keys, without permissions, row security, records of movements or ids of operations",
        thousands(size.reserved.into()),
        thousands(size.departments.into()),
    ));
    let left = Left(Arc::default());
    let mut sides = [
        Side {
            name: "bare tables, two statements",
            database: PLAIN,
            refill: "SELECT",
            workers: bare_workers(server, size, &left)?,
        },
        Side {
            name: "gemba: reserve_stock, release_stock",
            database: GEMBA,
            refill: "SELECT",
            workers: gemba_workers(server, size, &left)?,
        },
    ];
    let mut samples = [Samples::default(), Samples::default()];
    for number in 0..size.rounds {
        // Another side first each time.
        for turn in 0..2 {
            let which = (number + turn) % 2;
            left.0
                .store(i64::from(size.reservations / 2), Ordering::Relaxed);
            samples[which].push(round(server, &mut sides[which], size.reservations)?);
        }
    }
    let rate =
        |samples: &Samples| f64::from(size.reservations) / samples.median().as_secs_f64().max(1e-9);
    let bare = rate(&samples[0]);
    for (side, samples) in sides.iter().zip(&samples) {
        report.row(
            "stock: reserve and release",
            side.name,
            format!("{} operations/s", thousands(rate(samples) as u64)),
            format!("{} a round", show(samples.median())),
            samples.count(),
            format!("{} of the bare tables", factor(rate(samples) / bare)),
        );
    }
    let met = rate(&samples[1]);
    target(
        report,
        "reserve and release at 3,000 operations/s",
        met >= WANTED,
        &thousands(met as u64),
    );
    adds_up(server)?;
    drop(sides);
    for database in [GEMBA, PLAIN] {
        server.drop_database(database)?;
    }
    Ok(())
}

/// All was given back, and of everything that was reserved there is a record.
fn adds_up(server: &Server) -> Result<()> {
    let mut client = server.connect(GEMBA)?;
    let row = client.query_one(
        "SELECT (SELECT sum(quantity_reserved) FROM cloudwatcher.inventory) = 0
            AND (SELECT sum(open) FROM cloudwatcher.stock_reservations) = 0",
        &[],
    )?;
    ensure!(row.get::<_, bool>(0), "what is reserved does not add up");
    Ok(())
}
