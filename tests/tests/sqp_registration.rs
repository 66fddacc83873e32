//! Tables register themselves, follow what happens to them, and never cost anybody a statement.

mod sqp_support;

use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended, run_ok};
use postgres::Client;
use sqp_support::*;

/// What is registered besides what the module brings.
fn registered(client: &mut Client) -> Result<Vec<String>> {
    column(
        client,
        "SELECT format('%s.%s', table_schema, table_name) FROM sqp.refresh_config WHERE id > 8 ORDER BY table_schema COLLATE \"C\", table_name COLLATE \"C\"",
        &[],
    )
}

#[test]
fn what_there_is_is_registered_at_the_start() -> Result<()> {
    let db = extended("registration_start")?;
    let mut client = db.connect()?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name, priority, method, relation, is_enabled, refresh_frequency_hours, next_refresh_at - created_at, function_name
               FROM sqp.refresh_config ORDER BY 1"
        )?,
        "(asin_performance_data,90,external,sqp.asin_performance_data,t,24,01:00:00,)\n\
         (daily_sqp_data,90,external,sqp.daily_sqp_data,t,24,01:00:00,)\n\
         (monthly_summary,80,function,sqp.monthly_summary,t,24,01:00:00,build_monthly_summary)\n\
         (quarterly_summary,80,function,sqp.quarterly_summary,t,24,01:00:00,build_quarterly_summary)\n\
         (search_performance_summary,80,\"materialized view\",sqp.search_performance_summary,t,24,01:00:00,)\n\
         (search_query_performance,70,external,sqp.search_query_performance,t,24,01:00:00,)\n\
         (weekly_summary,80,function,sqp.weekly_summary,t,24,01:00:00,build_weekly_summary)\n\
         (yearly_summary,80,function,sqp.yearly_summary,t,24,01:00:00,build_yearly_summary)"
    );
    // The three of the seed, and what the summaries are built from.
    assert_eq!(
        rows(
            &mut client,
            "SELECT p.table_name, string_agg(c.table_name, ' ' ORDER BY c.table_name), min(d.dependency_type) FROM sqp.refresh_dependencies d
               JOIN sqp.refresh_config p ON p.id = d.parent_config_id JOIN sqp.refresh_config c ON c.id = d.dependent_config_id GROUP BY 1 ORDER BY 1"
        )?,
        "(asin_performance_data,\"monthly_summary search_performance_summary weekly_summary\",hard)\n\
         (daily_sqp_data,\"monthly_summary quarterly_summary weekly_summary yearly_summary\",hard)\n\
         (search_query_performance,search_performance_summary,hard)"
    );
    Ok(())
}

