//! Who queries what, counted: every query once, none slowed, none failed.

use anyhow::{Context, Result, ensure};
use gemba_tests::{
    Cluster, Database, as_user, expect_sqlstate, extended, signal, table, value, wait_for,
    wait_until,
};
use postgres::Client;
use std::sync::OnceLock;

const ANNA: &str = "00000000-0000-0000-0000-00000000000a";
const BEN: &str = "00000000-0000-0000-0000-00000000000b";

/// Preloaded, and without jobs that would collect what a test wants to collect itself.
const QUIET: &[(&str, &str)] = &[("gemba.run_jobs", "off")];

fn server() -> Result<&'static Cluster> {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::preloaded(QUIET).map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("the preloaded cluster did not start: {error}"))
}

/// A database with tables `s.kept` and `s.parts` (partitioned), which have policies, and `s.open`, which has none.
fn prepared<'a>(cluster: &'a Cluster, name: &str) -> Result<(Database<'a>, Client)> {
    let db = cluster.extended(name)?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO PUBLIC;
         CREATE TABLE s.kept (id int PRIMARY KEY, v int); INSERT INTO s.kept VALUES (1, 1), (2, 2);
         CREATE TABLE s.parts (id int, v int) PARTITION BY RANGE (id);
         CREATE TABLE s.parts1 PARTITION OF s.parts FOR VALUES FROM (0) TO (10);
         CREATE TABLE s.open (id int);
         ALTER TABLE s.kept ENABLE ROW LEVEL SECURITY; ALTER TABLE s.parts ENABLE ROW LEVEL SECURITY;
         ALTER TABLE s.parts1 ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON s.kept USING (true); CREATE POLICY p ON s.parts USING (true);
         GRANT ALL ON ALL TABLES IN SCHEMA s TO authenticated, service_role; GRANT SELECT ON s.kept TO anon",
    )?;
    forget(&mut client)?;
    Ok((db, client))
}

/// Begins anew.
fn forget(client: &mut Client) -> Result<()> {
    client.batch_execute("SELECT gemba.collect_access(); DELETE FROM cloudwatcher.data_access")?;
    Ok(())
}

/// What the table says of schema `s`, after a collection.
fn collected(client: &mut Client) -> Result<Vec<String>> {
    client.query("SELECT gemba.collect_access()", &[])?;
    Ok(table(
        client,
        "SELECT table_name, operation, right(user_id::text, 1), role_name, sum(queries) FROM cloudwatcher.data_access
          WHERE table_name LIKE 's.%' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3 NULLS FIRST, 4",
    ))
}

fn user(client: &mut Client, role: &str, sub: Option<&str>, sql: &str) -> Result<()> {
    as_user(client, role, sub, |tx| tx.batch_execute(sql)).with_context(|| sql.to_owned())
}

#[test]
fn who_does_what_how_often() -> Result<()> {
    let (_db, mut client) = prepared(server()?, "access")?;
    for sub in [ANNA, ANNA, BEN] {
        user(
            &mut client,
            "authenticated",
            Some(sub),
            "SELECT * FROM s.kept",
        )?;
    }
    user(&mut client, "anon", None, "SELECT * FROM s.kept")?;
    // What is no user's id is nobody.
    user(
        &mut client,
        "authenticated",
        Some("not a uuid"),
        "SELECT * FROM s.kept",
    )?;
    user(
        &mut client,
        "authenticated",
        Some(ANNA),
        "INSERT INTO s.kept VALUES (3, 3); UPDATE s.kept SET v = v + 1; UPDATE s.kept SET v = 0 WHERE id = 2;
         DELETE FROM s.kept WHERE id = 3; INSERT INTO s.kept VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET v = 7;
         SELECT * FROM s.kept FOR UPDATE; INSERT INTO s.open SELECT id FROM s.kept",
    )?;
    assert_eq!(
        collected(&mut client)?,
        [
            "s.kept | DELETE | a | authenticated | 1",
            "s.kept | INSERT | a | authenticated | 2",
            "s.kept | SELECT | - | anon | 1",
            "s.kept | SELECT | - | authenticated | 1",
            "s.kept | SELECT | a | authenticated | 4",
            "s.kept | SELECT | b | authenticated | 1",
            "s.kept | UPDATE | a | authenticated | 3",
        ]
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT bool_and(hour = date_trunc('hour', first_at) AND first_at <= last_at AND last_at <= now()
                             AND first_at > now() - interval '10 minutes') FROM cloudwatcher.data_access"
        ),
        "t"
    );
    // What was collected is not collected again: only the question above.
    assert_eq!(value(&mut client, "SELECT gemba.collect_access()"), "2");
    client.batch_execute("SET gemba.count_access = off")?;
    assert_eq!(value(&mut client, "SELECT gemba.collect_access()"), "0");
    Ok(())
}

