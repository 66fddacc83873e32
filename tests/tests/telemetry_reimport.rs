//! Imports upon imports: nothing twice, nothing lost, nothing left behind, and nobody's rules passed by.

mod telemetry_support;

use anyhow::{Context, Result};
use gemba_tests::{Cluster, Database, Random, as_user, expect_sqlstate, extended};
use postgres::{Client, Error};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::thread::{JoinHandle, spawn};
use telemetry_support::*;

/// A file of one sensor: a reading a minute from a local time on.
fn minutes(day: &str, from: u32, to: u32) -> String {
    let mut text = String::from("Date,z1_Light(kW)\n");
    for minute in from..to {
        text += &format!("{day} {:02}:{:02}:00,{minute}\n", minute / 60, minute % 60);
    }
    text
}

/// An import in a session of its own; its answer or its error, as text.
fn in_background(
    mut client: Client,
    call: String,
) -> JoinHandle<Result<(Vec<Report>, Client), Error>> {
    spawn(move || {
        let reports = import_as(&mut client, &call)?;
        Ok((reports, client))
    })
}

fn join<T>(handle: JoinHandle<T>) -> Result<T> {
    handle
        .join()
        .map_err(|_| anyhow::anyhow!("the thread panicked"))
}

// Again ------------------------------------------------------------------------------------------

#[test]
fn a_second_import_changes_nothing() -> Result<()> {
    let db = extended("again")?;
    let dir = folder(&db, "data")?;
    slice(&dir, "2018-12-31", "2019-01-02", &[1, 7])?;
    let mut client = db.connect()?;
    let first = import(&mut client, &dir)?;
    client.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut client)?;
    let before = state(&mut client)?;
    let second = import(&mut client, &dir)?;
    for (a, b) in first.iter().zip(&second) {
        assert!(a.readings > 0 && a.inserted == a.readings);
        assert_eq!(
            (b.readings, b.inserted, b.duplicates, b.suspect),
            (a.readings, 0, a.readings, a.suspect)
        );
    }
    let after = state(&mut client)?;
    for part in [
        "readings",
        "sensors",
        "rejects",
        "changes",
        "relations",
        "temporary",
    ] {
        let line = |text: &str| {
            text.lines()
                .find(|l| l.starts_with(part))
                .map(str::to_owned)
        };
        assert_eq!(line(&after), line(&before), "{part}");
    }
    assert_eq!(
        count(&mut client, "telemetry.import_runs")?,
        2 * first.len() as i64
    );
    // The files are the same, and the runs say so.
    assert_eq!(
        count(
            &mut client,
            "(SELECT checksum FROM telemetry.import_runs GROUP BY 1 HAVING count(*) = 2) q"
        )?,
        first.len() as i64
    );
    client.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut client)
}

#[test]
fn an_overlapping_file_adds_what_is_new() -> Result<()> {
    let db = extended("overlap")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    import(
        &mut client,
        &put(&dir, "2018Floor1.csv", minutes("2018-07-31", 1_000, 1_400))?,
    )?;
    let kept = rows(
        &mut client,
        "SELECT * FROM telemetry.sensor_readings ORDER BY \"timestamp\"",
    )?;
    // Reaches back, into the next month, and says other values for what is known.
    let mut text = minutes("2018-07-31", 900, 1_440).replace(",1", ",7");
    text += &minutes("2018-08-01", 0, 100)
        .lines()
        .skip(1)
        .map(|l| format!("{l}\n"))
        .collect::<String>();
    let report = import(&mut client, &put(&dir, "2018Floor1.csv", text)?)?.remove(0);
    assert_eq!(report.counts(), (1, 640, 640, 240, 400, report.suspect, 0));
    let now = rows(
        &mut client,
        "SELECT * FROM telemetry.sensor_readings WHERE \"timestamp\" >= '2018-07-31 16:40+07' AND \"timestamp\" < '2018-07-31 23:20+07' ORDER BY \"timestamp\"",
    )?;
    assert_eq!(now, kept, "what was there has to stay as it was");
    assert_eq!(count(&mut client, "telemetry.sensor_readings")?, 640);
    assert_eq!(
        count(
            &mut client,
            "(SELECT DISTINCT id FROM telemetry.sensor_readings) q"
        )?,
        640,
        "ids are unique"
    );
    client.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut client)
}

