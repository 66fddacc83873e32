//! A standby answers from segments, and follows what happens to them.

use super::*;
use gemba_tests::{Cluster, expect_sqlstate, wait_for};

#[test]
fn a_standby_reads_and_follows() -> Result<()> {
    let primary = Cluster::new()?;
    let db = primary.extended("copied")?;
    let mut client = mill(&db)?;
    compress(&mut client, JANUARY)?;
    let standby = primary.standby()?;
    let mut copy = standby.connect(db.name())?;
    let questions = [
        "SELECT count(*), sum(speed), max(load), count(note) FROM mill.vibration",
        "SELECT machine, date_trunc('day', at, 'UTC'), count(*), avg(speed), min(note) FROM mill.vibration GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT * FROM mill.vibration WHERE machine = 'saw' AND at = '2024-01-10 03:00+00'",
        "SELECT * FROM mill.vibration WHERE machine = 'saw' ORDER BY at DESC LIMIT 3",
        "SELECT partition, rows, late_rows, segments, raw_bytes FROM gemba.history ORDER BY 1",
        "SELECT * FROM gemba.verify_history()",
        "SELECT partition, rls, no_grants, estimated_rows FROM gemba.partitions WHERE parent = 'mill.vibration'::regclass ORDER BY 1",
    ];
    let mut follow = |client: &mut Client, when: &str| {
        let reached = value(client, "SELECT pg_current_wal_insert_lsn()");
        wait_for(
            &mut copy,
            &format!("SELECT pg_last_wal_replay_lsn() >= '{reached}'"),
            "t",
        );
        for question in questions {
            assert_eq!(
                table(&mut copy, question),
                table(client, question),
                "{when}: {question}"
            );
        }
        expect_same(&mut copy);
    };
    follow(&mut client, "at the start");
    compress(&mut client, FEBRUARY)?;
    follow(&mut client, "another month");
    client.batch_execute(
        "WITH new AS (INSERT INTO mill.vibration (at, machine) VALUES ('2024-02-29 23:59:59+00', 'late') RETURNING *)
         INSERT INTO mill.twin SELECT * FROM new;
         DELETE FROM mill.vibration WHERE at = '2024-01-20 20:00+00'; DELETE FROM mill.twin WHERE at = '2024-01-20 20:00+00'",
    )?;
    follow(&mut client, "late rows");
    compress(&mut client, FEBRUARY)?;
    client.batch_execute(&format!("SELECT gemba.decompress_partition('{JANUARY}')"))?;
    follow(&mut client, "folded, decompressed");
    // It cannot be written to.
    expect_sqlstate(compress(&mut copy, MARCH), "25006");
    expect_sqlstate(
        copy.execute("DELETE FROM mill.vibration WHERE at < '2024-03-01'", &[]),
        "25006",
    );
    client.batch_execute("DROP TABLE mill.vibration")?;
    wait_for(
        &mut copy,
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'gemba_history'::regnamespace",
        "0",
    );
    Ok(())
}
