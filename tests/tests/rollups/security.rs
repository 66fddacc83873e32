//! Whose rights a refresh runs with: those of the table's owner, never those of the extension's.

use super::{refreshed, table, value};
use anyhow::Result;
use gemba_tests::{Database, expect_sqlstate, extended};
use postgres::Client;

/// A rollup that belongs, like its source, to a role without any rights, which may write code to go
/// with it: `s.seen` notes who ran that code.
fn owned(db: &Database) -> Result<(Client, String)> {
    let owner = db.role("owner")?;
    let mut client = db.connect()?;
    client.batch_execute(&format!(
        r#"CREATE SCHEMA s AUTHORIZATION {owner};
           SET ROLE {owner};
           CREATE TABLE s.raw (at timestamptz NOT NULL, kind text, n int) PARTITION BY RANGE (at);
           CREATE TABLE s.day PARTITION OF s.raw FOR VALUES FROM ('2024-01-01') TO ('2024-01-02');
           CREATE TABLE s.seen (who name, what text);
           GRANT INSERT ON s.seen TO PUBLIC; GRANT USAGE ON SCHEMA s TO PUBLIC;
           RESET ROLE;
           -- An owner makes rollups of his tables when he is given the function.
           GRANT USAGE ON SCHEMA gemba TO {owner};
           GRANT EXECUTE ON FUNCTION gemba.create_rollup, gemba.drop_rollup, gemba.manage_partitions TO {owner};
           SET ROLE {owner};
           SELECT gemba.create_rollup('s.hourly', 's.raw', 'at', '1 hour', ARRAY['kind'],
             '{{"rows": {{"function": "count"}}, "total": {{"function": "sum", "column": "n"}}}}');
           INSERT INTO s.raw VALUES ('2024-01-01', 'a', 1);
           RESET ROLE"#
    ))?;
    Ok((client, owner))
}

/// Everybody who ran the owner's code.
fn seen(client: &mut Client) -> Vec<String> {
    table(client, "SELECT DISTINCT who FROM s.seen ORDER BY 1")
}

#[test]
fn a_rollup_belongs_to_the_owner_of_its_source() -> Result<()> {
    let db = extended("rollup_owner")?;
    let (mut client, owner) = owned(&db)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT DISTINCT relowner::regrole FROM pg_class WHERE relname IN ('hourly', 'hourly_live')"
        ),
        [owner]
    );
    Ok(())
}