#[test]
fn repeated_and_backward_times_within_a_file() -> Result<()> {
    let text = "Date,z1_Light(kW),z1_Plug(kW)\n\
        2018-07-01 00:00:00,1,10\n\
        2018-07-01 00:01:00,2,\n\
        2018-07-01 00:01:00,3,30\n\
        2018-07-01 00:03:00,4,40\n\
        2018-07-01 00:02:00,5,50\n\
        2018-08-01 00:00:00,6,60\n\
        2018-07-01 00:04:00,7,70\n\
        2018-07-01 00:00:00,8,80\n\
        2018-06-30 23:59:00,9,90\n\
        2018-08-01 00:00:00,10,100\n";
    let want = [
        "(F1.z1.Light.kW,\"2018-06-30 23:59:00\",9.0000,normal)",
        "(F1.z1.Light.kW,\"2018-07-01 00:00:00\",1.0000,normal)",
        "(F1.z1.Light.kW,\"2018-07-01 00:01:00\",2.0000,normal)",
        "(F1.z1.Light.kW,\"2018-07-01 00:02:00\",5.0000,normal)",
        "(F1.z1.Light.kW,\"2018-07-01 00:03:00\",4.0000,normal)",
        "(F1.z1.Light.kW,\"2018-07-01 00:04:00\",7.0000,normal)",
        "(F1.z1.Light.kW,\"2018-08-01 00:00:00\",6.0000,normal)",
        "(F1.z1.Plug.kW,\"2018-06-30 23:59:00\",90.0000,normal)",
        "(F1.z1.Plug.kW,\"2018-07-01 00:00:00\",10.0000,normal)",
        "(F1.z1.Plug.kW,\"2018-07-01 00:01:00\",30.0000,normal)",
        "(F1.z1.Plug.kW,\"2018-07-01 00:02:00\",50.0000,normal)",
        "(F1.z1.Plug.kW,\"2018-07-01 00:03:00\",40.0000,normal)",
        "(F1.z1.Plug.kW,\"2018-07-01 00:04:00\",70.0000,normal)",
        "(F1.z1.Plug.kW,\"2018-08-01 00:00:00\",60.0000,normal)",
    ];
    // The months are new, or the middle one exists, or all do.
    for (name, ready) in [
        ("new", ""),
        (
            "one",
            "SELECT telemetry.ensure_partitions('2018-07-02', '2018-07-03')",
        ),
        (
            "all",
            "SELECT telemetry.ensure_partitions('2018-06-02', '2018-08-03')",
        ),
    ] {
        let db = extended(&format!("backward_{name}"))?;
        let dir = folder(&db, "data")?;
        let mut client = db.connect()?;
        client.batch_execute(ready)?;
        let report = import(&mut client, &put(&dir, "2018Floor1.csv", text)?)?.remove(0);
        assert_eq!(report.counts(), (2, 10, 19, 14, 5, 0, 0), "{name}");
        assert_eq!(readings(&mut client)?, want, "{name}");
        client.batch_execute("SELECT telemetry.refresh()")?;
        expect_exact_aggregates(&mut client)?;
    }
    Ok(())
}

#[test]
fn the_same_data_in_two_files_of_one_folder() -> Result<()> {
    let db = extended("two_files")?;
    let dir = folder(&db, "data")?;
    put(&dir, "b_Floor1.csv", minutes("2018-07-01", 0, 600))?;
    put(&dir, "a_Floor1.csv", minutes("2018-07-01", 300, 900))?;
    put(&dir, "c_Floor1.csv", minutes("2018-06-30", 0, 10))?;
    put(&dir, "d_Floor1.csv", minutes("2018-07-01", 0, 900))?;
    let mut client = db.connect()?;
    let reports = import(&mut client, &dir)?;
    let told: Vec<_> = reports
        .iter()
        .map(|r| (r.readings, r.inserted, r.duplicates))
        .collect();
    assert_eq!(
        told,
        [(600, 600, 0), (600, 300, 300), (10, 10, 0), (900, 0, 900)]
    );
    assert_eq!(count(&mut client, "telemetry.sensor_readings")?, 910);
    assert_eq!(
        rows(
            &mut client,
            "SELECT readings, inserted, duplicates FROM telemetry.import_runs ORDER BY id"
        )?,
        ["(600,600,0)", "(600,300,300)", "(10,10,0)", "(900,0,900)"]
    );
    Ok(())
}

