//! Seals: every row gets into one, nobody waits for it, and nothing can be changed unnoticed.

mod audit_support;

use anyhow::{Context, Result, ensure};
use audit_support::{empty_trail, extended, log, problems, seal_all};
use gemba_tests::{
    Cluster, Database, Random, as_user, empty, expect_sqlstate, run_ok, table, value,
};
use postgres::Client;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

const NONE: [&str; 0] = [];

/// Every row is named once: as many ids in seals as rows, all of them different.
#[track_caller]
fn each_row_is_sealed_once(client: &mut Client) {
    assert_eq!(
        value(
            client,
            "SELECT count(*) = count(DISTINCT d) AND count(*) = (SELECT count(*) FROM cloudwatcher.audit_logs)
                    AND count(*) = (SELECT sum(row_count) FROM cloudwatcher.audit_seals)
               FROM cloudwatcher.audit_seals s, gemba._sealed_ids(s.digests) AS d"
        ),
        "t"
    );
}

#[test]
fn rows_are_sealed_and_verified() -> Result<()> {
    let db = extended("seal")?;
    let mut client = db.connect()?;
    assert_eq!(table(&mut client, "SELECT * FROM gemba.seal_audit()"), NONE);
    assert_eq!(table(&mut client, "SELECT * FROM gemba.audit_head()"), NONE);
    assert_eq!(problems(&mut client), NONE);
    log(&mut client, 1, 10)?;
    seal_all(&mut client);
    log(&mut client, 11, 7)?;
    seal_all(&mut client);
    assert_eq!(table(&mut client, "SELECT * FROM gemba.seal_audit()"), NONE);
    assert_eq!(
        table(
            &mut client,
            "SELECT s.id, s.row_count, length(s.digests), s.first_at = l.first_at, s.last_at = l.last_at,
                    s.previous_hash = coalesce(b.seal_hash, decode(repeat('00', 32), 'hex')),
                    s.system_id = (SELECT system_identifier FROM pg_control_system())
               FROM cloudwatcher.audit_seals s
               LEFT JOIN cloudwatcher.audit_seals b ON b.id = s.id - 1
              CROSS JOIN LATERAL (SELECT min(l.created_at) AS first_at, max(l.created_at) AS last_at
                                    FROM gemba._sealed_ids(s.digests) d JOIN cloudwatcher.audit_logs l ON l.id = d) AS l
              ORDER BY s.id"
        ),
        ["1 | 10 | 320 | t | t | t | t", "2 | 7 | 224 | t | t | t | t"]
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT h.seal = 2 AND h.hash = encode(s.seal_hash, 'hex') AND h.sealed_at = s.sealed_at
               FROM gemba.audit_head() h, cloudwatcher.audit_seals s WHERE s.id = 2"
        ),
        "t"
    );
    each_row_is_sealed_once(&mut client);
    // What is not sealed yet is no problem.
    log(&mut client, 100, 3)?;
    assert_eq!(problems(&mut client), NONE);
    Ok(())
}

#[test]
fn a_batch_has_a_bound() -> Result<()> {
    let db = extended("seal_batches")?;
    let mut client = db.connect()?;
    log(&mut client, 1, 100_001)?;
    seal_all(&mut client);
    assert_eq!(
        table(
            &mut client,
            "SELECT id, row_count, upto = 0 FROM cloudwatcher.audit_seals ORDER BY id"
        ),
        ["1 | 50000 | t", "2 | 50000 | t", "3 | 1 | f"]
    );
    each_row_is_sealed_once(&mut client);
    assert_eq!(problems(&mut client), NONE);
    // A batch that is exactly full is the last one, and says so.
    log(&mut client, 200_001, 50_000)?;
    seal_all(&mut client);
    assert_eq!(
        table(
            &mut client,
            "SELECT s.row_count, s.upto > b.upto FROM cloudwatcher.audit_seals s, cloudwatcher.audit_seals b
              WHERE s.id = 4 AND b.id = 3 AND NOT EXISTS (SELECT FROM cloudwatcher.audit_seals WHERE id > 4)"
        ),
        ["50000 | t"]
    );
    assert_eq!(problems(&mut client), NONE);
    Ok(())
}

