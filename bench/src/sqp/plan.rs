//! The plan of many tables and dependencies.

use super::{Size, target};
use crate::Options;
use crate::report::{Report, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress, time};
use anyhow::{Result, ensure};
use std::time::Duration;

const DATABASE: &str = "bench_sqp";
const LIMIT: Duration = Duration::from_millis(100);

pub fn measure(server: &Server, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    progress("refreshes: the plan");
    let mut client = server.connect(DATABASE)?;
    let sql = include_str!("../../sql/sqp/edges.gemba.sql");
    let (took, ()) =
        time(|| Ok(client.batch_execute(&sql.replace("{edges}", &size.edges.to_string()))?))?;
    let edges: i64 = client
        .query_one("SELECT count(*) FROM sqp.refresh_dependencies", &[])?
        .get(0);
    report.row(
        "dependencies in one statement, checked for cycles",
        "gemba",
        show(took),
        format!("{} dependencies", thousands(edges.unsigned_abs())),
        1,
        String::new(),
    );
    for statement in [
        "UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '1 minute' WHERE table_schema = 'elsewhere'",
        "VACUUM ANALYZE",
    ] {
        client.batch_execute(statement)?;
    }
    let mut samples = Samples::default();
    for _ in 0..options.calls.min(50) {
        let (took, rows) =
            time(|| Ok(client.query("SELECT * FROM sqp.refresh_plan()", &[])?.len()))?;
        ensure!(rows >= size.tables as usize, "the plan has {rows} rows");
        samples.push(took);
    }
    report.row(
        &format!(
            "plan of {} tables with {} dependencies",
            thousands(size.tables.into()),
            thousands(edges.unsigned_abs())
        ),
        "gemba: refresh_plan()",
        show(samples.median()),
        format!("p95 {}, all rows fetched", show(samples.percentile(95))),
        samples.count(),
        String::new(),
    );
    target(
        report,
        "the plan in less than 100 ms",
        samples.percentile(95) < LIMIT,
        &show(samples.percentile(95)),
    );
    drop(client);
    server.drop_database(DATABASE)
}
