//! Several clients at once.

use super::{assert_rollup, assert_rows, backend, fold, leaf, months, value, wait_for_lock};
use anyhow::Result;
use gemba_tests::{Database, Random, expect_sqlstate, extended};
use postgres::{Client, Error};
use std::thread;

/// One client begins, the other one waits for it; the first ends, and what the other one's statement came to is
/// returned.
fn meets(
    db: &Database,
    first: &str,
    end: &str,
    isolation: &str,
    second: &str,
) -> Result<Result<u64, Error>> {
    let (mut one, mut two, mut watcher) = (db.connect()?, db.connect()?, db.connect()?);
    one.batch_execute("BEGIN")?;
    two.batch_execute(&format!(
        "BEGIN ISOLATION LEVEL {isolation}; SELECT count(*) FROM h.plain"
    ))?;
    one.batch_execute(first)?;
    let pid = backend(&mut two);
    let done = thread::scope(|scope| -> Result<_> {
        let waiting = scope.spawn(|| two.execute(second, &[]));
        wait_for_lock(&mut watcher, pid);
        one.batch_execute(end)?;
        Ok(waiting.join().expect("the second client does not panic"))
    })?;
    two.batch_execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    Ok(done)
}

const ROW: &str = "sensor = 1 AND at = '2024-01-10'";

#[test]
fn a_change_waits_for_another_one() -> Result<()> {
    let db = extended("meet_changes")?;
    let mut client = months(&db)?;
    let committed = "READ COMMITTED";
    let add = format!("UPDATE h.packed SET value = value + 1 WHERE {ROW}");
    let delete = format!("DELETE FROM h.packed WHERE {ROW}");
    let at =
        |client: &mut Client| value(client, &format!("SELECT value FROM h.packed WHERE {ROW}"));
    // In a segment: what the other one made of it is what counts.
    assert_eq!(at(&mut client), "100.000");
    assert_eq!(meets(&db, &add, "COMMIT", committed, &add)??, 1);
    assert_eq!(at(&mut client), "102.000");
    // As a late row.
    assert_eq!(meets(&db, &add, "COMMIT", committed, &add)??, 1);
    assert_eq!(meets(&db, &add, "ROLLBACK", committed, &add)??, 1);
    assert_eq!(at(&mut client), "105.000");
    // It may not be what was asked for any more.
    let only = format!("{add} AND value = 105");
    assert_eq!(meets(&db, &add, "COMMIT", committed, &only)??, 0);
    assert_eq!(
        meets(
            &db,
            &add,
            "ROLLBACK",
            committed,
            &format!("{add} AND value = 106")
        )??,
        1
    );
    assert_eq!(meets(&db, &delete, "ROLLBACK", committed, &delete)??, 1);
    assert_eq!(
        value(
            &mut client,
            &format!("SELECT count(*) FROM h.packed WHERE {ROW}")
        ),
        "0"
    );
    Ok(())
}

#[test]
fn rows_of_one_segment_belong_to_many() -> Result<()> {
    let db = extended("meet_segment")?;
    let mut client = months(&db)?;
    let other = "sensor = 1 AND at = '2024-01-10 02:00'";
    let (update, delete) = (
        format!("UPDATE h.packed SET value = value + 1 WHERE {ROW}"),
        format!("DELETE FROM h.packed WHERE {other}"),
    );
    // They wait, as the segment is one; but neither loses what the other one did.
    assert_eq!(
        meets(&db, &update, "COMMIT", "READ COMMITTED", &delete)??,
        1
    );
    assert_eq!(
        meets(
            &db,
            &format!("DELETE FROM h.packed WHERE {ROW}"),
            "COMMIT",
            "READ COMMITTED",
            "DELETE FROM h.packed WHERE sensor = 1 AND at < '2024-01-12'"
        )??,
        12 * 11 - 2
    );
    client.batch_execute("DELETE FROM h.plain WHERE sensor = 1 AND at < '2024-01-12'")?;
    assert_rows(&mut client, "after two deletes");
    let delete = "DELETE FROM h.packed WHERE sensor = 2 AND at < '2024-01-12'";
    assert_eq!(meets(&db, delete, "COMMIT", "READ COMMITTED", delete)??, 0);
    let update = "UPDATE h.packed SET value = value + 1 WHERE sensor = 3 AND at = '2024-01-10'";
    assert_eq!(
        meets(
            &db,
            update,
            "COMMIT",
            "READ COMMITTED",
            "UPDATE h.packed SET value = value * 2 WHERE sensor = 3 AND at < '2024-01-12'"
        )??,
        132
    );
    client.batch_execute(
        "DELETE FROM h.plain WHERE sensor = 2 AND at < '2024-01-12';
         UPDATE h.plain SET value = value + 1 WHERE sensor = 3 AND at = '2024-01-10';
         UPDATE h.plain SET value = value * 2 WHERE sensor = 3 AND at < '2024-01-12'",
    )?;
    assert_rows(&mut client, "after two updates");
    assert_rollup(&mut client, "after two updates")
}

