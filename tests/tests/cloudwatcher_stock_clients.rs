//! Stock under many clients at once: nothing is promised twice, nobody waits in a circle, nothing is lost.

mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_support::*;
use gemba_tests::{Database, Random, expect_sqlstate, value};
use postgres::{Client, Error};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

/// What the threads' clients come to, in the threads' order.
fn at_once<T: Send>(
    db: &Database,
    threads: u64,
    work: impl Fn(u64, &mut Client) -> Result<T> + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn({
                    let work = &work;
                    move || work(thread, &mut db.connect()?)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic").expect("no error"))
            .collect()
    })
}

/// Did it succeed, or was it refused like this?
fn went(result: Result<impl Sized, Error>, refusals: &[&str]) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => {
            let code = error.code().map_or("", |code| code.code());
            assert!(refusals.contains(&code), "{error:?}");
            false
        }
    }
}

#[test]
fn thirty_two_clients_are_promised_exactly_what_there_is() -> Result<()> {
    let (db, mut client) = organised("stock_oversell")?;
    served(
        &mut client,
        &format!("SELECT cloudwatcher.receive_stock('{FILTER}', '{AT_A}', 100)"),
    );
    let promised: u32 = at_once(&db, 32, |_, client| {
        let mut got = 0;
        for _ in 0..5 {
            let reserve = format!("SELECT cloudwatcher.reserve_stock('{FILTER}', '{AT_A}', 1)");
            got += u32::from(went(
                as_(client, TECH_A, |tx| tx.simple_query(&reserve)),
                &["55000"],
            ));
        }
        Ok(got)
    })
    .into_iter()
    .sum();
    assert_eq!(promised, 100);
    assert_eq!(
        value(
            &mut client,
            "SELECT (quantity_on_hand, quantity_reserved, quantity_available) FROM cloudwatcher.inventory"
        ),
        "(100,100,0)"
    );
    stock_adds_up(&mut client);

    // All of it is used up by as many at once, each taking what it finds.
    let reservations: Vec<String> = gemba_tests::table(
        &mut client,
        "SELECT id FROM cloudwatcher.stock_reservations",
    );
    at_once(&db, 32, |thread, client| {
        for reservation in reservations.iter().skip(thread as usize % 8 * 12).take(28) {
            let consume = format!(
                "SELECT cloudwatcher.consume_part('{FILTER}', '{AT_A}', 1, reservation => '{reservation}')"
            );
            went(
                as_(client, TECH_A, |tx| tx.simple_query(&consume)),
                &["55000"],
            );
        }
        Ok(())
    });
    assert_eq!(
        value(
            &mut client,
            "SELECT (quantity_on_hand, quantity_reserved, quantity_available) FROM cloudwatcher.inventory"
        ),
        "(0,0,0)"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT sum(quantity_consumed) FROM cloudwatcher.part_consumption"
        ),
        "100"
    );
    stock_adds_up(&mut client);
    Ok(())
}

#[test]
fn the_same_operation_at_once_is_done_once() -> Result<()> {
    let (db, mut client) = organised("stock_same_operation")?;
    for round in 1..=10 {
        let answers = at_once(&db, 12, |_, client| {
            let number = id(round);
            // (Also that of a release: what moves has one of its own each time.)
            let moved = |what: u32| id(round + 100 * what);
            let mut answers = Vec::new();
            for sql in [
                format!(
                    "SELECT operation_id FROM cloudwatcher.receive_stock('{FILTER}', '{AT_A}', 10, operation => '{}')",
                    moved(1)
                ),
                format!(
                    "SELECT reservation_id FROM cloudwatcher.reserve_stock('{FILTER}', '{AT_A}', 7, reservation => '{number}')"
                ),
                format!(
                    "SELECT consumption_id FROM cloudwatcher.consume_part('{FILTER}', '{AT_A}', 3, reservation => '{number}', operation => '{}')",
                    moved(2)
                ),
                format!(
                    "SELECT reservation_id FROM cloudwatcher.release_stock('{number}', 2, '{number}')"
                ),
                format!(
                    "SELECT location_id FROM cloudwatcher.transfer_stock('{FILTER}', '{AT_A}', '{AT_B}', 1, operation => '{}')",
                    moved(3)
                ),
                format!("SELECT open FROM cloudwatcher.release_stock('{number}')"),
            ] {
                answers.extend(served(client, &sql));
            }
            Ok(answers)
        });
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
        stock_adds_up(&mut client);
        assert_eq!(
            value(
                &mut client,
                "SELECT string_agg((quantity_on_hand, quantity_reserved)::text, ' ' ORDER BY location_id) FROM cloudwatcher.inventory"
            ),
            format!("({},0) ({round},0)", 6 * round)
        );
    }
    Ok(())
}

