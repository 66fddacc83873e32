//! CSV import: what stands in the file stands in the table, and what cannot is said.

mod telemetry_support;

use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};
use std::path::PathBuf;
use telemetry_support::*;

// The data set -----------------------------------------------------------------------------------

#[test]
fn a_slice_of_cu_bems_is_the_same_in_the_table() -> Result<()> {
    let db = extended("cu_bems")?;
    let dir = folder(&db, "data")?;
    let made = slice(&dir, "2018-12-30", "2019-01-03", &[1, 2, 6])?;
    let (mut client, notices) = db.connect_noting()?;
    let reports = import(&mut client, &dir)?;

    let names: Vec<&str> = reports.iter().map(|r| r.file.as_str()).collect();
    assert_eq!(
        names,
        [
            "2018Floor1.csv",
            "2018Floor2.csv",
            "2018Floor6.csv",
            "2019Floor1.csv",
            "2019Floor2.csv",
            "2019Floor6.csv"
        ]
    );
    let (mut all, mut columns) = (Vec::new(), Vec::new());
    for (report, (name, summary)) in reports.iter().zip(&made) {
        let (file_columns, readings) = said(&dir.join(name))?;
        assert_eq!(summary.readings, readings.len() as u64, "{name}");
        let suspect = readings.iter().filter(|r| r.status == "suspect").count() as i64;
        let want = (
            file_columns.len() as i32,
            summary.rows as i64,
            summary.readings as i64,
            summary.readings as i64,
            0,
            suspect,
            0,
        );
        assert_eq!(report.counts(), want, "{name}");
        all.extend(readings);
        if name.starts_with("2018") {
            columns.push((name.clone(), file_columns));
        }
    }
    assert!(all.len() > 200_000, "{} readings only", all.len());
    expect_readings(&mut client, &all)?;
    expect_sealed_partitions(&mut client)?;

    // Sensors, the entirely empty ones too.
    for (name, columns) in &columns {
        let floor: i32 = name[9..10].parse()?;
        for column in columns {
            let row = client.query_one(
                "SELECT floor_number, zone, device, unit, equipment_type, source, sample_interval = interval '1 minute', in_sample
                   FROM telemetry.sensors WHERE sensor_id = $1",
                &[&column.sensor],
            )?;
            assert_eq!(row.get::<_, i32>(0), floor);
            assert_eq!(row.get::<_, Option<i32>>(1), Some(column.zone));
            assert_eq!(
                row.get::<_, Option<String>>(2).as_ref(),
                Some(&column.device)
            );
            assert_eq!(row.get::<_, Option<String>>(3).as_ref(), Some(&column.unit));
            assert_eq!(row.get::<_, Option<&str>>(4), Some(column.equipment));
            assert_eq!(
                row.get::<_, Option<String>>(5).as_ref(),
                Some(&column.header)
            );
            assert!(row.get::<_, bool>(6));
            assert!(!row.get::<_, bool>(7));
        }
    }
    let known: usize = columns.iter().map(|(_, columns)| columns.len()).sum();
    assert_eq!(count(&mut client, "telemetry.sensors")?, known as i64);

    // The year turns at the site's midnight.
    assert_eq!(
        rows(
            &mut client,
            "SELECT to_char(from_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS starts, estimated_rows > 0 AS analyzed
               FROM gemba.partitions WHERE parent = 'telemetry.sensor_readings'::regclass AND to_time < '2020-01-01' ORDER BY 1"
        )?,
        [r#"("2018-11-30 17:00",t)"#, r#"("2018-12-31 17:00",t)"#]
    );

    // What was done is on record, file by file and in order.
    let runs = client.query(
        "SELECT file, bytes, checksum, sensors, rows_read, readings, inserted, duplicates, suspect, rejected,
                first_reading::text, last_reading::text, imported_by, finished_at >= started_at
           FROM telemetry.import_runs ORDER BY id",
        &[],
    )?;
    assert_eq!(runs.len(), reports.len());
    for (run, report) in runs.iter().zip(&reports) {
        assert_eq!(run.get::<_, &str>(0), report.file);
        let path = dir.join(&report.file);
        assert_eq!(run.get::<_, i64>(1), std::fs::metadata(&path)?.len() as i64);
        let sum = client.query_one(
            "SELECT encode(sha256(pg_read_binary_file($1)), 'hex')",
            &[&path.display().to_string()],
        )?;
        assert_eq!(run.get::<_, &str>(2), sum.get::<_, &str>(0));
        let counts: (i32, i64, i64, i64, i64, i64, i64) = (
            run.get(3),
            run.get(4),
            run.get(5),
            run.get(6),
            run.get(7),
            run.get(8),
            run.get(9),
        );
        assert_eq!(counts, report.counts());
        assert_eq!(run.get::<_, &str>(12), "postgres");
        assert!(run.get::<_, bool>(13));
    }
    assert_eq!(runs[0].get::<_, &str>(10), "2018-12-29 17:00:00+00");
    assert_eq!(runs[0].get::<_, &str>(11), "2018-12-31 16:59:00+00");
    assert_eq!(runs[3].get::<_, &str>(10), "2018-12-31 17:00:00+00");

    let told = notices.take();
    for report in &reports {
        assert!(
            told.iter().any(|n| n.message().contains(&report.file)),
            "no notice of {}: {told:?}",
            report.file
        );
    }
    assert!(told.iter().all(|n| n.severity() == "NOTICE"), "{told:?}");
    Ok(())
}

#[test]
fn local_midnight_is_the_instant_that_it_is_in_bangkok() -> Result<()> {
    let db = extended("midnight")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    let text = "Date,z1_Light(kW)\n2018-07-01 00:00:00,1.25\n";
    import(&mut client, &put(&dir, "2018Floor3.csv", text)?)?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT sensor_id, \"timestamp\" AT TIME ZONE 'UTC', reading_value FROM telemetry.sensor_readings"
        )?,
        [r#"(F3.z1.Light.kW,"2018-06-30 17:00:00",1.2500)"#]
    );
    let error = expect_sqlstate(
        import_as(&mut client, &call(&dir, ", time_zone => 'Asia/Atlantis'")),
        "22023",
    );
    let told = format!("{} {}", error.message(), error.detail().unwrap_or_default());
    assert!(told.contains("Atlantis"), "{error:?}");
    // The session's own zone and date style say nothing about files.
    client.batch_execute("SET timezone = 'America/New_York'; SET datestyle = 'German, DMY'")?;
    let again = import(&mut client, &dir)?;
    assert_eq!(again[0].counts(), (1, 1, 1, 0, 1, 0, 0));
    Ok(())
}