#[test]
fn a_hash_is_what_the_documentation_says() -> Result<()> {
    let db = extended("seal_hash")?;
    let mut client = db.connect()?;
    log(&mut client, 1, 30)?;
    seal_all(&mut client);
    // The same in SQL, from the description.
    client.batch_execute(
        "CREATE FUNCTION pg_temp.field(b bytea) RETURNS bytea LANGUAGE sql AS
           $$ SELECT CASE WHEN b IS NULL THEN '\\xffffffff' ELSE int4send(length(b)) || b END $$;
         CREATE FUNCTION pg_temp.text_field(t text) RETURNS bytea LANGUAGE sql AS
           $$ SELECT pg_temp.field(convert_to(t, 'UTF8')) $$;
         CREATE TEMPORARY TABLE hashes AS
           SELECT l.id, sha256('gemba audit row 1'::bytea || pg_temp.field(uuid_send(id)) || pg_temp.text_field(table_name)
                    || pg_temp.text_field(operation) || pg_temp.text_field(record_id) || pg_temp.field(uuid_send(user_id))
                    || pg_temp.text_field(role_name) || pg_temp.text_field(old_values::text) || pg_temp.text_field(new_values::text)
                    || pg_temp.text_field(change_reason) || pg_temp.text_field(ip_address::text) || pg_temp.field(int8send(transaction_id))
                    || pg_temp.field(int8send(system_id)) || pg_temp.field(timestamptz_send(statement_at))
                    || pg_temp.field(timestamptz_send(created_at))) AS hash
             FROM cloudwatcher.audit_logs l",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT s.digests = (SELECT string_agg(uuid_send(id) || substr(hash, 1, 16), '' ORDER BY id) FROM hashes),
                    s.batch_hash = sha256((SELECT string_agg(uuid_send(id) || hash, '' ORDER BY id) FROM hashes)),
                    s.seal_hash = sha256('gemba audit seal 1'::bytea || pg_temp.field(int8send(s.id)) || pg_temp.field(int8send(system_id))
                      || pg_temp.field(int8send(upto)) || pg_temp.field(int8send(row_count)) || pg_temp.field(timestamptz_send(first_at))
                      || pg_temp.field(timestamptz_send(last_at)) || pg_temp.field(digests) || pg_temp.field(batch_hash)
                      || pg_temp.field(previous_hash) || pg_temp.field(timestamptz_send(sealed_at)))
               FROM cloudwatcher.audit_seals s"
        ),
        ["t | t | t"]
    );
    Ok(())
}

#[test]
fn settings_of_the_session_change_nothing() -> Result<()> {
    let db = extended("seal_settings")?;
    let mut client = db.connect()?;
    log(&mut client, 1, 20)?;
    client.batch_execute(
        "SET timezone = 'Asia/Kathmandu'; SET datestyle = 'SQL, DMY'; SET bytea_output = 'escape'; SET extra_float_digits = -10",
    )?;
    seal_all(&mut client);
    let mut other = db.connect()?;
    other.batch_execute("SET client_encoding = 'LATIN1'; SET default_transaction_isolation = 'repeatable read'; SET search_path = ''")?;
    assert_eq!(problems(&mut other), NONE);
    Ok(())
}

#[test]
fn rows_of_running_transactions_come_later() -> Result<()> {
    // By itself: what runs in any database of the cluster holds sealing up.
    let cluster = Cluster::new()?;
    let db = empty_trail(&cluster, "seal_running")?;
    let mut client = db.connect()?;
    let mut slow = db.connect()?;
    let mut prepared = db.connect()?;
    let mut late = slow.transaction()?;
    log(&mut late, 1, 5)?;
    let first: i64 = value(&mut client, "SELECT pg_current_xact_id()").parse()?;
    log(&mut client, 10, 5)?;
    // Nothing is below the oldest transaction yet.
    assert_eq!(table(&mut client, "SELECT * FROM gemba.seal_audit()"), NONE);
    late.commit()?;
    assert_eq!(
        table(
            &mut client,
            "SELECT seal, row_count FROM gemba.seal_audit()"
        ),
        ["1 | 10"]
    );
    ensure!(
        value(&mut client, "SELECT upto FROM cloudwatcher.audit_seals").parse::<i64>()? > first
    );
    // What began before the seal and is older than what was sealed in between.
    let mut late = slow.transaction()?;
    log(&mut late, 20, 3)?;
    let mut later = prepared.transaction()?;
    log(&mut later, 30, 4)?;
    late.rollback()?;
    log(&mut client, 40, 2)?;
    assert_eq!(table(&mut client, "SELECT * FROM gemba.seal_audit()"), NONE);
    assert_eq!(problems(&mut client), NONE);
    later.commit()?;
    assert_eq!(
        table(
            &mut client,
            "SELECT seal, row_count FROM gemba.seal_audit()"
        ),
        ["2 | 6"]
    );
    each_row_is_sealed_once(&mut client);
    assert_eq!(problems(&mut client), NONE);
    // One's own rows, too, come with the next one.
    let mut own = client.transaction()?;
    log(&mut own, 50, 1)?;
    assert_eq!(own.query("SELECT * FROM gemba.seal_audit()", &[])?.len(), 0);
    own.commit()?;
    assert_eq!(
        table(
            &mut client,
            "SELECT seal, row_count FROM gemba.seal_audit()"
        ),
        ["3 | 1"]
    );
    Ok(())
}

