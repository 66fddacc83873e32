//! Refreshes that the database does itself: materialized views, refresh functions, with whose rights.

mod sqp_support;

use anyhow::Result;
use gemba_tests::{as_user, expect_sqlstate, extended};
use postgres::Client;
use sqp_support::*;

/// Only what the test makes is registered, and all of it is due.
fn fresh_start(client: &mut Client) -> Result<()> {
    client.batch_execute("DELETE FROM sqp.refresh_config")?;
    Ok(())
}

fn all_due(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '1 hour'",
    )?;
    Ok(())
}

const LOG: &str = "SELECT table_name, status, rows_processed, error_message FROM sqp.refresh_audit_log ORDER BY id";

#[test]
fn materialized_views_are_refreshed_as_their_owner() -> Result<()> {
    let db = extended("in_database_views")?;
    let mut client = db.connect()?;
    let owner = db.role("owner")?;
    fresh_start(&mut client)?;
    client.batch_execute(&format!(
        "CREATE TABLE public.source (n int); INSERT INTO public.source SELECT generate_series(1, 3);
         GRANT CREATE ON SCHEMA sqp TO {owner}; GRANT USAGE ON SCHEMA sqp TO {owner}; GRANT SELECT ON public.source TO {owner};
         SET ROLE {owner};
         CREATE MATERIALIZED VIEW sqp.plain AS SELECT n, current_user::text AS who FROM public.source;
         CREATE MATERIALIZED VIEW sqp.indexed AS SELECT n FROM public.source;
         CREATE UNIQUE INDEX ON sqp.indexed (n);
         CREATE MATERIALIZED VIEW sqp.partial AS SELECT n FROM public.source;
         CREATE UNIQUE INDEX ON sqp.partial (n) WHERE n > 0;
         CREATE MATERIALIZED VIEW sqp.empty AS SELECT n FROM public.source WITH NO DATA;
         CREATE UNIQUE INDEX ON sqp.empty (n);
         CREATE MATERIALIZED VIEW sqp.broken AS SELECT 1 / (3 - count(*)) AS n FROM public.source WITH NO DATA;
         RESET ROLE;
         INSERT INTO public.source VALUES (4)"
    ))?;
    all_due(&mut client)?;
    client.batch_execute("DELETE FROM public.source WHERE n = 1")?;
    let mut service = db.connect_as("service_role")?;
    // The caller may not even read them.
    expect_sqlstate(service.query("SELECT FROM sqp.plain", &[]), "42501");
    assert_eq!(
        rows(
            &mut service,
            "SELECT table_schema, table_name, status, rows, message FROM sqp.refresh_due() ORDER BY 2"
        )?,
        "(sqp,broken,failed,,\"division by zero\")\n(sqp,empty,success,3,)\n(sqp,indexed,success,3,)\n(sqp,partial,success,3,)\n(sqp,plain,success,3,)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name, sync_metadata->'concurrently', worker ~ '^database session [0-9]+$' FROM sqp.refresh_audit_log WHERE status = 'success' ORDER BY 1"
        )?,
        "(empty,false,t)\n(indexed,true,t)\n(partial,false,t)\n(plain,false,t)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT error_message, error_details->>'sqlstate' FROM sqp.refresh_audit_log WHERE status = 'failed'"
        )?,
        "(\"division by zero\",22012)"
    );
    assert_eq!(
        rows(
            &mut client,
            &format!("SELECT n, who = '{owner}' AS ok FROM sqp.plain ORDER BY 1")
        )?,
        "(2,t)\n(3,t)\n(4,t)"
    );
    // Once there are rows, the next time keeps nobody out.
    all_due(&mut client)?;
    service.query("SELECT * FROM sqp.refresh_due()", &[])?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT count(*) FROM sqp.refresh_audit_log WHERE table_name = 'empty' AND (sync_metadata->>'concurrently')::boolean"
        )?,
        "(1)"
    );
    Ok(())
}

