//! What becomes of segments when their partition, its table, its schema or all of it goes.

use super::*;
use gemba_tests::{expect_sqlstate, extended};

const ALL_BEHIND: [&str; 6] = [
    "vibration_p20240101",
    "vibration_p20240101_late",
    "vibration_p20240201",
    "vibration_p20240201_late",
    "vibration_p20240301",
    "vibration_p20240301_late",
];

/// Three compressed months, one of them with a late row.
fn compressed(db: &Database) -> Result<Client> {
    let mut client = mill(db)?;
    for partition in [JANUARY, FEBRUARY, MARCH] {
        compress(&mut client, partition)?;
    }
    client.batch_execute(
        "WITH new AS (INSERT INTO mill.vibration (at, machine) VALUES ('2024-02-29 23:59:59+00', 'late') RETURNING *)
         INSERT INTO mill.twin SELECT * FROM new",
    )?;
    assert_eq!(behind(&mut client), ALL_BEHIND);
    expect_same(&mut client);
    Ok(client)
}

fn retain(client: &mut Client, on_expire: &str) -> Result<Vec<String>> {
    client.batch_execute(&format!(
        "SELECT gemba.manage_partitions('mill.vibration', '1 month', premake => 0, retain => '1 year',
                                        on_expire => '{on_expire}', unique_on => ARRAY['machine', 'at'])"
    ))?;
    Ok(table(
        client,
        "SELECT partition, action FROM gemba.maintain_partitions() WHERE parent = 'mill.vibration' ORDER BY 1",
    ))
}

#[test]
fn what_is_dropped_takes_its_segments_along() -> Result<()> {
    let db = extended("retire_drop")?;
    let mut client = compressed(&db)?;
    assert_eq!(
        retain(&mut client, "drop")?,
        [JANUARY, FEBRUARY, MARCH].map(|partition| format!("{partition} | dropped"))
    );
    assert_eq!(behind(&mut client), Vec::<String>::new());
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM mill.vibration"),
        "0"
    );
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM gemba.history"),
        "0"
    );
    Ok(())
}

#[test]
fn what_is_detached_stays_readable() -> Result<()> {
    let db = extended("retire_detach")?;
    let mut client = compressed(&db)?;
    assert_eq!(
        retain(&mut client, "detach")?,
        [JANUARY, FEBRUARY, MARCH].map(|partition| format!("{partition} | detached"))
    );
    assert_eq!(behind(&mut client), ALL_BEHIND);
    client.batch_execute(&format!(
        "CREATE VIEW mill.detached AS SELECT * FROM {JANUARY} UNION ALL SELECT * FROM {FEBRUARY} UNION ALL SELECT * FROM {MARCH}"
    ))?;
    expect_same_as(&mut client, "mill.detached", "mill.twin");
    // It is no partition of anything, and still compressed.
    assert_eq!(
        table(
            &mut client,
            "SELECT parent, partition, late_rows FROM gemba.history ORDER BY 2"
        ),
        [
            format!("- | {JANUARY} | 0"),
            format!("- | {FEBRUARY} | 1"),
            format!("- | {MARCH} | 0")
        ]
    );
    expect_sound(&mut client)?;
    let error = expect_sqlstate(
        client.query(
            &format!("SELECT gemba.decompress_partition('{JANUARY}')"),
            &[],
        ),
        "55000",
    );
    assert!(
        error.detail().is_some() && error.hint().is_some(),
        "{error:?}"
    );
    // And it can come back.
    client.batch_execute(&format!(
        "DROP VIEW mill.detached;
         SELECT gemba.unmanage_partitions('mill.vibration');
         ALTER TABLE mill.vibration ATTACH PARTITION {FEBRUARY} FOR VALUES FROM ('2024-02-01 00:00+00') TO ('2024-03-01 00:00+00');
         DELETE FROM mill.twin WHERE at < '2024-02-01' OR at >= '2024-03-01';
         DROP FOREIGN TABLE {JANUARY}, {MARCH}"
    ))?;
    expect_same(&mut client);
    assert_eq!(behind(&mut client), ALL_BEHIND[2..4]);
    Ok(())
}