#[test]
fn sixteen_writers_and_two_sealers() -> Result<()> {
    let cluster = Cluster::new()?;
    let db = empty_trail(&cluster, "seal_writers")?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let writers: Vec<_> = (0..16)
            .map(|writer: i32| {
                let db = db.clone();
                scope.spawn(move || -> Result<()> {
                    let mut random = Random::new(writer as u64 + 1);
                    let mut client = db.connect()?;
                    for round in 0..25 {
                        let mut tx = client.transaction()?;
                        log(
                            &mut tx,
                            writer * 10_000 + round * 100,
                            1 + random.below(20) as i32,
                        )?;
                        // Some take long, and end after others that began later were sealed.
                        std::thread::sleep(std::time::Duration::from_millis(random.below(30)));
                        log(&mut tx, writer * 10_000 + round * 100 + 50, 1)?;
                        if random.below(5) == 0 {
                            tx.rollback()?;
                        } else {
                            tx.commit()?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let sealers: Vec<_> = (0..2)
            .map(|_| {
                let (db, done) = (db.clone(), &done);
                scope.spawn(move || -> Result<usize> {
                    let mut client = db.connect_as("service_role")?;
                    let mut made = 0;
                    while !done.load(Ordering::Relaxed) {
                        made += client.query("SELECT * FROM gemba.seal_audit()", &[])?.len();
                        ensure!(
                            problems(&mut client).is_empty(),
                            "a sound trail looks broken: {:?}",
                            problems(&mut client)
                        );
                    }
                    Ok(made)
                })
            })
            .collect();
        let outcomes: Vec<_> = writers.into_iter().map(|w| w.join()).collect();
        done.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            outcome.ok().context("a writer died")??;
        }
        let mut made = 0;
        for sealer in sealers {
            made += sealer.join().ok().context("a sealer died")??;
        }
        ensure!(made > 1, "nothing was sealed meanwhile");
        Ok(())
    })?;
    let mut client = db.connect()?;
    seal_all(&mut client);
    each_row_is_sealed_once(&mut client);
    assert_eq!(problems(&mut client), NONE);
    Ok(())
}

/// Does something to a sealed trail, says what is found, and undoes it.
fn tamper(client: &mut Client, what: &str, verify: &str) -> Result<Vec<String>> {
    client.batch_execute("BEGIN")?;
    client
        .batch_execute(what)
        .with_context(|| what.to_owned())?;
    let found = table(client, verify);
    client.batch_execute("ROLLBACK")?;
    Ok(found)
}

const FOUND: &str = "SELECT problem, seal, (SELECT record_id FROM cloudwatcher.audit_logs WHERE id = record), record IS NULL FROM gemba.verify_audit() ORDER BY 2, 1";

/// Three seals of ten rows each, of records 1 to 10, 11 to 20 and 21 to 30.
fn sealed(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    for first in [1, 11, 21] {
        log(&mut client, first, 10)?;
        seal_all(&mut client);
    }
    assert_eq!(problems(&mut client), NONE);
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM cloudwatcher.audit_seals"),
        "3"
    );
    Ok((db, client))
}

#[test]
fn every_changed_column_is_found() -> Result<()> {
    let (_db, mut client) = sealed("seal_altered")?;
    let changes = [
        "table_name = 't.u'",
        "operation = 'DELETE'",
        "record_id = '015'",
        "record_id = NULL",
        "user_id = gen_random_uuid()",
        "role_name = role_name || ' '",
        "old_values = NULL",
        "old_values = jsonb_set(old_values, '{price}', '1.5')",
        "new_values = new_values || '{\"a\": null}'",
        "new_values = old_values, old_values = new_values",
        "change_reason = ''",
        "ip_address = '10.1.2.3/25'",
        "transaction_id = transaction_id + 1",
        "transaction_id = 9000000000000",
        "system_id = system_id + 1",
        "statement_at = statement_at + interval '1 microsecond'",
        "created_at = created_at + interval '1 microsecond'",
        "created_at = created_at + interval '1 year'",
        "created_at = created_at - interval '1 microsecond'",
    ];
    for change in changes {
        let found = tamper(
            &mut client,
            &format!("UPDATE cloudwatcher.audit_logs SET {change} WHERE record_id = '15'"),
            "SELECT problem, seal, record IS NOT NULL, table_name, created_at IS NOT NULL FROM gemba.verify_audit()",
        )?;
        let table = if change.starts_with("table") {
            "t.u"
        } else {
            "t.t"
        };
        assert_eq!(
            found,
            [format!("row altered | 2 | t | {table} | t")],
            "{change}"
        );
    }
    Ok(())
}

#[test]
fn removed_and_inserted_rows_are_found() -> Result<()> {
    let (_db, mut client) = sealed("seal_removed")?;
    let found = tamper(
        &mut client,
        "DELETE FROM cloudwatcher.audit_logs WHERE record_id IN ('3', '25')",
        FOUND,
    )?;
    assert_eq!(
        found,
        ["row removed | 1 | - | f", "row removed | 3 | - | f"]
    );
    let copy = |changes: &str| {
        format!(
            "INSERT INTO cloudwatcher.audit_logs
               SELECT (jsonb_populate_record(l, {changes})).* FROM cloudwatcher.audit_logs l WHERE record_id = '15'"
        )
    };
    // With a number that was sealed long ago; of a cluster that never sealed here; of a transaction that is yet to be.
    for changes in [
        "jsonb_build_object('id', gen_random_uuid(), 'record_id', 'new')",
        "jsonb_build_object('id', gen_random_uuid(), 'record_id', 'new', 'system_id', 1)",
        "jsonb_build_object('id', gen_random_uuid(), 'record_id', 'new', 'transaction_id', 9000000000000)",
    ] {
        let found = tamper(&mut client, &copy(changes), FOUND)?;
        assert_eq!(found, ["row inserted | - | new | f"], "{changes}");
    }
    // The same id a second time, in another partition.
    let found = tamper(
        &mut client,
        &copy("jsonb_build_object('created_at', l.created_at + interval '1 year')"),
        "SELECT problem, record = (SELECT id FROM cloudwatcher.audit_logs WHERE record_id = '15' LIMIT 1), detail FROM gemba.verify_audit()",
    )?;
    assert_eq!(found, ["row inserted | t | there are 2 rows with this id"]);
    // Exchanged for another one.
    let found = tamper(
        &mut client,
        &format!(
            "{}; DELETE FROM cloudwatcher.audit_logs WHERE record_id = '15'",
            copy("jsonb_build_object('id', gen_random_uuid(), 'record_id', 'new')")
        ),
        FOUND,
    )?;
    assert_eq!(
        found,
        ["row removed | 2 | - | f", "row inserted | - | new | f"]
    );
    Ok(())
}

#[test]
fn a_changed_chain_is_found() -> Result<()> {
    let (_db, mut client) = sealed("seal_chain")?;
    let head = value(&mut client, "SELECT hash FROM gemba.audit_head()");
    let first = value(
        &mut client,
        "SELECT encode(seal_hash, 'hex') FROM cloudwatcher.audit_seals WHERE id = 1",
    );
    const PROBLEMS: &str = "SELECT problem, seal FROM gemba.verify_audit() ORDER BY 2, 1";
    let columns = [
        "system_id = system_id + 1",
        "upto = upto + 1",
        "row_count = row_count + 1",
        "first_at = first_at - interval '1 microsecond'",
        "first_at = NULL",
        "last_at = last_at + interval '1 microsecond'",
        "batch_hash = sha256('')",
        "sealed_at = sealed_at + interval '1 second'",
    ];
    for change in columns {
        let found = tamper(
            &mut client,
            &format!("UPDATE cloudwatcher.audit_seals SET {change} WHERE id = 2"),
            PROBLEMS,
        )?;
        ensure!(
            found.contains(&"seal altered | 2".to_owned()),
            "{change}: {found:?}"
        );
    }
    let cases: &[(&str, &[&str])] = &[
        (
            "UPDATE cloudwatcher.audit_seals SET previous_hash = sha256('') WHERE id = 2",
            &["chain broken | 2", "seal altered | 2"],
        ),
        (
            "UPDATE cloudwatcher.audit_seals SET seal_hash = sha256('') WHERE id = 2",
            &["seal altered | 2", "chain broken | 3"],
        ),
        (
            "UPDATE cloudwatcher.audit_seals SET previous_hash = sha256('') WHERE id = 1",
            &["chain broken | 1", "seal altered | 1"],
        ),
        (
            "DELETE FROM cloudwatcher.audit_seals WHERE id = 2",
            &["seal missing | 2"],
        ),
        (
            "DELETE FROM cloudwatcher.audit_seals WHERE id = 1",
            &["seal missing | 1"],
        ),
        (
            "UPDATE cloudwatcher.audit_seals SET id = 4 WHERE id = 2",
            &["seal missing | 2", "chain broken | 4", "seal altered | 4"],
        ),
        (
            "UPDATE cloudwatcher.audit_seals SET id = 9 WHERE id = 1;
             UPDATE cloudwatcher.audit_seals SET id = 1 WHERE id = 2;
             UPDATE cloudwatcher.audit_seals SET id = 2 WHERE id = 9",
            &[
                "chain broken | 1",
                "seal altered | 1",
                "chain broken | 2",
                "seal altered | 2",
                "chain broken | 3",
            ],
        ),
        // A digest less, and a whole one more than there are rows.
        (
            "UPDATE cloudwatcher.audit_seals SET digests = substr(digests, 1, 300) WHERE id = 2",
            &["seal altered | 2", "seal altered | 2", "row inserted | -"],
        ),
        (
            "UPDATE cloudwatcher.audit_seals SET digests = digests || digests WHERE id = 2",
            &["seal altered | 2", "seal altered | 2"],
        ),
        (
            "UPDATE cloudwatcher.audit_seals SET digests = ''",
            &[
                "row inserted | -",
                "seal altered | 1",
                "seal altered | 2",
                "seal altered | 3",
            ],
        ),
    ];
    for (what, expected) in cases {
        let mut found = tamper(&mut client, what, PROBLEMS)?;
        found.sort();
        let mut wanted: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        wanted.sort();
        for line in &wanted {
            ensure!(
                found.contains(line),
                "{what}\n  expected {wanted:?}\n  found {found:?}"
            );
        }
        for line in &found {
            ensure!(
                wanted.contains(line),
                "{what}\n  expected {wanted:?}\n  found {found:?}"
            );
        }
    }
    // Whoever takes the last seal away leaves a sound trail, with rows that could be new. Only who has the head
    // elsewhere sees it.
    let shorter = "DELETE FROM cloudwatcher.audit_seals WHERE id = 3;
                   DELETE FROM cloudwatcher.audit_logs WHERE record_id = '25'";
    assert_eq!(tamper(&mut client, shorter, PROBLEMS)?, NONE);
    for known in [
        format!("known_seal => 3, known_hash => '{head}'"),
        format!("known_hash => '{}'", head.to_uppercase()),
    ] {
        let verify = format!("SELECT problem FROM gemba.verify_audit({known})");
        assert_eq!(
            tamper(&mut client, shorter, &verify)?,
            ["known seal differs"]
        );
        assert_eq!(tamper(&mut client, "", &verify)?, NONE);
    }
    let verify = format!(
        "SELECT problem, seal FROM gemba.verify_audit(known_seal => 2, known_hash => '{first}')"
    );
    assert_eq!(
        tamper(&mut client, "", &verify)?,
        ["known seal differs | 2"]
    );
    // An old head is good for ever.
    let verify =
        format!("SELECT * FROM gemba.verify_audit(known_seal => 1, known_hash => '{first}')");
    assert_eq!(tamper(&mut client, "", &verify)?, NONE);
    Ok(())
}

#[test]
fn an_interval_looks_at_what_it_touches() -> Result<()> {
    let (_db, mut client) = sealed("seal_interval")?;
    client.batch_execute(
        "UPDATE cloudwatcher.audit_logs SET change_reason = 'x' WHERE record_id IN ('5', '15', '25')",
    )?;
    let mut seals = |bounds: &str| {
        table(
            &mut client,
            &format!("SELECT seal FROM gemba.verify_audit({bounds}) ORDER BY 1"),
        )
    };
    let time = |record: u32| {
        format!("(SELECT created_at FROM cloudwatcher.audit_logs WHERE record_id = '{record}')")
    };
    assert_eq!(seals(""), ["1", "2", "3"]);
    assert_eq!(seals(&format!("\"from\" => {}", time(12))), ["2", "3"]);
    assert_eq!(seals(&format!("\"to\" => {}", time(12))), ["1", "2"]);
    assert_eq!(seals(&format!("{}, {}", time(12), time(19))), ["2"]);
    assert_eq!(
        seals(&format!("{}, {}", time(10), time(21))),
        ["1", "2", "3"]
    );
    assert_eq!(seals("'2001-01-01', '2002-01-01'"), NONE);
    assert_eq!(seals("'-infinity', 'infinity'"), ["1", "2", "3"]);
    // Inserted rows count where they claim to belong.
    client.batch_execute(
        "UPDATE cloudwatcher.audit_logs SET change_reason = NULL WHERE record_id IN ('5', '25') AND false;
         INSERT INTO cloudwatcher.audit_logs SELECT (jsonb_populate_record(l, jsonb_build_object('id', gen_random_uuid()))).*
           FROM cloudwatcher.audit_logs l WHERE record_id = '17'",
    )?;
    let mut seals = |bounds: &str| {
        table(
            &mut client,
            &format!("SELECT seal, problem FROM gemba.verify_audit({bounds}) ORDER BY 1"),
        )
    };
    assert_eq!(
        seals(&format!("\"to\" => {}", time(9))),
        ["1 | row altered"]
    );
    assert_eq!(
        seals(&format!("{}, {}", time(12), time(19))),
        ["2 | row altered", "- | row inserted"]
    );
    Ok(())
}

#[test]
fn arguments_that_make_no_sense() -> Result<()> {
    let db = extended("seal_arguments")?;
    let mut client = db.connect()?;
    for (arguments, words) in [
        ("known_seal => 1", "a known seal needs its hash"),
        ("known_hash => 'abc'", "the known hash is none"),
        (
            "'2026-01-02', '2026-01-01'",
            "the interval ends before it begins",
        ),
    ] {
        let error = expect_sqlstate(
            client.query(
                &format!("SELECT * FROM gemba.verify_audit({arguments})"),
                &[],
            ),
            "22023",
        );
        assert_eq!(error.message(), words);
        assert!(error.detail().is_some() && error.hint().is_some());
    }
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
    expect_sqlstate(
        client.query("SELECT * FROM gemba.seal_audit()", &[]),
        "25001",
    );
    client.batch_execute("ROLLBACK; BEGIN READ ONLY")?;
    client.query("SELECT * FROM gemba.verify_audit()", &[])?;
    client.batch_execute("ROLLBACK")?;
    let mut client = empty("seal_no_tables")?.connect()?;
    client.batch_execute("SET gemba.deploy = 'none'; CREATE EXTENSION gemba")?;
    for function in ["seal_audit", "verify_audit", "audit_head"] {
        let error = expect_sqlstate(
            client.query(&format!("SELECT * FROM gemba.{function}()"), &[]),
            "55000",
        );
        assert_eq!(error.hint(), Some("SELECT gemba.deploy('audit')"));
    }
    Ok(())
}

#[test]
fn who_may() -> Result<()> {
    let (db, mut client) = sealed("seal_roles")?;
    for role in ["anon", "authenticated"] {
        for call in ["seal_audit", "verify_audit", "audit_head"] {
            let sql = format!("SELECT * FROM gemba.{call}()");
            expect_sqlstate(
                as_user(&mut client, role, None, |tx| tx.query(&sql, &[])),
                "42501",
            );
        }
        let sql = "SELECT * FROM cloudwatcher.audit_seals";
        expect_sqlstate(
            as_user(&mut client, role, None, |tx| tx.query(sql, &[])),
            "42501",
        );
    }
    let mut service = db.connect_as("service_role")?;
    log(&mut client, 31, 1)?;
    seal_all(&mut service);
    assert_eq!(problems(&mut service), NONE);
    assert_eq!(
        value(&mut service, "SELECT seal FROM gemba.audit_head()"),
        "4"
    );
    for relation in ["audit_logs", "audit_seals"] {
        for sql in [
            format!("INSERT INTO cloudwatcher.{relation} SELECT * FROM cloudwatcher.{relation}"),
            format!("UPDATE cloudwatcher.{relation} SET system_id = 1"),
            format!("DELETE FROM cloudwatcher.{relation}"),
            format!("TRUNCATE cloudwatcher.{relation}"),
            format!("ALTER TABLE cloudwatcher.{relation} DISABLE TRIGGER ALL"),
        ] {
            expect_sqlstate(service.batch_execute(&sql), "42501");
        }
    }
    // Somebody who was given the right sees the whole trail, or verifying would be worth nothing.
    let auditor = db.role("auditor")?;
    client.batch_execute(&format!(
        "GRANT EXECUTE ON FUNCTION gemba.verify_audit(timestamptz, timestamptz, bigint, text) TO {auditor};
         UPDATE cloudwatcher.audit_logs SET change_reason = 'x' WHERE record_id = '5'"
    ))?;
    let mut auditor = db.connect_as(&auditor)?;
    assert_eq!(
        table(
            &mut auditor,
            "SELECT problem, seal FROM gemba.verify_audit()"
        ),
        ["row altered | 1"]
    );
    Ok(())
}

#[test]
fn sealing_waits_for_no_writer_and_no_writer_for_it() -> Result<()> {
    let db = extended("seal_locks")?;
    let mut client = db.connect()?;
    log(&mut client, 1, 5)?;
    let mut sealer = db.connect()?;
    let mut sealing = sealer.transaction()?;
    sealing.query("SELECT * FROM gemba.seal_audit()", &[])?;
    // Neither writers nor readers wait for what the sealer holds; another sealer does.
    client.batch_execute("SET lock_timeout = '1s'")?;
    log(&mut client, 6, 5)?;
    assert_eq!(problems(&mut client), NONE);
    expect_sqlstate(
        client.query("SELECT * FROM gemba.seal_audit()", &[]),
        "55P03",
    );
    sealing.commit()?;
    seal_all(&mut client);
    each_row_is_sealed_once(&mut client);
    Ok(())
}

fn dump_into(from: &Database, to: &Database) -> Result<()> {
    let file: PathBuf = from.cluster().dir().join(format!("{}.dump", from.name()));
    run_ok(from.tool("pg_dump").arg("-Fc").arg("-f").arg(&file))?;
    run_ok(
        to.tool("pg_restore")
            .args(["--exit-on-error", "-1", "-d", to.name()])
            .arg(&file),
    )?;
    Ok(())
}

#[test]
fn a_restored_trail_goes_on() -> Result<()> {
    let here = Cluster::new()?;
    let db = empty_trail(&here, "seal_dump")?;
    let mut client = db.connect()?;
    log(&mut client, 1, 10)?;
    seal_all(&mut client);
    log(&mut client, 11, 5)?;
    let head = value(&mut client, "SELECT hash FROM gemba.audit_head()");
    let there = Cluster::new()?;
    let restored = there.database("restored")?;
    dump_into(&db, &restored)?;
    let mut client = restored.connect()?;
    assert_eq!(problems(&mut client), NONE);
    // What was not sealed is, and once; rows of this cluster with it, however they are numbered.
    log(&mut client, 100, 3)?;
    assert_eq!(problems(&mut client), NONE);
    assert_eq!(
        table(
            &mut client,
            "SELECT seal, row_count FROM gemba.seal_audit()"
        ),
        ["2 | 8"]
    );
    log(&mut client, 110, 2)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT seal, row_count FROM gemba.seal_audit()"
        ),
        ["3 | 2"]
    );
    each_row_is_sealed_once(&mut client);
    assert_eq!(
        table(
            &mut client,
            &format!("SELECT * FROM gemba.verify_audit(known_seal => 1, known_hash => '{head}')")
        ),
        NONE
    );
    // Rows of the first cluster can come no more.
    assert_eq!(
        tamper(
            &mut client,
            "INSERT INTO cloudwatcher.audit_logs SELECT (jsonb_populate_record(l, jsonb_build_object('id', gen_random_uuid(), 'transaction_id', 8000000))).*
               FROM cloudwatcher.audit_logs l WHERE record_id = '12'",
            "SELECT problem FROM gemba.verify_audit()"
        )?,
        ["row inserted"]
    );
    log(&mut client, 120, 4)?;
    // Home again, where some of the numbers were given before.
    let home = here.database("home")?;
    dump_into(&restored, &home)?;
    let mut client = home.connect()?;
    assert_eq!(problems(&mut client), NONE);
    log(&mut client, 200, 6)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT seal, row_count FROM gemba.seal_audit()"
        ),
        ["4 | 10"]
    );
    log(&mut client, 210, 1)?;
    seal_all(&mut client);
    each_row_is_sealed_once(&mut client);
    assert_eq!(problems(&mut client), NONE);
    assert_eq!(
        tamper(
            &mut client,
            "UPDATE cloudwatcher.audit_logs SET record_id = 'x' WHERE record_id IN ('3', '12', '101', '121', '205')",
            "SELECT problem, count(*) FROM gemba.verify_audit() GROUP BY 1"
        )?,
        ["row altered | 5"]
    );
    Ok(())
}