#[test]
fn every_way_to_make_a_table() -> Result<()> {
    let db = extended("registration_new")?;
    let mut client = db.connect()?;
    client.batch_execute(
        r#"SET search_path = sqp;
           CREATE TABLE plain_data (a int); CREATE TABLE "Odd ""name." (a int); CREATE TABLE IF NOT EXISTS plain_data (a int);
           CREATE TABLE as_query AS SELECT 1 AS a; SELECT 1 AS a INTO into_query;
           CREATE MATERIALIZED VIEW view_summary AS SELECT 1 AS a; CREATE UNLOGGED TABLE unlogged (a int);
           CREATE TABLE refresh_orders (a int);
           CREATE TABLE parted (a int) PARTITION BY RANGE (a); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (2);
           CREATE TABLE child () INHERITS (plain_data); CREATE TABLE executed_in_block (a int);
           DO $$ BEGIN CREATE TABLE in_block (a int); EXECUTE 'CREATE TABLE in_block_2 (a int)'; END $$;
           -- None of these.
           CREATE TEMPORARY TABLE temporary (a int); CREATE VIEW plain_view AS SELECT 1 AS a; CREATE SEQUENCE numbers;
           CREATE TYPE pair AS (a int, b int); CREATE TABLE public.elsewhere (a int); CREATE INDEX ON plain_data (a);
           DROP TABLE executed_in_block; ALTER TABLE plain_data ADD COLUMN b int"#,
    )?;
    assert_eq!(
        registered(&mut client)?,
        [
            "sqp.Odd \"name.",
            "sqp.as_query",
            "sqp.child",
            "sqp.in_block",
            "sqp.in_block_2",
            "sqp.into_query",
            "sqp.parted",
            "sqp.plain_data",
            "sqp.refresh_orders",
            "sqp.unlogged",
            "sqp.view_summary"
        ]
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name, priority, method, next_refresh_at - created_at FROM sqp.refresh_config
              WHERE table_name IN ('plain_data', 'view_summary', 'unlogged') ORDER BY 1"
        )?,
        "(plain_data,90,external,\"1 day\")\n(unlogged,70,external,\"1 day\")\n(view_summary,80,\"materialized view\",\"1 day\")"
    );
    // Helpers find it as SQL writes it, too.
    assert!(!one::<bool>(
        &mut client,
        r#"SELECT sqp.retry_refresh('sqp."Odd ""name."')"#
    )?);
    assert!(!one::<bool>(
        &mut client,
        r#"SELECT sqp.retry_refresh('Odd "name.')"#
    )?);
    assert!(!one::<bool>(
        &mut client,
        r#"SELECT sqp.retry_refresh(to_regclass('sqp."Odd ""name."')::text)"#
    )?);
    // A rolled back table was never there.
    client.batch_execute("BEGIN; CREATE TABLE sqp.undone (a int); ROLLBACK")?;
    // An extension's tables belong to it.
    client.batch_execute("SET search_path = public; CREATE SCHEMA ext; SELECT sqp.watch_schema('ext'); CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA ext")?;
    assert!(
        !registered(&mut client)?
            .iter()
            .any(|name| name.starts_with("ext.") || name.contains("undone"))
    );
    // Registered before it existed.
    client.batch_execute("INSERT INTO sqp.refresh_config (table_schema, table_name, priority) VALUES ('sqp', 'to_come', 7)")?;
    client.batch_execute("CREATE MATERIALIZED VIEW sqp.to_come AS SELECT 1 AS a")?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT priority, method, relation FROM sqp.refresh_config WHERE table_name = 'to_come'"
        )?,
        "(7,\"materialized view\",sqp.to_come)"
    );
    Ok(())
}

