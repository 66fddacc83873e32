//! Workers that die: in the middle of a claim, with a week in hand, in an open transaction, while they report.

use super::*;
use anyhow::ensure;
use gemba_tests::{Database, Random, extended};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

const WEEKS: i32 = 52;

/// One life of a worker. An error is its death: whatever it had in hand is lost with it.
fn live(db: &Database, random: &mut Random, stop: &AtomicBool) -> Result<()> {
    let mut client = db.connect_as("service_role")?;
    while !stop.load(Ordering::SeqCst) {
        let lease = 50 + random.below(200);
        let statement = format!("{CLAIM}('mortal', '{lease} ms')");
        if random.one_in(8) {
            // Dies before the claim is committed.
            let mut open = client.transaction()?;
            open.query_opt(&statement, &[])?;
            return Ok(());
        }
        let Some(row) = client.query_opt(&statement, &[])? else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let week = claimed(&row);
        std::thread::sleep(Duration::from_millis(random.below(20)));
        match random.below(8) {
            // Dies with the week in hand.
            0 => return Ok(()),
            1 => {
                fail(&mut client, &week)?;
                continue;
            }
            2 => {
                client.query(
                    "SELECT reporting.heartbeat_week($1::text::uuid, '100 ms', $2)",
                    &[&week.week, &week.claim],
                )?;
                std::thread::sleep(Duration::from_millis(random.below(60)));
            }
            _ => {}
        }
        // What it collected and that it did are committed together, or neither.
        let mut both = client.transaction()?;
        both.execute(
            "INSERT INTO public.collected (week_start, claim) VALUES ($1::text::date, $2)",
            &[&week.start, &week.claim],
        )?;
        let reported = both.query(
            "SELECT FROM reporting.complete_week($1::text::uuid, 1, $2, claim => $3)",
            &[&week.week, &week.start, &week.claim],
        );
        match reported {
            Ok(_) if random.one_in(10) => return Ok(()),
            Ok(_) => both.commit()?,
            // It took too long, and somebody else has it.
            Err(error) if error.code().is_some_and(|code| code.code() == "55000") => {
                both.rollback()?
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[test]
fn a_year_is_collected_once_though_workers_die() -> Result<()> {
    let db = extended("crashes_year")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    client.batch_execute(
        "UPDATE reporting.settings SET max_attempts = 1000;
         CREATE TABLE public.collected (week_start date, claim bigint);
         GRANT INSERT ON public.collected TO service_role",
    )?;
    let id = backfill(&mut client, FLOW, WEEKS)?;
    let watcher: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
    let stop = AtomicBool::new(false);
    let deaths = AtomicI64::new(0);
    let deadline = Instant::now() + Duration::from_secs(120);
    std::thread::scope(|scope| -> Result<()> {
        for number in 0..8 {
            let (db, stop, deaths) = (&db, &stop, &deaths);
            scope.spawn(move || {
                let mut random = Random::new(1_000 + number);
                while !stop.load(Ordering::SeqCst) {
                    // However it ends, another one takes its place.
                    let _ = live(db, &mut random, stop);
                    deaths.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let killer = scope.spawn(|| -> Result<u64> {
            let mut client = db.connect()?;
            let mut random = Random::new(5);
            let mut killed = 0;
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5 + random.below(15)));
                killed += client.execute(
                    "SELECT pg_terminate_backend(pid) FROM (
                       SELECT pid FROM pg_stat_activity
                        WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), $1) ORDER BY random() LIMIT 1) AS a",
                    &[&watcher],
                )?;
            }
            Ok(killed)
        });
        let mut progress = 0;
        let outcome = (|| -> Result<()> {
            loop {
                let row = client.query_one(
                    "SELECT status, progress_percentage FROM reporting.report_data_collections",
                    &[],
                )?;
                let (status, now): (String, i32) = (row.get(0), row.get(1));
                ensure!(now >= progress, "progress fell from {progress} to {now}");
                progress = now;
                if status == "completed" {
                    return Ok(());
                }
                ensure!(status != "failed", "the collection failed");
                ensure!(
                    Instant::now() < deadline,
                    "not done in time: {status} {now}"
                );
                std::thread::sleep(Duration::from_millis(2));
            }
        })();
        stop.store(true, Ordering::SeqCst);
        let killed = killer.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        outcome?;
        ensure!(killed > 10, "only {killed} were killed");
        Ok(())
    })?;
    assert!(deaths.load(Ordering::SeqCst) > 10);
    assert_eq!(stands(&mut client, &id), "completed 100 52 0 0");
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), count(DISTINCT week_start) FROM public.collected"
        ),
        ["52 | 52"]
    );
    // Recorded under the claim that completed it.
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM public.collected c JOIN reporting.report_data_weeks w ON w.week_start_date = c.week_start AND w.claim = c.claim AND w.status = 'completed'"
        ),
        "52"
    );
    assert_in_order(&mut client, "at the end");
    Ok(())
}

/// The server itself dies while weeks run and a collection is brought in.
#[test]
fn a_crash_of_the_server_loses_nothing() -> Result<()> {
    let cluster = gemba_tests::Cluster::new()?;
    let db = cluster.extended("crashes_server")?;
    let (id, kept) = {
        let mut client = db.connect()?;
        furnish(&mut client)?;
        let id = backfill(&mut client, FLOW, 4)?;
        let first = next(&mut client)?;
        complete(&mut client, &first, Some("a"))?;
        let kept = next(&mut client)?;
        let mut open = db.connect()?;
        let mut open = open.transaction()?;
        open.query(&format!("{CLAIM}('lost')"), &[])?;
        cluster.crash()?;
        (id, kept)
    };
    cluster.start()?;
    let mut client = db.connect()?;
    assert_eq!(weeks(&mut client, &id), "completed running pending pending");
    assert_in_order(&mut client, "after the crash");
    complete(&mut client, &kept, Some("b"))?;
    assert_eq!(work_off(&mut client)?, 2);
    assert_eq!(stands(&mut client, &id), "completed 100 4 0 0");
    Ok(())
}