/// An id of one operation for several, each of another part: one of them is done, whoever comes first.
#[test]
fn an_id_for_several_things_at_once_does_one_of_them() -> Result<()> {
    let (db, mut client) = organised("stock_one_id")?;
    for round in 1..=20 {
        let done: u32 = at_once(&db, 8, |thread, client| {
            let (part, room) =
                [(FILTER, AT_A), (FILTER, AT_B), (BELT, AT_A), (BELT, AT_B)][thread as usize % 4];
            let sql = format!(
                "SELECT cloudwatcher.receive_stock('{part}', '{room}', 1, operation => '{}')",
                id(round)
            );
            Ok(u32::from(went(
                as_service(client, |tx| tx.simple_query(&sql)),
                &["22023"],
            )))
        })
        .into_iter()
        .sum();
        // By both of those who asked for the same.
        assert_eq!(done, 2);
    }
    assert_eq!(
        value(
            &mut client,
            "SELECT sum(quantity_on_hand) FROM cloudwatcher.inventory"
        ),
        "20"
    );
    stock_adds_up(&mut client);
    Ok(())
}

/// Something that a thread does, drawn by lot.
fn anything(random: &mut Random, thread: u64, step: u64) -> String {
    let rooms = [AT_A, AT_B, AT_C, WAREHOUSE];
    let (from, to) = (*random.pick(&rooms), *random.pick(&rooms));
    let long = format!("'{LONG}'");
    let (part, variant) = *random.pick(&[(FILTER, "NULL"), (BELT, "NULL"), (BELT, long.as_str())]);
    let quantity = 1 + random.below(5);
    let number = id((thread * 1_000_000 + step) as u32);
    let earlier = id((thread * 1_000_000 + random.below(step + 1)) as u32);
    match random.below(8) {
        0 => format!("receive_stock('{part}', '{from}', {quantity}, {variant}, '{number}')"),
        1 | 2 => format!("reserve_stock('{part}', '{from}', {quantity}, {variant}, '{number}')"),
        3 => format!("release_stock('{earlier}')"),
        4 => format!("release_stock('{earlier}', 1, '{number}')"),
        5 => format!(
            "consume_part('{part}', '{from}', {quantity}, {variant}, operation => '{number}')"
        ),
        _ => {
            format!("transfer_stock('{part}', '{from}', '{to}', {quantity}, {variant}, '{number}')")
        }
    }
}

/// Refusals that come of drawing by lot: not enough, not found, from a place to itself, an id for another thing.
const DRAWN: &[&str] = &["55000", "P0002", "22023"];

#[test]
fn transfers_in_all_directions_do_not_wait_for_each_other() -> Result<()> {
    let (db, mut client) = organised("stock_directions")?;
    let done: u32 = at_once(&db, 8, |thread, client| {
        let mut random = Random::new(thread);
        let mut done = 0;
        for step in 0..150 {
            let sql = format!(
                "SELECT cloudwatcher.{}",
                anything(&mut random, thread, step)
            );
            done += u32::from(went(as_service(client, |tx| tx.simple_query(&sql)), DRAWN));
        }
        Ok(done)
    })
    .into_iter()
    .sum();
    assert!(done > 250, "{done}");
    assert_ne!(
        value(
            &mut client,
            "SELECT count(*) FROM cloudwatcher.stock_movements WHERE movement_type = 'transfer-in'"
        ),
        "0"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT sum(quantity) FROM cloudwatcher.stock_movements WHERE movement_type LIKE 'transfer%'"
        ),
        "0"
    );
    stock_adds_up(&mut client);
    Ok(())
}

