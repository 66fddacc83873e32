//! A server that dies while a partition is compressed.

use super::*;
use gemba_tests::{Cluster, signal, wait_for, wait_until};
use std::thread;

#[test]
fn a_crash_leaves_the_old_partition_and_nothing_else() -> Result<()> {
    let cluster = Cluster::new()?;
    let db = cluster.extended("crash")?;
    let mut client = mill(&db)?;
    compress(&mut client, FEBRUARY)?;
    for kill in [false, true] {
        thread::scope(|scope| -> Result<()> {
            let mut writer = db.connect()?;
            writer.batch_execute(
                "BEGIN; INSERT INTO mill.vibration (at, machine) VALUES ('2024-01-05 12:34+00', 'lathe')",
            )?;
            let mut session = db.connect()?;
            session.batch_execute("SET gemba.lock_patience = '10min'")?;
            let pid = backend(&mut session)?;
            let run = scope.spawn(move || compress(&mut session, JANUARY));
            // Its segments are written, and the writer is in the way.
            wait_for(
                &mut client,
                &format!(
                    "SELECT count(*) FROM pg_locks WHERE pid = {pid} AND mode = 'ShareUpdateExclusiveLock' AND locktype = 'relation'"
                ),
                "2",
            );
            if kill {
                // The server takes all its sessions down with one that is killed, and comes back by itself.
                signal("-9", pid)?;
                wait_until("the server has noticed", || {
                    client.simple_query("SELECT 1").is_err()
                });
            } else {
                cluster.crash()?;
            }
            assert!(run.join().is_ok_and(|outcome| outcome.is_err()));
            Ok(())
        })?;
        if !kill {
            cluster.start()?;
        }
        wait_until("the server is back", || {
            db.connect().is_ok_and(|new| {
                client = new;
                true
            })
        });
        assert_eq!(kind(&mut client, JANUARY), "r");
        assert_eq!(
            table(
                &mut client,
                "SELECT ftrelid::regclass FROM pg_foreign_table"
            ),
            [FEBRUARY]
        );
        assert_eq!(
            behind(&mut client),
            ["vibration_p20240201", "vibration_p20240201_late"]
        );
        expect_same(&mut client);
        expect_sound(&mut client)?;
    }
    compress(&mut client, JANUARY)?;
    expect_same(&mut client);
    Ok(())
}