#[test]
fn spikes_are_kept_and_marked() -> Result<()> {
    let db = extended("spikes")?;
    let dir = folder(&db, "data")?;
    slice(&dir, "2018-09-11", "2018-09-12", &[1])?;
    let mut client = db.connect()?;
    let reports = import(&mut client, &dir)?;
    let (_, all) = said(&dir.join("2018Floor1.csv"))?;
    let odd: Vec<_> = all.iter().filter(|r| r.status == "suspect").collect();
    assert!(odd.len() >= 2, "the file has no spikes");
    assert_eq!(reports[0].suspect, odd.len() as i64);
    expect_readings(&mut client, &all)?;
    for (sensor, at, value) in [
        ("F1.z3.Light.kW", "2018-09-11 09:54+07", "4762.4300"),
        ("F1.z4.Light.kW", "2018-09-11 09:55+07", "512.0100"),
    ] {
        let kept = rows(
            &mut client,
            &format!(
                "SELECT reading_value, status FROM telemetry.sensor_readings
                  WHERE sensor_id = '{sensor}' AND \"timestamp\" = '{at}'"
            ),
        )?;
        assert_eq!(kept, [format!("({value},suspect)")]);
    }

    // What is plausible is the user's to say.
    client.batch_execute(
        "UPDATE telemetry.plausible_ranges SET max_value = 5000 WHERE unit = 'kW';
         DELETE FROM telemetry.plausible_ranges WHERE unit <> 'kW';
         DELETE FROM telemetry.sensor_readings",
    )?;
    assert_eq!(import(&mut client, &dir)?[0].suspect, 0);
    Ok(())
}

#[test]
fn the_broken_last_row_is_rejected() -> Result<()> {
    let db = extended("broken_tail")?;
    let dir = folder(&db, "data")?;
    let made = slice(&dir, "2019-10-22", "2019-10-24", &[6])?;
    let (columns, all) = said(&dir.join("2019Floor6.csv"))?;
    let mut client = db.connect()?;
    let report = import(&mut client, &dir)?.remove(0);
    assert_eq!(made[0].1.rejects_expected, 1);
    assert_eq!((report.rows_read, report.rejected), (808, 1));
    expect_readings(&mut client, &all)?;
    let raw = format!("2{}", ",".repeat(columns.len()));
    assert_eq!(
        rejects(&mut client)?,
        [(
            810,
            Some("Date".into()),
            "not a local timestamp".into(),
            raw
        )]
    );
    assert_eq!(
        one(
            &mut client,
            "SELECT max(\"timestamp\") AT TIME ZONE 'Asia/Bangkok' FROM telemetry.sensor_readings"
        )?,
        "2019-10-22 13:27:00"
    );
    assert_eq!(
        one(
            &mut client,
            "SELECT r.file || ' ' || (u.rejected = 1) FROM telemetry.import_rejects r JOIN telemetry.import_runs u ON u.id = r.run_id"
        )?,
        "2019Floor6.csv true"
    );
    Ok(())
}

// Paths ------------------------------------------------------------------------------------------

const SMALL: &str = "Date,z1_Light(kW)\n2018-07-01 00:00:00,1\n";

