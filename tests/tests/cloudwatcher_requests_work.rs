//! Requests are worked on: by one worker each, as long as it reports in time, and answered once.

mod cloudwatcher_support;

use anyhow::{Result, ensure};
use cloudwatcher_support::*;
use gemba_tests::{Random, expect_sqlstate, table, value};
use postgres::Client;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Requests of truck-a, the first the oldest; returns their ids.
fn submitted(client: &mut Client, number: i32) -> Result<Vec<String>> {
    (0..number)
        .map(|n| {
            let row = as_service(client, |tx| {
                tx.query_one(
                    "SELECT request_id::text FROM cloudwatcher.submit_request('truck-a', 't' || $1::int % 2, jsonb_build_object('n', $1::int))",
                    &[&n],
                )
            })?;
            Ok(row.get(0))
        })
        .collect()
}

fn claimed(client: &mut Client, arguments: &str) -> Vec<String> {
    served(
        client,
        &format!("SELECT request_id FROM cloudwatcher.claim_requests({arguments})"),
    )
}

fn state(client: &mut Client, id: &str) -> String {
    value(
        client,
        &format!(
            "SELECT concat_ws(' ', status, attempts, claimed_by, error_message) FROM cloudwatcher.requests WHERE id = '{id}'"
        ),
    )
}

/// The lease of everything ends.
fn lose(client: &mut Client) -> Result<()> {
    client.batch_execute("UPDATE cloudwatcher.requests SET lease_expires_at = now() - interval '1 second' WHERE status = 'processing'")?;
    Ok(())
}

#[test]
fn the_oldest_first_and_each_only_once() -> Result<()> {
    let (_db, mut client) = organised("work_order")?;
    let ids = submitted(&mut client, 6)?;
    assert_eq!(claimed(&mut client, "'w'"), ids[..1]);
    assert_eq!(
        claimed(&mut client, "'w', 2, only_types => '{t1}'"),
        [ids[1].clone(), ids[3].clone()]
    );
    assert_eq!(
        claimed(&mut client, "'w', 10"),
        [ids[2].clone(), ids[4].clone(), ids[5].clone()]
    );
    assert!(claimed(&mut client, "'w', 10").is_empty());
    assert_eq!(
        table(
            &mut client,
            "SELECT DISTINCT status, attempts, claimed_by, next_attempt_at, lease_expires_at BETWEEN now() + interval '4 minutes' AND now() + interval '6 minutes'
               FROM cloudwatcher.requests"
        ),
        ["processing | 1 | w | - | t"]
    );
    Ok(())
}

#[test]
fn a_rare_type_is_found_among_many_others() -> Result<()> {
    let (_db, mut client) = organised("work_rare")?;
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.requests (device_id, request_type, payload, dept_id, next_attempt_at)
         SELECT 'truck-a', CASE WHEN g > 5000 THEN 'rare' ELSE 't' || g % 2 END, to_jsonb(g), '{DEPOT_A}', now() - interval '1 hour' + g * interval '1 ms'
           FROM generate_series(1, 5003) AS g;
         ANALYZE cloudwatcher.requests"
    ))?;
    let read = |client: &mut Client, arguments: &str| -> Result<(Vec<String>, i64)> {
        Ok(as_service(client, |tx| {
            let rows = tx.query(
                &format!("SELECT payload::text FROM cloudwatcher.claim_requests({arguments})"),
                &[],
            )?;
            let read = tx.query_one(
                "SELECT sum(idx_tup_fetch + seq_tup_read)::bigint FROM pg_stat_xact_user_tables
                  WHERE schemaname = 'cloudwatcher' AND relname LIKE 'requests\\_p%'",
                &[],
            )?;
            Ok((rows.iter().map(|row| row.get(0)).collect(), read.get(0)))
        })?)
    };
    for (arguments, expected) in [
        ("'w', 2, only_types => '{rare}'", &["5001", "5002"][..]),
        ("'w', 2, only_types => '{rare}'", &["5003"][..]),
        ("'w', 2, only_types => '{none}'", &[]),
        ("'w', 2, only_types => '{t1}'", &["1", "3"]),
        ("'w', 3, only_types => '{t1,t0,rare}'", &["2", "4", "5"]),
        ("'w', 2", &["6", "7"]),
    ] {
        let (found, read) = read(&mut client, arguments)?;
        assert_eq!(found, expected, "{arguments}");
        assert!(
            (found.len() as i64..100).contains(&read),
            "{arguments}: {read} rows read"
        );
    }
    assert!(claimed(&mut client, "'w', 5, only_types => '{}'").is_empty());
    assert!(claimed(&mut client, "'w', 5, only_types => '{NULL}'").is_empty());
    Ok(())
}

