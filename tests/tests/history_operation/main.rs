//! Operating the history tier: policies, compressing beside others, maintenance, retention, damage, roles, imports.

mod beside;
mod crash;
mod damage;
mod import;
mod maintain;
mod policy;
mod retire;
mod roles;
mod rollups;
mod standby;

#[path = "../telemetry_support/mod.rs"]
mod telemetry_support;

use anyhow::{Result, ensure};
use gemba_tests::{Database, table, value};
use postgres::Client;

/// A reading an hour of two machines from January to March 2024, and a twin with the same rows. The table has a policy,
/// and nothing of it is compressed.
fn mill(db: &Database) -> Result<Client> {
    let mut client = db.connect()?;
    furnish(&mut client)?;
    Ok(client)
}

fn furnish(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "CREATE SCHEMA mill;
         CREATE TABLE mill.vibration (at timestamptz NOT NULL, machine text NOT NULL, speed numeric(8,3), load float8, note text)
           PARTITION BY RANGE (at);
         SELECT gemba.manage_partitions('mill.vibration', '1 month', premake => 0, unique_on => ARRAY['machine', 'at']);
         SELECT gemba.ensure_partitions('mill.vibration', '2024-01-01 00:00+00', '2024-04-01 00:00+00');
         INSERT INTO mill.vibration (at, machine, speed, load, note)
         SELECT t, m, CASE WHEN extract(hour FROM t) <> 7 THEN extract(epoch FROM t)::bigint % 4999 / 8.0 END,
                extract(day FROM t) / 3, CASE WHEN extract(hour FROM t) = 3 THEN 'night ' || t::date END
           FROM generate_series(timestamptz '2024-01-01 00:00+00', '2024-03-31 23:00+00', '1 hour') AS t,
                unnest(ARRAY['press', 'saw']) AS m;
         CREATE TABLE mill.twin AS SELECT * FROM mill.vibration;
         SELECT gemba.compress_after('mill.vibration', '{machine}', 'at', '7 days')",
    )?;
    Ok(())
}

const JANUARY: &str = "mill.vibration_p20240101";
const FEBRUARY: &str = "mill.vibration_p20240201";
const MARCH: &str = "mill.vibration_p20240301";

fn compress(client: &mut Client, partition: &str) -> Result<i64, postgres::Error> {
    Ok(client
        .query_one(
            "SELECT gemba.compress_partition($1::text::regclass)",
            &[&partition],
        )?
        .get(0))
}

/// Table and twin hold the same rows, bit for bit.
#[track_caller]
fn expect_same(client: &mut Client) {
    expect_same_as(client, "mill.vibration", "mill.twin");
}

#[track_caller]
fn expect_same_as(client: &mut Client, one: &str, other: &str) {
    for (left, right) in [(one, other), (other, one)] {
        assert_eq!(
            table(
                client,
                &format!(
                    "SELECT t::text FROM {left} AS t EXCEPT ALL SELECT t::text FROM {right} AS t ORDER BY 1 LIMIT 3"
                )
            ),
            Vec::<String>::new(),
            "in {left} and not in {right}"
        );
    }
}

/// `r` for an ordinary table, `f` for a foreign one.
#[track_caller]
fn kind(client: &mut Client, partition: &str) -> String {
    value(
        client,
        &format!("SELECT relkind FROM pg_class WHERE oid = '{partition}'::regclass"),
    )
}

/// The tables behind compressed partitions.
#[track_caller]
fn behind(client: &mut Client) -> Vec<String> {
    table(
        client,
        "SELECT relname FROM pg_class WHERE relnamespace = 'gemba_history'::regnamespace AND relkind = 'r' ORDER BY 1",
    )
}

/// Nothing has been compressed, and nothing is left of an attempt.
#[track_caller]
fn expect_untouched(client: &mut Client) {
    assert_eq!(behind(client), Vec::<String>::new());
    assert_eq!(
        table(client, "SELECT ftrelid::regclass FROM pg_foreign_table"),
        Vec::<String>::new()
    );
    assert_eq!(kind(client, JANUARY), "r");
    expect_same(client);
}

/// All segments are well.
fn expect_sound(client: &mut Client) -> Result<()> {
    let found = table(client, "SELECT * FROM gemba.verify_history()");
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

fn backend(client: &mut Client) -> Result<i32> {
    Ok(client.query_one("SELECT pg_backend_pid()", &[])?.get(0))
}
