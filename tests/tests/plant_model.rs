//! The plant's tables: what the seed asks of them, who may do what, and what becomes of them.

use anyhow::Result;
use gemba_tests::{
    Cluster, Database, Snapshot, as_user, empty, expect_sqlstate, extended, snapshot,
};
use postgres::{Client, GenericClient};
use std::collections::BTreeSet;

const PRESS: &str = "00000000-0000-0000-0000-000000000101";
const LATHE: &str = "00000000-0000-0000-0000-000000000102";
const NOBODY: &str = "00000000-0000-0000-0000-0000000000ff";
/// The one user of [`ONE_OF_EACH`].
const USER: &str = "00000000-0000-0000-0000-0000000000a1";

/// Each table, whether `authenticated` reads it, and what `service_role` may: read, add, write, delete.
const TABLES: &[(&str, bool, &str)] = &[
    ("assets", true, "rawd"),
    ("cost_centers", true, "rawd"),
    ("daily_inbox", false, "rad"),
    ("daily_summaries", true, "rawd"),
    ("ingest_rejects", false, "rawd"),
    ("live_hourly", true, "r"),
    ("live_hourly_live", true, "r"),
    ("live_inbox", false, "rad"),
    ("live_snapshots", true, "rawd"),
    ("machine_states", true, "rawd"),
    ("safety_codes", true, "rawd"),
    ("safety_event_log", true, "r"),
    ("safety_events", true, "rawd"),
    ("settings", true, "rw"),
    ("shift_targets", true, "rawd"),
    ("shifts", true, "rawd"),
];

/// The one of them that nobody can write to: it is a union.
const VIEW: &str = "live_hourly_live";

/// Every function that somebody may call, and whether `authenticated` may.
const CALLS: &[(&str, bool)] = &[
    ("availability(now() - interval '1 hour', now())", true),
    ("financial_loss(30, 100, 5, 10)", true),
    ("ingest_daily('[]')", false),
    ("ingest_live('[]')", false),
    ("live_status()", true),
    ("loss_pareto('2025-06-01', '2025-07-01')", true),
    ("loss_waterfall(480, 30, 30, 800, 790, 100)", true),
    ("morning_report('2025-07-01')", true),
    ("morning_report_html('2025-07-01')", true),
    ("oee(480, 30, 30, 800, 790)", true),
    ("oee_agg(480, 30, 30, 800, 790)", true),
    ("oee_figures('(1,1,1,1,1,1,1)')", true),
    ("oee_merge('(1,1,1,1,1,1,1)')", true),
    ("oee_state_agg(480, 30, 30, 800, 790)", true),
    ("oee_trend(NULL, '2025-06-01', '2025-07-01')", true),
    ("process_daily(1)", false),
    ("process_live(1)", false),
    (
        "reopen_safety_event((SELECT id FROM plant.safety_events LIMIT 1))",
        true,
    ),
    (
        "resolve_safety_event((SELECT id FROM plant.safety_events LIMIT 1))",
        true,
    ),
    ("safety_summary('2025-06-01', '2025-07-01')", true),
    ("state_durations(now() - interval '1 hour', now())", true),
    (
        "target_at('00000000-0000-0000-0000-000000000101', now())",
        true,
    ),
    ("teep(480, 30, 30, 800, 790)", true),
    ("today()", true),
    ("variance(95, 100)", true),
];

/// A row in each table.
const ONE_OF_EACH: &str = "
  INSERT INTO auth.users (id, email) VALUES ('00000000-0000-0000-0000-0000000000a1', 'a@example.org');
  INSERT INTO plant.assets (id, name, source_id) VALUES
    ('00000000-0000-0000-0000-000000000101', 'Press', 'PRESS'),
    ('00000000-0000-0000-0000-000000000102', 'Lathe', 'LATHE');
  INSERT INTO plant.cost_centers (asset_id, standard_hourly_rate)
    VALUES ('00000000-0000-0000-0000-000000000101', 100);
  INSERT INTO plant.shift_targets (asset_id, target_output, shift)
    VALUES ('00000000-0000-0000-0000-000000000101', 500, 'Day');
  INSERT INTO plant.daily_summaries (asset_id, report_date, oee_percentage)
    VALUES ('00000000-0000-0000-0000-000000000101', '2025-07-01', 81.25);
  INSERT INTO plant.live_snapshots (asset_id, snapshot_timestamp, current_output, target_output)
    VALUES ('00000000-0000-0000-0000-000000000101', now(), 90, 100);
  INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity)
    VALUES ('00000000-0000-0000-0000-000000000101', now(), 'Safety Issue', 'high');
  INSERT INTO plant.machine_states (asset_id, started_at, state)
    VALUES ('00000000-0000-0000-0000-000000000101', now(), 'running');
  INSERT INTO plant.daily_inbox (source_id) VALUES ('PRESS');
  INSERT INTO plant.live_inbox (source_id) VALUES ('PRESS');
  INSERT INTO plant.ingest_rejects (pipeline, row_number, reason, raw) VALUES ('live', 1, 'why', '{}')";

fn filled(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    client.batch_execute(ONE_OF_EACH)?;
    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    Ok((db, client))
}

fn without_modules(name: &str) -> Result<(Database<'static>, Client)> {
    let db = empty(name)?;
    let mut client = db.connect()?;
    client.batch_execute("SET gemba.deploy = 'none'; CREATE EXTENSION gemba")?;
    Ok((db, client))
}

