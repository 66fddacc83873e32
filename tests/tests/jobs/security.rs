//! Who may schedule what for whom, and who sees it.

use super::{allow, due, idle, run_due_briefly};
use anyhow::Result;
use gemba_tests::{Database, expect_sqlstate, table, value};
use postgres::Client;

/// Roles that may schedule, without any membership.
fn schedulers<const N: usize>(
    db: &Database,
    client: &mut Client,
    stems: [&str; N],
) -> Result<[String; N]> {
    let mut roles = [(); N].map(|()| String::new());
    for (role, stem) in roles.iter_mut().zip(stems) {
        *role = db.role(stem)?;
        allow(client, role)?;
    }
    Ok(roles)
}

#[test]
fn somebody_elses_job_is_not_touched() -> Result<()> {
    let (db, mut client) = idle("elses")?;
    let [owner, other] = schedulers(&db, &mut client, ["owner", "other"])?;
    db.connect_as(&owner)?
        .batch_execute("SELECT gemba.schedule('j', '1 hour', 'SELECT 1')")?;
    let all = "SELECT * FROM gemba.jobs";
    let before = table(&mut client, all);
    let mut stranger = db.connect_as(&other)?;
    for call in [
        "gemba.schedule('j', '1 hour', 'SELECT 2')",
        "gemba.unschedule('j')",
        "gemba.enable_job('j', false)",
        "gemba.run_job_now('j')",
    ] {
        let error = expect_sqlstate(stranger.batch_execute(&format!("SELECT {call}")), "42501");
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{call}: {error:?}"
        );
    }
    assert_eq!(table(&mut client, all), before);
    // A member of its owner may, and a superuser.
    client.batch_execute(&format!("GRANT {owner} TO {other}"))?;
    stranger.batch_execute("SELECT gemba.enable_job('j', false)")?;
    client.batch_execute("SELECT gemba.enable_job('j'), gemba.unschedule('j')")?;
    Ok(())
}

#[test]
fn a_job_runs_as_its_caller_or_a_role_that_the_caller_is_a_member_of() -> Result<()> {
    let (db, mut client) = idle("run_as")?;
    let [caller, group, other] = schedulers(&db, &mut client, ["caller", "group", "other"])?;
    client.batch_execute(&format!("GRANT {group} TO {caller}"))?;
    let mut session = db.connect_as(&caller)?;
    session.batch_execute(&format!(
        "SELECT gemba.schedule('mine', '1 hour', 'SELECT 1'),
                gemba.schedule('named', '1 hour', 'SELECT 1', run_as => '{caller}'),
                gemba.schedule('groups', '1 hour', 'SELECT 1', run_as => '{group}')"
    ))?;
    for role in [other.as_str(), "service_role", "postgres"] {
        let error = expect_sqlstate(
            session.batch_execute(&format!(
                "SELECT gemba.schedule('no', '1 hour', 'SELECT 1', run_as => '{role}')"
            )),
            "42501",
        );
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{role}: {error:?}"
        );
    }
    let error = expect_sqlstate(
        session.batch_execute(
            "SELECT gemba.schedule('no', '1 hour', 'SELECT 1', run_as => 'nobody_of_this_name')",
        ),
        "42704",
    );
    assert!(error.detail().is_some() && error.hint().is_some());
    assert_eq!(
        table(
            &mut client,
            "SELECT name, owner, run_as FROM gemba.jobs ORDER BY id"
        ),
        [
            format!("mine | {caller} | {caller}"),
            format!("named | {caller} | {caller}"),
            format!("groups | {caller} | {group}")
        ]
    );
    Ok(())
}

/// Since 16 a membership may be without the right to SET ROLE. It is not a way to run anything as the role.
#[test]
fn a_membership_without_set_role_does_not_let_schedule() -> Result<()> {
    let (db, mut client) = idle("without_set")?;
    if db.cluster().major() < 16 {
        return Ok(());
    }
    let [caller, group] = schedulers(&db, &mut client, ["caller", "group"])?;
    client.batch_execute(&format!(
        "GRANT {group} TO {caller} WITH INHERIT FALSE, SET FALSE"
    ))?;
    let mut session = db.connect_as(&caller)?;
    // The session is a superuser's, so SET ROLE itself cannot be tried.
    assert_eq!(
        value(
            &mut session,
            &format!(
                "SELECT pg_has_role('{group}', 'MEMBER') AND NOT pg_has_role('{group}', 'SET')"
            )
        ),
        "t"
    );
    expect_sqlstate(
        session.batch_execute(&format!(
            "SELECT gemba.schedule('j', '1 hour', 'SELECT 1', run_as => '{group}')"
        )),
        "42501",
    );
    // Nor to run or change what the role itself has scheduled.
    let mut owner = db.connect_as(&group)?;
    due(&mut owner, "theirs", "SELECT 1", "")?;
    assert_eq!(run_due_briefly(&mut session)?, [""; 0]);
    expect_sqlstate(
        session.batch_execute("SELECT gemba.schedule('theirs', '1 hour', 'SELECT 2')"),
        "42501",
    );
    Ok(())
}

