//! One statement after the other, by one client.

use super::{
    assert_rollup, assert_rows, fold, history_tables, late_rows, leaf, months, refresh, table,
    value,
};
use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};
use postgres::Client;
use std::io::Write;

/// Runs a statement on both tables, and compares what it returns.
#[track_caller]
fn both(client: &mut Client, statement: &str) -> Vec<String> {
    let [packed, plain] = ["h.packed", "h.plain"].map(|name| {
        let mut rows = table(client, &statement.replace("TABLE", name));
        rows.sort();
        rows
    });
    assert_eq!(packed, plain, "{statement}");
    packed
}

#[test]
fn inserts() -> Result<()> {
    let db = extended("write_inserts")?;
    let mut client = months(&db)?;
    assert_eq!(
        both(
            &mut client,
            "INSERT INTO TABLE (sensor, at, value) VALUES (1, '2024-01-05 00:30', 7.5), (9, '2024-02-29 23:59:59.999999', NULL),
               (2, '2024-03-07 01:00', 1) RETURNING sensor, at, value, doubled"
        )
        .len(),
        3
    );
    assert_eq!(late_rows(&mut client), 2);
    assert_rows(&mut client, "after an insert");
    // Through the partition itself.
    let january = leaf(&mut client, "2024-01-01");
    client.batch_execute(&format!(
        "INSERT INTO {january} (sensor, at, value) VALUES (3, '2024-01-31 23:59', 1);
         INSERT INTO h.plain (sensor, at, value) VALUES (3, '2024-01-31 23:59', 1)"
    ))?;
    assert_rows(&mut client, "after an insert into the partition");
    let error = expect_sqlstate(
        client.batch_execute(&format!(
            "INSERT INTO {january} (sensor, at) VALUES (3, '2024-02-01')"
        )),
        "23514",
    );
    assert!(
        error.message().contains("violates partition constraint"),
        "{error}"
    );
    let error = expect_sqlstate(
        client.batch_execute("INSERT INTO h.packed (sensor, at) VALUES (NULL, '2024-02-01 00:01')"),
        "23502",
    );
    assert!(
        error
            .message()
            .starts_with("null value in column \"sensor\" of relation"),
        "{error}"
    );
    for refused in [
        "INSERT INTO h.packed (sensor, at, note) VALUES (1, '2024-02-01 00:01', 'never')",
        "UPDATE h.packed SET note = 'never' WHERE at = '2024-02-01'",
    ] {
        let error = expect_sqlstate(client.batch_execute(refused), "23514");
        assert!(error.message().contains("\"sayable\""), "{error}");
    }
    // All at once, or nothing.
    expect_sqlstate(
        client.batch_execute(
            "INSERT INTO h.packed (sensor, at)
               SELECT CASE WHEN n < 1500 THEN 8 END, timestamptz '2024-01-01' + n * interval '1 second' FROM generate_series(1, 1500) AS n",
        ),
        "23502",
    );
    assert_rows(&mut client, "after inserts that failed");
    assert_rollup(&mut client, "after inserts")
}

#[test]
fn keys_are_unique() -> Result<()> {
    let db = extended("write_unique")?;
    let mut client = months(&db)?;
    let twice = "INSERT INTO h.packed (sensor, at) VALUES (2, '2024-01-05 02:00')";
    let in_segment = expect_sqlstate(client.batch_execute(twice), "23505");
    assert_eq!(
        in_segment.detail(),
        Some("Key (sensor, at)=(2, 2024-01-05 02:00:00+00) already exists.")
    );
    client.batch_execute(
        "UPDATE h.packed SET value = 0 WHERE sensor = 2 AND at = '2024-01-05 02:00'",
    )?;
    client.batch_execute(
        "UPDATE h.plain SET value = 0 WHERE sensor = 2 AND at = '2024-01-05 02:00'",
    )?;
    // Now it is a late row, and it is said in the same words.
    let in_late = expect_sqlstate(client.batch_execute(twice), "23505");
    assert_eq!(
        (in_late.message(), in_late.detail()),
        (in_segment.message(), in_segment.detail())
    );
    both(
        &mut client,
        "INSERT INTO TABLE (sensor, at, value)
           SELECT s, t, 1 FROM generate_series(1, 5) AS s, generate_series(timestamptz '2024-01-31', '2024-03-02', interval '30 minutes') AS t,
             generate_series(1, 2)
         ON CONFLICT DO NOTHING RETURNING sensor, at, value",
    );
    assert_rows(&mut client, "after ON CONFLICT DO NOTHING");
    assert_eq!(
        client.execute(
            "INSERT INTO h.packed (sensor, at) VALUES (1, '2024-01-05 02:00') ON CONFLICT DO NOTHING",
            &[]
        )?,
        0
    );
    // Gone rows are gone, in the same statement too.
    both(
        &mut client,
        "WITH gone AS (DELETE FROM TABLE WHERE sensor = 3 AND at < '2024-01-03' RETURNING *)
         INSERT INTO TABLE (sensor, at, value) SELECT sensor, at, value + 0.001 FROM gone RETURNING at, value",
    );
    both(
        &mut client,
        "DELETE FROM TABLE WHERE sensor = 4 AND at = '2024-02-03' RETURNING note, doubled",
    );
    both(
        &mut client,
        "INSERT INTO TABLE (sensor, at) VALUES (4, '2024-02-03') RETURNING sensor, at",
    );
    for statement in [
        "UPDATE h.packed SET at = '2024-01-10' WHERE sensor = 1 AND at = '2024-01-09'",
        "UPDATE h.packed SET sensor = 2 WHERE sensor = 1 AND at = '2024-01-09'",
        "UPDATE h.packed SET sensor = 2 WHERE sensor = 1 AND at = '2024-01-05 02:00'",
        "UPDATE h.packed SET at = '2024-01-10' WHERE sensor = 2 AND at = '2024-01-05 02:00'",
    ] {
        expect_sqlstate(client.batch_execute(statement), "23505");
    }
    assert_rows(&mut client, "after violations");
    fold(&mut client, "2024-01-01")?;
    fold(&mut client, "2024-02-01")?;
    assert_eq!(late_rows(&mut client), 0);
    expect_sqlstate(client.batch_execute(twice), "23505");
    assert_rows(&mut client, "after a fold");
    assert_rollup(&mut client, "after a fold")
}

