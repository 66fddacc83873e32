//! Random changes leave a compressed table and an ordinary one with the same rows.

use super::{assert_rollup, assert_rows, fold, late_rows, leaf, months};
use anyhow::Result;
use gemba_tests::{Random, extended};
use postgres::Client;
use std::io::Write;

/// A time on the grid of the first rows, or beside it.
fn time(random: &mut Random) -> String {
    let hours = random.below(88 * 12) * 2;
    let beside = if random.chance(30) {
        random.below(3_600)
    } else {
        0
    };
    format!("(timestamptz '2024-01-01' + interval '{hours} hours {beside} seconds')")
}

/// Less than two hours: rows that are moved by so much come to lie beside the others.
fn shift(random: &mut Random) -> String {
    format!(
        "interval '{} microseconds'",
        1 + random.below(7_000_000_000)
    )
}

fn statement(random: &mut Random) -> String {
    let sensor = 1 + random.below(5);
    let other = 1 + random.below(5);
    let (from, shift) = (time(random), shift(random));
    let length = random
        .pick(&["1 hour", "9 hours", "3 days", "40 days"])
        .to_owned();
    let range = format!("at >= {from} AND at < {from} + interval '{length}'");
    let value = match random.below(4) {
        0 => "NULL".to_owned(),
        1 => "'NaN'".to_owned(),
        _ => format!("{}.{}", random.below(900_000), random.below(999)),
    };
    match random.below(14) {
        0 | 1 => format!(
            "INSERT INTO TABLE (sensor, at, value, note) VALUES ({sensor}, {from}, {value}, 'new'), ({other}, {from} + {shift}, {value}, NULL)"
        ),
        2 | 3 => format!(
            "INSERT INTO TABLE (sensor, at, value, level) SELECT {sensor}, {from} + n * interval '30 minutes', n, n / 3.0 FROM generate_series(1, 100) AS n ON CONFLICT DO NOTHING"
        ),
        4 => format!(
            "INSERT INTO TABLE (sensor, at) SELECT s, {from} + {shift} * s FROM generate_series(1, 5) AS s, generate_series(1, 3) ON CONFLICT DO NOTHING"
        ),
        5 => format!(
            "UPDATE TABLE SET value = {value}, ok = NOT ok WHERE sensor = {sensor} AND {range}"
        ),
        6 => format!(
            "UPDATE TABLE SET note = left(coalesce(note, '') || ' {sensor}', 40), level = level * 1.5 WHERE {range}"
        ),
        7 => format!(
            "UPDATE TABLE SET at = at + {shift} WHERE sensor = {sensor} AND {range} AND at < '2024-03-31'"
        ),
        8 => format!(
            "UPDATE TABLE SET at = {from} + {shift}, sensor = {other} WHERE sensor = {sensor} AND at = {from}"
        ),
        9 => format!(
            "UPDATE TABLE SET at = at + interval '29 days' + {shift} WHERE sensor = {sensor} AND {range} AND at < '2024-03-01'"
        ),
        10 => format!(
            "UPDATE TABLE SET at = at - interval '29 days' - {shift} WHERE sensor = {sensor} AND {range} AND at > '2024-02-01'"
        ),
        11 => format!("DELETE FROM TABLE WHERE sensor = {sensor} AND {range}"),
        12 => format!(
            "DELETE FROM TABLE AS t USING (VALUES ({sensor}, {from}), ({other}, {from} + interval '2 hours'), ({sensor}, {from})) AS v (sensor, at) WHERE t.sensor = v.sensor AND t.at = v.at"
        ),
        _ => format!(
            "WITH gone AS (DELETE FROM TABLE WHERE sensor = {sensor} AND {range} RETURNING *) INSERT INTO TABLE (sensor, at, value, note) SELECT sensor, at + {shift}, value, 'moved' FROM gone WHERE at < '2024-03-31'"
        ),
    }
}

/// Runs a statement on a table; what comes of it.
fn run(client: &mut Client, table: &str, statement: &str) -> Result<u64, String> {
    client
        .execute(&statement.replace("TABLE", table), &[])
        .map_err(|error| {
            error
                .code()
                .map_or(error.to_string(), |code| code.code().to_owned())
        })
}