#[test]
fn refresh_functions_say_what_they_did() -> Result<()> {
    let db = extended("in_database_functions")?;
    let mut client = db.connect()?;
    fresh_start(&mut client)?;
    client.batch_execute(
        "CREATE SCHEMA work; GRANT USAGE ON SCHEMA work TO service_role;
         CREATE FUNCTION work.counts(day date DEFAULT now()::date) RETURNS sqp.refresh_counts LANGUAGE sql AS 'SELECT 10::bigint, 7::bigint, NULL::bigint, 3::bigint';
         CREATE FUNCTION work.object() RETURNS jsonb LANGUAGE sql AS $$SELECT '{\"rows_processed\": 5, \"rows_deleted\": -1, \"source\": \"x\"}'::jsonb$$;
         CREATE FUNCTION work.number() RETURNS int LANGUAGE sql AS 'SELECT 4';
         CREATE FUNCTION work.nothing() RETURNS void LANGUAGE sql AS 'SELECT';
         CREATE FUNCTION work.words() RETURNS text LANGUAGE sql AS $$SELECT 'done'$$;
         CREATE FUNCTION work.several() RETURNS SETOF int LANGUAGE sql AS 'SELECT generate_series(1, 3)';
         CREATE FUNCTION work.boom() RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '23505', DETAIL = 'because'; END$$;
         CREATE FUNCTION work.needs(a int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE PROCEDURE work.proc() LANGUAGE sql AS 'SELECT 1'",
    )?;
    only(
        &mut client,
        &[
            "counts", "object", "number", "nothing", "words", "several", "boom", "gone",
        ],
    )?;
    let mut service = db.connect_as("service_role")?;
    service.batch_execute(
        "SELECT sqp.set_refresh_function('x.' || f, ('work.' || f || CASE f WHEN 'counts' THEN '(date)' ELSE '()' END)::regprocedure)
           FROM unnest('{counts,object,number,nothing,words,several,boom}'::text[]) AS f;
         SELECT sqp.set_refresh_function('x.gone', 'work.words()')",
    )?;
    client.batch_execute(
        "UPDATE sqp.refresh_config SET function_name = 'gone' WHERE table_name = 'gone'",
    )?;
    assert_eq!(
        rows(
            &mut service,
            "SELECT table_name, status, rows, message FROM sqp.refresh_due() ORDER BY 1"
        )?,
        "(boom,failed,,no)\n(counts,success,10,)\n(gone,failed,,\"the refresh function does not exist\")\n(nothing,success,,)\n\
         (number,success,4,)\n(object,success,5,)\n(several,success,,)\n(words,success,,)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT rows_inserted, rows_updated, rows_deleted FROM sqp.refresh_audit_log WHERE table_name = 'counts'"
        )?,
        "(7,,3)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT sync_metadata, rows_deleted FROM sqp.refresh_audit_log WHERE table_name = 'object'"
        )?,
        "(\"{\"\"source\"\": \"\"x\"\"}\",)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT error_details FROM sqp.refresh_audit_log WHERE table_name = 'boom'"
        )?,
        "(\"{\"\"detail\"\": \"\"because\"\", \"\"sqlstate\"\": \"\"23505\"\"}\")"
    );
    for (arguments, code) in [
        ("'x.words', 'work.needs(int)'", "22023"),
        ("'x.words', 'work.proc()'", "22023"),
        ("'x.words', 'pg_catalog.max(int)'", "22023"),
        ("'x.nowhere', 'work.number()'", "42704"),
    ] {
        let error = expect_sqlstate(
            service.query(
                &format!("SELECT sqp.set_refresh_function({arguments})"),
                &[],
            ),
            code,
        );
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{error:?}"
        );
    }
    client.batch_execute("REVOKE EXECUTE ON FUNCTION work.number() FROM PUBLIC")?;
    expect_sqlstate(
        service.query(
            "SELECT sqp.set_refresh_function('x.words', 'work.number()')",
            &[],
        ),
        "42501",
    );
    service.batch_execute("SELECT sqp.set_refresh_function('x.words', NULL)")?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT method, function_name FROM sqp.refresh_config WHERE table_name = 'words'"
        )?,
        "(external,)"
    );
    Ok(())
}