fn names(client: &mut impl GenericClient, sql: &str) -> Result<Vec<String>, postgres::Error> {
    Ok(client
        .query(sql, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

/// The single value of a query, as text; `NULL` where it is.
fn one(client: &mut impl GenericClient, sql: &str) -> Result<String, postgres::Error> {
    let value: Option<String> = client
        .query_one(&format!("SELECT (({sql}))::text"), &[])?
        .get(0);
    Ok(value.unwrap_or_else(|| "NULL".into()))
}

fn count(client: &mut impl GenericClient, from: &str) -> Result<i64, postgres::Error> {
    Ok(client
        .query_one(&format!("SELECT count(*) FROM {from}"), &[])?
        .get(0))
}

/// Fails with this SQLSTATE and leaves nothing behind; the constraint that refused, if one did.
#[track_caller]
fn refused(client: &mut Client, sql: &str, code: &str) -> String {
    let error = expect_sqlstate(client.batch_execute(sql), code);
    error.constraint().unwrap_or_default().to_owned()
}

/// What is in the room, without the types, which are the extension's.
const RELATIONS: &str = "SELECT relname::text FROM pg_class
   WHERE relnamespace = 'plant'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition ORDER BY 1";

/// The database without the history of its migrations and what tells when they ran.
fn shape(client: &mut Client) -> Result<Snapshot> {
    Ok(snapshot(client)?.without(|kind, name| {
        ["rows", "position"].contains(&kind)
            && (name.starts_with("gemba.") || name.starts_with("cloudwatcher.audit_logs"))
            || (kind, name) == ("rows", "plant.settings")
            // A rollup made anew has a new number, which these contain.
            || kind == "trigger" && name.contains(".gemba_rollup_")
            || (kind, name) == ("view", "plant.live_hourly_live")
    }))
}

// The seed's testing requirements ------------------------------------------------------------------

/// 1.
#[test]
fn the_migrations_apply_to_a_clean_database() -> Result<()> {
    let (_db, mut client) = without_modules("model_clean")?;
    assert_eq!(names(&mut client, RELATIONS)?, Vec::<String>::new());
    let steps = names(
        &mut client,
        "SELECT format('%s %s %s %s', module, version, name, direction) FROM gemba.deploy('plant')",
    )?;
    assert_eq!(
        steps,
        [
            "auth 1 stand_in up",
            "audit 1 log up",
            "audit 2 seals up",
            "audit 3 access up",
            "audit 4 jobs up",
            "plant 1 model up",
            "plant 2 daily up",
            "plant 3 live up",
            "plant 4 safety up",
            "plant 5 states up",
            "plant 6 inbox up",
            "plant 7 jobs up",
            "plant 8 audit up",
        ]
    );
    assert_eq!(
        names(&mut client, RELATIONS)?,
        TABLES
            .iter()
            .map(|(name, ..)| (*name).to_owned())
            .collect::<Vec<_>>()
    );
    assert_eq!(
        names(
            &mut client,
            "SELECT format('%s %s of %s, %s pending', module, installed_version, available_version, pending)
               FROM gemba.modules WHERE module IN ('auth', 'plant')",
        )?,
        ["auth 1 of 1, 0 pending", "plant 8 of 8, 0 pending"]
    );
    client.batch_execute(ONE_OF_EACH)?;
    Ok(())
}

/// 2.
#[test]
fn the_migrations_roll_back_and_come_up_the_same() -> Result<()> {
    let (_db, mut client) = without_modules("model_rollback")?;
    client.batch_execute("SELECT gemba.deploy('auth', 'audit')")?;
    let without = shape(&mut client)?;
    client.batch_execute("SELECT gemba.deploy('plant')")?;
    let with = shape(&mut client)?;
    assert!(with.count("table") >= without.count("table") + TABLES.len() - 1);

    let steps = names(
        &mut client,
        "SELECT version || ' ' || direction FROM gemba.migrate('plant', 0)",
    )?;
    assert_eq!(
        steps,
        [
            "8 down", "7 down", "6 down", "5 down", "4 down", "3 down", "2 down", "1 down"
        ]
    );
    without.assert_same(&shape(&mut client)?, "rolling back");
    client.batch_execute("SELECT gemba.migrate('plant')")?;
    with.assert_same(&shape(&mut client)?, "rolling back and up again");

    // Also with rows, and from the middle.
    client.batch_execute(ONE_OF_EACH)?;
    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    client.batch_execute("SELECT gemba.migrate('plant', 3)")?;
    assert_eq!(
        names(&mut client, RELATIONS)?,
        [
            "assets",
            "cost_centers",
            "daily_summaries",
            "live_hourly",
            "live_hourly_live",
            "live_snapshots",
            "settings",
            "shift_targets",
            "shifts"
        ]
    );
    assert_eq!(count(&mut client, "plant.daily_summaries")?, 1);
    client.batch_execute("SELECT gemba.migrate('plant', 0)")?;
    client.batch_execute("DELETE FROM auth.users")?;
    without.assert_same(&shape(&mut client)?, "rolling back with rows");
    Ok(())
}

/// 3.
#[test]
fn anon_is_kept_out_of_every_table_and_function() -> Result<()> {
    let (_db, mut client) = filled("model_anon")?;
    let leaks = "
      SELECT 'schema' FROM pg_namespace WHERE nspname = 'plant' AND has_schema_privilege('anon', oid, 'USAGE, CREATE')
      UNION ALL
      SELECT oid::regclass::text FROM pg_class
       WHERE relnamespace = 'plant'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
         AND (has_table_privilege('anon', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
              OR has_any_column_privilege('anon', oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
      UNION ALL
      SELECT oid::regclass::text FROM pg_class
       WHERE relnamespace = 'plant'::regnamespace
         AND CASE WHEN relkind = 'S' THEN has_sequence_privilege('anon', oid, 'SELECT, UPDATE, USAGE') END
      UNION ALL
      SELECT oid::regprocedure::text FROM pg_proc
       WHERE pronamespace = 'plant'::regnamespace AND has_function_privilege('anon', oid, 'EXECUTE')";
    assert_eq!(names(&mut client, leaks)?, Vec::<String>::new());

    // It would stay so if somebody opened the schema's door.
    for door in ["SELECT 1", "GRANT USAGE ON SCHEMA plant TO anon"] {
        client.batch_execute(door)?;
        for (table, ..) in TABLES {
            let mut statements = vec![format!("SELECT FROM plant.{table}")];
            if *table != VIEW {
                statements.extend([
                    format!("INSERT INTO plant.{table} DEFAULT VALUES"),
                    format!("DELETE FROM plant.{table}"),
                    format!("TRUNCATE plant.{table}"),
                ]);
            }
            for statement in statements {
                expect_sqlstate(
                    as_user(&mut client, "anon", None, |tx| tx.batch_execute(&statement)),
                    "42501",
                );
            }
        }
        for (call, _) in CALLS {
            let statement = format!("SELECT plant.{call}");
            expect_sqlstate(
                as_user(&mut client, "anon", None, |tx| tx.batch_execute(&statement)),
                "42501",
            );
        }
    }

    // And if somebody granted the tables too, its rows would still be hidden.
    client.batch_execute("GRANT SELECT ON ALL TABLES IN SCHEMA plant TO anon")?;
    for (table, ..) in TABLES {
        assert!(
            count(&mut client, &format!("plant.{table}"))? > 0,
            "{table}: nothing to hide"
        );
        let seen = as_user(&mut client, "anon", Some(NOBODY), |tx| {
            count(tx, &format!("plant.{table}"))
        })?;
        assert_eq!(seen, 0, "anon sees {table}");
    }
    Ok(())
}

/// 4.
#[test]
fn authenticated_reads_everything_and_writes_nothing() -> Result<()> {
    let (_db, mut client) = filled("model_authenticated")?;
    for (table, reads, _) in TABLES {
        let there = count(&mut client, &format!("plant.{table}"))?;
        assert!(there > 0, "{table} is empty");
        let seen = as_user(&mut client, "authenticated", Some(NOBODY), |tx| {
            count(tx, &format!("plant.{table}"))
        });
        if *reads {
            assert_eq!(seen?, there, "{table}");
        } else {
            expect_sqlstate(seen, "42501");
        }
        if *table == VIEW {
            continue;
        }
        let column = one(
            &mut client,
            &format!(
                "SELECT quote_ident(attname) FROM pg_attribute
                  WHERE attrelid = 'plant.{table}'::regclass AND attnum > 0 AND attgenerated = '' AND attidentity = ''
                  ORDER BY attnum LIMIT 1"
            ),
        )?;
        let writes = [
            format!("INSERT INTO plant.{table} DEFAULT VALUES"),
            format!("UPDATE plant.{table} SET {column} = NULL"),
            format!("DELETE FROM plant.{table}"),
            format!("TRUNCATE plant.{table}"),
            format!("SELECT FROM plant.{table} FOR UPDATE"),
            format!("LOCK TABLE plant.{table} IN ROW EXCLUSIVE MODE"),
        ];
        for statement in writes {
            let result = as_user(&mut client, "authenticated", Some(NOBODY), |tx| {
                tx.batch_execute(&statement)
            });
            expect_sqlstate(result, "42501");
        }
        assert_eq!(count(&mut client, &format!("plant.{table}"))?, there);
    }
    // A partition is reached through its parent only.
    for partition in names(
        &mut client,
        "SELECT partition::text FROM gemba.partitions WHERE parent = 'plant.live_snapshots'::regclass",
    )? {
        let result = as_user(&mut client, "authenticated", None, |tx| {
            count(tx, &partition)
        });
        expect_sqlstate(result, "42501");
    }
    // Functions: those for users, and no others.
    for (call, allowed) in CALLS {
        let statement = format!("SELECT plant.{call}");
        let mut call_as = |user| {
            as_user(&mut client, "authenticated", user, |tx| {
                tx.batch_execute(&statement)
            })
        };
        // Nobody resolves anonymously.
        if call.contains("_safety_event(") {
            let error = expect_sqlstate(call_as(None), "42501");
            assert_eq!(error.message(), "nobody is logged in");
        }
        let result = call_as(Some(USER));
        if *allowed {
            result.map_err(|error| anyhow::anyhow!("{statement}: {error:?}"))?;
        } else {
            expect_sqlstate(result, "42501");
        }
    }
    Ok(())
}

/// The lists above leave nothing out.
#[test]
fn the_lists_of_tables_and_functions_are_complete() -> Result<()> {
    let db = extended("model_lists")?;
    let mut client = db.connect()?;
    assert_eq!(
        names(&mut client, RELATIONS)?,
        TABLES
            .iter()
            .map(|(name, ..)| (*name).to_owned())
            .collect::<Vec<_>>()
    );
    let listed: BTreeSet<String> = CALLS
        .iter()
        .filter_map(|(call, _)| call.split('(').next())
        .map(str::to_owned)
        .collect();
    let there: BTreeSet<String> = names(
        &mut client,
        r"SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'plant'::regnamespace AND proname !~ '^_'",
    )?
    .into_iter()
    .collect();
    assert_eq!(listed, there);
    Ok(())
}

/// Changes of one row of each table that `service_role` writes: added, changed, deleted.
const CYCLES: &[(&str, &str, &str)] = &[
    (
        "INSERT INTO plant.assets (id, name, source_id) VALUES ('00000000-0000-0000-0000-000000000103', 'Mill', 'MILL')",
        "UPDATE plant.assets SET area = 'North' WHERE source_id = 'MILL'",
        "DELETE FROM plant.assets WHERE source_id = 'MILL'",
    ),
    (
        "INSERT INTO plant.cost_centers (asset_id, standard_hourly_rate) VALUES ('00000000-0000-0000-0000-000000000102', 1)",
        "UPDATE plant.cost_centers SET cost_per_unit = 2 WHERE standard_hourly_rate = 1",
        "DELETE FROM plant.cost_centers WHERE cost_per_unit = 2",
    ),
    (
        "INSERT INTO plant.shifts (name, starts_at, ends_at) VALUES ('Late', '20:00', '02:00')",
        "UPDATE plant.shifts SET name = 'Later' WHERE name = 'Late'",
        "DELETE FROM plant.shifts WHERE name = 'Later'",
    ),
    (
        "INSERT INTO plant.shift_targets (asset_id, target_output) VALUES ('00000000-0000-0000-0000-000000000102', 7)",
        "UPDATE plant.shift_targets SET effective_date = '2025-01-01' WHERE target_output = 7",
        "DELETE FROM plant.shift_targets WHERE target_output = 7",
    ),
    (
        "INSERT INTO plant.daily_summaries (asset_id, report_date) VALUES ('00000000-0000-0000-0000-000000000102', '2025-07-01')",
        "UPDATE plant.daily_summaries SET waste_count = 3 WHERE asset_id = '00000000-0000-0000-0000-000000000102'",
        "DELETE FROM plant.daily_summaries WHERE waste_count = 3",
    ),
    (
        "INSERT INTO plant.live_snapshots (asset_id, snapshot_timestamp) VALUES ('00000000-0000-0000-0000-000000000102', now())",
        "UPDATE plant.live_snapshots SET current_output = 3 WHERE asset_id = '00000000-0000-0000-0000-000000000102'",
        "DELETE FROM plant.live_snapshots WHERE current_output = 3",
    ),
    (
        "INSERT INTO plant.safety_codes (reason_code) VALUES ('Fire')",
        "UPDATE plant.safety_codes SET severity = 'low' WHERE reason_code = 'Fire'",
        "DELETE FROM plant.safety_codes WHERE severity = 'low'",
    ),
    (
        "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity)
           VALUES ('00000000-0000-0000-0000-000000000102', now(), 'Fire', 'low')",
        "UPDATE plant.safety_events SET is_resolved = true WHERE reason_code = 'Fire'",
        "DELETE FROM plant.safety_events WHERE reason_code = 'Fire'",
    ),
    (
        "INSERT INTO plant.machine_states (asset_id, started_at, state) VALUES ('00000000-0000-0000-0000-000000000102', now(), 'idle')",
        "UPDATE plant.machine_states SET state = 'stopped' WHERE state = 'idle'",
        "DELETE FROM plant.machine_states WHERE state = 'stopped'",
    ),
    // The pipelines, which run with its rights, keep these.
    (
        "INSERT INTO plant.ingest_rejects (pipeline, row_number, reason, raw) VALUES ('daily', 99, 'why', '{}')",
        "UPDATE plant.ingest_rejects SET reason = 'seen' WHERE row_number = 99",
        "DELETE FROM plant.ingest_rejects WHERE reason = 'seen'",
    ),
];

/// 5.
#[test]
fn service_role_has_full_access() -> Result<()> {
    // Its role is changed below, which others would notice: a cluster of its own.
    let cluster = Cluster::new()?;
    let db = cluster.extended("model_service")?;
    let mut client = db.connect()?;
    client.batch_execute(ONE_OF_EACH)?;
    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    // As Supabase makes it, and as any other role: then its policies have to let it in.
    for attribute in ["BYPASSRLS", "NOBYPASSRLS"] {
        client.batch_execute(&format!("ALTER ROLE service_role {attribute}"))?;
        for (table, _, may) in TABLES {
            let there = count(&mut client, &format!("plant.{table}"))?;
            let seen = as_user(&mut client, "service_role", None, |tx| {
                count(tx, &format!("plant.{table}"))
            })?;
            assert_eq!(seen, there, "{attribute}: {table}");
            let found = one(
                &mut client,
                &format!(
                    "SELECT string_agg(letter, '' ORDER BY n) FROM (VALUES
                       (1, 'SELECT', 'r'), (2, 'INSERT', 'a'), (3, 'UPDATE', 'w'), (4, 'DELETE', 'd'),
                       (5, 'TRUNCATE', 'D'), (6, 'REFERENCES', 'x'), (7, 'TRIGGER', 't')) AS p (n, privilege, letter)
                      WHERE has_table_privilege('service_role', 'plant.{table}', privilege)"
                ),
            )?;
            assert_eq!(found, *may, "{table}");
        }
        for (insert, update, delete) in CYCLES {
            for statement in [insert, update, delete] {
                let done = as_user(&mut client, "service_role", None, |tx| {
                    tx.execute(*statement, &[])
                });
                assert_eq!(
                    done.map_err(|error| anyhow::anyhow!("{attribute}: {statement}: {error:?}"))?,
                    1,
                    "{attribute}: {statement}"
                );
            }
        }
        let settings = as_user(&mut client, "service_role", None, |tx| {
            tx.execute("UPDATE plant.settings SET plant_name = 'Works'", &[])
        })?;
        assert_eq!(settings, 1, "{attribute}");
        for inbox in ["daily_inbox", "live_inbox"] {
            let sent = as_user(&mut client, "service_role", None, |tx| {
                tx.execute(
                    &format!("INSERT INTO plant.{inbox} (source_id) VALUES ('LATHE')"),
                    &[],
                )?;
                tx.execute(
                    &format!("DELETE FROM plant.{inbox} WHERE source_id = 'LATHE'"),
                    &[],
                )
            })?;
            assert_eq!(sent, 1, "{attribute}: {inbox}");
        }
        for (call, _) in CALLS {
            let statement = format!("SELECT plant.{call}");
            as_user(&mut client, "service_role", None, |tx| {
                tx.batch_execute(&statement)
            })
            .map_err(|error| anyhow::anyhow!("{attribute}: {statement}: {error:?}"))?;
        }
    }
    // Where its list above has a gap, it is a gap.
    for statement in [
        "UPDATE plant.daily_inbox SET source_id = 'x'",
        "UPDATE plant.live_inbox SET source_id = 'x'",
        "DELETE FROM plant.live_hourly",
        "INSERT INTO plant.safety_event_log (event_id, action, done_by) VALUES (gen_random_uuid(), 'recorded', 'x')",
        "UPDATE plant.safety_event_log SET note = 'x'",
        "DELETE FROM plant.safety_event_log",
        "TRUNCATE plant.daily_summaries",
        "TRUNCATE plant.safety_events",
        "TRUNCATE plant.ingest_rejects",
    ] {
        let result = as_user(&mut client, "service_role", None, |tx| {
            tx.batch_execute(statement)
        });
        expect_sqlstate(result, "42501");
    }
    let cleared = as_user(&mut client, "service_role", None, |tx| {
        tx.execute("DELETE FROM plant.ingest_rejects", &[])
    })?;
    assert_eq!(cleared, 3, "one that was there, one from each inbox");
    Ok(())
}

/// With whose rights functions run, and who may call those that are not for everybody's eyes.
#[test]
fn few_functions_have_the_extensions_rights() -> Result<()> {
    let db = extended("model_definers")?;
    let mut client = db.connect()?;
    assert_eq!(
        names(
            &mut client,
            "SELECT proname::text FROM pg_proc WHERE pronamespace = 'plant'::regnamespace AND prosecdef ORDER BY 1"
        )?,
        [
            "_log_safety_event",
            "reopen_safety_event",
            "resolve_safety_event"
        ]
    );
    for (role, inner) in [
        ("anon", &[][..]),
        ("authenticated", &["_morning_page", "_percent"]),
        ("service_role", &["_morning_page", "_percent", "_summary"]),
    ] {
        assert_eq!(
            names(
                &mut client,
                &format!(
                    r"SELECT proname::text FROM pg_proc WHERE pronamespace = 'plant'::regnamespace AND proname ~ '^_'
                         AND has_function_privilege('{role}', oid, 'EXECUTE') ORDER BY 1"
                )
            )?,
            inner,
            "{role}"
        );
    }
    Ok(())
}

/// Whoever owns a table that the pipelines write to gets what `service_role` may, and no more.
#[test]
fn triggers_of_somebody_else_run_as_service_role() -> Result<()> {
    const WRITTEN: &[&str] = &[
        "daily_inbox",
        "daily_summaries",
        "ingest_rejects",
        "live_inbox",
        "live_snapshots",
        "safety_events",
    ];
    let (db, mut client) = filled("model_invoker")?;
    let app = db.role("app")?;
    client.batch_execute(&format!(
        "ALTER ROLE \"{app}\" NOSUPERUSER;
         CREATE TABLE public.witness (place text, operation text, who text);
         GRANT INSERT ON public.witness TO PUBLIC;
         CREATE FUNCTION public.spy() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             INSERT INTO public.witness VALUES (TG_ARGV[0], TG_OP, current_user);
             RETURN coalesce(NEW, OLD);
           END $$;
         ALTER FUNCTION public.spy() OWNER TO \"{app}\""
    ))?;
    for table in WRITTEN {
        client.batch_execute(&format!(
            "CREATE TRIGGER spy BEFORE INSERT OR UPDATE OR DELETE ON plant.{table}
               FOR EACH ROW EXECUTE FUNCTION public.spy('{table}');
             ALTER TABLE plant.{table} OWNER TO \"{app}\""
        ))?;
    }
    // One that is old enough to be forgotten.
    client.batch_execute(
        "UPDATE plant.ingest_rejects SET rejected_at = now() - interval '31 days'; TRUNCATE public.witness",
    )?;
    let call = |client: &mut Client, function: &str, row: &str, found: &str| -> Result<()> {
        let counts = as_user(client, "service_role", None, |tx| {
            one(
                tx,
                &format!(
                    "SELECT (inserted, updated, rejected, safety_events) FROM plant.{function}({row})"
                ),
            )
        })?;
        assert_eq!(counts, found, "{function}({row})");
        Ok(())
    };
    let day = |count: i32| {
        format!(
            "'[{{\"source_id\": \"LATHE\", \"report_date\": \"2025-07-01\", \"total_count\": {count}}}, {{\"source_id\": \"NONE\"}}]'"
        )
    };
    call(&mut client, "ingest_daily", &day(5), "(1,0,1,0)")?;
    call(&mut client, "ingest_daily", &day(6), "(0,1,1,0)")?;
    let moment = one(&mut client, "SELECT now()")?;
    let now = |count: i32| {
        format!(
            "jsonb_build_array(jsonb_build_object('source_id', 'LATHE', 'snapshot_timestamp', '{moment}', 'current_output', {count},
               'reason_code', 'Safety Issue'), jsonb_build_object('source_id', 'NONE'))"
        )
    };
    call(&mut client, "ingest_live", &now(5), "(1,0,1,1)")?;
    call(&mut client, "ingest_live", &now(6), "(0,1,1,0)")?;
    call(&mut client, "process_daily", "", "(0,0,1,0)")?;
    call(&mut client, "process_live", "", "(0,0,1,0)")?;
    assert_eq!(
        names(
            &mut client,
            "SELECT DISTINCT concat_ws(' ', place, operation, who) FROM public.witness ORDER BY 1"
        )?,
        [
            "daily_inbox DELETE service_role",
            "daily_summaries INSERT service_role",
            "daily_summaries UPDATE service_role",
            "ingest_rejects DELETE service_role",
            "ingest_rejects INSERT service_role",
            "live_inbox DELETE service_role",
            "live_snapshots INSERT service_role",
            "live_snapshots UPDATE service_role",
            "safety_events INSERT service_role",
        ]
    );
    Ok(())
}

/// Child, column, parent, what happens when the parent goes or changes its key.
const FOREIGN_KEYS: &[&str] = &[
    "auth.users <- plant.safety_events.resolved_by: delete set null, update no action",
    "plant.assets <- plant.cost_centers.asset_id: delete cascade, update no action",
    "plant.assets <- plant.daily_summaries.asset_id: delete cascade, update no action",
    "plant.assets <- plant.live_snapshots.asset_id: delete cascade, update no action",
    "plant.assets <- plant.machine_states.asset_id: delete cascade, update no action",
    "plant.assets <- plant.safety_events.asset_id: delete restrict, update no action",
    "plant.assets <- plant.shift_targets.asset_id: delete cascade, update no action",
    "plant.shifts <- plant.shift_targets.shift: delete no action, update cascade",
];

/// 6.
#[test]
fn foreign_keys_prevent_orphans() -> Result<()> {
    let (_db, mut client) = filled("model_orphans")?;
    let found = names(
        &mut client,
        "SELECT format('%s <- %s.%s: delete %s, update %s', c.confrelid::regclass, c.conrelid::regclass, a.attname,
                       actions ->> c.confdeltype::text, actions ->> c.confupdtype::text)
           FROM pg_constraint c
           JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] AND cardinality(c.conkey) = 1
          CROSS JOIN (SELECT jsonb_object('{a, r, c, n}', '{no action, restrict, cascade, set null}')) AS z (actions)
          WHERE c.contype = 'f' AND c.connamespace = 'plant'::regnamespace AND c.conparentid = 0 AND c.convalidated
          ORDER BY 1",
    )?;
    assert_eq!(found, FOREIGN_KEYS);

    let nobody = format!("'{NOBODY}'");
    for (insert, update, constraint) in [
        (
            "INSERT INTO plant.cost_centers (asset_id, standard_hourly_rate) VALUES ($, 1)",
            "UPDATE plant.cost_centers SET asset_id = $",
            "cost_centers_asset_id_fkey",
        ),
        (
            "INSERT INTO plant.shift_targets (asset_id, target_output) VALUES ($, 1)",
            "UPDATE plant.shift_targets SET asset_id = $",
            "shift_targets_asset_id_fkey",
        ),
        (
            "INSERT INTO plant.shift_targets (asset_id, target_output, shift)
               VALUES ('00000000-0000-0000-0000-000000000101', 1, 'Tea')",
            "UPDATE plant.shift_targets SET shift = 'Tea'",
            "shift_targets_shift_fkey",
        ),
        (
            "INSERT INTO plant.daily_summaries (asset_id, report_date) VALUES ($, '2025-07-01')",
            "UPDATE plant.daily_summaries SET asset_id = $",
            "daily_summaries_asset_id_fkey",
        ),
        (
            "INSERT INTO plant.live_snapshots (asset_id, snapshot_timestamp) VALUES ($, now())",
            "UPDATE plant.live_snapshots SET asset_id = $",
            "live_snapshots_asset_id_fkey",
        ),
        (
            "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity) VALUES ($, now(), 'x', 'low')",
            "UPDATE plant.safety_events SET asset_id = $",
            "safety_events_asset_id_fkey",
        ),
        (
            "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity, is_resolved, resolved_by)
               VALUES ('00000000-0000-0000-0000-000000000101', now(), 'x', 'low', true, $)",
            "UPDATE plant.safety_events SET is_resolved = true, resolved_by = $",
            "safety_events_resolved_by_fkey",
        ),
        (
            "INSERT INTO plant.machine_states (asset_id, started_at, state) VALUES ($, now(), 'idle')",
            "UPDATE plant.machine_states SET asset_id = $",
            "machine_states_asset_id_fkey",
        ),
    ] {
        for statement in [insert, update] {
            let statement = statement.replace('$', &nobody);
            assert_eq!(
                refused(&mut client, &statement, "23503"),
                constraint,
                "{statement}"
            );
        }
    }
    Ok(())
}

#[test]
fn what_goes_with_its_machine_and_what_keeps_it() -> Result<()> {
    let (db, mut client) = filled("model_deletes")?;
    const OF_A_MACHINE: &[&str] = &[
        "cost_centers",
        "daily_summaries",
        "live_snapshots",
        "machine_states",
        "shift_targets",
    ];
    // A machine with a safety event stays, and so does everything of it. From 18 on, RESTRICT has a
    // SQLSTATE of its own.
    let restricted = if db.cluster().major() < 18 {
        "23503"
    } else {
        "23001"
    };
    let delete = format!("DELETE FROM plant.assets WHERE id = '{PRESS}'");
    assert_eq!(
        refused(&mut client, &delete, restricted),
        "safety_events_asset_id_fkey"
    );
    for table in OF_A_MACHINE {
        assert_eq!(count(&mut client, &format!("plant.{table}"))?, 1, "{table}");
    }
    client.batch_execute("DELETE FROM plant.safety_events")?;
    assert_eq!(
        names(
            &mut client,
            "SELECT action FROM plant.safety_event_log ORDER BY id"
        )?,
        ["recorded", "deleted"],
        "what happened to an event is known also when it is gone"
    );
    client.batch_execute(&delete)?;
    for table in OF_A_MACHINE {
        assert_eq!(count(&mut client, &format!("plant.{table}"))?, 0, "{table}");
    }
    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    assert_eq!(count(&mut client, "plant.live_hourly")?, 0, "its hours");
    assert_eq!(count(&mut client, "plant.assets")?, 1);

    // A user who goes leaves the event resolved.
    client.batch_execute(&format!(
        "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity) VALUES ('{LATHE}', now(), 'x', 'low');
         UPDATE plant.safety_events SET is_resolved = true, resolved_by = (SELECT id FROM auth.users);
         DELETE FROM auth.users"
    ))?;
    assert_eq!(
        one(
            &mut client,
            "SELECT (is_resolved, resolved_at IS NOT NULL, resolved_by) FROM plant.safety_events"
        )?,
        "(t,t,)"
    );
    assert_eq!(
        names(
            &mut client,
            "SELECT concat_ws(' ', action, user_id, was ->> 'reason_code', was ->> 'resolved_by')
               FROM plant.safety_event_log ORDER BY id"
        )?,
        [
            "recorded",
            "deleted Safety Issue",
            "recorded",
            "resolved 00000000-0000-0000-0000-0000000000a1",
            "changed x 00000000-0000-0000-0000-0000000000a1",
        ],
        "the log keeps who it was, also of those who are gone"
    );

    // A shift that targets name stays; renamed, it takes them along.
    client.batch_execute(&format!(
        "INSERT INTO plant.shift_targets (asset_id, target_output, shift) VALUES ('{LATHE}', 5, 'Day')"
    ))?;
    assert_eq!(
        refused(
            &mut client,
            "DELETE FROM plant.shifts WHERE name = 'Day'",
            "23503"
        ),
        "shift_targets_shift_fkey"
    );
    client.batch_execute("UPDATE plant.shifts SET name = 'Early' WHERE name = 'Day'")?;
    assert_eq!(
        one(&mut client, "SELECT shift FROM plant.shift_targets")?,
        "Early"
    );
    Ok(())
}

/// 7.
#[test]
fn one_summary_for_each_machine_and_date() -> Result<()> {
    let (_db, mut client) = filled("model_unique")?;
    for (statement, constraint) in [
        (
            "INSERT INTO plant.daily_summaries (asset_id, report_date) VALUES ('00000000-0000-0000-0000-000000000101', '2025-07-01')",
            "daily_summaries_asset_id_report_date_key",
        ),
        // The other things of which there is one.
        (
            "INSERT INTO plant.assets (name, source_id) VALUES ('Another', 'PRESS')",
            "assets_source_id_key",
        ),
        (
            "INSERT INTO plant.cost_centers (asset_id, standard_hourly_rate) VALUES ('00000000-0000-0000-0000-000000000101', 1)",
            "cost_centers_asset_id_key",
        ),
        (
            "INSERT INTO plant.shift_targets (asset_id, target_output, shift) VALUES ('00000000-0000-0000-0000-000000000101', 1, 'Day')",
            "shift_targets_asset_id_shift_effective_date_key",
        ),
        (
            "INSERT INTO plant.machine_states (asset_id, started_at, state) SELECT asset_id, started_at, 'idle' FROM plant.machine_states",
            "machine_states_asset_id_started_at_key",
        ),
        (
            "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity)
               SELECT asset_id, event_timestamp, reason_code, 'low' FROM plant.safety_events",
            "safety_events_asset_id_event_timestamp_reason_code_idx",
        ),
        (
            "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity, source_record_id)
               VALUES ('00000000-0000-0000-0000-000000000101', now(), 'a', 'low', '7'), ('00000000-0000-0000-0000-000000000102', now(), 'b', 'low', '7')",
            "safety_events_source_record_id_idx",
        ),
        (
            "INSERT INTO plant.safety_codes (reason_code) VALUES ('SAFETY issue')",
            "safety_codes_lower_idx",
        ),
        ("INSERT INTO plant.settings DEFAULT VALUES", "settings_pkey"),
    ] {
        assert_eq!(
            refused(&mut client, statement, "23505"),
            constraint,
            "{statement}"
        );
    }
    // Of a partitioned table the index of the partition refuses.
    let partition = refused(
        &mut client,
        "INSERT INTO plant.live_snapshots (asset_id, snapshot_timestamp) SELECT asset_id, snapshot_timestamp FROM plant.live_snapshots",
        "23505",
    );
    assert!(
        partition.ends_with("_asset_id_snapshot_timestamp_key"),
        "{partition}"
    );
    // Another date, and another machine, are something else.
    client.batch_execute(&format!(
        "INSERT INTO plant.daily_summaries (asset_id, report_date) VALUES ('{PRESS}', '2025-07-02'), ('{LATHE}', '2025-07-01');
         INSERT INTO plant.shift_targets (asset_id, target_output) VALUES ('{PRESS}', 1)"
    ))?;
    assert_eq!(
        refused(
            &mut client,
            "UPDATE plant.daily_summaries SET report_date = '2025-07-01'",
            "23505"
        ),
        "daily_summaries_asset_id_report_date_key"
    );
    Ok(())
}

// The seed, literally ------------------------------------------------------------------------------

/// Column, type, default or expression; NOT NULL as the seed has it, and where it lets a time or a flag
/// be missing that has a default, NOT NULL too.
const SEED_COLUMNS: &[(&str, &[&str])] = &[
    (
        "assets",
        &[
            "id uuid not null default gen_random_uuid()",
            "name character varying(255) not null",
            "source_id character varying(255) not null",
            "area character varying(100)",
            "created_at timestamp with time zone not null default now()",
            "updated_at timestamp with time zone not null default now()",
        ],
    ),
    (
        "cost_centers",
        &[
            "id uuid not null default gen_random_uuid()",
            "asset_id uuid not null",
            "standard_hourly_rate numeric(10,2) not null",
            "cost_per_unit numeric(10,2)",
            "created_at timestamp with time zone not null default now()",
            "updated_at timestamp with time zone not null default now()",
        ],
    ),
    (
        "shift_targets",
        &[
            "id uuid not null default gen_random_uuid()",
            "asset_id uuid not null",
            "target_output integer not null",
            "shift character varying(50)",
            "effective_date date",
            "created_at timestamp with time zone not null default now()",
            "updated_at timestamp with time zone not null default now()",
        ],
    ),
    (
        "daily_summaries",
        &[
            "id uuid not null default gen_random_uuid()",
            "asset_id uuid not null",
            "report_date date not null",
            "oee_percentage numeric(5,2)",
            "actual_output integer",
            "target_output integer",
            "downtime_minutes integer",
            "waste_count integer",
            "financial_loss_dollars numeric(12,2)",
            "smart_summary_text text",
            "created_at timestamp with time zone not null default now()",
            "updated_at timestamp with time zone not null default now()",
        ],
    ),
    (
        "live_snapshots",
        &[
            "id uuid not null default gen_random_uuid()",
            "asset_id uuid not null",
            "snapshot_timestamp timestamp with time zone not null",
            "current_output integer",
            "target_output integer",
            "output_variance integer stored (current_output - target_output)",
            "status text",
            "created_at timestamp with time zone not null default now()",
        ],
    ),
    (
        "safety_events",
        &[
            "id uuid not null default gen_random_uuid()",
            "asset_id uuid not null",
            "event_timestamp timestamp with time zone not null",
            "reason_code text not null",
            "severity text not null",
            "description text",
            "is_resolved boolean not null default false",
            "resolved_at timestamp with time zone",
            "resolved_by uuid",
            "source_record_id text",
            "duration_minutes numeric(10,2)",
            "financial_impact numeric(12,2)",
            "created_at timestamp with time zone not null default now()",
        ],
    ),
];

#[test]
fn every_column_of_the_seed_is_there() -> Result<()> {
    let db = extended("model_columns")?;
    let mut client = db.connect()?;
    for (table, columns) in SEED_COLUMNS {
        let found: BTreeSet<String> = names(
            &mut client,
            &format!(
                "SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
                     || coalesce(CASE a.attgenerated WHEN 's' THEN ' stored ' ELSE ' default ' END || pg_get_expr(d.adbin, d.adrelid), '')
                   FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                  WHERE a.attrelid = 'plant.{table}'::regclass AND a.attnum > 0 AND NOT a.attisdropped"
            ),
        )?
        .into_iter()
        .collect();
        for column in *columns {
            assert!(
                found.contains(*column),
                "{table} has no {column:?}: {found:#?}"
            );
        }
    }
    // What the seed does not know may be left out of an INSERT written for it.
    let demanding = names(
        &mut client,
        "SELECT a.attrelid::regclass || '.' || a.attname FROM pg_attribute a
          WHERE a.attrelid = ANY (ARRAY['plant.assets', 'plant.cost_centers', 'plant.shift_targets', 'plant.daily_summaries',
                                        'plant.live_snapshots', 'plant.safety_events']::regclass[])
            AND a.attnum > 0 AND a.attnotnull AND NOT a.atthasdef ORDER BY 1",
    )?;
    assert_eq!(
        demanding,
        [
            "plant.assets.name",
            "plant.assets.source_id",
            "plant.cost_centers.asset_id",
            "plant.cost_centers.standard_hourly_rate",
            "plant.daily_summaries.asset_id",
            "plant.daily_summaries.report_date",
            "plant.live_snapshots.asset_id",
            "plant.live_snapshots.snapshot_timestamp",
            "plant.safety_events.asset_id",
            "plant.safety_events.event_timestamp",
            "plant.safety_events.reason_code",
            "plant.safety_events.severity",
            "plant.shift_targets.asset_id",
            "plant.shift_targets.target_output",
        ]
    );
    Ok(())
}

#[test]
fn every_key_check_and_index_of_the_seed_is_there() -> Result<()> {
    let db = extended("model_constraints")?;
    let mut client = db.connect()?;
    for (table, definition) in [
        ("assets", "PRIMARY KEY (id)"),
        ("assets", "UNIQUE (source_id)"),
        ("cost_centers", "PRIMARY KEY (id)"),
        ("shift_targets", "PRIMARY KEY (id)"),
        ("daily_summaries", "PRIMARY KEY (id)"),
        ("daily_summaries", "UNIQUE (asset_id, report_date)"),
        // The seed's key, and what a partitioned table's key has to have besides.
        ("live_snapshots", "PRIMARY KEY (id, snapshot_timestamp)"),
        (
            "live_snapshots",
            "CHECK ((status = ANY (ARRAY['on_target'::text, 'behind'::text, 'ahead'::text])))",
        ),
        ("safety_events", "PRIMARY KEY (id)"),
        (
            "safety_events",
            "CHECK ((severity = ANY (ARRAY['low'::text, 'medium'::text, 'high'::text, 'critical'::text])))",
        ),
    ] {
        let found = names(
            &mut client,
            &format!(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'plant.{table}'::regclass AND convalidated"
            ),
        )?;
        assert!(
            found.iter().any(|other| other == definition),
            "{table}: no {definition}: {found:#?}"
        );
    }
    for (table, columns) in [
        ("daily_summaries", "report_date"),
        ("daily_summaries", "asset_id, report_date"),
        ("live_snapshots", "snapshot_timestamp"),
        ("live_snapshots", "asset_id, snapshot_timestamp"),
        ("safety_events", "event_timestamp"),
        ("safety_events", "asset_id, is_resolved"),
        ("safety_events", "severity"),
    ] {
        let found: i64 = client
            .query_one(
                &format!(
                    "SELECT count(*) FROM pg_index
                      WHERE indrelid = 'plant.{table}'::regclass AND indisvalid AND indpred IS NULL
                        AND pg_get_indexdef(indexrelid) ~ 'USING btree \\({columns}\\)$'"
                ),
                &[],
            )?
            .get(0);
        assert_eq!(found, 1, "{table} ({columns})");
    }
    Ok(())
}

#[test]
fn values_outside_of_the_checks_are_refused() -> Result<()> {
    let (db, mut client) = filled("model_checks")?;
    for (table, change, constraint) in [
        ("assets", "planned_minutes = 1440.01", "planned_minutes"),
        ("assets", "planned_minutes = -0.01", "planned_minutes"),
        ("assets", "ideal_rate = 0", "ideal_rate"),
        ("assets", "oee_target = 100.01", "oee_target"),
        ("assets", "oee_target = -1", "oee_target"),
        (
            "cost_centers",
            "standard_hourly_rate = -0.01",
            "standard_hourly_rate",
        ),
        ("cost_centers", "cost_per_unit = -0.01", "cost_per_unit"),
        ("shift_targets", "target_output = -1", "target_output"),
        (
            "daily_summaries",
            "oee_percentage = 100.01",
            "oee_percentage",
        ),
        (
            "daily_summaries",
            "oee_percentage = -0.01",
            "oee_percentage",
        ),
        ("daily_summaries", "actual_output = -1", "counts"),
        ("daily_summaries", "target_output = -1", "counts"),
        ("daily_summaries", "waste_count = -1", "counts"),
        ("daily_summaries", "good_count = -1", "counts"),
        ("daily_summaries", "downtime_minutes = -1", "counts"),
        ("daily_summaries", "planned_minutes = -1", "counts"),
        ("live_snapshots", "status = 'above_target'", "status"),
        ("live_snapshots", "status = 'below_target'", "status"),
        ("live_snapshots", "status = 'On_Target'", "status"),
        ("live_snapshots", "status = ''", "status"),
        ("live_snapshots", "current_output = -1", "outputs"),
        ("live_snapshots", "target_output = -1", "outputs"),
        ("safety_events", "severity = 'Critical'", "severity"),
        ("safety_events", "severity = 'severe'", "severity"),
        ("safety_events", "severity = ''", "severity"),
        (
            "safety_events",
            "duration_minutes = -0.01",
            "duration_minutes",
        ),
        ("safety_codes", "severity = 'none'", "severity"),
        ("safety_event_log", "action = 'forgotten'", "action"),
        ("machine_states", "state = 'broken'", "state"),
        (
            "machine_states",
            "ended_at = started_at - interval '1 microsecond'",
            "order",
        ),
        ("ingest_rejects", "pipeline = 'weekly'", "pipeline"),
        ("settings", "one = false", "one"),
        (
            "settings",
            "default_planned_minutes = 1441",
            "default_planned_minutes",
        ),
        (
            "settings",
            "default_planned_minutes = -1",
            "default_planned_minutes",
        ),
        ("settings", "default_ideal_rate = 0", "default_ideal_rate"),
        (
            "settings",
            "default_hourly_rate = -1",
            "default_hourly_rate",
        ),
        (
            "settings",
            "default_cost_per_unit = -1",
            "default_cost_per_unit",
        ),
        ("settings", "good_from = 60", "bands"),
        ("settings", "fair_from = 90", "bands"),
        ("settings", "fair_from = -1", "bands"),
        ("settings", "good_from = 100.01", "bands"),
        ("settings", "oee_target = 101", "oee_target"),
        ("settings", "low_priority_loss = 0", "priority_loss"),
        ("settings", "low_priority_loss = 2000.01", "priority_loss"),
        ("settings", "high_priority_loss = 1999.99", "priority_loss"),
        ("settings", "medium_priority_gap = 0", "priority_gap"),
        ("settings", "medium_priority_gap = 20.01", "priority_gap"),
        ("settings", "live_counts_per = 'week'", "live_counts_per"),
        ("settings", "tolerance_pct = -0.01", "tolerance_pct"),
        ("settings", "live_window = '0'", "live_window"),
        ("settings", "live_window = '-1 minute'", "live_window"),
        (
            "settings",
            "clock_tolerance = '-1 second'",
            "clock_tolerance",
        ),
        (
            "settings",
            "clock_tolerance = '24:00:01'",
            "clock_tolerance",
        ),
        (
            "settings",
            "default_severity = 'urgent'",
            "default_severity",
        ),
        ("settings", "live_window = '1 year 1 day'", "live_window"),
        ("settings", "keep_rejects = '-1 day'", "keep_rejects"),
        (
            "settings",
            "keep_rejects = '100 years 1 day'",
            "keep_rejects",
        ),
        (
            "shift_targets",
            "effective_date = 'infinity'",
            "effective_date",
        ),
        (
            "shift_targets",
            "effective_date = '-infinity'",
            "effective_date",
        ),
        ("daily_summaries", "report_date = 'infinity'", "report_date"),
        (
            "daily_summaries",
            "report_date = '-infinity'",
            "report_date",
        ),
        (
            "daily_summaries",
            "financial_loss_dollars = 'NaN'",
            "losses",
        ),
        ("daily_summaries", "downtime_loss = 'NaN'", "losses"),
        ("daily_summaries", "waste_loss = 'NaN'", "losses"),
        ("machine_states", "started_at = '-infinity'", "finite"),
        ("machine_states", "started_at = 'infinity'", "finite"),
        ("machine_states", "ended_at = 'infinity'", "finite"),
        (
            "safety_events",
            "event_timestamp = 'infinity'",
            "event_timestamp",
        ),
        (
            "safety_events",
            "event_timestamp = '-infinity'",
            "event_timestamp",
        ),
        // An open event has neither time nor user, and a resolved one has a time.
        ("safety_events", "resolved_at = now()", "resolution"),
        (
            "safety_events",
            "resolved_by = '00000000-0000-0000-0000-0000000000a1'",
            "resolution",
        ),
        ("safety_codes", "reason_code = ''", "reason_code"),
        ("safety_codes", "reason_code = ' '", "reason_code"),
        ("safety_codes", "reason_code = ' Fire'", "reason_code"),
        ("safety_codes", "reason_code = 'Fire '", "reason_code"),
        (
            "safety_codes",
            "reason_code = repeat('x', 201)",
            "reason_code",
        ),
    ] {
        assert_eq!(
            refused(
                &mut client,
                &format!("UPDATE plant.{table} SET {change}"),
                "23514"
            ),
            format!("{table}_{constraint}_check"),
            "{table}: {change}"
        );
    }
    // From 17 on, intervals have no end either.
    if db.cluster().major() >= 17 {
        for column in ["live_window", "clock_tolerance", "keep_rejects"] {
            assert_eq!(
                refused(
                    &mut client,
                    &format!("UPDATE plant.settings SET {column} = 'infinity'"),
                    "23514"
                ),
                format!("settings_{column}_check")
            );
        }
    }
    // The server itself names a zone that it does not know.
    expect_sqlstate(
        client.execute("UPDATE plant.settings SET time_zone = 'Mars/Olympus'", &[]),
        "22023",
    );
    // The edges are inside.
    client.batch_execute(
        "UPDATE plant.assets SET planned_minutes = 1440, ideal_rate = 0.0001, oee_target = 100;
         UPDATE plant.assets SET planned_minutes = 0, oee_target = 0;
         UPDATE plant.daily_summaries SET oee_percentage = 100, actual_output = 0, waste_count = 0;
         UPDATE plant.machine_states SET ended_at = started_at;
         UPDATE plant.settings SET good_from = 100, fair_from = 100, tolerance_pct = 0, clock_tolerance = '1 day',
           live_counts_per = 'day', keep_rejects = '0', medium_priority_loss = 1000, high_priority_loss = 1000;
         UPDATE plant.settings SET live_window = '1 year', keep_rejects = '100 years', default_hourly_rate = 0,
           default_cost_per_unit = 0;
         UPDATE plant.safety_codes SET reason_code = 'x';
         UPDATE plant.safety_codes SET reason_code = repeat('ü', 200)",
    )?;
    for status in ["on_target", "behind", "ahead"] {
        client.execute("UPDATE plant.live_snapshots SET status = $1", &[&status])?;
    }
    for severity in ["low", "medium", "high", "critical"] {
        client.execute("UPDATE plant.safety_events SET severity = $1", &[&severity])?;
    }
    Ok(())
}

/// Not a number is no rate, price or tolerance: what computes with it would fail for every machine.
#[test]
fn not_a_number_is_refused() -> Result<()> {
    let (_db, mut client) = filled("model_nan")?;
    // Every number of these, and what money was lost.
    let columns = names(
        &mut client,
        "SELECT table_name || '.' || column_name FROM information_schema.columns
          WHERE table_schema = 'plant' AND data_type = 'numeric'
            AND (table_name IN ('assets', 'cost_centers', 'settings', 'safety_events')
                 OR (table_name, column_name) IN (('daily_summaries', 'oee_percentage'),
                      ('daily_summaries', 'financial_loss_dollars'), ('daily_summaries', 'downtime_loss'),
                      ('daily_summaries', 'waste_loss')))
          ORDER BY 1",
    )?;
    assert_eq!(columns.len(), 3 + 2 + 13 + 2 + 4, "{columns:?}");
    let mut accepted = Vec::new();
    for column in columns {
        let (table, name) = column.split_once('.').unwrap_or_default();
        let mut tx = client.transaction()?;
        match tx.execute(&format!("UPDATE plant.{table} SET {name} = 'NaN'"), &[]) {
            Ok(_) => accepted.push(column.clone()),
            refused => {
                expect_sqlstate(refused, "23514");
            }
        }
        tx.rollback()?;
    }
    assert_eq!(accepted, Vec::<String>::new(), "these take a NaN");
    Ok(())
}

/// A target that is in force since ever has no date, rather than an infinite one.
#[test]
fn an_infinite_effective_date_is_refused() -> Result<()> {
    let (_db, mut client) = filled("model_infinity")?;
    for date in ["-infinity", "infinity"] {
        assert_eq!(
            refused(
                &mut client,
                &format!(
                    "INSERT INTO plant.shift_targets (asset_id, target_output, effective_date) VALUES ('{LATHE}', 90, '{date}')"
                ),
                "23514"
            ),
            "shift_targets_effective_date_check",
            "{date}"
        );
    }
    client.batch_execute(&format!(
        "INSERT INTO plant.shift_targets (asset_id, target_output, effective_date) VALUES ('{LATHE}', 90, NULL)"
    ))?;
    assert_eq!(
        one(
            &mut client,
            "SELECT accepted FROM plant.ingest_daily('[{\"source_id\": \"LATHE\", \"report_date\": \"2025-07-01\", \"total_count\": 5}]')",
        )?,
        "1"
    );
    Ok(())
}

#[test]
fn the_variance_is_generated() -> Result<()> {
    let (_db, mut client) = filled("model_variance")?;
    for (current, target, variance) in [
        ("90", "100", "-10"),
        ("100", "90", "10"),
        ("0", "0", "0"),
        ("NULL", "5", "NULL"),
        ("5", "NULL", "NULL"),
        ("2147483647", "0", "2147483647"),
        ("0", "2147483647", "-2147483647"),
    ] {
        client.batch_execute(&format!(
            "UPDATE plant.live_snapshots SET current_output = {current}, target_output = {target}"
        ))?;
        assert_eq!(
            one(
                &mut client,
                "SELECT output_variance FROM plant.live_snapshots"
            )?,
            variance,
            "{current} - {target}"
        );
    }
    for (statement, code) in [
        (
            "UPDATE plant.live_snapshots SET output_variance = 1",
            "428C9",
        ),
        (
            "INSERT INTO plant.live_snapshots (asset_id, snapshot_timestamp, output_variance)
               VALUES ('00000000-0000-0000-0000-000000000102', now(), 1)",
            "428C9",
        ),
    ] {
        let result = as_user(&mut client, "service_role", None, |tx| {
            tx.batch_execute(statement)
        });
        expect_sqlstate(result, code);
    }
    Ok(())
}

#[test]
fn updated_at_moves_on_update_and_only_then() -> Result<()> {
    let (_db, mut client) = filled("model_updated_at")?;
    let tables = names(
        &mut client,
        "SELECT attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          WHERE attname = 'updated_at' AND relnamespace = 'plant'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1",
    )?;
    assert_eq!(
        tables,
        [
            "plant.assets",
            "plant.cost_centers",
            "plant.daily_summaries",
            "plant.settings",
            "plant.shift_targets"
        ]
    );
    let changes = [
        "area = 'North'",
        "cost_per_unit = 3",
        "waste_count = 2",
        "plant_name = 'Works'",
        "target_output = 501",
    ];
    for (table, change) in tables.iter().zip(changes) {
        let stamp = format!("SELECT min(updated_at) FROM {table}");
        let before = one(&mut client, &stamp)?;
        for by_hand in ["", ", updated_at = '2000-01-01'"] {
            let row = client.query_one(
                &format!(
                    "WITH changed AS (UPDATE {table} SET {change}{by_hand} RETURNING updated_at)
                     SELECT bool_and(updated_at = now()), bool_and(updated_at > $1::text::timestamptz) FROM changed"
                ),
                &[&before],
            )?;
            assert!(row.get::<_, bool>(0), "{table} {by_hand}: not now");
            assert!(row.get::<_, bool>(1), "{table} {by_hand}: not later");
        }
        let after = one(&mut client, &stamp)?;
        client.batch_execute(&format!(
            "SELECT * FROM {table}; UPDATE {table} SET {change} WHERE false"
        ))?;
        assert_eq!(one(&mut client, &stamp)?, after, "{table}");
    }
    // What a row is born with is its own affair, so that an import can keep it.
    client.batch_execute(
        "INSERT INTO plant.assets (name, source_id, updated_at) VALUES ('Old', 'OLD', '2001-02-03 00:00+00')",
    )?;
    assert_eq!(
        one(
            &mut client,
            "SELECT updated_at = '2001-02-03 00:00+00' FROM plant.assets WHERE source_id = 'OLD'"
        )?,
        "true"
    );
    // A repeated delivery changes nothing and moves nothing.
    let deliver = "SELECT unchanged FROM plant.ingest_daily('[{\"source_id\": \"LATHE\", \"report_date\": \"2025-07-01\", \"total_count\": 5}]')";
    let stamp = format!("SELECT updated_at FROM plant.daily_summaries WHERE asset_id = '{LATHE}'");
    assert_eq!(one(&mut client, deliver)?, "0");
    let before = one(&mut client, &stamp)?;
    assert_eq!(one(&mut client, deliver)?, "1");
    assert_eq!(one(&mut client, &stamp)?, before);
    Ok(())
}

// Partitions ---------------------------------------------------------------------------------------

/// A snapshot an hour into each of the last days, today's included.
fn days_of_snapshots(client: &mut Client, days: i32) -> Result<()> {
    client.batch_execute(&format!(
        "SELECT gemba.ensure_partitions('plant.live_snapshots', now() - interval '{days} days', now());
         INSERT INTO plant.live_snapshots (asset_id, snapshot_timestamp, current_output, target_output, status)
           SELECT '{LATHE}', date_trunc('day', now(), 'UTC') - n * interval '1 day' + interval '59 minutes', n, 10, 'behind'
             FROM generate_series(0, {days}) AS n"
    ))?;
    Ok(())
}

const OLD_DAYS: &str = "SELECT count(*)::text FROM gemba.partitions
   WHERE parent = 'plant.live_snapshots'::regclass AND to_time <= date_trunc('day', now(), 'UTC')";

#[test]
fn snapshots_are_kept_for_a_day_and_their_hours_longer() -> Result<()> {
    let (_db, mut client) = filled("model_retention")?;
    assert_eq!(
        one(
            &mut client,
            "SELECT (step, premake, retain, on_expire, time_zone, unique_on) FROM gemba.partition_sets
              WHERE parent = 'plant.live_snapshots'::regclass"
        )?,
        "(\"1 day\",3,24:00:00,drop,UTC,)"
    );
    // Today's and three ahead.
    assert_eq!(
        one(
            &mut client,
            "SELECT (count(*), min(from_time) = date_trunc('day', now(), 'UTC'), max(to_time) - min(from_time)) FROM gemba.partitions
              WHERE parent = 'plant.live_snapshots'::regclass"
        )?,
        "(4,t,\"4 days\")"
    );
    days_of_snapshots(&mut client, 5)?;
    assert_eq!(
        one(
            &mut client,
            "SELECT (count(*), bool_and(rls), bool_and(no_grants), bool_and(on_expire = 'drop'), bool_and(expires_at = to_time + interval '24 hours'))
               FROM gemba.partitions WHERE parent = 'plant.live_snapshots'::regclass"
        )?,
        "(9,t,t,t,t)"
    );
    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    let hours = "SELECT array_agg((bucket, current_output, snapshots)::text ORDER BY bucket) FROM plant.live_hourly
       WHERE asset_id = '00000000-0000-0000-0000-000000000102'";
    let kept = one(&mut client, hours)?;
    assert_eq!(
        count(
            &mut client,
            &format!("plant.live_hourly WHERE asset_id = '{LATHE}'")
        )?,
        6
    );

    assert_eq!(one(&mut client, OLD_DAYS)?, "5");
    let retired = names(
        &mut client,
        "SELECT action FROM gemba.maintain_partitions() WHERE parent = 'plant.live_snapshots'",
    )?;
    assert_eq!(retired, ["dropped"; 4]);
    // Yesterday ended less than a day ago.
    assert_eq!(one(&mut client, OLD_DAYS)?, "1");
    assert_eq!(
        count(
            &mut client,
            &format!("plant.live_snapshots WHERE asset_id = '{LATHE}'")
        )?,
        2
    );
    for moment in ["after the days went", "after another refresh"] {
        assert_eq!(one(&mut client, hours)?, kept, "{moment}");
        assert_eq!(
            one(
                &mut client,
                &hours.replace("live_hourly", "live_hourly_live")
            )?,
            kept,
            "{moment}, live"
        );
        client.batch_execute("SELECT gemba.refresh_rollups()")?;
    }
    // What is gone is not taken back in.
    let refused = one(
        &mut client,
        "SELECT rejects -> 0 ->> 'field' FROM plant.ingest_live(jsonb_build_array(jsonb_build_object(
           'source_id', 'LATHE', 'current_output', 1, 'snapshot_timestamp', now() - interval '4 days')))",
    )?;
    assert_eq!(refused, "snapshot_timestamp");
    assert_eq!(one(&mut client, hours)?, kept);
    Ok(())
}

