//! Who may do what with a compressed partition: through its table what the policies say, and beside it nothing.

use super::telemetry_support::user;
use super::*;
use gemba_tests::{as_user, expect_sqlstate, extended};

/// Readings of January 2024, compressed, with a late row; users without, with a free and with a professional subscription.
fn readings(db: &Database) -> Result<(Client, [String; 3])> {
    let mut client = db.connect()?;
    let users = [
        user(&mut client, 1, &[])?,
        user(&mut client, 2, &[("free", "active", None)])?,
        user(&mut client, 3, &[("professional", "active", None)])?,
    ];
    client.batch_execute(
        "INSERT INTO telemetry.sensors (sensor_id, floor_number, in_sample) VALUES ('open', 1, true), ('closed', 2, false);
         SELECT gemba.ensure_partitions('telemetry.sensor_readings', '2024-01-01 00:00+07', '2024-02-01 00:00+07');
         INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
           SELECT '2024-01-01 00:00+07'::timestamptz + n * interval '1 minute', s, 1, n FROM generate_series(0, 99) AS n, unnest(ARRAY['open', 'closed']) AS s;
         SELECT gemba.compress_partition('telemetry.sensor_readings_p20240101');
         INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
           VALUES ('2024-01-20 00:00+07', 'open', 1, 7), ('2024-01-20 00:00+07', 'closed', 2, 7)",
    )?;
    Ok((client, users))
}

const LEAF: &str = "telemetry.sensor_readings_p20240101";

/// What nobody but the owner and superusers may do.
fn forbidden() -> Vec<String> {
    let mut all = Vec::new();
    for relation in [
        LEAF,
        "gemba_history.sensor_readings_p20240101",
        "gemba_history.sensor_readings_p20240101_late",
    ] {
        all.push(format!("SELECT * FROM {relation}"));
        all.push(format!("SELECT count(*) FROM {relation}"));
        all.push(format!("INSERT INTO {relation} SELECT * FROM {relation}"));
        all.push(format!("INSERT INTO {relation} DEFAULT VALUES"));
        all.push(format!("DELETE FROM {relation}"));
        all.push(format!("TRUNCATE {relation}"));
        all.push(format!("COPY {relation} TO STDOUT"));
        // (A foreign table is neither locked nor dropped so, whoever asks.)
        if relation != LEAF {
            all.push(format!("LOCK TABLE {relation} IN ACCESS SHARE MODE"));
            all.push(format!("DROP TABLE {relation}"));
        }
    }
    all.extend(
        [
            "UPDATE telemetry.sensor_readings_p20240101 SET reading_value = 0",
            "UPDATE gemba_history.sensor_readings_p20240101 SET row_count = 0",
            "DROP FOREIGN TABLE telemetry.sensor_readings_p20240101",
            "ALTER FOREIGN TABLE telemetry.sensor_readings_p20240101 OPTIONS (SET segments 'other')",
            "CREATE FOREIGN TABLE pg_temp.mine (a int) SERVER gemba_history OPTIONS (segments 'sensor_readings_p20240101')",
            "CREATE FOREIGN TABLE public.mine (a int) SERVER gemba_history OPTIONS (segments 'sensor_readings_p20240101')",
            "CREATE SERVER mine FOREIGN DATA WRAPPER gemba_history",
            "IMPORT FOREIGN SCHEMA x FROM SERVER gemba_history INTO public",
            "SELECT gemba.compress_after('telemetry.sensor_readings', '{sensor_id}', 'timestamp', '1 day')",
            "SELECT gemba.stop_compressing('telemetry.sensor_readings')",
            "SELECT gemba.compress_partition('telemetry.sensor_readings_p20240101')",
            "SELECT gemba.decompress_partition('telemetry.sensor_readings_p20240101')",
            "SELECT * FROM gemba.verify_history('telemetry.sensor_readings_p20240101')",
            "SELECT gemba_internal.history_handler()",
            "SELECT gemba_internal.history_validator('{}', 0)",
        ]
        .map(str::to_owned),
    );
    all
}