#[test]
fn only_a_superuser_schedules_for_a_superuser_and_has_to_say_so() -> Result<()> {
    let (db, mut client) = idle("superuser")?;
    let [member, boss] = schedulers(&db, &mut client, ["member", "boss"])?;
    client.batch_execute(&format!(
        "ALTER ROLE {boss} SUPERUSER; GRANT {boss} TO {member}"
    ))?;
    // A member could SET ROLE to it, but a job must not be a superuser's because of that.
    let mut session = db.connect_as(&member)?;
    for role in [boss.as_str(), "postgres"] {
        expect_sqlstate(
            session.batch_execute(&format!(
                "SELECT gemba.schedule('no', '1 hour', 'SELECT 1', run_as => '{role}')"
            )),
            "42501",
        );
    }
    let (mut noting, notices) = db.connect_noting()?;
    noting.batch_execute("SELECT gemba.schedule('quiet', '1 hour', 'SELECT 1')")?;
    let heard = notices.take();
    assert!(
        heard.iter().any(|notice| {
            notice.severity() == "NOTICE"
                && notice.message().contains("service_role")
                && notice.message().contains("run_as")
        }),
        "{heard:?}"
    );
    noting.batch_execute(&format!(
        "SELECT gemba.schedule('loud', '1 hour', 'SELECT 1', run_as => 'postgres'),
                gemba.schedule('bosses', '1 hour', 'SELECT 1', run_as => '{boss}')"
    ))?;
    assert_eq!(notices.take().len(), 0);
    assert_eq!(
        table(
            &mut client,
            "SELECT name, owner, run_as FROM gemba.jobs ORDER BY id"
        ),
        [
            "quiet | postgres | service_role".to_owned(),
            "loud | postgres | postgres".to_owned(),
            format!("bosses | postgres | {boss}")
        ]
    );
    Ok(())
}

/// What was allowed when the job was scheduled is asked again when it runs.
#[test]
fn rights_that_are_gone_make_the_run_fail_with_a_reason() -> Result<()> {
    let (db, mut client) = idle("gone")?;
    let [caller, group, dropped, demoted] =
        schedulers(&db, &mut client, ["caller", "group", "dropped", "demoted"])?;
    client.batch_execute(&format!(
        "GRANT {group}, {dropped} TO {caller}; ALTER ROLE {demoted} SUPERUSER"
    ))?;
    let mut session = db.connect_as(&caller)?;
    due(
        &mut session,
        "revoked",
        "SELECT 1",
        &format!(", run_as => '{group}'"),
    )?;
    due(
        &mut session,
        "dropped",
        "SELECT 1",
        &format!(", run_as => '{dropped}'"),
    )?;
    due(
        &mut db.connect_as(&demoted)?,
        "demoted",
        "SELECT 1",
        ", run_as => 'postgres'",
    )?;
    client.batch_execute(&format!(
        "REVOKE {group} FROM {caller}; ALTER ROLE {demoted} NOSUPERUSER"
    ))?;
    // A role that is gone has no members, so only the worker and a superuser could meet it.
    client.batch_execute(&format!("DROP OWNED BY {dropped}; DROP ROLE {dropped}"))?;
    run_due_briefly(&mut client)?;
    let runs = table(
        &mut client,
        "SELECT job, status, sqlstate, detail FROM gemba.job_runs ORDER BY job",
    );
    assert_eq!(
        runs.iter()
            .filter(|run| run.starts_with("demoted | failed | 42501 | "))
            .count(),
        1,
        "{runs:?}"
    );
    assert!(
        runs.iter()
            .any(|run| run.starts_with("revoked | failed | 42501 | ") && run.contains(&group)),
        "{runs:?}"
    );
    Ok(())
}