/// The clocks: an hour that is skipped and one that comes twice. No row may vanish without being counted, and
/// no sensor may have two readings for one instant.
#[test]
fn clock_changes_lose_nothing_silently() -> Result<()> {
    let db = extended("clocks")?;
    let dir = folder(&db, "data")?;
    let mut text = String::from("timestamp,x(kW)\n");
    let mut want = 0;
    let mut day = |date: &str, hours: &[u32]| {
        for (number, hour) in hours.iter().enumerate() {
            for minute in (0..60).step_by(10) {
                text += &format!("{date} {hour:02}:{minute:02},{}\n", number + 1);
                want += 1;
            }
        }
    };
    let plain: Vec<u32> = (0..24).collect();
    let mut twice = plain.clone();
    twice.insert(3, 2);
    day("2018-03-24", &plain);
    day("2018-03-25", &plain); // 02:00 does not exist
    day("2018-10-27", &plain);
    day("2018-10-28", &twice); // 02:00 comes twice
    day("2018-10-29", &plain);
    let path = put(&dir, "meter.csv", &text)?;
    let mut client = db.connect()?;
    let report = import_as(&mut client, &call(&path, ", time_zone => 'Europe/Berlin'"))?.remove(0);
    assert_eq!(
        (report.rows_read, report.readings, report.rejected),
        (want, want, 0)
    );
    assert_eq!(report.inserted + report.duplicates, want);
    // The six that never were, and the second six of those that were twice.
    assert_eq!(report.duplicates, 12);
    assert_eq!(count(&mut client, "telemetry.sensor_readings")?, want - 12);
    assert_eq!(
        count(
            &mut client,
            "(SELECT sensor_id, \"timestamp\" FROM telemetry.sensor_readings GROUP BY 1, 2 HAVING count(*) > 1) q"
        )?,
        0
    );
    // Everything else stands where the zone's rules put it.
    assert_eq!(
        rows(
            &mut client,
            "SELECT \"timestamp\" AT TIME ZONE 'UTC' AS at, reading_value FROM telemetry.sensor_readings
              WHERE \"timestamp\" IN ('2018-03-25 01:50+01', '2018-03-25 03:00+02', '2018-10-28 01:50+02', '2018-10-28 03:00+01')
              ORDER BY 1"
        )?,
        [
            "(\"2018-03-25 00:50:00\",2.0000)",
            "(\"2018-03-25 01:00:00\",3.0000)",
            "(\"2018-10-27 23:50:00\",2.0000)",
            "(\"2018-10-28 02:00:00\",5.0000)",
        ]
    );
    let again = import_as(&mut client, &call(&path, ", time_zone => 'Europe/Berlin'"))?.remove(0);
    assert_eq!((again.inserted, again.duplicates), (0, want));
    Ok(())
}

#[test]
fn rows_inserted_by_hand_stay() -> Result<()> {
    let db = extended("by_hand")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "SELECT telemetry.ensure_partitions('2018-07-05', '2018-07-06');
         INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
           VALUES ('2018-07-01 00:05+07', 'F1.z1.Light.kW', 1, 77), ('2018-07-01 00:05+07', 'another', 1, 78)",
    )?;
    let hand =
        "SELECT * FROM telemetry.sensor_readings WHERE reading_value IN (77, 78) ORDER BY id";
    let before = rows(&mut client, hand)?;
    let report = import(
        &mut client,
        &put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 60))?,
    )?
    .remove(0);
    assert_eq!((report.inserted, report.duplicates), (59, 1));
    assert_eq!(rows(&mut client, hand)?, before);
    // Numbers of rows by hand and by import never meet.
    client.batch_execute(
        "INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
           SELECT '2018-07-02'::timestamptz + n * interval '1 second', 'many', 1, n FROM generate_series(1, 1000) n",
    )?;
    import(
        &mut client,
        &put(&dir, "2018Floor1.csv", minutes("2018-08-02", 0, 60))?,
    )?;
    assert_eq!(
        count(
            &mut client,
            "(SELECT id FROM telemetry.sensor_readings GROUP BY 1 HAVING count(*) > 1) q"
        )?,
        0
    );
    Ok(())
}

// The user's own rules ---------------------------------------------------------------------------

#[test]
fn a_users_check_holds_in_new_and_old_months() -> Result<()> {
    let db = extended("user_check")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "ALTER TABLE telemetry.sensor_readings ADD CONSTRAINT small CHECK (reading_value < 50)",
    )?;
    let before = state(&mut client)?;
    let path = put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 51))?;
    let error = expect_sqlstate(import(&mut client, &path), "23514");
    assert!(error.message().contains("\"small\""), "{error:?}");
    assert_eq!(state(&mut client)?, before);
    let report = import(
        &mut client,
        &put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 50))?,
    )?
    .remove(0);
    assert_eq!((report.inserted, report.duplicates), (50, 0));
    expect_sealed_partitions(&mut client)?;
    expect_sqlstate(
        import(
            &mut client,
            &put(&dir, "2018Floor1.csv", minutes("2018-07-02", 0, 51))?,
        ),
        "23514",
    );
    client.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut client)
}

