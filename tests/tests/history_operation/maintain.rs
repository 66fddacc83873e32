//! What gemba.maintain_partitions() compresses, and what not.

use super::*;
use gemba_tests::extended;

/// What a run did with the table's partitions, in its order.
fn maintain(client: &mut Client, table_name: &str) -> Vec<String> {
    table(
        client,
        &format!(
            "SELECT partition, action FROM gemba.maintain_partitions() WHERE parent = '{table_name}'"
        ),
    )
}

#[test]
fn closed_partitions_are_compressed_and_others_not() -> Result<()> {
    let db = extended("maintain_closed")?;
    let mut client = mill(&db)?;
    client.batch_execute(
        "SELECT gemba.ensure_partitions('mill.vibration', now() - interval '1 month', now() + interval '2 months');
         INSERT INTO mill.vibration (at, machine) VALUES (now(), 'now');
         INSERT INTO mill.twin (at, machine) SELECT at, machine FROM mill.vibration WHERE machine = 'now'",
    )?;
    // Not closed before it is over for as long as the policy says.
    client.batch_execute(
        "SELECT gemba.compress_after('mill.vibration', '{machine}', 'at', '100 years')",
    )?;
    assert_eq!(
        maintain(&mut client, "mill.vibration"),
        Vec::<String>::new()
    );
    client.batch_execute(
        "SELECT gemba.compress_after('mill.vibration', '{machine}', 'at', '40 days')",
    )?;
    let before = value(&mut client, "SELECT current_user");
    let mut service = db.connect_as("service_role")?;
    let done = table(
        &mut service,
        "SELECT partition, action, detail ~ '^1?[0-9]+ rows, from [0-9]+ bytes to [0-9]+$' FROM gemba.maintain_partitions()
          WHERE parent = 'mill.vibration'",
    );
    assert_eq!(
        done,
        [JANUARY, FEBRUARY, MARCH].map(|partition| format!("{partition} | compressed | t"))
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'gemba_history'::regnamespace"
        ),
        before
    );
    expect_same(&mut client);
    expect_sound(&mut client)?;
    assert_eq!(
        maintain(&mut client, "mill.vibration"),
        Vec::<String>::new()
    );
    // Late rows are merged by the next run.
    client.batch_execute(
        "WITH new AS (INSERT INTO mill.vibration (at, machine) VALUES ('2024-02-29 23:59:59+00', 'late') RETURNING *)
         INSERT INTO mill.twin SELECT * FROM new",
    )?;
    assert_eq!(
        maintain(&mut client, "mill.vibration"),
        [format!("{FEBRUARY} | folded")]
    );
    assert_eq!(
        value(&mut client, "SELECT sum(late_rows) FROM gemba.history"),
        "0"
    );
    expect_same(&mut client);
    Ok(())
}

