//! Rollups of a compressed table, and compressed rollups.

use super::*;
use gemba_tests::extended;

/// Hours' rows by day, kept in months of their own, and refreshed.
fn with_days(db: &Database) -> Result<Client> {
    let mut client = mill(db)?;
    client.batch_execute(
        "SELECT gemba.create_rollup('mill.daily', 'mill.vibration', 'at', '1 day', ARRAY['machine'],
           '{\"n\": {\"function\": \"count\"}, \"speed\": {\"function\": \"sum\", \"column\": \"speed\"}, \"low\": {\"function\": \"min\", \"column\": \"speed\"}}',
           partition_by => '1 month')",
    )?;
    assert_eq!(refresh(&mut client), "true");
    Ok(client)
}

/// Whether a refresh wrote anything.
fn refresh(client: &mut Client) -> String {
    value(
        client,
        "SELECT sum(rows_written) > 0 FROM gemba.refresh_rollup('mill.daily')",
    )
    .replace('t', "true")
    .replace('f', "false")
}

/// Rows that a refresh wrote.
fn written(client: &mut Client) -> String {
    value(
        client,
        "SELECT sum(rows_written) FROM gemba.refresh_rollup('mill.daily')",
    )
}

fn pending(client: &mut Client) -> String {
    value(
        client,
        "SELECT pending_ranges FROM gemba.rollups WHERE rollup = 'mill.daily'::regclass",
    )
}

#[track_caller]
fn expect_exact(client: &mut Client) {
    client
        .batch_execute(
            "CREATE OR REPLACE VIEW mill.fresh AS
               SELECT date_trunc('day', at, 'UTC') AS bucket, machine, count(*) AS n, sum(speed) AS speed, min(speed) AS low FROM mill.vibration GROUP BY 1, 2;
             CREATE OR REPLACE VIEW mill.kept AS SELECT bucket, machine, n, speed, low FROM mill.daily",
        )
        .expect("two views");
    expect_same_as(client, "mill.kept", "mill.fresh");
}

#[test]
fn compressing_changes_nothing_for_a_rollup() -> Result<()> {
    let db = extended("rollups_same")?;
    let mut client = with_days(&db)?;
    for partition in [JANUARY, FEBRUARY] {
        compress(&mut client, partition)?;
        assert_eq!(pending(&mut client), "0");
        assert_eq!(written(&mut client), "0");
    }
    client.batch_execute(&format!("SELECT gemba.decompress_partition('{JANUARY}')"))?;
    assert_eq!(pending(&mut client), "0");
    assert_eq!(written(&mut client), "0");
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM gemba.rollup_expired"),
        "0"
    );
    expect_exact(&mut client);
    // Late rows, changes and deletes are noticed where they are, and there alone. (A bucket that goes is not written.)
    for (change, rows) in [
        (
            "INSERT INTO mill.vibration (at, machine, speed) VALUES ('2024-02-03 12:30+00', 'saw', 7), ('2024-02-29 12:30+00', 'new', 8)",
            "2",
        ),
        (
            "UPDATE mill.vibration SET speed = speed + 1 WHERE machine = 'press' AND at = '2024-02-10 05:00+00'",
            "1",
        ),
        (
            "DELETE FROM mill.vibration WHERE machine = 'press' AND at >= '2024-02-11 00:00+00' AND at < '2024-02-12 00:00+00'",
            "0",
        ),
        (
            "SELECT gemba.compress_partition('mill.vibration_p20240201')",
            "0",
        ),
        (
            "SELECT gemba.decompress_partition('mill.vibration_p20240201')",
            "0",
        ),
    ] {
        client.batch_execute(change)?;
        assert_eq!(written(&mut client), rows, "{change}");
        expect_exact(&mut client);
    }
    Ok(())
}

/// The rollup's own months are compressed too, and a refresh writes into them.
#[test]
fn a_compressed_rollup_is_refreshed() -> Result<()> {
    let db = extended("rollups_compressed")?;
    let mut client = with_days(&db)?;
    client.batch_execute(
        "SELECT gemba.compress_after('mill.daily', '{machine}', 'bucket', '7 days')",
    )?;
    let done = table(
        &mut client,
        "SELECT partition, action FROM gemba.maintain_partitions() WHERE parent = 'mill.daily' ORDER BY 1",
    );
    assert_eq!(
        done,
        [
            "mill.daily_p20240101 | compressed",
            "mill.daily_p20240201 | compressed",
            "mill.daily_p20240301 | compressed"
        ]
    );
    assert_eq!(kind(&mut client, JANUARY), "f");
    assert_eq!(pending(&mut client), "0");
    assert_eq!(written(&mut client), "0");
    expect_exact(&mut client);
    for change in [
        "INSERT INTO mill.vibration (at, machine, speed) VALUES ('2024-01-03 12:30+00', 'saw', 7), ('2024-02-29 12:30+00', 'new', 8)",
        "DELETE FROM mill.vibration WHERE machine = 'press' AND at < '2024-01-05 00:00+00'",
        "UPDATE mill.vibration SET machine = 'lathe' WHERE machine = 'saw' AND at >= '2024-03-10 00:00+00'",
        "SELECT gemba.maintain_partitions()",
        "TRUNCATE mill.vibration_p20240301",
    ] {
        client.batch_execute(change)?;
        written(&mut client);
        expect_exact(&mut client);
        assert_eq!(written(&mut client), "0", "{change}");
    }
    expect_sound(&mut client)
}