/// In a session nobody could be the role that is gone; the job must not look as if it waited for a moment.
#[test]
fn a_dropped_role_is_noticed_in_a_superusers_session() -> Result<()> {
    let (db, mut client) = idle("dropped_role")?;
    let [caller, owner] = schedulers(&db, &mut client, ["caller", "owner"])?;
    due(&mut db.connect_as(&caller)?, "runner", "SELECT 1", "")?;
    due(&mut db.connect_as(&owner)?, "owner", "SELECT 1", "")?;
    client.batch_execute("UPDATE gemba.jobs SET run_as = 'service_role' WHERE name = 'owner'")?;
    for role in [&caller, &owner] {
        client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))?;
    }
    let runs = run_due_briefly(&mut client)?;
    assert!(
        runs.contains(&"owner failed 42501".to_owned())
            && runs.contains(&"runner failed 42501".to_owned()),
        "{runs:?}"
    );
    let details = table(
        &mut client,
        "SELECT detail FROM gemba.job_runs ORDER BY job",
    );
    assert!(
        details.len() == 2 && details[0].contains(&owner) && details[1].contains(&caller),
        "{details:?}"
    );
    Ok(())
}

#[test]
fn everybody_sees_the_jobs_and_runs_of_their_own_roles() -> Result<()> {
    let (db, mut client) = idle("visible")?;
    let [a, b, of_a] = schedulers(&db, &mut client, ["a", "b", "of_a"])?;
    client.batch_execute(&format!("GRANT {a} TO {of_a}"))?;
    due(&mut db.connect_as(&a)?, "a", "SELECT 'secret of a'", "")?;
    due(&mut db.connect_as(&b)?, "b", "SELECT 'secret of b'", "")?;
    due(
        &mut db.connect_as(&of_a)?,
        "of_a for a",
        "SELECT 1",
        &format!(", run_as => '{a}'"),
    )?;
    due(
        &mut client,
        "for b",
        "SELECT 1",
        &format!(", run_as => '{b}'"),
    )?;
    due(
        &mut client,
        "service",
        "SELECT 1",
        ", run_as => 'service_role'",
    )?;
    run_due_briefly(&mut client)?;
    for (role, expected) in [
        (a.as_str(), "a, of_a for a"),
        (b.as_str(), "b, for b"),
        (of_a.as_str(), "a, of_a for a"),
        // It is above row security.
        ("service_role", "a, b, of_a for a, for b, service"),
        ("postgres", "a, b, of_a for a, for b, service"),
    ] {
        let mut session = db.connect_as(role)?;
        for (relation, name) in [("jobs", "name"), ("job_runs", "job")] {
            assert_eq!(
                value(
                    &mut session,
                    &format!("SELECT string_agg({name}, ', ' ORDER BY id) FROM gemba.{relation}")
                ),
                expected,
                "{role} in {relation}"
            );
        }
        if role == "postgres" {
            continue;
        }
        for statement in [
            "DELETE FROM gemba.jobs",
            "UPDATE gemba.jobs SET run_as = 'postgres'",
            "INSERT INTO gemba.jobs SELECT * FROM gemba.jobs",
            "TRUNCATE gemba.job_runs",
            "UPDATE gemba.job_runs SET status = 'running'",
            "SELECT nextval('gemba.jobs_id_seq')",
        ] {
            expect_sqlstate(session.batch_execute(statement), "42501");
        }
    }
    Ok(())
}

#[test]
fn clients_have_nothing_to_do_with_jobs() -> Result<()> {
    let (db, mut client) = idle("clients")?;
    due(&mut client, "j", "SELECT 1", ", run_as => 'service_role'")?;
    let stranger = db.role("stranger")?;
    for role in ["anon", "authenticated", stranger.as_str()] {
        let mut session = db.connect_as(role)?;
        for call in [
            "SELECT * FROM gemba.jobs",
            "SELECT * FROM gemba.job_runs",
            "SELECT gemba.schedule('x', '1 hour', 'SELECT 1')",
            "SELECT gemba.unschedule('j')",
            "SELECT gemba.enable_job('j')",
            "SELECT gemba.run_job_now('j')",
            "SELECT * FROM gemba.run_due_jobs()",
            "SELECT gemba.expire_job_runs()",
            "SELECT * FROM gemba.worker_status()",
        ] {
            expect_sqlstate(session.batch_execute(call), "42501");
        }
    }
    let outsiders: String = value(
        &mut client,
        "SELECT count(*) FROM pg_proc AS p WHERE pronamespace = 'gemba'::regnamespace AND proname ~ 'job|sched|worker'
            AND (has_function_privilege('anon', oid, 'EXECUTE') OR has_function_privilege('authenticated', oid, 'EXECUTE'))",
    );
    assert_eq!(outsiders, "0");
    Ok(())
}