#[test]
fn a_users_not_null_holds() -> Result<()> {
    let db = extended("user_not_null")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "ALTER TABLE telemetry.sensor_readings ALTER COLUMN equipment_type SET NOT NULL",
    )?;
    let before = state(&mut client)?;
    // A header that tells no type of equipment.
    let path = put(&dir, "x.csv", "timestamp,state\n2018-07-01 00:00:00,1\n")?;
    let outcome = import(&mut client, &path);
    expect_sqlstate(outcome, "23502");
    assert_eq!(state(&mut client)?, before);
    Ok(())
}

/// A column's type may be changed where nothing depends on it. What is written then is of the new type.
#[test]
fn a_users_other_column_type_holds() -> Result<()> {
    // A cluster of its own: this must not take others down.
    let cluster = Cluster::new()?;
    let db = cluster.extended("user_type")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "DROP INDEX telemetry.sensor_readings_brin_idx;
         ALTER TABLE telemetry.sensor_readings ALTER COLUMN floor_number TYPE text",
    )?;
    import(
        &mut client,
        &put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 3))?,
    )?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT DISTINCT floor_number, pg_typeof(floor_number) FROM telemetry.sensor_readings"
        )?,
        ["(1,text)"]
    );
    Ok(())
}

#[test]
fn a_users_triggers_fire() -> Result<()> {
    let db = extended("user_trigger")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE FUNCTION public.halve() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF NEW.reading_value = 3 THEN RETURN NULL; END IF; NEW.reading_value := NEW.reading_value / 2; RETURN NEW; END $$;
         CREATE TRIGGER halve BEFORE INSERT ON telemetry.sensor_readings FOR EACH ROW EXECUTE FUNCTION public.halve()",
    )?;
    let report = import(
        &mut client,
        &put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 5))?,
    )?
    .remove(0);
    assert_eq!((report.readings, report.inserted), (5, 4));
    assert_eq!(
        rows(
            &mut client,
            "SELECT reading_value FROM telemetry.sensor_readings ORDER BY \"timestamp\""
        )?,
        ["(0.0000)", "(0.5000)", "(1.0000)", "(2.0000)"]
    );
    client.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut client)?;

    // A name that looks like the engine's own does not hide a trigger.
    let db = extended("user_trigger_name")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'P0001'; END $$;
         CREATE TRIGGER gemba_rollup_1_mine BEFORE INSERT ON telemetry.sensor_readings FOR EACH ROW EXECUTE FUNCTION public.refuse()",
    )?;
    expect_sqlstate(import(&mut client, &dir.join("2018Floor1.csv")), "P0001");
    Ok(())
}

#[test]
fn a_users_column_and_index_hold() -> Result<()> {
    let db = extended("user_column")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "ALTER TABLE telemetry.sensor_readings ADD COLUMN note text NOT NULL DEFAULT 'imported';
         CREATE UNIQUE INDEX one_a_minute ON telemetry.sensor_readings (\"timestamp\", floor_number)",
    )?;
    import(
        &mut client,
        &put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 5))?,
    )?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT DISTINCT note FROM telemetry.sensor_readings"
        )?,
        ["(imported)"]
    );

    // The index alone leaves the fast path; it is built with the partition and may refuse it.
    let db = extended("user_index")?;
    let mut client = db.connect()?;
    client.batch_execute("CREATE UNIQUE INDEX one_a_minute ON telemetry.sensor_readings (\"timestamp\", floor_number)")?;
    let before = state(&mut client)?;
    let path = put(
        &dir,
        "2018Floor2.csv",
        "Date,z1_Light(kW),z1_Plug(kW)\n2018-07-01 00:00:00,1,2\n",
    )?;
    expect_sqlstate(import(&mut client, &path), "23505");
    assert_eq!(state(&mut client)?, before);
    Ok(())
}

// All or nothing ---------------------------------------------------------------------------------

