//! Maintenance beside readers, writers and other maintainers.

use super::{Action, actions, backend, events, partitions_with, table, value, wait_until};
use anyhow::Result;
use gemba_tests::{Database, expect_sqlstate, extended};
use postgres::{Client, Error};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};

/// Daily, one partition of long ago expired, and the newest still to be made.
fn expired_events(db: &Database) -> Result<Client> {
    let mut client = events(db)?;
    client.batch_execute(
        "SELECT gemba.manage_partitions('s.events', '1 day', premake => 1, retain => '30 days', on_expire => 'drop');
         SELECT gemba.ensure_partitions('s.events', '2020-01-01', '2020-01-02');
         INSERT INTO s.events VALUES ('2020-01-01', 'old')",
    )?;
    let newest = value(
        &mut client,
        "SELECT partition FROM gemba.partitions WHERE parent = 's.events'::regclass ORDER BY to_time DESC LIMIT 1",
    );
    client.batch_execute(&format!("DROP TABLE {newest}"))?;
    Ok(client)
}

type Run<'scope> = ScopedJoinHandle<'scope, Result<Vec<Action>, Error>>;

/// Starts a run in a session of its own; returns the session's process and its result to come.
///
/// Whoever makes it wait opens its own session within the scope: a failing check then ends that session,
/// and with it the wait, instead of waiting for the scope's threads for ever.
fn maintain_in<'scope>(
    scope: &'scope Scope<'scope, '_>,
    db: &Database,
    patience: &str,
) -> Result<(i32, Run<'scope>)> {
    let mut session = db.connect()?;
    session.batch_execute(&format!("SET gemba.lock_patience = '{patience}'"))?;
    let pid = backend(&mut session);
    let run = scope.spawn(move || actions(&mut session, "gemba.maintain_partitions()"));
    Ok((pid, run))
}