// -- What a job can do to the session that runs it ------------------------------------------------

/// A role without rights that has jobs and a schema of its own; `s.done` tells as whom its code ran.
fn intruder(db: &Database, client: &mut Client) -> Result<String> {
    let [role] = schedulers(db, client, ["intruder"])?;
    client.batch_execute(&format!(
        "CREATE SCHEMA evil AUTHORIZATION {role}; GRANT USAGE ON SCHEMA evil TO PUBLIC"
    ))?;
    Ok(role)
}

/// Runs the intruder's job in a superuser's session and in that of a member, and says as whom its code ran.
fn who_ran(db: &Database, role: &str, command: &str) -> Result<Vec<String>> {
    let mut superuser = db.connect()?;
    let member = db.role("member")?;
    allow(&mut superuser, &member)?;
    superuser.batch_execute(&format!("GRANT {role} TO {member}"))?;
    let member = db.connect_as(&member)?;
    for mut session in [superuser, member] {
        let mut theirs = db.connect_as(role)?;
        due(&mut theirs, "evil", command, "")?;
        due(&mut theirs, "more", "SELECT 1", "")?;
        let settings = "SELECT current_user, session_user, current_setting('search_path'), current_setting('role'),
                    current_setting('statement_timeout'), current_setting('transaction_read_only'),
                    current_setting('default_transaction_read_only'),
                    coalesce(current_setting('request.jwt.claims', true), '')";
        let before = table(&mut session, settings);
        let runs = run_due_briefly(&mut session)?;
        assert_eq!(runs.len(), 2, "{runs:?}");
        assert_eq!(runs[1], "more succeeded", "{runs:?}");
        assert_eq!(table(&mut session, settings), before);
        assert_eq!(
            table(
                &mut session,
                "SELECT 'prepared ' || name FROM pg_prepared_statements WHERE name = 'evil'
                 UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE name = 'evil'
                 UNION ALL SELECT 'channel ' || c FROM pg_listening_channels() AS c
                 UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relpersistence = 't'"
            ),
            [""; 0]
        );
        // The next statements of the session are its own.
        session.batch_execute("BEGIN; SELECT 1 WHERE 1 = 1; COMMIT")?;
    }
    let mut client = db.connect()?;
    assert_eq!(
        table(
            &mut client,
            "SELECT DISTINCT status FROM gemba.job_runs WHERE job = 'more'"
        ),
        ["succeeded"]
    );
    Ok(table(
        &mut client,
        "SELECT DISTINCT who FROM s.done ORDER BY 1",
    ))
}

#[test]
fn a_job_cannot_become_the_caller() -> Result<()> {
    let (db, mut client) = idle("become")?;
    let role = intruder(&db, &mut client)?;
    let mut tries = String::new();
    for attempt in [
        "RESET ROLE",
        "SET ROLE postgres",
        "SET ROLE NONE",
        "SET LOCAL ROLE postgres",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SET SESSION AUTHORIZATION postgres",
        "RESET SESSION AUTHORIZATION",
        "RESET ALL",
        "DISCARD ALL",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "UPDATE gemba.jobs SET run_as = ''postgres''",
        "SELECT set_config(''role'', ''postgres'', false)",
        "SELECT set_config(''session_authorization'', ''postgres'', true)",
        "UPDATE pg_settings SET setting = ''postgres'' WHERE name = ''role''",
        "SELECT gemba.schedule(''climb'', ''1 hour'', ''SELECT 1'', run_as => ''postgres'')",
    ] {
        tries.push_str(&format!(
            "BEGIN EXECUTE '{attempt}'; INSERT INTO s.done (what) VALUES ('{}');
             EXCEPTION WHEN OTHERS THEN INSERT INTO s.done (what) VALUES ('refused'); END;\n",
            attempt.replace('\'', "")
        ));
    }
    let command = format!("DO $do$ BEGIN {tries} END $do$");
    assert_eq!(who_ran(&db, &role, &command)?, [role]);
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM gemba.jobs WHERE run_as = 'postgres'"
        ),
        "0"
    );
    Ok(())
}

