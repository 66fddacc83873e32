//! Telemetry's months give everybody the same answers, compressed or not.

use super::telemetry_support::*;
use anyhow::Result;
use gemba_tests::{as_user, extended, table, value};
use postgres::Client;

/// Role and, where there is one, the number of a user.
const READERS: &[(&str, Option<u32>)] = &[
    ("anon", None),
    ("authenticated", None),
    ("authenticated", Some(1)),
    ("authenticated", Some(2)),
    ("authenticated", Some(3)),
    ("service_role", None),
];
const FREE: usize = 3;
const PROFESSIONAL: usize = 4;
const SERVER: usize = 5;

/// Each has an order of its own: rows come as they are compared.
const QUESTIONS: &[&str] = &[
    "SELECT r.* FROM telemetry.sensor_readings AS r WHERE \"timestamp\" >= '2019-06-30 09:00+07' AND \"timestamp\" < '2019-06-30 09:20+07'
      ORDER BY sensor_id, \"timestamp\"",
    "SELECT r.id, r.status FROM telemetry.sensor_readings AS r WHERE status <> 'suspect' AND reading_value > 30 ORDER BY 1",
    "SELECT count(*), sum(reading_value), avg(reading_value), min(reading_value), max(\"timestamp\") FROM telemetry.sensor_readings",
    "SELECT sensor_id, count(*), avg(reading_value), max(reading_value) FROM telemetry.sensor_readings GROUP BY 1 ORDER BY 1",
    "SELECT floor_number, date_trunc('day', \"timestamp\", 'Asia/Bangkok') AS day, count(*), sum(reading_value)
       FROM telemetry.sensor_readings WHERE reading_value > 2 GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT s.sensor_id, l.* FROM telemetry.sensors s CROSS JOIN LATERAL (
       SELECT \"timestamp\", reading_value FROM telemetry.sensor_readings r WHERE r.sensor_id = s.sensor_id
          AND \"timestamp\" < '2019-06-30 20:00+07' ORDER BY \"timestamp\" DESC LIMIT 2) AS l ORDER BY 1, 2",
    "SELECT \"timestamp\", reading_value FROM telemetry.sensor_readings WHERE sensor_id = '{inside}' AND \"timestamp\" < '2019-06-30 03:00+07' ORDER BY 1",
    "SELECT \"timestamp\", reading_value FROM telemetry.sensor_readings WHERE sensor_id = '{outside}' AND \"timestamp\" < '2019-06-30 03:00+07' ORDER BY 1",
    "SELECT * FROM telemetry.hourly_aggregates ORDER BY sensor_id, bucket",
    "SELECT * FROM telemetry.daily_aggregates ORDER BY sensor_id, bucket",
    "SELECT * FROM telemetry.hourly_aggregates_live ORDER BY sensor_id, bucket",
    "SELECT * FROM telemetry.series('{inside}', '2019-06-30 00:00+07', '2019-07-02 00:00+07', '15 minutes')",
    "SELECT * FROM telemetry.series('{outside}', '2019-06-30 00:00+07', '2019-07-02 00:00+07', '1 hour', 'previous')",
    "SELECT * FROM telemetry.totals('2019-06-30 00:00+07', '2019-07-02 00:00+07') ORDER BY 1, 2, 3, 4",
    "SELECT * FROM telemetry.totals('2019-06-30 00:00+07', '2019-07-02 00:00+07', '15 minutes') ORDER BY 1, 2, 3, 4",
    "SELECT * FROM telemetry.latest_values() ORDER BY 1",
    "SELECT * FROM telemetry.latest_values(ARRAY['{inside}', '{outside}']) ORDER BY 1",
    "SELECT * FROM telemetry.data_quality('2019-06-30 00:00+07', '2019-07-02 00:00+07') ORDER BY 1, 2",
];

/// What each reader is told: rows, or the code of an error.
fn answers(client: &mut Client, questions: &[String]) -> Vec<Vec<Result<Vec<String>, String>>> {
    READERS
        .iter()
        .map(|(role, user)| {
            let sub = user.map(|number| format!("00000000-0000-0000-0000-{number:012}"));
            questions
                .iter()
                .map(|question| {
                    as_user(client, role, sub.as_deref(), |tx| rows(tx, question)).map_err(
                        |error| {
                            error
                                .code()
                                .map_or(error.to_string(), |code| code.code().to_owned())
                        },
                    )
                })
                .collect()
        })
        .collect()
}

/// The telemetry tables that stand compressed.
fn compressed(client: &mut Client) -> Vec<String> {
    table(client, "SELECT partition FROM gemba.history ORDER BY 1")
}

#[test]
fn everybody_is_answered_the_same() -> Result<()> {
    let db = extended("exact_roles")?;
    let mut client = db.connect()?;
    let dir = folder(&db, "data")?;
    slice(&dir, "2019-06-30", "2019-07-01", &[1, 4, 7])?;
    import(&mut client, &dir)?;
    client.batch_execute("SELECT telemetry.refresh()")?;
    user(&mut client, 1, &[])?;
    user(&mut client, 2, &[("free", "active", None)])?;
    user(&mut client, 3, &[("professional", "active", None)])?;
    let sensor = |client: &mut Client, which: &str| {
        one(
            client,
            &format!(
                "SELECT min(sensor_id) FROM telemetry.sensors WHERE {which} AND floor_number = 7"
            ),
        )
    };
    let (inside, outside) = (
        sensor(&mut client, "in_sample")?,
        sensor(&mut client, "NOT in_sample")?,
    );
    let questions: Vec<String> = QUESTIONS
        .iter()
        .map(|question| {
            question
                .replace("{inside}", &inside)
                .replace("{outside}", &outside)
        })
        .collect();
    // Rollups have a policy as well: everything that is closed.
    client.batch_execute("SELECT gemba.maintain_partitions()")?;
    let leaves = compressed(&mut client);
    assert!(
        leaves
            .iter()
            .any(|leaf| leaf.starts_with("telemetry.sensor_readings")),
        "{leaves:?}"
    );
    let imported = answers(&mut client, &questions);

    // They are what readers are meant to have.
    for (question, asked) in questions.iter().enumerate() {
        let of = |reader: usize| imported[reader][question].clone().unwrap_or_default();
        // A series has its times for everybody, and a count is 0.
        let nothing = |rows: Vec<String>| {
            asked.contains("telemetry.series(") || rows.iter().all(|row| row.starts_with("(0,"))
        };
        assert!((0..FREE).all(|reader| nothing(of(reader))), "{asked}");
        assert_eq!(imported[1][question], imported[2][question], "{asked}");
        assert!(!of(SERVER).is_empty(), "{asked}");
        assert_eq!(of(PROFESSIONAL), of(SERVER), "{asked}");
        assert_eq!(imported[0][question], Err("42501".to_owned()), "{asked}");
        assert!(of(FREE).len() <= of(SERVER).len(), "{asked}");
    }
    assert_ne!(imported[FREE], imported[SERVER]);
    assert_ne!(imported[FREE], imported[FREE - 1]);

    for leaf in &leaves {
        client.batch_execute(&format!("SELECT gemba.decompress_partition('{leaf}')"))?;
    }
    assert!(compressed(&mut client).is_empty());
    let ordinary = answers(&mut client, &questions);
    assert_answers(&questions, &imported, &ordinary, "imported");

    for leaf in &leaves {
        client.batch_execute(&format!("SELECT gemba.compress_partition('{leaf}')"))?;
    }
    assert_eq!(compressed(&mut client), leaves);
    let again = answers(&mut client, &questions);
    assert_answers(&questions, &again, &ordinary, "compressed by hand");

    // Late rows and changed ones, which policies cover as well.
    let change = |client: &mut Client| -> Result<()> {
        client.batch_execute(
            "BEGIN;
             INSERT INTO telemetry.sensor_readings (id, \"timestamp\", sensor_id, floor_number, equipment_type, reading_value, unit, status)
               SELECT 900000000 + row_number() OVER (ORDER BY sensor_id), '2019-06-30 09:10:30+07', sensor_id, floor_number, equipment_type, 3.25, unit, 'suspect'
                 FROM telemetry.sensors;
             UPDATE telemetry.sensor_readings SET reading_value = reading_value + 0.5 WHERE \"timestamp\" = '2019-06-30 09:05+07';
             DELETE FROM telemetry.sensor_readings WHERE \"timestamp\" = '2019-06-30 01:05+07'",
        )?;
        Ok(())
    };
    change(&mut client)?;
    client.batch_execute("COMMIT; SELECT telemetry.refresh()")?;
    let late = answers(&mut client, &questions);
    for leaf in compressed(&mut client) {
        client.batch_execute(&format!("SELECT gemba.decompress_partition('{leaf}')"))?;
    }
    let ordinary = answers(&mut client, &questions);
    assert_answers(&questions, &late, &ordinary, "with late rows");
    assert_ne!(late, imported);
    Ok(())
}

#[track_caller]
fn assert_answers(
    questions: &[String],
    found: &[Vec<Result<Vec<String>, String>>],
    expected: &[Vec<Result<Vec<String>, String>>],
    when: &str,
) {
    for (reader, who) in READERS.iter().enumerate() {
        for (number, question) in questions.iter().enumerate() {
            assert!(
                found[reader][number] == expected[reader][number],
                "{when}, {who:?}: {question}\n{:.900}\n{:.900}",
                format!("{:?}", found[reader][number]),
                format!("{:?}", expected[reader][number]),
            );
        }
    }
}

/// Neither the partition nor what is behind it; not even the server's own role.
#[test]
fn nobody_reads_past_the_table() -> Result<()> {
    let db = extended("exact_past")?;
    let mut client = db.connect()?;
    let dir = folder(&db, "data")?;
    slice(&dir, "2019-06-30", "2019-07-01", &[1])?;
    import(&mut client, &dir)?;
    user(&mut client, 3, &[("professional", "active", None)])?;
    let leaf = compressed(&mut client).first().cloned().unwrap_or_default();
    assert!(leaf.starts_with("telemetry.sensor_readings"), "{leaf}");
    let behind = table(
        &mut client,
        "SELECT format('gemba_history.%I', relname) FROM pg_class WHERE relnamespace = 'gemba_history'::regnamespace AND relkind = 'r'",
    );
    assert!(behind.len() >= 2);
    let mut refused: Vec<String> = vec![
        format!("SELECT gemba.compress_partition('{leaf}')"),
        format!("SELECT gemba.decompress_partition('{leaf}')"),
        format!("SELECT * FROM gemba.verify_history('{leaf}')"),
        "SELECT * FROM gemba.verify_history()".to_owned(),
        "SELECT gemba.compress_after('telemetry.sensor_readings', '{sensor_id}', 'timestamp', '1 day')".to_owned(),
        "SELECT gemba.stop_compressing('telemetry.sensor_readings')".to_owned(),
        "CREATE FOREIGN TABLE pg_temp.mine (a int) SERVER gemba_history OPTIONS (segments 'x')".to_owned(),
    ];
    for table in behind.iter().chain([&leaf]) {
        refused.push(format!("SELECT count(*) FROM {table}"));
        refused.push(format!("SELECT FROM {table} LIMIT 1"));
        refused.push(format!("SELECT tableoid FROM {table}"));
        refused.push(format!("COPY (SELECT * FROM {table}) TO stdout"));
        refused.push(format!("DELETE FROM {table}"));
        refused.push(format!("INSERT INTO {table} DEFAULT VALUES"));
        refused.push(format!("TRUNCATE {table}"));
        refused.push(format!("DROP TABLE {table}"));
        refused.push(format!("ANALYZE {table}; SELECT count(*) FROM {table}"));
    }
    for (role, user) in READERS {
        let sub = user.map(|number| format!("00000000-0000-0000-0000-{number:012}"));
        for statement in &refused {
            let outcome = as_user(&mut client, role, sub.as_deref(), |tx| {
                tx.batch_execute(statement)
            });
            let code = outcome
                .as_ref()
                .err()
                .and_then(|error| error.code())
                .map(|code| code.code().to_owned());
            // DROP TABLE on a foreign table is the wrong word for anybody.
            let fine = code.as_deref() == Some("42501")
                || (statement.starts_with("DROP") && code.as_deref() == Some("42809"));
            assert!(fine, "{role} {user:?}: {statement}: {outcome:?}");
        }
    }
    // What is known of columns would tell as well.
    client.batch_execute(&format!("ANALYZE {leaf}"))?;
    assert_ne!(
        value(
            &mut client,
            &format!(
                "SELECT count(*) FROM pg_stats WHERE (schemaname || '.' || tablename)::regclass = '{leaf}'::regclass"
            )
        ),
        "0"
    );
    for (role, user) in READERS {
        let sub = user.map(|number| format!("00000000-0000-0000-0000-{number:012}"));
        let told = as_user(&mut client, role, sub.as_deref(), |tx| {
            tx.query("SELECT FROM pg_catalog.pg_stats WHERE schemaname = 'gemba_history' OR tablename LIKE 'sensor_readings_p%'", &[])
        })?;
        assert!(told.is_empty(), "{role} {user:?}");
    }
    Ok(())
}
