//! Writers, refreshers and readers at once.

use super::{
    EITHER_WAY, HOURLY, HOURLY_LIVE, PLAIN, assert_same, backend, differences, refresh, refreshed,
    simple, simple_by, table, value, wait_until, waits,
};
use anyhow::Result;
use gemba_tests::{Database, Random, extended};
use postgres::{Client, Error};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// One random transaction; returns whether it was committed.
pub fn write(client: &mut Client, random: &mut Random) -> Result<bool, Error> {
    let mut transaction = client.transaction()?;
    for _ in 0..=random.below(3) {
        let minute = random.below(7 * 24 * 60);
        let kind = random.below(3);
        let n = random.below(100);
        let at = format!("timestamptz '2024-01-01' + interval '{minute} minutes'");
        let statement = match random.below(10) {
            0..=5 => format!(
                "INSERT INTO s.raw SELECT {at}, 'k{kind}', {n} FROM generate_series(0, {n} % 4)"
            ),
            6 => format!(
                "UPDATE s.raw SET n = n + 1 WHERE at >= {at} AND at < {at} + interval '30 minutes'"
            ),
            7 => format!("UPDATE s.raw SET at = {at}, kind = 'k{kind}' WHERE n = {n}"),
            8 => format!("DELETE FROM s.raw WHERE at >= {at} AND at < {at} + interval '2 hours'"),
            _ => {
                format!("SAVEPOINT a; INSERT INTO s.raw VALUES ({at}, 'undone', 1); ROLLBACK TO a")
            }
        };
        transaction.batch_execute(&statement)?;
    }
    if random.chance(25) {
        transaction.rollback()?;
        return Ok(false);
    }
    transaction.commit()?;
    Ok(true)
}

/// Writers that change the same rows may meet in a deadlock of their own, or a row may move to another
/// partition under them; both end one of the transactions and are no matter of the rollup's.
fn writers_own_trouble(error: &Error) -> bool {
    error
        .code()
        .is_some_and(|code| ["40P01", "40001"].contains(&code.code()))
}

#[test]
fn writers_and_refreshers_at_once() -> Result<()> {
    for partition_by in EITHER_WAY {
        const TRANSACTIONS: usize = 150;
        let db = extended("at_once")?;
        let mut client = simple_by(&db, partition_by)?;
        client.batch_execute("SELECT gemba.create_rollup('s.daily', 's.hourly', 'bucket', '1 day', ARRAY['kind'], NULL, 'Asia/Bangkok')")?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| -> Result<()> {
            let mut writers = Vec::new();
            for seed in 1..=3 {
                let mut session = db.connect()?;
                writers.push(scope.spawn(move || -> Result<usize, Error> {
                    let mut random = Random::new(seed);
                    let mut committed = 0;
                    for _ in 0..TRANSACTIONS {
                        match write(&mut session, &mut random) {
                            Ok(done) => committed += usize::from(done),
                            Err(error) if writers_own_trouble(&error) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    Ok(committed)
                }));
            }
            let mut refreshers = Vec::new();
            for call in [
                "gemba.refresh_rollups()",
                "gemba.refresh_rollup('s.daily')",
                "gemba.refresh_rollup('s.hourly')",
            ] {
                let (mut session, stop) = (db.connect()?, &stop);
                refreshers.push(scope.spawn(move || -> Result<usize, Error> {
                    let mut turns = 0;
                    while !stop.load(Ordering::Relaxed) {
                        for done in refreshed(&mut session, call)? {
                            assert_eq!(done.error, None, "{done:?}");
                        }
                        turns += 1;
                    }
                    Ok(turns)
                }));
            }
            // In any one snapshot the live view is what a plain query says, whatever the others do.
            let (mut session, stopped) = (db.connect()?, &stop);
            let reader = scope.spawn(move || -> Result<usize, Error> {
                let mut turns = 0;
                while !stopped.load(Ordering::Relaxed) {
                    session.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
                    assert_same(&mut session, HOURLY_LIVE, PLAIN, "live, in one snapshot");
                    session.batch_execute("COMMIT")?;
                    turns += 1;
                }
                Ok(turns)
            });
            let joined = |handle: thread::ScopedJoinHandle<'_, Result<usize, Error>>| {
                handle.join().unwrap_or_else(|panic| {
                    stop.store(true, Ordering::Relaxed);
                    std::panic::resume_unwind(panic)
                })
            };
            let written: Vec<_> = writers.into_iter().map(joined).collect();
            stop.store(true, Ordering::Relaxed);
            let turns: Vec<_> = refreshers.into_iter().chain([reader]).map(joined).collect();
            for committed in written {
                assert!(committed? > TRANSACTIONS / 4);
            }
            for turns in turns {
                assert!(turns? > 0, "everybody had a turn");
            }
            Ok(())
        })?;
        refresh(&mut client)?;
        assert_same(&mut client, HOURLY, PLAIN, "hours");
        assert_same(
            &mut client,
            "SELECT bucket, kind, rows, total FROM s.daily",
            "SELECT date_trunc('day', at, 'Asia/Bangkok') AS bucket, kind, count(*) AS rows, sum(n) AS total FROM s.raw GROUP BY 1, 2",
            "days",
        );
        assert!(value(&mut client, "SELECT count(*) FROM s.hourly").parse::<i64>()? > 50);
    }
    Ok(())
}