#[test]
fn a_refresh_function_gains_no_rights() -> Result<()> {
    let db = extended("in_database_rights")?;
    let mut client = db.connect()?;
    let mean = db.role("mean")?;
    client.batch_execute(&format!(
        "CREATE TABLE public.secret (n int); CREATE TABLE public.seen (who text); GRANT INSERT ON public.seen TO service_role, {mean};
         CREATE SCHEMA work AUTHORIZATION {mean}; GRANT USAGE ON SCHEMA work TO service_role;
         SET ROLE {mean};
         CREATE FUNCTION work.who() RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.seen VALUES (current_user); RETURN 1; END$$;
         CREATE FUNCTION work.read() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.secret';
         CREATE FUNCTION work.back() RETURNS int LANGUAGE plpgsql AS $$BEGIN RESET ROLE; RETURN 1; END$$;
         CREATE FUNCTION work.session() RETURNS int LANGUAGE plpgsql AS $$BEGIN SET SESSION AUTHORIZATION DEFAULT; RETURN 1; END$$;
         CREATE FUNCTION work.setting() RETURNS int LANGUAGE plpgsql AS $$BEGIN SET statement_timeout = '7s'; RETURN 1; END$$;
         RESET ROLE"
    ))?;
    only(&mut client, &["who", "read", "back", "session", "setting"])?;
    client.batch_execute(
        "UPDATE sqp.refresh_config SET function_schema = 'work', function_name = table_name",
    )?;
    // A superuser's rights are not lent to anybody's function.
    let told = rows(
        &mut client,
        "SELECT table_name, status, message FROM sqp.refresh_due() ORDER BY 1",
    )?;
    assert_eq!(
        told,
        "(back,failed,\"cannot set parameter \"\"role\"\" within security-definer function\")\n\
         (read,failed,\"permission denied for table secret\")\n\
         (session,failed,\"cannot set parameter \"\"session_authorization\"\" within security-definer function\")\n\
         (setting,success,)\n(who,success,)"
    );
    assert_eq!(
        rows(&mut client, "SELECT * FROM public.seen")?,
        "(service_role)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT current_setting('statement_timeout'), current_user"
        )?,
        "(0,postgres)"
    );
    client.batch_execute("UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '1 hour' WHERE table_name = 'who'")?;
    let mut service = db.connect_as("service_role")?;
    service.query("SELECT * FROM sqp.refresh_due(1)", &[])?;
    assert_eq!(
        rows(&mut client, "SELECT * FROM public.seen")?,
        "(service_role)\n(service_role)"
    );
    Ok(())
}

#[test]
fn what_one_refresh_does_may_make_the_next_one_due() -> Result<()> {
    let db = extended("in_database_chain")?;
    let mut client = db.connect()?;
    all_due(&mut client)?;
    // Those from outside first.
    for (_, run) in claim(&mut client, 100)? {
        complete(&mut client, run)?;
    }
    client.batch_execute("SELECT sqp.add_dependency('weekly_summary', 'monthly_summary'), sqp.add_dependency('monthly_summary', 'quarterly_summary')")?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name, status FROM sqp.refresh_due(2)"
        )?,
        "(search_performance_summary,success)\n(weekly_summary,success)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name, status FROM sqp.refresh_due()"
        )?,
        "(monthly_summary,success)\n(quarterly_summary,success)\n(yearly_summary,success)"
    );
    assert_eq!(rows(&mut client, "SELECT * FROM sqp.refresh_due()")?, "");
    Ok(())
}

#[test]
fn a_run_that_is_not_ours_is_refused() -> Result<()> {
    let db = extended("in_database_refused")?;
    let mut client = db.connect()?;
    only(&mut client, &["outside"])?;
    let claimed = claim(&mut client, 1)?;
    let error = expect_sqlstate(
        client.query(
            "SELECT * FROM sqp.refresh_in_database($1)",
            &[&claimed[0].1],
        ),
        "55000",
    );
    assert!(
        error
            .hint()
            .unwrap_or_default()
            .contains("set_refresh_function")
    );
    expect_sqlstate(
        client.query("SELECT * FROM sqp.refresh_in_database(4711)", &[]),
        "P0002",
    );
    complete(&mut client, claimed[0].1)?;
    expect_sqlstate(
        client.query(
            "SELECT * FROM sqp.refresh_in_database($1)",
            &[&claimed[0].1],
        ),
        "55000",
    );
    expect_sqlstate(
        client.query("SELECT * FROM sqp.refresh_due(NULL)", &[]),
        "22023",
    );
    Ok(())
}