#[test]
fn registrations_follow_their_tables() -> Result<()> {
    let db = extended("registration_follow")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE SCHEMA one; CREATE SCHEMA two; CREATE SCHEMA three; CREATE TABLE one.old (a int);
         CREATE TABLE three.unseen (a int)",
    )?;
    assert_eq!(
        one::<i64>(&mut client, "SELECT sqp.watch_schema('one')")?,
        1
    );
    assert_eq!(
        one::<i64>(&mut client, "SELECT sqp.watch_schema('two')")?,
        0
    );
    assert_eq!(
        one::<i64>(&mut client, "SELECT sqp.watch_schema('one')")?,
        0
    );
    client.batch_execute(
        "CREATE TABLE one.a (x int); CREATE MATERIALIZED VIEW one.m AS SELECT 1 AS a;
         UPDATE sqp.refresh_config SET custom_sync_params = jsonb_build_object('was', table_name), next_refresh_at = now() WHERE table_schema = 'one';
         SELECT sqp.add_dependency('one.a', 'one.m'); SELECT sqp.add_dependency('one.a', 'weekly_summary')",
    )?;
    for (_, run) in claim(&mut client, 10)? {
        complete(&mut client, run)?;
    }
    client.batch_execute(
        "ALTER TABLE one.a RENAME TO b; ALTER MATERIALIZED VIEW one.m RENAME TO n;
         ALTER TABLE one.b RENAME COLUMN x TO y; ALTER TABLE one.b SET SCHEMA two;
         ALTER SCHEMA two RENAME TO \"Two\"",
    )?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_schema, table_name, relation, custom_sync_params->>'was', dependencies FROM sqp.refresh_config WHERE table_schema IN ('one', 'Two') ORDER BY 1, 2"
        )?,
        "(Two,b,\"\"\"Two\"\".b\",a,{})\n(one,n,one.n,m,{Two.b})\n(one,old,one.old,old,{})"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT dependencies FROM sqp.refresh_config WHERE table_name = 'weekly_summary'"
        )?,
        "(\"{Two.b,asin_performance_data,daily_sqp_data}\")"
    );
    client.batch_execute("CREATE TABLE \"Two\".more (a int)")?;
    // In from outside, and out again.
    client.batch_execute(
        "ALTER TABLE three.unseen SET SCHEMA one; ALTER TABLE \"Two\".b SET SCHEMA three",
    )?;
    assert_eq!(
        registered(&mut client)?,
        ["Two.more", "one.n", "one.old", "one.unseen"]
    );
    // What is not watched, and registered by hand, follows all the same.
    client.batch_execute(
        "INSERT INTO sqp.refresh_config (table_schema, table_name) VALUES ('three', 'b'); ALTER TABLE three.b SET SCHEMA public; ALTER TABLE b RENAME TO c",
    )?;
    assert_eq!(
        registered(&mut client)?,
        ["Two.more", "one.n", "one.old", "one.unseen", "public.c"]
    );
    // The name is registered for something else.
    client.batch_execute("INSERT INTO sqp.refresh_config (table_schema, table_name) VALUES ('public', 'd'); ALTER TABLE c RENAME TO d")?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT count(*), min(relation::text) FROM sqp.refresh_config WHERE table_schema = 'public'"
        )?,
        "(1,d)"
    );
    client.batch_execute("DROP TABLE d; DROP MATERIALIZED VIEW one.n; DROP SCHEMA \"Two\" CASCADE; DROP TABLE one.old, one.unseen")?;
    assert!(registered(&mut client)?.is_empty());
    // History stays.
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_schema, table_name, refresh_config_id, status FROM sqp.refresh_audit_log ORDER BY 2"
        )?,
        "(one,a,,success)\n(one,old,,success)"
    );
    assert!(one::<bool>(
        &mut client,
        "SELECT sqp.unwatch_schema('one')"
    )?);
    assert!(!one::<bool>(
        &mut client,
        "SELECT sqp.unwatch_schema('one')"
    )?);
    client.batch_execute("CREATE TABLE one.later (a int)")?;
    assert!(registered(&mut client)?.is_empty());
    let error = expect_sqlstate(
        client.query("SELECT sqp.watch_schema('nowhere')", &[]),
        "3F000",
    );
    assert!(error.detail().is_some() && error.hint().is_some());
    Ok(())
}

#[test]
fn what_was_taken_out_on_purpose_stays_out() -> Result<()> {
    let db = extended("registration_out")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE TABLE sqp.a (x int); DELETE FROM sqp.refresh_config WHERE table_name = 'a';
         ALTER TABLE sqp.a ADD COLUMN y int; ALTER TABLE sqp.a RENAME TO b; CREATE INDEX ON sqp.b (x); TRUNCATE sqp.b;
         COMMENT ON TABLE sqp.b IS 'none'; ALTER TABLE sqp.b RENAME COLUMN x TO z",
    )?;
    assert!(registered(&mut client)?.is_empty());
    assert_eq!(
        one::<i64>(&mut client, "SELECT sqp.register_existing()")?,
        1
    );
    assert_eq!(registered(&mut client)?, ["sqp.b"]);
    Ok(())
}