fn finished(run: Run) -> Result<Vec<Action>, Error> {
    run.join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn locks(pid: i32, condition: &str) -> String {
    format!("SELECT count(*) > 0 FROM pg_locks WHERE pid = {pid} AND {condition}")
}

#[test]
fn a_long_query_defers_the_retirement_and_nothing_else() -> Result<()> {
    let db = extended("deferred")?;
    let mut client = expired_events(&db)?;
    let mut reader = db.connect()?;
    reader.batch_execute("BEGIN; SELECT count(*) FROM s.events")?;
    client.batch_execute("SET gemba.lock_patience = '50ms'")?;
    let run = actions(
        &mut client,
        "gemba.maintain_partitions() WHERE parent = 's.events'",
    )?;
    assert_eq!(
        partitions_with(&run, "created").len(),
        1,
        "attaching needs no lock that a reader holds"
    );
    let deferred: Vec<_> = run.iter().filter(|a| a.action != "created").collect();
    assert_eq!(deferred.len(), 1, "{run:?}");
    assert_eq!(deferred[0].action, "deferred");
    assert_eq!(deferred[0].partition.as_deref(), Some("s.events_p20200101"));
    assert!(deferred[0].detail.is_some());
    reader.batch_execute("COMMIT")?;
    let run = actions(
        &mut client,
        "gemba.maintain_partitions() WHERE parent = 's.events'",
    )?;
    assert_eq!(partitions_with(&run, "dropped"), ["s.events_p20200101"]);
    Ok(())
}

/// A request that waits in the server's lock queue stops everybody behind it. Retirement polls.
#[test]
fn nobody_queues_behind_a_retirement_that_waits() -> Result<()> {
    let db = extended("no_queue")?;
    let mut client = expired_events(&db)?;
    thread::scope(|scope| {
        let mut reader = db.connect()?;
        reader.batch_execute("BEGIN; SELECT count(*) FROM s.events")?;
        let (pid, run) = maintain_in(scope, &db, "10min")?;
        // The lock of the premake, which is done: all that is left is the retirement.
        wait_until("the premade partition is attached", || {
            value(
                &mut client,
                &locks(
                    pid,
                    "mode = 'ShareUpdateExclusiveLock' AND relation = 's.events'::regclass",
                ),
            ) == "t"
        });
        let mut third = db.connect()?;
        third.batch_execute("SET lock_timeout = '60s'")?;
        for _ in 0..100 {
            third.batch_execute(
                "SELECT count(*) FROM s.events; INSERT INTO s.events VALUES ('2020-01-01', 'late')",
            )?;
            assert_eq!(
                value(&mut client, &locks(pid, "NOT granted")),
                "f",
                "it waits in the queue"
            );
        }
        assert!(!run.is_finished(), "it gave up although it had ten minutes");
        reader.batch_execute("COMMIT")?;
        let run = finished(run)?;
        assert_eq!(
            partitions_with(&run, "dropped"),
            ["s.events_p20200101"],
            "{run:?}"
        );
        Ok(())
    })
}

#[test]
fn a_run_that_waits_can_be_cancelled() -> Result<()> {
    let db = extended("cancelled")?;
    let mut client = expired_events(&db)?;
    thread::scope(|scope| {
        let mut reader = db.connect()?;
        reader.batch_execute("BEGIN; SELECT count(*) FROM s.events")?;
        let (pid, run) = maintain_in(scope, &db, "10min")?;
        wait_until("the premade partition is attached", || {
            value(
                &mut client,
                &locks(
                    pid,
                    "mode = 'ShareUpdateExclusiveLock' AND relation = 's.events'::regclass",
                ),
            ) == "t"
        });
        client.batch_execute(&format!("SELECT pg_cancel_backend({pid})"))?;
        // A failure of one partition would become a row; a cancel ends the call.
        expect_sqlstate(finished(run), "57014");
        Ok(())
    })
}

#[test]
fn partitions_are_attached_beside_readers_and_writers() -> Result<()> {
    let db = extended("attach_beside")?;
    let mut client = events(&db)?;
    client.batch_execute("SELECT gemba.manage_partitions('s.events', '1 day', premake => 0)")?;
    let mut reader = db.connect()?;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM s.events")?;
    let mut writer = db.connect()?;
    writer.batch_execute("BEGIN; INSERT INTO s.events VALUES (now(), 'open')")?;
    client.batch_execute("SET gemba.lock_patience = 0")?;
    let made = actions(
        &mut client,
        "gemba.ensure_partitions('s.events', '2024-01-01', '2024-01-04')",
    )?;
    assert_eq!(made.len(), 3);
    writer.batch_execute("INSERT INTO s.events VALUES ('2024-01-02', 'new'); COMMIT")?;
    reader.batch_execute("COMMIT")?;
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.events"), "2");
    Ok(())
}

/// A new partition has its parent's foreign key, and with it an interest in the table referred to.
#[test]
fn a_writer_of_the_referenced_table_is_polled_too() -> Result<()> {
    let db = extended("attach_foreign_key")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE SCHEMA s; CREATE TABLE s.places (id int PRIMARY KEY);
         CREATE TABLE s.events (at timestamptz NOT NULL, place int REFERENCES s.places) PARTITION BY RANGE (at);
         SELECT gemba.manage_partitions('s.events', '1 day', premake => 0)",
    )?;
    let present = value(
        &mut client,
        "SELECT partition FROM gemba.partitions WHERE parent = 's.events'::regclass",
    );
    client.batch_execute(&format!("DROP TABLE {present}"))?;
    thread::scope(|scope| {
        let mut writer = db.connect()?;
        writer.batch_execute("BEGIN; INSERT INTO s.places VALUES (1)")?;
        let (pid, run) = maintain_in(scope, &db, "200ms")?;
        // Either it is done, whatever it did, or it stands in the queue and everybody behind it.
        let mut queued = false;
        wait_until("the run ends or waits", || {
            queued = value(&mut client, &locks(pid, "NOT granted")) == "t";
            queued || run.is_finished()
        });
        writer.batch_execute("COMMIT")?;
        let run = finished(run)?;
        assert!(
            !queued,
            "it waited in the queue of the referenced table: {run:?}"
        );
        Ok(())
    })
}

/// While a set waits for its turn, the locks of those that are done must not keep anybody out.
#[test]
fn a_set_that_waits_does_not_lock_the_others() -> Result<()> {
    let db = extended("sets_wait")?;
    let mut client = db.connect()?;
    client.batch_execute("CREATE SCHEMA s")?;
    for name in ["first", "second"] {
        client.batch_execute(&format!(
            "CREATE TABLE s.{name} (at timestamptz NOT NULL) PARTITION BY RANGE (at);
             SELECT gemba.manage_partitions('s.{name}', '1 day', premake => 0, retain => '30 days', on_expire => 'drop');
             SELECT gemba.ensure_partitions('s.{name}', '2020-01-01', '2020-01-02')"
        ))?;
    }
    thread::scope(|scope| {
        let mut reader = db.connect()?;
        // Sets are retired in the order of their tables' oids.
        reader.batch_execute("BEGIN; SELECT count(*) FROM s.second")?;
        let (pid, run) = maintain_in(scope, &db, "4s")?;
        let mut other = db.connect()?;
        other.batch_execute("SET lock_timeout = '2s'")?;
        let mut shut_out = false;
        wait_until("the run ends", || {
            // Shorter than the run's patience with the other table, far longer than the change itself.
            let holds = value(
                &mut client,
                &locks(
                    pid,
                    "mode = 'AccessExclusiveLock' AND relation = 's.first'::regclass",
                ),
            );
            if holds == "t" {
                shut_out |= other.batch_execute("SELECT count(*) FROM s.first").is_err();
            }
            run.is_finished()
        });
        reader.batch_execute("COMMIT")?;
        let run = finished(run)?;
        assert!(
            !shut_out,
            "readers of a table that is done waited for another one: {run:?}"
        );
        Ok(())
    })
}