#[test]
fn what_nobody_reports_on_goes_back_first_and_fails_in_the_end() -> Result<()> {
    let (_db, mut client) = organised("work_lost")?;
    let ids = submitted(&mut client, 2)?;
    assert_eq!(claimed(&mut client, "'slow'"), ids[..1]);
    served(
        &mut client,
        &format!("SELECT cloudwatcher.begin_response('{}', 'slow')", ids[0]),
    );
    lose(&mut client)?;
    // Nobody took it away yet, so it still counts.
    assert_eq!(claimed(&mut client, "'quick'"), ids[..1]);
    refused_service(
        &mut client,
        &format!(
            "SELECT cloudwatcher.complete_request('{}', '{{}}', worker => 'slow')",
            ids[0]
        ),
        "55000",
    );
    refused_service(
        &mut client,
        &format!(
            "SELECT cloudwatcher.fail_request('{}', 'no', 'slow')",
            ids[0]
        ),
        "55000",
    );
    refused_service(
        &mut client,
        &format!("SELECT cloudwatcher.begin_response('{}', 'slow')", ids[0]),
        "55000",
    );
    assert!(
        served(
            &mut client,
            &format!(
                "SELECT * FROM cloudwatcher.extend_lease('slow', '{{{}}}')",
                ids[0]
            )
        )
        .is_empty()
    );
    assert_eq!(
        served(
            &mut client,
            &format!(
                "SELECT request_id, lease_expires_at > now() + interval '50 minutes' FROM cloudwatcher.extend_lease('quick', '{{{}}}', '1 hour')",
                ids[0]
            )
        ),
        [format!("{} | t", ids[0])]
    );
    lose(&mut client)?;
    assert_eq!(claimed(&mut client, "'third'"), ids[..1]);
    lose(&mut client)?;
    // Three times is enough: it has failed, and the next one is claimed.
    assert_eq!(claimed(&mut client, "'fourth', 5"), ids[1..]);
    assert_eq!(
        state(&mut client, &ids[0]),
        "failed 3 third third did not report in time"
    );
    assert_eq!(
        value(&mut client, "SELECT status FROM cloudwatcher.responses"),
        "failed"
    );
    // Tried again, it is answered under the id that was announced.
    served(
        &mut client,
        &format!("SELECT cloudwatcher.retry_request('{}')", ids[0]),
    );
    assert_eq!(claimed(&mut client, "'fifth'"), ids[..1]);
    let announced = value(
        &mut client,
        "SELECT id FROM cloudwatcher.responses WHERE status = 'processing'",
    );
    let complete = format!(
        "SELECT cloudwatcher.complete_request('{}', '[5]', worker => 'fifth')",
        ids[0]
    );
    assert_eq!(served_one(&mut client, &complete), announced);
    assert_eq!(
        table(
            &mut client,
            "SELECT status, content FROM cloudwatcher.responses"
        ),
        ["ready | [5]"]
    );
    Ok(())
}