#[test]
fn beside_the_table_nobody_may_do_anything() -> Result<()> {
    let db = extended("roles_beside")?;
    let (mut client, users) = readings(&db)?;
    let stranger = db.role("stranger")?;
    let state = "SELECT count(*), sum(reading_value) FROM telemetry.sensor_readings";
    let before = table(&mut client, state);
    let mut who: Vec<(&str, Option<&str>)> = vec![
        ("anon", None),
        ("authenticated", None),
        ("service_role", None),
        (&stranger, None),
    ];
    who.extend(
        users
            .iter()
            .map(|user| ("authenticated", Some(user.as_str()))),
    );
    for (role, sub) in who {
        for sql in forbidden() {
            let outcome = as_user(&mut client, role, sub, |tx| tx.simple_query(&sql));
            let Err(error) = outcome else {
                panic!("{role} may: {sql}");
            };
            let report = error
                .as_db_error()
                .unwrap_or_else(|| panic!("{role}, {sql}: {error:?}"));
            assert_eq!(report.code().code(), "42501", "{role}: {sql}: {report:?}");
        }
    }
    assert_eq!(table(&mut client, state), before);
    assert_eq!(behind(&mut client).len(), 2);
    Ok(())
}

/// What the policies and grants of the table say, they say of compressed months.
#[test]
fn through_the_table_the_policies_decide() -> Result<()> {
    let db = extended("roles_through")?;
    let (mut client, [without, free, professional]) = readings(&db)?;
    let count = "SELECT count(*), count(DISTINCT sensor_id), max(reading_value)::text FROM telemetry.sensor_readings";
    let mut seen = |role: &str, sub: Option<&str>| {
        as_user(&mut client, role, sub, |tx| {
            let row = tx.query_one(count, &[])?;
            Ok((
                row.get::<_, i64>(0),
                row.get::<_, i64>(1),
                row.get::<_, Option<String>>(2),
            ))
        })
    };
    assert_eq!(
        seen("authenticated", Some(&professional))?,
        (202, 2, Some("99.0000".into()))
    );
    assert_eq!(
        seen("authenticated", Some(&free))?,
        (101, 1, Some("99.0000".into()))
    );
    assert_eq!(seen("authenticated", Some(&without))?, (0, 0, None));
    assert_eq!(seen("authenticated", None)?, (0, 0, None));
    assert_eq!(seen("service_role", None)?.0, 202);
    expect_sqlstate(seen("anon", None), "42501");

    for (role, sub) in [
        ("anon", None),
        ("authenticated", Some(free.as_str())),
        ("authenticated", Some(professional.as_str())),
    ] {
        for sql in [
            "INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number) VALUES ('2024-01-21 00:00+07', 'open', 1)",
            "UPDATE telemetry.sensor_readings SET reading_value = 0",
            "DELETE FROM telemetry.sensor_readings",
            "TRUNCATE telemetry.sensor_readings",
        ] {
            expect_sqlstate(
                as_user(&mut client, role, sub, |tx| tx.execute(sql, &[])),
                "42501",
            );
        }
    }
    // service_role writes readings.
    for (sql, rows) in [
        (
            "INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number) VALUES ('2024-01-21 00:00+07', 'open', 1)",
            1,
        ),
        (
            "INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number) VALUES ('2024-01-01 00:00+07', 'open', 1) ON CONFLICT DO NOTHING",
            0,
        ),
        (
            "UPDATE telemetry.sensor_readings SET reading_value = 5 WHERE sensor_id = 'open' AND \"timestamp\" < '2024-01-01 00:02+07'",
            2,
        ),
        (
            "DELETE FROM telemetry.sensor_readings WHERE sensor_id = 'closed' AND \"timestamp\" < '2024-01-01 00:10+07'",
            10,
        ),
    ] {
        assert_eq!(
            as_user(&mut client, "service_role", None, |tx| tx.execute(sql, &[]))?,
            rows,
            "{sql}"
        );
    }
    assert_eq!(seen_by(&mut client, &professional)?, 193);
    // How much there is, an administrator's role may know; a user not even that there is any.
    assert_eq!(
        as_user(&mut client, "service_role", None, |tx| tx
            .query("SELECT * FROM gemba.history", &[]))?
        .len(),
        1
    );
    expect_sqlstate(
        as_user(&mut client, "authenticated", Some(&professional), |tx| {
            tx.query("SELECT * FROM gemba.history", &[])
        }),
        "42501",
    );
    Ok(())
}