/// A transaction that began before a refresh and commits after it is counted by the next.
#[test]
fn a_writer_that_is_open_across_a_refresh() -> Result<()> {
    let db = extended("open_writer")?;
    let mut client = simple(&db)?;
    refresh(&mut client)?;
    let mut writer = db.connect()?;
    writer.batch_execute("BEGIN; INSERT INTO s.raw VALUES ('2024-01-02 03:00', 'a', 1); DELETE FROM s.raw WHERE n = 5")?;
    client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02 03:00', 'a', 10)")?;
    // It neither waits for the writer nor counts it.
    client.batch_execute("SET lock_timeout = '60s'")?;
    refresh(&mut client)?;
    assert_eq!(
        table(&mut client, "SELECT rows, total FROM s.hourly"),
        ["1 | 10"]
    );
    writer.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02 03:00', 'a', 100); COMMIT")?;
    assert_same(&mut client, HOURLY_LIVE, PLAIN, "live");
    refresh(&mut client)?;
    assert_eq!(
        table(&mut client, "SELECT rows, total FROM s.hourly"),
        ["3 | 111"]
    );
    Ok(())
}

/// A partition that is new to the rollup is no reason to wait for those who write into it.
#[test]
fn a_writer_in_a_new_partition_is_not_waited_for() -> Result<()> {
    for (what, new_partition) in [
        (
            "made by the manager",
            "SELECT gemba.ensure_partitions('s.raw', '2024-02-01', '2024-02-02')",
        ),
        (
            "attached by a person",
            "CREATE TABLE s.own PARTITION OF s.raw FOR VALUES FROM ('2024-02-01') TO ('2024-02-02')",
        ),
    ] {
        let db = extended("new_partition")?;
        let mut client = simple(&db)?;
        refresh(&mut client)?;
        client.batch_execute(new_partition)?;
        thread::scope(|scope| -> Result<()> {
            let mut writer = db.connect()?;
            writer.batch_execute("BEGIN; INSERT INTO s.raw VALUES ('2024-02-01', 'a', 1)")?;
            let mut session = db.connect()?;
            let pid = backend(&mut session);
            let run = scope.spawn(move || refreshed(&mut session, "gemba.refresh_rollups()"));
            let mut queued = false;
            wait_until("the refresh ends or waits", || {
                queued = waits(&mut client, pid);
                queued || run.is_finished()
            });
            writer.batch_execute("COMMIT")?;
            run.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            assert!(
                !queued,
                "{what}: the refresh waited for the writer, and every later writer for the refresh"
            );
            Ok(())
        })?;
        refresh(&mut client)?;
        assert_same(&mut client, HOURLY, PLAIN, what);
    }
    Ok(())
}