#[test]
fn what_a_query_names_counts() -> Result<()> {
    let (_db, mut client) = prepared(server()?, "access_names")?;
    client.batch_execute(
        "CREATE VIEW s.seen WITH (security_invoker = true) AS SELECT * FROM s.kept;
         CREATE FUNCTION s.mine() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM s.kept';
         CREATE FUNCTION s.theirs() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM s.kept';
         GRANT SELECT ON s.seen TO authenticated",
    )?;
    let mut once = |sql: &str| -> Result<Vec<String>> {
        forget(&mut client)?;
        user(&mut client, "authenticated", Some(ANNA), sql)?;
        collected(&mut client)
    };
    const READ: [&str; 1] = ["s.kept | SELECT | a | authenticated | 1"];
    const NOTHING: [&str; 0] = [];
    assert_eq!(once("SELECT * FROM s.seen")?, READ);
    assert_eq!(once("SELECT s.mine()")?, READ);
    assert_eq!(once("SELECT s.theirs()")?, NOTHING);
    assert_eq!(once("SELECT * FROM s.open")?, NOTHING);
    assert_eq!(once("SELECT FROM s.kept WHERE false")?, READ);
    assert_eq!(once("EXPLAIN SELECT * FROM s.open")?, NOTHING);
    assert_eq!(
        once("SELECT * FROM s.kept a JOIN s.open b USING (id)")?,
        READ
    );
    assert_eq!(
        once("PREPARE p AS SELECT * FROM s.kept; EXECUTE p; DEALLOCATE p")?,
        READ
    );
    assert_eq!(
        once("PREPARE p AS SELECT * FROM s.kept; EXECUTE p; EXECUTE p; DEALLOCATE p")?,
        ["s.kept | SELECT | a | authenticated | 2"]
    );
    // The partitioned table, by whichever of its partitions it is answered.
    assert_eq!(
        once("SELECT * FROM s.parts; INSERT INTO s.parts VALUES (1, 1); UPDATE s.parts SET v = 2")?,
        [
            "s.parts | INSERT | a | authenticated | 1",
            "s.parts | SELECT | a | authenticated | 1",
            "s.parts | UPDATE | a | authenticated | 1",
        ]
    );
    // One plan in several processes is one query.
    assert_eq!(
        once(
            "SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
             SELECT count(*) FROM s.kept"
        )?,
        READ
    );
    // What is refused is no access.
    expect_sqlstate(
        as_user(&mut client, "anon", None, |tx| {
            tx.batch_execute("DELETE FROM s.kept")
        }),
        "42501",
    );
    forget(&mut client)?;
    expect_sqlstate(
        as_user(&mut client, "anon", None, |tx| {
            tx.batch_execute("UPDATE s.kept SET v = 1")
        }),
        "42501",
    );
    assert_eq!(collected(&mut client)?, NOTHING);
    // A query that failed later was one.
    let _ = as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute("SELECT 1 / (v - v) FROM s.kept")
    });
    assert_eq!(collected(&mut client)?, READ);
    Ok(())
}

