//! Who sees how much, who may do what: by subscription and by role.

mod telemetry_support;

use anyhow::Result;
use gemba_tests::{Database, as_user, expect_sqlstate, extended};
use postgres::{Client, Error, Transaction};
use std::sync::OnceLock;
use telemetry_support::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    Nothing,
    Sample,
    Everything,
}
use Sees::{Everything, Nothing, Sample};

/// Users by number, and what they should see.
const USERS: &[(u32, &[(&str, &str, Option<&str>)], Sees)] = &[
    (1, &[], Nothing),
    (2, &[("free", "active", None)], Sample),
    (3, &[("professional", "active", None)], Everything),
    (4, &[("professional", "active", Some("-1 minute"))], Nothing),
    (5, &[("professional", "cancelled", None)], Nothing),
    (6, &[("professional", "past_due", None)], Nothing),
    (
        7,
        &[
            ("professional", "active", Some("-1 day")),
            ("free", "active", None),
        ],
        Sample,
    ),
    (8, &[("free", "active", Some("1 day"))], Sample),
    (9, &[("professional", "active", Some("1 day"))], Everything),
    (10, &[("free", "active", Some("-1 second"))], Nothing),
    (
        11,
        &[
            ("free", "cancelled", None),
            ("professional", "cancelled", Some("1 year")),
        ],
        Nothing,
    ),
    (
        12,
        &[
            ("free", "active", None),
            ("professional", "active", Some("1 hour")),
        ],
        Everything,
    ),
    (
        13,
        &[
            ("professional", "cancelled", None),
            ("free", "active", Some("1 hour")),
        ],
        Sample,
    ),
];

fn id(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

/// Two days of all seven floors and every kind of subscription; a tail that no refresh has seen. Tests that
/// change anything roll back.
fn building() -> Result<Database<'static>> {
    static BUILDING: OnceLock<Result<Database<'static>, String>> = OnceLock::new();
    let made = BUILDING.get_or_init(|| made().map_err(|error| format!("{error:#}")));
    made.clone().map_err(|error| anyhow::anyhow!("{error}"))
}

fn made() -> Result<Database<'static>> {
    let db = extended("building")?;
    let dir = folder(&db, "data")?;
    slice(&dir, "2019-06-30", "2019-07-02", &[1, 2, 3, 4, 5, 6, 7])?;
    let mut client = db.connect()?;
    import(&mut client, &dir)?;
    client.batch_execute("SELECT telemetry.refresh()")?;
    for (number, subscriptions, _) in USERS {
        user(&mut client, *number, subscriptions)?;
    }
    // A tail, of sensors inside and outside of the sample.
    client.batch_execute(
        "INSERT INTO telemetry.sensor_readings (\"timestamp\", sensor_id, floor_number, equipment_type, reading_value, unit, status)
           SELECT '2019-07-02 00:00+07', sensor_id, floor_number, equipment_type, 1, unit, 'suspect' FROM telemetry.sensors;
         ANALYZE",
    )?;
    Ok(db)
}

fn counted(tx: &mut Transaction<'_>, from: &str) -> Result<i64, Error> {
    count(tx, from)
}

/// Everything that has rows of sensors; the text in `{}` is what a query adds to it.
const RELATIONS: &[&str] = &[
    "telemetry.sensors",
    "telemetry.sensor_readings",
    "telemetry.hourly_aggregates",
    "telemetry.daily_aggregates",
    "telemetry.hourly_aggregates_live",
    "telemetry.daily_aggregates_live",
    "telemetry.latest_values()",
    "telemetry.data_quality('2019-06-30 00:00+07', '2019-07-03 00:00+07')",
];

