//! The pipelines: what a row becomes, what happens to rows that cannot be taken, and everybody at once.

mod bad_rows;
mod concurrency;
mod daily;
mod inbox;
mod live;
#[path = "../plant_rows/mod.rs"]
mod plant_rows;
mod summaries;
mod targets;

use anyhow::Result;
use gemba_tests::{Database, extended};
use plant_rows::{plant, table};
use postgres::Client;

/// A database with the three machines of [`plant`].
fn with_plant(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    plant(&mut client)?;
    Ok((db, client))
}

/// Snapshots of any age are kept, so that a test can choose its days.
fn keep_all(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "SELECT gemba.manage_partitions('plant.live_snapshots', '1 day', premake => 3, retain => NULL, on_expire => 'drop')",
    )?;
    Ok(())
}

/// More machines, `A1` and so on, with ids of their own.
fn machines(client: &mut Client, number: i32) -> Result<()> {
    client.batch_execute(&format!(
        "INSERT INTO plant.assets (id, name, source_id)
           SELECT ('00000000-0000-0000-0001-' || lpad(i::text, 12, '0'))::uuid, 'Machine ' || i, 'A' || i
             FROM generate_series(1, {number}) AS i"
    ))?;
    Ok(())
}

/// Which version of each row there is: another one shows that it was written.
fn versions(client: &mut Client, relation: &str, key: &str) -> Vec<String> {
    table(
        client,
        &format!("SELECT {key}, xmin, ctid FROM {relation} ORDER BY {key}"),
    )
}