#[test]
fn retention_is_settable() -> Result<()> {
    let (_db, mut client) = filled("model_retention_set")?;
    days_of_snapshots(&mut client, 5)?;
    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    client.batch_execute(
        "SELECT gemba.manage_partitions('plant.live_snapshots', '1 day', premake => 1, retain => '3 days', on_expire => 'drop')",
    )?;
    let retired = names(
        &mut client,
        "SELECT action FROM gemba.maintain_partitions() WHERE parent = 'plant.live_snapshots'",
    )?;
    assert_eq!(retired, ["dropped"; 2]);
    assert_eq!(one(&mut client, OLD_DAYS)?, "3");
    // The pipeline takes what is kept: longer now than by default.
    let taken = as_user(&mut client, "service_role", None, |tx| {
        one(
            tx,
            "SELECT inserted FROM plant.ingest_live(jsonb_build_array(jsonb_build_object(
           'source_id', 'LATHE', 'current_output', 1, 'snapshot_timestamp', now() - interval '60 hours')))",
        )
    })?;
    assert_eq!(taken, "1");
    // Kept for ever.
    client.batch_execute(
        "SELECT gemba.manage_partitions('plant.live_snapshots', '1 day', premake => 1);
         SELECT gemba.ensure_partitions('plant.live_snapshots', now() - interval '400 days', now() - interval '399 days')",
    )?;
    assert_eq!(
        names(
            &mut client,
            "SELECT action FROM gemba.maintain_partitions() WHERE parent = 'plant.live_snapshots'",
        )?,
        Vec::<String>::new()
    );
    let taken = as_user(&mut client, "service_role", None, |tx| {
        one(
            tx,
            "SELECT inserted FROM plant.ingest_live(jsonb_build_array(jsonb_build_object(
           'source_id', 'LATHE', 'current_output', 1, 'snapshot_timestamp', now() - interval '500 days')))",
        )
    })?;
    assert_eq!(taken, "1", "and made the partition that it needs");
    assert_eq!(
        one(
            &mut client,
            "SELECT bool_and(rls AND no_grants) FROM gemba.partitions WHERE parent = 'plant.live_snapshots'::regclass"
        )?,
        "true"
    );
    Ok(())
}