#[test]
fn every_subscription_sees_what_it_pays_for() -> Result<()> {
    let db = building()?;
    let mut client = db.connect()?;
    assert!(count(&mut client, "telemetry.sensor_readings")? > 300_000);
    let mut wanted = Vec::new();
    for relation in RELATIONS {
        let all = count(&mut client, relation)?;
        let sample = count(
            &mut client,
            &format!(
                "{relation} AS x WHERE x.sensor_id IN (SELECT sensor_id FROM telemetry.sensors WHERE in_sample)"
            ),
        )?;
        assert!(0 < sample && sample < all, "{relation}: {sample} of {all}");
        wanted.push((all, sample));
    }
    for (number, _, sees) in USERS {
        for (relation, (all, sample)) in RELATIONS.iter().zip(&wanted) {
            let (found, outside) = as_user(
                &mut client,
                "authenticated",
                Some(&id(*number)),
                |tx| {
                    let found = counted(tx, relation)?;
                    let outside = counted(
                        tx,
                        &format!(
                            "{relation} AS x WHERE x.sensor_id NOT IN (SELECT s FROM telemetry.sample_sensor_ids() AS s)"
                        ),
                    )?;
                    Ok((found, outside))
                },
            )?;
            let want = match sees {
                Nothing => 0,
                Sample => *sample,
                Everything => *all,
            };
            assert_eq!(found, want, "user {number} on {relation}");
            assert_eq!(
                outside == 0,
                *sees != Everything,
                "user {number} on {relation}"
            );
        }
    }
    // The application's servers see everything, with claims and without.
    for sub in [None, Some(id(1)), Some(id(2))] {
        for (relation, (all, _)) in RELATIONS.iter().zip(&wanted) {
            let found = as_user(&mut client, "service_role", sub.as_deref(), |tx| {
                counted(tx, relation)
            })?;
            assert_eq!(found, *all, "service_role on {relation}");
        }
    }
    // Nobody, and a user that does not exist.
    for sub in [None, Some(id(99))] {
        for relation in RELATIONS {
            let found = as_user(&mut client, "authenticated", sub.as_deref(), |tx| {
                counted(tx, relation)
            })?;
            assert_eq!(found, 0, "{sub:?} on {relation}");
        }
    }
    Ok(())
}

#[test]
fn query_functions_keep_to_the_subscription() -> Result<()> {
    let db = building()?;
    let mut client = db.connect()?;
    let inside = one(
        &mut client,
        "SELECT min(sensor_id) FROM telemetry.sensors WHERE in_sample",
    )?;
    let outside = one(
        &mut client,
        "SELECT min(sensor_id) FROM telemetry.sensors WHERE NOT in_sample",
    )?;
    let series = |sensor: &str, bucket: &str| {
        format!(
            "telemetry.series('{sensor}', '2019-07-01 00:00+07', '2019-07-02 00:00+07', '{bucket}', 'none')"
        )
    };
    let totals = "SELECT coalesce(sum(reading_count), 0)::bigint FROM telemetry.totals('2019-06-30 00:00+07', '2019-07-02 00:00+07')";
    let all: i64 = client.query_one(totals, &[])?.get(0);
    assert!(all > 0);
    for (number, _, sees) in USERS {
        let claims = id(*number);
        for (sensor, seen) in [(&inside, *sees != Nothing), (&outside, *sees == Everything)] {
            for bucket in ["15 minutes", "1 hour", "1 day"] {
                let call = series(sensor, bucket);
                let found = as_user(&mut client, "authenticated", Some(&claims), |tx| {
                    counted(tx, &call)
                })?;
                assert_eq!(found > 0, seen, "user {number}: {call}");
            }
            let carried = format!(
                "(SELECT FROM telemetry.series('{sensor}', '2019-07-03 00:00+07', '2019-07-04 00:00+07', '1 hour', 'previous') WHERE avg_value IS NOT NULL) q"
            );
            let found = as_user(&mut client, "authenticated", Some(&claims), |tx| {
                counted(tx, &carried)
            })?;
            assert_eq!(found > 0, seen, "user {number}: carried forward");
            let named = format!("telemetry.latest_values(ARRAY['{sensor}'])");
            let found = as_user(&mut client, "authenticated", Some(&claims), |tx| {
                counted(tx, &named)
            })?;
            assert_eq!(found, i64::from(seen), "user {number}: {named}");
        }
        let found: i64 = as_user(&mut client, "authenticated", Some(&claims), |tx| {
            Ok(tx.query_one(totals, &[])?.get(0))
        })?;
        match sees {
            Nothing => assert_eq!(found, 0),
            Sample => assert!(
                found > 0 && found * 100 / all <= 11,
                "user {number}: {found} of {all}"
            ),
            Everything => assert_eq!(found, all),
        }
        let tier: Option<String> = as_user(&mut client, "authenticated", Some(&claims), |tx| {
            Ok(tx.query_one("SELECT telemetry.access_tier()", &[])?.get(0))
        })?;
        let want = match sees {
            Nothing => None,
            Sample => Some("free"),
            Everything => Some("professional"),
        };
        assert_eq!(tier.as_deref(), want, "user {number}");
    }
    Ok(())
}

