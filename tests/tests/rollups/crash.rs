//! A server that dies, and transactions that outlive their session.

use super::concurrency::write;
use super::{
    HOURLY, HOURLY_LIVE, PLAIN, assert_same, backend, refresh, refreshed, simple, table, value,
    wait_until, waits,
};
use anyhow::Result;
use gemba_tests::{Cluster, Database, Random, run_ok};
use postgres::{Client, Error};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A cluster of its own, which the test may kill.
fn mortal() -> Result<Cluster> {
    Cluster::with_settings(&[
        ("max_prepared_transactions", "5"),
        ("restart_after_crash", "on"),
    ])
}

fn engine_only<'a>(cluster: &'a Cluster, name: &str) -> Result<Database<'a>> {
    let db = cluster.database(name)?;
    db.connect()?
        .batch_execute("SET gemba.deploy = 'none'; CREATE EXTENSION gemba")?;
    Ok(db)
}

/// A session after the crash, when the server has come back.
fn reconnect(db: &Database) -> Client {
    let mut session = None;
    wait_until("the server is back", || {
        session = db.connect().ok();
        session.is_some()
    });
    session.unwrap_or_else(|| unreachable!("waited for"))
}

/// The refresh holds its half-written buckets while a trigger waits for a lock that the test has.
#[test]
fn a_backend_killed_in_the_middle_of_a_refresh() -> Result<()> {
    let cluster = mortal()?;
    let db = engine_only(&cluster, "killed")?;
    let mut client = simple(&db)?;
    client.batch_execute(
        "INSERT INTO s.raw SELECT timestamptz '2024-01-01' + k * interval '10 minutes', 'k' || k % 3, k FROM generate_series(0, 999) AS k;
         SELECT * FROM gemba.refresh_rollups();
         UPDATE s.raw SET n = n + 1; DELETE FROM s.raw WHERE n % 7 = 0; INSERT INTO s.raw VALUES ('2024-01-07 23:00', 'new', 1);
         CREATE FUNCTION s.hold() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF NEW.bucket > '2024-01-05' THEN PERFORM pg_advisory_xact_lock(77); END IF; RETURN NEW; END $$;
         CREATE TRIGGER hold BEFORE INSERT OR UPDATE ON s.hourly FOR EACH ROW EXECUTE FUNCTION s.hold();
         SELECT pg_advisory_lock(77)",
    )?;
    thread::scope(|scope| -> Result<()> {
        // Moved in here, so that a failing check lets go of the lock.
        let mut client = client;
        let mut session = db.connect()?;
        let pid = backend(&mut session);
        let run = scope.spawn(move || refreshed(&mut session, "gemba.refresh_rollup('s.hourly')"));
        wait_until("the refresh is in the middle", || waits(&mut client, pid));
        run_ok(Command::new("kill").args(["-9", &pid.to_string()]))?;
        let outcome = run
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(outcome.is_err(), "it died");
        // The postmaster ends every other session too, as soon as it has noticed.
        wait_until("the server is down", || {
            client.simple_query("SELECT 1").is_err()
        });
        Ok(())
    })?;
    let mut client = reconnect(&db);
    client.batch_execute("DROP TRIGGER hold ON s.hourly")?;
    assert_same(&mut client, HOURLY_LIVE, PLAIN, "live");
    let done = refreshed(&mut client, "gemba.refresh_rollup('s.hourly')")?;
    assert!(
        done[0].rows_written > 100,
        "the work of the dead one is done again: {done:?}"
    );
    assert_same(&mut client, HOURLY, PLAIN, "refreshed");
    Ok(())
}

#[test]
fn a_server_stopped_immediately_under_load() -> Result<()> {
    let cluster = mortal()?;
    let db = engine_only(&cluster, "stopped")?;
    drop(simple(&db)?);
    for round in 0..3 {
        let (committed, refreshes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| -> Result<()> {
            for seed in 0..2 {
                let (mut session, committed) = (db.connect()?, &committed);
                scope.spawn(move || {
                    let mut random = Random::new(100 * round + seed);
                    loop {
                        match write(&mut session, &mut random) {
                            Ok(done) => committed.fetch_add(usize::from(done), Ordering::Relaxed),
                            // The two may deadlock; everything else is the end of the server.
                            Err(error) if error.as_db_error().is_some() && !session.is_closed() => {
                                0
                            }
                            Err(_) => break,
                        };
                    }
                });
            }
            let (mut session, refreshes) = (db.connect()?, &refreshes);
            scope.spawn(move || -> Result<(), Error> {
                loop {
                    refreshed(&mut session, "gemba.refresh_rollups()")?;
                    refreshes.fetch_add(1, Ordering::Relaxed);
                }
            });
            wait_until("there is load", || {
                committed.load(Ordering::Relaxed) >= 40 && refreshes.load(Ordering::Relaxed) >= 4
            });
            cluster.crash()
        })?;
        cluster.start()?;
        let mut client = db.connect()?;
        assert_same(
            &mut client,
            HOURLY_LIVE,
            PLAIN,
            &format!("live, round {round}"),
        );
        refresh(&mut client)?;
        assert_same(
            &mut client,
            HOURLY,
            PLAIN,
            &format!("refreshed, round {round}"),
        );
        assert!(value(&mut client, "SELECT count(*) FROM s.raw").parse::<i64>()? > 10);
    }
    Ok(())
}

/// Changes are noted when a transaction is prepared, and seen when it is committed, by whomever.
#[test]
fn prepared_transactions_are_counted_when_they_commit() -> Result<()> {
    let cluster = mortal()?;
    let db = engine_only(&cluster, "prepared")?;
    let mut client = simple(&db)?;
    client
        .batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1), ('2024-01-03', 'a', 1)")?;
    refresh(&mut client)?;
    client.batch_execute(
        "BEGIN; INSERT INTO s.raw VALUES ('2024-01-02', 'a', 10); DELETE FROM s.raw WHERE at = '2024-01-03'; PREPARE TRANSACTION 'kept';
         BEGIN; INSERT INTO s.raw VALUES ('2024-01-04', 'a', 100); PREPARE TRANSACTION 'undone'",
    )?;
    assert_same(&mut client, HOURLY_LIVE, PLAIN, "prepared, live");
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "prepared");
    // They survive the server; their session's memory does not.
    cluster.crash()?;
    cluster.start()?;
    let mut client = db.connect()?;
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "prepared, after a crash");
    client.batch_execute("COMMIT PREPARED 'kept'")?;
    client.batch_execute("ROLLBACK PREPARED 'undone'")?;
    assert_same(&mut client, HOURLY_LIVE, PLAIN, "committed, live");
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "committed");
    assert_eq!(
        table(
            &mut client,
            "SELECT bucket::date, rows, total FROM s.hourly"
        ),
        ["2024-01-02 | 2 | 11"]
    );
    // The session that prepared goes on with a clean memory.
    client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-05', 'a', 1)")?;
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "and on");
    Ok(())
}
