//! Deploying and taking back: history, refusals, repeats, two at once, and a database that already has
//! Supabase's roles and schema.

use anyhow::{Context, Result};
use gemba_tests::{
    Cluster, Database, Snapshot, empty, expect_sqlstate, extended, line_changes, privileges,
    snapshot,
};
use postgres::Client;

/// Those that stand on their own tables.
/// Each before those that it requires.
const MODULES: [&str; 6] = [
    "telemetry",
    "plant",
    "sqp",
    "reporting",
    "cloudwatcher",
    "audit",
];

fn names(client: &mut Client, sql: &str) -> Result<Vec<String>> {
    Ok(client
        .query(sql, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

fn latest(client: &mut Client, module: &str) -> Result<i32> {
    Ok(client
        .query_one(
            "SELECT max(version) FROM gemba.available_migrations() WHERE module = $1",
            &[&module],
        )?
        .get(0))
}

/// `module version direction` of each migration that ran, oldest first.
fn history(client: &mut Client) -> Result<Vec<String>> {
    names(
        client,
        "SELECT format('%s %s %s', module, version, direction) FROM gemba.schema_versions ORDER BY id",
    )
}

/// The database without what a migration leaves on purpose: its own history, and numbers handed out. A
/// rollup made anew has a new number, which stands in its triggers and in its live view. The plant's
/// settings, the tables registered for refresh, roles and the audit trail know when they were made.
fn shape(client: &mut Client) -> Result<Snapshot> {
    const BEFORE_NUMBERS: &[&str] = &[
        "gemba_rollup_",
        "capture_rows('",
        "capture_truncate('",
        "note_insert(new.\"timestamp\", ",
        "note_insert(new.snapshot_timestamp, ",
        "pending_buckets(",
    ];
    Ok(snapshot(client)?
        .without(|kind, name| {
            ["rows", "position"].contains(&kind)
                && (name.starts_with("gemba.") || name.starts_with("cloudwatcher.audit_logs"))
                || ["rows", "position"].contains(&kind)
                    && [
                        "cloudwatcher.role_permissions",
                        "cloudwatcher.roles",
                        "plant.settings",
                        "sqp.refresh_config",
                        "sqp.refresh_config_id_seq",
                        "sqp.refresh_dependencies",
                        "sqp.refresh_dependencies_id_seq",
                    ]
                    .contains(&name)
        })
        .rewritten(|text| {
            BEFORE_NUMBERS
                .iter()
                .fold(text.to_owned(), |text, prefix| blank_numbers(&text, prefix))
        }))
}

/// Takes away the digits that follow each `prefix`.
fn blank_numbers(text: &str, prefix: &str) -> String {
    let mut parts = text.split(prefix);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str(prefix);
        result.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    result
}

fn without_modules(name: &str) -> Result<Database<'static>> {
    let db = empty(name)?;
    db.connect()?
        .batch_execute("SET gemba.deploy = 'none'; CREATE EXTENSION gemba")?;
    Ok(db)
}

#[test]
fn history_says_what_ran_when_and_by_whom() -> Result<()> {
    let db = extended("history")?;
    let mut client = db.connect()?;
    for module in MODULES {
        let latest = latest(&mut client, module)?;
        let rows = client.query(
            "SELECT version, name, checksum, applied_at <= now() AS past, applied_by, direction, execution_ms
               FROM gemba.schema_versions WHERE module = $1 ORDER BY id",
            &[&module],
        )?;
        assert_eq!(
            rows.iter()
                .map(|row| row.get("version"))
                .collect::<Vec<i32>>(),
            (1..=latest).collect::<Vec<_>>(),
            "{module}"
        );
        for row in rows {
            let checksum: String = row.get("checksum");
            assert!(
                checksum.len() == 64 && checksum.chars().all(|c| c.is_ascii_hexdigit()),
                "{checksum}"
            );
            assert!(!row.get::<_, String>("name").is_empty());
            assert!(row.get::<_, bool>("past"));
            assert_eq!(row.get::<_, String>("applied_by"), "postgres");
            assert_eq!(row.get::<_, String>("direction"), "up");
            assert!(row.get::<_, f64>("execution_ms") > 0.0);
        }
    }
    Ok(())
}

#[test]
fn deploying_again_does_nothing() -> Result<()> {
    let db = extended("deploy_again")?;
    let mut client = db.connect()?;
    let (before, ran) = (snapshot(&mut client)?, history(&mut client)?);
    assert_eq!(client.query("SELECT * FROM gemba.deploy()", &[])?.len(), 0);
    for module in MODULES {
        for again in [
            "SELECT * FROM gemba.deploy($1)",
            "SELECT * FROM gemba.migrate($1)",
        ] {
            assert_eq!(
                client.query(again, &[&module])?.len(),
                0,
                "{again}: {module}"
            );
        }
    }
    assert_eq!(history(&mut client)?, ran);
    before.assert_same(&snapshot(&mut client)?, "deploying again");
    Ok(())
}

/// A later deploy has to give what CREATE EXTENSION gives: the same tables, grants and memberships.
#[test]
fn a_later_deploy_equals_an_install() -> Result<()> {
    let installed = extended("deploy_first")?;
    let later = without_modules("deploy_later")?;
    let mut client = later.connect()?;
    client.query("SELECT * FROM gemba.deploy()", &[])?;
    shape(&mut installed.connect()?)?.assert_same(&shape(&mut client)?, "deploying later");
    Ok(())
}

#[test]
fn every_migration_goes_down_and_up_again() -> Result<()> {
    for module in MODULES {
        goes_down_and_up_again(module)?;
    }
    Ok(())
}

fn goes_down_and_up_again(module: &str) -> Result<()> {
    let db = without_modules(&format!("down_up_{module}"))?;
    let mut client = db.connect()?;
    client.query("SELECT * FROM gemba.deploy($1)", &[&module])?;
    let latest = latest(&mut client, module)?;
    assert!(latest > 0);
    let mut shapes = vec![shape(&mut client)?];
    for version in (0..latest).rev() {
        let steps = client.query(
            "SELECT version, direction FROM gemba.migrate($1, $2)",
            &[&module, &version],
        )?;
        assert_eq!(steps.len(), 1, "{module} down to {version}");
        assert_eq!(steps[0].get::<_, i32>(0), version + 1);
        assert_eq!(steps[0].get::<_, String>(1), "down");
        shapes.push(shape(&mut client)?);
    }
    let left = names(
        &mut client,
        "SELECT oid::regclass::text FROM pg_class
          WHERE relnamespace IN ('telemetry'::regnamespace, 'gemba_archive'::regnamespace)
             -- Their types are the extension's.
             OR relnamespace IN ('plant'::regnamespace, 'reporting'::regnamespace, 'sqp'::regnamespace) AND relkind <> 'c'
             OR relnamespace = 'cloudwatcher'::regnamespace
         UNION ALL SELECT evtname FROM pg_event_trigger WHERE evtname NOT LIKE 'gemba%'
         UNION ALL SELECT parent::text FROM gemba.partition_sets
         UNION ALL SELECT rollup::text FROM gemba.rollups",
    )?;
    // The audit trail, which others require, stays.
    let left: Vec<String> = left
        .into_iter()
        .filter(|name| {
            module == "audit"
                || !name.starts_with("cloudwatcher.audit_")
                    && !name.starts_with("cloudwatcher.data_access")
        })
        .collect();
    assert_eq!(
        left,
        Vec::<String>::new(),
        "version 0 of {module} is not empty"
    );
    for version in 0..latest {
        let expected = shapes.pop().context("one shape for each version")?;
        expected.assert_same(
            &shape(&mut client)?,
            &format!("{module}: going down below {version} and up again"),
        );
        client.query(
            "SELECT * FROM gemba.migrate($1, $2)",
            &[&module, &(version + 1)],
        )?;
    }
    shapes[0].assert_same(
        &shape(&mut client)?,
        &format!("{module}: going all the way down and up again"),
    );
    Ok(())
}

#[test]
fn a_failed_statement_leaves_no_half_migration() -> Result<()> {
    let db = without_modules("deploy_rollback")?;
    let mut client = db.connect()?;
    let before = snapshot(&mut client)?;
    // The name of a table to come is taken, so a migration fails somewhere in the middle.
    client.batch_execute("CREATE TABLE telemetry.daily_aggregates (in_the_way int)")?;
    let failed = client.query("SELECT * FROM gemba.deploy('telemetry')", &[]);
    expect_sqlstate(failed, "42P07");
    client.batch_execute("DROP TABLE telemetry.daily_aggregates")?;
    let positions = |kind: &str, _: &str| kind == "position";
    before.without(positions).assert_same(
        &snapshot(&mut client)?.without(positions),
        "a failed deploy",
    );
    client.query("SELECT * FROM gemba.deploy('telemetry')", &[])?;
    Ok(())
}

#[test]
fn undeploy_refuses_while_there_are_rows() -> Result<()> {
    let db = extended("undeploy")?;
    let mut client = db.connect()?;
    client.batch_execute(gemba_tests::ONE_SENSOR)?;
    let before = snapshot(&mut client)?;
    let error = expect_sqlstate(
        client.query("SELECT * FROM gemba.undeploy('telemetry')", &[]),
        "2BP01",
    );
    assert!(
        error.detail().unwrap_or_default().contains("sensor"),
        "{error:?}"
    );
    assert!(
        error.hint().unwrap_or_default().contains("force"),
        "{error:?}"
    );
    before.assert_same(&snapshot(&mut client)?, "a refused undeploy");

    client.query(
        "SELECT * FROM gemba.undeploy('telemetry', force => true)",
        &[],
    )?;
    let left = names(
        &mut client,
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'telemetry'::regnamespace",
    )?;
    assert_eq!(left, Vec::<String>::new());
    assert!(history(&mut client)?.contains(&"telemetry 1 down".to_owned()));
    client.query("SELECT * FROM gemba.deploy('telemetry')", &[])?;
    client.batch_execute(gemba_tests::ONE_SENSOR)?;
    Ok(())
}

#[test]
fn an_empty_module_is_undeployed_without_force() -> Result<()> {
    let db = extended("undeploy_empty")?;
    let mut client = db.connect()?;
    for module in MODULES {
        // The trail tells of the rooms that were deployed, and is not lost by accident.
        let force = module == "audit";
        client.query("SELECT * FROM gemba.undeploy($1, $2)", &[&module, &force])?;
        assert!(
            client
                .query("SELECT * FROM gemba.undeploy($1)", &[&module])?
                .is_empty(),
            "{module} twice"
        );
    }
    Ok(())
}

#[test]
fn what_another_module_requires_stays() -> Result<()> {
    for module in ["telemetry", "plant"] {
        let db = without_modules(&format!("undeploy_required_{module}"))?;
        let mut client = db.connect()?;
        client.query("SELECT * FROM gemba.deploy($1)", &[&module])?;
        for (required, by) in [("auth", "audit"), ("audit", module)] {
            let error = expect_sqlstate(
                client.query("SELECT * FROM gemba.undeploy($1, true)", &[&required]),
                "2BP01",
            );
            assert!(error.hint().unwrap_or_default().contains(by), "{error:?}");
            expect_sqlstate(
                client.query("SELECT * FROM gemba.migrate($1, 0)", &[&required]),
                "2BP01",
            );
        }
        for module in [module, "audit", "auth"] {
            client.query("SELECT * FROM gemba.undeploy($1, true)", &[&module])?;
        }
    }
    Ok(())
}

#[test]
fn mistakes_are_told_with_a_remedy() -> Result<()> {
    let db = extended("deploy_mistakes")?;
    let mut client = db.connect()?;
    for (statement, word) in [
        ("SELECT * FROM gemba.deploy('kitchen')", "telemetry"),
        ("SELECT * FROM gemba.undeploy('kitchen')", "telemetry"),
        ("SELECT * FROM gemba.migrate('kitchen')", "telemetry"),
        ("SELECT * FROM gemba.migrate('telemetry', 9999)", "0 to"),
        ("SELECT * FROM gemba.migrate('telemetry', -1)", "0 to"),
    ] {
        let error = expect_sqlstate(client.query(statement, &[]), "22023");
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains(word), "{statement}: the hint is {hint:?}");
        assert!(error.detail().is_some(), "{statement}: no detail");
    }
    Ok(())
}

#[test]
fn two_sessions_deploy_at_once() -> Result<()> {
    let db = without_modules("deploy_two")?;
    let results: Vec<Result<usize>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<usize> {
                    Ok(db
                        .connect()?
                        .query("SELECT * FROM gemba.deploy()", &[])?
                        .len())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))
            })
            .collect()
    });
    let steps = results.into_iter().collect::<Result<Vec<_>>>()?;
    assert_eq!(
        steps.iter().filter(|steps| **steps > 0).count(),
        1,
        "who did the work: {steps:?}"
    );
    let mut client = db.connect()?;
    let ran = history(&mut client)?;
    let unique: std::collections::BTreeSet<_> = ran.iter().collect();
    assert_eq!(unique.len(), ran.len(), "a migration ran twice: {ran:?}");
    shape(&mut extended("deploy_one")?.connect()?)?
        .assert_same(&shape(&mut client)?, "four deploys at once");
    Ok(())
}