fn seen_by(client: &mut Client, user: &str) -> Result<i64> {
    Ok(as_user(client, "authenticated", Some(user), |tx| {
        Ok(tx
            .query_one("SELECT count(*) FROM telemetry.sensor_readings", &[])?
            .get(0))
    })?)
}

/// An owner has a compressed table of its own, and does with it what it may with any; another owner's segments are not
/// to be had by naming them.
#[test]
fn an_owner_cannot_reach_for_the_segments_of_another() -> Result<()> {
    let db = extended("roles_owner")?;
    let mut client = mill(&db)?;
    compress(&mut client, JANUARY)?;
    let owner = db.role("owner")?;
    client.batch_execute(&format!(
        "GRANT CREATE ON DATABASE {} TO {owner}; GRANT USAGE ON SCHEMA gemba TO {owner};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA gemba TO {owner}",
        db.name()
    ))?;
    let mut theirs = db.connect_as(&owner)?;
    theirs.batch_execute(
        "CREATE SCHEMA theirs;
         CREATE TABLE theirs.vibration (at timestamptz NOT NULL, machine text NOT NULL, speed numeric(8,3), load float8, note text)
           PARTITION BY RANGE (at);
         SELECT gemba.manage_partitions('theirs.vibration', '1 month', premake => 0);
         SELECT gemba.ensure_partitions('theirs.vibration', '2024-01-01 00:00+00', '2024-03-01 00:00+00');
         INSERT INTO theirs.vibration (at, machine) VALUES ('2024-01-01 00:00+00', 'own'), ('2024-02-01 00:00+00', 'own');
         SELECT gemba.compress_after('theirs.vibration', '{machine}', 'at', '7 days')",
    )?;
    assert_eq!(compress(&mut theirs, "theirs.vibration_p20240101")?, 1);
    assert_eq!(
        table(
            &mut theirs,
            "SELECT count(*) FROM theirs.vibration_p20240101 UNION ALL SELECT count(*) FROM theirs.vibration"
        ),
        ["1", "2"]
    );
    assert_eq!(
        table(
            &mut theirs,
            "SELECT * FROM gemba.verify_history('theirs.vibration_p20240101')"
        ),
        Vec::<String>::new()
    );
    // The tables behind it are its own, in a schema that it may not look into.
    for sql in [
        "SELECT * FROM gemba_history.vibration_p20240101_1".to_owned(),
        "SELECT * FROM gemba_history.vibration_p20240101".to_owned(),
        format!("SELECT * FROM {JANUARY}"),
        format!("SELECT gemba.compress_partition('{FEBRUARY}')"),
        format!("SELECT gemba.decompress_partition('{JANUARY}')"),
        "SELECT * FROM gemba.verify_history()".to_owned(),
        "CREATE FOREIGN TABLE theirs.mine (at timestamptz) SERVER gemba_history OPTIONS (segments 'vibration_p20240101')".to_owned(),
    ] {
        expect_sqlstate(theirs.simple_query(&sql), "42501");
    }
    theirs.batch_execute(
        "ALTER FOREIGN TABLE theirs.vibration_p20240101 OPTIONS (SET segments 'vibration_p20240101')",
    )?;
    for sql in [
        "SELECT * FROM theirs.vibration",
        "SELECT machine, count(*) FROM theirs.vibration GROUP BY 1",
        "INSERT INTO theirs.vibration (at, machine) VALUES ('2024-01-05 00:00+00', 'x')",
        "DELETE FROM theirs.vibration WHERE at < '2024-02-01'",
        "SELECT gemba.compress_partition('theirs.vibration_p20240101')",
        "SELECT gemba.decompress_partition('theirs.vibration_p20240101')",
    ] {
        let error = expect_sqlstate(theirs.simple_query(sql), "42501");
        assert!(
            error.message().contains("somebody else"),
            "{sql}: {error:?}"
        );
    }
    // Whoever breaks the options breaks only what is theirs, and it is not dropped with another's.
    theirs.batch_execute("DROP TABLE theirs.vibration")?;
    expect_same(&mut client);
    assert_eq!(kind(&mut client, JANUARY), "f");
    expect_sound(&mut client)
}