// Settings -----------------------------------------------------------------------------------------

#[test]
fn there_is_one_row_of_settings() -> Result<()> {
    let db = extended("model_settings")?;
    let mut client = db.connect()?;
    assert_eq!(
        one(
            &mut client,
            "SELECT to_jsonb(s) - 'updated_at' = '{\"one\": true, \"plant_name\": \"Plant\", \"time_zone\": \"UTC\",
               \"day_starts_at\": \"06:00:00\", \"currency\": \"USD\", \"default_planned_minutes\": 480.00,
               \"default_ideal_rate\": 100.0000, \"default_hourly_rate\": 100.00, \"default_cost_per_unit\": 10.00,
               \"oee_target\": 85.00, \"good_from\": 85.00, \"fair_from\": 70.00, \"low_priority_loss\": 1000.00,
               \"medium_priority_loss\": 2000.00, \"high_priority_loss\": 5000.00, \"medium_priority_gap\": 10.00,
               \"high_priority_gap\": 20.00, \"live_counts_per\": \"shift\", \"tolerance_pct\": 5.00,
               \"live_window\": \"00:30:00\", \"clock_tolerance\": \"00:10:00\", \"default_severity\": \"critical\",
               \"users_resolve\": true, \"keep_rejects\": \"30 days\"}'::jsonb FROM plant.settings s"
        )?,
        "true"
    );
    for (role, statement) in [
        ("service_role", "DELETE FROM plant.settings"),
        ("service_role", "TRUNCATE plant.settings"),
        ("service_role", "INSERT INTO plant.settings DEFAULT VALUES"),
        (
            "authenticated",
            "UPDATE plant.settings SET users_resolve = true",
        ),
    ] {
        let result = as_user(&mut client, role, None, |tx| tx.batch_execute(statement));
        expect_sqlstate(result, "42501");
    }
    // Not even the owner makes a second one.
    assert_eq!(
        refused(
            &mut client,
            "INSERT INTO plant.settings DEFAULT VALUES",
            "23505"
        ),
        "settings_pkey"
    );
    assert_eq!(
        refused(
            &mut client,
            "INSERT INTO plant.settings (one) VALUES (false)",
            "23514"
        ),
        "settings_one_check"
    );
    assert_eq!(count(&mut client, "plant.settings")?, 1);
    // What else the migrations fill.
    assert_eq!(
        names(
            &mut client,
            "SELECT s::text FROM plant.shifts s ORDER BY starts_at"
        )?,
        [
            "(Day,06:00:00,14:00:00)",
            "(Swing,14:00:00,22:00:00)",
            "(Night,22:00:00,06:00:00)"
        ]
    );
    assert_eq!(
        names(&mut client, "SELECT c::text FROM plant.safety_codes c")?,
        ["(\"Safety Issue\",)"]
    );
    Ok(())
}

