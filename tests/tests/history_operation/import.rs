//! Imports into months that are closed: segments from the start, and the same readings as by the ordinary way.

use super::telemetry_support::*;
use super::*;
use gemba_tests::{expect_sqlstate, extended};
use std::path::Path;

/// Two databases: one where closed months become segments, and one where nothing is compressed.
struct Twins {
    names: String,
    one: (Database<'static>, Client),
    other: (Database<'static>, Client),
}

fn twins(name: &str) -> Result<Twins> {
    let (one, other) = (extended(name)?, extended(&format!("{name}_twin"))?);
    let mut client = one.connect()?;
    let mut plain = other.connect()?;
    for table in ["sensor_readings", "hourly_aggregates", "daily_aggregates"] {
        plain.batch_execute(&format!(
            "SELECT gemba.stop_compressing('telemetry.{table}')"
        ))?;
    }
    client.batch_execute("SELECT 1")?;
    Ok(Twins {
        names: name.to_owned(),
        one: (one, client),
        other: (other, plain),
    })
}

/// Everything but the ids, which the two ways give differently.
const READINGS: &str = "SELECT count(*) || ' ' || coalesce(md5(string_agg(concat_ws('|', \"timestamp\", sensor_id, floor_number, equipment_type,
           coalesce(reading_value::text, 'NULL'), unit, status), E'\\n' ORDER BY sensor_id, \"timestamp\")), '-')
      FROM telemetry.sensor_readings";

impl Twins {
    /// Imports the same into both, which have to answer alike and hold the same afterwards.
    #[track_caller]
    fn import(&mut self, path: &Path) -> Result<Vec<Report>> {
        let said = import(&mut self.one.1, path)?;
        assert_eq!(said, import(&mut self.other.1, path)?, "{}", self.names);
        self.expect_same()?;
        Ok(said)
    }

    #[track_caller]
    fn expect_same(&mut self) -> Result<()> {
        for sql in [
            READINGS,
            "SELECT string_agg(concat_ws('|', file, bytes, checksum, sensors, rows_read, readings, inserted, duplicates, suspect, rejected,
                                         first_reading, last_reading), E'\\n' ORDER BY id) FROM telemetry.import_runs",
            "SELECT string_agg(concat_ws('|', file, line, column_name, reason, raw), E'\\n' ORDER BY run_id, line, id) FROM telemetry.import_rejects",
            "SELECT count(DISTINCT id) = count(*) AND count(id) = count(*) FROM telemetry.sensor_readings",
        ] {
            let found = one(&mut self.one.1, sql)?;
            assert_eq!(found, one(&mut self.other.1, sql)?, "{}: {sql}", self.names);
        }
        for client in [&mut self.one.1, &mut self.other.1] {
            client.batch_execute("SELECT gemba.refresh_rollups()")?;
            expect_exact_aggregates(client)?;
        }
        let sound = table(&mut self.one.1, "SELECT * FROM gemba.verify_history()");
        assert_eq!(sound, Vec::<String>::new());
        assert_eq!(
            value(&mut self.other.1, "SELECT count(*) FROM pg_foreign_table"),
            "0"
        );
        Ok(())
    }

    /// Compressed partitions of readings: rows in segments, and late ones.
    fn compressed(&mut self) -> Vec<String> {
        table(
            &mut self.one.1,
            "SELECT partition, rows - late_rows, late_rows FROM gemba.history
              WHERE parent = 'telemetry.sensor_readings'::regclass ORDER BY 1",
        )
    }
}