#[test]
fn one_snapshot_ends_with_40001() -> Result<()> {
    let db = extended("meet_snapshots")?;
    let mut client = months(&db)?;
    let add = format!("UPDATE h.packed SET value = value + 1 WHERE {ROW}");
    let delete = format!("DELETE FROM h.packed WHERE {ROW}");
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        // In a segment, and as a late row.
        for _ in 0..2 {
            expect_sqlstate(meets(&db, &add, "COMMIT", isolation, &delete)?, "40001");
        }
        assert_eq!(meets(&db, &add, "ROLLBACK", isolation, &add)??, 1);
        fold(&mut client, "2024-01-01")?;
        // Folded since.
        let mut old = db.connect()?;
        old.batch_execute(&format!(
            "BEGIN ISOLATION LEVEL {isolation}; SELECT count(*) FROM h.packed"
        ))?;
        client.batch_execute(&add)?;
        fold(&mut client, "2024-01-01")?;
        expect_sqlstate(old.batch_execute(&add), "40001");
    }
    assert_eq!(
        value(
            &mut client,
            &format!("SELECT value FROM h.packed WHERE {ROW}")
        ),
        "108.000"
    );
    Ok(())
}

#[test]
fn one_of_two_inserts_wins() -> Result<()> {
    let db = extended("meet_inserts")?;
    let mut client = months(&db)?;
    let insert = "INSERT INTO h.packed (sensor, at) VALUES (1, '2024-01-10 00:30')";
    let unless = format!("{insert} ON CONFLICT DO NOTHING");
    expect_sqlstate(
        meets(&db, insert, "COMMIT", "READ COMMITTED", insert)?,
        "23505",
    );
    client.batch_execute("DELETE FROM h.packed WHERE at = '2024-01-10 00:30'")?;
    assert_eq!(
        meets(&db, insert, "ROLLBACK", "READ COMMITTED", insert)??,
        1
    );
    client.batch_execute("DELETE FROM h.packed WHERE at = '2024-01-10 00:30'")?;
    assert_eq!(meets(&db, insert, "COMMIT", "READ COMMITTED", &unless)??, 0);
    // In a segment, which somebody is changing.
    let again = "INSERT INTO h.packed (sensor, at) SELECT 1, '2024-01-10'".to_owned();
    let delete = format!("DELETE FROM h.packed WHERE {ROW}");
    expect_sqlstate(
        meets(&db, &delete, "ROLLBACK", "READ COMMITTED", &again)?,
        "23505",
    );
    assert_eq!(meets(&db, &delete, "COMMIT", "READ COMMITTED", &again)??, 1);
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM h.packed WHERE sensor = 1 AND at BETWEEN '2024-01-10' AND '2024-01-10 01:00'"
        ),
        "2"
    );
    Ok(())
}

#[test]
fn a_deadlock_ends() -> Result<()> {
    let db = extended("meet_deadlock")?;
    let mut client = months(&db)?;
    let (mut one, mut two) = (db.connect()?, db.connect()?);
    let pid = backend(&mut two);
    let statement = |sensor: i32| {
        format!("UPDATE h.packed SET value = 1 WHERE sensor = {sensor} AND at = '2024-01-10'")
    };
    one.batch_execute(&format!("BEGIN; {}", statement(1)))?;
    two.batch_execute(&format!("BEGIN; {}", statement(2)))?;
    let done = thread::scope(|scope| -> Result<_> {
        let waiting = scope.spawn(|| two.batch_execute(&statement(1)));
        wait_for_lock(&mut client, pid);
        let first = one.batch_execute(&statement(2));
        if first.is_err() {
            one.batch_execute("ROLLBACK")?;
        }
        Ok((first, waiting.join().expect("no panic")))
    })?;
    let failed: Vec<_> = [done.0, done.1]
        .into_iter()
        .filter(Result::is_err)
        .collect();
    assert_eq!(failed.len(), 1);
    for failed in failed {
        expect_sqlstate(failed, "40P01");
    }
    Ok(())
}