#[test]
fn a_job_leaves_no_setting_behind() -> Result<()> {
    let (db, mut client) = idle("settings")?;
    let role = intruder(&db, &mut client)?;
    let command = "SET search_path = evil, pg_catalog; SET statement_timeout = 1; SET default_transaction_read_only = on;
         SELECT set_config('request.jwt.claims', 'forged', false);
         INSERT INTO s.done (what) VALUES ('settings')";
    assert_eq!(who_ran(&db, &role, command)?, [role]);
    Ok(())
}

/// The bookkeeping that follows must not be read with the job's names.
#[test]
fn operators_of_a_job_are_not_used_by_the_bookkeeping() -> Result<()> {
    let (db, mut client) = idle("operators")?;
    let role = intruder(&db, &mut client)?;
    let mut evil = format!("SET ROLE {role};");
    for kind in [
        "bigint",
        "int",
        "text",
        "name",
        "oid",
        "timestamptz",
        "boolean",
    ] {
        for (number, operator) in ["=", "<=", "<", "<>"].iter().enumerate() {
            evil.push_str(&format!(
                "CREATE FUNCTION evil.op{number}_{kind}(a {kind}, b {kind}) RETURNS boolean LANGUAGE plpgsql AS
                   $$ BEGIN INSERT INTO s.done (what) VALUES ('{operator}'); RETURN a OPERATOR(pg_catalog.{operator}) b; END $$;
                 CREATE OPERATOR evil.{operator} (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = evil.op{number}_{kind});"
            ));
        }
    }
    for function in ["now", "clock_timestamp", "random", "pg_backend_pid"] {
        evil.push_str(&format!(
            "CREATE FUNCTION evil.{function}() RETURNS timestamptz LANGUAGE plpgsql AS
               $$ BEGIN INSERT INTO s.done (what) VALUES ('{function}'); RETURN pg_catalog.now(); END $$;"
        ));
    }
    evil.push_str("CREATE TABLE evil.jobs (id bigint); RESET ROLE");
    client.batch_execute(&evil)?;
    for command in [
        "INSERT INTO s.done (what) VALUES ('here'); SET search_path = evil, pg_catalog",
        "INSERT INTO s.done (what) VALUES ('here'); SELECT pg_catalog.set_config('search_path', 'evil, pg_catalog', false); SELECT 1 / 0",
    ] {
        let (db, role) = (&db, role.as_str());
        due(&mut db.connect_as(role)?, "evil", command, "")?;
        due(&mut db.connect_as(role)?, "more", "SELECT 1", "")?;
        run_due_briefly(&mut client)?;
    }
    let others = table(
        &mut client,
        &format!("SELECT what, who FROM s.done WHERE who <> '{role}'"),
    );
    assert_eq!(others, [""; 0], "the job's operators ran as somebody else");
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) > 0 FROM s.done WHERE what = 'here'"
        ),
        "t"
    );
    Ok(())
}

/// A deferred trigger would run at the caller's commit, with the caller's rights.
#[test]
fn deferred_triggers_of_a_job_do_not_run_as_the_caller() -> Result<()> {
    let (db, mut client) = idle("deferred")?;
    let role = intruder(&db, &mut client)?;
    client.batch_execute(&format!(
        "SET ROLE {role};
         CREATE TABLE evil.t (n int);
         CREATE FUNCTION evil.later() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO s.done (what) VALUES ('deferred'); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER later AFTER INSERT ON evil.t DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION evil.later();
         RESET ROLE"
    ))?;
    let who = who_ran(&db, &role, "INSERT INTO evil.t VALUES (1)")?;
    assert!(who.is_empty() || who == [role], "{who:?}");
    Ok(())
}