#[test]
fn a_path_is_a_file_a_folder_or_a_pattern() -> Result<()> {
    let db = extended("paths")?;
    let dir = folder(&db, "da[t]a *?")?;
    let mut client = db.connect()?;
    for (name, text) in [
        ("2019Floor2.csv", SMALL.replace("2018-07", "2019-07")),
        ("2018Floor2.csv", SMALL.to_owned()),
        ("2018Floor10.CSV", SMALL.to_owned()),
        ("2018Floor1.csv", SMALL.to_owned()),
        ("notes.txt", "no CSV at all".into()),
        ("2018Floor3.csv.gz", "\u{1f}binary".into()),
    ] {
        put(&dir, name, text)?;
    }
    std::fs::create_dir(dir.join("2018Floor4.csv"))?;
    put(&dir.join("2018Floor4.csv"), "2018Floor5.csv", SMALL)?;
    let mut names = |path: PathBuf| -> Result<Vec<String>> {
        let mut session = client.transaction()?;
        let reports = import(&mut session, &path)?;
        let runs: Vec<String> = session
            .query("SELECT file FROM telemetry.import_runs ORDER BY id", &[])?
            .iter()
            .map(|row| row.get(0))
            .collect();
        let names: Vec<String> = reports.into_iter().map(|r| r.file).collect();
        assert_eq!(runs, names);
        Ok(names)
    };
    // Brackets and blanks in a real path are no pattern.
    assert_eq!(names(dir.join("2018Floor2.csv"))?, ["2018Floor2.csv"]);
    let all = [
        "2018Floor1.csv",
        "2018Floor10.CSV",
        "2018Floor2.csv",
        "2019Floor2.csv",
    ];
    assert_eq!(names(dir.clone())?, all);
    assert_eq!(names(PathBuf::from(format!("{}/", dir.display())))?, all);
    let plain = folder(&db, "plain")?;
    for name in ["2018Floor1.csv", "2018Floor2.csv", "2019Floor2.csv"] {
        std::fs::copy(dir.join(name), plain.join(name))?;
    }
    assert_eq!(
        names(plain.join("2018*"))?,
        ["2018Floor1.csv", "2018Floor2.csv"]
    );
    assert_eq!(
        names(plain.join("201?Floor[2-9].csv"))?,
        ["2018Floor2.csv", "2019Floor2.csv"]
    );

    let before = state(&mut client)?;
    for nothing in [
        plain.join("none.csv"),
        plain.join("x*.csv"),
        folder(&db, "empty")?,
    ] {
        let error = expect_sqlstate(import(&mut client, &nothing), "58P01");
        assert!(
            error
                .detail()
                .unwrap_or_default()
                .contains(&db.name().to_owned()),
            "{error:?}"
        );
        assert!(error.hint().is_some(), "{error:?}");
    }
    let error = expect_sqlstate(import(&mut client, &plain.join("[")), "22023");
    assert!(error.hint().is_some(), "{error:?}");
    assert_eq!(state(&mut client)?, before);
    Ok(())
}

#[test]
fn an_unreadable_file_is_an_error_and_not_skipped() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let db = extended("unreadable")?;
    let dir = folder(&db, "data")?;
    put(&dir, "2018Floor1.csv", SMALL)?;
    let closed = put(&dir, "2018Floor2.csv", SMALL)?;
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000))?;
    let mut client = db.connect()?;
    let before = state(&mut client)?;
    let error = import(&mut client, &dir).expect_err("the file is closed to the server");
    let error = error.as_db_error().expect("an error of the server");
    let detail = error.detail().unwrap_or_default();
    assert!(
        detail.contains("2018Floor2.csv") && detail.contains("denied"),
        "{error:?}"
    );
    assert_eq!(state(&mut client)?, before);
    Ok(())
}

#[test]
fn floor_and_prefix_given_win_over_the_file_name() -> Result<()> {
    let db = extended("floors")?;
    let dir = folder(&db, "data")?;
    let path = put(&dir, "2018Floor3.csv", SMALL)?;
    let other = put(
        &dir,
        "meter_2016-01.csv",
        "timestamp,Total power (kW),Floor4\n2016-01-01 00:00,1,2\n",
    )?;
    let mut client = db.connect()?;
    import_as(&mut client, &call(&path, ", 5"))?;
    import(&mut client, &path)?;
    import_as(
        &mut client,
        &call(&other, ", floor_number => 2, sensor_prefix => 'site7'"),
    )?;
    import(&mut client, &other)?;
    // A floor that the header itself names belongs to the column.
    assert_eq!(
        rows(
            &mut client,
            "SELECT sensor_id, floor_number, device, unit, equipment_type FROM telemetry.sensors ORDER BY sensor_id"
        )?,
        [
            "(F3.z1.Light.kW,3,Light,kW,lighting)",
            "(F5.z1.Light.kW,5,Light,kW,lighting)",
            "(meter.Floor4,4,Floor4,,electrical)",
            "(meter.Total_power,0,\"Total power\",kW,electrical)",
            "(site7.Floor4,4,Floor4,,electrical)",
            "(site7.Total_power,2,\"Total power\",kW,electrical)",
        ]
    );
    assert_eq!(
        rows(&mut client, "SELECT DISTINCT s.sensor_id FROM telemetry.sensors s JOIN telemetry.sensor_readings r USING (sensor_id)
                            WHERE (s.floor_number, s.equipment_type, s.unit) IS NOT DISTINCT FROM (r.floor_number, r.equipment_type, r.unit)")?.len(),
        6
    );
    // A sensor that is known stays as somebody has edited it.
    client.batch_execute("UPDATE telemetry.sensors SET zone = 9, device = 'north' WHERE sensor_id = 'F3.z1.Light.kW'")?;
    import(
        &mut client,
        &put(&dir, "2018Floor3.csv", SMALL.replace("07-01", "07-02"))?,
    )?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT zone, device FROM telemetry.sensors WHERE sensor_id = 'F3.z1.Light.kW'"
        )?,
        ["(9,north)"]
    );
    Ok(())
}

