//! Requests: taken by several workers in batches, claimed only and claimed and answered, and submitted by people.

use super::{Size, target};
use crate::Options;
use crate::queue::{Side, Worker, round};
use crate::reads::as_user;
use crate::report::{Report, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress};
use anyhow::Result;
use postgres::{Client, Statement};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const DATABASE: &str = "bench_cloudwatcher_requests";
const CLIENTS: usize = 8;
const ROUNDS: usize = 5;
const BATCHES: [i32; 3] = [1, 100, 500];
/// Claims of one at a time are for comparison, and would take minutes.
const SINGLE: u32 = 5_000;
const WANTED: u64 = 15_000;

/// Everything that is known of requests begins anew: what is left of a round would be in the next one's way.
fn refill(requests: u32) -> String {
    format!(
        "SET session_replication_role = replica;
         TRUNCATE cloudwatcher.requests, cloudwatcher.request_keys, cloudwatcher.responses, cloudwatcher.response_metadata,
                  cloudwatcher.request_metadata, cloudwatcher.cloud_file_refs;
         INSERT INTO cloudwatcher.requests
                (device_id, request_type, payload, payload_hash, dept_id, created_at, next_attempt_at)
         SELECT 'truck-' || n % 100, 'get_parts', p.payload, cloudwatcher.payload_hash(p.payload),
                (SELECT id FROM cloudwatcher.departments LIMIT 1), p.at, p.at
           FROM generate_series(1, {requests}) AS n
          CROSS JOIN LATERAL (SELECT jsonb_build_object('part', 'P-' || n, 'quantity', n % 7) AS payload,
                                     now() - n * interval '1 millisecond' AS at) AS p"
    )
}

struct Taker {
    client: Client,
    statement: Statement,
    batch: i32,
}

impl Worker for Taker {
    fn work(&mut self) -> Result<usize> {
        let row = self.client.query_one(&self.statement, &[&self.batch])?;
        Ok(row.get::<_, i64>(0) as usize)
    }
}

fn workers(server: &Server, batch: i32, sql: fn(usize) -> String) -> Result<Vec<Box<dyn Worker>>> {
    (0..CLIENTS)
        .map(|number| {
            let mut client = server.connect(DATABASE)?;
            client.batch_execute("SET ROLE service_role")?;
            let statement = client.prepare(&sql(number))?;
            Ok(Box::new(Taker {
                client,
                statement,
                batch,
            }) as Box<dyn Worker>)
        })
        .collect()
}

fn claim(worker: usize) -> String {
    format!("SELECT count(*) FROM cloudwatcher.claim_requests('w{worker}', $1)")
}

fn answer(worker: usize) -> String {
    format!(
        "SELECT count(*) FROM cloudwatcher.complete_requests(
           (SELECT coalesce(jsonb_agg(jsonb_build_object('request', c.request_id, 'content', c.payload)), '[]')
              FROM cloudwatcher.claim_requests('w{worker}', $1) AS c), 'w{worker}')"
    )
}

