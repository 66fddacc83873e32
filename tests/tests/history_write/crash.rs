//! A crash leaves all of a change, or nothing.

use super::{assert_rollup, assert_rows, fold, leaf, months};
use anyhow::Result;
use gemba_tests::Cluster;

#[test]
fn a_crash_leaves_all_or_nothing() -> Result<()> {
    let cluster = Cluster::new()?;
    let db = cluster.extended("write_crash")?;
    let mut client = months(&db)?;
    for name in ["h.packed", "h.plain"] {
        client.batch_execute(&format!(
            "INSERT INTO {name} (sensor, at, value) SELECT s, timestamptz '2024-01-01 00:01' + n * interval '5 hours', n
               FROM generate_series(1, 6) AS s, generate_series(0, 140) AS n;
             UPDATE {name} SET value = value + 1 WHERE at < '2024-01-15'"
        ))?;
    }
    let january = leaf(&mut client, "2024-01-01");
    for unfinished in [
        "DELETE FROM h.packed WHERE sensor < 4".to_owned(),
        "UPDATE h.packed SET value = 7".to_owned(),
        format!("SELECT gemba.compress_partition('{january}')"),
        "TRUNCATE h.packed".to_owned(),
    ] {
        client.batch_execute(&format!("BEGIN; {unfinished}; CHECKPOINT"))?;
        drop(client);
        cluster.crash()?;
        cluster.start()?;
        client = db.connect()?;
        assert_rows(&mut client, &unfinished);
    }
    // What was committed stays.
    fold(&mut client, "2024-01-01")?;
    client.batch_execute(
        "DELETE FROM h.packed WHERE sensor = 2; DELETE FROM h.plain WHERE sensor = 2",
    )?;
    drop(client);
    cluster.crash()?;
    cluster.start()?;
    let mut client = db.connect()?;
    assert_rows(&mut client, "after a commit");
    assert_rollup(&mut client, "after a commit")
}