#[test]
fn copies() -> Result<()> {
    let db = extended("write_copies")?;
    let mut client = months(&db)?;
    for name in ["h.packed", "h.plain"] {
        let mut copy =
            client.copy_in(&format!("COPY {name} (sensor, at, value, note) FROM STDIN"))?;
        for n in 0..25_000_i64 {
            let (sensor, second) = (n % 50, n / 50);
            writeln!(
                copy,
                "{}\t2024-01-{:02} 00:{:02}:{:02}+00\t{}.5\tcopied",
                sensor,
                5 + sensor % 20,
                second / 60 + 1,
                second % 60,
                n
            )?;
        }
        copy.finish()?;
    }
    assert_eq!(late_rows(&mut client), 25_000);
    assert_rows(&mut client, "after COPY");
    let mut copy = client.copy_in("COPY h.packed (sensor, at) FROM STDIN")?;
    for n in 0..1500 {
        writeln!(
            copy,
            "77\t2024-01-20 00:00:{:02}.{:03}+00",
            n / 1000,
            n % 1000
        )?;
    }
    writeln!(copy, "1\t2024-01-20 00:00:00+00")?;
    expect_sqlstate(copy.finish(), "23505");
    assert_rows(&mut client, "after COPY that failed");
    fold(&mut client, "2024-01-01")?;
    assert_eq!(late_rows(&mut client), 0);
    assert_rows(&mut client, "after a fold");
    assert_rollup(&mut client, "after COPY")
}

