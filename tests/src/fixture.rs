//! A database in use, and whether it still works after it has been moved.

use crate::client::as_user;
use crate::cluster::Cluster;
use anyhow::{Context, Result, ensure};
use postgres::Client;

/// One row in a domain table.
pub const ONE_SENSOR: &str =
    "INSERT INTO telemetry.sensors (sensor_id, floor_number) VALUES ('floor1.s1', 1)";

/// The user with everything, from fixture.sql.
const PROFESSIONAL: &str = "00000000-0000-0000-0000-0000000000a1";

/// The fixture's role: of a cluster, so a dump of one database does not bring it.
pub fn fixture_role(cluster: &Cluster) -> Result<()> {
    cluster.connect("postgres")?.batch_execute(
        "DO $$ BEGIN CREATE ROLE fixture_reader;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
    )?;
    Ok(())
}

/// Fills a database that has the extension with all modules.
pub fn fill(client: &mut Client) -> Result<()> {
    // Statement by statement: a block that commits needs that, and an error is easier to place.
    for statement in statements(include_str!("fixture.sql")) {
        client
            .batch_execute(statement)
            .with_context(|| statement.to_owned())?;
    }
    Ok(())
}

/// Splits at a semicolon that ends a line; a dollar-quoted body has to stand on one line.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n")
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// Buckets where a rollup and its source disagree.
const DISAGREEMENTS: &[(&str, &str)] = &[
    (
        "telemetry.hourly_aggregates",
        "SELECT * FROM (
           SELECT bucket, sensor_id, reading_count, sum_value, min_value, max_value FROM telemetry.hourly_aggregates) AS kept
         FULL JOIN (
           SELECT date_bin('1 hour', \"timestamp\", '2000-01-01 00:00+00') AS bucket, sensor_id,
                  count(reading_value) AS reading_count, sum(reading_value) AS sum_value,
                  min(reading_value) AS min_value, max(reading_value) AS max_value
             FROM telemetry.sensor_readings GROUP BY 1, 2) AS fresh USING (bucket, sensor_id)
         WHERE (kept.reading_count, kept.sum_value, kept.min_value, kept.max_value)
               IS DISTINCT FROM (fresh.reading_count, fresh.sum_value, fresh.min_value, fresh.max_value)",
    ),
    (
        "telemetry.daily_aggregates",
        "SELECT * FROM (
           SELECT bucket, sensor_id, reading_count, sum_value, min_value, max_value FROM telemetry.daily_aggregates) AS kept
         FULL JOIN (
           SELECT date_trunc('day', \"timestamp\", 'Asia/Bangkok') AS bucket, sensor_id,
                  count(reading_value) AS reading_count, sum(reading_value) AS sum_value,
                  min(reading_value) AS min_value, max(reading_value) AS max_value
             FROM telemetry.sensor_readings GROUP BY 1, 2) AS fresh USING (bucket, sensor_id)
         WHERE (kept.reading_count, kept.sum_value, kept.min_value, kept.max_value)
               IS DISTINCT FROM (fresh.reading_count, fresh.sum_value, fresh.min_value, fresh.max_value)",
    ),
    // Only what is not archived: beyond that the rollup knows more than its source.
    (
        "shop.orders_hourly",
        "WITH edge AS (SELECT min(from_time) AS at FROM gemba.partitions WHERE parent = 'shop.orders'::regclass)
         SELECT * FROM (
           SELECT bucket, customer, total, n FROM shop.orders_hourly, edge WHERE bucket >= edge.at) AS kept
         FULL JOIN (
           SELECT date_bin('1 hour', placed_at, '2000-01-01 00:00+00') AS bucket, customer, sum(amount) AS total, count(*) AS n
             FROM shop.orders GROUP BY 1, 2) AS fresh USING (bucket, customer)
         WHERE (kept.total, kept.n) IS DISTINCT FROM (fresh.total, fresh.n)",
    ),
];

const MORE_CHANGES: &str = "
SELECT gemba.ensure_partitions('telemetry.sensor_readings', '2025-04-01 00:00+07', '2025-06-01 00:00+07');
INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, reading_value)
  VALUES ('2025-05-31 23:59:59+07', 'floor4.s3', 4, 1), ('2025-01-31 12:00+07', 'floor4.s3', 4, 2);
UPDATE telemetry.sensor_readings SET reading_value = 5 WHERE sensor_id = 'floor5.s4' AND \"timestamp\" < '2025-02-02';
SELECT gemba.maintain_partitions();
INSERT INTO shop.orders (placed_at, customer, amount) VALUES (now(), 4, 4);
DELETE FROM shop.orders WHERE customer = 1 AND placed_at > now() - interval '1 day';
SELECT gemba.refresh_rollups();
";

/// Does everything still work here: partitions, rollups with their pending changes, policies, deploy?
/// Changes the database.
pub fn assert_works(client: &mut Client) -> Result<()> {
    let archived: i64 = client
        .query_one("SELECT count(*) FROM pg_class WHERE relnamespace = 'gemba_archive'::regnamespace AND relkind = 'r'", &[])?
        .get(0);
    ensure!(archived > 0, "the archive is empty");
    ensure!(
        client
            .query("SELECT * FROM gemba.deploy()", &[])?
            .is_empty(),
        "deploy() found something to do"
    );

    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    agree(client, "after the first refresh")?;

    // Each in a transaction of its own: changes are known to a refresh once they are committed.
    for statement in statements(MORE_CHANGES) {
        client
            .batch_execute(statement)
            .with_context(|| statement.to_owned())?;
    }
    agree(client, "after more changes")?;

    let unsealed: i64 = client
        .query_one(
            "SELECT count(*) FROM gemba.partitions WHERE NOT rls OR NOT no_grants",
            &[],
        )?
        .get(0);
    ensure!(
        unsealed == 0,
        "{unsealed} partitions without row level security, or with grants"
    );

    let count = "SELECT count(*) FROM telemetry.sensor_readings";
    let all: i64 = client.query_one(count, &[])?.get(0);
    let seen: i64 = as_user(client, "authenticated", Some(PROFESSIONAL), |tx| {
        Ok(tx.query_one(count, &[])?.get(0))
    })?;
    ensure!(
        seen == all && all > 0,
        "a professional sees {seen} of {all} readings"
    );
    let seen: i64 = as_user(client, "authenticated", None, |tx| {
        Ok(tx.query_one(count, &[])?.get(0))
    })?;
    ensure!(
        seen == 0,
        "a user without a subscription sees {seen} readings"
    );
    Ok(())
}

fn agree(client: &mut Client, when: &str) -> Result<()> {
    for (rollup, disagreements) in DISAGREEMENTS {
        let rows: i64 = client
            .query_one(&format!("SELECT count(*) FROM {rollup}"), &[])?
            .get(0);
        ensure!(rows > 0, "{rollup} is empty {when}");
        let wrong = client.query(
            &format!("SELECT d::text FROM ({disagreements}) AS d LIMIT 3"),
            &[],
        )?;
        let wrong: Vec<String> = wrong.iter().map(|row| row.get(0)).collect();
        ensure!(
            wrong.is_empty(),
            "{rollup} is not what its source says {when}: {wrong:#?}"
        );
    }
    Ok(())
}