#[test]
fn the_procedure_commits_after_each() -> Result<()> {
    let db = extended("in_database_commits")?;
    let mut client = db.connect()?;
    fresh_start(&mut client)?;
    client.batch_execute(
        "CREATE MATERIALIZED VIEW sqp.one AS SELECT 1 AS a; CREATE MATERIALIZED VIEW sqp.two AS SELECT 2 AS a;
         CREATE MATERIALIZED VIEW sqp.three AS SELECT 3 AS a",
    )?;
    let transactions =
        "SELECT count(DISTINCT xmin::text) FROM sqp.refresh_config WHERE last_status = 'success'";
    all_due(&mut client)?;
    let mut service = db.connect_as("service_role")?;
    service.batch_execute("CALL sqp.refresh_all_due()")?;
    assert_eq!(rows(&mut client, transactions)?, "(3)");
    // In somebody's transaction it does the same without.
    all_due(&mut client)?;
    let mut tx = service.transaction()?;
    tx.batch_execute("CALL sqp.refresh_all_due()")?;
    tx.rollback()?;
    assert_eq!(
        rows(&mut client, "SELECT count(*) FROM sqp.refresh_audit_log")?,
        "(3)"
    );
    service.batch_execute("DO $$ BEGIN CALL sqp.refresh_all_due(); END $$")?;
    assert_eq!(rows(&mut client, LOG)?.lines().count(), 6);
    service.batch_execute("CALL sqp.refresh_all_due()")?;
    Ok(())
}

#[test]
fn two_sessions_share_the_work() -> Result<()> {
    let db = extended("in_database_two")?;
    let mut client = db.connect()?;
    fresh_start(&mut client)?;
    for n in 0..12 {
        client.batch_execute(&format!(
            "CREATE MATERIALIZED VIEW sqp.v{n} AS SELECT pg_sleep(0.01)::text"
        ))?;
    }
    all_due(&mut client)?;
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let db = &db;
                scope.spawn(move || -> Result<()> {
                    db.connect_as("service_role")?
                        .batch_execute("CALL sqp.refresh_all_due()")?;
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))?;
        }
        Ok(())
    })?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT count(*), count(DISTINCT table_name), count(*) FILTER (WHERE status = 'success') FROM sqp.refresh_audit_log"
        )?,
        "(12,12,12)"
    );
    Ok(())
}

#[test]
fn quality_is_measured_by_itself_and_never_undoes_a_refresh() -> Result<()> {
    let db = extended("in_database_quality")?;
    let mut client = db.connect()?;
    fresh_start(&mut client)?;
    client.batch_execute(
        "CREATE MATERIALIZED VIEW sqp.half AS SELECT n, CASE WHEN n % 2 = 0 THEN n END AS even FROM generate_series(1, 10) AS n;
         CREATE TABLE sqp.closed (n int);
         CREATE SCHEMA work; GRANT USAGE ON SCHEMA work TO service_role;
         CREATE FUNCTION work.fine() RETURNS int LANGUAGE sql AS 'SELECT 1';
         SELECT sqp.set_refresh_function('closed', 'work.fine()');
         GRANT SELECT ON sqp.half TO service_role;
         INSERT INTO sqp.refresh_quality_rules (config_id, metric, column_name, threshold_max)
           SELECT id, 'null_share', CASE table_name WHEN 'half' THEN 'even' ELSE 'n' END, 0.4 FROM sqp.refresh_config",
    )?;
    all_due(&mut client)?;
    let found = as_user(&mut client, "service_role", None, |tx| {
        tx.query("SELECT format('%s %s %s', table_name, status, message) FROM sqp.refresh_due() ORDER BY 1", &[])
    })?;
    let found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        found,
        [
            "closed warning its quality could not be measured: permission denied for table closed",
            "half warning "
        ]
    );
    Ok(())
}