#[test]
fn copy_counts() -> Result<()> {
    use std::io::{Read, Write};
    let (db, mut client) = prepared(server()?, "access_copy")?;
    let mut service = db.connect_as("service_role")?;
    let mut writer = service.copy_in("COPY s.open FROM STDIN")?;
    writer.write_all(b"1\n")?;
    writer.finish()?;
    client.batch_execute("ALTER ROLE service_role BYPASSRLS")?;
    let mut writer = service.copy_in("COPY s.kept FROM STDIN")?;
    writer.write_all(b"10\t1\n11\t1\n")?;
    writer.finish()?;
    let mut text = String::new();
    service
        .copy_out("COPY s.kept TO STDOUT")?
        .read_to_string(&mut text)?;
    assert_eq!(text.lines().count(), 4);
    drop(service);
    let mut found = Vec::new();
    wait_until("the session's counts arrive", || {
        found = collected(&mut client).unwrap_or_default();
        found.len() == 2
    });
    assert_eq!(
        found,
        [
            "s.kept | INSERT | - | service_role | 1",
            "s.kept | SELECT | - | service_role | 1"
        ]
    );
    Ok(())
}

#[test]
fn a_collection_that_fails_loses_nothing() -> Result<()> {
    let (_db, mut client) = prepared(server()?, "access_collect")?;
    user(
        &mut client,
        "authenticated",
        Some(ANNA),
        "SELECT * FROM s.kept; SELECT * FROM s.parts",
    )?;
    const ALL: [&str; 2] = [
        "s.kept | SELECT | a | authenticated | 1",
        "s.parts | SELECT | a | authenticated | 1",
    ];
    const READ: &str =
        "SELECT sum(queries) FROM cloudwatcher.data_access WHERE table_name LIKE 's.%'";
    client.batch_execute("BEGIN; SELECT gemba.collect_access(); ROLLBACK")?;
    assert_eq!(value(&mut client, READ), "-");
    // Of a part of a transaction, too.
    client.batch_execute(
        "BEGIN; SAVEPOINT a; SELECT gemba.collect_access(); ROLLBACK TO a; COMMIT",
    )?;
    assert_eq!(value(&mut client, READ), "-");
    client.batch_execute(
        "BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT gemba.collect_access(); RELEASE b; ROLLBACK TO a; COMMIT",
    )?;
    assert_eq!(value(&mut client, READ), "-");
    // Twice in one transaction counts once.
    client.batch_execute(
        "BEGIN; SAVEPOINT a; SELECT gemba.collect_access(); RELEASE a; SELECT gemba.collect_access(); COMMIT",
    )?;
    assert_eq!(value(&mut client, READ), "2");
    assert_eq!(collected(&mut client)?, ALL);
    // What comes again in the same hour is added to the same row, unless the hour has ended in between.
    user(
        &mut client,
        "authenticated",
        Some(ANNA),
        "SELECT * FROM s.kept",
    )?;
    assert_eq!(
        collected(&mut client)?[0],
        "s.kept | SELECT | a | authenticated | 2"
    );
    ensure!(
        value(
            &mut client,
            "SELECT count(*) <= 2 FROM cloudwatcher.data_access WHERE table_name = 's.kept'"
        ) == "t"
    );
    // A table that is gone was queried nevertheless.
    user(
        &mut client,
        "authenticated",
        Some(BEN),
        "SELECT * FROM s.parts",
    )?;
    client.batch_execute("DROP TABLE s.parts")?;
    client.query("SELECT gemba.collect_access()", &[])?;
    assert_eq!(
        table(
            &mut client,
            "SELECT operation, right(user_id::text, 1), queries FROM cloudwatcher.data_access WHERE table_name LIKE 'dropped table %'"
        ),
        ["SELECT | b | 1"]
    );
    Ok(())
}