#[test]
fn a_rolled_back_import_leaves_nothing() -> Result<()> {
    let db = extended("rolled_back")?;
    let dir = folder(&db, "data")?;
    let path = put(&dir, "2018Floor1.csv", minutes("2018-07-31", 1_000, 1_440))?;
    let next = put(&dir, "2018Floor2.csv", minutes("2018-07-31", 1_000, 1_440))?;
    let mut client = db.connect()?;
    let before = state(&mut client)?;
    let mut outer = client.transaction()?;
    let mut inner = outer.savepoint("here")?;
    import(&mut inner, &path)?;
    assert_eq!(count(&mut inner, "telemetry.sensor_readings")?, 440);
    inner.rollback()?;
    assert_eq!(count(&mut outer, "telemetry.sensor_readings")?, 0);
    outer.commit()?;
    let without_changes = |text: &str| -> String {
        text.lines()
            .filter(|l| !l.starts_with("changes"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    // A range too many to refresh is allowed; nothing else is.
    assert_eq!(
        without_changes(&state(&mut client)?),
        without_changes(&before)
    );

    // Rolled back to a savepoint, and on in the same transaction: also into the same month.
    let mut outer = client.transaction()?;
    let mut inner = outer.savepoint("here")?;
    import(&mut inner, &path)?;
    inner.rollback()?;
    let inner = outer.savepoint("here")?;
    inner.commit()?;
    assert_eq!(import(&mut outer, &next)?[0].inserted, 440);
    assert_eq!(import(&mut outer, &path)?[0].inserted, 440);
    assert_eq!(import(&mut outer, &path)?[0].duplicates, 440);
    outer.commit()?;
    assert_eq!(count(&mut client, "telemetry.sensor_readings")?, 880);
    client.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut client)?;

    // Caught in a block of PL/pgSQL.
    let before = state(&mut client)?;
    put(&dir, "2018Floor3.csv", minutes("2018-09-01", 0, 100))?;
    put(&dir, "2018Floor4.csv", "a,b\n1,2\n")?;
    client.batch_execute(&format!(
        "DO $$ BEGIN PERFORM telemetry.{}; RAISE EXCEPTION 'it came through'; EXCEPTION WHEN bad_copy_file_format THEN NULL; END $$",
        call(&dir, "")
    ))?;
    assert_eq!(
        without_changes(&state(&mut client)?),
        without_changes(&before)
    );
    Ok(())
}

#[test]
fn a_folder_with_a_broken_file_is_not_imported_at_all() -> Result<()> {
    let db = extended("broken_folder")?;
    let dir = folder(&db, "data")?;
    slice(&dir, "2018-07-31", "2018-08-02", &[1])?;
    put(
        &dir,
        "2018Floor2.csv",
        "Date,z1_Light(kW),z1_Light(kW)\n2018-07-01 00:00:00,1,2\n",
    )?;
    put(&dir, "2018Floor3.csv", minutes("2018-07-31", 0, 60))?;
    let mut client = db.connect()?;
    let before = state(&mut client)?;
    let error = expect_sqlstate(import(&mut client, &dir), "22P04");
    assert!(
        error
            .detail()
            .unwrap_or_default()
            .contains("2018Floor2.csv"),
        "{error:?}"
    );
    assert_eq!(state(&mut client)?, before);
    // Broken in the middle: rows of it were on their way already.
    let mut text = minutes("2018-07-31", 0, 600);
    text += "\"";
    text += &"x,\n".repeat(600_000);
    put(&dir, "2018Floor2.csv", text)?;
    let error = expect_sqlstate(import(&mut client, &dir), "22P04");
    assert!(
        error.detail().unwrap_or_default().contains("line 602"),
        "{error:?}"
    );
    assert_eq!(state(&mut client)?, before);
    // Mended, the same session imports all of it.
    put(&dir, "2018Floor2.csv", minutes("2018-07-31", 0, 60))?;
    assert_eq!(import(&mut client, &dir)?.len(), 3);
    Ok(())
}

#[test]
fn a_cancelled_import_leaves_nothing_and_a_usable_session() -> Result<()> {
    let db = extended("cancelled")?;
    let dir = folder(&db, "data")?;
    slice(&dir, "2018-07-01", "2018-08-05", &[4])?;
    let mut watcher = db.connect()?;
    let before = state(&mut watcher)?;
    let mut client = db.connect()?;
    let pid = pid(&mut client)?;
    let whole = call(&dir, "");
    let work = spawn(move || (import_as(&mut client, &whole), client));
    // It holds a new partition, which nobody else can see: it is in the middle of loading.
    until(
        &mut watcher,
        &format!(
            "SELECT EXISTS (SELECT FROM pg_locks l WHERE l.pid = {pid} AND l.mode = 'AccessExclusiveLock' AND l.locktype = 'relation'
                             AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = l.relation))"
        ),
    )?;
    assert!(
        watcher
            .query_one("SELECT pg_cancel_backend($1)", &[&pid])?
            .get::<_, bool>(0)
    );
    let (outcome, mut client) = join(work)?;
    expect_sqlstate(outcome, "57014");
    assert_eq!(state(&mut watcher)?, before);
    // The session works on, and imports.
    let small = folder(&db, "small")?;
    put(&small, "2018Floor4.csv", minutes("2018-07-01", 0, 10))?;
    assert_eq!(import(&mut client, &small)?[0].inserted, 10);

    // A session that is ended in the middle leaves nothing either.
    let before = state(&mut watcher)?;
    let mut client = db.connect()?;
    let pid = telemetry_support::pid(&mut client)?;
    let path = call(&dir, "");
    let work = spawn(move || import_as(&mut client, &path).map(|_| ()));
    until(
        &mut watcher,
        &format!("SELECT count(*) > 3 FROM pg_locks WHERE pid = {pid} AND locktype = 'relation'"),
    )?;
    watcher.query_one("SELECT pg_terminate_backend($1)", &[&pid])?;
    assert!(join(work)?.is_err());
    until(
        &mut watcher,
        &format!("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})"),
    )?;
    assert_eq!(state(&mut watcher)?, before);
    Ok(())
}