// Anomalies --------------------------------------------------------------------------------------

#[test]
fn what_cannot_be_read_is_rejected_with_its_place_and_reason() -> Result<()> {
    let db = extended("rejects")?;
    let dir = folder(&db, "data")?;
    let text = [
        "Date,z1_Light(kW),z1_Plug(kW)",                // 1
        "2018-07-01 00:00:00,1.5,2.5",                  // 2
        "2018-07-01 00:01:00,,NaN",                     // 3: both missing
        "2018-07-01 00:02:00,abc,3",                    // 4
        "2018-07-01 00:03:00,1,2,3",                    // 5
        "2018-02-30 00:04:00,1,2",                      // 6
        "yesterday,1,2",                                // 7
        "",                                             // 8
        "2018-07-01 00:05:00,999999.9999,-999999.9999", // 9
        "2018-07-01 00:06:00,1000000,-1000000",         // 10
        "2018-07-01 00:07:00,999999.99996,1e5",         // 11
        "2018-07-01 00:08:00,1.00005,-0.00004",         // 12
        "2018-07-01 00:09:00,Infinity,-inf",            // 13
        "2018-07-01 00:10:00,7",                        // 14: one field too few
        "2018-07-01 00:11:00, 8 ,\t9 ",                 // 15
        "2018-07-01 00:12:00,12 kW,0x1F",               // 16
        "2018-07-01 00:13:00,\"1,5\",NULL",             // 17
        "2018-07-01 25:00:00,1,2",                      // 18
        "2018-07-01 00:14:00+07,1,2",                   // 19
        ",1,2",                                         // 20
        "2018-07-01 00:15:00,+4,.5",                    // 21
        "2018-07-01 00:16:00,na,-",                     // 22
        "2",                                            // 23
    ]
    .join("\n");
    let mut client = db.connect()?;
    let report = import(&mut client, &put(&dir, "2018Floor1.csv", text)?)?.remove(0);
    assert_eq!(
        readings(&mut client)?,
        [
            "(F1.z1.Light.kW,\"2018-07-01 00:00:00\",1.5000,normal)",
            "(F1.z1.Light.kW,\"2018-07-01 00:05:00\",999999.9999,suspect)",
            "(F1.z1.Light.kW,\"2018-07-01 00:08:00\",1.0001,normal)",
            "(F1.z1.Light.kW,\"2018-07-01 00:10:00\",7.0000,normal)",
            "(F1.z1.Light.kW,\"2018-07-01 00:11:00\",8.0000,normal)",
            "(F1.z1.Light.kW,\"2018-07-01 00:15:00\",4.0000,normal)",
            "(F1.z1.Plug.kW,\"2018-07-01 00:00:00\",2.5000,normal)",
            "(F1.z1.Plug.kW,\"2018-07-01 00:02:00\",3.0000,normal)",
            "(F1.z1.Plug.kW,\"2018-07-01 00:05:00\",-999999.9999,suspect)",
            "(F1.z1.Plug.kW,\"2018-07-01 00:07:00\",100000.0000,suspect)",
            "(F1.z1.Plug.kW,\"2018-07-01 00:08:00\",0.0000,normal)",
            "(F1.z1.Plug.kW,\"2018-07-01 00:11:00\",9.0000,normal)",
            "(F1.z1.Plug.kW,\"2018-07-01 00:15:00\",0.5000,normal)",
        ]
    );
    let light = Some("z1_Light(kW)".to_owned());
    let plug = Some("z1_Plug(kW)".to_owned());
    let date = Some("Date".to_owned());
    let (number, range, time) = (
        "not a number",
        "out of range for numeric(10,4)",
        "not a local timestamp",
    );
    let want: Vec<(i64, Option<String>, String, String)> = [
        (4, &light, number, "abc"),
        (
            5,
            &None,
            "more fields than the header",
            "2018-07-01 00:03:00,1,2,3",
        ),
        (6, &date, time, "2018-02-30 00:04:00,1,2"),
        (7, &date, time, "yesterday,1,2"),
        (10, &light, range, "1000000"),
        (10, &plug, range, "-1000000"),
        (11, &light, range, "999999.99996"),
        (13, &light, range, "Infinity"),
        (13, &plug, range, "-inf"),
        (16, &light, number, "12 kW"),
        (16, &plug, number, "0x1F"),
        (17, &light, number, "1,5"),
        (18, &date, time, "2018-07-01 25:00:00,1,2"),
        (19, &date, time, "2018-07-01 00:14:00+07,1,2"),
        (20, &date, time, ",1,2"),
        (23, &date, time, "2"),
    ]
    .into_iter()
    .map(|(line, column, reason, raw)| (line, column.clone(), reason.to_owned(), raw.to_owned()))
    .collect();
    assert_eq!(rejects(&mut client)?, want);
    // Rows that were taken; a row of which a cell was refused is one of them.
    assert_eq!(report.counts(), (2, 14, 13, 13, 0, 3, want.len() as i64));
    assert_eq!(
        one(
            &mut client,
            "SELECT string_agg(DISTINCT file, ',') FROM telemetry.import_rejects"
        )?,
        "2018Floor1.csv"
    );
    Ok(())
}