#[test]
fn the_job_is_there() -> Result<()> {
    let db = extended("seal_job")?;
    let mut client = db.connect()?;
    log(&mut client, 1, 3)?;
    client.execute("SELECT gemba.run_job_now('gemba: audit seals')", &[])?;
    assert_eq!(
        table(
            &mut client,
            "SELECT status FROM gemba.run_due_jobs() WHERE job = 'gemba: audit seals'"
        ),
        ["succeeded"]
    );
    Ok(())
}

/// What the triggers write in the server's own form reads the same when it comes back from a dump.
#[test]
fn what_the_triggers_write_is_sealed() -> Result<()> {
    let db = extended("seal_real")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE TABLE t (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n numeric, f float8, b boolean, at timestamptz, d date,
                         j jsonb, k json, a int[], t text, secret text, i interval, x bytea);
         SELECT gemba.audit('t', 'secret');
         SET timezone = 'Asia/Kathmandu'; SET gemba.change_reason = 'ü because'; SET gemba.client_ip = '2001:db8::1';
         INSERT INTO t (n, f, b, at, d, j, k, a, t, i, x) VALUES
           (1.500, 1e300, true, now(), 'infinity', '{\"b\": [1.10, {}], \"a\": null}', '{\"b\" : 1, \"b\":2}', '{1,NULL}', 'ü\"\\\\', '1 day', '\\xff'),
           ('NaN', 'NaN', NULL, '-infinity', '0044-03-15 BC', '[]', '[1.0e5]', '{}', repeat('long', 5000), '-1 mon', ''),
           (12345678901234567890.00001, -0.0, false, '2026-02-28 12:00+00', '2026-02-28', '\"x\"', 'null', '{{1},{2}}', '', '0', NULL);
         UPDATE t SET n = n * 2, t = t || 'x', j = jsonb_build_array(n, f::text); DELETE FROM t WHERE b; TRUNCATE t; SELECT gemba.unaudit('t')",
    )?;
    seal_all(&mut client);
    assert_eq!(
        value(
            &mut client,
            "SELECT sum(row_count) FROM cloudwatcher.audit_seals"
        ),
        "10"
    );
    assert_eq!(problems(&mut client), NONE);
    let restored = db.cluster().database("seal_real_restored")?;
    dump_into(&db, &restored)?;
    let mut client = restored.connect()?;
    assert_eq!(problems(&mut client), NONE);
    Ok(())
}

