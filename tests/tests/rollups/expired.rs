//! Raw rows that retention takes away: the rollup keeps what they added up to.

use super::{
    HOURLY, PLAIN, assert_same, backend, differences, refresh, refreshed, simple, table, value,
    wait_until,
};
use anyhow::Result;
use gemba_tests::{Database, extended};
use postgres::Client;

/// As [`simple`], with a retention that all of its partitions but the present one are older than.
fn expiring(db: &Database, on_expire: &str) -> Result<Client> {
    let mut client = simple(db)?;
    client.batch_execute(&format!(
        "SELECT gemba.manage_partitions('s.raw', '1 day', premake => 0, retain => '30 days', on_expire => '{on_expire}');
         INSERT INTO s.raw SELECT timestamptz '2024-01-01' + k * interval '10 minutes', 'k' || k % 2, k FROM generate_series(0, 800) AS k"
    ))?;
    Ok(client)
}

#[test]
fn maintenance_refreshes_before_it_retires() -> Result<()> {
    for on_expire in ["drop", "detach", "archive"] {
        let db = extended("retired")?;
        let mut client = expiring(&db, on_expire)?;
        let expected = table(&mut client, &format!("{PLAIN} ORDER BY 1, 2"));
        // There was no refresh so far: everything is pending.
        client.batch_execute("SELECT * FROM gemba.maintain_partitions()")?;
        assert_eq!(
            value(&mut client, "SELECT count(*) FROM s.raw"),
            "0",
            "{on_expire}: the rows are gone"
        );
        for turn in ["after the run", "after a refresh"] {
            assert_eq!(
                table(&mut client, &format!("{HOURLY} ORDER BY 1, 2")),
                expected,
                "{on_expire}, {turn}"
            );
            assert_eq!(
                table(
                    &mut client,
                    "SELECT bucket, kind, rows, total FROM s.hourly_live ORDER BY 1, 2"
                ),
                expected,
                "{on_expire}, live, {turn}"
            );
            refresh(&mut client)?;
        }
        assert!(expected.len() > 100);
    }
    Ok(())
}

/// Rows that are committed after the refresh and before the lock would be lost if nobody looked again.
#[test]
fn a_row_that_is_committed_just_before_the_retirement_is_counted() -> Result<()> {
    let db = extended("late_commit")?;
    let mut client = expiring(&db, "drop")?;
    refresh(&mut client)?;
    std::thread::scope(|scope| -> Result<()> {
        // In here, so that a failing check ends the session, and with it the wait of the other one.
        let mut writer = db.connect()?;
        writer
            .batch_execute("BEGIN; INSERT INTO s.raw VALUES ('2024-01-02 03:04', 'late', 1000)")?;
        let mut maintainer = db.connect()?;
        maintainer.batch_execute("SET gemba.lock_patience = '10min'")?;
        let pid = backend(&mut maintainer);
        let run = scope
            .spawn(move || maintainer.batch_execute("SELECT * FROM gemba.maintain_partitions()"));
        // Its refresh is over when it writes down that it was.
        wait_until("the maintainer has refreshed", || {
            value(
                &mut client,
                &format!(
                    "SELECT count(*) > 0 FROM pg_locks
                      WHERE pid = {pid} AND relation = 'gemba.rollup_definitions'::regclass AND mode = 'RowExclusiveLock'"
                ),
            ) == "t"
        });
        writer.batch_execute("COMMIT")?;
        run.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(())
    })?;
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM s.raw"),
        "0",
        "everything was retired"
    );
    refresh(&mut client)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT rows, total FROM s.hourly WHERE kind = 'late'"
        ),
        ["1 | 1000"]
    );
    Ok(())
}

#[test]
fn late_rows_of_an_expired_time_are_reported_and_change_nothing() -> Result<()> {
    let db = extended("frozen")?;
    let mut client = expiring(&db, "drop")?;
    client.batch_execute("SELECT * FROM gemba.maintain_partitions()")?;
    let kept = table(&mut client, &format!("{HOURLY} ORDER BY 1, 2"));
    client.batch_execute(
        "SELECT gemba.ensure_partitions('s.raw', '2024-01-02', '2024-01-04');
         INSERT INTO s.raw VALUES ('2024-01-02 03:04', 'late', 1), ('2024-01-03 05:06', 'k1', 1)",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT bucket, kind, rows, total FROM s.hourly_live ORDER BY 1, 2"
        ),
        kept,
        "live"
    );
    let done = refreshed(&mut client, "gemba.refresh_rollup('s.hourly')")?;
    assert!(done[0].ranges_frozen > 0, "{done:?}");
    assert_eq!(
        (done[0].rows_written, done[0].rows_removed),
        (0, 0),
        "{done:?}"
    );
    assert_eq!(table(&mut client, &format!("{HOURLY} ORDER BY 1, 2")), kept);
    // Reported once: the change is dealt with.
    let done = refreshed(&mut client, "gemba.refresh_rollup('s.hourly')")?;
    assert_eq!(done[0].ranges_frozen, 0, "{done:?}");
    // The other days are as alive as ever.
    client.batch_execute("SELECT gemba.ensure_partitions('s.raw', '2024-02-01', '2024-02-02'); INSERT INTO s.raw VALUES ('2024-02-01', 'new', 1)")?;
    refresh(&mut client)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT rows, total FROM s.hourly WHERE kind = 'new'"
        ),
        ["1 | 1"]
    );
    Ok(())
}

