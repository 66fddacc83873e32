//! DROP EXTENSION never takes data along without being told to.

use anyhow::Result;
use gemba_tests::{Database, empty, expect_sqlstate};
use postgres::Client;

/// SQLSTATE of an object that others depend on.
const DEPENDENT: &str = "2BP01";

fn names(client: &mut Client, sql: &str) -> Result<Vec<String>> {
    Ok(client
        .query(sql, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

fn tables(client: &mut Client) -> Result<Vec<String>> {
    names(
        client,
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname IN ('cloudwatcher', 'gemba', 'gemba_archive', 'plant', 'reporting', 'sqp', 'telemetry') AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
          ORDER BY 1",
    )
}

/// What is in the database besides its own: nothing of the extension may stay behind.
fn left_behind(client: &mut Client) -> Result<Vec<String>> {
    names(
        client,
        "SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname IN ('cloudwatcher', 'gemba', 'gemba_archive', 'gemba_internal', 'plant', 'reporting', 'sqp', 'telemetry')
         UNION ALL SELECT 'extension ' || extname FROM pg_extension WHERE extname = 'gemba'
         UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
         UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE probin LIKE '%gemba%'",
    )
}

fn created(name: &str, deploy: Option<&str>) -> Result<(Database<'static>, Client)> {
    let db = empty(name)?;
    let mut client = db.connect()?;
    if let Some(deploy) = deploy {
        // Not known before the library is loaded, but a placeholder of this name is accepted.
        client.execute("SELECT set_config('gemba.deploy', $1, false)", &[&deploy])?;
    }
    client.batch_execute("CREATE EXTENSION gemba")?;
    Ok((db, client))
}

#[test]
fn drop_refuses_while_there_are_tables() -> Result<()> {
    let (_db, mut client) = created("drop_refuses", None)?;
    let before = tables(&mut client)?;
    assert!(
        before
            .iter()
            .any(|name| name == "telemetry.sensor_readings"),
        "{before:?}"
    );
    assert!(
        before.iter().any(|name| name == "plant.live_snapshots"),
        "{before:?}"
    );
    let error = expect_sqlstate(client.execute("DROP EXTENSION gemba", &[]), DEPENDENT);
    // Those that need one of its types are named, whatever else is.
    for name in ["telemetry", "plant.daily_summaries"] {
        assert!(
            error.detail().unwrap_or_default().contains(name),
            "{name}: {error:?}"
        );
    }
    assert_eq!(tables(&mut client)?, before);
    Ok(())
}

#[test]
fn cascade_removes_all_and_a_new_start_works() -> Result<()> {
    let (_db, mut client) = created("drop_cascade", None)?;
    let before = tables(&mut client)?;
    client.batch_execute("DROP EXTENSION gemba CASCADE")?;
    assert_eq!(left_behind(&mut client)?, Vec::<String>::new());
    client.batch_execute("CREATE EXTENSION gemba")?;
    assert_eq!(
        tables(&mut client)?,
        before,
        "the second CREATE EXTENSION differs from the first"
    );
    Ok(())
}

#[test]
fn without_modules_a_plain_drop_works() -> Result<()> {
    let (_db, mut client) = created("drop_none", Some("none"))?;
    let domain = names(
        &mut client,
        "SELECT oid::regclass::text FROM pg_class
          WHERE relnamespace IN ('plant'::regnamespace, 'reporting'::regnamespace, 'sqp'::regnamespace, 'telemetry'::regnamespace, 'gemba_archive'::regnamespace)
            -- Types are the extension's.
            AND relkind <> 'c'",
    )?;
    assert_eq!(
        domain,
        Vec::<String>::new(),
        "gemba.deploy = 'none' deployed something"
    );
    assert_eq!(
        names(&mut client, "SELECT module FROM gemba.schema_versions")?,
        Vec::<String>::new()
    );
    client.batch_execute("DROP EXTENSION gemba")?;
    assert_eq!(left_behind(&mut client)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_list_of_modules_is_deployed_with_what_they_require() -> Result<()> {
    let (_db, mut client) = created("drop_list", Some("telemetry"))?;
    let modules = names(
        &mut client,
        "SELECT DISTINCT module FROM gemba.schema_versions ORDER BY 1",
    )?;
    assert!(
        modules.iter().any(|name| name == "telemetry"),
        "{modules:?}"
    );
    assert!(
        tables(&mut client)?
            .iter()
            .any(|name| name == "telemetry.sensors")
    );
    Ok(())
}

#[test]
fn an_unknown_module_stops_the_creation() -> Result<()> {
    let db = empty("drop_unknown")?;
    let mut client = db.connect()?;
    client.batch_execute("SET gemba.deploy = 'telemetry, kitchen'")?;
    let error = expect_sqlstate(client.execute("CREATE EXTENSION gemba", &[]), "22023");
    assert!(
        error.detail().unwrap_or_default().contains("kitchen"),
        "{error:?}"
    );
    assert_eq!(left_behind(&mut client)?, Vec::<String>::new());
    Ok(())
}
