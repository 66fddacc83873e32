//! The live views: exact without a refresh, under the reader's rights, in one moment of time.

use super::{HOURLY_LIVE, PLAIN, assert_same, refresh, simple, table, value};
use anyhow::Result;
use gemba_tests::{as_user, expect_sqlstate, extended};

#[test]
fn a_live_view_is_exact_without_a_refresh() -> Result<()> {
    let db = extended("live")?;
    let mut client = simple(&db)?;
    let changes = [
        "INSERT INTO s.raw SELECT timestamptz '2024-01-01' + k * interval '7 minutes', 'k' || k % 3, k FROM generate_series(0, 999) AS k",
        "INSERT INTO s.raw VALUES ('2024-01-01 00:01', NULL, 5)",
        "UPDATE s.raw SET n = n + 1 WHERE kind = 'k1' AND at < '2024-01-02'",
        "UPDATE s.raw SET at = at + interval '2 days' WHERE kind = 'k2' AND at < '2024-01-02'",
        "DELETE FROM s.raw WHERE kind IS NULL",
        "TRUNCATE s.raw_p20240103",
        "TRUNCATE s.raw",
        "INSERT INTO s.raw VALUES ('2024-01-07 23:59:59.999999', 'late', 5)",
    ];
    for change in changes {
        client.batch_execute(change)?;
        assert_same(&mut client, HOURLY_LIVE, PLAIN, change);
    }
    // And the other way round: what was refreshed before a change.
    for change in changes {
        refresh(&mut client)?;
        client.batch_execute(change)?;
        assert_same(
            &mut client,
            HOURLY_LIVE,
            PLAIN,
            &format!("refreshed, then {change}"),
        );
    }
    Ok(())
}

#[test]
fn a_live_view_obeys_the_readers_policies() -> Result<()> {
    let db = extended("live_rights")?;
    let mut client = simple(&db)?;
    client.batch_execute(
        "INSERT INTO s.raw VALUES ('2024-01-01', 'mine', 1), ('2024-01-01', 'theirs', 2);
         SELECT * FROM gemba.refresh_rollups();
         INSERT INTO s.raw VALUES ('2024-01-02', 'mine', 4), ('2024-01-02', 'theirs', 8);
         GRANT USAGE ON SCHEMA s TO authenticated",
    )?;
    let seen = |client: &mut postgres::Client| {
        as_user(client, "authenticated", None, |tx| {
            let row = tx.query_one(
                "SELECT count(*), sum(total)::bigint FROM s.hourly_live",
                &[],
            )?;
            Ok((row.get::<_, i64>(0), row.get::<_, Option<i64>>(1)))
        })
    };
    expect_sqlstate(seen(&mut client), "42501");
    client.batch_execute("GRANT SELECT ON s.hourly, s.hourly_live, s.raw TO authenticated; ALTER TABLE s.raw ENABLE ROW LEVEL SECURITY")?;
    // Row level security and no policy: nothing, neither of the part that is stored nor of the rest.
    assert_eq!(seen(&mut client)?, (0, None));
    client.batch_execute(
        "CREATE POLICY mine ON s.raw FOR SELECT TO authenticated USING (kind = 'mine');
         CREATE POLICY mine ON s.hourly FOR SELECT TO authenticated USING (kind = 'mine')",
    )?;
    assert_eq!(seen(&mut client)?, (2, Some(5)));
    Ok(())
}

/// All parts of the view belong to one snapshot, also when a refresh commits while it is being read.
#[test]
fn a_refresh_does_not_tear_a_live_view_that_is_being_read() -> Result<()> {
    for (what, before) in [
        ("a transaction that only reads", ""),
        (
            "a transaction that has written",
            "INSERT INTO s.note VALUES (1);",
        ),
    ] {
        let db = extended("live_snapshot")?;
        let mut client = simple(&db)?;
        client.batch_execute(
            "CREATE TABLE s.note (n int); INSERT INTO s.raw VALUES ('2024-01-01', 'a', 1)",
        )?;
        refresh(&mut client)?;
        client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-01', 'a', 10)")?;
        let mut reader = db.connect()?;
        // A cursor has its snapshot from the moment it is declared, and runs when it is read.
        reader.batch_execute(&format!(
            "BEGIN; {before} DECLARE c CURSOR FOR SELECT kind, rows, total FROM s.hourly_live"
        ))?;
        refresh(&mut client)?;
        assert_eq!(
            table(&mut reader, "FETCH ALL FROM c"),
            ["a | 2 | 11"],
            "{what}"
        );
        reader.batch_execute("COMMIT")?;
    }
    Ok(())
}

#[test]
fn the_view_of_rollups_shows_the_lag() -> Result<()> {
    let db = extended("lag")?;
    let mut client = simple(&db)?;
    let state = "SELECT source, bucket, time_zone, group_by, refreshed_at IS NOT NULL, pending_ranges, pending_from, lag > interval '0'
                   FROM gemba.rollups WHERE rollup = 's.hourly'::regclass";
    assert_eq!(
        value(&mut client, state),
        "s.raw | 01:00:00 | UTC | {kind} | f | 1 | -infinity | t"
    );
    refresh(&mut client)?;
    assert_eq!(
        value(&mut client, state),
        "s.raw | 01:00:00 | UTC | {kind} | t | 0 | - | f"
    );
    client.batch_execute(
        "INSERT INTO s.raw VALUES ('2024-01-02 03:04', 'a', 1), ('2024-01-05 06:07', 'a', 1)",
    )?;
    assert_eq!(
        value(&mut client, state),
        "s.raw | 01:00:00 | UTC | {kind} | t | 2 | 2024-01-02 03:00:00+00 | t"
    );
    refresh(&mut client)?;
    assert_eq!(
        value(
            &mut client,
            "SELECT ranges_changed, rows_changed, refresh_ms > 0 FROM gemba.rollups WHERE rollup = 's.hourly'::regclass"
        ),
        "2 | 2 | t"
    );
    Ok(())
}