#[test]
fn partitions_are_closed_to_everybody() -> Result<()> {
    let db = building()?;
    let mut client = db.connect()?;
    let partitions: Vec<String> = client
        .query(
            "SELECT partition::text FROM gemba.partitions WHERE parent = 'telemetry.sensor_readings'::regclass",
            &[],
        )?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(partitions.len() >= 2);
    for role in ["anon", "authenticated", "service_role"] {
        for partition in &partitions {
            let found = as_user(&mut client, role, Some(&id(3)), |tx| counted(tx, partition));
            expect_sqlstate(found, "42501");
        }
    }
    Ok(())
}

#[test]
fn anon_gets_at_nothing() -> Result<()> {
    let db = building()?;
    let mut client = db.connect()?;
    let stranger = db.role("stranger")?;
    let mut things: Vec<String> = RELATIONS.iter().map(|r| (*r).to_owned()).collect();
    for more in [
        "telemetry.subscriptions",
        "telemetry.plausible_ranges",
        "telemetry.import_runs",
        "telemetry.import_rejects",
        "telemetry.import_lines",
        "telemetry.sample_sensor_ids()",
        "telemetry.access_tier()",
        "telemetry.refresh()",
        "telemetry.series('x', now(), now() + interval '1 day')",
        "telemetry.totals(now(), now() + interval '1 day')",
        "gemba.partitions",
        "gemba.rollups",
    ] {
        things.push(more.to_owned());
    }
    for role in ["anon", stranger.as_str()] {
        for thing in &things {
            // With the claims of somebody who pays, too.
            for sub in [None, Some(id(3))] {
                let found = as_user(&mut client, role, sub.as_deref(), |tx| counted(tx, thing));
                expect_sqlstate(found, "42501");
            }
        }
    }
    Ok(())
}

#[test]
fn users_see_their_own_subscriptions_only() -> Result<()> {
    let db = building()?;
    let mut client = db.connect()?;
    for (number, subscriptions, _) in USERS {
        let found = as_user(&mut client, "authenticated", Some(&id(*number)), |tx| {
            rows(
                tx,
                "SELECT user_id, tier, status FROM telemetry.subscriptions ORDER BY tier",
            )
        })?;
        let mut want: Vec<String> = subscriptions
            .iter()
            .map(|(tier, status, _)| format!("({},{tier},{status})", id(*number)))
            .collect();
        want.sort();
        assert_eq!(found, want);
    }
    let all = as_user(&mut client, "service_role", None, |tx| {
        counted(tx, "telemetry.subscriptions")
    })?;
    assert_eq!(
        all as usize,
        USERS.iter().map(|(_, s, _)| s.len()).sum::<usize>()
    );
    // Whoever knows of a subscription by its key knows no more for it.
    let found = as_user(&mut client, "authenticated", Some(&id(2)), |tx| {
        counted(
            tx,
            "telemetry.subscriptions WHERE user_id <> auth.uid() OR tier = 'professional'",
        )
    })?;
    assert_eq!(found, 0);
    Ok(())
}