/// The second of two refreshes waits for the first, and nothing is lost whatever becomes of that.
#[test]
fn two_refreshes_at_once() -> Result<()> {
    for partition_by in EITHER_WAY {
        for end in ["COMMIT", "ROLLBACK"] {
            let db = extended("two_refreshes")?;
            let mut client = simple_by(&db, partition_by)?;
            refresh(&mut client)?;
            client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1)")?;
            thread::scope(|scope| -> Result<()> {
                // In here, so that a failing check ends the session, and with it the wait of the other one.
                let mut first = db.connect()?;
                first.batch_execute("BEGIN")?;
                assert_eq!(
                    refreshed(&mut first, "gemba.refresh_rollup('s.hourly')")?[0].rows_written,
                    1
                );
                // Between the two another writer commits.
                client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 10)")?;
                let mut second = db.connect()?;
                let pid = backend(&mut second);
                let run =
                    scope.spawn(move || refreshed(&mut second, "gemba.refresh_rollup('s.hourly')"));
                wait_until("the second refresh waits", || waits(&mut client, pid));
                first.batch_execute(end)?;
                let done = run
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                assert_eq!(done[0].rows_written, 1, "{end}: {done:?}");
                Ok(())
            })?;
            assert_eq!(
                table(&mut client, "SELECT rows, total FROM s.hourly"),
                ["2 | 11"],
                "{end}"
            );
        }
    }
    Ok(())
}

/// A caller with an old snapshot refreshes what it sees or fails; the rest is still pending afterwards.
#[test]
fn a_caller_in_repeatable_read() -> Result<()> {
    for partition_by in EITHER_WAY {
        for level in ["REPEATABLE READ", "SERIALIZABLE"] {
            let db = extended("repeatable_read")?;
            let mut client = simple_by(&db, partition_by)?;
            refresh(&mut client)?;
            client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1)")?;
            let mut old = db.connect()?;
            old.batch_execute(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM s.raw"
            ))?;
            client.batch_execute(
                "INSERT INTO s.raw VALUES ('2024-01-02', 'a', 10), ('2024-01-03', 'a', 100)",
            )?;
            refreshed(&mut old, "gemba.refresh_rollup('s.hourly')")?;
            assert_same(&mut old, HOURLY, PLAIN, "what this snapshot sees");
            old.batch_execute("COMMIT")?;
            assert_same(&mut client, HOURLY_LIVE, PLAIN, "live");
            refresh(&mut client)?;
            assert_same(&mut client, HOURLY, PLAIN, level);

            // One who comes too late is told to try again.
            old.batch_execute(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM s.raw"
            ))?;
            client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-04', 'a', 1)")?;
            refresh(&mut client)?;
            let late = refreshed(&mut old, "gemba.refresh_rollup('s.hourly')");
            gemba_tests::expect_sqlstate(late, "40001");
            old.batch_execute("ROLLBACK")?;
            assert_same(&mut client, HOURLY, PLAIN, level);
        }
    }
    Ok(())
}

/// A transaction that writes, refreshes and reads sees its own rows once it has committed.
#[test]
fn a_refresh_in_the_writers_own_transaction() -> Result<()> {
    for partition_by in EITHER_WAY {
        let db = extended("own_transaction")?;
        let mut client = simple_by(&db, partition_by)?;
        refresh(&mut client)?;
        for end in ["COMMIT", "ROLLBACK"] {
            client.batch_execute("BEGIN; INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1)")?;
            refresh(&mut client)?;
            client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 10)")?;
            client.batch_execute(end)?;
            assert_same(&mut client, HOURLY_LIVE, PLAIN, end);
            refresh(&mut client)?;
            assert_same(&mut client, HOURLY, PLAIN, end);
        }
        assert_eq!(
            table(&mut client, "SELECT rows, total FROM s.hourly"),
            ["2 | 11"]
        );
    }
    Ok(())
}

/// Maintenance wants rollups in the order of its tables, a refresh of all in the order of their making.
#[test]
fn maintenance_does_not_lock_out_readers_while_a_refresh_runs() -> Result<()> {
    let db = extended("maintain_beside_refresh")?;
    let mut client = db.connect()?;
    client.batch_execute("CREATE SCHEMA s")?;
    for name in ["first", "second"] {
        client.batch_execute(&format!(
            "CREATE TABLE s.{name} (at timestamptz NOT NULL) PARTITION BY RANGE (at);
             SELECT gemba.manage_partitions('s.{name}', '1 day', premake => 0, retain => '30 days', on_expire => 'drop');
             SELECT gemba.ensure_partitions('s.{name}', '2020-01-01', '2020-01-02')"
        ))?;
    }
    client.batch_execute(
        r#"SELECT gemba.create_rollup('s.r', 's.second', 'at', '1 hour', NULL, '{"n": {"function": "count"}}')"#,
    )?;
    // A refresh that takes its time.
    thread::scope(|scope| -> Result<()> {
        let mut slow = db.connect()?;
        slow.batch_execute("BEGIN; SELECT * FROM gemba.refresh_rollup('s.r')")?;
        let mut maintainer = db.connect()?;
        maintainer.batch_execute("SET gemba.lock_patience = '100ms'")?;
        let pid = backend(&mut maintainer);
        let run = scope
            .spawn(move || maintainer.batch_execute("SELECT * FROM gemba.maintain_partitions()"));
        let mut shut_out = false;
        let mut reader = db.connect()?;
        reader.batch_execute("SET lock_timeout = '2s'")?;
        wait_until("the run ends or waits", || {
            if waits(&mut client, pid) {
                shut_out = reader
                    .batch_execute("SELECT count(*) FROM s.first")
                    .is_err();
                return true;
            }
            run.is_finished()
        });
        slow.batch_execute("COMMIT")?;
        run.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        assert!(
            !shut_out,
            "readers of the first table wait for a refresh that reads the second"
        );
        Ok(())
    })
}

