//! Aggregates computed on segments: the same as over rows, and used where they can be.

mod access;
mod plans;
mod results;
mod switch;

use anyhow::Result;
use gemba_tests::{Database, extended, table};
use postgres::Client;

/// A database with `s.raw`, two of whose four months are compressed, and its uncompressed twin `s.twin`.
fn twins(name: &str) -> Result<Database<'static>> {
    let db = extended(name)?;
    db.connect()?.batch_execute(include_str!("twins.sql"))?;
    Ok(db)
}

/// Rows that came after their month was compressed, in both tables.
fn add_late_rows(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "CREATE TABLE s.late AS SELECT * FROM s.rows('2018-03-10 00:11', '2018-03-13', '3 hours', 3);
         INSERT INTO gemba_history.raw_p20180301_late SELECT * FROM s.late;
         INSERT INTO s.twin SELECT * FROM s.late",
    )?;
    Ok(())
}

/// How often the plan of a query computes aggregates on segments.
fn on_segments(client: &mut Client, query: &str) -> usize {
    table(client, &format!("EXPLAIN {query}"))
        .iter()
        .filter(|line| line.contains("computed on segments"))
        .count()
}

/// A query about `{t}` gives the same on the compressed table and on its twin.
#[track_caller]
fn assert_same(client: &mut Client, query: &str) {
    let found = table(client, &query.replace("{t}", "s.raw"));
    let expected = table(client, &query.replace("{t}", "s.twin"));
    assert_eq!(found, expected, "{query}");
}
