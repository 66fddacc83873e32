//! Compressing beside readers, writers and others who compress.

use super::*;
use gemba_tests::{expect_sqlstate, extended, wait_for};
use postgres::Error;
use std::thread::{self, Scope, ScopedJoinHandle};

type Run<'scope> = ScopedJoinHandle<'scope, Result<i64, Error>>;

/// Compresses January in a session of its own that has all the patience it needs, and returns when the segments are
/// written and only somebody's lock is still in the way.
fn compress_until_it_waits<'scope>(
    scope: &'scope Scope<'scope, '_>,
    db: &Database,
    watcher: &mut Client,
) -> Result<(i32, Run<'scope>)> {
    let mut session = db.connect()?;
    session.batch_execute("SET gemba.lock_patience = '10min'")?;
    let pid = backend(&mut session)?;
    let run = scope.spawn(move || compress(&mut session, JANUARY));
    // One of them is that of the ANALYZE that comes after the copy.
    wait_for(
        watcher,
        &format!(
            "SELECT count(*) FROM pg_locks
              WHERE pid = {pid} AND mode = 'ShareUpdateExclusiveLock' AND locktype = 'relation'"
        ),
        "2",
    );
    Ok((pid, run))
}

fn finished(run: Run) -> Result<i64, Error> {
    run.join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A session that has written to January and not ended its transaction.
fn writer(db: &Database) -> Result<Client> {
    let mut writer = db.connect()?;
    writer.batch_execute(
        "BEGIN; INSERT INTO mill.vibration (at, machine, note) VALUES ('2024-01-05 12:34+00', 'lathe', 'slow')",
    )?;
    Ok(writer)
}

const SLOW: &str =
    "INSERT INTO mill.twin (at, machine, note) VALUES ('2024-01-05 12:34+00', 'lathe', 'slow')";

#[test]
fn a_writer_that_does_not_end_puts_it_off() -> Result<()> {
    let db = extended("beside_writer")?;
    let mut client = mill(&db)?;
    let mut writer = writer(&db)?;
    client.batch_execute("SET gemba.lock_patience = '50ms'")?;
    let error = expect_sqlstate(compress(&mut client, JANUARY), "55P03");
    assert!(
        error
            .detail()
            .is_some_and(|d| d.contains("vibration_p20240101"))
            && error.hint().is_some(),
        "{error:?}"
    );
    expect_untouched(&mut client);
    writer.batch_execute("COMMIT")?;
    client.batch_execute(SLOW)?;
    assert_eq!(compress(&mut client, JANUARY)?, 31 * 24 * 2 + 1);
    expect_same(&mut client);
    expect_sound(&mut client)
}

#[test]
fn rows_that_came_during_the_copy_are_late_rows() -> Result<()> {
    let db = extended("beside_came")?;
    let mut client = mill(&db)?;
    thread::scope(|scope| {
        let mut writer = writer(&db)?;
        let (_, run) = compress_until_it_waits(scope, &db, &mut client)?;
        client.batch_execute(
            "WITH new AS (INSERT INTO mill.vibration (at, machine, speed) VALUES ('2024-01-31 23:59:59+00', 'saw', 1.5) RETURNING *)
             INSERT INTO mill.twin SELECT * FROM new",
        )?;
        writer.batch_execute("COMMIT")?;
        client.batch_execute(SLOW)?;
        assert_eq!(finished(run)?, 31 * 24 * 2 + 2);
        assert_eq!(
            value(&mut client, "SELECT late_rows FROM gemba.history"),
            "2"
        );
        expect_same(&mut client);
        expect_sound(&mut client)
    })
}

#[test]
fn rows_that_went_during_the_copy_are_gone() -> Result<()> {
    for (name, change) in [
        (
            "beside_went",
            "DELETE FROM {} WHERE at = '2024-01-09 05:00+00'",
        ),
        (
            "beside_changed",
            "UPDATE {} SET speed = 99999.999, note = 'x' WHERE at = '2024-01-09 05:00+00' AND machine = 'saw'",
        ),
    ] {
        let db = extended(name)?;
        let mut client = mill(&db)?;
        thread::scope(|scope| -> Result<()> {
            let mut writer = writer(&db)?;
            let (_, run) = compress_until_it_waits(scope, &db, &mut client)?;
            for table in ["mill.vibration", "mill.twin"] {
                client.batch_execute(&change.replace("{}", table))?;
            }
            writer.batch_execute("COMMIT")?;
            client.batch_execute(SLOW)?;
            finished(run)?;
            // All was copied again.
            assert_eq!(
                value(&mut client, "SELECT late_rows FROM gemba.history"),
                "0"
            );
            expect_same(&mut client);
            expect_sound(&mut client)
        })?;
    }
    Ok(())
}

/// What others rolled back never was there.
#[test]
fn what_is_rolled_back_is_not_copied() -> Result<()> {
    let db = extended("beside_rollback")?;
    let mut client = mill(&db)?;
    thread::scope(|scope| {
        let mut writer = writer(&db)?;
        writer.batch_execute("DELETE FROM mill.vibration WHERE machine = 'press'")?;
        let (_, run) = compress_until_it_waits(scope, &db, &mut client)?;
        writer.batch_execute("ROLLBACK")?;
        assert_eq!(finished(run)?, 31 * 24 * 2);
        assert_eq!(
            value(&mut client, "SELECT late_rows FROM gemba.history"),
            "0"
        );
        expect_same(&mut client);
        expect_sound(&mut client)
    })
}

const READ: &str = "SELECT count(*), sum(speed), max(load), count(note) FROM mill.vibration";

/// A transaction that has read the table goes on seeing the same rows: the exchange waits for it.
#[test]
fn an_old_snapshot_that_has_read_the_table_holds_the_exchange_off() -> Result<()> {
    let db = extended("beside_snapshot")?;
    let mut client = mill(&db)?;
    thread::scope(|scope| {
        let mut reader = db.connect()?;
        reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        let before = table(&mut reader, READ);
        // Beside it: neither the copy nor those who read and write meanwhile wait for it.
        let mut session = db.connect()?;
        session.batch_execute("SET gemba.lock_patience = '10min'")?;
        let run = scope.spawn(move || compress(&mut session, JANUARY));
        let mut third = db.connect()?;
        third.batch_execute("SET lock_timeout = '20s'")?;
        for _ in 0..20 {
            third.batch_execute(READ)?;
            assert_eq!(table(&mut reader, READ), before);
        }
        assert!(
            !run.is_finished(),
            "it exchanged a table that is being read"
        );
        reader.batch_execute("COMMIT")?;
        finished(run)?;
        assert_eq!(table(&mut reader, READ), before);
        assert_eq!(kind(&mut client, JANUARY), "f");
        expect_same(&mut client);
        Ok(())
    })
}

/// One that has not read it yet would find a month without rows: it is told, and may begin again.
#[test]
fn an_older_snapshot_is_told_instead_of_finding_nothing() -> Result<()> {
    let db = extended("beside_older")?;
    let mut client = mill(&db)?;
    let before = table(&mut client, READ);
    let mut reader = db.connect()?;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")?;
    let mut committed = db.connect()?;
    committed.batch_execute("BEGIN; SELECT 1")?;
    compress(&mut client, JANUARY)?;
    assert_eq!(table(&mut committed, READ), before);
    let error = expect_sqlstate(reader.query(READ, &[]), "40001");
    assert!(
        error
            .detail()
            .is_some_and(|d| d.contains("vibration_p20240101"))
            && error.hint().is_some(),
        "{error:?}"
    );
    reader.batch_execute("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ")?;
    assert_eq!(table(&mut reader, READ), before);
    reader.batch_execute("COMMIT")?;
    committed.batch_execute("COMMIT")?;
    // The transaction that compressed sees it at once.
    client.batch_execute("BEGIN")?;
    compress(&mut client, FEBRUARY)?;
    assert_eq!(table(&mut client, READ), before);
    client.batch_execute("SAVEPOINT s; SELECT 1")?;
    assert_eq!(table(&mut client, READ), before);
    client.batch_execute("COMMIT")?;
    Ok(())
}

#[test]
fn prepared_statements_of_others_go_on() -> Result<()> {
    let db = extended("beside_prepared")?;
    let mut client = mill(&db)?;
    let mut other = db.connect()?;
    let by_machine = other.prepare(
        "SELECT count(*), sum(speed)::text, min(note) FROM mill.vibration WHERE machine = $1 AND at >= $2::text::timestamptz",
    )?;
    other.batch_execute(
        "PREPARE one (text) AS SELECT at, speed, load, note FROM mill.vibration WHERE machine = $1 AND at < '2024-01-03' ORDER BY at",
    )?;
    let mut ask = |when: &str| -> Result<(Vec<String>, Vec<String>)> {
        let mut answers = Vec::new();
        // Often enough for a plan that is kept.
        for _ in 0..7 {
            let row = other
                .query_one(&by_machine, &[&"saw", &"2024-01-10 00:00+00"])
                .map_err(|error| anyhow::anyhow!("{when}: {error:?}"))?;
            answers.push(format!(
                "{:?} {:?} {:?}",
                row.get::<_, i64>(0),
                row.get::<_, Option<String>>(1),
                row.get::<_, Option<String>>(2)
            ));
        }
        let mut rows = Vec::new();
        for _ in 0..7 {
            rows = table(&mut other, "EXECUTE one ('press')");
        }
        Ok((answers, rows))
    };
    let before = ask("before")?;
    assert_eq!(before.1.len(), 48);
    compress(&mut client, JANUARY)?;
    assert_eq!(ask("compressed")?, before);
    compress(&mut client, FEBRUARY)?;
    assert_eq!(ask("another month")?, before);
    client.batch_execute(&format!("SELECT gemba.decompress_partition('{JANUARY}')"))?;
    assert_eq!(ask("decompressed")?, before);
    Ok(())
}

#[test]
fn two_who_compress_the_same_take_turns() -> Result<()> {
    let db = extended("beside_two")?;
    let mut client = mill(&db)?;
    thread::scope(|scope| {
        let mut first = db.connect()?;
        first.batch_execute("BEGIN")?;
        compress(&mut first, JANUARY)?;
        // Nothing is known of the partition until that transaction ends: as with any other DDL.
        client.batch_execute("SET lock_timeout = '50ms'")?;
        expect_sqlstate(compress(&mut client, JANUARY), "55P03");
        client.batch_execute("RESET lock_timeout")?;
        let mut second = db.connect()?;
        second.batch_execute("SET gemba.lock_patience = '10min'; SET lock_timeout = '20s'")?;
        let run = scope.spawn(move || compress(&mut second, FEBRUARY));
        // Another month is not in the way before the exchange, and the exchange needs the table.
        first.batch_execute("COMMIT")?;
        finished(run)?;
        assert_eq!(kind(&mut client, JANUARY), "f");
        assert_eq!(kind(&mut client, FEBRUARY), "f");
        expect_same(&mut client);
        expect_sound(&mut client)
    })
}

/// The second waits for the first, and then finds another table than it was to compress.
#[test]
fn a_second_one_that_waited_leaves_what_the_first_did() -> Result<()> {
    let db = extended("beside_second")?;
    let mut client = mill(&db)?;
    thread::scope(|scope| {
        let mut writer = writer(&db)?;
        let (_, first) = compress_until_it_waits(scope, &db, &mut client)?;
        let mut second = db.connect()?;
        second.batch_execute("SET gemba.lock_patience = '10min'")?;
        let pid = backend(&mut second)?;
        let run = scope.spawn(move || compress(&mut second, JANUARY));
        wait_for(
            &mut client,
            &format!(
                "SELECT count(*) FROM pg_locks WHERE pid = {pid} AND relation = 'gemba.partition_sets'::regclass"
            ),
            "1",
        );
        writer.batch_execute("COMMIT")?;
        finished(first)?;
        let error = expect_sqlstate(finished(run), "55P03");
        assert!(error.message().contains("replaced"), "{error:?}");
        client.batch_execute(SLOW)?;
        expect_same(&mut client);
        assert_eq!(behind(&mut client).len(), 2);
        expect_sound(&mut client)
    })
}

#[test]
fn what_is_rolled_back_leaves_nothing() -> Result<()> {
    let db = extended("beside_undone")?;
    let mut client = mill(&db)?;
    client.batch_execute("BEGIN")?;
    compress(&mut client, JANUARY)?;
    assert_eq!(kind(&mut client, JANUARY), "f");
    expect_same(&mut client);
    client.batch_execute("ROLLBACK")?;
    expect_untouched(&mut client);
    client.batch_execute("BEGIN; SAVEPOINT s")?;
    compress(&mut client, JANUARY)?;
    client.batch_execute("ROLLBACK TO s; COMMIT")?;
    expect_untouched(&mut client);
    compress(&mut client, JANUARY)?;
    client.batch_execute(&format!(
        "BEGIN; SELECT gemba.decompress_partition('{JANUARY}'); ROLLBACK"
    ))?;
    assert_eq!(kind(&mut client, JANUARY), "f");
    expect_same(&mut client);
    expect_sound(&mut client)
}

#[test]
fn a_transaction_with_one_snapshot_is_refused() -> Result<()> {
    let db = extended("beside_level")?;
    let mut client = mill(&db)?;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}"))?;
        let error = expect_sqlstate(compress(&mut client, JANUARY), "25001");
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{error:?}"
        );
        client.batch_execute("ROLLBACK")?;
    }
    expect_untouched(&mut client);
    Ok(())
}