/// What goes wrong with one table costs the others nothing, and counts.
#[test]
fn one_bad_table_does_not_stop_the_others() -> Result<()> {
    let db = extended("in_database_bad")?;
    let mut client = db.connect()?;
    fresh_start(&mut client)?;
    client.batch_execute(
        "CREATE SCHEMA w; GRANT USAGE, CREATE ON SCHEMA w TO service_role; SELECT sqp.watch_schema('w');
         CREATE TABLE w.a_deferred (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE w.b_own (id int);
         CREATE TABLE w.c_slow (id int);
         CREATE TABLE w.d_good (id int);
         GRANT ALL ON ALL TABLES IN SCHEMA w TO service_role; ALTER TABLE w.b_own OWNER TO service_role;
         CREATE FUNCTION w.a() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO w.a_deferred VALUES (1), (1); RETURN 1; END';
         CREATE FUNCTION w.b() RETURNS int LANGUAGE plpgsql AS 'BEGIN DROP TABLE w.b_own; CREATE TABLE w.b_own (id int); RETURN 1; END';
         CREATE FUNCTION w.c() RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN 1; END';
         CREATE FUNCTION w.d() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO w.d_good VALUES (1); RETURN 1; END';
         SELECT sqp.set_refresh_function('w.' || t, ('w.' || left(t, 1) || '()')::regprocedure)
           FROM unnest(ARRAY['a_deferred', 'b_own', 'c_slow', 'd_good']) AS t;
         UPDATE sqp.refresh_config SET priority = 200 - ascii(table_name)",
    )?;
    all_due(&mut client)?;
    // The slow one is cancelled together with the whole call, by then committed as running.
    let mut service = db.connect_as("service_role")?;
    service.batch_execute("SET statement_timeout = '3s'")?;
    expect_sqlstate(service.batch_execute("CALL sqp.refresh_all_due()"), "57014");
    service.batch_execute("SET statement_timeout = 0; CALL sqp.refresh_all_due()")?;
    let ended = "SELECT table_name, status FROM sqp.refresh_audit_log ORDER BY id";
    assert_eq!(
        rows(&mut client, ended)?,
        "(a_deferred,failed)\n(b_own,failed)\n(c_slow,running)\n(d_good,success)"
    );
    // Nobody takes it from a session that is there; once it is gone, nobody waits for the lease.
    let reap = "SELECT table_name, attempts FROM sqp.reap_expired_runs()";
    assert_eq!(rows(&mut client, reap)?, "");
    drop(service);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut reaped = String::new();
    while reaped.is_empty() && std::time::Instant::now() < deadline {
        reaped = rows(&mut client, reap)?;
    }
    assert_eq!(reaped, "(c_slow,1)");
    assert_eq!(
        rows(
            &mut client,
            "SELECT table_name, attempts FROM sqp.refresh_config WHERE attempts > 0 ORDER BY 1"
        )?,
        "(a_deferred,1)\n(c_slow,1)"
    );
    Ok(())
}

/// Readers would queue behind a lock that is waited for.
#[test]
fn a_view_that_somebody_reads_fails_and_is_tried_again() -> Result<()> {
    let db = extended("in_database_read")?;
    let mut client = db.connect()?;
    fresh_start(&mut client)?;
    client.batch_execute("CREATE MATERIALIZED VIEW sqp.busy AS SELECT 1 AS n")?;
    all_due(&mut client)?;
    let mut reader = db.connect()?;
    reader.batch_execute("BEGIN; SELECT * FROM sqp.busy")?;
    client.batch_execute("CALL sqp.refresh_all_due()")?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT status, error_message FROM sqp.refresh_audit_log"
        )?,
        "(failed,\"canceling statement due to lock timeout\")"
    );
    assert_eq!(
        rows(&mut client, "SELECT current_setting('lock_timeout')")?,
        "(0)"
    );
    reader.batch_execute("COMMIT")?;
    client.batch_execute("SELECT sqp.retry_refresh('busy'); CALL sqp.refresh_all_due()")?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT status FROM sqp.refresh_audit_log ORDER BY id"
        )?,
        "(failed)\n(success)"
    );
    Ok(())
}