/// Clients are killed in the middle of what they do; they repeat it, as clients do that got no answer.
#[test]
fn killed_clients_leave_nothing_half_done() -> Result<()> {
    let (db, mut client) = organised("stock_killed")?;
    for room in [AT_A, AT_B] {
        served(
            &mut client,
            &format!("SELECT cloudwatcher.receive_stock('{FILTER}', '{room}', 500)"),
        );
    }
    let over = AtomicBool::new(false);
    let (killed, moved) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..6_u32)
            .map(|thread| {
                let (db, moved) = (&db, &moved);
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect()?;
                    for step in 0..30 {
                        let number = id(thread * 1_000 + step);
                        let used = id(thread * 1_000 + step + 500);
                        let (from, to) = if thread % 2 == 0 { (AT_A, AT_B) } else { (AT_B, AT_A) };
                        // Each in a transaction of its own: several would lock in their own order.
                        for call in [
                            format!("reserve_stock('{FILTER}', '{from}', 1, reservation => '{number}')"),
                            format!("transfer_stock('{FILTER}', '{from}', '{to}', 1, operation => '{number}')"),
                            format!("consume_part('{FILTER}', '{from}', 1, reservation => '{number}', operation => '{used}')"),
                        ] {
                            let sql = format!("SELECT cloudwatcher.{call}");
                            while let Err(error) = as_service(&mut client, |tx| tx.simple_query(&sql)) {
                                // Killed while it did that, or before.
                                if error.as_db_error().is_some_and(|error| error.code().code() != "57P01") {
                                    return Err(error.into());
                                }
                                client = db.connect()?;
                            }
                        }
                        moved.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let killer = scope.spawn(|| -> Result<()> {
            let mut client = db.connect()?;
            while !over.load(Ordering::Relaxed) {
                let victims = value(
                    &mut client,
                    "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'SELECT cloudwatcher.%'
                        AND backend_type = 'client backend' ORDER BY random() LIMIT 1) AS v",
                );
                killed.fetch_add(victims.parse()?, Ordering::Relaxed);
                thread::sleep(std::time::Duration::from_millis(80));
            }
            Ok(())
        });
        let ended: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect();
        over.store(true, Ordering::Relaxed);
        killer.join().expect("no panic")?;
        ended.into_iter().collect()
    })?;
    assert!(killed.load(Ordering::Relaxed) > 3, "{killed:?}");
    assert_eq!(moved.load(Ordering::Relaxed), 180);
    // Each did each of its operations once: 180 of the 1000 are used up.
    assert_eq!(
        value(
            &mut client,
            "SELECT string_agg((quantity_on_hand, quantity_reserved)::text, ' ' ORDER BY location_id) FROM cloudwatcher.inventory"
        ),
        "(410,0) (410,0)"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT (count(*), sum(quantity_consumed)) FROM cloudwatcher.part_consumption"
        ),
        "(180,180)"
    );
    stock_adds_up(&mut client);
    Ok(())
}

/// A transaction that does not see what others did is told to try again, and does not oversell.
#[test]
fn an_old_snapshot_promises_nothing() -> Result<()> {
    let (db, mut client) = organised("stock_snapshot")?;
    served(
        &mut client,
        &format!("SELECT cloudwatcher.receive_stock('{FILTER}', '{AT_A}', 1)"),
    );
    let mut other = db.connect()?;
    let reserve = format!("SELECT cloudwatcher.reserve_stock('{FILTER}', '{AT_A}', 1)");
    other.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")?;
    served(&mut client, &reserve);
    expect_sqlstate(other.batch_execute(&reserve), "40001");
    other.batch_execute("ROLLBACK")?;
    expect_sqlstate(other.batch_execute(&reserve), "55000");
    stock_adds_up(&mut client);
    Ok(())
}
