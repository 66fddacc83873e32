//! pg_upgrade from 17 to 18. It needs two servers, so it is not part of a run against one; `make test`
//! has a stage for it. By hand:
//!
//! ```text
//! GEMBA_TEST_PG_CONFIG_17=… GEMBA_TEST_PG_CONFIG_18=… cargo test -p gemba-tests --test upgrade -- --ignored
//! ```

use anyhow::{Context, Result};
use gemba_tests::{Cluster, assert_works, fill, fixture_role, run, run_ok, snapshot};
use std::path::Path;

fn cluster(variable: &str) -> Result<Cluster> {
    let config = std::env::var(variable).with_context(|| format!("{variable} is not set"))?;
    Cluster::created(Path::new(&config), &[])
}

#[test]
#[ignore = "needs two servers: GEMBA_TEST_PG_CONFIG_17 and GEMBA_TEST_PG_CONFIG_18"]
fn pg_upgrade_17_to_18_brings_everything_along() -> Result<()> {
    let old = cluster("GEMBA_TEST_PG_CONFIG_17")?;
    old.start()?;
    fixture_role(&old)?;
    let db = old.extended("upgraded")?;
    let mut client = db.connect()?;
    fill(&mut client)?;
    let before = snapshot(&mut client)?;
    drop(client);
    old.stop()?;

    let new = cluster("GEMBA_TEST_PG_CONFIG_18")?;
    assert_eq!((old.major(), new.major()), (17, 18));
    let upgraded = run(new
        .server_tool("pg_upgrade")?
        .arg("-b")
        .arg(old.bin())
        .arg("-B")
        .arg(new.bin())
        .arg("-d")
        .arg(old.data())
        .arg("-D")
        .arg(new.data())
        .args(["-U", "postgres", "-s"])
        .arg(new.dir()))?;
    assert!(
        upgraded.success,
        "{}{}{}",
        upgraded.stdout,
        upgraded.stderr,
        logs(&new.data().join("pg_upgrade_output.d"))
    );
    new.start()?;
    let mut client = new.connect(db.name())?;
    before.assert_same(&snapshot(&mut client)?, "pg_upgrade");
    assert_works(&mut client)
}

/// What pg_upgrade wrote: its own output only names the files.
fn logs(folder: &Path) -> String {
    run_ok(std::process::Command::new("find").arg(folder).args([
        "-name", "*.log", "-size", "+0", "-exec", "tail", "-n", "20", "{}", "+",
    ]))
    .unwrap_or_default()
}
