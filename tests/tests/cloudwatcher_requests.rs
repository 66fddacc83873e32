//! Requests come in: once each, from whoever may send them.

mod cloudwatcher_support;

use anyhow::{Result, ensure};
use cloudwatcher_support::*;
use gemba_tests::{Random, expect_sqlstate, table, value};
use postgres::Client;
use std::collections::BTreeSet;
use std::fmt::Write;

#[test]
fn a_payload_is_known_by_what_it_says() -> Result<()> {
    let (_db, mut client) = organised("requests_hash")?;
    for (payload, canonical) in [
        (
            r#"{"b": 1.0, "a": [true, null, "x"], "aa": false}"#,
            r#"{"a":[true,null,"x"],"aa":false,"b":1}"#,
        ),
        ("1e3", "1000"),
        ("-0.0", "0"),
        ("-12.3400", "-12.34"),
        ("0.00001200", "0.000012"),
        (
            "123456789012345678901234567890.5",
            "123456789012345678901234567890.5",
        ),
        (
            r#""a\"\\\/\b\f\n\r\t\u0001ü€""#,
            "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001ü€\"",
        ),
        ("null", "null"),
        ("{}", "{}"),
        ("[]", "[]"),
        (r#"[[], {}, {"": {}}]"#, r#"[[],{},{"":{}}]"#),
        (
            r#"{"zz": {"y": {"x": [1, [2, {"w": 3}]]}}, "z": 0}"#,
            r#"{"z":0,"zz":{"y":{"x":[1,[2,{"w":3}]]}}}"#,
        ),
    ] {
        let row = client.query_one(
            "SELECT cloudwatcher.payload_hash($1::text::jsonb), encode(sha256(convert_to($2, 'UTF8')), 'hex')",
            &[&payload, &canonical],
        )?;
        assert_eq!(
            row.get::<_, String>(0),
            row.get::<_, String>(1),
            "{payload}"
        );
    }
    // Long arrays have entries that say where they end, and compressed ones are unpacked.
    let long = value(
        &mut client,
        "SELECT bool_and(cloudwatcher.payload_hash(p) = encode(sha256(convert_to(replace(p::text, ' ', ''), 'UTF8')), 'hex'))
           FROM (SELECT jsonb_agg(jsonb_build_object('n', g)) AS p FROM generate_series(1, 500) AS g
                 UNION ALL SELECT jsonb_build_object('s', repeat('x', 500000))
                 UNION ALL SELECT jsonb_object_agg('k' || lpad(g::text, 4, '0'), g) FROM generate_series(1, 500) AS g) AS t",
    );
    assert_eq!(long, "t");
    client.batch_execute(
        "CREATE TABLE packed (p jsonb);
         INSERT INTO packed SELECT jsonb_build_object('s', repeat('x', 500000))",
    )?;
    assert_eq!(
        value(
            &mut client,
            "SELECT cloudwatcher.payload_hash(p) = cloudwatcher.payload_hash(p::text::jsonb) FROM packed"
        ),
        "t"
    );
    assert_eq!(
        value(&mut client, "SELECT cloudwatcher.payload_hash(NULL)"),
        "-"
    );
    Ok(())
}

/// Some JSON, in one of the ways in which it can be written.
fn document(random: &mut Random, depth: u64) -> String {
    let spaces = " ".repeat(random.below(2) as usize);
    match random.below(if depth == 0 { 5 } else { 7 }) {
        0 => "null".to_owned(),
        1 => "true".to_owned(),
        2 | 3 => {
            let number = random.below(3);
            match random.below(4) {
                0 => format!("{number}"),
                1 => format!("{number}.00"),
                2 => format!("{number}e0"),
                _ => format!("-{number}.5"),
            }
        }
        4 => format!("\"{}\"", ["", "a", "b"][random.below(3) as usize]),
        5 => {
            let elements: Vec<String> = (0..random.below(3))
                .map(|_| document(random, depth - 1))
                .collect();
            format!("[{spaces}{}]", elements.join(","))
        }
        _ => {
            let mut members = String::new();
            for place in 0..random.below(3) {
                let name = ["a", "b", "aa"][random.below(3) as usize];
                let comma = if place == 0 { "" } else { "," };
                let _ = write!(
                    members,
                    "{comma}{spaces}\"{name}\":{}",
                    document(random, depth - 1)
                );
            }
            format!("{{{members}}}")
        }
    }
}

#[test]
fn payloads_are_the_same_exactly_when_their_hashes_are() -> Result<()> {
    let (_db, mut client) = organised("requests_same")?;
    let mut random = Random::new(11);
    let documents: Vec<String> = (0..600).map(|_| document(&mut random, 3)).collect();
    let row = client.query_one(
        "WITH d AS MATERIALIZED (SELECT t::jsonb AS p, cloudwatcher.payload_hash(t::jsonb) AS h FROM unnest($1::text[]) AS t)
         SELECT count(*) FILTER (WHERE (a.p = b.p) <> (a.h = b.h)), count(*) FILTER (WHERE a.p = b.p AND a.p::text <> b.p::text),
                count(DISTINCT a.h) FROM d a, d b",
        &[&documents],
    )?;
    assert_eq!(row.get::<_, i64>(0), 0);
    ensure!(
        row.get::<_, i64>(1) > 50 && row.get::<_, i64>(2) > 100,
        "nothing to compare"
    );
    Ok(())
}

#[test]
fn the_same_again_is_the_same_request() -> Result<()> {
    let (_db, mut client) = organised("requests_again")?;
    let first = asked_one(
        &mut client,
        TECH_A,
        r#"SELECT * FROM cloudwatcher.submit_request('truck-a', 'get_parts', '{"n": 1, "m": 2}', '{"app": "2.1", "old": true, "none": null}')"#,
    );
    let (id, rest) = first.split_at(36);
    assert_eq!(rest, " | pending | t | -");
    for (who, payload) in [
        (TECH_A, r#"{"m": 2.0, "n": 1}"#),
        (NORTH, r#"{"n": 1e0, "m": 2}"#),
    ] {
        let again = format!(
            "SELECT * FROM cloudwatcher.submit_request('truck-a', 'get_parts', '{payload}')"
        );
        assert_eq!(
            asked_one(&mut client, who, &again),
            format!("{id} | pending | f | -")
        );
    }
    for other in [
        "'truck-a', 'get_parts', '{\"n\": 1}'",
        "'truck-a', 'update_inventory', '{\"n\": 1, \"m\": 2}'",
        "'truck-b', 'get_parts', '{\"n\": 1, \"m\": 2}'",
    ] {
        let sql = format!("SELECT is_new FROM cloudwatcher.submit_request({other})");
        assert_eq!(asked_one(&mut client, NORTH, &sql), "t", "{other}");
    }
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT r.device_id, r.request_type, r.payload, r.payload_hash = cloudwatcher.payload_hash(r.payload), r.dept_id,
                        r.created_by, r.attempts, (SELECT string_agg(m.key || '=' || m.value, ',' ORDER BY m.key)
                          FROM cloudwatcher.request_metadata m WHERE m.request_id = r.id)
                   FROM cloudwatcher.requests r WHERE r.id = '{id}'"
            )
        ),
        [format!("truck-a | get_parts | {{\"m\": 2, \"n\": 1}} | t | {DEPOT_A} | {TECH_A} | 0 | app=2.1,old=true")]
    );
    // Whatever became of it.
    served_one(
        &mut client,
        "SELECT request_id FROM cloudwatcher.claim_requests('w')",
    );
    let response = served_one(
        &mut client,
        &format!("SELECT cloudwatcher.complete_request('{id}', '[1]', worker => 'w')"),
    );
    assert_eq!(
        asked_one(
            &mut client,
            TECH_A,
            r#"SELECT * FROM cloudwatcher.submit_request('truck-a', 'get_parts', '{"n": 1, "m": 2}')"#
        ),
        format!("{id} | completed | f | {response}")
    );
    Ok(())
}