/// Triggers, index expressions, column defaults and check constraints: all of it is the owner's code.
#[test]
fn the_owners_code_runs_as_the_owner() -> Result<()> {
    let db = extended("owners_code")?;
    let (mut client, owner) = owned(&db)?;
    client.batch_execute(&format!(
        "SET ROLE {owner};
         CREATE FUNCTION s.note(what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
           $$ BEGIN EXECUTE format('INSERT INTO s.seen VALUES (current_user, %L)', what); RETURN true; END $$;
         -- The server lets an immutable function write only when it does not know what it calls.
         CREATE FUNCTION s.volatile_note(what text) RETURNS boolean LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO s.seen VALUES (current_user, what); RETURN true; END $$;
         CREATE FUNCTION s.on_row() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN PERFORM s.volatile_note('trigger ' || TG_WHEN || ' ' || TG_OP); RETURN coalesce(NEW, OLD); END $$;
         CREATE TRIGGER b BEFORE INSERT OR UPDATE OR DELETE ON s.hourly FOR EACH ROW EXECUTE FUNCTION s.on_row();
         CREATE TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON s.hourly FOR EACH ROW EXECUTE FUNCTION s.on_row();
         CREATE TRIGGER t AFTER INSERT ON s.hourly FOR EACH STATEMENT EXECUTE FUNCTION s.on_row();
         ALTER TABLE s.hourly ADD CHECK (s.volatile_note('check'));
         RESET ROLE"
    ))?;
    // The partitions are maintained with the owner's rights as well.
    let mut service = db.connect_as("service_role")?;
    let done = refreshed(&mut service, "gemba.refresh_rollup('s.hourly')")?;
    assert_eq!(done[0].rows_written, 1, "{done:?}");
    client.batch_execute(
        "INSERT INTO s.raw VALUES ('2024-01-01', 'a', 1); DELETE FROM s.raw WHERE false",
    )?;
    refreshed(&mut client, "gemba.refresh_rollup('s.hourly')")?;
    client.batch_execute("DELETE FROM s.raw")?;
    refreshed(&mut service, "gemba.refresh_rollup('s.hourly')")?;
    let what = table(&mut client, "SELECT DISTINCT what FROM s.seen ORDER BY 1");
    for expected in [
        "check",
        "trigger AFTER INSERT",
        "trigger AFTER UPDATE",
        "trigger BEFORE DELETE",
        "trigger BEFORE INSERT",
    ] {
        assert!(
            what.iter().any(|w| w == expected),
            "{expected} ran: {what:?}"
        );
    }
    assert_eq!(seen(&mut client), [owner]);
    Ok(())
}

/// A deferred trigger runs at the commit, when the session is its own user again. Whether the refresh
/// fails or the trigger runs as the owner: the caller's rights are not the owner's to use.
#[test]
fn a_deferred_trigger_does_not_run_as_the_caller() -> Result<()> {
    let db = extended("deferred_trigger")?;
    let (mut client, owner) = owned(&db)?;
    client.batch_execute(&format!(
        "SET ROLE {owner};
         CREATE FUNCTION s.on_row() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO s.seen VALUES (current_user, 'deferred'); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER later AFTER INSERT OR UPDATE ON s.hourly DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION s.on_row();
         RESET ROLE"
    ))?;
    for mut session in [db.connect()?, db.connect_as("service_role")?] {
        client.batch_execute("INSERT INTO s.raw VALUES ('2024-01-01', 'a', 1)")?;
        let _ = session.batch_execute("SELECT * FROM gemba.refresh_rollup('s.hourly')");
        let who = seen(&mut client);
        assert!(
            who.is_empty() || who == [owner.as_str()],
            "the owner's code ran as {who:?}"
        );
    }
    Ok(())
}

/// The owner's code may change settings. The statements of the extension that follow must not be read
/// with them: their operators would be the owner's, and run with the extension's rights.
#[test]
fn settings_made_by_the_owners_code_do_not_last() -> Result<()> {
    let db = extended("search_path")?;
    let (mut client, owner) = owned(&db)?;
    client.batch_execute(&format!(
        "SET ROLE {owner};
         CREATE FUNCTION s.same(a int, b int) RETURNS boolean LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO s.seen VALUES (current_user, 'operator'); RETURN a OPERATOR(pg_catalog.=) b; END $$;
         CREATE OPERATOR s.= (LEFTARG = int, RIGHTARG = int, FUNCTION = s.same);
         CREATE FUNCTION s.same_oid(a oid, b oid) RETURNS boolean LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO s.seen VALUES (current_user, 'oid operator'); RETURN a OPERATOR(pg_catalog.=) b; END $$;
         CREATE OPERATOR s.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = s.same_oid);
         CREATE FUNCTION s.turn() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN PERFORM set_config('search_path', 's, pg_catalog', false); RETURN NULL; END $$;
         CREATE TRIGGER t AFTER INSERT OR UPDATE ON s.hourly FOR EACH STATEMENT EXECUTE FUNCTION s.turn();
         CREATE TRIGGER t AFTER INSERT ON s.raw FOR EACH STATEMENT EXECUTE FUNCTION s.turn();
         SELECT gemba.create_rollup('s.daily', 's.hourly', 'bucket', '1 day', ARRAY['kind']);
         RESET ROLE"
    ))?;
    let mut superuser = db.connect()?;
    let mut service = db.connect_as("service_role")?;
    for session in [&mut superuser, &mut service] {
        client
            .batch_execute("INSERT INTO s.raw VALUES ('2024-01-01', 'a', 1); RESET search_path")?;
        let path = value(session, "SHOW search_path");
        for call in [
            "refresh_rollup('s.daily')",
            "refresh_rollups()",
            "maintain_partitions()",
        ] {
            // An error would be an answer too.
            let _ = session.batch_execute(&format!("SELECT * FROM gemba.{call}"));
            let who = seen(&mut client);
            assert!(
                who.is_empty() || who == [owner.as_str()],
                "{call}: the owner's operator ran as {who:?}"
            );
        }
        assert_eq!(value(session, "SHOW search_path"), path);
    }
    Ok(())
}

/// Code that runs as the owner inside a refresh cannot take the caller's identity back.
#[test]
fn the_owners_code_cannot_become_the_caller() -> Result<()> {
    let db = extended("set_role")?;
    let (mut client, owner) = owned(&db)?;
    client.batch_execute(&format!(
        "SET ROLE {owner};
         CREATE FUNCTION s.climb() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN NULL; END;
           BEGIN SET SESSION AUTHORIZATION DEFAULT; EXCEPTION WHEN OTHERS THEN NULL; END;
           BEGIN SET ROLE postgres; EXCEPTION WHEN OTHERS THEN NULL; END;
           INSERT INTO s.seen VALUES (current_user, 'climb'); RETURN NULL; END $$;
         CREATE TRIGGER t AFTER INSERT ON s.hourly FOR EACH ROW EXECUTE FUNCTION s.climb();
         RESET ROLE"
    ))?;
    client.batch_execute("SELECT * FROM gemba.refresh_rollup('s.hourly')")?;
    assert_eq!(seen(&mut client), [owner]);
    Ok(())
}

