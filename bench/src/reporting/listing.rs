//! The dashboards that a user may see, beside a policy that asks a function for each row.

use super::{Size, target};
use crate::Options;
use crate::reads::{WARM_UP, as_user, calls_row};
use crate::report::{Report, factor, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress, time};
use anyhow::{Result, ensure};
use gemba_tests::Random;

const DATABASE: &str = "bench_reporting_listing";
const LIMIT: std::time::Duration = std::time::Duration::from_millis(5);

/// Calls of the slow side.
const FEW: usize = 5;

const OURS: &str =
    "SELECT m.dashboard_id::text, m.name::text FROM reporting.my_dashboards m ORDER BY 1";
const BY_ROW: &str =
    "SELECT d.dashboard_id::text, d.name::text FROM by_row.dashboards d ORDER BY 1";

pub fn measure(server: &Server, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    progress("dashboards: who may see which");
    let shares = size.dashboards * 10;
    let users = size.dashboards / 10;
    server.create_database(DATABASE)?;
    let mut owner = server.connect(DATABASE)?;
    owner.batch_execute("CREATE EXTENSION gemba")?;
    let sql = include_str!("../../sql/reporting/listing.sql");
    owner.batch_execute(
        &sql.replace("{dashboards}", &size.dashboards.to_string())
            .replace("{users}", &users.to_string())
            .replace("{shares}", &shares.to_string()),
    )?;
    owner.batch_execute("VACUUM ANALYZE")?;
    owner.batch_execute("CHECKPOINT")?;
    report.note(&format!(
        "lists of dashboards: {} dashboards of {} users, {} shares, as users with 10 of their own and 100 of others; {} calls after {WARM_UP} that do not count, of other users each time, all rows fetched; {FEW} of the policy by row. Both give the same rows",
        thousands(size.dashboards.into()),
        thousands(users.into()),
        thousands(shares.into()),
        options.calls
    ));
    let mut random = Random::new(6);
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let mut client = server.connect_with_timeout(DATABASE, "10min")?;
    for call in 0..options.calls + WARM_UP {
        let user = random.below(users.into()) + 1;
        let user = format!("00000000-0000-4000-8000-{user:012}");
        client.batch_execute("RESET ROLE")?;
        client = as_user(client, &user)?;
        let (took, rows) = time(|| Ok(client.query(OURS, &[])?))?;
        ensure!(!rows.is_empty(), "a user sees nothing");
        if call >= WARM_UP {
            ours.push(took);
        }
        if call < FEW {
            let (took, same) = time(|| Ok(client.query(BY_ROW, &[])?))?;
            theirs.push(took);
            let names = |rows: &[postgres::Row]| -> Vec<String> {
                rows.iter().map(|row| row.get(0)).collect()
            };
            ensure!(names(&rows) == names(&same), "the sides list others");
        }
    }
    let what = format!(
        "a user's list of {} dashboards",
        thousands(size.dashboards.into())
    );
    calls_row(
        report,
        &what,
        "gemba: reporting.my_dashboards",
        &ours,
        String::new(),
        String::new(),
    );
    let ratio = theirs.median().as_secs_f64() / ours.median().as_secs_f64().max(1e-9);
    calls_row(
        report,
        &what,
        "a policy that asks a function for each row",
        &theirs,
        String::new(),
        format!("gemba is {} as fast", factor(ratio)),
    );
    let p95 = ours.percentile(95);
    target(
        report,
        &format!("{what} in less than {} (p95)", show(LIMIT)),
        p95 < LIMIT,
        &show(p95),
    );
    drop((owner, client));
    server.drop_database(DATABASE)
}