#[test]
fn thirty_two_clients_are_all_counted() -> Result<()> {
    let (db, mut client) = prepared(server()?, "access_many")?;
    const EACH: usize = 40;
    std::thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..32)
            .map(|number| {
                let db = db.clone();
                scope.spawn(move || -> Result<()> {
                    let sub = if number % 2 == 0 { ANNA } else { BEN };
                    for part in 0..2 {
                        let mut client = db.connect()?;
                        for query in 0..EACH / 2 {
                            let sql = if (part + query) % 4 == 0 {
                                "UPDATE s.kept SET v = v WHERE id = -1"
                            } else {
                                "SELECT * FROM s.kept"
                            };
                            user(&mut client, "authenticated", Some(sub), sql)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let mut moved = 0;
        while clients.iter().any(|client| !client.is_finished()) {
            let now: i64 = client
                .query_one("SELECT gemba.collect_access()", &[])?
                .get(0);
            moved += now;
        }
        for client in clients {
            client.join().ok().context("a client died")??;
        }
        ensure!(moved > 0, "nothing was collected meanwhile");
        Ok(())
    })?;
    // The last sessions may take a moment to be gone.
    let mut found = Vec::new();
    wait_until("all are counted", || {
        found = collected(&mut client).unwrap_or_default();
        found.len() == 4
            && value(
                &mut client,
                "SELECT sum(queries) >= 1280 FROM cloudwatcher.data_access WHERE table_name = 's.kept'",
            ) == "t"
    });
    assert_eq!(
        found,
        [
            "s.kept | SELECT | a | authenticated | 480",
            "s.kept | SELECT | b | authenticated | 480",
            "s.kept | UPDATE | a | authenticated | 160",
            "s.kept | UPDATE | b | authenticated | 160",
        ]
    );
    Ok(())
}

#[test]
fn a_session_says_what_it_counted_now_and_then() -> Result<()> {
    let (db, mut client) = prepared(server()?, "access_pause")?;
    let mut other = db.connect()?;
    user(
        &mut other,
        "authenticated",
        Some(ANNA),
        "SELECT * FROM s.kept",
    )?;
    // The first transaction at once; the session stays.
    assert_eq!(
        collected(&mut client)?,
        ["s.kept | SELECT | a | authenticated | 1"]
    );
    for _ in 0..5 {
        user(
            &mut other,
            "authenticated",
            Some(ANNA),
            "SELECT * FROM s.kept",
        )?;
    }
    // The rest with a later one, whatever it does.
    let mut found = Vec::new();
    wait_until("the rest is there", || {
        let _ = user(
            &mut other,
            "authenticated",
            Some(BEN),
            "SELECT * FROM s.kept",
        );
        found = collected(&mut client).unwrap_or_default();
        found.len() == 2
    });
    assert_eq!(found[0], "s.kept | SELECT | a | authenticated | 6");
    Ok(())
}

#[test]
fn more_than_there_is_room_for_is_said() -> Result<()> {
    // The room belongs to the server: by itself, so that nobody else loses anything.
    let cluster = Cluster::preloaded(QUIET)?;
    let (db, mut client) = prepared(&cluster, "access_room")?;
    client.batch_execute(
        "DO $$ BEGIN
           FOR n IN 1..9000 LOOP
             PERFORM set_config('request.jwt.claims', format('{\"sub\": \"00000000-0000-0000-0000-%s\"}', lpad(n::text, 12, '0')), false);
             PERFORM * FROM s.kept;
           END LOOP; END $$",
    )?;
    let (mut collector, notices) = db.connect_noting()?;
    // What its own session has not added yet comes with the end of it.
    drop(client);
    const ROWS: &str = "SELECT count(*) FROM cloudwatcher.data_access WHERE table_name = 's.kept'";
    wait_until("all is collected or known to be lost", || {
        table(&mut collector, "SELECT gemba.collect_access()");
        value(
            &mut collector,
            &format!("SELECT lost + ({ROWS}) FROM gemba.access_status()"),
        ) == "9000"
    });
    // An eighth of the places stays empty, and what was done before has some.
    let rows: i32 = value(&mut collector, ROWS).parse()?;
    ensure!((7_000..=7_168).contains(&rows), "{rows} rows");
    let warnings: Vec<_> = notices
        .take()
        .into_iter()
        .filter(|notice| notice.severity() == "WARNING")
        .map(|notice| notice.message().to_owned())
        .collect();
    ensure!(
        warnings
            .iter()
            .any(|warning| warning.contains("accesses were not counted")),
        "{warnings:?}"
    );
    Ok(())
}

#[test]
fn it_can_be_switched_off_by_a_superuser() -> Result<()> {
    let (db, mut client) = prepared(server()?, "access_off")?;
    client.batch_execute("SET gemba.count_access = off")?;
    user(
        &mut client,
        "authenticated",
        Some(ANNA),
        "SELECT * FROM s.kept",
    )?;
    assert_eq!(
        value(&mut client, "SELECT state FROM gemba.access_status()"),
        "switched off"
    );
    client.batch_execute("RESET gemba.count_access")?;
    assert_eq!(collected(&mut client)?, Vec::<String>::new());
    let status = "SELECT state, advice, room, lost FROM gemba.access_status()";
    assert_eq!(table(&mut client, status), ["counting | - | 8192 | 0"]);
    for (role, call) in [
        ("anon", "collect_access"),
        ("authenticated", "access_status"),
    ] {
        let sql = format!("SELECT gemba.{call}()");
        expect_sqlstate(
            as_user(&mut client, role, None, |tx| tx.query(&sql, &[])),
            "42501",
        );
    }
    expect_sqlstate(
        as_user(&mut client, "service_role", None, |tx| {
            tx.batch_execute("SET gemba.count_access = off")
        }),
        "42501",
    );
    let mut service = db.connect_as("service_role")?;
    service.query("SELECT gemba.collect_access()", &[])?;
    expect_sqlstate(
        service.execute("DELETE FROM cloudwatcher.data_access", &[]),
        "42501",
    );
    expect_sqlstate(
        as_user(&mut client, "authenticated", Some(ANNA), |tx| {
            tx.query("SELECT * FROM cloudwatcher.data_access", &[])
        }),
        "42501",
    );
    client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE")?;
    expect_sqlstate(client.query("SELECT gemba.collect_access()", &[]), "25001");
    client.batch_execute("ROLLBACK")?;
    Ok(())
}

#[test]
fn without_preloading_it_says_so() -> Result<()> {
    let db = extended("access_not_preloaded")?;
    let (mut client, notices) = db.connect_noting()?;
    assert_eq!(value(&mut client, "SELECT gemba.collect_access()"), "-");
    let said = notices.take();
    ensure!(
        said.iter()
            .any(|notice| notice.message().contains("not preloaded")),
        "{said:?}"
    );
    assert_eq!(
        value(&mut client, "SELECT state FROM gemba.access_status()"),
        "not preloaded"
    );
    client.batch_execute("SELECT * FROM cloudwatcher.audit_logs")?;
    Ok(())
}

#[test]
fn a_crash_costs_counts_and_nothing_else() -> Result<()> {
    let cluster = Cluster::preloaded(QUIET)?;
    let (db, mut client) = prepared(&cluster, "access_crash")?;
    user(
        &mut client,
        "authenticated",
        Some(ANNA),
        "SELECT * FROM s.kept",
    )?;
    assert_eq!(collected(&mut client)?.len(), 1);
    user(
        &mut client,
        "authenticated",
        Some(BEN),
        "SELECT * FROM s.kept",
    )?;
    let victim: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
    let mut witness = db.connect()?;
    signal("-KILL", victim)?;
    wait_until("the server ends all sessions", || {
        witness.simple_query("SELECT 1").is_err()
    });
    let mut client = None;
    wait_until("the server is back", || {
        client = db.connect().ok();
        client.is_some()
    });
    let mut client = client.context("no session")?;
    assert_eq!(
        collected(&mut client)?,
        ["s.kept | SELECT | a | authenticated | 1"]
    );
    user(
        &mut client,
        "authenticated",
        Some(BEN),
        "SELECT * FROM s.kept",
    )?;
    assert_eq!(
        collected(&mut client)?,
        [
            "s.kept | SELECT | a | authenticated | 1",
            "s.kept | SELECT | b | authenticated | 1"
        ]
    );
    Ok(())
}

#[test]
fn a_standby_counts_and_collects_when_it_is_promoted() -> Result<()> {
    let cluster = Cluster::preloaded(QUIET)?;
    let (db, _client) = prepared(&cluster, "access_standby")?;
    let standby = cluster.standby()?;
    wait_until("the standby has the database", || {
        standby.connect(db.name()).is_ok_and(|mut client| {
            value(&mut client, "SELECT to_regclass('s.kept') IS NOT NULL") == "t"
        })
    });
    let mut client = standby.connect(db.name())?;
    user(
        &mut client,
        "authenticated",
        Some(ANNA),
        "SELECT * FROM s.kept",
    )?;
    assert_eq!(value(&mut client, "SELECT gemba.collect_access()"), "-");
    assert_eq!(
        value(&mut client, "SELECT state FROM gemba.access_status()"),
        "standby"
    );
    standby.promote()?;
    wait_for(&mut client, "SELECT pg_is_in_recovery()", "f");
    assert_eq!(
        collected(&mut client)?,
        ["s.kept | SELECT | a | authenticated | 1"]
    );
    Ok(())
}

#[test]
fn the_job_collects() -> Result<()> {
    let (_db, mut client) = prepared(server()?, "access_job")?;
    user(
        &mut client,
        "authenticated",
        Some(ANNA),
        "SELECT * FROM s.kept",
    )?;
    client.batch_execute("SET gemba.run_jobs = on; SELECT gemba.run_job_now('gemba: access')")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT status FROM gemba.run_due_jobs() WHERE job = 'gemba: access'"
        ),
        ["succeeded"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT queries FROM cloudwatcher.data_access WHERE table_name = 's.kept'"
        ),
        ["1"]
    );
    Ok(())
}

#[test]
fn explained_is_not_read_and_copied_is_read_once() -> Result<()> {
    let (_db, mut client) = prepared(server()?, "access_copy")?;
    for role in ["authenticated", "service_role"] {
        for sql in [
            "EXPLAIN SELECT * FROM s.kept",
            "EXPLAIN UPDATE s.kept SET v = v",
            "EXPLAIN (ANALYZE) SELECT * FROM s.kept WHERE id = 1",
            "SELECT 1",
        ] {
            user(&mut client, role, None, sql)?;
        }
        for sql in [
            "COPY s.kept TO STDOUT",
            "COPY (SELECT v FROM s.kept) TO STDOUT",
        ] {
            as_user(&mut client, role, None, |tx| {
                std::io::copy(&mut tx.copy_out(sql)?, &mut std::io::sink()).ok();
                Ok::<_, postgres::Error>(())
            })?;
        }
    }
    // Rows come by COPY where no policy would have to look at them.
    as_user(&mut client, "service_role", None, |tx| {
        let mut copy = tx.copy_in("COPY s.kept FROM STDIN")?;
        std::io::Write::write_all(&mut copy, b"7\t7\n8\t8\n").ok();
        copy.finish()
    })?;
    assert_eq!(
        collected(&mut client)?,
        [
            "s.kept | INSERT | - | service_role | 1",
            "s.kept | SELECT | - | authenticated | 3",
            "s.kept | SELECT | - | service_role | 3",
        ]
    );
    // Whoever may not, has not; and the next query counts as ever.
    expect_sqlstate(
        as_user(&mut client, "anon", None, |tx| {
            tx.batch_execute("DELETE FROM s.kept")
        }),
        "42501",
    );
    user(&mut client, "anon", None, "SELECT * FROM s.kept")?;
    ensure!(collected(&mut client)?.contains(&"s.kept | SELECT | - | anon | 1".to_owned()));
    ensure!(
        !collected(&mut client)?
            .iter()
            .any(|line| line.contains("DELETE"))
    );
    Ok(())
}