/// Days built from hours go on when some of their raw rows have expired.
#[test]
fn a_rollup_of_a_rollup_outlives_the_raw_rows() -> Result<()> {
    let db = extended("outlives")?;
    let mut client = expiring(&db, "drop")?;
    client.batch_execute("SELECT gemba.create_rollup('s.daily', 's.hourly', 'bucket', '1 day', ARRAY['kind'], NULL, 'Asia/Bangkok')")?;
    let days = "SELECT date_trunc('day', at, 'Asia/Bangkok') AS bucket, kind, count(*) AS rows, sum(n) AS total FROM s.raw GROUP BY 1, 2";
    client.batch_execute(&format!("CREATE TABLE s.expected AS {days}"))?;
    client.batch_execute("SELECT * FROM gemba.maintain_partitions()")?;
    let expected = "SELECT * FROM s.expected";
    assert_same(
        &mut client,
        "SELECT bucket, kind, rows, total FROM s.daily_live",
        expected,
        "live",
    );
    refresh(&mut client)?;
    assert_same(
        &mut client,
        "SELECT bucket, kind, rows, total FROM s.daily",
        expected,
        "refreshed",
    );
    Ok(())
}

/// A bucket wider than a partition is still being written when its first partition expires.
#[test]
fn a_wide_bucket_goes_on_when_a_part_of_it_has_expired() -> Result<()> {
    let db = extended("wide_bucket")?;
    let mut client = simple(&db)?;
    let created = client.batch_execute(
        r#"SELECT gemba.create_rollup('s.monthly', 's.raw', 'at', '1 month', NULL, '{"rows": {"function": "count"}}')"#,
    );
    if let Err(error) = created {
        // A refusal is an answer too, when it names the way: a rollup of narrower buckets below.
        assert!(
            error.as_db_error().and_then(|e| e.hint()).is_some(),
            "{error:?}"
        );
        return Ok(());
    }
    client
        .batch_execute("INSERT INTO s.raw VALUES ('2024-01-01', 'a', 1), ('2024-01-05', 'a', 1)")?;
    refresh(&mut client)?;
    client.batch_execute(
        "DROP TABLE s.raw_p20240101; INSERT INTO s.raw VALUES ('2024-01-06', 'a', 1)",
    )?;
    refresh(&mut client)?;
    assert_eq!(
        table(&mut client, "SELECT rows FROM s.monthly"),
        ["3"],
        "one kept, one old, one new"
    );
    Ok(())
}

#[test]
fn a_partition_that_a_person_attaches_is_counted_whole() -> Result<()> {
    let db = extended("attached")?;
    let mut client = simple(&db)?;
    refresh(&mut client)?;
    client.batch_execute(
        "CREATE TABLE s.own (LIKE s.raw);
         INSERT INTO s.own SELECT timestamptz '2024-02-01' + k * interval '1 minute', 'own', k FROM generate_series(0, 999) AS k;
         ALTER TABLE s.raw ATTACH PARTITION s.own FOR VALUES FROM ('2024-02-01') TO ('2024-02-02')",
    )?;
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "attached");
    assert!(value(&mut client, "SELECT count(*) FROM s.hourly").parse::<i64>()? > 10);
    // From then on it is like any other.
    client.batch_execute(
        "TRUNCATE s.own; INSERT INTO s.raw VALUES ('2024-02-01 12:00', 'again', 1)",
    )?;
    refresh(&mut client)?;
    assert_same(&mut client, HOURLY, PLAIN, "truncated");
    Ok(())
}

/// Taken out, changed and put back: no trigger saw the change.
#[test]
fn a_partition_that_was_changed_while_detached_is_read_again() -> Result<()> {
    let db = extended("reattached")?;
    let mut client = simple(&db)?;
    client
        .batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1), ('2024-01-03', 'a', 1)")?;
    refresh(&mut client)?;
    client.batch_execute(
        "ALTER TABLE s.raw DETACH PARTITION s.raw_p20240102;
         UPDATE s.raw_p20240102 SET n = 100",
    )?;
    // Notices that it is gone. (All of it between two refreshes goes unnoticed; docs/engine.md says so.)
    refresh(&mut client)?;
    client.batch_execute(
        "ALTER TABLE s.raw ATTACH PARTITION s.raw_p20240102 FOR VALUES FROM ('2024-01-02') TO ('2024-01-03')",
    )?;
    refresh(&mut client)?;
    let wrong = differences(&mut client, HOURLY, PLAIN);
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Somebody drops a partition by hand, with changes that no refresh has seen.
#[test]
fn a_partition_dropped_by_hand_leaves_what_was_refreshed() -> Result<()> {
    let db = extended("dropped_by_hand")?;
    let mut client = simple(&db)?;
    client
        .batch_execute("INSERT INTO s.raw VALUES ('2024-01-02', 'a', 1), ('2024-01-03', 'a', 1)")?;
    refresh(&mut client)?;
    client.batch_execute(
        "INSERT INTO s.raw VALUES ('2024-01-02', 'a', 10); DROP TABLE s.raw_p20240102",
    )?;
    let kept = [
        "2024-01-02 00:00:00+00 | a | 1 | 1",
        "2024-01-03 00:00:00+00 | a | 1 | 1",
    ];
    assert_eq!(
        table(
            &mut client,
            "SELECT bucket, kind, rows, total FROM s.hourly_live ORDER BY 1"
        ),
        kept,
        "live"
    );
    refresh(&mut client)?;
    assert_eq!(table(&mut client, &format!("{HOURLY} ORDER BY 1")), kept);
    Ok(())
}