#[test]
fn every_dress_of_a_file_is_the_same_file() -> Result<()> {
    let plain =
        "Date,z1_Light(kW),z1_S1(RH%)\n2018-07-01 00:00:00,1.5,60\n2018-07-01 00:01:00,2.5,61\n";
    let quoted = "\"Date\",\"z1_Light(kW)\",\"z1_S1(RH%)\"\n\"2018-07-01 00:00:00\",\"1.5\",\"60\"\n\"2018-07-01 00:01:00\",2.5,\"61\"\n";
    let want = [
        "(F1.z1.Light.kW,\"2018-07-01 00:00:00\",1.5000,normal)",
        "(F1.z1.Light.kW,\"2018-07-01 00:01:00\",2.5000,normal)",
        "(F1.z1.S1.RH,\"2018-07-01 00:00:00\",60.0000,normal)",
        "(F1.z1.S1.RH,\"2018-07-01 00:01:00\",61.0000,normal)",
    ];
    let db = extended("dress")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    for (dress, text) in [
        ("plain", plain.to_owned()),
        ("no line end at the end", plain.trim_end().to_owned()),
        ("CRLF", plain.replace('\n', "\r\n")),
        ("BOM", format!("\u{feff}{plain}")),
        (
            "BOM and CRLF",
            format!("\u{feff}{}", plain.replace('\n', "\r\n")),
        ),
        ("quoted", quoted.to_owned()),
        (
            "BOM, quoted, CRLF",
            format!("\u{feff}{}", quoted.replace('\n', "\r\n")),
        ),
        (
            "blank lines",
            format!("\n\n{}\n  \n", plain.replace('\n', "\n\r\n")),
        ),
        ("blanks", plain.replace(',', " , ").replace('\n', "  \n")),
        ("T", plain.replace(" 00:", "T00:")),
        (
            "day/month/year",
            plain
                .replace("2018-07-01", "13/07/2018")
                .replace("00:00", "00")
                .replace("01:00", "01"),
        ),
        (
            "day/month/year with order",
            plain.replace("2018-07-01", "1/7/2018"),
        ),
        (
            "month/day/year with order",
            plain.replace("2018-07-01", "7/1/18"),
        ),
        (
            "day.month.year with order",
            plain.replace("2018-07-01", "1.7.2018"),
        ),
        ("order said needlessly", plain.to_owned()),
    ] {
        let path = put(&dir, "2018Floor1.csv", text)?;
        let order = match dress {
            _ if !dress.contains("order") => "",
            _ if dress.starts_with("month") => ", date_order => 'mdy'",
            _ => ", date_order => 'DMY'",
        };
        let mut session = client.transaction()?;
        let report = import_as(&mut session, &call(&path, order))
            .map_err(|error| anyhow::anyhow!("{dress}: {error:?}"))?
            .remove(0);
        assert_eq!(report.counts(), (2, 2, 4, 4, 0, 0, 0), "{dress}");
        let found: Vec<String> = readings(&mut session)?
            .iter()
            .map(|row| row.replace("2018-07-13", "2018-07-01"))
            .collect();
        assert_eq!(found, want, "{dress}");
        session.rollback()?;
    }
    Ok(())
}