#[test]
fn a_request_that_fails_waits_longer_each_time() -> Result<()> {
    let (_db, mut client) = organised("work_failed")?;
    let ids = submitted(&mut client, 2)?;
    let id = &ids[0];
    for (attempt, seconds) in [(1, 30), (2, 60)] {
        assert_eq!(claimed(&mut client, "'w'"), ids[..1]);
        let fail = format!("SELECT cloudwatcher.fail_request('{id}', 'no answer {attempt}', 'w')");
        assert_eq!(served_one(&mut client, &fail), "pending");
        assert_eq!(served_one(&mut client, &fail), "pending", "again");
        assert_eq!(
            value(
                &mut client,
                &format!(
                    "SELECT next_attempt_at - updated_at BETWEEN '{seconds} s'::interval AND '{} s' FROM cloudwatcher.requests WHERE id = '{id}'",
                    seconds + 5
                )
            ),
            "t"
        );
        // Not yet.
        assert!(!claimed(&mut client, "'other', 1, only_types => '{t0}'").contains(id));
        client.batch_execute("UPDATE cloudwatcher.requests SET next_attempt_at = created_at WHERE status = 'pending'")?;
    }
    assert_eq!(claimed(&mut client, "'w'"), ids[..1]);
    assert_eq!(
        served_one(
            &mut client,
            &format!("SELECT cloudwatcher.fail_request('{id}', 'no', 'w')")
        ),
        "failed"
    );
    assert_eq!(state(&mut client, id), "failed 3 w no");
    refused_service(
        &mut client,
        &format!("SELECT cloudwatcher.complete_request('{id}', '{{}}')"),
        "55000",
    );
    refused_service(
        &mut client,
        &format!("SELECT cloudwatcher.fail_request('{id}', 'another', 'w')"),
        "55000",
    );
    // Again from the beginning; the attempts are counted on.
    refused(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.retry_request('{id}')"),
        "42501",
    );
    refused(
        &mut client,
        SOUTH,
        &format!("SELECT cloudwatcher.retry_request('{id}')"),
        "P0002",
    );
    assert_eq!(
        asked_one(
            &mut client,
            NORTH,
            &format!("SELECT cloudwatcher.retry_request('{id}')")
        ),
        "pending"
    );
    assert_eq!(
        asked_one(
            &mut client,
            NORTH,
            &format!("SELECT cloudwatcher.retry_request('{id}')")
        ),
        "pending"
    );
    assert_eq!(state(&mut client, id), "pending 3");
    assert_eq!(
        claimed(&mut client, "'w', 1, only_types => '{t0}'"),
        ids[..1]
    );
    assert_eq!(
        served_one(
            &mut client,
            &format!("SELECT cloudwatcher.fail_request('{id}', 'hopeless', 'w', retry => false)")
        ),
        "failed"
    );
    assert_eq!(
        asked_one(
            &mut client,
            ADMIN,
            &format!("SELECT cloudwatcher.retry_request('{id}')")
        ),
        "pending"
    );
    assert_eq!(
        claimed(&mut client, "'w', 1, only_types => '{t0}'"),
        ids[..1]
    );
    served(
        &mut client,
        &format!("SELECT cloudwatcher.complete_request('{id}', '{{}}')"),
    );
    refused(
        &mut client,
        ADMIN,
        &format!("SELECT cloudwatcher.retry_request('{id}')"),
        "55000",
    );
    Ok(())
}