/// All of it with partitions being made and retired meanwhile.
#[test]
fn writers_refreshers_and_maintainers_at_once() -> Result<()> {
    let db = extended("with_maintainers")?;
    let mut client = simple(&db)?;
    // A second table whose rollup is older than its oid says.
    client.batch_execute(
        r#"CREATE TABLE s.late (at timestamptz NOT NULL, n int) PARTITION BY RANGE (at);
           SELECT gemba.manage_partitions('s.late', '1 day', premake => 1, retain => '30 days', on_expire => 'drop');
           SELECT gemba.create_rollup('s.late_hourly', 's.late', 'at', '1 hour', NULL, '{"n": {"function": "count"}}', 'UTC', '1 day')"#,
    )?;
    let counted = |client: &mut Client| {
        value(client, "SELECT coalesce(sum(n), 0) FROM s.late_hourly").parse::<i64>()
    };
    run_with_maintainers(&db, 40)?;
    refresh(&mut client)?;
    assert_same(
        &mut client,
        HOURLY,
        PLAIN,
        "the table that nothing expires in",
    );
    // What was refreshed before it went is kept: the rollup of the expiring table never has more than
    // was written, and the present rows are in it exactly.
    assert!(counted(&mut client)? > 0);
    let present = differences(
        &mut client,
        "SELECT bucket, n FROM s.late_hourly WHERE bucket > now() - interval '5 days'",
        "SELECT date_trunc('hour', at) AS bucket, count(*) AS n FROM s.late WHERE at > now() - interval '5 days' GROUP BY 1",
    );
    assert!(present.is_empty(), "{present:#?}");
    Ok(())
}

fn run_with_maintainers(db: &Database, rounds: usize) -> Result<()> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let mut others = Vec::new();
        for call in [
            "SELECT error FROM gemba.refresh_rollups()",
            "SELECT CASE action WHEN 'failed' THEN detail END FROM gemba.maintain_partitions()",
            "SELECT CASE action WHEN 'failed' THEN detail END FROM gemba.maintain_partitions()",
        ] {
            let (mut session, stop) = (db.connect()?, &stop);
            session.batch_execute("SET gemba.lock_patience = '5s'")?;
            others.push(scope.spawn(move || -> Result<(), Error> {
                while !stop.load(Ordering::Relaxed) {
                    for row in session.query(call, &[])? {
                        assert_eq!(row.get::<_, Option<String>>(0), None, "{call}");
                    }
                }
                Ok(())
            }));
        }
        let mut session = db.connect()?;
        session.batch_execute("SET gemba.lock_patience = '60s'")?;
        let writer = scope.spawn(move || -> Result<(), Error> {
            let mut random = Random::new(7);
            for _ in 0..rounds {
                write(&mut session, &mut random)?;
                session.batch_execute(
                    "BEGIN;
                     SELECT gemba.ensure_partitions('s.late', '2020-01-01', '2020-01-03');
                     INSERT INTO s.late SELECT timestamptz '2020-01-01' + k * interval '1 hour', k FROM generate_series(0, 40) AS k;
                     INSERT INTO s.late VALUES (clock_timestamp(), 1);
                     COMMIT",
                )?;
            }
            Ok(())
        });
        let written = writer.join();
        stop.store(true, Ordering::Relaxed);
        for other in others {
            other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        written.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(())
    })
}