#[test]
fn a_fold_keeps_out_of_the_way() -> Result<()> {
    let db = extended("meet_fold")?;
    let mut client = months(&db)?;
    let january = leaf(&mut client, "2024-01-01");
    for name in ["h.packed", "h.plain"] {
        client.batch_execute(&format!(
            "INSERT INTO {name} (sensor, at, value) SELECT s, timestamptz '2024-01-01 00:01' + n * interval '5 hours', n
               FROM generate_series(1, 6) AS s, generate_series(0, 140) AS n"
        ))?;
    }
    let mut reader = db.connect()?;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; DECLARE c CURSOR FOR SELECT * FROM h.packed; FETCH 100 FROM c")?;
    let before = value(
        &mut reader,
        "SELECT md5(string_agg(p::text, ',' ORDER BY p)) FROM h.packed AS p",
    );
    client.batch_execute(&format!(
        "BEGIN; SELECT gemba.compress_partition('{january}')"
    ))?;
    // Readers do not wait for a fold, nor does it for them.
    let all = "SELECT md5(string_agg(p::text, ',' ORDER BY p)) FROM h.packed AS p";
    assert_eq!(value(&mut reader, all), before);
    client.batch_execute("COMMIT")?;
    client.batch_execute("VACUUM")?;
    assert_eq!(value(&mut reader, all), before);
    assert_eq!(value(&mut client, all), before);
    assert_rows(&mut client, "after a fold");
    // It does not wait for writers.
    reader.batch_execute(
        "COMMIT; BEGIN; INSERT INTO h.packed (sensor, at) VALUES (1, '2024-01-01 00:02')",
    )?;
    client.batch_execute("SET gemba.lock_patience = '50ms'")?;
    expect_sqlstate(
        client.batch_execute(&format!("SELECT gemba.compress_partition('{january}')")),
        "55P03",
    );
    reader.batch_execute("ROLLBACK")?;
    client.batch_execute(&format!("SELECT gemba.compress_partition('{january}')"))?;
    assert_rows(&mut client, "after all");
    Ok(())
}