#[test]
fn a_slice_of_cu_bems_is_the_same_as_by_the_ordinary_way() -> Result<()> {
    let mut twins = twins("import_slice")?;
    let dir = folder(&twins.one.0, "data")?;
    slice(&dir, "2018-12-29", "2019-01-03", &[1, 6])?;
    let reports = twins.import(&dir)?;
    assert!(reports.iter().map(|r| r.suspect).sum::<i64>() >= 0);
    let inserted: i64 = reports.iter().map(|r| r.inserted).sum();
    let compressed = twins.compressed();
    assert_eq!(compressed.len(), 2, "{compressed:?}");
    assert!(
        compressed.iter().all(|line| line.ends_with("| 0")),
        "{compressed:?}"
    );
    assert_eq!(
        value(
            &mut twins.one.1,
            "SELECT sum(rows) FROM gemba.history WHERE parent = 'telemetry.sensor_readings'::regclass"
        ),
        inserted.to_string()
    );
    // Again: all of it is there.
    for report in twins.import(&dir)? {
        assert_eq!((report.inserted, report.duplicates), (0, report.readings));
    }
    assert_eq!(twins.compressed(), compressed);
    Ok(())
}

/// Gaps, readings that are no numbers, suspects, times that repeat and go back, columns without any reading, and one
/// line more at a time for what is there already.
#[test]
fn odd_files_are_the_same_as_by_the_ordinary_way() -> Result<()> {
    let mut twins = twins("import_odd")?;
    let dir = folder(&twins.one.0, "data")?;
    let mut text = String::from("Date,z1_Light(kW),z1_Plug(kW),z2_AC1(kW),z2_S1(degC)\n");
    for minute in 0..3_000 {
        let value = |channel: i32| match (minute * 7 + channel * 13) % 29 {
            0 => String::new(),
            1 => "NaN".to_owned(),
            2 => "-1".to_owned(),
            3 => "999999.9999".to_owned(),
            n => format!("{}.{:02}", n * channel, minute % 100),
        };
        text += &format!(
            "2018-07-{:02} {:02}:{:02}:00,{},{},,{}\n",
            1 + minute / 1440,
            minute / 60 % 24,
            minute % 60,
            value(1),
            value(2),
            value(3)
        );
        if minute % 500 == 499 {
            // Back by an hour and a half, the same again, and something that is no time.
            let hour = minute / 60 % 24;
            text += &format!(
                "2018-07-{:02} {hour:02}:00:00,5,6,7,20\n2018-07-{:02} {hour:02}:00:30,5,6,,\n2018-07-{:02} {hour:02}:00:30,6,6,,\nyesterday,1,2,3,4\n",
                1 + minute / 1440,
                1 + minute / 1440,
                1 + minute / 1440
            );
        }
    }
    // The month ends in the middle of the file, with its last and the next one's first instant.
    text += "2018-07-31 23:59:59,1,2,3,4\n2018-08-01 00:00:00,1,2,3,4\n2018-08-01 00:00:01,,,,\n";
    let file = put(&dir, "2018Floor2.csv", &text)?;
    let report = twins.import(&file)?.remove(0);
    assert!(
        report.duplicates > 0 && report.suspect > 0 && report.rejected > 0,
        "{report:?}"
    );
    assert_eq!(twins.compressed().len(), 2);

    // The same readings and more in a second file; and two files with the same in one import.
    let more = text.replace(
        "2018-08-01 00:00:01,,,,",
        "2018-08-01 00:00:01,1,,,\n2018-09-03 12:00:00,1,1,1,21",
    );
    put(&dir, "2018Floor2.csv", &more)?;
    let report = twins.import(&file)?.remove(0);
    assert_eq!(report.inserted, 5, "{report:?}");
    assert_eq!(twins.compressed().len(), 3);
    let both = folder(&twins.one.0, "both")?;
    let later = "Date,z1_Light(kW)\n2018-10-01 10:00:00,1\n2018-10-01 10:01:00,2\n";
    put(&both, "2018Floor4.csv", later)?;
    let copies = folder(&twins.one.0, "both/again")?;
    put(&copies, "2018Floor4.csv", later)?;
    twins.import(&both)?;
    twins.import(&copies)?;
    assert_eq!(
        value(
            &mut twins.one.1,
            "SELECT count(*) FROM telemetry.sensor_readings WHERE floor_number = 4"
        ),
        "2"
    );

    // What came late is merged.
    twins
        .one
        .1
        .batch_execute("SELECT gemba.maintain_partitions()")?;
    assert!(
        twins.compressed().iter().all(|line| line.ends_with("| 0")),
        "{:?}",
        twins.compressed()
    );
    twins.expect_same()
}