#[test]
fn partitions_are_not_registered_however_they_come() -> Result<()> {
    let db = extended("registration_partitions")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE TABLE sqp.log (at timestamptz NOT NULL) PARTITION BY RANGE (at); ALTER TABLE sqp.log ENABLE ROW LEVEL SECURITY;
         SELECT gemba.manage_partitions('sqp.log', '1 day');
         SELECT gemba.ensure_partitions('sqp.refresh_audit_log', '2031-01-01', '2031-03-01');
         CREATE TABLE sqp.alone (at timestamptz NOT NULL)",
    )?;
    assert_eq!(registered(&mut client)?, ["sqp.alone", "sqp.log"]);
    client.batch_execute("ALTER TABLE sqp.log ATTACH PARTITION sqp.alone FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')")?;
    assert_eq!(registered(&mut client)?, ["sqp.log"]);
    client.batch_execute("ALTER TABLE sqp.log DETACH PARTITION sqp.alone; SELECT gemba.maintain_partitions(); SELECT sqp.register_existing()")?;
    assert_eq!(registered(&mut client)?, ["sqp.alone", "sqp.log"]);
    Ok(())
}

#[test]
fn anybody_may_create_tables_in_a_watched_schema() -> Result<()> {
    let db = extended("registration_user")?;
    let mut client = db.connect()?;
    let user = db.role("user")?;
    client.batch_execute(&format!(
        "CREATE SCHEMA theirs AUTHORIZATION {user}; SELECT sqp.watch_schema('theirs')"
    ))?;
    let mut session = db.connect_as(&user)?;
    session.batch_execute(
        "CREATE TABLE theirs.a (x int); CREATE MATERIALIZED VIEW theirs.m AS SELECT * FROM theirs.a; ALTER TABLE theirs.a RENAME TO b;
         CREATE TABLE theirs.c AS SELECT 1 AS x; DROP TABLE theirs.c",
    )?;
    assert_eq!(registered(&mut client)?, ["theirs.b", "theirs.m"]);
    expect_sqlstate(
        session.query("SELECT FROM sqp.refresh_config", &[]),
        "42501",
    );
    // With a search_path that leads elsewhere, and functions of theirs there.
    session.batch_execute(
        "CREATE FUNCTION theirs.evil(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'caught as %', current_user; END $$;
         CREATE OPERATOR theirs.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = theirs.evil);
         SET search_path = theirs, pg_catalog; CREATE TABLE d (x int)",
    )?;
    assert_eq!(
        registered(&mut client)?,
        ["theirs.b", "theirs.d", "theirs.m"]
    );
    session.batch_execute("DROP OWNED BY current_user CASCADE")?;
    Ok(())
}