#[test]
fn a_changed_migration_is_reported() -> Result<()> {
    let db = extended("deploy_checksum")?;
    let mut client = db.connect()?;
    let changed = "SELECT format('%s %s', module, changed_versions) FROM gemba.modules
                    WHERE changed_versions <> '{}'";
    assert_eq!(
        names(&mut client, changed)?,
        Vec::<String>::new(),
        "nothing has changed yet"
    );
    client.execute(
        "UPDATE gemba.schema_versions SET checksum = repeat('0', 64) WHERE module = 'telemetry' AND version = 1",
        &[],
    )?;
    assert_eq!(names(&mut client, changed)?, ["telemetry {1}"]);
    Ok(())
}

#[test]
fn only_administrators_deploy() -> Result<()> {
    let db = extended("deploy_denied")?;
    let stranger = db.role("stranger")?;
    for role in ["anon", "authenticated", "service_role", &stranger] {
        let mut client = db.connect_as(role)?;
        for statement in [
            "SELECT * FROM gemba.deploy()",
            "SELECT * FROM gemba.undeploy('telemetry', true)",
            "SELECT * FROM gemba.migrate('telemetry', 0)",
        ] {
            expect_sqlstate(client.query(statement, &[]), "42501");
        }
    }
    Ok(())
}

/// What Supabase has before anybody installs anything: roles that log in, generous default grants, and
/// an auth schema with more columns and other functions than the stand-in's.
const SUPABASE: &str = "
  CREATE ROLE anon NOLOGIN NOINHERIT;
  CREATE ROLE authenticated NOLOGIN NOINHERIT;
  CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;
  COMMENT ON ROLE anon IS 'theirs';
  CREATE ROLE supabase_auth_admin NOINHERIT CREATEROLE LOGIN;
  CREATE SCHEMA auth AUTHORIZATION supabase_auth_admin;
  GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role;
  CREATE TABLE auth.users (
    instance_id uuid, id uuid PRIMARY KEY, aud varchar(255), role varchar(255), email varchar(255),
    encrypted_password varchar(255), raw_app_meta_data jsonb, raw_user_meta_data jsonb,
    created_at timestamptz, phone text UNIQUE, is_anonymous boolean NOT NULL DEFAULT false);
  ALTER TABLE auth.users OWNER TO supabase_auth_admin;
  ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;
  INSERT INTO auth.users (id, email) VALUES ('00000000-0000-0000-0000-00000000000a', 'a@example.org');
  CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
      (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'))::uuid $$;
  CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('request.jwt.claim.role', true), ''),
      (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'))::text $$;
  CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('request.jwt.claim', true), ''),
      nullif(current_setting('request.jwt.claims', true), ''))::jsonb $$;
  ALTER FUNCTION auth.uid() OWNER TO supabase_auth_admin;
  ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon, authenticated, service_role;
  ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
  ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