#[test]
fn sixteen_who_send_the_same_at_once_send_one_request() -> Result<()> {
    let (db, mut client) = organised("requests_race")?;
    let found = std::thread::scope(|scope| -> Result<Vec<(String, bool)>> {
        let senders: Vec<_> = (0..16)
            .map(|_| {
                let db = &db;
                scope.spawn(move || -> Result<Vec<(String, bool)>> {
                    let mut client = db.connect()?;
                    (0..20)
                        .map(|n| {
                            let row = as_(&mut client, TECH_A, |tx| {
                                tx.query_one(
                                    "SELECT request_id::text, is_new FROM cloudwatcher.submit_request('truck-a', 'get', jsonb_build_object('n', $1::int))",
                                    &[&n],
                                )
                            })?;
                            Ok((row.get(0), row.get(1)))
                        })
                        .collect()
                })
            })
            .collect();
        let mut all = Vec::new();
        for sender in senders {
            all.extend(
                sender
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))?,
            );
        }
        Ok(all)
    })?;
    assert_eq!(
        found
            .iter()
            .map(|(id, _)| id)
            .collect::<BTreeSet<_>>()
            .len(),
        20
    );
    assert_eq!(found.iter().filter(|(_, new)| *new).count(), 20);
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM cloudwatcher.requests"),
        "20"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM cloudwatcher.request_keys"
        ),
        "20"
    );
    Ok(())
}