#[test]
fn a_cancel_leaves_nothing() -> Result<()> {
    let db = extended("beside_cancel")?;
    let mut client = mill(&db)?;
    thread::scope(|scope| {
        let mut writer = writer(&db)?;
        let (pid, run) = compress_until_it_waits(scope, &db, &mut client)?;
        client.batch_execute(&format!("SELECT pg_cancel_backend({pid})"))?;
        expect_sqlstate(finished(run), "57014");
        client
            .batch_execute("SET gemba.lock_patience = '10min'; SET statement_timeout = '300ms'")?;
        expect_sqlstate(compress(&mut client, JANUARY), "57014");
        client.batch_execute("RESET ALL")?;
        writer.batch_execute("ROLLBACK")?;
        expect_untouched(&mut client);
        Ok(())
    })
}

/// The partition's rows are counted before they go; policies that apply to its owner too are no reason to lose any.
#[test]
fn policies_that_bind_the_owner_are_an_error_and_not_a_loss() -> Result<()> {
    let db = extended("beside_forced")?;
    let mut client = mill(&db)?;
    let owner = db.role("owner")?;
    client.batch_execute(&format!(
        "GRANT ALL ON SCHEMA mill TO {owner};
         ALTER TABLE mill.vibration OWNER TO {owner};
         ALTER TABLE {JANUARY} OWNER TO {owner}; ALTER TABLE {FEBRUARY} OWNER TO {owner};
         ALTER TABLE {JANUARY} FORCE ROW LEVEL SECURITY"
    ))?;
    expect_sqlstate(compress(&mut client, JANUARY), "42501");
    expect_untouched(&mut client);
    compress(&mut client, FEBRUARY)?;
    expect_same(&mut client);
    Ok(())
}