// Others at the same time ------------------------------------------------------------------------

/// A session that has begun an import and waits for a lock of another one, so that what follows happens
/// in the middle of it.
fn blocked_import(
    db: &Database<'_>,
    watcher: &mut Client,
    path: &Path,
) -> Result<JoinHandle<Result<(Vec<Report>, Client), Error>>> {
    let mut client = db.connect()?;
    let pid = pid(&mut client)?;
    let work = in_background(client, call(path, ""));
    until(
        watcher,
        &format!("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid = {pid})"),
    )?;
    Ok(work)
}

#[test]
fn two_imports_at_once_of_overlapping_data() -> Result<()> {
    let db = extended("two_imports")?;
    let (one_dir, two_dir) = (folder(&db, "one")?, folder(&db, "two")?);
    slice(&one_dir, "2018-12-31", "2019-01-02", &[1, 7])?;
    slice(&two_dir, "2018-12-30", "2019-01-02", &[7])?;
    let both = [
        in_background(db.connect()?, call(&one_dir, "")),
        in_background(db.connect()?, call(&two_dir, "")),
    ];
    let mut inserted = 0;
    let mut duplicates = 0;
    let mut readings = 0;
    for work in both {
        for report in join(work)??.0 {
            inserted += report.inserted;
            duplicates += report.duplicates;
            readings += report.readings;
        }
    }
    let mut client = db.connect()?;
    let mut all = Vec::new();
    for path in [
        one_dir.join("2018Floor1.csv"),
        one_dir.join("2019Floor1.csv"),
        two_dir.join("2018Floor7.csv"),
        two_dir.join("2019Floor7.csv"),
    ] {
        all.extend(said(&path)?.1);
    }
    expect_readings(&mut client, &all)?;
    assert_eq!(inserted, all.len() as i64);
    assert_eq!(inserted + duplicates, readings);
    assert!(duplicates > 0);
    client.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut client)
}

#[test]
fn readers_and_writers_go_on_during_an_import() -> Result<()> {
    let db = extended("meanwhile")?;
    let dir = folder(&db, "data")?;
    let mut watcher = db.connect()?;
    watcher.batch_execute("SELECT telemetry.ensure_partitions('2018-07-05', '2018-07-06')")?;
    let mut text = minutes("2018-07-31", 0, 1_440);
    text += &minutes("2018-08-01", 0, 60)
        .lines()
        .skip(1)
        .map(|l| format!("{l}\n"))
        .collect::<String>();
    let path = put(&dir, "2018Floor1.csv", text)?;

    // A reader in a long transaction, and a writer with a row that the file has too.
    let (mut reader, mut writer) = (db.connect()?, db.connect()?);
    let mut reading = reader.transaction()?;
    assert_eq!(count(&mut reading, "telemetry.sensor_readings")?, 0);
    let mut writing = writer.transaction()?;
    writing.batch_execute(
        "INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
           VALUES ('2018-07-31 12:00+07', 'F1.z1.Light.kW', 1, 99), ('2018-07-31 12:00+07', 'other', 1, 98)",
    )?;
    // The import gets as far as that row and waits for its fate.
    let work = blocked_import(&db, &mut watcher, &path)?;
    assert_eq!(
        count(&mut watcher, "telemetry.sensor_readings")?,
        0,
        "nothing is seen before the commit"
    );
    writing.commit()?;
    let (reports, _) = join(work)??;
    assert_eq!(
        (
            reports[0].readings,
            reports[0].inserted,
            reports[0].duplicates
        ),
        (1_500, 1_499, 1)
    );
    reading.commit()?;
    assert_eq!(count(&mut watcher, "telemetry.sensor_readings")?, 1_501);
    watcher.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut watcher)
}