#[test]
fn batches_in_any_order_do_not_lock_each_other_out() -> Result<()> {
    let (db, mut client) = organised("requests_batches")?;
    std::thread::scope(|scope| -> Result<()> {
        let senders: Vec<_> = (0..6_u64)
            .map(|number| {
                let db = &db;
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect()?;
                    let mut random = Random::new(number + 1);
                    for round in 0..10 {
                        let mut items: Vec<String> = (0..10)
                            .map(|n| format!(r#"{{"device_id": "new-{}", "request_type": "t{round}", "payload": {{"n": {n}}}}}"#, n % 3))
                            .collect();
                        // A payload that is left out is an empty one.
                        for device in 0..3 {
                            let payload = if random.one_in(2) { r#", "payload": {}"# } else { "" };
                            items.push(format!(r#"{{"device_id": "new-{device}", "request_type": "t{round}"{payload}}}"#));
                        }
                        for place in (1..items.len()).rev() {
                            items.swap(place, random.below(place as u64 + 1) as usize);
                        }
                        let batch = format!("[{}]", items.join(","));
                        let errors = as_(&mut client, TECH_A, |tx| {
                            tx.query("SELECT error FROM cloudwatcher.submit_requests($1::text::jsonb) WHERE error IS NOT NULL", &[&batch])
                        })?;
                        ensure!(errors.is_empty(), "{errors:?}");
                    }
                    Ok(())
                })
            })
            .collect();
        for sender in senders {
            sender
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))?;
        }
        Ok(())
    })?;
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM cloudwatcher.requests"),
        "130"
    );
    let order = |client: &mut Client, payload: &str| {
        asked(
            client,
            TECH_A,
            &format!(
                r#"SELECT place FROM cloudwatcher.submit_requests('[{{"device_id": "truck-a", "request_type": "t"{payload}}}]'::jsonb
                   || (SELECT jsonb_agg(jsonb_build_object('device_id', 'truck-a', 'request_type', 't', 'payload', g))
                         FROM generate_series(1, 20) AS g))"#
            ),
        )
    };
    let left_out = order(&mut client, "");
    assert_eq!(left_out, order(&mut client, r#", "payload": {}"#));
    assert_ne!(left_out.first().map(String::as_str), Some("1"));
    assert_ne!(left_out.last().map(String::as_str), Some("1"));
    Ok(())
}

#[test]
fn what_has_expired_or_is_another_departments_is_asked_anew() -> Result<()> {
    let (_db, mut client) = organised("requests_anew")?;
    let old = |number: u32| id(number);
    // Past the time for which requests are kept, and not archived before the end of their month is.
    client.batch_execute(&format!(
        "DO $$ BEGIN PERFORM gemba.ensure_partitions('cloudwatcher.requests', now() - interval '100 days', now()); END $$;
         INSERT INTO cloudwatcher.requests
                (id, device_id, request_type, payload, payload_hash, status, dept_id, created_at, attempts, claimed_by, lease_expires_at, next_attempt_at)
         SELECT ('aaaaaaaa-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, 'truck-a', 't', to_jsonb(n), cloudwatcher.payload_hash(to_jsonb(n)),
                (ARRAY['pending', 'failed', 'processing', 'completed', 'failed'])[n], '{DEPOT_A}',
                now() - CASE WHEN n < 5 THEN interval '95 days' ELSE interval '85 days' END,
                1, 'w', CASE n WHEN 3 THEN now() + interval '1 hour' END, CASE n WHEN 1 THEN now() END
           FROM generate_series(1, 5) AS n;
         INSERT INTO cloudwatcher.request_keys SELECT device_id, request_type, payload_hash, id, created_at FROM cloudwatcher.requests"
    ))?;
    for number in 1..=2 {
        let error = refused(
            &mut client,
            ADMIN,
            &format!("SELECT cloudwatcher.retry_request('{}')", old(number)),
            "55000",
        );
        assert_eq!(error.message(), "the request has expired");
    }
    // It is too late for another attempt.
    assert_eq!(
        served_one(
            &mut client,
            &format!("SELECT cloudwatcher.fail_request('{}', 'x', 'w')", old(3))
        ),
        "failed"
    );
    let submit = |number: u32| {
        format!("SELECT * FROM cloudwatcher.submit_request('truck-a', 't', '{number}')")
    };
    for number in 1..=3 {
        let found = asked_one(&mut client, TECH_A, &submit(number));
        assert!(found.ends_with(" | pending | t | -"), "{number}: {found}");
        assert!(!found.starts_with(&old(number)), "{number}: {found}");
        let (request, _) = found.split_at(36);
        assert_eq!(
            asked_one(&mut client, TECH_A, &submit(number)),
            format!("{request} | pending | f | -"),
            "again"
        );
    }
    for (number, status) in [(4, "completed"), (5, "failed")] {
        assert_eq!(
            asked_one(&mut client, TECH_A, &submit(number)),
            format!("{} | {status} | f | -", old(number))
        );
    }
    assert_eq!(
        asked_one(
            &mut client,
            ADMIN,
            &format!("SELECT cloudwatcher.retry_request('{}')", old(5))
        ),
        "pending"
    );
    // What the device asked for in one department is not told to another.
    let before = asked_one(&mut client, TECH_A, &submit(6));
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.devices SET dept_id = '{DEPOT_C}' WHERE device_id = 'truck-a'"
    ))?;
    let after = asked_one(&mut client, TECH_C, &submit(6));
    assert!(after.ends_with(" | pending | t | -"), "{after}");
    assert_ne!(before, after);
    assert_eq!(
        asked_one(&mut client, TECH_C, &submit(6)),
        after.replace("| t |", "| f |")
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), count(DISTINCT dept_id) FROM cloudwatcher.requests WHERE payload = '6'"
        ),
        ["2 | 2"]
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM cloudwatcher.request_keys"
        ),
        "6"
    );
    Ok(())
}

