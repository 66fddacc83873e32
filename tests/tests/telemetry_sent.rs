//! Files from clients that have no access to the server's: COPY of raw lines, then an import of what was sent.

mod telemetry_support;

use anyhow::Result;
use gemba_tests::{as_user, expect_sqlstate, extended};
use postgres::{Client, GenericClient, Transaction};
use std::io::Write as _;
use telemetry_support::*;

/// Raw lines: a delimiter and a quote that no text has, and an empty line is one.
const COPY: &str = "COPY telemetry.import_lines (line) FROM STDIN
    WITH (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02', FORCE_NOT_NULL (line))";

/// Sends a text as it is.
fn send(client: &mut impl GenericClient, text: &[u8]) -> Result<u64> {
    let mut copy = client.copy_in(COPY)?;
    copy.write_all(text)?;
    Ok(copy.finish()?)
}

fn service(client: &mut Client) -> Result<()> {
    client.batch_execute("SET ROLE service_role")?;
    Ok(())
}

/// What an import has made of a file: rows, sensors, rejects and the run, without ids and times.
fn outcome(client: &mut Client) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for sql in [
        "SELECT \"timestamp\", sensor_id, floor_number, equipment_type, reading_value, unit, status
           FROM telemetry.sensor_readings ORDER BY sensor_id, \"timestamp\"",
        "SELECT sensor_id, floor_number, zone, device, equipment_type, unit, source, sample_interval
           FROM telemetry.sensors ORDER BY sensor_id",
        "SELECT file, line, column_name, reason, raw FROM telemetry.import_rejects ORDER BY id",
        "SELECT file, checksum, bytes, sensors, rows_read, readings, inserted, duplicates, suspect, rejected,
                first_reading, last_reading FROM telemetry.import_runs ORDER BY id",
    ] {
        all.extend(rows(client, sql)?);
    }
    Ok(all)
}

#[test]
fn sent_lines_end_as_the_file_would() -> Result<()> {
    let by_path = extended("by_path")?;
    let dir = folder(&by_path, "data")?;
    slice(&dir, "2018-09-11", "2018-09-12", &[1])?;
    let whole = std::fs::read_to_string(dir.join("2018Floor1.csv"))?;
    let mut text: String = whole.lines().take(700).map(|l| format!("{l}\n")).collect();
    text += "2,,,\n\n2018-09-11 23:00:00,\"1.5\",x,\"a\nb\"\n\n";
    put(&dir, "2018Floor1.csv", &text)?;
    let mut client = by_path.connect()?;
    let want_report = import(&mut client, &dir)?;
    assert_eq!(want_report[0].rejected, 3);
    let want = outcome(&mut client)?;

    // Each statement for itself.
    let db = extended("autocommit")?;
    let mut client = db.connect()?;
    service(&mut client)?;
    assert_eq!(
        send(&mut client, text.as_bytes())?,
        text.lines().count() as u64
    );
    let report = import_as(&mut client, "import_uploaded('2018Floor1.csv')")?;
    assert_eq!(report, want_report);
    assert_eq!(count(&mut client, "telemetry.import_lines")?, 0);
    assert_eq!(outcome(&mut db.connect()?)?, want);
    // Nothing is left to import again.
    let error = expect_sqlstate(
        import_as(&mut client, "import_uploaded('2018Floor1.csv')"),
        "22P04",
    );
    assert!(error.hint().is_some());
    // Once more changes nothing.
    send(&mut client, text.as_bytes())?;
    let again = import_as(&mut client, "import_uploaded('2018Floor1.csv')")?.remove(0);
    assert_eq!((again.inserted, again.duplicates), (0, again.readings));

    // All in one transaction, as PostgREST and pools do.
    let db = extended("one_transaction")?;
    let mut client = db.connect()?;
    let report = as_user(
        &mut client,
        "service_role",
        None,
        |tx: &mut Transaction<'_>| {
            let mut copy = tx.copy_in(COPY)?;
            copy.write_all(text.as_bytes()).expect("sent");
            copy.finish()?;
            import_as(tx, "import_uploaded('2018Floor1.csv')")
        },
    )?;
    assert_eq!(report, want_report);
    let mut client = db.connect()?;
    assert_eq!(count(&mut client, "telemetry.import_lines")?, 0);
    assert_eq!(outcome(&mut client)?, want);
    Ok(())
}

#[test]
fn more_lines_than_are_fetched_at_once() -> Result<()> {
    let db = extended("many_lines")?;
    let mut client = db.connect()?;
    service(&mut client)?;
    let mut text = String::from("Date,z1_Light(kW)\n");
    for second in 0..25_000 {
        text += &format!(
            "2018-07-01 {:02}:{:02}:{:02},{second}\n",
            second / 3600,
            second / 60 % 60,
            second % 60
        );
    }
    send(&mut client, text.as_bytes())?;
    let report = import_as(&mut client, "import_uploaded('2018Floor1.csv', 4)")?.remove(0);
    assert_eq!((report.rows_read, report.inserted), (25_000, 25_000));
    assert_eq!(
        rows(
            &mut client,
            "SELECT count(*), sum(reading_value), count(DISTINCT \"timestamp\"), min(floor_number) FROM telemetry.sensor_readings"
        )?,
        ["(25000,312487500.0000,25000,4)"]
    );
    Ok(())
}