#[test]
fn an_answer_is_given_once() -> Result<()> {
    let (_db, mut client) = organised("work_answers")?;
    let ids = submitted(&mut client, 3)?;
    claimed(&mut client, "'w', 2");
    let id = &ids[0];
    let announced = served_one(
        &mut client,
        &format!("SELECT cloudwatcher.begin_response('{id}')"),
    );
    assert_eq!(
        served_one(
            &mut client,
            &format!("SELECT cloudwatcher.begin_response('{id}', 'w')")
        ),
        announced
    );
    let complete =
        format!("SELECT cloudwatcher.complete_request('{id}', '{{\"n\": 1}}', true, 'w')");
    assert_eq!(served_one(&mut client, &complete), announced);
    assert_eq!(served_one(&mut client, &complete), announced, "again");
    refused_service(
        &mut client,
        &format!("SELECT cloudwatcher.complete_request('{id}', '{{\"n\": 2}}', true, 'w')"),
        "55000",
    );
    assert_eq!(
        served_one(
            &mut client,
            &format!("SELECT cloudwatcher.begin_response('{id}', 'w')")
        ),
        announced
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT request_id, device_id, dept_id, status, content, ai_processed FROM cloudwatcher.responses"
        ),
        [format!(
            "{id} | truck-a | {DEPOT_A} | ready | {{\"n\": 1}} | t"
        )]
    );
    // Never claimed.
    for report in [
        "complete_request('{}', '{}')",
        "fail_request('{}', 'x')",
        "begin_response('{}')",
    ] {
        let report = report.replacen("{}", &ids[2], 1);
        refused_service(
            &mut client,
            &format!("SELECT cloudwatcher.{report}"),
            "55000",
        );
    }
    // Many at once: what can be completed is.
    let batch = |content: &str| {
        format!(
            "SELECT request_id, response_id IS NOT NULL, refused FROM cloudwatcher.complete_requests(
               '[{{\"request\": \"{}\", \"content\": {{\"n\": 1}}}}, {{\"request\": \"{}\", \"content\": {content}, \"ai_processed\": true}},
                 {{\"request\": \"{}\", \"content\": 1}}, {{\"request\": \"{NOTHING}\", \"content\": 1}}]', 'w')
              ORDER BY array_position('{{{},{},{},{NOTHING}}}', request_id)",
            ids[0], ids[1], ids[2], ids[0], ids[1], ids[2]
        )
    };
    let expected = |second: &str| {
        [
            format!("{} | t | -", ids[0]),
            format!("{} | {second}", ids[1]),
            format!("{} | f | the request is not yours any more", ids[2]),
            format!("{NOTHING} | f | request not found"),
        ]
    };
    assert_eq!(served(&mut client, &batch("[2]")), expected("t | -"));
    assert_eq!(
        served(&mut client, &batch("[2]")),
        expected("t | -"),
        "again"
    );
    assert_eq!(
        served(&mut client, &batch("[3]")),
        expected("f | the request is completed with another answer")
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM cloudwatcher.responses WHERE status = 'ready'"
        ),
        "2"
    );
    assert_eq!(
        served(
            &mut client,
            "SELECT * FROM cloudwatcher.complete_requests('[]')"
        )
        .len(),
        0
    );
    Ok(())
}

#[test]
fn an_attempt_that_is_over_says_nothing_of_the_next_one() -> Result<()> {
    let (_db, mut client) = organised("work_attempts")?;
    client.batch_execute("UPDATE cloudwatcher.settings SET max_attempts = 2, retry_after = '0'")?;
    let ids = submitted(&mut client, 1)?;
    let id = &ids[0];
    let claim = "SELECT attempt FROM cloudwatcher.claim_requests('w9')";
    let fail = |attempt: i32| {
        format!("SELECT cloudwatcher.fail_request('{id}', 'no', 'w9', attempt => {attempt})")
    };
    let complete = |attempt: i32| {
        format!(
            "SELECT cloudwatcher.complete_request('{id}', '1', worker => 'w9', attempt => {attempt})"
        )
    };
    let batch = |attempt: i32| {
        format!(
            "SELECT coalesce(refused, 'done') FROM cloudwatcher.complete_requests('[{{\"request\": \"{id}\", \"content\": 1, \"attempt\": {attempt}}}]', 'w9')"
        )
    };
    assert_eq!(served_one(&mut client, claim), "1");
    assert_eq!(served_one(&mut client, &fail(1)), "pending");
    assert_eq!(served_one(&mut client, &fail(1)), "pending", "again");
    assert_eq!(served_one(&mut client, claim), "2");
    for late in [fail(1), complete(1), fail(3)] {
        let error = refused_service(&mut client, &late, "55000");
        assert_eq!(error.message(), "the attempt is over");
        assert!(error.detail().is_some() && error.hint().is_some());
    }
    assert_eq!(
        served_one(&mut client, &batch(1)),
        "the attempt is over: it is at 2"
    );
    assert_eq!(served_one(&mut client, &fail(2)), "failed");
    // Nor is the first one after that the first one again.
    assert_eq!(
        served_one(
            &mut client,
            &format!("SELECT cloudwatcher.retry_request('{id}')")
        ),
        "pending"
    );
    assert_eq!(served_one(&mut client, claim), "3");
    refused_service(&mut client, &fail(1), "55000");
    assert_eq!(served_one(&mut client, &fail(3)), "pending");
    assert_eq!(served_one(&mut client, claim), "4");
    assert_eq!(served_one(&mut client, &batch(4)), "done");
    assert_eq!(served_one(&mut client, &batch(4)), "done", "again");
    served_one(&mut client, &complete(4));
    assert_eq!(state(&mut client, id), "completed 4 w9");
    Ok(())
}