/// Text that no text type can hold must not get into one.
#[test]
fn bytes_that_are_no_text_cost_their_cell_only() -> Result<()> {
    let db = extended("bytes")?;
    let dir = folder(&db, "data")?;
    let mut text =
        b"Date,z1_Light(kW),caf\xe9 (kW),odd\0name(kW)\n2018-07-01 00:00:00,1,2,3\n".to_vec();
    text.extend(
        b"2018-07-01 00:01:00,\xff\xfe,1\0,4\n\0\0\0,1,2,3\n2018-07-01 00:02:00,5,6,7\n\x1a",
    );
    let mut client = db.connect()?;
    let path = put(&dir, "2018Floor1.csv", &text)?;
    let report = import(&mut client, &path)?.remove(0);
    assert_eq!(report.counts(), (3, 3, 7, 7, 0, 0, 4));
    assert_eq!(
        rejects(&mut client)?
            .into_iter()
            .map(|(line, _, reason, raw)| (line, reason, raw))
            .collect::<Vec<_>>(),
        [
            (3, "not a number".to_owned(), "\u{fffd}\u{fffd}".to_owned()),
            (3, "not a number".to_owned(), "1\u{fffd}".to_owned()),
            (
                4,
                "not a local timestamp".to_owned(),
                "\u{fffd}\u{fffd}\u{fffd},1,2,3".to_owned()
            ),
            (6, "not a local timestamp".to_owned(), "\u{1a}".to_owned()),
        ]
    );
    // No text in the table holds a byte that PostgreSQL would not have let in.
    for (table, columns) in [
        (
            "telemetry.sensors",
            "sensor_id || device || source || coalesce(unit, '')",
        ),
        (
            "telemetry.sensor_readings",
            "sensor_id || coalesce(unit, '')",
        ),
        (
            "telemetry.import_rejects",
            "raw || coalesce(column_name, '')",
        ),
    ] {
        let bad = count(
            &mut client,
            &format!(
                "{table} WHERE position('\\x00'::bytea IN convert_to({columns}, 'SQL_ASCII')) > 0"
            ),
        )?;
        assert_eq!(bad, 0, "NUL in {table}");
        let held = rows(&mut client, &format!("SELECT {columns} FROM {table}"))?;
        assert!(!held.is_empty());
    }
    Ok(())
}

#[test]
fn other_formats_load_too() -> Result<()> {
    let db = extended("formats")?;
    let dir = folder(&db, "data")?;
    // Date and time in two columns, month first, two-digit years: only the thirteenth tells.
    let mut power = String::from("date,time,Power\n");
    for day in 1..=14 {
        for minute in 0..3 {
            power += &format!("1/{day}/16,0:{minute:02},{}\n", day * 10 + minute);
        }
    }
    put(&dir, "one_minute_power_2016-01.csv", power)?;
    // BOM, no name for the time, M/D/YY H:MM, blank cells.
    let mut hourly = String::from("\u{feff},Floor1,Floor2\n");
    for hour in 0..48 {
        let second = if hour == 5 {
            String::new()
        } else {
            format!("{}.123456789", hour)
        };
        hourly += &format!(
            "7/{}/18 {}:00,9.334166667,{second}\n",
            hour / 24 + 1,
            hour % 24
        );
    }
    put(&dir, "cham5_floor_hourly_2018-07_2019-06.csv", hourly)?;
    let mut client = db.connect()?;
    let reports = import(&mut client, &dir)?;
    assert_eq!(reports[0].counts(), (2, 48, 95, 95, 0, 0, 0));
    assert_eq!(reports[1].counts(), (1, 42, 42, 42, 0, 0, 0));
    assert_eq!(
        rows(
            &mut client,
            "SELECT sensor_id, floor_number, equipment_type, sample_interval FROM telemetry.sensors ORDER BY 1"
        )?,
        [
            "(cham5_floor_hourly.Floor1,1,electrical,01:00:00)",
            "(cham5_floor_hourly.Floor2,2,electrical,01:00:00)",
            "(one_minute_power.Power,0,electrical,00:01:00)",
        ]
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT sensor_id, min(\"timestamp\") AT TIME ZONE 'Asia/Bangkok', max(\"timestamp\") AT TIME ZONE 'Asia/Bangkok',
                    min(reading_value), max(reading_value)
               FROM telemetry.sensor_readings GROUP BY sensor_id ORDER BY 1"
        )?,
        [
            "(cham5_floor_hourly.Floor1,\"2018-07-01 00:00:00\",\"2018-07-02 23:00:00\",9.3342,9.3342)",
            "(cham5_floor_hourly.Floor2,\"2018-07-01 00:00:00\",\"2018-07-02 23:00:00\",0.1235,47.1235)",
            "(one_minute_power.Power,\"2016-01-01 00:00:00\",\"2016-01-14 00:02:00\",10.0000,142.0000)",
        ]
    );
    Ok(())
}

/// The real files, where they are at hand.
#[test]
fn the_shared_data_loads() -> Result<()> {
    let Some(shared) = std::env::var_os("GEMBA_SHARED_DATA").filter(|dir| !dir.is_empty()) else {
        eprintln!(
            "SKIPPED the_shared_data_loads: GEMBA_SHARED_DATA names no folder with the real files"
        );
        return Ok(());
    };
    let db = extended("shared_data")?;
    let dir = folder(&db, "data")?;
    for name in [
        "cham5_floor_hourly_2018-07_2019-06.csv",
        "one_minute_power_2016-01.csv",
    ] {
        std::fs::write(
            dir.join(name),
            std::fs::read(PathBuf::from(&shared).join(name))?,
        )?;
    }
    let mut client = db.connect()?;
    let reports = import(&mut client, &dir)?;
    let cham = &reports[0];
    assert_eq!(
        (cham.sensors, cham.rows_read, cham.readings, cham.inserted),
        (7, 8_760, 61_310, 61_310)
    );
    assert_eq!((cham.duplicates, cham.rejected), (0, 0));
    let power = &reports[1];
    assert_eq!(
        (power.sensors, power.rows_read, power.rejected),
        (1, 41_470, 0)
    );
    assert_eq!(power.inserted + power.duplicates, power.readings);
    assert_eq!(
        rows(&mut client, "SELECT \"timestamp\" AT TIME ZONE 'Asia/Bangkok', reading_value FROM telemetry.sensor_readings
                            WHERE sensor_id = 'cham5_floor_hourly.Floor4' ORDER BY 1 LIMIT 1")?,
        ["(\"2018-07-01 00:00:00\",9.8314)"]
    );
    client.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut client)?;
    let before = state(&mut client)?;
    let again = import(&mut client, &dir)?;
    assert!(
        again
            .iter()
            .all(|r| r.inserted == 0 && r.duplicates == r.readings)
    );
    let readings_of = |state: &str| state.lines().next().map(str::to_owned);
    assert_eq!(readings_of(&state(&mut client)?), readings_of(&before));
    Ok(())
}