#[test]
fn what_is_about_to_go_is_not_compressed_first() -> Result<()> {
    let db = extended("maintain_retired")?;
    let mut client = mill(&db)?;
    client.batch_execute(
        "SELECT gemba.manage_partitions('mill.vibration', '1 month', premake => 0, retain => '1 year', on_expire => 'detach',
                                        unique_on => ARRAY['machine', 'at'])",
    )?;
    assert_eq!(
        maintain(&mut client, "mill.vibration"),
        [JANUARY, FEBRUARY, MARCH].map(|partition| format!("{partition} | detached"))
    );
    assert_eq!(behind(&mut client), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_backlog_is_worked_off_by_several_runs() -> Result<()> {
    let db = extended("maintain_backlog")?;
    let mut client = mill(&db)?;
    client.batch_execute(
        "SELECT gemba.ensure_partitions('mill.vibration', '2022-10-01 00:00+00', '2024-01-01 00:00+00');
         INSERT INTO mill.vibration (at, machine) SELECT t, 'old' FROM generate_series(timestamptz '2022-10-01 00:00+00', '2023-12-31 00:00+00', '1 day') AS t;
         INSERT INTO mill.twin SELECT * FROM mill.vibration WHERE machine = 'old'",
    )?;
    assert_eq!(maintain(&mut client, "mill.vibration").len(), 12);
    expect_same(&mut client);
    assert_eq!(maintain(&mut client, "mill.vibration").len(), 6);
    assert_eq!(maintain(&mut client, "mill.vibration").len(), 0);
    expect_same(&mut client);
    expect_sound(&mut client)
}

/// One that is in use is put off, and what was prepared for it is gone; the others are compressed.
#[test]
fn what_is_in_use_is_put_off_and_leaves_nothing() -> Result<()> {
    let db = extended("maintain_deferred")?;
    let mut client = mill(&db)?;
    let mut writer = db.connect()?;
    // Of one partition alone. (Whoever writes to it holds a lock on the table as well.)
    writer.batch_execute("BEGIN; LOCK TABLE mill.vibration_p20240201 IN ROW EXCLUSIVE MODE")?;
    client.batch_execute("SET gemba.lock_patience = '50ms'")?;
    for compressed in [2, 0] {
        let done = table(
            &mut client,
            "SELECT action, count(*), count(detail) FROM gemba.maintain_partitions() WHERE parent = 'mill.vibration' GROUP BY 1 ORDER BY 1",
        );
        let mut expected = vec!["deferred | 1 | 1".to_owned()];
        if compressed > 0 {
            expected.insert(0, format!("compressed | {compressed} | {compressed}"));
        }
        assert_eq!(done, expected);
        assert_eq!(
            table(
                &mut client,
                "SELECT ftrelid::regclass FROM pg_foreign_table ORDER BY 1::text"
            ),
            [JANUARY, MARCH]
        );
        assert_eq!(behind(&mut client).len(), 4);
        expect_same(&mut client);
    }
    writer.batch_execute("ROLLBACK")?;
    assert_eq!(
        maintain(&mut client, "mill.vibration"),
        [format!("{FEBRUARY} | compressed")]
    );
    expect_same(&mut client);
    // Whoever reads the table holds off the exchange of each.
    client.batch_execute(&format!("SELECT gemba.decompress_partition('{MARCH}')"))?;
    writer.batch_execute("BEGIN; SELECT count(*) FROM mill.vibration")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT action FROM gemba.maintain_partitions() WHERE parent = 'mill.vibration'"
        ),
        ["deferred"]
    );
    writer.batch_execute("COMMIT")?;
    assert_eq!(behind(&mut client).len(), 4);
    expect_same(&mut client);
    Ok(())
}

#[test]
fn one_that_fails_spares_the_others() -> Result<()> {
    let db = extended("maintain_failing")?;
    let mut client = mill(&db)?;
    client.batch_execute(&format!(
        "CREATE VIEW mill.in_the_way AS SELECT * FROM {FEBRUARY};
         CREATE TABLE mill.other (at timestamptz NOT NULL, k int) PARTITION BY RANGE (at);
         SELECT gemba.manage_partitions('mill.other', '1 month', premake => 0);
         SELECT gemba.ensure_partitions('mill.other', '2024-01-01 00:00+00', '2024-02-01 00:00+00');
         SELECT gemba.compress_after('mill.other', '{{k}}', 'at', '7 days');
         ALTER TABLE mill.other ADD COLUMN j jsonb"
    ))?;
    assert_eq!(
        table(
            &mut client,
            "SELECT parent, action, partition, detail ~ '(in_the_way|jsonb)' FROM gemba.maintain_partitions() WHERE parent LIKE 'mill.%' ORDER BY 1, 2, 3"
        ),
        [
            "mill.other | failed | - | t".to_owned(),
            format!("mill.vibration | compressed | {JANUARY} | -"),
            format!("mill.vibration | compressed | {MARCH} | -"),
            "mill.vibration | failed | - | t".to_owned(),
        ]
        .map(|line| line.replace(" | -", " | f"))
        .map(|line| line.replace("failed | f", "failed | -"))
    );
    expect_same(&mut client);
    assert_eq!(behind(&mut client).len(), 4);
    client.batch_execute("DROP VIEW mill.in_the_way")?;
    assert_eq!(
        maintain(&mut client, "mill.vibration"),
        [format!("{FEBRUARY} | compressed")]
    );
    expect_same(&mut client);
    Ok(())
}

/// The engine's own job does it, as service_role.
#[test]
fn the_job_does_it() -> Result<()> {
    let db = extended("maintain_job")?;
    let mut client = mill(&db)?;
    client.batch_execute("SELECT gemba.run_job_now('gemba: partitions')")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT status FROM gemba.run_due_jobs() WHERE job = 'gemba: partitions'"
        ),
        ["succeeded"]
    );
    assert_eq!(kind(&mut client, JANUARY), "f");
    assert_eq!(behind(&mut client).len(), 6);
    expect_same(&mut client);
    Ok(())
}