/// Whoever deletes a row adds it to a list; whoever inserts one, too. So at the end it is known what there has to be.
#[test]
fn many_writers_and_a_folder() -> Result<()> {
    const ROUNDS: usize = 60;
    let db = extended("meet_many")?;
    let mut client = months(&db)?;
    client.batch_execute(
        "CREATE TABLE h.log (sensor int, at timestamptz, sign int, value numeric)",
    )?;
    thread::scope(|scope| -> Result<()> {
        let mut writers = Vec::new();
        for seed in 1..=3_u64 {
            let mut session = db.connect()?;
            writers.push(scope.spawn(move || -> Result<usize, Error> {
                let mut random = Random::new(seed);
                let mut done = 0;
                for _ in 0..ROUNDS {
                    let (sensor, hour) = (1 + random.below(2), random.below(60));
                    let at = format!("(timestamptz '2024-01-10' + interval '{hour} hours')");
                    let statement = match random.below(4) {
                        0 => format!("WITH n AS (INSERT INTO h.packed (sensor, at, value) VALUES ({sensor}, {at}, {seed}) ON CONFLICT DO NOTHING RETURNING sensor, at, value)
                                      INSERT INTO h.log SELECT sensor, at, 1, value FROM n"),
                        1 => format!("WITH d AS (DELETE FROM h.packed WHERE sensor = {sensor} AND at >= {at} AND at < {at} + interval '3 hours' RETURNING sensor, at, value)
                                      INSERT INTO h.log SELECT sensor, at, -1, value FROM d"),
                        _ => format!("WITH u AS (UPDATE h.packed SET value = value + 1 WHERE sensor = {sensor} AND at >= {at} AND at < {at} + interval '5 hours' RETURNING sensor, at)
                                      INSERT INTO h.log SELECT sensor, at, 0, 1 FROM u"),
                    };
                    let end = if random.chance(20) { "ROLLBACK" } else { "COMMIT" };
                    match session.batch_execute(&format!("BEGIN; {statement}; {end}")) {
                        Ok(()) => done += 1,
                        Err(error) => {
                            let code = error.code().map(|code| code.code().to_owned());
                            session.batch_execute("ROLLBACK")?;
                            if code.as_deref() != Some("40P01") {
                                return Err(error);
                            }
                        }
                    }
                }
                Ok(done)
            }));
        }
        let mut folder = db.connect()?;
        let january = leaf(&mut client, "2024-01-01");
        while writers.iter().any(|writer| !writer.is_finished()) {
            folder.batch_execute(&format!("SELECT gemba.compress_partition('{january}')"))?;
            thread::sleep(std::time::Duration::from_millis(20));
        }
        for writer in writers {
            assert!(writer.join().expect("no panic")? > ROUNDS / 2);
        }
        Ok(())
    })?;
    // How many rows there are at each place, and how much all values have grown.
    super::assert_same(
        &mut client,
        "SELECT sensor, at, count(*) FROM h.packed GROUP BY 1, 2",
        "SELECT sensor, at, sum(n) FROM (SELECT sensor, at, 1 AS n FROM h.plain UNION ALL SELECT sensor, at, sign FROM h.log) AS x GROUP BY 1, 2 HAVING sum(n) > 0",
        "rows",
    );
    super::assert_same(
        &mut client,
        "SELECT sum(value) FROM h.packed",
        "SELECT sum(value) FROM (SELECT value FROM h.plain UNION ALL SELECT CASE sign WHEN -1 THEN -value ELSE value END FROM h.log) AS x",
        "values",
    );
    fold(&mut client, "2024-01-01")?;
    client.batch_execute("TRUNCATE h.plain; INSERT INTO h.plain (sensor, at, value, note, level, ok) SELECT sensor, at, value, note, level, ok FROM h.packed")?;
    assert_rows(&mut client, "after all");
    assert_rollup(&mut client, "after all")
}

/// Triggers that were shown a row as it was before somebody else changed it cannot be called again; the statement ends.
#[test]
fn triggers_never_see_a_row_as_it_is_no_more() -> Result<()> {
    let db = extended("meet_triggers")?;
    let mut client = months(&db)?;
    client.batch_execute(
        "CREATE FUNCTION h.note() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF tg_op = 'DELETE' THEN RETURN old; END IF; new.note := 'stamped'; RETURN new; END $$;
         CREATE FUNCTION h.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    )?;
    let add = format!("UPDATE h.packed SET value = value + 1 WHERE {ROW}");
    let gone = format!("DELETE FROM h.packed WHERE {ROW}");
    for (trigger, second, ends) in [
        (
            "BEFORE UPDATE ON h.packed FOR EACH ROW EXECUTE FUNCTION h.note()",
            &add,
            true,
        ),
        (
            "AFTER UPDATE ON h.packed FOR EACH ROW EXECUTE FUNCTION h.nothing()",
            &add,
            true,
        ),
        (
            "BEFORE DELETE ON h.packed FOR EACH ROW EXECUTE FUNCTION h.note()",
            &gone,
            true,
        ),
        // They have seen nothing of it.
        (
            "AFTER UPDATE ON h.packed FOR EACH STATEMENT EXECUTE FUNCTION h.nothing()",
            &add,
            false,
        ),
        (
            "BEFORE INSERT OR DELETE ON h.packed FOR EACH ROW EXECUTE FUNCTION h.note()",
            &add,
            false,
        ),
        (
            "BEFORE UPDATE ON h.packed FOR EACH ROW EXECUTE FUNCTION h.note()",
            &gone,
            false,
        ),
    ] {
        client.batch_execute(&format!("CREATE TRIGGER watching {trigger}"))?;
        // In a segment the first time, late afterwards: a late row has a newest version by which it is found.
        let outcome = meets(&db, &add, "COMMIT", "READ COMMITTED", second)?;
        if ends {
            let error = expect_sqlstate(outcome, "40001");
            assert!(error.message().contains("concurrent update"), "{error:?}");
            assert_eq!(meets(&db, &add, "ROLLBACK", "READ COMMITTED", second)??, 1);
        } else {
            outcome?;
        }
        client.batch_execute(
            "DROP TRIGGER watching ON h.packed;
             INSERT INTO h.packed (sensor, at, value) VALUES (1, '2024-01-10', 1) ON CONFLICT DO NOTHING",
        )?;
    }
    Ok(())
}