#[test]
fn the_options_are_those_of_the_path_version() -> Result<()> {
    let db = extended("sent_options")?;
    let mut client = db.connect()?;
    service(&mut client)?;
    let text = b"\xef\xbb\xbfwhen,Power\r\n1/2/18 00:00,1\r\n2/2/18 00:00,2\r\n";
    send(&mut client, text)?;
    let error = expect_sqlstate(import_as(&mut client, "import_uploaded('m.csv')"), "22P04");
    assert!(
        error.detail().unwrap_or_default().contains("date order"),
        "{error:?}"
    );
    // The failed import took nothing away.
    assert_eq!(count(&mut client, "telemetry.import_lines")?, 3);
    let report = import_as(
        &mut client,
        "import_uploaded('m.csv', floor_number => 3, time_zone => 'Europe/Berlin', date_order => 'mdy', sensor_prefix => 'p')",
    )?;
    assert_eq!(report[0].counts(), (1, 2, 2, 2, 0, 0, 0));
    assert_eq!(
        readings_in(&mut client, "Europe/Berlin")?,
        [
            "(p.Power,\"2018-01-02 00:00:00\",1.0000,normal)",
            "(p.Power,\"2018-02-02 00:00:00\",2.0000,normal)"
        ]
    );
    Ok(())
}

#[test]
fn another_sessions_lines_are_neither_taken_nor_lost() -> Result<()> {
    let db = extended("two_senders")?;
    let (mut one, mut two) = (db.connect()?, db.connect()?);
    service(&mut one)?;
    service(&mut two)?;
    send(&mut one, b"Date,z1_Light(kW)\n2018-07-01 00:00:00,1\n")?;
    expect_sqlstate(
        import_as(&mut two, "import_uploaded('2018Floor2.csv')"),
        "22P04",
    );
    send(&mut two, b"Date,z1_Plug(kW)\n2018-07-01 00:00:00,2\n")?;
    // Interleaved, too.
    send(&mut one, b"2018-07-01 00:01:00,3\n")?;
    assert_eq!(
        import_as(&mut two, "import_uploaded('2018Floor2.csv')")?[0].inserted,
        1
    );
    assert_eq!(count(&mut one, "telemetry.import_lines")?, 3);
    assert_eq!(
        import_as(&mut one, "import_uploaded('2018Floor1.csv')")?[0].inserted,
        2
    );
    assert_eq!(
        readings(&mut one)?,
        [
            "(F1.z1.Light.kW,\"2018-07-01 00:00:00\",1.0000,normal)",
            "(F1.z1.Light.kW,\"2018-07-01 00:01:00\",3.0000,normal)",
            "(F2.z1.Plug.kW,\"2018-07-01 00:00:00\",2.0000,normal)",
        ]
    );
    // Nobody sends in another session's name, unless no policy applies to them at all.
    let name = db.role("sender")?;
    let mut admin = db.connect()?;
    admin.batch_execute(&format!(
        "GRANT service_role TO \"{name}\"; ALTER ROLE \"{name}\" INHERIT NOBYPASSRLS"
    ))?;
    send(&mut one, b"mine\n")?;
    let mut guest = db.connect_as(&name)?;
    assert_eq!(
        count(&mut guest, "telemetry.import_lines")?,
        0,
        "sees another session's lines"
    );
    expect_sqlstate(
        guest.execute(
            "INSERT INTO telemetry.import_lines (session, line) SELECT 'other', 'x'",
            &[],
        ),
        "42501",
    );
    Ok(())
}

/// A member of service_role that is itself bound by policies: COPY FROM is refused by PostgreSQL, INSERT is not.
#[test]
fn a_member_of_service_role_sends_by_insert() -> Result<()> {
    let db = extended("sender")?;
    let name = db.role("member")?;
    let mut admin = db.connect()?;
    admin.batch_execute(&format!(
        "GRANT service_role TO \"{name}\"; ALTER ROLE \"{name}\" INHERIT NOBYPASSRLS"
    ))?;
    let mut copying = db.connect_as(&name)?;
    expect_sqlstate(
        copying.copy_in(COPY).and_then(|copy| copy.finish()),
        "0A000",
    );
    let mut member = db.connect_as(&name)?;
    member.execute(
        "INSERT INTO telemetry.import_lines (line) SELECT unnest(ARRAY['Date,z1_Light(kW)', '2018-07-01 00:00:00,1'])",
        &[],
    )?;
    assert_eq!(
        import_as(&mut member, "import_uploaded('2018Floor1.csv')")?[0].inserted,
        1
    );
    assert_eq!(count(&mut admin, "telemetry.import_lines")?, 0);
    Ok(())
}

#[test]
fn lines_that_nobody_came_back_for_go_after_a_day() -> Result<()> {
    let db = extended("stale_lines")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "INSERT INTO telemetry.import_lines (session, line, sent_at) VALUES
           ('gone', 'old', now() - interval '25 hours'), ('there', 'young', now() - interval '23 hours')",
    )?;
    send(&mut client, b"Date,z1_Light(kW)\n2018-07-01 00:00:00,1\n")?;
    import_as(&mut client, "import_uploaded('2018Floor1.csv')")?;
    assert_eq!(
        rows(&mut client, "SELECT line FROM telemetry.import_lines")?,
        ["(young)"]
    );
    Ok(())
}