#[test]
fn without_settings_the_pipelines_say_what_to_do() -> Result<()> {
    let (_db, mut client) = filled("model_no_settings")?;
    client.batch_execute("DELETE FROM plant.settings")?;
    for call in ["ingest_daily('[]')", "ingest_live('[]')"] {
        let error = expect_sqlstate(
            client.execute(&format!("SELECT * FROM plant.{call}"), &[]),
            "55000",
        );
        assert_eq!(error.message(), "the plant has no settings", "{call}");
        assert!(
            error.hint().unwrap_or_default().contains("DEFAULT VALUES"),
            "{error:?}"
        );
    }
    client.batch_execute("INSERT INTO plant.settings DEFAULT VALUES")?;
    client.execute("SELECT * FROM plant.ingest_live('[]')", &[])?;
    Ok(())
}

// Deploying ----------------------------------------------------------------------------------------

#[test]
fn undeploy_refuses_while_there_are_rows() -> Result<()> {
    let db = extended("model_undeploy")?;
    let mut client = db.connect()?;
    let rows = [
        (
            "plant.assets",
            "INSERT INTO plant.assets (name, source_id) VALUES ('a', 'a')",
        ),
        (
            "plant.daily_inbox",
            "INSERT INTO plant.daily_inbox (source_id) VALUES ('a')",
        ),
        (
            "plant.live_inbox",
            "INSERT INTO plant.live_inbox (source_id) VALUES ('a')",
        ),
        (
            "plant.ingest_rejects",
            "INSERT INTO plant.ingest_rejects (pipeline, row_number, reason, raw) VALUES ('live', 1, 'x', 'x')",
        ),
    ];
    for (table, insert) in rows {
        client.batch_execute(insert)?;
        let error = expect_sqlstate(
            client.query("SELECT * FROM gemba.undeploy('plant')", &[]),
            "2BP01",
        );
        assert_eq!(
            error.detail().unwrap_or_default().replace('"', ""),
            format!("table {table} is not empty")
        );
        assert!(
            error.hint().unwrap_or_default().contains("force"),
            "{error:?}"
        );
        assert_eq!(count(&mut client, table)?, 1);
        client.batch_execute(&format!("DELETE FROM {table}"))?;
    }
    // An hour that outlived its snapshots counts as well.
    client.batch_execute(ONE_OF_EACH)?;
    client.batch_execute("SELECT gemba.refresh_rollups()")?;
    expect_sqlstate(
        client.query("SELECT * FROM gemba.undeploy('plant')", &[]),
        "2BP01",
    );
    assert_eq!(names(&mut client, RELATIONS)?.len(), TABLES.len());

    let steps = names(
        &mut client,
        "SELECT direction || ' ' || version FROM gemba.undeploy('plant', force => true)",
    )?;
    assert_eq!(steps.first().map(String::as_str), Some("down 8"));
    assert_eq!(names(&mut client, RELATIONS)?, Vec::<String>::new());
    // Its users stay: they are another module's.
    assert_eq!(count(&mut client, "auth.users")?, 1);
    client.batch_execute("DELETE FROM auth.users; SELECT gemba.deploy('plant')")?;
    client.batch_execute(ONE_OF_EACH)?;
    Ok(())
}