#[test]
fn what_is_wrong_with_one_answer_of_many_is_told_in_its_row() -> Result<()> {
    let (_db, mut client) = organised("work_answers_wrong")?;
    let ids = submitted(&mut client, 3)?;
    claimed(&mut client, "'w', 3");
    let batch = format!(
        r#"SELECT request_id, response_id IS NOT NULL, refused FROM cloudwatcher.complete_requests('[
             5, null, {{}}, {{"request": "zz", "content": 1}}, {{"request": "{{{0}", "content": 1}}, {{"request": 7, "content": 1}},
             {{"request": "{0}"}}, {{"request": "{0}", "content": null}},
             {{"request": "{0}", "content": 1, "ai_processed": "maybe"}}, {{"request": "{0}", "content": 1, "attempt": "x"}},
             {{"request": "{0}", "content": 1, "attempt": 99999999999}},
             {{"request": "{0}", "content": 1}}, {{"request": "{1}", "content": 2, "ai_processed": true, "attempt": 1}},
             {{"request": "{0}", "content": 2}}, {{"request": "{0}", "content": 1.0, "ai_processed": false, "attempt": null}},
             {{"request": "{0}", "content": 1, "ai_processed": true}},
             {{"request": "{2}", "content": 3, "attempt": 2}}]') ORDER BY refused, request_id <> '{0}'"#,
        ids[0], ids[1], ids[2]
    );
    let none = |told: &str| format!("- | f | {told}");
    let first = |told: &str| format!("{} | f | {told}", ids[0]);
    let mut expected = vec![
        none("item 1 is not an object"),
        none("item 2 is not an object"),
        none("item 3 has no request"),
        none("item 4: request is not a UUID: zz"),
        none(&format!("item 5: request is not a UUID: {{{}", ids[0])),
        none("item 6: request is not a UUID: 7"),
        first("item 7 has no content"),
        first("item 8 has no content"),
        first("item 9: ai_processed is not true or false: \"maybe\""),
        first("item 10: attempt is not a number: x"),
        first("item 11: attempt is not a number: 99999999999"),
        first("the request is in here before, with another answer"),
        first("the request is in here before, with another answer"),
        format!("{} | f | the attempt is over: it is at 1", ids[2]),
        format!("{} | t | -", ids[0]),
        format!("{} | t | -", ids[1]),
    ];
    expected.sort();
    for time in ["once", "again"] {
        let mut found = served(&mut client, &batch);
        found.sort();
        assert_eq!(found, expected, "{time}");
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT content, ai_processed FROM cloudwatcher.responses ORDER BY content"
        ),
        ["1 | f", "2 | t"]
    );
    Ok(())
}