#[test]
fn a_gap_between_seals_is_one_problem() -> Result<()> {
    let db = extended("seals_gaps")?;
    let mut client = db.connect()?;
    for from in [1, 11, 21] {
        log(&mut client, from, 10)?;
        seal_all(&mut client);
    }
    let copy = |id: &str| {
        format!(
            "INSERT INTO cloudwatcher.audit_seals
             SELECT {id}, system_id, upto, 0, first_at, last_at, '', batch_hash, previous_hash, seal_hash, sealed_at
               FROM cloudwatcher.audit_seals WHERE id = 1"
        )
    };
    let gaps = "SELECT seal, detail FROM gemba.verify_audit() WHERE problem = 'seal missing' ORDER BY seal";
    for (change, expected) in [
        (copy("50000000"), &[(4, "seals 4 to 49999999:")][..]),
        (
            copy("9223372036854775807"),
            &[(4, "seals 4 to 9223372036854775806:")],
        ),
        (
            "UPDATE cloudwatcher.audit_seals SET id = 7 WHERE id = 3".to_owned(),
            &[(3, "seals 3 to 6:")],
        ),
        (
            "DELETE FROM cloudwatcher.audit_seals WHERE id = 2".to_owned(),
            &[(2, "seal 2:")],
        ),
    ] {
        let mut tx = client.transaction()?;
        tx.batch_execute(&change)?;
        let found: Vec<(i64, String)> = tx
            .query(gaps, &[])?
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        ensure!(
            found.len() == expected.len()
                && found
                    .iter()
                    .zip(expected)
                    .all(|(found, wanted)| found.0 == wanted.0 && found.1.starts_with(wanted.1)),
            "{change}: {found:?}"
        );
        tx.rollback()?;
    }
    // The first number that there is at all; and nothing comes after the last one.
    let mut tx = client.transaction()?;
    tx.batch_execute(
        "ALTER TABLE cloudwatcher.audit_seals DROP CONSTRAINT IF EXISTS audit_seals_id_check",
    )?;
    tx.batch_execute(&copy("(-9223372036854775808)"))?;
    ensure!(
        !tx.query("SELECT FROM gemba.verify_audit()", &[])?
            .is_empty()
    );
    tx.rollback()?;
    client.batch_execute(&copy("9223372036854775807"))?;
    log(&mut client, 31, 1)?;
    let error = wait_for_error(&mut client)?;
    assert_eq!(error, "there is no number for another seal");
    Ok(())
}