#[test]
fn nobody_writes_but_the_service() -> Result<()> {
    let db = building()?;
    let mut client = db.connect()?;
    let tables = client.query(
        "SELECT c.oid::regclass::text, quote_ident(a.attname) FROM pg_class c
           JOIN LATERAL (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
                           AND attidentity = '' AND attgenerated = '' ORDER BY attnum LIMIT 1) a ON true
          WHERE c.relnamespace = 'telemetry'::regnamespace AND c.relkind IN ('r', 'p', 'v') ORDER BY 1",
        &[],
    )?;
    let tables: Vec<(String, String)> = tables.iter().map(|r| (r.get(0), r.get(1))).collect();
    assert!(tables.len() > 10, "{tables:?}");
    let statements = |table: &str, column: &str| {
        [
            ("INSERT", format!("INSERT INTO {table} DEFAULT VALUES")),
            (
                "UPDATE",
                format!("UPDATE {table} SET {column} = {column} WHERE false"),
            ),
            ("DELETE", format!("DELETE FROM {table} WHERE false")),
            ("TRUNCATE", format!("TRUNCATE {table}")),
        ]
    };
    let before = state(&mut client)?;
    for (table, column) in &tables {
        for (verb, statement) in statements(table, column) {
            for (role, sub) in [
                ("authenticated", Some(id(3))),
                ("authenticated", None),
                ("anon", None),
            ] {
                let outcome = as_user(&mut client, role, sub.as_deref(), |tx| {
                    tx.execute(&statement, &[])
                });
                // A live view takes no writes from anybody.
                if table.ends_with("_live") {
                    assert!(outcome.is_err(), "{role}: {statement}");
                } else {
                    expect_sqlstate(outcome, "42501");
                }
            }
            // What the service may is what the privileges say, statement by statement; nobody truncates.
            let may: bool = client
                .query_one(
                    &format!("SELECT has_table_privilege('service_role', '{table}', '{verb}')"),
                    &[],
                )?
                .get(0);
            assert!(!may || verb != "TRUNCATE", "service_role truncates {table}");
            let owned = [
                "sensors",
                "subscriptions",
                "plausible_ranges",
                "sensor_readings",
            ];
            let want = verb != "TRUNCATE"
                && owned.iter().any(|t| *table == format!("telemetry.{t}"))
                || *table == "telemetry.import_lines" && matches!(verb, "INSERT" | "DELETE");
            assert_eq!(may, want, "service_role: {verb} on {table}");
        }
    }
    assert_eq!(state(&mut client)?, before);
    Ok(())
}

#[test]
fn functions_by_role() -> Result<()> {
    let db = building()?;
    let mut client = db.connect()?;
    let stranger = db.role("caller")?;
    const READERS: &[&str] = &["authenticated", "service_role"];
    const SERVICE: &[&str] = &["service_role"];
    let calls: &[(&str, &[&str])] = &[
        ("telemetry.latest_values()", READERS),
        ("telemetry.series('x', '2019-07-01', '2019-07-02')", READERS),
        ("telemetry.totals('2019-07-01', '2019-07-02')", READERS),
        (
            "telemetry.data_quality('2019-07-01', '2019-07-02')",
            READERS,
        ),
        ("telemetry.access_tier()", READERS),
        ("telemetry.sees_everything()", READERS),
        ("telemetry.sample_sensor_ids()", READERS),
        ("telemetry.refresh()", SERVICE),
        ("telemetry.choose_sample()", SERVICE),
        (
            "telemetry.ensure_partitions('2019-07-01', '2019-07-02')",
            SERVICE,
        ),
        ("telemetry.upload_session()", SERVICE),
        ("telemetry.import_uploaded('x.csv')", SERVICE),
        ("telemetry.import_csv('/nowhere/x.csv')", &[]),
    ];
    let functions = count(
        &mut client,
        "pg_proc WHERE pronamespace = 'telemetry'::regnamespace AND NOT EXISTS (
           SELECT FROM pg_trigger WHERE tgfoid = pg_proc.oid)",
    )?;
    assert_eq!(
        functions,
        calls.len() as i64,
        "a function is missing from the list"
    );
    for (call, allowed) in calls {
        for role in ["anon", "authenticated", "service_role", &stranger] {
            let mut outcome = Err(None);
            // What it does is undone.
            let result = as_user(&mut client, role, Some(&id(3)), |tx| {
                let mut inner = tx.savepoint("call")?;
                outcome = inner
                    .query(&format!("SELECT * FROM {call}"), &[])
                    .map(|_| ())
                    .map_err(|e| e.code().map(|c| c.code().to_owned()));
                inner.rollback()
            });
            result?;
            let denied = matches!(&outcome, Err(Some(code)) if code == "42501");
            assert_eq!(
                !denied,
                allowed.contains(&role),
                "{role}: {call}: {outcome:?}"
            );
            // With nothing sent, that is what the import says.
            if !denied && !call.contains("import_uploaded") {
                assert_eq!(outcome, Ok(()), "{role}: {call}");
            }
        }
    }
    Ok(())
}