#[test]
fn no_state_is_skipped_and_nothing_is_rewritten_by_anybody() -> Result<()> {
    let (_db, mut client) = organised("work_states")?;
    let ids = submitted(&mut client, 4)?;
    claimed(&mut client, "'w', 3");
    served(
        &mut client,
        &format!("SELECT cloudwatcher.complete_request('{}', '{{}}')", ids[0]),
    );
    served(
        &mut client,
        &format!(
            "SELECT cloudwatcher.fail_request('{}', 'x', retry => false)",
            ids[1]
        ),
    );
    served(
        &mut client,
        &format!("SELECT cloudwatcher.begin_response('{}')", ids[2]),
    );
    let states = [
        ("completed", &ids[0]),
        ("failed", &ids[1]),
        ("processing", &ids[2]),
        ("pending", &ids[3]),
    ];
    let allowed = [
        "processing completed",
        "processing failed",
        "processing pending",
        "pending processing",
        "failed pending",
    ];
    for (before, id) in states {
        for (after, _) in states {
            // Of one's own table, even.
            let mut tx = client.transaction()?;
            let result = tx.execute(
                &format!(
                    "UPDATE cloudwatcher.requests SET status = '{after}', next_attempt_at = now(), claimed_by = 'x',
                            lease_expires_at = CASE '{after}' WHEN 'processing' THEN now() END WHERE id = '{id}'"
                ),
                &[],
            );
            tx.rollback()?;
            if allowed.contains(&format!("{before} {after}").as_str())
                || before == after && before != "completed"
            {
                assert_eq!(result?, 1, "{before} {after}");
            } else {
                expect_sqlstate(result, "55000");
            }
        }
    }
    for change in [
        "id = gen_random_uuid()",
        "device_id = 'truck-b'",
        "request_type = 'x'",
        "payload = '{}'",
        "payload_hash = 'x'",
        "dept_id = NULL",
        "created_by = (SELECT id FROM cloudwatcher.users LIMIT 1)",
        "created_at = created_at - interval '1 second'",
    ] {
        let sql = format!(
            "UPDATE cloudwatcher.requests SET {change} WHERE id = '{}'",
            ids[3]
        );
        expect_sqlstate(client.execute(&sql, &[]), "55000");
    }
    expect_sqlstate(
        client.execute("TRUNCATE cloudwatcher.requests", &[]),
        "55000",
    );
    // Answers: ready, processing.
    let answered = format!("WHERE request_id = '{}'", ids[0]);
    let begun = format!("WHERE request_id = '{}'", ids[2]);
    for (change, of) in [
        ("status = 'processing'", &answered),
        ("content = '[1]'", &answered),
        ("ai_processed = true", &answered),
        ("status = 'delivered', delivered_at = now()", &begun),
        ("request_id = gen_random_uuid()", &answered),
        ("device_id = 'truck-b'", &answered),
    ] {
        expect_sqlstate(
            client.execute(
                &format!("UPDATE cloudwatcher.responses SET {change} {of}"),
                &[],
            ),
            "55000",
        );
    }
    Ok(())
}