#[test]
fn many_who_find_that_it_has_expired_ask_anew_once() -> Result<()> {
    let (db, mut client) = organised("requests_anew_race")?;
    client.batch_execute(&format!(
        "DO $$ BEGIN PERFORM gemba.ensure_partitions('cloudwatcher.requests', now() - interval '100 days', now()); END $$;
         INSERT INTO cloudwatcher.requests (device_id, request_type, payload, payload_hash, dept_id, created_at)
         SELECT 'truck-a', 't', to_jsonb(n), cloudwatcher.payload_hash(to_jsonb(n)), '{DEPOT_A}', now() - interval '95 days'
           FROM generate_series(1, 20) AS n;
         INSERT INTO cloudwatcher.request_keys SELECT device_id, request_type, payload_hash, id, created_at FROM cloudwatcher.requests"
    ))?;
    std::thread::scope(|scope| -> Result<()> {
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let db = &db;
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect()?;
                    for n in 1..=20 {
                        as_(&mut client, TECH_A, |tx| {
                            tx.query_one("SELECT * FROM cloudwatcher.submit_request('truck-a', 't', to_jsonb($1::int))", &[&n])
                        })?;
                    }
                    Ok(())
                })
            })
            .collect();
        for sender in senders {
            sender
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))?;
        }
        Ok(())
    })?;
    assert_eq!(
        table(
            &mut client,
            "SELECT (SELECT count(*) FROM cloudwatcher.requests), count(*), count(*) FILTER (WHERE created_at > now() - interval '1 day')
               FROM cloudwatcher.request_keys"
        ),
        ["40 | 20 | 20"]
    );
    Ok(())
}