#[test]
fn reading_the_servers_files_is_a_right_of_its_own() -> Result<()> {
    let db = extended("file_right")?;
    let dir = folder(&db, "data")?;
    let path = put(
        &dir,
        "2018Floor1.csv",
        "Date,z1_Light(kW)\n2018-07-01 00:00:00,1\n",
    )?;
    let mut admin = db.connect()?;
    let before = state(&mut admin)?;
    let stranger = db.role("nobody")?;
    for role in ["anon", "authenticated", "service_role", &stranger] {
        let outcome = as_user(&mut admin, role, None, |tx| import(tx, &path));
        expect_sqlstate(outcome, "42501");
    }
    // With the function granted away, it still asks; and says what would help.
    admin.batch_execute(
        "GRANT EXECUTE ON FUNCTION telemetry.import_csv(text, int, text, text, text) TO service_role, authenticated",
    )?;
    for role in ["service_role", "authenticated"] {
        let error = expect_sqlstate(
            as_user(&mut admin, role, None, |tx| import(tx, &path)),
            "42501",
        );
        assert!(
            error
                .hint()
                .unwrap_or_default()
                .contains("pg_read_server_files"),
            "{error:?}"
        );
        // A file that does not exist looks the same.
        let error = expect_sqlstate(
            as_user(&mut admin, role, None, |tx| import(tx, &dir.join("none"))),
            "42501",
        );
        assert!(error.hint().is_some());
    }
    assert_eq!(state(&mut admin)?, before);

    let member = db.role("loader")?;
    admin.batch_execute(&format!("GRANT pg_read_server_files TO \"{member}\""))?;
    let mut client = db.connect_as(&member)?;
    assert_eq!(import(&mut client, &path)?[0].inserted, 1);
    assert_eq!(import(&mut client, &path)?[0].duplicates, 1);
    // And nothing else.
    for statement in [
        "SELECT * FROM telemetry.sensor_readings",
        "SELECT * FROM telemetry.import_runs",
        "INSERT INTO telemetry.sensors (sensor_id, floor_number) VALUES ('x', 1)",
        "SELECT telemetry.refresh()",
        "SELECT telemetry.choose_sample()",
    ] {
        expect_sqlstate(client.batch_execute(statement), "42501");
    }
    // A member that does not inherit the right has to take the role first.
    let aloof = db.role("aloof")?;
    admin.batch_execute(&format!(
        "ALTER ROLE \"{aloof}\" NOINHERIT; GRANT pg_read_server_files TO \"{aloof}\""
    ))?;
    let mut client = db.connect_as(&aloof)?;
    expect_sqlstate(import(&mut client, &path), "42501");
    // A function of somebody else's does not lend it.
    admin.batch_execute(&format!(
        "CREATE FUNCTION public.lend(p text) RETURNS bigint LANGUAGE sql AS 'SELECT inserted FROM telemetry.import_csv(p)';
         GRANT EXECUTE ON FUNCTION public.lend(text) TO PUBLIC; GRANT USAGE ON SCHEMA telemetry TO \"{stranger}\""
    ))?;
    let mut client = db.connect_as(&stranger)?;
    expect_sqlstate(
        client.query("SELECT public.lend($1)", &[&path.display().to_string()]),
        "42501",
    );
    Ok(())
}