/// Somebody makes the month while the import is building it.
#[test]
fn a_month_that_another_session_makes_meanwhile() -> Result<()> {
    let db = extended("month_race")?;
    let dir = folder(&db, "data")?;
    let path = put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 60))?;
    let (mut watcher, mut other) = (db.connect()?, db.connect()?);
    // Its sensors come after it has looked which months there are.
    let mut holding = other.transaction()?;
    holding.batch_execute("LOCK TABLE telemetry.sensors IN SHARE MODE")?;
    let work = blocked_import(&db, &mut watcher, &path)?;
    // Either it is made, or it has to wait for the import and says so.
    let mut maker = db.connect()?;
    maker.batch_execute("SET lock_timeout = '1s'; SET gemba.lock_patience = '300ms'")?;
    let made =
        maker.batch_execute("SELECT telemetry.ensure_partitions('2018-07-05', '2018-07-06')");
    if made.is_err() {
        expect_sqlstate(made, "55P03");
    }
    let before = state(&mut watcher)?;
    holding.commit()?;
    match join(work)? {
        Ok((reports, _)) => assert_eq!(reports[0].inserted, 60),
        Err(error) => {
            // An error is allowed when it says what to do, and leaves nothing.
            let report = error.as_db_error().context("an error of the server")?;
            assert!(report.hint().is_some(), "{report:?}");
            assert_eq!(state(&mut watcher)?, before);
            assert_eq!(import(&mut watcher, &path)?[0].inserted, 60);
        }
    }
    watcher.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut watcher)
}

/// Somebody else is adding or taking partitions: an import has the patience that it was given, and no reader
/// or writer waits meanwhile.
#[test]
fn a_locked_table_takes_patience() -> Result<()> {
    let db = extended("locked")?;
    let dir = folder(&db, "data")?;
    let path = put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 60))?;
    let (mut client, mut other, mut watcher) = (db.connect()?, db.connect()?, db.connect()?);
    let before = state(&mut client)?;
    let mut holding = other.transaction()?;
    holding.batch_execute("LOCK TABLE telemetry.sensor_readings IN SHARE UPDATE EXCLUSIVE MODE")?;
    client.batch_execute("SET gemba.lock_patience = '100ms'; SET lock_timeout = '5s'")?;
    let error = expect_sqlstate(import(&mut client, &path), "55P03");
    assert!(error.hint().is_some(), "{error:?}");
    assert_eq!(state(&mut watcher)?, before);
    client.batch_execute("SET gemba.lock_patience = '60s'")?;
    let work = in_background(client, call(&path, ""));
    watcher.batch_execute(
        "SET lock_timeout = '5s';
         INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
           VALUES (now(), 'meanwhile', 1, 1)",
    )?;
    assert_eq!(count(&mut watcher, "telemetry.sensor_readings")?, 1);
    holding.rollback()?;
    assert_eq!(join(work)??.0[0].inserted, 60);
    Ok(())
}

#[test]
fn a_refresh_during_an_import_misses_nothing() -> Result<()> {
    let db = extended("refresh_meanwhile")?;
    let dir = folder(&db, "data")?;
    let mut watcher = db.connect()?;
    let path = put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 60))?;
    import(&mut watcher, &path)?;
    watcher.batch_execute("SELECT telemetry.refresh(); SET lock_timeout = '5s'")?;
    let mut client = db.connect()?;
    let mut importing = client.transaction()?;
    for day in ["2018-07-01", "2018-08-01"] {
        let path = put(&dir, "2018Floor1.csv", minutes(day, 30, 90))?;
        import(&mut importing, &path)?;
    }
    watcher.batch_execute("SELECT telemetry.refresh()")?;
    let kept = "SELECT sum(reading_count) FROM telemetry.daily_aggregates";
    assert_eq!(one(&mut watcher, kept)?, "60");
    importing.commit()?;
    watcher.batch_execute("SELECT telemetry.refresh()")?;
    assert_eq!(one(&mut watcher, kept)?, "150");
    expect_exact_aggregates(&mut watcher)
}

/// The first refresh after a month is new meets writers in it: neither waits for the other.
#[test]
fn the_first_refresh_of_a_month_waits_for_no_writer() -> Result<()> {
    let db = extended("first_refresh")?;
    let dir = folder(&db, "data")?;
    let mut watcher = db.connect()?;
    let path = put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 60))?;
    import(&mut watcher, &path)?;
    let mut client = db.connect()?;
    let mut writing = client.transaction()?;
    writing.batch_execute(
        "INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
           VALUES ('2018-07-02 12:00+07', 'F1.z1.Light.kW', 1, 99)",
    )?;
    watcher.batch_execute("SET lock_timeout = '5s'; SELECT telemetry.refresh()")?;
    writing.commit()?;
    watcher.batch_execute("SELECT telemetry.refresh()")?;
    expect_exact_aggregates(&mut watcher)
}

/// Default privileges (Supabase has some) and a partition that was there before: a client role gets at neither.
#[test]
fn new_partitions_are_sealed_whatever_the_default_privileges_say() -> Result<()> {
    let db = extended("default_privileges")?;
    let dir = folder(&db, "data")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon, authenticated, service_role, PUBLIC",
    )?;
    import(
        &mut client,
        &put(&dir, "2018Floor1.csv", minutes("2018-07-01", 0, 60))?,
    )?;
    expect_sealed_partitions(&mut client)?;
    for role in ["anon", "authenticated", "service_role"] {
        let outcome = as_user(&mut client, role, None, |tx| {
            tx.query("SELECT * FROM telemetry.sensor_readings_p20180701", &[])
        });
        expect_sqlstate(outcome, "42501");
    }
    Ok(())
}

