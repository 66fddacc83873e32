//! A standby runs nothing, and takes over when it is promoted.

use super::{idle, install, schedule, wait_for_worker};
use anyhow::Result;
use gemba_tests::{Cluster, table, value, wait_for, wait_until};

#[test]
fn a_standby_runs_nothing_until_it_is_promoted() -> Result<()> {
    let primary = Cluster::preloaded(&[])?;
    let (db, mut client) = idle(&primary, "copied")?;
    wait_for_worker(&mut client);
    let standby = primary.standby()?;
    let mut copy = standby.connect(db.name())?;
    client.batch_execute(
        "SELECT gemba.schedule('often', '1 second',
           'INSERT INTO s.done (what) VALUES (pg_postmaster_start_time())', run_as => 'service_role')",
    )?;
    // Due there as well as here, but it runs here.
    wait_for(&mut copy, "SELECT count(*) >= 3 FROM s.done", "t");
    assert_eq!(
        table(
            &mut copy,
            "SELECT state, advice LIKE '%primary%', preloaded, launcher_pid, scheduler_pid FROM gemba.worker_status()"
        ),
        ["standby | t | t | - | -"]
    );
    assert_eq!(
        value(
            &mut copy,
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'gemba%'"
        ),
        "0"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT DISTINCT what = pg_postmaster_start_time()::text FROM s.done"
        ),
        "t"
    );
    // The primary goes in the middle of a run.
    schedule(&mut client, "slow", "SELECT pg_sleep(600)", "")?;
    client.batch_execute("SELECT gemba.run_job_now('slow')")?;
    wait_for(
        &mut copy,
        "SELECT count(*) FROM gemba.job_runs WHERE job = 'slow' AND pid IS NOT NULL",
        "1",
    );
    drop(client);
    primary.crash()?;
    standby.promote()?;
    wait_until("the promoted one runs jobs", || {
        value(&mut copy, "SELECT count(DISTINCT what) FROM s.done") == "2"
    });
    wait_for_worker(&mut copy);
    // What the primary left behind was taken up.
    wait_for(
        &mut copy,
        "SELECT string_agg(status, ' ' ORDER BY id) FROM gemba.job_runs WHERE job = 'slow'",
        "interrupted running",
    );
    // Both the rows and the runs of a run were replicated, or neither.
    copy.batch_execute("SELECT gemba.unschedule('often')")?;
    wait_for(
        &mut copy,
        "SELECT count(*) FROM gemba.job_runs WHERE job = 'often' AND status = 'running'",
        "0",
    );
    assert_eq!(
        value(
            &mut copy,
            "SELECT (SELECT count(*) FROM s.done) = (SELECT count(*) FROM gemba.job_runs WHERE job = 'often' AND status = 'succeeded')"
        ),
        "t"
    );
    Ok(())
}

/// What would write is refused as any other statement that writes.
#[test]
fn on_a_standby_nothing_is_run_or_changed_by_hand() -> Result<()> {
    let primary = Cluster::preloaded(&[])?;
    let (db, mut client) = idle(&primary, "by_hand")?;
    schedule(&mut client, "j", "SELECT 1", "")?;
    let standby = primary.standby()?;
    let mut copy = standby.connect(db.name())?;
    let mut wrong = Vec::new();
    for call in [
        "gemba.run_due_jobs()",
        "gemba.run_job_now('j')",
        "gemba.enable_job('j', false)",
        "gemba.unschedule('j')",
        "gemba.schedule('k', '1 hour', 'SELECT 1')",
        "gemba.expire_job_runs()",
    ] {
        match copy.batch_execute(&format!("SELECT * FROM {call}")) {
            Err(error) if error.code().is_some_and(|code| code.code() == "25006") => {}
            other => wrong.push(format!("{call}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// The extension comes to a standby by replication, while nobody there looks.
#[test]
fn a_standby_of_a_server_without_jobs_learns_of_them() -> Result<()> {
    let primary = Cluster::preloaded(&[])?;
    let db = primary.database("later")?;
    let standby = primary.standby()?;
    let mut client = db.connect()?;
    install(&mut client)?;
    client.batch_execute(
        "CREATE TABLE done (n int); GRANT ALL ON done TO service_role;
         SELECT gemba.schedule('j', '1 second', 'INSERT INTO public.done VALUES (1)', run_as => 'service_role')",
    )?;
    wait_for(&mut client, "SELECT count(*) > 0 FROM done", "t");
    let mut copy = standby.connect(db.name())?;
    wait_for(&mut copy, "SELECT count(*) > 0 FROM done", "t");
    drop(client);
    primary.stop()?;
    standby.promote()?;
    let before: i64 = value(&mut copy, "SELECT count(*) FROM done").parse()?;
    wait_for(
        &mut copy,
        &format!("SELECT count(*) > {before} FROM done"),
        "t",
    );
    Ok(())
}