#[test]
fn a_file_that_is_none_is_refused_whole() -> Result<()> {
    let db = extended("no_file")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    let before = state(&mut client)?;
    let unclosed = format!(
        "Date,z1_Light(kW)\n2018-07-01 00:00:00,1\n2018-07-01 00:01:00,\"2\n{}",
        "x,1\n".repeat(400_000)
    );
    for (text, says) in [
        ("", "empty"),
        ("\n  \n\r\n", "empty"),
        ("\u{feff}", "empty"),
        ("a,b\n1,2\n", "no time column"),
        ("a,b\n", "no time column"),
        ("Date\n2018-07-01 00:00:00\n", "no data column"),
        ("Date,time\n2018-07-01,00:00\n", "no data column"),
        ("Date,x(kW),x(kW)\n2018-07-01 00:00:00,1,2\n", "twice"),
        ("Date,a b,a_b\n2018-07-01 00:00:00,1,2\n", "a_b"),
        (
            "Date,z1_S1(RH%),z1_S1(RH)\n2018-07-01 00:00:00,1,2\n",
            "z1_S1(RH)",
        ),
        ("Date,x\n1/2/18,1\n2/2/18,2\n", "date order"),
        (unclosed.as_str(), "quote"),
    ] {
        let path = put(&dir, "2018Floor1.csv", text)?;
        let shown: String = text.chars().take(60).collect();
        let error = expect_sqlstate(import(&mut client, &path), "22P04");
        let detail = error.detail().unwrap_or_default();
        assert!(
            detail.contains("2018Floor1.csv") && detail.contains(says),
            "{shown:?}: {error:?}"
        );
        assert!(error.hint().is_some(), "{shown:?}: {error:?}");
        assert_eq!(state(&mut client)?, before, "{shown:?}");
    }
    // The order can be said; what is no order cannot.
    let path = put(&dir, "x.csv", "Date,x\n1/2/18,1\n2/2/18,2\n")?;
    let error = expect_sqlstate(
        import_as(&mut client, &call(&path, ", date_order => 'ydm'")),
        "22023",
    );
    assert!(
        error.hint().unwrap_or_default().contains("dmy"),
        "{error:?}"
    );
    import_as(&mut client, &call(&path, ", date_order => 'mdy'"))?;
    assert_eq!(
        readings(&mut client)?,
        [
            "(x.x,\"2018-01-02 00:00:00\",1.0000,normal)",
            "(x.x,\"2018-02-02 00:00:00\",2.0000,normal)"
        ]
    );
    Ok(())
}

#[test]
fn a_header_alone_is_an_empty_file() -> Result<()> {
    let db = extended("header_only")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    let partitions = count(&mut client, "gemba.partitions")?;
    let report = import(
        &mut client,
        &put(&dir, "2018Floor1.csv", "Date,z1_Light(kW)\n")?,
    )?
    .remove(0);
    assert_eq!(report.counts(), (1, 0, 0, 0, 0, 0, 0));
    assert_eq!(
        rows(
            &mut client,
            "SELECT file, rows_read, first_reading, last_reading FROM telemetry.import_runs"
        )?,
        ["(2018Floor1.csv,0,,)"]
    );
    // Nothing but rejects, and nothing but missing values.
    let report = import(
        &mut client,
        &put(&dir, "2018Floor1.csv", "Date,z1_Light(kW)\n2,\n2,\n")?,
    )?
    .remove(0);
    assert_eq!(report.counts(), (1, 0, 0, 0, 0, 0, 2));
    let report = import(
        &mut client,
        &put(
            &dir,
            "2018Floor1.csv",
            "Date,z1_Light(kW)\n2018-07-01,\n2018-07-02,NaN\n",
        )?,
    )?
    .remove(0);
    assert_eq!(report.counts(), (1, 2, 0, 0, 0, 0, 0));
    assert_eq!(count(&mut client, "telemetry.sensor_readings")?, 0);
    assert!(count(&mut client, "gemba.partitions")? - partitions <= 1);
    Ok(())
}