#[test]
fn updates_and_deletes() -> Result<()> {
    let db = extended("write_changes")?;
    let mut client = months(&db)?;
    client.batch_execute("CREATE TABLE h.which (sensor int, day date); INSERT INTO h.which VALUES (1, '2024-01-04'), (2, '2024-02-05'), (2, '2024-02-05'), (3, '2024-03-06')")?;
    for statement in [
        "UPDATE TABLE SET value = value + 0.5 WHERE sensor = 1 AND at < '2024-01-03' RETURNING *",
        "UPDATE TABLE SET value = value + 0.5, note = 'late now' WHERE sensor = 1 AND at < '2024-01-03' RETURNING *",
        // A row is changed once, however often it is joined.
        "UPDATE TABLE AS t SET level = level + 1 FROM h.which AS w WHERE w.sensor = t.sensor AND t.at::date = w.day RETURNING t.*",
        "DELETE FROM TABLE AS t USING h.which AS w WHERE w.sensor = t.sensor AND t.at::date = w.day AND t.at::time < '12:00' RETURNING t.*, w.day",
        // Out of a compressed partition, into one, from one to the other.
        "UPDATE TABLE SET at = at + interval '60 days 1 second' WHERE sensor = 2 AND at BETWEEN '2024-01-10' AND '2024-01-12' RETURNING *",
        "UPDATE TABLE SET at = at - interval '60 days 1 second' WHERE sensor = 3 AND at BETWEEN '2024-03-10' AND '2024-03-12' RETURNING *",
        "UPDATE TABLE SET at = at + interval '31 days 1 second', sensor = 7 WHERE sensor = 4 AND at BETWEEN '2024-01-20' AND '2024-01-21' RETURNING *",
        "UPDATE TABLE SET sensor = 8, at = at + interval '1 ms' WHERE sensor = 4 AND at BETWEEN '2024-02-20' AND '2024-02-21' RETURNING *",
        "WITH gone AS (DELETE FROM TABLE WHERE sensor = 1 AND at BETWEEN '2024-02-10' AND '2024-02-11' RETURNING *),
              changed AS (UPDATE TABLE SET note = 'twice' WHERE sensor = 1 AND at BETWEEN '2024-02-12' AND '2024-02-13' RETURNING *)
         SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM changed)",
        // Nobody asks for these rows.
        "WITH gone AS (DELETE FROM TABLE WHERE sensor = 1 AND at BETWEEN '2024-02-20' AND '2024-02-21') SELECT 1",
        "UPDATE TABLE SET value = NULL WHERE ok RETURNING sensor, at",
        "DELETE FROM TABLE WHERE sensor = 2 AND at < '2024-01-09' RETURNING at",
    ] {
        let changed = both(&mut client, statement);
        assert!(!changed.is_empty(), "nothing to change: {statement}");
        assert_rows(&mut client, statement);
    }
    assert_rollup(&mut client, "after changes")?;
    for month in ["2024-01-01", "2024-02-01"] {
        fold(&mut client, month)?;
    }
    assert_eq!(late_rows(&mut client), 0);
    assert_rows(&mut client, "after a fold");
    for statement in [
        "UPDATE TABLE SET note = note || '!' WHERE sensor IN (1, 7, 8) RETURNING *",
        "DELETE FROM TABLE WHERE sensor = 8 RETURNING *",
        "DELETE FROM TABLE WHERE sensor = 1 AND at < '2024-02-10' RETURNING *",
    ] {
        both(&mut client, statement);
        assert_rows(&mut client, statement);
    }
    expect_sqlstate(
        client.batch_execute(
            "UPDATE h.packed SET at = '2031-01-01' WHERE sensor = 3 AND at = '2024-01-05'",
        ),
        "23514",
    );
    let january = leaf(&mut client, "2024-01-01");
    expect_sqlstate(
        client.batch_execute(&format!(
            "UPDATE {january} SET at = '2024-02-11 00:00:01' WHERE sensor = 3 AND at = '2024-01-05'"
        )),
        "23514",
    );
    expect_sqlstate(
        client.batch_execute("UPDATE h.packed SET sensor = NULL WHERE at < '2024-01-05'"),
        "23502",
    );
    assert_rows(&mut client, "after changes that failed");
    assert_rollup(&mut client, "in the end")
}

#[test]
fn all_rows_go() -> Result<()> {
    let db = extended("write_all")?;
    let mut client = months(&db)?;
    both(
        &mut client,
        "DELETE FROM TABLE WHERE at < '2024-02-01' RETURNING at",
    );
    let segments = history_tables(&mut client).remove(0);
    assert_eq!(
        value(
            &mut client,
            &format!("SELECT count(*) FROM gemba_history.{segments}")
        ),
        "0"
    );
    both(
        &mut client,
        "INSERT INTO TABLE (sensor, at, value) VALUES (1, '2024-01-01', 1) RETURNING at",
    );
    assert_rows(&mut client, "after DELETE of a month");
    fold(&mut client, "2024-01-01")?;
    assert_rows(&mut client, "after a fold");
    // A partition, then the whole table.
    let february = leaf(&mut client, "2024-02-01");
    client.batch_execute(&format!(
        "INSERT INTO h.packed (sensor, at) VALUES (1, '2024-02-01 00:01');
         TRUNCATE {february}; DELETE FROM h.plain WHERE at >= '2024-02-01' AND at < '2024-03-01'"
    ))?;
    assert_rows(&mut client, "after TRUNCATE of a partition");
    assert_rollup(&mut client, "after TRUNCATE of a partition")?;
    client.batch_execute("BEGIN; TRUNCATE h.packed; ROLLBACK")?;
    assert_rows(&mut client, "after TRUNCATE that was rolled back");
    client.batch_execute("TRUNCATE h.packed; TRUNCATE h.plain")?;
    assert_rows(&mut client, "after TRUNCATE");
    assert_rollup(&mut client, "after TRUNCATE")
}

#[test]
fn savepoints() -> Result<()> {
    let db = extended("write_savepoints")?;
    let mut client = months(&db)?;
    for name in ["h.packed", "h.plain"] {
        client.batch_execute(&format!(
            "BEGIN;
             DELETE FROM {name} WHERE sensor = 1 AND at < '2024-01-05';
             SAVEPOINT a;
             DELETE FROM {name} WHERE sensor = 1 AND at < '2024-01-09';
             UPDATE {name} SET value = 1 WHERE sensor = 2 AND at < '2024-02-09';
             INSERT INTO {name} (sensor, at) VALUES (1, '2024-01-02');
             ROLLBACK TO a;
             UPDATE {name} SET value = 2 WHERE sensor = 1 AND at < '2024-01-06';
             SAVEPOINT b;
             INSERT INTO {name} (sensor, at, value) VALUES (1, '2024-01-02', 17);
             UPDATE {name} SET value = value + 1 WHERE sensor = 1 AND at < '2024-01-06';
             RELEASE b;
             COMMIT;
             BEGIN; DELETE FROM {name}; ROLLBACK"
        ))?;
    }
    assert_rows(&mut client, "after savepoints");
    assert_rollup(&mut client, "after savepoints")
}