#[test]
fn what_is_wrong_with_one_of_a_batch_spares_the_others() -> Result<()> {
    let (_db, mut client) = organised("requests_batch")?;
    let rows = asked(
        &mut client,
        TECH_A,
        r#"SELECT place, status, is_new, code, error FROM cloudwatcher.submit_requests('[
             {"device_id": "truck-a", "request_type": "t", "payload": {"n": 1}, "metadata": {"k": "v"}},
             {"device_id": "truck-c", "request_type": "t"}, {"device_id": "truck-a"}, 7, {"request_type": "t"},
             {"device_id": "truck-a", "request_type": "t", "metadata": {"k": []}},
             {"device_id": "truck-a", "request_type": "t", "payload": {"n": 1.0}}]') ORDER BY place"#,
    );
    assert_eq!(
        rows,
        [
            "1 | pending | t | - | -",
            "2 | - | - | P0002 | device not found: device truck-c",
            "3 | - | - | 22004 | request_type is missing: request_type NULL",
            "4 | - | - | 22023 | it is not an object",
            "5 | - | - | 22004 | device_id is missing: device_id NULL",
            "6 | - | - | 22023 | metadata is not flat: key k",
            "7 | pending | f | - | -",
        ]
    );
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM cloudwatcher.requests"),
        "1"
    );
    refused(
        &mut client,
        TECH_A,
        "SELECT * FROM cloudwatcher.submit_requests('{}')",
        "22023",
    );
    refused(
        &mut client,
        TECH_A,
        "SELECT * FROM cloudwatcher.submit_requests(NULL)",
        "22023",
    );
    refused(
        &mut client,
        VIEWER,
        "SELECT * FROM cloudwatcher.submit_requests('[]')",
        "42501",
    );
    refused(
        &mut client,
        TECH_A,
        "SELECT * FROM cloudwatcher.submit_requests((SELECT jsonb_agg(g) FROM generate_series(1, 1001) AS g))",
        "54000",
    );
    Ok(())
}

#[test]
fn devices_nobody_heard_of_belong_to_the_first_who_does() -> Result<()> {
    let (_db, mut client) = organised("requests_devices")?;
    let submit = "SELECT is_new FROM cloudwatcher.submit_request('truck-new', 't')";
    // Managers work in no department, and servers do not either.
    refused(&mut client, NORTH, submit, "22023");
    refused_service(&mut client, submit, "22023");
    refused(&mut client, VIEWER, submit, "42501");
    assert_eq!(asked_one(&mut client, TECH_B, submit), "t");
    assert_eq!(
        value(
            &mut client,
            "SELECT dept_id FROM cloudwatcher.devices WHERE device_id = 'truck-new' AND last_seen_at IS NOT NULL"
        ),
        DEPOT_B
    );
    refused(&mut client, TECH_A, submit, "P0002");
    client.batch_execute(
        "UPDATE cloudwatcher.devices SET is_active = false WHERE device_id = 'truck-new'",
    )?;
    let error = refused(&mut client, TECH_B, submit, "55000");
    assert_eq!(error.detail(), Some("device truck-new"));
    Ok(())
}

