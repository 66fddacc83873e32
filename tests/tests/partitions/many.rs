//! Years of hourly partitions in one call.

use super::{actions, value};
use anyhow::Result;
use gemba_tests::{Cluster, expect_sqlstate, extended};

const TABLE: &str = "
    CREATE SCHEMA s;
    CREATE TABLE s.t (at timestamptz NOT NULL, name text, value float8) PARTITION BY RANGE (at);
    CREATE INDEX t_at_idx ON s.t USING brin (at);
    SELECT gemba.manage_partitions('s.t', '1 hour', premake => 0, unique_on => ARRAY['name', 'at'])";

/// The error comes before the work and says how many would do; that many then do.
#[test]
fn more_partitions_than_locks_are_refused_with_a_number() -> Result<()> {
    let db = extended("too_many")?;
    let mut client = db.connect()?;
    client.batch_execute(TABLE)?;
    let error = expect_sqlstate(
        client.batch_execute("SELECT gemba.ensure_partitions('s.t', '2000-01-01', '2010-01-01')"),
        "53400",
    );
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("max_locks_per_transaction"), "{hint}");
    let fit: i64 = hint
        .split(|c: char| !c.is_ascii_digit())
        .find(|part| !part.is_empty())
        .unwrap_or_default()
        .parse()?;
    assert!(fit > 100, "{hint}");
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 's.t'::regclass"
        ),
        "1"
    );
    Ok(())
}

#[test]
fn the_number_in_the_refusal_does() -> Result<()> {
    // The least that a server has, so that the number is small.
    let cluster = Cluster::with_settings(&[
        ("max_locks_per_transaction", "10"),
        ("max_connections", "20"),
    ])?;
    let db = cluster.database("few_locks")?;
    let mut client = db.connect()?;
    client.batch_execute("SET gemba.deploy = 'none'; CREATE EXTENSION gemba")?;
    client.batch_execute(TABLE)?;
    let call = |hours: i64| {
        format!(
            "SELECT gemba.ensure_partitions('s.t', '2000-01-01', timestamptz '2000-01-01' + interval '{hours} hours')"
        )
    };
    let error = expect_sqlstate(client.batch_execute(&call(100_000)), "53400");
    let fit: i64 = error
        .hint()
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .find(|part| !part.is_empty())
        .unwrap_or_default()
        .parse()?;
    expect_sqlstate(client.batch_execute(&call(fit + 1)), "53400");
    client.batch_execute(&call(fit))?;
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 's.t'::regclass"
        ),
        (fit + 1).to_string()
    );
    Ok(())
}

/// A range of centuries is refused as well, and before anybody counts its hours.
#[test]
fn a_range_of_centuries_is_refused() -> Result<()> {
    let db = extended("centuries")?;
    let mut client = db.connect()?;
    client.batch_execute(TABLE)?;
    client.batch_execute("SET statement_timeout = '60s'")?;
    let call = "SELECT gemba.ensure_partitions('s.t', '0001-01-01', '9999-12-31')";
    expect_sqlstate(client.batch_execute(call), "53400");
    Ok(())
}

#[test]
#[ignore = "long: ten thousand partitions take a minute"]
fn ten_thousand_hours_in_one_call() -> Result<()> {
    let cluster = Cluster::with_settings(&[("max_locks_per_transaction", "4000")])?;
    let db = cluster.database("ten_thousand")?;
    let mut client = db.connect()?;
    client.batch_execute("SET gemba.deploy = 'none'; CREATE EXTENSION gemba")?;
    client.batch_execute(TABLE)?;
    let ensure = "gemba.ensure_partitions('s.t', '2000-01-01', timestamptz '2000-01-01' + interval '10000 hours')";
    assert_eq!(actions(&mut client, ensure)?.len(), 10_000);
    assert_eq!(actions(&mut client, ensure)?, []);
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM gemba.partitions WHERE rls AND no_grants"
        ),
        "10001"
    );
    // A few hundred at a time: one statement that meets all of them holds a page of each one's BRIN index.
    for start in (0..10_000).step_by(500) {
        client.batch_execute(&format!(
            "INSERT INTO s.t SELECT timestamptz '2000-01-01' + n * interval '1 hour', 'x', n
               FROM generate_series({start}, {start} + 499) AS n"
        ))?;
    }
    assert_eq!(value(&mut client, "SELECT count(*) FROM s.t"), "10000");
    Ok(())
}