#[test]
fn triggers_see_the_result() -> Result<()> {
    let db = extended("write_triggers")?;
    let mut client = months(&db)?;
    client.batch_execute(
        "CREATE TABLE h.seen (what text, sensor int, rows bigint);
         CREATE FUNCTION h.see() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           INSERT INTO h.seen SELECT TG_OP || ' ' || TG_LEVEL, CASE WHEN TG_LEVEL = 'ROW' THEN coalesce(NEW.sensor, OLD.sensor) END,
             (SELECT count(*) FROM h.packed WHERE value IS NOT NULL);
           RETURN NULL;
         END $$;
         CREATE TRIGGER of_statement AFTER INSERT OR UPDATE OR DELETE ON h.packed FOR EACH STATEMENT EXECUTE FUNCTION h.see();
         CREATE TRIGGER of_row AFTER INSERT OR UPDATE OR DELETE ON h.packed FOR EACH ROW EXECUTE FUNCTION h.see()",
    )?;
    client.batch_execute(
        "DELETE FROM h.packed WHERE sensor = 1 AND at < '2024-01-01 03:00';
         UPDATE h.packed SET value = NULL WHERE sensor = 2 AND at < '2024-01-01 03:00';
         INSERT INTO h.packed (sensor, at, value) VALUES (1, '2024-01-01', 1)",
    )?;
    let all = 4 * 12 * 91;
    assert_eq!(
        table(&mut client, "SELECT what, sensor, rows FROM h.seen"),
        [
            format!("DELETE ROW | 1 | {}", all - 2),
            format!("DELETE ROW | 1 | {}", all - 2),
            format!("DELETE STATEMENT | - | {}", all - 2),
            format!("UPDATE ROW | 2 | {}", all - 4),
            format!("UPDATE ROW | 2 | {}", all - 4),
            format!("UPDATE STATEMENT | - | {}", all - 4),
            format!("INSERT ROW | 1 | {}", all - 3),
            format!("INSERT STATEMENT | - | {}", all - 3),
        ]
    );
    // A BEFORE trigger may change the row, or refuse it; changing other rows of its segment is refused.
    client.batch_execute(
        "DROP TRIGGER of_row ON h.packed; DROP TRIGGER of_statement ON h.packed;
         CREATE FUNCTION h.before() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           IF TG_OP = 'DELETE' THEN
             UPDATE h.packed SET value = 5 WHERE sensor = OLD.sensor AND at = OLD.at + interval '2 hours';
             RETURN OLD;
           END IF;
           IF NEW.sensor = 3 THEN RETURN NULL; END IF;
           NEW.note := 'by trigger';
           RETURN NEW;
         END $$;
         CREATE TRIGGER before BEFORE INSERT OR UPDATE OR DELETE ON h.packed FOR EACH ROW EXECUTE FUNCTION h.before()",
    )?;
    assert_eq!(
        client.execute("INSERT INTO h.packed (sensor, at) VALUES (3, '2024-01-01 00:30'), (4, '2024-01-01 00:30')", &[])?,
        1
    );
    assert_eq!(
        client.execute(
            "UPDATE h.packed SET value = 3 WHERE at = '2024-01-01 04:00'",
            &[]
        )?,
        3
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM h.packed WHERE note = 'by trigger'"
        ),
        "4"
    );
    expect_sqlstate(
        client.batch_execute("DELETE FROM h.packed WHERE sensor = 4 AND at = '2024-01-09'"),
        "27000",
    );
    refresh(&mut client)
}

#[test]
fn what_the_server_refuses() -> Result<()> {
    let db = extended("write_refused")?;
    let mut client = months(&db)?;
    expect_sqlstate(
        client.batch_execute(
            "INSERT INTO h.packed (sensor, at) VALUES (1, '2024-01-01') ON CONFLICT (sensor, at) DO UPDATE SET value = 1",
        ),
        "42P10",
    );
    expect_sqlstate(
        client.batch_execute(
            "MERGE INTO h.packed AS t USING (VALUES (1, timestamptz '2024-01-01')) AS s (sensor, at)
                ON t.sensor = s.sensor AND t.at = s.at WHEN MATCHED THEN DELETE",
        ),
        "0A000",
    );
    assert_rows(&mut client, "after what was refused");
    Ok(())
}