/// Halves of a month, one after the other; and a month whose partition is an ordinary one already.
#[test]
fn months_that_are_partly_there_are_filled() -> Result<()> {
    let mut twins = twins("import_partly")?;
    let dir = folder(&twins.one.0, "data")?;
    let day = |day: u32| -> Result<std::path::PathBuf> {
        let mut text = String::from("Date,z1_Light(kW),z3_Plug(kW)\n");
        for minute in 0..1_440 {
            text += &format!(
                "2018-07-{day:02} {:02}:{:02}:00,{}.5,{minute}\n",
                minute / 60,
                minute % 60,
                minute % 7
            );
        }
        put(&dir, "2018Floor5.csv", text)
    };
    for number in [9, 11, 10, 9] {
        let report = twins.import(&day(number)?)?.remove(0);
        assert_eq!(report.readings, 2_880);
    }
    assert_eq!(twins.compressed().len(), 1);
    for client in [&mut twins.one.1, &mut twins.other.1] {
        client.batch_execute(
            "SELECT gemba.ensure_partitions('telemetry.sensor_readings', '2018-08-01 00:00+07', '2018-09-01 00:00+07')",
        )?;
    }
    let august = put(
        &dir,
        "2018Floor5.csv",
        "Date,z1_Light(kW)\n2018-08-05 00:00:00,1\n2018-08-04 00:00:00,2\n",
    )?;
    assert_eq!(twins.import(&august)?[0].inserted, 2);
    assert_eq!(
        twins.compressed().len(),
        1,
        "an ordinary partition stays one"
    );
    Ok(())
}

#[test]
fn an_error_in_the_middle_leaves_nothing() -> Result<()> {
    let db = extended("import_error")?;
    let mut client = db.connect()?;
    let dir = folder(&db, "data")?;
    slice(&dir, "2018-08-30", "2018-09-02", &[3])?;
    // The last file of the folder is refused.
    put(&dir, "2019Floor3.csv", "not,a,file\n")?;
    let before = state(&mut client)?;
    assert!(import(&mut client, &dir).is_err());
    assert_eq!(state(&mut client)?, before);
    assert_eq!(behind(&mut client), Vec::<String>::new());
    std::fs::remove_file(dir.join("2019Floor3.csv"))?;
    client.batch_execute("BEGIN")?;
    import(&mut client, &dir)?;
    client.batch_execute("ROLLBACK")?;
    assert_eq!(state(&mut client)?, before);
    assert_eq!(behind(&mut client), Vec::<String>::new());
    client.batch_execute("SET statement_timeout = '1ms'")?;
    expect_sqlstate(import(&mut client, &dir), "57014");
    client.batch_execute("RESET statement_timeout")?;
    assert_eq!(state(&mut client)?, before);
    assert_eq!(behind(&mut client), Vec::<String>::new());
    import(&mut client, &dir)?;
    assert_eq!(behind(&mut client).len(), 4);
    expect_sound(&mut client)
}

/// What a client sent line by line takes the same way.
#[test]
fn uploads_become_segments_too() -> Result<()> {
    let db = extended("import_uploaded")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "INSERT INTO telemetry.import_lines (line) VALUES ('Date,z1_Light(kW)'), ('2018-07-01 00:00:00,1.25'), ('2018-07-01 00:01:00,2')",
    )?;
    let reports = import_as(&mut client, "import_uploaded('2018Floor3.csv')")?;
    assert_eq!(reports[0].inserted, 2);
    assert_eq!(
        table(
            &mut client,
            "SELECT rows, late_rows FROM gemba.history WHERE parent = 'telemetry.sensor_readings'::regclass"
        ),
        ["2 | 0"]
    );
    assert_eq!(
        readings(&mut client)?,
        [
            r#"(F3.z1.Light.kW,"2018-07-01 00:00:00",1.2500,normal)"#,
            r#"(F3.z1.Light.kW,"2018-07-01 00:01:00",2.0000,normal)"#
        ]
    );
    Ok(())
}