pub fn measure(server: &Server, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    server.create_database(DATABASE)?;
    server.connect(DATABASE)?.batch_execute(
        "CREATE EXTENSION gemba;
         INSERT INTO auth.users (id, email) VALUES ('00000000-0000-4000-8000-000000000001', 'a@x');
         INSERT INTO cloudwatcher.users (id, email, name) VALUES ('00000000-0000-4000-8000-000000000001', 'a@x', 'a');
         INSERT INTO cloudwatcher.departments (name) VALUES ('depot');
         INSERT INTO cloudwatcher.user_roles (user_id, role_id)
         SELECT '00000000-0000-4000-8000-000000000001', id FROM cloudwatcher.roles WHERE name = 'technician';
         INSERT INTO cloudwatcher.user_departments (user_id, dept_id)
         SELECT '00000000-0000-4000-8000-000000000001', id FROM cloudwatcher.departments;
         INSERT INTO cloudwatcher.devices (device_id, dept_id)
         SELECT 'truck-' || n, id FROM cloudwatcher.departments, generate_series(0, 99) AS n",
    )?;
    let rounds = if options.quick { 1 } else { ROUNDS };
    report.note(&format!(
        "requests: {CLIENTS} clients, as service_role, with fsync and synchronous commit; each round begins with {} pending requests of 100 devices and ends when all are claimed (in batches of one: {})",
        thousands(size.requests.into()),
        thousands(SINGLE.min(size.requests).into())
    ));
    for (what, sql) in [
        ("requests claimed", claim as fn(usize) -> String),
        ("requests claimed and answered", answer),
    ] {
        for batch in BATCHES {
            let total = if batch == 1 {
                SINGLE.min(size.requests)
            } else {
                size.requests
            };
            progress(&format!("{what}, batches of {batch}"));
            let mut side = Side {
                name: what,
                database: DATABASE,
                refill: &refill(total),
                workers: workers(server, batch, sql)?,
            };
            let mut samples = Samples::default();
            for _ in 0..rounds {
                samples.push(round(server, &mut side, total)?);
            }
            let rate = (f64::from(total) / samples.median().as_secs_f64().max(1e-9)) as u64;
            report.row(
                &format!("{what}, {batch} at a time"),
                "gemba",
                format!("{} requests/s", thousands(rate)),
                format!("a round: {} ({})", show(samples.median()), samples.spread()),
                samples.count(),
                String::new(),
            );
            if batch > 1 && what == "requests claimed" {
                target(
                    report,
                    &format!(
                        "at least {} requests/s claimed in batches of {batch}",
                        thousands(WANTED)
                    ),
                    rate >= WANTED,
                    &format!("{}/s", thousands(rate)),
                );
            }
        }
    }
    submitted(server, size, rounds, report)?;
    server.drop_database(DATABASE)
}

/// One request after the other by people, each in a transaction of its own.
struct Person {
    client: Client,
    statement: Statement,
    number: i64,
    /// Requests that nobody has submitted yet in this round.
    left: Arc<AtomicI64>,
}

impl Worker for Person {
    fn work(&mut self) -> Result<usize> {
        if self.left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Ok(0);
        }
        self.number += 1;
        let device = format!("truck-{}", self.number % 100);
        self.client
            .query_one(&self.statement, &[&device, &self.number])?;
        Ok(1)
    }
}

fn submitted(server: &Server, size: Size, rounds: usize, report: &mut Report) -> Result<()> {
    progress("requests submitted");
    let total = SINGLE.min(size.requests);
    let left = Arc::new(AtomicI64::new(0));
    let mut people: Vec<Box<dyn Worker>> = Vec::new();
    for number in 0..CLIENTS {
        let mut client = as_user(
            server.connect(DATABASE)?,
            "00000000-0000-4000-8000-000000000001",
        )?;
        let statement = client.prepare(
            "SELECT request_id FROM cloudwatcher.submit_request($1, 'get_parts', jsonb_build_object('n', $2::bigint), '{\"app\": \"2.1\"}')",
        )?;
        people.push(Box::new(Person {
            client,
            statement,
            number: number as i64 * 1_000_000_000,
            left: Arc::clone(&left),
        }));
    }
    let mut side = Side {
        name: "requests submitted",
        database: DATABASE,
        refill: &refill(0),
        workers: people,
    };
    let mut samples = Samples::default();
    for _ in 0..rounds {
        left.store(i64::from(total), Ordering::Relaxed);
        samples.push(round(server, &mut side, total)?);
    }
    let rate = (f64::from(total) / samples.median().as_secs_f64().max(1e-9)) as u64;
    report.row(
        "requests submitted by technicians, with an attribute",
        "gemba",
        format!("{} requests/s", thousands(rate)),
        format!("a round: {} ({})", show(samples.median()), samples.spread()),
        samples.count(),
        String::new(),
    );
    Ok(())
}