#[test]
fn nothing_hangs_on_a_request_that_does_not_exist() -> Result<()> {
    let (db, mut client) = organised("work_references")?;
    let ids = submitted(&mut client, 3)?;
    let inserts = |id: &str| {
        [
            format!(
                "INSERT INTO cloudwatcher.request_metadata (request_id, key, value) VALUES ('{id}', 'k', 'v')"
            ),
            format!(
                "INSERT INTO cloudwatcher.responses (request_id, device_id) VALUES ('{id}', 'truck-a')"
            ),
            format!(
                "INSERT INTO cloudwatcher.cloud_file_refs (request_id, file_type, cloud_provider, cloud_path) VALUES ('{id}', 'request', 'local', '/x')"
            ),
            format!(
                "INSERT INTO cloudwatcher.agent_decisions (request_id, agent_name, decision_type, decision_value) VALUES ('{id}', 'a', 't', 'v')"
            ),
            format!(
                "INSERT INTO cloudwatcher.orders (request_id, dept_id, created_by) VALUES ('{id}', '{DEPOT_A}', '{TECH_A}')"
            ),
        ]
    };
    for insert in inserts(NOTHING) {
        let error = expect_sqlstate(client.execute(&insert, &[]), "23503");
        assert!(
            error
                .detail()
                .is_some_and(|detail| detail.contains(NOTHING)),
            "{insert}"
        );
    }
    for insert in &inserts(&ids[0])[..3] {
        client.execute(insert, &[])?;
    }
    for change in [
        "cloudwatcher.request_metadata SET request_id",
        "cloudwatcher.cloud_file_refs SET request_id",
    ] {
        expect_sqlstate(
            client.execute(&format!("UPDATE {change} = '{}'", ids[1]), &[]),
            "55000",
        );
    }
    // What hangs on it goes with it.
    client.execute(
        &format!("DELETE FROM cloudwatcher.requests WHERE id = '{}'", ids[0]),
        &[],
    )?;
    for relation in ["request_metadata", "responses", "cloud_file_refs"] {
        assert_eq!(
            value(
                &mut client,
                &format!("SELECT count(*) FROM cloudwatcher.{relation}")
            ),
            "0",
            "{relation}"
        );
    }
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM cloudwatcher.request_keys"
        ),
        "2"
    );
    // Orders and decisions keep it.
    for insert in &inserts(&ids[1])[3..] {
        let mut tx = client.transaction()?;
        tx.execute(insert, &[])?;
        expect_sqlstate(
            tx.execute(
                &format!("DELETE FROM cloudwatcher.requests WHERE id = '{}'", ids[1]),
                &[],
            ),
            "23503",
        );
        tx.rollback()?;
    }
    client.execute(&inserts(&ids[1])[3], &[])?;
    expect_sqlstate(
        client.execute(
            "UPDATE cloudwatcher.agent_decisions SET confidence_score = 1",
            &[],
        ),
        "55000",
    );
    // Nor is it deleted while somebody adds to it.
    let mut other = db.connect()?;
    let mut open = other.transaction()?;
    open.execute(&inserts(&ids[2])[0], &[])?;
    client.batch_execute("SET lock_timeout = '100ms'")?;
    expect_sqlstate(
        client.execute(
            &format!("DELETE FROM cloudwatcher.requests WHERE id = '{}'", ids[2]),
            &[],
        ),
        "55P03",
    );
    open.commit()?;
    Ok(())
}