/// Days that were kept aside on retirement still point to the machines.
#[test]
fn force_takes_archived_and_detached_days_along_or_leaves_them() -> Result<()> {
    for (on_expire, action) in [("archive", "archived"), ("detach", "detached")] {
        let (_db, mut client) = filled(&format!("model_undeploy_{on_expire}"))?;
        days_of_snapshots(&mut client, 3)?;
        client.batch_execute(&format!(
            "SELECT gemba.refresh_rollups();
             SELECT gemba.manage_partitions('plant.live_snapshots', '1 day', retain => '24 hours', on_expire => '{on_expire}')"
        ))?;
        let retired = names(
            &mut client,
            "SELECT action FROM gemba.maintain_partitions() WHERE parent = 'plant.live_snapshots'",
        )?;
        assert_eq!(retired, [action; 2]);
        client
            .batch_execute("SELECT gemba.undeploy('plant', force => true)")
            .map_err(|error| anyhow::anyhow!("{on_expire}: {error:?}"))?;
        assert_eq!(
            count(
                &mut client,
                "pg_class WHERE oid = to_regclass('plant.assets')"
            )?,
            0
        );
        // Whatever is left is no hindrance.
        client.batch_execute("SELECT gemba.deploy('plant')")?;
    }
    Ok(())
}