#[test]
fn a_job_leaves_nothing_temporary_behind() -> Result<()> {
    let (db, mut client) = idle("temporary")?;
    let role = intruder(&db, &mut client)?;
    let mut wrong = Vec::new();
    for command in [
        "CREATE TEMP TABLE evil (n int)",
        "CREATE TEMP VIEW evil AS SELECT 1",
        "CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz'",
        "CREATE DOMAIN pg_temp.evil AS text",
        "PREPARE evil AS SELECT 1",
        "DECLARE evil CURSOR WITH HOLD FOR SELECT 1",
        "LISTEN evil",
        "SET TRANSACTION READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a; ROLLBACK TO a",
        "BEGIN; COMMIT; BEGIN",
        "PREPARE TRANSACTION 'evil'",
        "COPY s.done TO STDOUT",
        "COPY s.done FROM STDIN",
    ] {
        let mut session = db.connect()?;
        let mut theirs = db.connect_as(&role)?;
        due(&mut theirs, "evil", command, "")?;
        due(&mut theirs, "more", "SELECT 1", "")?;
        let runs = run_due_briefly(&mut session)?;
        if runs.len() != 2 || runs[0].contains("XX000") || runs[1] != "more succeeded" {
            wrong.push(format!("{command}: {runs:?}"));
        }
        let left = table(
            &mut session,
            "SELECT 'prepared ' || name FROM pg_prepared_statements WHERE name = 'evil'
             UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE name = 'evil'
             UNION ALL SELECT 'channel ' || c FROM pg_listening_channels() AS c
             UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relpersistence = 't'
             UNION ALL SELECT 'temporary ' || proname FROM pg_proc WHERE pronamespace = pg_my_temp_schema()
             UNION ALL SELECT 'temporary ' || typname FROM pg_type WHERE typnamespace = pg_my_temp_schema()",
        );
        if !left.is_empty() {
            wrong.push(format!("{command}: {left:?}"));
        }
        session.batch_execute("INSERT INTO s.done (what) VALUES ('the session goes on')")?;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// A type in the session's temporary schema hides those of pg_catalog: a constraint of it would run as whoever
/// uses the session next.
#[test]
fn a_temporary_type_of_a_job_does_not_run_code_as_the_caller() -> Result<()> {
    let (db, mut client) = idle("temporary_type")?;
    let role = intruder(&db, &mut client)?;
    client.batch_execute(&format!(
        "SET ROLE {role};
         CREATE FUNCTION evil.note(text) RETURNS boolean LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO s.done (what) VALUES ('domain'); RETURN true; END $$;
         RESET ROLE"
    ))?;
    let mut theirs = db.connect_as(&role)?;
    due(
        &mut theirs,
        "evil",
        "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (evil.note(VALUE::pg_catalog.text))",
        "",
    )?;
    let mut session = db.connect()?;
    run_due_briefly(&mut session)?;
    session.batch_execute("SELECT 'x'::text")?;
    assert_eq!(table(&mut client, "SELECT what, who FROM s.done"), [""; 0]);
    Ok(())
}

/// In somebody's session a job meets somebody's settings, so it runs only where that somebody is the role.
#[test]
fn a_job_of_a_role_that_the_caller_is_not_is_left_alone() -> Result<()> {
    let (db, mut client) = idle("left_alone")?;
    let [a, b] = schedulers(&db, &mut client, ["a", "b"])?;
    let insert = "INSERT INTO s.done (what) VALUES ('ran')";
    due(&mut db.connect_as(&a)?, "of a", insert, "")?;
    due(&mut db.connect_as(&b)?, "of b", insert, "")?;
    due(&mut client, "service", insert, ", run_as => 'service_role'")?;
    due(&mut client, "super", insert, ", run_as => 'postgres'")?;
    assert_eq!(
        run_due_briefly(&mut db.connect_as(&a)?)?,
        ["of a succeeded"]
    );
    assert_eq!(
        run_due_briefly(&mut db.connect_as("service_role")?)?,
        ["service succeeded"]
    );
    assert_eq!(
        table(&mut client, "SELECT who FROM s.done ORDER BY n"),
        [a.as_str(), "service_role"]
    );
    assert_eq!(
        run_due_briefly(&mut client)?,
        ["of b succeeded", "super succeeded"]
    );
    assert_eq!(
        table(&mut client, "SELECT who FROM s.done ORDER BY n OFFSET 2"),
        [b.as_str(), "postgres"]
    );
    Ok(())
}

/// Evil code in a schema that the caller's path begins with is not what the job of another means.
#[test]
fn a_callers_search_path_is_not_the_jobs() -> Result<()> {
    let (db, mut client) = idle("callers_path")?;
    let role = intruder(&db, &mut client)?;
    client.batch_execute(&format!(
        "SET ROLE {role};
         CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO s.done (what) VALUES ('evil'); RETURN $1; END $$;
         RESET ROLE"
    ))?;
    due(
        &mut client,
        "j",
        "SELECT lower('A')",
        ", run_as => 'service_role'",
    )?;
    client.batch_execute("SET search_path = evil, pg_catalog")?;
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    assert_eq!(table(&mut client, "SELECT what FROM s.done"), [""; 0]);
    Ok(())
}