// By chance --------------------------------------------------------------------------------------

/// Files of any order, with any overlaps, holes and repetitions, in new months and old ones, against a map in which
/// the first value of a sensor and a time stays.
#[test]
fn any_sequence_of_files_ends_as_a_map_would() -> Result<()> {
    let db = extended("by_chance")?;
    let mut client = db.connect()?;
    let mut map: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut random = Random::new(1);
    for round in 0..30 {
        let dir = folder(&db, &format!("round{round}"))?;
        let mut want = Vec::new();
        for file in 0..=random.below(3) {
            let floor = 1 + random.below(2);
            let mut text = String::from("Date,z1_Light(kW),z1_Plug(kW)\n");
            let (mut inserted, mut duplicates) = (0, 0);
            for _ in 0..=random.below(6) {
                // A run of minutes from somewhere around the turn of one of eight months.
                let month = 1 + random.below(8);
                let (day, first) = if random.below(2) == 0 {
                    (28, 1_420)
                } else {
                    (1, 0)
                };
                let begin = first + random.below(10);
                for minute in begin..(begin + 1 + random.below(12)).min(1_440) {
                    let time = format!(
                        "2018-{month:02}-{day:02} {:02}:{:02}:00",
                        minute / 60,
                        minute % 60
                    );
                    text += &time;
                    for device in ["Light", "Plug"] {
                        text.push(',');
                        if random.below(4) == 0 {
                            continue;
                        }
                        let value = random.below(300);
                        text += &value.to_string();
                        match map.entry((format!("F{floor}.z1.{device}.kW"), time.clone())) {
                            Entry::Occupied(_) => duplicates += 1,
                            Entry::Vacant(entry) => {
                                entry.insert(value);
                                inserted += 1;
                            }
                        }
                    }
                    text.push('\n');
                }
            }
            put(&dir, &format!("{file}_Floor{floor}.csv"), &text)?;
            want.push((inserted, duplicates));
        }
        let reports = import(&mut client, &dir)?;
        let told: Vec<(i64, i64)> = reports.iter().map(|r| (r.inserted, r.duplicates)).collect();
        assert_eq!(told, want, "round {round}");
        if random.below(3) == 0 {
            client.batch_execute("SELECT telemetry.refresh()")?;
            expect_exact_aggregates(&mut client)?;
        }
    }
    let want: Vec<String> = map
        .iter()
        .map(|((sensor, time), value)| format!("({sensor},\"{time}\",{value}.0000,normal)"))
        .collect();
    assert!(want.len() > 500, "{} readings only", want.len());
    assert_eq!(readings(&mut client)?, want);
    assert_eq!(
        count(
            &mut client,
            "(SELECT DISTINCT id FROM telemetry.sensor_readings) q"
        )?,
        want.len() as i64
    );
    expect_sealed_partitions(&mut client)
}

/// Rows are written past the executor; a crash right after the commit must find them all the same.
#[test]
fn a_crash_after_the_commit_loses_nothing() -> Result<()> {
    for settings in [
        &[][..],
        &[
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
            ("wal_skip_threshold", "0"),
        ][..],
    ] {
        let cluster = Cluster::with_settings(settings)?;
        let db = cluster.extended("crash")?;
        let dir = folder(&db, "data")?;
        slice(&dir, "2018-12-31", "2019-01-02", &[1])?;
        let mut client = db.connect()?;
        client.batch_execute("CHECKPOINT")?;
        import(&mut client, &dir)?;
        let before = state(&mut client)?;
        // And one that did not get as far as its commit.
        put(&dir, "2020Floor1.csv", minutes("2020-01-01", 0, 1_440))?;
        client.batch_execute("BEGIN")?;
        import(&mut client, &dir.join("2020Floor1.csv"))?;
        cluster.crash()?;
        cluster.start()?;
        let mut client = db.connect()?;
        assert_eq!(state(&mut client)?, before);
        client.batch_execute("SET enable_seqscan = off")?;
        let (_, mut all) = said(&dir.join("2018Floor1.csv"))?;
        all.extend(said(&dir.join("2019Floor1.csv"))?.1);
        expect_readings(&mut client, &all)?;
        client.batch_execute("SELECT telemetry.refresh()")?;
        expect_exact_aggregates(&mut client)?;
        assert_eq!(
            import(&mut client, &dir.join("2018Floor1.csv"))?[0].inserted,
            0
        );
    }
    Ok(())
}