/// Whoever sets `request.jwt.claims` is trusted, as everywhere with PostgREST: the one setting that decides who
/// somebody is. Nothing else does, and no claim raises a role above itself.
#[test]
fn claims_decide_who_and_only_the_role_decides_what() -> Result<()> {
    let db = building()?;
    let mut client = db.connect()?;
    let all = count(&mut client, "telemetry.sensor_readings")?;
    let mut with = |claims: &str, extra: &str| -> Result<Result<i64, String>> {
        let mut tx = client.transaction()?;
        tx.execute(
            "SELECT set_config('request.jwt.claims', $1, true)",
            &[&claims],
        )?;
        tx.batch_execute("SET LOCAL ROLE authenticated")?;
        tx.batch_execute(extra)?;
        let found = counted(&mut tx, "telemetry.sensor_readings");
        tx.rollback()?;
        Ok(found.map_err(|e| e.code().map(|c| c.code().to_owned()).unwrap_or_default()))
    };
    let (free, professional) = (id(2), id(3));
    let sub = |sub: &str| format!("{{\"role\": \"authenticated\", \"sub\": \"{sub}\"}}");
    let sample = with(&sub(&free), "")?;
    assert!(matches!(sample, Ok(n) if n > 0 && n < all));
    // The trusted setting.
    assert_eq!(
        with(
            &sub(&free),
            &format!(
                "SELECT set_config('request.jwt.claims', '{}', true)",
                sub(&professional)
            )
        )?,
        Ok(all)
    );
    // A role's name in the claims is no role, and neither is a tier.
    assert_eq!(with("{\"role\": \"service_role\"}", "")?, Ok(0));
    assert_eq!(
        with(
            &format!(
                "{{\"role\": \"service_role\", \"sub\": \"{free}\", \"tier\": \"professional\", \"app_metadata\": {{\"tier\": \"professional\"}}}}"
            ),
            ""
        )?,
        sample
    );
    // Other settings of that kind.
    assert_eq!(
        with(
            &sub(&free),
            &format!(
                "SELECT set_config('request.jwt.claim.sub', '{professional}', true), set_config('role.jwt', 'service_role', true)"
            )
        )?,
        sample
    );
    // Broken ones give an error or nothing, never rows.
    for broken in [
        "{",
        "[]",
        "null",
        "\"x\"",
        "{\"sub\": null}",
        "{\"sub\": \"\"}",
        "{\"sub\": 3}",
        "{\"sub\": \"not-a-uuid\"}",
        "",
    ] {
        match with(broken, "")? {
            Ok(rows) => assert_eq!(rows, 0, "{broken}"),
            Err(code) => assert!(code.starts_with("22"), "{broken}: {code}"),
        }
    }
    // Things of one's own in front of the search path.
    let decoys = "CREATE TEMP TABLE subscriptions (user_id uuid, tier text, status text, expires_at timestamptz);
         INSERT INTO pg_temp.subscriptions VALUES (auth.uid(), 'professional', 'active', NULL);
         CREATE TEMP TABLE sensors (sensor_id text, in_sample boolean);
         CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT ''-infinity''::timestamptz';
         CREATE FUNCTION pg_temp.max(text) RETURNS text LANGUAGE sql AS 'SELECT ''professional''';
         SET LOCAL search_path = pg_temp, telemetry, pg_catalog";
    assert_eq!(with(&sub(&free), decoys)?, sample);
    assert_eq!(with(&sub(&id(4)), decoys)?, Ok(0));
    // Row security cannot be switched off: that asks for an error instead.
    assert_eq!(
        with(&sub(&free), "SET LOCAL row_security = off")?,
        Err("42501".into())
    );
    // From within one role there is no way to another.
    assert_eq!(
        expect_sqlstate(
            as_user(&mut db.connect()?, "authenticated", Some(&free), |tx| tx.batch_execute(
                "CREATE FUNCTION pg_temp.up() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET role = service_role AS 'SELECT count(*) FROM telemetry.import_runs';
                 SELECT pg_temp.up()"
            )),
            "42501"
        )
        .code()
        .code(),
        "42501"
    );
    Ok(())
}