#[test]
fn it_never_fails_a_statement() -> Result<()> {
    let db = extended("registration_fails")?;
    let (mut client, notices) = db.connect_noting()?;
    // Somebody put a trigger there that fails.
    client.batch_execute(
        "CREATE FUNCTION public.boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'boom' USING DETAIL = 'a detail'; END $$;
         CREATE TRIGGER boom BEFORE INSERT OR DELETE ON sqp.refresh_config FOR EACH ROW EXECUTE FUNCTION public.boom()",
    )?;
    notices.take();
    client.batch_execute("CREATE TABLE sqp.a (x int)")?;
    let told = notices.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].severity(), "WARNING");
    for word in ["boom", "a detail", "register_existing"] {
        assert!(told[0].message().contains(word), "{told:?}");
    }
    client.batch_execute("DROP TRIGGER boom ON sqp.refresh_config")?;
    assert_eq!(
        one::<i64>(&mut client, "SELECT sqp.register_existing()")?,
        1
    );
    // Somebody holds the row for long.
    let mut other = db.connect()?;
    let mut open = other.transaction()?;
    open.batch_execute("UPDATE sqp.refresh_config SET priority = 1 WHERE table_name = 'a'")?;
    client.batch_execute("ALTER TABLE sqp.a RENAME TO b")?;
    assert!(notices.take()[0].message().contains("lock timeout"));
    open.commit()?;
    assert_eq!(registered(&mut client)?, ["sqp.a"]);
    client.batch_execute("SELECT sqp.register_existing()")?;
    assert_eq!(registered(&mut client)?, ["sqp.b"]);
    // The table of registrations belongs to somebody else, whose triggers must not run with our rights.
    let stranger = db.role("stranger")?;
    client.batch_execute(&format!("ALTER TABLE sqp.refresh_config OWNER TO {stranger}; CREATE TABLE sqp.c (x int); DROP TABLE sqp.b"))?;
    let told = notices.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter()
            .all(|notice| notice.message().contains("belongs to somebody else")),
        "{told:?}"
    );
    client.batch_execute("CREATE TABLE public.elsewhere (x int); DROP TABLE public.elsewhere")?;
    assert!(notices.take().is_empty());
    client.batch_execute("ALTER TABLE sqp.refresh_config OWNER TO postgres")?;
    // Not even when there is nothing to register in.
    client.batch_execute(
        "BEGIN; DROP TABLE sqp.watched_schemas CASCADE; CREATE TABLE sqp.d (x int); ROLLBACK",
    )?;
    assert!(
        notices
            .take()
            .iter()
            .any(|notice| notice.severity() == "WARNING")
    );
    // A cancelled statement is cancelled.
    client.batch_execute("CREATE TABLE sqp.e (x int)")?;
    let mut open = other.transaction()?;
    open.batch_execute("UPDATE sqp.refresh_config SET priority = 1 WHERE table_name = 'e'")?;
    expect_sqlstate(
        client.batch_execute("SET statement_timeout = '100ms'; ALTER TABLE sqp.e RENAME TO f"),
        "57014",
    );
    Ok(())
}

#[test]
fn it_can_be_switched_off_and_is_quiet_while_a_dump_is_restored() -> Result<()> {
    let db = extended("registration_quiet")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "SET gemba.auto_register = off; CREATE TABLE sqp.a (x int); SET gemba.auto_register = on;
         SET row_security = off; CREATE TABLE sqp.b (x int); DROP TABLE sqp.weekly_summary; SET row_security = on;
         SET application_name = 'pg_restore'; CREATE TABLE sqp.c (x int); SET application_name = 'psql'",
    )?;
    assert!(registered(&mut client)?.is_empty());
    assert_eq!(
        one::<i64>(&mut client, "SELECT sqp.register_existing()")?,
        3
    );
    assert_eq!(registered(&mut client)?, ["sqp.a", "sqp.b", "sqp.c"]);
    // What was dropped meanwhile is gone too.
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name FROM sqp.refresh_config WHERE table_name = 'weekly_summary'"
        )?,
        ""
    );
    expect_sqlstate(
        client.query("SELECT sqp.auto_register_table_for_refresh()", &[]),
        "55000",
    );
    Ok(())
}

#[test]
fn one_table_of_a_dump_is_restored_and_found_again() -> Result<()> {
    let db = extended("registration_dump")?;
    let mut client = db.connect()?;
    client.batch_execute("CREATE TABLE sqp.kept (x int); UPDATE sqp.refresh_config SET priority = 5 WHERE table_name = 'kept'")?;
    let file = db.cluster().dir().join("kept.dump");
    run_ok(
        db.tool("pg_dump")
            .args(["-Fc", "-t", "sqp.kept", "-f"])
            .arg(&file),
    )?;
    // Its oid is another afterwards.
    run_ok(
        db.tool("pg_restore")
            .args(["--clean", "--exit-on-error", "-d", db.name()])
            .arg(&file),
    )?;
    assert_eq!(
        one::<i64>(&mut client, "SELECT sqp.register_existing()")?,
        0
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT priority, relation FROM sqp.refresh_config WHERE table_name = 'kept'"
        )?,
        "(5,sqp.kept)"
    );
    Ok(())
}
