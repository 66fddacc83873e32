//! Reading compressed partitions: the same as from a heap, whatever is asked and however it is planned.

mod errors;
mod plans;
mod results;

use anyhow::Result;
use gemba_tests::{Database, extended, table};
use postgres::Client;

/// A database with `s.raw`, two of whose three months are compressed, and its uncompressed twin `s.twin`.
fn twins(name: &str) -> Result<Database<'static>> {
    let db = extended(name)?;
    db.connect()?.batch_execute(include_str!("twins.sql"))?;
    Ok(db)
}

/// Rows among the late ones of a compressed month, and in the twin.
fn add_late_rows(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "CREATE TEMP TABLE late AS
           SELECT id + 1000000 AS id, sensor, at + interval '3 minutes 7 seconds' AS at, place, value, number, single,
                  double, flag, small, day, moment, code, label
             FROM s.twin WHERE id % 37 = 0 AND at BETWEEN '2018-03-05' AND '2018-03-20';
         INSERT INTO s.twin SELECT * FROM late;
         INSERT INTO gemba_history.raw_p20180301_late SELECT *, value * 2 FROM late",
    )?;
    Ok(())
}

/// A query about `{t}` gives the same on the compressed table and on its twin.
#[track_caller]
fn assert_same(client: &mut Client, query: &str) {
    let found = table(client, &query.replace("{t}", "s.raw"));
    let expected = table(client, &query.replace("{t}", "s.twin"));
    assert!(!expected.is_empty(), "{query} finds nothing at all");
    assert_eq!(found, expected, "{query}");
}

/// The plan of a query, as text.
fn plan(client: &mut Client, options: &str, query: &str) -> String {
    table(client, &format!("EXPLAIN ({options}) {query}")).join("\n")
}