/// A condition of the user's own that tells what it is shown.
#[test]
fn a_talking_condition_hears_no_hidden_row() -> Result<()> {
    let db = building()?;
    let (mut client, notices) = db.connect_noting()?;
    let sample: Vec<String> = client
        .query(
            "SELECT sensor_id FROM telemetry.sensors WHERE in_sample",
            &[],
        )?
        .iter()
        .map(|row| row.get(0))
        .collect();
    for relation in [
        "telemetry.sensors",
        "telemetry.hourly_aggregates",
        "telemetry.hourly_aggregates_live",
        "telemetry.daily_aggregates_live",
        "telemetry.sensor_readings",
    ] {
        notices.take();
        let limit = if relation.ends_with("readings") {
            " AND \"timestamp\" = '2019-07-01 12:00+07'"
        } else {
            ""
        };
        as_user(&mut client, "authenticated", Some(&id(2)), |tx| {
            tx.batch_execute(
                "CREATE FUNCTION pg_temp.tell(id text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
                   $$ BEGIN RAISE NOTICE 'heard %', id; RETURN true; END $$",
            )?;
            tx.query(
                &format!("SELECT FROM {relation} WHERE pg_temp.tell(sensor_id){limit}"),
                &[],
            )?;
            tx.batch_execute("DROP FUNCTION pg_temp.tell(text)")
        })?;
        let heard = notices.take();
        assert!(!heard.is_empty(), "{relation} told nothing");
        for notice in &heard {
            let sensor = notice.message().trim_start_matches("heard ");
            assert!(
                sample.iter().any(|s| s == sensor),
                "{relation} told {sensor}"
            );
        }
    }
    Ok(())
}

/// Workers of a parallel plan see what their leader sees, also in a transaction that has written already.
#[test]
fn parallel_plans_keep_to_the_subscription() -> Result<()> {
    let db = building()?;
    let mut client = db.connect()?;
    let force = if db.cluster().major() >= 16 {
        "debug_parallel_query"
    } else {
        "force_parallel_mode"
    };
    for wrote in [
        "",
        "CREATE TEMP TABLE mine AS SELECT 1 AS a; INSERT INTO mine VALUES (2)",
    ] {
        let mut counts = Vec::new();
        for parallel in ["", "on"] {
            for number in [1, 2, 3] {
                let mut tx = client.transaction()?;
                let claims = format!("{{\"sub\": \"{}\"}}", id(number));
                tx.execute(
                    "SELECT set_config('request.jwt.claims', $1, true)",
                    &[&claims],
                )?;
                tx.batch_execute("SET LOCAL ROLE authenticated")?;
                tx.batch_execute(wrote)?;
                tx.batch_execute("SET LOCAL max_parallel_workers_per_gather = 0")?;
                if parallel == "on" {
                    tx.batch_execute(&format!(
                        "SET LOCAL max_parallel_workers_per_gather = 2; SET LOCAL {force} = on; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0;
                         SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL min_parallel_index_scan_size = 0"
                    ))?;
                }
                let plan = rows_of_plan(&mut tx, "SELECT count(*) FROM telemetry.sensor_readings")?;
                assert_eq!(plan.contains("Gather"), parallel == "on", "{plan}");
                let mut found = Vec::new();
                for relation in [
                    "telemetry.sensor_readings",
                    "telemetry.hourly_aggregates_live",
                    "telemetry.latest_values()",
                ] {
                    found.push(counted(&mut tx, relation)?);
                }
                counts.push(found);
                tx.rollback()?;
            }
        }
        let (plain, parallel) = counts.split_at(3);
        assert_eq!(plain, parallel, "{wrote}");
        assert!(plain[0].iter().all(|n| *n == 0) && plain[1].iter().all(|n| *n > 0));
    }
    Ok(())
}