#[test]
fn what_is_archived_stays_readable_beside_the_same_month_made_again() -> Result<()> {
    let db = extended("retire_archive")?;
    let mut client = compressed(&db)?;
    let archived = [JANUARY, FEBRUARY, MARCH].map(|partition| format!("{partition} | archived"));
    assert_eq!(retain(&mut client, "archive")?, archived);
    assert_eq!(behind(&mut client), ALL_BEHIND);
    let in_archive = |partition: &str| partition.replace("mill", "gemba_archive");
    client.batch_execute(&format!(
        "CREATE VIEW mill.archived AS SELECT * FROM {} UNION ALL SELECT * FROM {} UNION ALL SELECT * FROM {}",
        in_archive(JANUARY),
        in_archive(FEBRUARY),
        in_archive(MARCH)
    ))?;
    expect_same_as(&mut client, "mill.archived", "mill.twin");

    // The same month again: what stands behind it needs another name.
    client.batch_execute(
        "SELECT gemba.ensure_partitions('mill.vibration', '2024-01-01 00:00+00', '2024-02-01 00:00+00');
         INSERT INTO mill.vibration (at, machine, speed) VALUES ('2024-01-01 00:00+00', 'press', 1), ('2024-01-02 00:00+00', 'mixer', 2)",
    )?;
    compress(&mut client, JANUARY)?;
    assert!(behind(&mut client).contains(&"vibration_p20240101_1".to_owned()));
    assert_eq!(
        table(
            &mut client,
            "SELECT machine, speed FROM mill.vibration ORDER BY 1"
        ),
        ["mixer | 2.000", "press | 1.000"]
    );
    expect_same_as(&mut client, "mill.archived", "mill.twin");
    assert_eq!(retain(&mut client, "archive")?, archived[..1]);
    assert_eq!(
        table(
            &mut client,
            "SELECT relname FROM pg_class WHERE relnamespace = 'gemba_archive'::regnamespace AND relkind = 'f' ORDER BY 1"
        ),
        [
            "vibration_p20240101",
            "vibration_p20240101_1",
            "vibration_p20240201",
            "vibration_p20240301"
        ]
    );
    expect_same_as(&mut client, "mill.archived", "mill.twin");
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM gemba_archive.vibration_p20240101_1"
        ),
        "2"
    );
    client.batch_execute("DROP FOREIGN TABLE gemba_archive.vibration_p20240101_1")?;
    assert_eq!(behind(&mut client), ALL_BEHIND);
    expect_same_as(&mut client, "mill.archived", "mill.twin");
    expect_sound(&mut client)
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    for (number, (drop, left)) in [
        (format!("DROP FOREIGN TABLE {JANUARY}"), &ALL_BEHIND[2..]),
        ("DROP TABLE mill.vibration".to_owned(), &[][..]),
        ("DROP SCHEMA mill CASCADE".to_owned(), &[][..]),
    ]
    .into_iter()
    .enumerate()
    {
        let db = extended(&format!("retire_left{number}"))?;
        let mut client = compressed(&db)?;
        // Another table's drop is none of its business, and one that is rolled back neither.
        client.batch_execute("CREATE TABLE other (); DROP TABLE other")?;
        client.batch_execute(&format!("BEGIN; {drop}; ROLLBACK"))?;
        assert_eq!(behind(&mut client), ALL_BEHIND, "{drop}");
        expect_same(&mut client);
        client.batch_execute(&drop)?;
        assert_eq!(behind(&mut client), left, "{drop}");
        let policies = if left.is_empty() { "0" } else { "1" };
        assert_eq!(
            value(
                &mut client,
                "SELECT count(*) FROM gemba.compression_policies WHERE NOT parent::oid IN (SELECT oid FROM pg_class WHERE relnamespace = 'telemetry'::regnamespace)"
            ),
            policies,
            "{drop}"
        );
    }
    Ok(())
}

/// Whoever drops what belongs to a role drops its segments too.
#[test]
fn an_owner_that_goes_takes_its_segments_along() -> Result<()> {
    let db = extended("retire_owner")?;
    let mut client = db.connect()?;
    let owner = db.role("owner")?;
    client.batch_execute(&format!(
        "GRANT CREATE ON DATABASE {} TO {owner}; GRANT USAGE ON SCHEMA gemba TO {owner};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA gemba TO {owner}; SET ROLE {owner}",
        db.name()
    ))?;
    furnish(&mut client)?;
    compress(&mut client, JANUARY)?;
    expect_same(&mut client);
    client.batch_execute("RESET ROLE")?;
    assert_eq!(behind(&mut client).len(), 2);
    client.batch_execute(&format!("DROP OWNED BY {owner} CASCADE"))?;
    assert_eq!(behind(&mut client), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_module_takes_its_segments_along_and_an_extension_does_not_go() -> Result<()> {
    let db = extended("retire_module")?;
    let mut client = compressed(&db)?;
    client.batch_execute(
        "INSERT INTO telemetry.sensors (sensor_id, floor_number) VALUES ('s', 1);
         SELECT gemba.ensure_partitions('telemetry.sensor_readings', '2024-01-01 00:00+07', '2024-02-01 00:00+07');
         INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
           SELECT '2024-01-01 00:00+07'::timestamptz + n * interval '1 minute', 's', 1, n FROM generate_series(0, 999) AS n;
         SELECT gemba.refresh_rollups()",
    )?;
    let compressed = table(
        &mut client,
        "SELECT partition FROM gemba.maintain_partitions() WHERE action = 'compressed' ORDER BY 1",
    );
    assert!(
        compressed.contains(&"telemetry.sensor_readings_p20240101".to_owned()),
        "{compressed:?}"
    );
    assert!(behind(&mut client).len() > ALL_BEHIND.len());

    let error = expect_sqlstate(client.batch_execute("DROP EXTENSION gemba"), "2BP01");
    assert!(
        error
            .detail()
            .is_some_and(|d| d.contains("gemba_history.vibration_p20240101 ")),
        "{error:?}"
    );
    client.batch_execute("SELECT gemba.undeploy('telemetry', force => true)")?;
    assert_eq!(behind(&mut client), ALL_BEHIND);
    expect_same(&mut client);
    expect_sqlstate(client.batch_execute("DROP EXTENSION gemba"), "2BP01");
    client.batch_execute("DROP EXTENSION gemba CASCADE")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'gemba%' UNION ALL
             SELECT relname FROM pg_class WHERE relkind = 'f'"
        ),
        Vec::<String>::new()
    );
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM mill.vibration"),
        "0"
    );
    Ok(())
}