";

#[test]
fn a_supabase_database_keeps_what_it_has() -> Result<()> {
    const OURS: &[&str] = &[
        "cloudwatcher",
        "gemba",
        "gemba_archive",
        "gemba_internal",
        "plant",
        "reporting",
        "sqp",
        "telemetry",
    ];
    // Roles belong to the cluster, so this one needs a cluster where nobody has made them yet.
    let cluster = Cluster::new()?;
    let db = cluster.database("supabase")?;
    let mut client = db.connect()?;
    client.batch_execute(SUPABASE)?;
    let theirs = |snapshot: Snapshot| {
        snapshot.without(|kind, name| {
            OURS.iter().any(|schema| name.contains(schema))
                || name.contains("auto_register_refresh_tables")
                || kind == "extension"
        })
    };
    let roles =
        "SELECT r::text FROM (SELECT rolname, rolsuper, rolinherit, rolcanlogin, rolbypassrls,
        shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname !~ '^pg_') AS r ORDER BY 1";
    let roles_before = names(&mut client, roles)?;
    let before = theirs(snapshot(&mut client)?);
    assert!(
        before
            .get("rows", "auth.users")
            .is_some_and(|rows| rows.starts_with("1 rows"))
    );

    client.batch_execute("CREATE EXTENSION gemba")?;
    before.assert_same(&theirs(snapshot(&mut client)?), "CREATE EXTENSION");
    assert_eq!(names(&mut client, roles)?, roles_before);

    // Their default grants reach none of our objects, nor a partition that is made later.
    client.batch_execute(
        "SELECT gemba.ensure_partitions('telemetry.sensor_readings', '2031-01-01', '2031-03-01');
         SELECT gemba.ensure_partitions('plant.live_snapshots', '2031-01-01', '2031-01-03');
         SELECT gemba.ensure_partitions('sqp.refresh_audit_log', '2031-01-01', '2031-01-03')",
    )?;
    client.batch_execute("CREATE ROLE passer_by")?;
    let elsewhere = extended("supabase_compare")?;
    let stranger = elsewhere.role("passer_by")?;
    let changes = line_changes(
        &privileges(&mut elsewhere.connect()?, &stranger, OURS)?,
        &privileges(&mut client, "passer_by", OURS)?,
    );
    assert!(
        changes.is_empty(),
        "their default privileges changed ours:\n{changes}"
    );

    // Going away leaves theirs as it was.
    for module in MODULES {
        client.query("SELECT * FROM gemba.undeploy($1, $1 = 'audit')", &[&module])?;
    }
    client.query("SELECT * FROM gemba.undeploy('auth')", &[])?;
    client.batch_execute("DROP EXTENSION gemba")?;
    before.assert_same(
        &theirs(snapshot(&mut client)?),
        "undeploy and DROP EXTENSION",
    );
    Ok(())
}

#[test]
fn a_database_in_another_encoding_is_refused() -> Result<()> {
    let cluster = gemba_tests::shared()?;
    cluster.connect("postgres")?.batch_execute(
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )?;
    let mut client = cluster.connect("latin")?;
    let error = expect_sqlstate(client.execute("CREATE EXTENSION gemba", &[]), "0A000");
    assert_eq!(error.detail(), Some("this one is in LATIN1"));
    assert!(error.hint().is_some_and(|hint| hint.contains("UTF8")));
    Ok(())
}