fn rows_of_plan(tx: &mut Transaction<'_>, sql: &str) -> Result<String, Error> {
    let lines = tx.query(&format!("EXPLAIN (COSTS OFF) {sql}"), &[])?;
    Ok(lines
        .iter()
        .map(|r| r.get::<_, String>(0))
        .collect::<Vec<_>>()
        .join("\n"))
}

// The free sample --------------------------------------------------------------------------------

/// Share of the sample in percent: of readings, hours, days; as a free user counts them.
fn shares(client: &mut Client, free: &str) -> Result<Vec<f64>> {
    let mut shares = Vec::new();
    for of in [
        "(SELECT count(*)::float8 FROM telemetry.sensor_readings)",
        "(SELECT sum(reading_count)::float8 FROM telemetry.hourly_aggregates)",
        "(SELECT sum(reading_count)::float8 FROM telemetry.daily_aggregates)",
    ] {
        let sql = format!("SELECT {of}");
        let all: f64 = client.query_one(&sql, &[])?.get(0);
        let seen: Option<f64> = as_user(client, "authenticated", Some(free), |tx| {
            Ok(tx.query_one(&sql, &[])?.get(0))
        })?;
        shares.push(100.0 * seen.unwrap_or_default() / all);
    }
    Ok(shares)
}

#[test]
fn the_sample_is_a_tenth_and_stays() -> Result<()> {
    let db = extended("sample")?;
    let mut client = db.connect()?;
    let free = user(&mut client, 1, &[("free", "active", None)])?;
    let chosen = |client: &mut Client| {
        rows(
            client,
            "SELECT sensor_id FROM telemetry.sensors WHERE in_sample ORDER BY 1",
        )
    };
    // Through the autumn in which the multisensors are out, and out of it again.
    let mut first = None;
    for (from, to) in [
        ("2018-07-01", "2018-07-02"),
        ("2018-07-02", "2018-07-03"),
        ("2018-10-01", "2018-10-02"),
        ("2019-04-01", "2019-04-02"),
    ] {
        let step = folder(&db, from)?;
        slice(&step, from, to, &[1, 2, 3, 4, 5, 6, 7])?;
        import(&mut client, &step)?;
        client.batch_execute("SELECT telemetry.refresh()")?;
        for share in shares(&mut client, &free)? {
            assert!((9.0..=11.0).contains(&share), "{share} % after {from}");
        }
        let now = chosen(&mut client)?;
        assert!(now.len() >= 5, "{now:?}");
        // The same amount of the same kind keeps the same sensors.
        if from == "2018-07-02" {
            assert_eq!(Some(&now), first.as_ref());
        }
        first = Some(now);
    }
    // Again: nothing moves.
    let before = chosen(&mut client)?;
    client.batch_execute("SELECT telemetry.refresh(); SELECT telemetry.choose_sample()")?;
    import(&mut client, &folder(&db, "2018-07-01")?)?;
    client.batch_execute("SELECT telemetry.refresh()")?;
    assert_eq!(chosen(&mut client)?, before);
    let told: f64 = client
        .query_one("SELECT telemetry.choose_sample()", &[])?
        .get(0);
    let share = shares(&mut client, &free)?[0];
    assert!(
        (told * 100.0 - share).abs() < 0.001,
        "it says {told}, and is {share} %"
    );
    // Whole sensors, and the same ones everywhere.
    let sets = as_user(&mut client, "authenticated", Some(&free), |tx| {
        let mut sets = Vec::new();
        for relation in [
            "sensors",
            "sensor_readings",
            "hourly_aggregates",
            "daily_aggregates",
            "hourly_aggregates_live",
            "daily_aggregates_live",
        ] {
            sets.push(rows(tx, &format!("SELECT DISTINCT sensor_id FROM telemetry.{relation} WHERE sensor_id IN (SELECT sensor_id FROM telemetry.sensor_readings) ORDER BY 1"))?);
        }
        Ok(sets)
    })?;
    assert!(sets.iter().all(|set| *set == sets[0]), "{sets:?}");
    Ok(())
}