/// Seals until there is something to seal, which fails.
fn wait_for_error(client: &mut Client) -> Result<String> {
    for _ in 0..600 {
        match client.query("SELECT FROM gemba.seal_audit()", &[]) {
            Ok(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
            Err(error) => {
                let report = error.as_db_error().context("the client failed")?;
                assert_eq!(report.code().code(), "55000");
                return Ok(report.message().to_owned());
            }
        }
    }
    anyhow::bail!("nothing was sealed")
}

#[test]
fn an_altered_log_is_refused() -> Result<()> {
    let db = extended("seals_altered_log")?;
    let mut client = db.connect()?;
    log(&mut client, 1, 10)?;
    seal_all(&mut client);
    client.batch_execute("SELECT gemba.verify_audit()")?;
    for alter in [
        "ALTER TABLE cloudwatcher.audit_logs ALTER change_reason TYPE varchar",
        "ALTER TABLE cloudwatcher.audit_logs ALTER transaction_id TYPE numeric",
        "ALTER TABLE cloudwatcher.audit_logs RENAME ip_address TO address",
    ] {
        for call in [
            "SELECT FROM gemba.verify_audit()",
            "SELECT FROM gemba.seal_audit()",
        ] {
            let mut tx = client.transaction()?;
            tx.batch_execute(alter)?;
            let error = expect_sqlstate(tx.query(call, &[]), "55000");
            ensure!(error.detail().is_some() && error.hint().is_some());
            tx.rollback()?;
        }
    }
    Ok(())
}