fn copy(client: &mut Client, table: &str, rows: &[String]) -> Result<u64, String> {
    let mut copy = client
        .copy_in(&format!("COPY {table} (sensor, at, value) FROM STDIN"))
        .map_err(|error| error.to_string())?;
    for row in rows {
        writeln!(copy, "{row}").map_err(|error| error.to_string())?;
    }
    copy.finish().map_err(|error| {
        error
            .code()
            .map_or(error.to_string(), |code| code.code().to_owned())
    })
}

fn step(client: &mut Client, random: &mut Random, log: &mut Vec<String>) -> Result<()> {
    match random.below(20) {
        0 => {
            let month = *random.pick(&["2024-01-01", "2024-02-01"]);
            log.push(format!("fold {month}"));
            fold(client, month)?;
        }
        1 => {
            let (sensor, day) = (random.below(60), 1 + random.below(28));
            let rows: Vec<String> = (0..random.below(1500))
                .map(|n| {
                    format!(
                        "{}\t2024-02-{day:02} 00:{:02}:{:02}.5+00\t{n}",
                        sensor + n % 7,
                        n / 60 % 60,
                        n % 60
                    )
                })
                .collect();
            log.push(format!("copy {} rows to {day}", rows.len()));
            let done = ["h.packed", "h.plain"].map(|table| copy(client, table, &rows));
            assert_eq!(done[0], done[1], "{log:#?}");
        }
        2 if random.chance(20) => {
            let month = *random.pick(&["2024-01-01", "2024-02-01"]);
            let leaf = leaf(client, month);
            log.push(format!("truncate {month}"));
            client.batch_execute(&format!(
                "TRUNCATE {leaf}; DELETE FROM h.plain WHERE at >= '{month}' AND at < timestamptz '{month}' + interval '1 month'"
            ))?;
        }
        3 | 4 => {
            client.batch_execute("BEGIN")?;
            for _ in 0..1 + random.below(3) {
                client.batch_execute("SAVEPOINT a")?;
                let statement = statement(random);
                log.push(format!("savepoint; {statement}"));
                let done = ["h.packed", "h.plain"].map(|table| {
                    let done = run(client, table, &statement);
                    if done.is_err() {
                        client.batch_execute("ROLLBACK TO a").ok();
                    }
                    done
                });
                assert_eq!(done[0], done[1], "{log:#?}");
                if random.chance(40) {
                    log.push("rollback to".into());
                    client.batch_execute("ROLLBACK TO a")?;
                }
            }
            let end = if random.chance(30) {
                "ROLLBACK"
            } else {
                "COMMIT"
            };
            log.push(end.into());
            client.batch_execute(end)?;
        }
        _ => {
            let statement = statement(random);
            log.push(statement.clone());
            let done = ["h.packed", "h.plain"].map(|table| run(client, table, &statement));
            assert_eq!(done[0], done[1], "{log:#?}");
        }
    }
    Ok(())
}

fn random_changes(seed: u64, steps: usize) -> Result<()> {
    let db = extended(&format!("write_property_{seed}"))?;
    let mut client = months(&db)?;
    let mut random = Random::new(seed);
    let mut log = Vec::new();
    for number in 0..steps {
        step(&mut client, &mut random, &mut log)?;
        if number % 5 == 0 {
            assert_rows(&mut client, &format!("seed {seed}: {log:#?}"));
        }
        if number % 25 == 24 {
            assert_rollup(&mut client, &format!("seed {seed}: {log:#?}"))?;
        }
    }
    for month in ["2024-01-01", "2024-02-01"] {
        fold(&mut client, month)?;
    }
    assert_eq!(late_rows(&mut client), 0);
    assert_rows(&mut client, &format!("seed {seed}, folded: {log:#?}"));
    assert_rollup(&mut client, &format!("seed {seed}, folded: {log:#?}"))?;
    for month in ["2024-01-01", "2024-02-01"] {
        let leaf = leaf(&mut client, month);
        client.batch_execute(&format!("SELECT gemba.decompress_partition('{leaf}')"))?;
    }
    assert_rows(&mut client, &format!("seed {seed}, decompressed: {log:#?}"));
    Ok(())
}

#[test]
fn random_changes_leave_the_same_rows() -> Result<()> {
    for seed in 1..=3 {
        random_changes(seed, 60)?;
    }
    Ok(())
}

#[test]
#[ignore = "long: a few minutes"]
fn many_random_changes_leave_the_same_rows() -> Result<()> {
    for seed in 100..112 {
        random_changes(seed, 200)?;
    }
    Ok(())
}