#[test]
fn more_rejects_than_a_block_holds_all_arrive() -> Result<()> {
    let db = extended("many_rejects")?;
    let dir = folder(&db, "data")?;
    let mut text = String::from("Date,z1_Light(kW)\n");
    for line in 0..25_000 {
        text += &format!(
            "2018-07-01 {:02}:{:02}:{:02},bad{line}\n",
            line / 3600,
            line / 60 % 60,
            line % 60
        );
    }
    let mut client = db.connect()?;
    let report = import(&mut client, &put(&dir, "2018Floor1.csv", text)?)?.remove(0);
    assert_eq!(
        (report.rows_read, report.readings, report.rejected),
        (25_000, 0, 25_000)
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT count(*), min(line), max(line), count(DISTINCT line),
                                  bool_and(raw = 'bad' || line - 2) FROM telemetry.import_rejects"
        )?,
        ["(25000,2,25001,25000,t)"]
    );
    Ok(())
}

#[test]
fn the_ends_of_the_calendar_are_no_trap() -> Result<()> {
    let db = extended("calendar")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    let text = "Date,x\n0999-12-31 23:59:59.999999,2\n1969-12-31 23:59:00,3\n\
                2000-01-01 00:00:00,4\n2000-02-29 12:00:00,5\n9999-12-31 23:59:00,6\n";
    let path = put(&dir, "x.csv", text)?;
    let report = import(&mut client, &path)?.remove(0);
    // Years that no meter has seen may be kept or rejected; the others are kept.
    assert_eq!(report.inserted + report.rejected, 5);
    assert_eq!(rejects(&mut client)?.len() as i64, report.rejected);
    let kept = rows(
        &mut client,
        "SELECT to_char(\"timestamp\" AT TIME ZONE 'Asia/Bangkok', 'YYYY-MM-DD HH24:MI:SS.US'), reading_value
           FROM telemetry.sensor_readings ORDER BY \"timestamp\"",
    )?;
    let all = [
        "(\"0999-12-31 23:59:59.999999\",2.0000)",
        "(\"1969-12-31 23:59:00.000000\",3.0000)",
        "(\"2000-01-01 00:00:00.000000\",4.0000)",
        "(\"2000-02-29 12:00:00.000000\",5.0000)",
        "(\"9999-12-31 23:59:00.000000\",6.0000)",
    ];
    assert!(
        all[1..4].iter().all(|row| kept.iter().any(|k| k == row)),
        "{kept:?}"
    );
    assert!(
        kept.iter().all(|row| all.contains(&row.as_str())),
        "{kept:?}"
    );
    expect_sealed_partitions(&mut client)?;
    client.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut client)?;
    assert_eq!(import(&mut client, &path)?[0].duplicates, kept.len() as i64);
    Ok(())
}

/// What some systems write for "no date". Kept or rejected, but it must not cost the file.
#[test]
fn the_first_day_of_all_costs_its_row_at_most() -> Result<()> {
    let db = extended("first_day")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    let text = "Date,x\n0001-01-01 00:00:00,1\n2018-07-01 00:00:00,2\n";
    let report = import(&mut client, &put(&dir, "x.csv", text)?)?.remove(0);
    assert_eq!(report.inserted + report.rejected, 2);
    for (line, _, reason, raw) in rejects(&mut client)? {
        assert_eq!((line, reason.as_str()), (2, "not a local timestamp"));
        assert!(raw.contains("0001-01-01"), "{raw:?}");
    }
    assert_eq!(
        readings(&mut client)?.last().map(String::as_str),
        Some("(x.x,\"2018-07-01 00:00:00\",2.0000,normal)")
    );
    client.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut client)
}

/// Names and units of any length: the columns have limits, and rows written past the executor keep to them too.
#[test]
fn long_names_and_units_fit_their_columns() -> Result<()> {
    let db = extended("long_names")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    let (name, unit) = ("n".repeat(300), "ü".repeat(64));
    let text = |day: u8| {
        format!("Date,{name}1({unit}),{name}2({unit}),é(°C)\n2018-07-{day:02} 00:00:00,1,2,3\n")
    };
    // Into a new month, then into one that exists.
    for day in [1, 2] {
        let report = import(&mut client, &put(&dir, "meter.csv", text(day))?)?.remove(0);
        assert_eq!(report.counts(), (3, 1, 3, 3, 0, 0, 0));
    }
    assert_eq!(
        rows(
            &mut client,
            "SELECT count(*), count(DISTINCT sensor_id), max(octet_length(sensor_id)), max(length(device)), max(length(unit)) FROM telemetry.sensors"
        )?,
        ["(3,3,50,100,20)"]
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT DISTINCT r.unit = s.unit, length(r.unit) <= 20 FROM telemetry.sensor_readings r JOIN telemetry.sensors s USING (sensor_id)"
        )?,
        ["(t,t)"]
    );
    // As a dump would: out and in again.
    client.batch_execute(
        "CREATE TABLE public.copy (LIKE telemetry.sensor_readings);
         INSERT INTO public.copy SELECT id, \"timestamp\", sensor_id::text, floor_number, equipment_type::text, reading_value, unit::text, status::text
           FROM telemetry.sensor_readings",
    )?;
    Ok(())
}
