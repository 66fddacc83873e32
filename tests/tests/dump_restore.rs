//! A dump brings everything back, and what comes back works.

use anyhow::{Result, ensure};
use gemba_tests::{
    Cluster, Database, Snapshot, assert_works, extended, fill, fixture_role, run_ok, shared,
    snapshot,
};
use std::path::PathBuf;

/// A database in use, and what is in it.
fn source(name: &str) -> Result<(Database<'static>, Snapshot)> {
    fixture_role(shared()?)?;
    let db = extended(name)?;
    let mut client = db.connect()?;
    fill(&mut client)?;
    let state = snapshot(&mut client)?;
    // A comparison of nothing would prove nothing.
    for (kind, least) in [
        ("table", 20),
        ("rows", 20),
        ("foreign table", 2),
        ("foreign table options", 2),
        ("column options", 10),
        ("position", 4),
        ("policy", 10),
        ("trigger", 2),
        ("event trigger", 1),
        ("function", 10),
        ("grants on function", 10),
        ("grants on relation", 20),
        ("grants on column", 2),
        ("grants on schema", 4),
        ("member", 10),
        ("comment", 10),
    ] {
        let found = state.count(kind);
        ensure!(found >= least, "only {found} of {kind} in the fixture");
    }
    Ok((db, state))
}

fn dump(db: &Database, options: &[&str]) -> Result<PathBuf> {
    let file = db.cluster().dir().join(format!("{}.dump", db.name()));
    run_ok(db.tool("pg_dump").args(options).arg("-f").arg(&file))?;
    Ok(file)
}

/// An empty cluster, as after a disaster: nothing of the old one but the users' own roles.
fn elsewhere() -> Result<Cluster> {
    let cluster = Cluster::new()?;
    fixture_role(&cluster)?;
    Ok(cluster)
}

fn assert_restored(before: &Snapshot, db: &Database, how: &str) -> Result<()> {
    let mut client = db.connect()?;
    before.assert_same(&snapshot(&mut client)?, how);
    // A restored copy does not do the original's work by itself.
    let off: String = client.query_one("SHOW gemba.run_jobs", &[])?.get(0);
    ensure!(off == "off", "{how}: jobs run in the restored database");
    client.batch_execute(&format!(
        "ALTER DATABASE {} RESET gemba.run_jobs",
        db.name()
    ))?;
    drop(client);
    assert_works(&mut db.connect()?)
}

/// Otherwise a failure after a restore says nothing about the restore.
#[test]
fn it_works_before_any_dump() -> Result<()> {
    assert_works(&mut source("dump_baseline")?.0.connect()?)
}

#[test]
fn custom_format_in_one_transaction() -> Result<()> {
    let (db, before) = source("dump_custom")?;
    let file = dump(&db, &["-Fc"])?;
    let cluster = elsewhere()?;
    let target = cluster.database("restored")?;
    run_ok(
        target
            .tool("pg_restore")
            .args(["--exit-on-error", "-1", "-d", target.name()])
            .arg(&file),
    )?;
    assert_restored(&before, &target, "pg_dump -Fc and pg_restore")
}

#[test]
fn custom_format_with_row_security() -> Result<()> {
    let (db, before) = source("dump_custom_rls")?;
    let file = dump(&db, &["-Fc", "--enable-row-security"])?;
    let cluster = elsewhere()?;
    let target = cluster.database("restored")?;
    run_ok(
        target
            .tool("pg_restore")
            .args([
                "--exit-on-error",
                "--enable-row-security",
                "-d",
                target.name(),
            ])
            .arg(&file),
    )?;
    assert_restored(&before, &target, "pg_restore --enable-row-security")
}

#[test]
fn directory_format_in_parallel() -> Result<()> {
    let (db, before) = source("dump_parallel")?;
    let file = dump(&db, &["-Fd", "-j2"])?;
    let cluster = elsewhere()?;
    let target = cluster.database("restored")?;
    run_ok(
        target
            .tool("pg_restore")
            .args(["--exit-on-error", "-j2", "-d", target.name()])
            .arg(&file),
    )?;
    assert_restored(&before, &target, "pg_dump -Fd and pg_restore -j2")
}

fn plain(name: &str, options: &[&str]) -> Result<()> {
    let (db, before) = source(name)?;
    let file = dump(&db, options)?;
    let cluster = elsewhere()?;
    let target = cluster.database("restored")?;
    run_ok(
        target
            .tool("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(&file),
    )?;
    assert_restored(&before, &target, &format!("pg_dump {options:?} and psql"))
}

#[test]
fn plain_text() -> Result<()> {
    plain("dump_plain", &[])
}

#[test]
fn plain_text_with_row_security() -> Result<()> {
    plain("dump_plain_rls", &["--enable-row-security"])
}

#[test]
fn plain_text_as_inserts() -> Result<()> {
    plain("dump_inserts", &["--inserts"])
}

/// Schema and data apart, as some do for a review in between.
#[test]
fn sections_apart() -> Result<()> {
    let (db, before) = source("dump_sections")?;
    let file = dump(&db, &["-Fc"])?;
    let cluster = elsewhere()?;
    let target = cluster.database("restored")?;
    for section in ["pre-data", "data", "post-data"] {
        run_ok(
            target
                .tool("pg_restore")
                .args(["--exit-on-error", "--section", section, "-d", target.name()])
                .arg(&file),
        )?;
    }
    assert_restored(&before, &target, "pg_restore section by section")
}