#[test]
fn who_may_submit_and_see() -> Result<()> {
    let (_db, mut client) = organised("requests_matrix")?;
    for device in [TRUCK_A, TRUCK_C] {
        served(
            &mut client,
            &format!(
                "SELECT * FROM cloudwatcher.submit_request('{device}', 't', '{{}}', '{{\"k\": 1}}')"
            ),
        );
    }
    assert_eq!(
        outcomes(
            &mut client,
            "SELECT * FROM cloudwatcher.submit_request('truck-a', 't2')"
        ),
        [
            "42501: anon stranger retired viewer",
            "1: a north head admin service",
            "P0002: b c south"
        ]
    );
    let seen = [
        "42501: anon",
        "0: stranger retired b",
        "1: viewer a c north south",
        "2: head admin service",
    ];
    for (relation, expected) in [("requests", seen), ("request_metadata", seen)] {
        assert_eq!(
            outcomes(
                &mut client,
                &format!("SELECT * FROM cloudwatcher.{relation}")
            ),
            expected,
            "{relation}"
        );
    }
    for nobodys in [
        "SELECT * FROM cloudwatcher.request_keys",
        "SELECT * FROM cloudwatcher.request_keys LIMIT 0",
    ] {
        assert_eq!(
            outcomes(&mut client, nobodys),
            ["42501: anon stranger retired viewer a b c north south head admin service"]
        );
    }
    for write in [
        "INSERT INTO cloudwatcher.requests (device_id, request_type) VALUES ('truck-a', 'x')",
        "UPDATE cloudwatcher.requests SET status = 'completed'",
        "DELETE FROM cloudwatcher.requests",
        "TRUNCATE cloudwatcher.requests",
        "UPDATE cloudwatcher.request_metadata SET value = 'x'",
        "DELETE FROM cloudwatcher.request_metadata",
    ] {
        assert_eq!(
            outcomes(&mut client, write),
            ["42501: anon stranger retired viewer a b c north south head admin service"],
            "{write}"
        );
    }
    Ok(())
}

#[test]
fn mistakes_are_told_with_a_remedy() -> Result<()> {
    let (_db, mut client) = organised("requests_mistakes")?;
    for (arguments, code) in [
        ("NULL, 't'", "22004"),
        ("'truck-a', NULL", "22004"),
        ("'truck-a', 't', NULL", "22004"),
        ("'', 't'", "22023"),
        ("repeat('x', 51), 't'", "22023"),
        ("'truck-a', ''", "22023"),
        ("'truck-a', repeat('x', 51)", "22023"),
        ("'truck-a', 't', '{}', '[]'", "22023"),
        ("'truck-a', 't', '{}', '{\"a\": {}}'", "22023"),
        ("'truck-a', 't', '{}', '{\"\": 1}'", "22023"),
        (
            "'truck-a', 't', '{}', jsonb_build_object(repeat('k', 101), 1)",
            "22023",
        ),
        (
            "'truck-a', 't', '{}', jsonb_build_object('k', repeat('v', 70000))",
            "22023",
        ),
        ("'truck-a', 't', to_jsonb(repeat('x', 1048576))", "54000"),
        ("'nowhere', 't'", "22023"),
    ] {
        let sql = format!("SELECT * FROM cloudwatcher.submit_request({arguments})");
        let error = expect_sqlstate(as_(&mut client, NORTH, |tx| tx.query(&sql, &[])), code);
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{arguments}: {error:?}"
        );
    }
    // As much as there is room for.
    let most = "SELECT is_new FROM cloudwatcher.submit_request('truck-a', 't', to_jsonb(repeat('x', 1048574)), NULL)";
    assert_eq!(asked_one(&mut client, NORTH, most), "t");
    Ok(())
}