/// The partition is gone when the second one has its turn.
#[test]
fn a_maintainer_that_waited_sees_what_the_first_one_made() -> Result<()> {
    let db = extended("second_maintainer")?;
    let mut client = events(&db)?;
    client.batch_execute("SELECT gemba.manage_partitions('s.events', '1 day', premake => 0)")?;
    let ensure = "gemba.ensure_partitions('s.events', '2024-01-01', '2024-01-06')";
    drop(client);
    thread::scope(|scope| {
        let mut client = db.connect()?;
        client.batch_execute("BEGIN")?;
        assert_eq!(actions(&mut client, ensure)?.len(), 5);
        let mut second = db.connect()?;
        second.batch_execute("SET gemba.lock_patience = '10min'")?;
        let pid = backend(&mut second);
        let run = scope.spawn(move || actions(&mut second, ensure));
        let mut watcher = db.connect()?;
        wait_until("the second one is at work", || {
            value(
                &mut watcher,
                &format!("SELECT state = 'active' FROM pg_stat_activity WHERE pid = {pid}"),
            ) == "t"
        });
        client.batch_execute("COMMIT")?;
        assert_eq!(finished(run)?, []);
        Ok(())
    })
}

/// Many sessions that all make and retire the same partitions, with readers and writers among them.
#[test]
fn maintainers_neither_deadlock_nor_double_create() -> Result<()> {
    const ROUNDS: usize = 12;
    let db = extended("many_maintainers")?;
    let mut client = db.connect()?;
    client.batch_execute("CREATE SCHEMA s")?;
    for name in ["a", "b"] {
        client.batch_execute(&format!(
            "CREATE TABLE s.{name} (at timestamptz NOT NULL, n int) PARTITION BY RANGE (at);
             SELECT gemba.manage_partitions('s.{name}', '1 day', premake => 3, retain => '30 days', on_expire => 'drop',
                                            unique_on => ARRAY['at'])"
        ))?;
    }
    let stop = AtomicBool::new(false);
    let session = || -> Result<Client> {
        let mut session = db.connect()?;
        session.batch_execute("SET gemba.lock_patience = '20s'")?;
        Ok(session)
    };
    thread::scope(|scope| -> Result<()> {
        let mut readers = Vec::new();
        for name in ["a", "b"] {
            let (stop, mut reader) = (&stop, session()?);
            readers.push(scope.spawn(move || -> Result<usize, Error> {
                let mut turns = 0;
                while !stop.load(Ordering::Relaxed) {
                    reader.batch_execute(&format!(
                        "SELECT count(*) FROM s.{name}; INSERT INTO s.{name} VALUES (clock_timestamp(), 1)"
                    ))?;
                    turns += 1;
                }
                Ok(turns)
            }));
        }
        let mut workers = Vec::new();
        for worker in 0..4 {
            let mut session = session()?;
            workers.push(scope.spawn(move || -> Result<Vec<Action>, Error> {
                let mut done = Vec::new();
                for round in 0..ROUNDS {
                    // Two make what two others retire; the oid order of the tables is met both ways.
                    let call = match worker {
                        0 | 1 => "gemba.maintain_partitions()".to_owned(),
                        _ => format!(
                            "gemba.ensure_partitions('s.{}', '2020-01-01', '2020-01-05')",
                            if (round + worker) % 2 == 0 { "a" } else { "b" }
                        ),
                    };
                    done.extend(actions(&mut session, &call)?);
                }
                Ok(done)
            }));
        }
        let mut done = Vec::new();
        let mut outcome = Ok(());
        for worker in workers {
            match finished(worker) {
                Ok(actions) => done.extend(actions),
                Err(error) => outcome = Err(error),
            }
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            let turns = reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            assert!(turns > 0);
        }
        outcome?;
        let bad: Vec<_> = done.iter().filter(|a| a.action == "failed").collect();
        assert!(bad.is_empty(), "{bad:?}");
        let (made, gone) = (
            partitions_with(&done, "created").len(),
            partitions_with(&done, "dropped").len(),
        );
        assert!(
            made > 0 && gone > 0,
            "they met: {made} made, {gone} dropped"
        );
        Ok(())
    })?;
    // What was made and not dropped is there once.
    actions(&mut client, "gemba.maintain_partitions()")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT parent, count(*) FROM gemba.partitions WHERE parent::text LIKE 's.%' GROUP BY 1 ORDER BY 1"
        ),
        ["s.a | 4", "s.b | 4"]
    );
    Ok(())
}