#[test]
fn what_the_migrations_filled_does_not_stand_in_the_way() -> Result<()> {
    let db = extended("model_undeploy_reference")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "UPDATE plant.settings SET plant_name = 'Works';
         INSERT INTO plant.shifts (name, starts_at, ends_at) VALUES ('Late', '20:00', '02:00');
         INSERT INTO plant.safety_codes (reason_code) VALUES ('Fire')",
    )?;
    client.batch_execute("SELECT gemba.undeploy('plant')")?;
    assert_eq!(names(&mut client, RELATIONS)?, Vec::<String>::new());
    assert_eq!(
        names(
            &mut client,
            "SELECT parent::text FROM gemba.partition_sets WHERE parent::text !~ '^(telemetry|sqp|cloudwatcher)[.]'
             UNION ALL SELECT rollup::text FROM gemba.rollup_definitions WHERE rollup::text NOT LIKE 'telemetry.%'"
        )?,
        Vec::<String>::new()
    );
    // The other room does not notice.
    client.batch_execute(gemba_tests::ONE_SENSOR)?;
    client.batch_execute("SELECT gemba.maintain_partitions(); SELECT gemba.refresh_rollups()")?;
    Ok(())
}

#[test]
fn each_room_stands_without_the_other() -> Result<()> {
    for (only, other) in [("plant", "telemetry"), ("telemetry", "plant")] {
        let db = empty(&format!("model_only_{only}"))?;
        let mut client = db.connect()?;
        client.execute("SELECT set_config('gemba.deploy', $1, false)", &[&only])?;
        client.batch_execute("CREATE EXTENSION gemba")?;
        let deployed = names(
            &mut client,
            "SELECT DISTINCT module FROM gemba.schema_versions ORDER BY 1",
        )?;
        assert_eq!(deployed, ["audit", "auth", only]);
        let tables = |schema: &str| {
            format!(
                "pg_class WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'p', 'v')"
            )
        };
        assert!(count(&mut client, &tables(only))? > 0);
        assert_eq!(count(&mut client, &tables(other))?, 0, "{other}");
        client
            .batch_execute("SELECT gemba.maintain_partitions(); SELECT gemba.refresh_rollups()")?;
        let works = if only == "plant" {
            ONE_OF_EACH
        } else {
            gemba_tests::ONE_SENSOR
        };
        client.batch_execute(works)?;
        client.batch_execute("SELECT gemba.refresh_rollups()")?;
        if only == "plant" {
            for (call, _) in CALLS {
                client.batch_execute(&format!("SELECT plant.{call}"))?;
            }
        }

        client.execute("SELECT gemba.deploy($1)", &[&other])?;
        assert!(count(&mut client, &tables(other))? > 0);
        client.execute("SELECT gemba.undeploy($1)", &[&other])?;
        assert_eq!(count(&mut client, &tables(other))?, 0, "{other}");
        let kept = if only == "plant" {
            "plant.assets"
        } else {
            "telemetry.sensors"
        };
        assert!(count(&mut client, kept)? > 0);
    }
    Ok(())
}
