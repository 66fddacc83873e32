//! What is planned, and what EXPLAIN says of it.

use crate::{plan, twins};
use anyhow::Result;

#[test]
fn explain_shows_what_is_left_out() -> Result<()> {
    let db = twins("explain")?;
    let mut client = db.connect()?;
    // Six segments are read through as soon as six rows are sorted.
    client.batch_execute("SET enable_sort = off")?;
    let found = plan(
        &mut client,
        "ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF",
        "SELECT id FROM s.raw WHERE sensor = 3 AND at >= '2018-03-10' AND at < '2018-03-11' ORDER BY at",
    );
    assert!(
        found.contains("Segments by: key look-up (sensor), in order of time"),
        "{found}"
    );
    assert!(found.contains("Segments: 1 read, 0 skipped"), "{found}");
    assert!(
        found.contains("Time: ((") && !found.contains("Filter"),
        "{found}"
    );
    let found = plan(
        &mut client,
        "ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF",
        "SELECT id FROM s.raw_p20180301 WHERE sensor % 2 = 0 AND id < 0",
    );
    assert!(found.contains("Segments by: all"), "{found}");
    assert!(
        found.contains("Segment Filter: ((sensor % 2) = 0)"),
        "{found}"
    );
    assert!(found.contains("Column Filter: (id < 0)"), "{found}");
    assert!(found.contains("Segments: 0 read, 6 skipped"), "{found}");
    let found = plan(
        &mut client,
        "ANALYZE, FORMAT JSON",
        "SELECT id FROM s.raw_p20180301",
    );
    assert!(found.contains("\"Segments Read\": 6"), "{found}");
    Ok(())
}

#[test]
fn the_last_row_of_a_series_is_found_without_sorting() -> Result<()> {
    let db = twins("last")?;
    let mut client = db.connect()?;
    let found = plan(
        &mut client,
        "COSTS OFF",
        "SELECT * FROM s.raw_p20180301 WHERE sensor = 3 ORDER BY at DESC LIMIT 1",
    );
    assert!(
        found.contains("in order of time, backward") && !found.contains("Sort"),
        "{found}"
    );
    let found = plan(
        &mut client,
        "COSTS OFF",
        "SELECT max(at) FROM s.raw_p20180301 WHERE sensor = 3",
    );
    assert!(found.contains("in order of time, backward"), "{found}");
    Ok(())
}

#[test]
fn analyze_counts_and_samples() -> Result<()> {
    let db = twins("analyze")?;
    let mut client = db.connect()?;
    let exact = client.query_one(
        "SELECT reltuples::bigint = (SELECT count(*) FROM s.raw_p20180301) FROM pg_class
          WHERE oid = 's.raw_p20180301'::regclass",
        &[],
    )?;
    assert!(exact.get::<_, bool>(0));
    let near = client.query_one(
        "SELECT bool_and(abs(a.null_frac - b.null_frac) < 0.05) AND count(*) > 10
           FROM pg_stats a JOIN pg_stats b ON b.schemaname = 's' AND b.tablename = 'twin' AND b.attname = a.attname
          WHERE a.schemaname = 's' AND a.tablename = 'raw_p20180301'",
        &[],
    )?;
    assert!(near.get::<_, bool>(0));
    Ok(())
}