#[test]
fn only_the_owner_makes_and_drops_a_rollup() -> Result<()> {
    let db = extended("rollup_rights")?;
    let (mut client, owner) = owned(&db)?;
    let other = db.role("other")?;
    client.batch_execute(&format!(
        "GRANT USAGE ON SCHEMA gemba TO {other}; GRANT ALL ON SCHEMA s TO {other}; GRANT ALL ON s.raw, s.hourly TO {other};
         GRANT EXECUTE ON FUNCTION gemba.create_rollup, gemba.drop_rollup TO {other}"
    ))?;
    let mut stranger = db.connect_as(&other)?;
    for call in [
        r#"gemba.create_rollup('s.mine', 's.raw', 'at', '1 hour', NULL, '{"n": {"function": "count"}}')"#,
        "gemba.create_rollup('s.mine', 's.hourly', 'bucket', '1 day', NULL)",
        "gemba.drop_rollup('s.hourly')",
    ] {
        let error = expect_sqlstate(stranger.batch_execute(&format!("SELECT {call}")), "42501");
        assert!(error.hint().is_some(), "no hint: {call}: {error:?}");
    }
    // A schema that is not the owner's to create in takes no rollup from him.
    client.batch_execute("CREATE SCHEMA closed")?;
    let mut owner_session = db.connect_as(&owner)?;
    let elsewhere = owner_session.batch_execute(
        r#"SELECT gemba.create_rollup('closed.r', 's.raw', 'at', '1 hour', NULL, '{"n": {"function": "count"}}')"#,
    );
    expect_sqlstate(elsewhere, "42501");
    owner_session.batch_execute("SELECT gemba.drop_rollup('s.hourly')")?;
    Ok(())
}

/// Writers need no right on the catalog for their changes to be noted.
#[test]
fn a_writer_without_rights_on_the_catalog_is_noticed() -> Result<()> {
    let db = extended("plain_writer")?;
    let (mut client, _) = owned(&db)?;
    let writer = db.role("writer")?;
    refreshed(&mut client, "gemba.refresh_rollups()")?;
    client.batch_execute(&format!(
        "GRANT INSERT, UPDATE, DELETE, TRUNCATE, SELECT ON s.raw, s.day TO {writer}"
    ))?;
    let mut session = db.connect_as(&writer)?;
    for (statement, expected) in [
        (
            "INSERT INTO s.raw VALUES ('2024-01-01', 'a', 9)",
            &["2 | 10"][..],
        ),
        ("UPDATE s.raw SET n = 0", &["2 | 0"][..]),
        ("TRUNCATE s.day", &[][..]),
        (
            "INSERT INTO s.day VALUES ('2024-01-01', 'a', 7)",
            &["1 | 7"][..],
        ),
        ("TRUNCATE s.raw", &[][..]),
    ] {
        session.batch_execute(statement)?;
        refreshed(&mut client, "gemba.refresh_rollup('s.hourly')")?;
        assert_eq!(
            table(&mut client, "SELECT rows, total FROM s.hourly"),
            expected,
            "{statement}"
        );
    }
    expect_sqlstate(
        session.batch_execute("SELECT * FROM gemba.rollup_changes"),
        "42501",
    );
    Ok(())
}

#[test]
fn clients_may_call_nothing() -> Result<()> {
    let db = extended("rollup_clients")?;
    let (mut client, _) = owned(&db)?;
    let functions = table(
        &mut client,
        "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'gemba'::regnamespace AND has_function_privilege('anon', oid, 'EXECUTE') ORDER BY oid::regprocedure::text COLLATE \"C\"",
    );
    // What calculates, and what asks whether the caller may read the rollup.
    assert_eq!(
        functions,
        [
            "gemba.bucket_start(interval,timestamp with time zone,text)",
            "gemba.buckets(interval,timestamp with time zone,timestamp with time zone,text)",
            "gemba.pending_buckets(integer)"
        ]
    );
    expect_sqlstate(
        db.connect_as("anon")?
            .batch_execute("SELECT gemba.pending_buckets(id) FROM generate_series(1, 9) AS id"),
        "42501",
    );
    for role in ["anon", "authenticated"] {
        let mut session = db.connect_as(role)?;
        for call in [
            "SELECT * FROM gemba.refresh_rollup('s.hourly')",
            "SELECT * FROM gemba.refresh_rollups()",
            "SELECT gemba.drop_rollup('s.hourly')",
            r#"SELECT gemba.create_rollup('s.r', 's.raw', 'at', '1 hour', NULL, '{"n": {"function": "count"}}')"#,
            "SELECT * FROM gemba.rollups",
            "DELETE FROM gemba.rollup_changes",
        ] {
            expect_sqlstate(session.batch_execute(call), "42501");
        }
    }
    Ok(())
}