#[test]
fn workers_that_die_lose_nothing_and_do_nothing_twice() -> Result<()> {
    const REQUESTS: usize = 300;
    let (db, mut client) = organised("work_parallel")?;
    client.execute(
        "INSERT INTO cloudwatcher.requests (device_id, request_type, payload, payload_hash, dept_id)
         SELECT 'truck-a', 't', to_jsonb(g), cloudwatcher.payload_hash(to_jsonb(g)), $1::text::uuid FROM generate_series(1, $2::int) AS g",
        &[&DEPOT_A, &(REQUESTS as i32)],
    )?;
    client
        .batch_execute("UPDATE cloudwatcher.settings SET max_attempts = 1000, retry_after = '0'")?;
    let held: Mutex<BTreeSet<String>> = Mutex::default();
    let done = AtomicUsize::new(0);
    let deadline = Instant::now() + Duration::from_secs(120);
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..12_u64)
            .map(|number| {
                let (db, held, done) = (&db, &held, &done);
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect_as("service_role")?;
                    let mut random = Random::new(number + 1);
                    let worker = format!("w{number}");
                    while done.load(Ordering::SeqCst) < REQUESTS {
                        ensure!(Instant::now() < deadline, "not done in time");
                        let n = 1 + random.below(10) as i32;
                        let mut tx = client.transaction()?;
                        let ids: Vec<String> = tx
                            .query("SELECT request_id::text FROM cloudwatcher.claim_requests($1, $2, '1 hour')", &[&worker, &n])?
                            .iter()
                            .map(|row| row.get(0))
                            .collect();
                        if random.one_in(5) {
                            // It dies before it has claimed anything.
                            drop(tx);
                            client = db.connect_as("service_role")?;
                            continue;
                        }
                        tx.commit()?;
                        for id in &ids {
                            ensure!(held.lock().is_ok_and(|mut held| held.insert(id.clone())), "{id} was claimed twice");
                        }
                        for id in &ids {
                            let fails = random.one_in(3);
                            ensure!(held.lock().is_ok_and(|mut held| held.remove(id)), "{id} was not held");
                            if fails {
                                client.query_one("SELECT cloudwatcher.fail_request($1::text::uuid, 'x', $2)", &[id, &worker])?;
                            } else {
                                client.query_one("SELECT cloudwatcher.complete_request($1::text::uuid, '{}', worker => $2)", &[id, &worker])?;
                                done.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
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
        table(
            &mut client,
            "SELECT status, count(*), (SELECT count(*) FROM cloudwatcher.responses WHERE status = 'ready') FROM cloudwatcher.requests GROUP BY 1"
        ),
        [format!("completed | {REQUESTS} | {REQUESTS}")]
    );
    Ok(())
}

#[test]
fn only_servers_work_on_requests_and_mistakes_are_told() -> Result<()> {
    let (_db, mut client) = organised("work_matrix")?;
    let ids = submitted(&mut client, 1)?;
    let people = "42501: anon stranger retired viewer a b c north south head admin";
    for (call, service) in [
        ("claim_requests('w')", "1"),
        ("extend_lease('w', '{}')", "0"),
        ("begin_response('ID')", "55000"),
        ("complete_request('ID', '{}')", "55000"),
        ("complete_requests('[]')", "0"),
        ("fail_request('ID', 'x')", "55000"),
    ] {
        let sql = format!("SELECT * FROM cloudwatcher.{}", call.replace("ID", &ids[0]));
        assert_eq!(
            outcomes(&mut client, &sql),
            [people.to_owned(), format!("{service}: service")],
            "{call}"
        );
    }
    assert_eq!(
        outcomes(
            &mut client,
            &format!("SELECT cloudwatcher.retry_request('{}')", ids[0])
        ),
        [
            "42501: anon stranger retired viewer a b c",
            "1: north head admin service",
            "P0002: south"
        ]
    );
    for (call, code) in [
        ("claim_requests(NULL)", "22023"),
        ("claim_requests('')", "22023"),
        ("claim_requests('w', 0)", "22023"),
        ("claim_requests('w', NULL)", "22023"),
        ("claim_requests('w', 10001)", "22023"),
        ("claim_requests('w', 1, '0')", "22023"),
        ("claim_requests('w', 1, '31 days')", "22023"),
        ("claim_requests('w', 1, NULL)", "22023"),
        ("extend_lease(NULL, '{}')", "22004"),
        ("extend_lease('w', NULL)", "22004"),
        ("extend_lease('w', '{}', '-1 s')", "22023"),
        ("begin_response(NULL)", "P0002"),
        (
            "complete_request('ffffffff-0000-0000-0000-000000000000', '{}')",
            "P0002",
        ),
        (
            "complete_request('ffffffff-0000-0000-0000-000000000000', NULL)",
            "22004",
        ),
        (
            "complete_request('ffffffff-0000-0000-0000-000000000000', '{}', NULL)",
            "22004",
        ),
        ("complete_requests(NULL)", "22023"),
        ("complete_requests('{}')", "22023"),
        ("fail_request(NULL, 'x')", "P0002"),
        (
            "fail_request('ffffffff-0000-0000-0000-000000000000', NULL)",
            "22004",
        ),
        ("retry_request(NULL)", "P0002"),
    ] {
        let error = refused_service(
            &mut client,
            &format!("SELECT * FROM cloudwatcher.{call}"),
            code,
        );
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{call}: {error:?}"
        );
    }
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut tx = client.transaction()?;
        tx.batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}"))?;
        expect_sqlstate(
            tx.query("SELECT cloudwatcher.claim_requests('w')", &[]),
            "25001",
        );
        tx.rollback()?;
    }
    Ok(())
}
