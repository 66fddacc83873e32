//! Devices: when they were there, and the answers that they fetch.

mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_support::*;
use gemba_tests::{expect_sqlstate, table, value};
use postgres::Client;

/// A request of a device that was answered; returns request and response.
fn answered(client: &mut Client, device: &str, number: i32) -> (String, String) {
    let request = served_one(
        client,
        &format!(
            "SELECT request_id FROM cloudwatcher.submit_request('{device}', 'get', '{{\"n\": {number}}}')"
        ),
    );
    served_one(
        client,
        "SELECT request_id FROM cloudwatcher.claim_requests('w')",
    );
    let response = served_one(
        client,
        &format!("SELECT cloudwatcher.complete_request('{request}', '{{\"answer\": {number}}}')"),
    );
    (request, response)
}

fn status(client: &mut Client, who: &str) -> Vec<String> {
    asked(
        client,
        who,
        "SELECT device_id, status, coalesce(connection_type, 'none'), open_requests, undelivered_responses FROM cloudwatcher.device_status()",
    )
}

#[test]
fn answers_are_fetched_oldest_first_and_delivered_once() -> Result<()> {
    let (_db, mut client) = organised("devices_answers")?;
    let (first, response) = answered(&mut client, TRUCK_A, 1);
    let (second, other) = answered(&mut client, TRUCK_A, 2);
    answered(&mut client, TRUCK_C, 3);
    let waiting = "SELECT request_id, request_type, content, ai_processed FROM cloudwatcher.pending_responses('truck-a')";
    assert_eq!(
        asked(&mut client, TECH_A, waiting),
        [
            format!("{first} | get | {{\"answer\": 1}} | f"),
            format!("{second} | get | {{\"answer\": 2}} | f")
        ]
    );
    assert_eq!(
        asked(
            &mut client,
            TECH_A,
            "SELECT response_id FROM cloudwatcher.pending_responses('truck-a', 1)"
        ),
        std::slice::from_ref(&response)
    );
    assert_eq!(
        outcomes(
            &mut client,
            "SELECT * FROM cloudwatcher.pending_responses('truck-a')"
        ),
        [
            "42501: anon",
            "0: stranger retired b c south",
            "2: viewer a north head admin service"
        ]
    );
    let acknowledge = format!("SELECT cloudwatcher.acknowledge('{response}')");
    assert_eq!(
        outcomes(&mut client, &acknowledge),
        [
            "42501: anon stranger retired viewer",
            "1: a north head admin service",
            "P0002: b c south"
        ]
    );
    let at = asked_one(&mut client, TECH_A, &acknowledge);
    assert_eq!(asked_one(&mut client, TECH_A, &acknowledge), at, "again");
    assert_eq!(
        asked(
            &mut client,
            TECH_A,
            "SELECT response_id FROM cloudwatcher.pending_responses('truck-a')"
        ),
        std::slice::from_ref(&other)
    );
    refused(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.fail_response('{response}', 'late')"),
        "55000",
    );
    let fail = format!("SELECT cloudwatcher.fail_response('{other}', 'gone')");
    for _ in 0..2 {
        assert_eq!(asked_one(&mut client, TECH_A, &fail), "failed");
    }
    assert_eq!(
        asked(
            &mut client,
            TECH_A,
            "SELECT key, value FROM cloudwatcher.response_metadata"
        ),
        ["error | gone"]
    );
    refused(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.acknowledge('{other}')"),
        "55000",
    );
    refused(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.acknowledge('{NOTHING}')"),
        "P0002",
    );
    refused(
        &mut client,
        TECH_A,
        "SELECT cloudwatcher.acknowledge(NULL)",
        "P0002",
    );
    refused(
        &mut client,
        TECH_A,
        "SELECT * FROM cloudwatcher.pending_responses(NULL)",
        "22004",
    );
    refused(
        &mut client,
        TECH_A,
        "SELECT * FROM cloudwatcher.pending_responses('truck-a', 0)",
        "22023",
    );
    refused(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.fail_response('{other}', NULL)"),
        "22004",
    );
    // Whoever may have requests tried again has it delivered again.
    let retry = format!("SELECT cloudwatcher.retry_response('{other}')");
    assert_eq!(
        outcomes(&mut client, &retry),
        [
            "42501: anon stranger retired viewer a b c",
            "1: north head admin service",
            "P0002: south"
        ]
    );
    for _ in 0..2 {
        assert_eq!(asked_one(&mut client, NORTH, &retry), "ready");
    }
    assert_eq!(
        asked(&mut client, TECH_A, waiting),
        [format!("{second} | get | {{\"answer\": 2}} | f")]
    );
    asked_one(&mut client, TECH_A, &fail);
    assert_eq!(served_one(&mut client, &retry), "ready");
    let error = refused(
        &mut client,
        ADMIN,
        &format!("SELECT cloudwatcher.retry_request('{second}')"),
        "55000",
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("retry_response"))
    );
    asked_one(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.acknowledge('{other}')"),
    );
    assert_eq!(
        served_one(&mut client, &retry),
        "delivered",
        "nothing to do"
    );
    for nothing in [&format!("'{NOTHING}'"), "NULL"] {
        refused(
            &mut client,
            ADMIN,
            &format!("SELECT cloudwatcher.retry_response({nothing})"),
            "P0002",
        );
    }
    for write in [
        "UPDATE cloudwatcher.responses SET status = 'delivered'",
        "DELETE FROM cloudwatcher.responses",
        "INSERT INTO cloudwatcher.response_metadata (response_id, key, value) SELECT id, 'a', 'b' FROM cloudwatcher.responses LIMIT 1",
    ] {
        refused(&mut client, ADMIN, write, "42501");
    }
    Ok(())
}

#[test]
fn only_what_was_answered_is_delivered_again() -> Result<()> {
    let (_db, mut client) = organised("devices_again")?;
    let (_, answer) = answered(&mut client, TRUCK_A, 1);
    served_one(
        &mut client,
        &format!("SELECT cloudwatcher.fail_response('{answer}', 'gone')"),
    );
    // Announced, and never given.
    let request = served_one(
        &mut client,
        "SELECT request_id FROM cloudwatcher.submit_request('truck-a', 'get')",
    );
    served_one(
        &mut client,
        "SELECT request_id FROM cloudwatcher.claim_requests('w')",
    );
    let announced = served_one(
        &mut client,
        &format!("SELECT cloudwatcher.begin_response('{request}')"),
    );
    served_one(
        &mut client,
        &format!("SELECT cloudwatcher.fail_request('{request}', 'x', retry => false)"),
    );
    let error = refused_service(
        &mut client,
        &format!("SELECT cloudwatcher.retry_response('{announced}')"),
        "55000",
    );
    assert!(error.detail().is_some() && error.hint().is_some());
    // By plain SQL neither, nor is the answer changed on the way.
    for (change, id) in [
        ("status = 'ready'", &announced),
        ("status = 'processing'", &answer),
        ("status = 'ready', content = '[1]'", &answer),
        ("status = 'delivered', delivered_at = now()", &answer),
    ] {
        let sql = format!("UPDATE cloudwatcher.responses SET {change} WHERE id = '{id}'");
        expect_sqlstate(client.execute(&sql, &[]), "55000");
    }
    Ok(())
}

#[test]
fn a_connection_begins_lasts_and_ends() -> Result<()> {
    let (_db, mut client) = organised("devices_connections")?;
    assert_eq!(
        status(&mut client, TECH_A),
        ["truck-a | never | none | 0 | 0"]
    );
    assert_eq!(
        outcomes(
            &mut client,
            "SELECT cloudwatcher.connect_device('truck-a', 'websocket', '10.0.0.1')"
        ),
        [
            "42501: anon stranger retired viewer",
            "1: a north head admin service",
            "P0002: b c south"
        ]
    );
    let connection = asked_one(
        &mut client,
        TECH_A,
        "SELECT cloudwatcher.connect_device('truck-a', 'websocket', '10.0.0.1')",
    );
    assert_eq!(
        asked_one(
            &mut client,
            TECH_A,
            "SELECT cloudwatcher.connect_device('truck-a', 'websocket')"
        ),
        connection
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT device_id, dept_id, user_id, ip_address, disconnected_at, session_duration_seconds FROM cloudwatcher.device_connections"
        ),
        [format!("truck-a | {DEPOT_A} | {TECH_A} | 10.0.0.1 | - | -")]
    );
    assert_eq!(
        status(&mut client, NORTH),
        [
            "truck-a | online | websocket | 0 | 0",
            "truck-b | never | none | 0 | 0"
        ]
    );
    // Another kind is another connection, and the first one over.
    client.batch_execute(
        "UPDATE cloudwatcher.device_connections SET connected_at = now() - interval '90 seconds'",
    )?;
    let polling = asked_one(
        &mut client,
        TECH_A,
        "SELECT cloudwatcher.connect_device('truck-a')",
    );
    assert_ne!(polling, connection);
    assert_eq!(
        table(
            &mut client,
            "SELECT connection_type, session_duration_seconds BETWEEN 90 AND 100 FROM cloudwatcher.device_connections ORDER BY connected_at"
        ),
        ["websocket | t", "polling | -"]
    );
    client.batch_execute("UPDATE cloudwatcher.device_connections SET connected_at = now() - interval '10 seconds' WHERE disconnected_at IS NULL")?;
    let seconds = asked_one(
        &mut client,
        TECH_A,
        "SELECT cloudwatcher.disconnect_device('truck-a')",
    );
    assert!(["10", "11", "12"].contains(&seconds.as_str()), "{seconds}");
    assert_eq!(
        asked_one(
            &mut client,
            TECH_A,
            "SELECT cloudwatcher.disconnect_device('truck-a')"
        ),
        seconds,
        "again"
    );
    assert_eq!(
        status(&mut client, TECH_A),
        ["truck-a | offline | none | 0 | 0"]
    );
    // A sign of life without a connection.
    asked_one(
        &mut client,
        TECH_A,
        "SELECT cloudwatcher.device_alive('truck-a')",
    );
    assert_eq!(
        status(&mut client, TECH_A),
        ["truck-a | online | none | 0 | 0"]
    );
    assert_eq!(
        asked_one(
            &mut client,
            TECH_B,
            "SELECT coalesce(cloudwatcher.disconnect_device('truck-b'), -1)"
        ),
        "-1"
    );
    Ok(())
}

#[test]
fn who_falls_silent_is_offline_since_then() -> Result<()> {
    let (_db, mut client) = organised("devices_silent")?;
    for device in [TRUCK_A, TRUCK_B] {
        served(
            &mut client,
            &format!("SELECT cloudwatcher.connect_device('{device}', 'websocket')"),
        );
    }
    client.batch_execute(
        "UPDATE cloudwatcher.device_connections SET connected_at = now() - interval '1 hour', last_seen_at = now() - interval '10 minutes' WHERE device_id = 'truck-a';
         UPDATE cloudwatcher.devices SET last_seen_at = now() - interval '10 minutes' WHERE device_id = 'truck-a'",
    )?;
    let shown = [
        "truck-a | offline | websocket | 0 | 0",
        "truck-b | online | websocket | 0 | 0",
    ];
    assert_eq!(
        status(&mut client, NORTH),
        shown,
        "also while its connection is open"
    );
    assert_eq!(
        outcomes(&mut client, "SELECT cloudwatcher.close_lost_connections()"),
        [
            "42501: anon stranger retired viewer a b c north south head admin",
            "1: service"
        ]
    );
    assert_eq!(
        served_one(&mut client, "SELECT cloudwatcher.close_lost_connections()"),
        "1"
    );
    assert_eq!(
        served_one(&mut client, "SELECT cloudwatcher.close_lost_connections()"),
        "0"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT session_duration_seconds, disconnected_at = last_seen_at FROM cloudwatcher.device_connections WHERE device_id = 'truck-a'"
        ),
        ["3000 | t"]
    );
    assert_eq!(
        status(&mut client, NORTH)[0],
        "truck-a | offline | none | 0 | 0"
    );
    // The same kind again after a silence is another connection, which ended when it fell silent.
    client.batch_execute(
        "UPDATE cloudwatcher.device_connections SET connected_at = now() - interval '1 hour', last_seen_at = now() - interval '20 minutes' WHERE device_id = 'truck-b'",
    )?;
    served(
        &mut client,
        "SELECT cloudwatcher.connect_device('truck-b', 'websocket')",
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT session_duration_seconds FROM cloudwatcher.device_connections WHERE device_id = 'truck-b' ORDER BY connected_at"
        ),
        ["2400", "-"]
    );
    // How long a silence may be is set.
    client.batch_execute("UPDATE cloudwatcher.settings SET offline_after = '1 day'")?;
    client.batch_execute("UPDATE cloudwatcher.device_connections SET disconnected_at = NULL WHERE device_id = 'truck-a'")?;
    assert_eq!(
        status(&mut client, NORTH)[0],
        "truck-a | online | websocket | 0 | 0"
    );
    // A request is a sign of life.
    client.batch_execute("UPDATE cloudwatcher.settings SET offline_after = '5 minutes'")?;
    served(
        &mut client,
        "SELECT * FROM cloudwatcher.submit_request('truck-a', 'get')",
    );
    assert_eq!(
        status(&mut client, NORTH)[0],
        "truck-a | online | none | 1 | 0",
        "its connection was silent for too long"
    );
    assert_eq!(
        served_one(&mut client, "SELECT cloudwatcher.close_lost_connections()"),
        "0"
    );
    // Of a connection that was not, too.
    client.batch_execute(
        "UPDATE cloudwatcher.device_connections SET last_seen_at = now() - interval '1 minute', disconnected_at = NULL WHERE device_id = 'truck-a';
         UPDATE cloudwatcher.devices SET last_seen_at = now() - interval '1 minute' WHERE device_id = 'truck-a'",
    )?;
    served(
        &mut client,
        "SELECT * FROM cloudwatcher.submit_request('truck-a', 'get')",
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT last_seen_at > now() - interval '30 seconds', disconnected_at FROM cloudwatcher.device_connections WHERE device_id = 'truck-a'"
        ),
        ["t | -"]
    );
    Ok(())
}

#[test]
fn a_silence_does_not_count_as_connected() -> Result<()> {
    let (_db, mut client) = organised("devices_silence")?;
    let silent = "UPDATE cloudwatcher.device_connections SET connected_at = now() - interval '1 hour', last_seen_at = now() - interval '50 minutes'
         WHERE device_id = 'truck-a' AND disconnected_at IS NULL;
         UPDATE cloudwatcher.devices SET last_seen_at = now() - interval '50 minutes' WHERE device_id = 'truck-a'";
    // Whoever reports on it, and whether the job ran or not.
    for (report, shown) in [
        (
            "SELECT cloudwatcher.device_alive('truck-a') > now() - interval '1 minute'",
            "online",
        ),
        (
            "SELECT cloudwatcher.disconnect_device('truck-a') = 600",
            "offline",
        ),
        (
            "SELECT is_new FROM cloudwatcher.submit_request('truck-a', 'get')",
            "online",
        ),
        (
            "SELECT cloudwatcher.connect_device('truck-a') IS NOT NULL",
            "online",
        ),
    ] {
        served(
            &mut client,
            "SELECT cloudwatcher.connect_device('truck-a', 'websocket')",
        );
        client.batch_execute(silent)?;
        assert_eq!(asked_one(&mut client, TECH_A, report), "t", "{report}");
        assert_eq!(
            table(
                &mut client,
                "SELECT DISTINCT session_duration_seconds, disconnected_at = last_seen_at FROM cloudwatcher.device_connections
                  WHERE connection_type = 'websocket'"
            ),
            ["600 | t"],
            "{report}"
        );
        assert_eq!(
            value(
                &mut client,
                "SELECT status FROM cloudwatcher.device_status('truck-a')"
            ),
            shown,
            "{report}"
        );
        client.batch_execute("DELETE FROM cloudwatcher.device_connections")?;
    }
    Ok(())
}

#[test]
fn the_status_counts_what_is_open_for_whoever_may_see_it() -> Result<()> {
    let (_db, mut client) = organised("devices_status")?;
    answered(&mut client, TRUCK_A, 1);
    answered(&mut client, TRUCK_A, 2);
    served(
        &mut client,
        "SELECT * FROM cloudwatcher.submit_request('truck-a', 'get')",
    );
    served(
        &mut client,
        "SELECT * FROM cloudwatcher.submit_request('truck-b', 'get')",
    );
    let one =
        "SELECT open_requests, undelivered_responses FROM cloudwatcher.device_status('truck-a')";
    assert_eq!(asked(&mut client, TECH_A, one), ["1 | 2"]);
    assert_eq!(asked(&mut client, VIEWER, one), ["1 | 2"]);
    assert!(asked(&mut client, TECH_B, one).is_empty());
    assert_eq!(
        outcomes(&mut client, "SELECT * FROM cloudwatcher.device_status()"),
        [
            "42501: anon",
            "0: stranger retired",
            "1: viewer a b c south",
            "2: north",
            "3: head admin service"
        ]
    );
    assert_eq!(
        outcomes(&mut client, "SELECT * FROM cloudwatcher.device_connections"),
        [
            "42501: anon",
            "0: stranger retired viewer a b c north south head admin service"
        ]
    );
    Ok(())
}

#[test]
fn sixteen_connections_at_once_are_one() -> Result<()> {
    let (db, mut client) = organised("devices_race")?;
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..16)
            .map(|number| {
                let db = &db;
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect_as("service_role")?;
                    for round in 0..10 {
                        let call = match (number + round) % 4 {
                            0 => "disconnect_device('truck-a')::text",
                            1 => "connect_device('truck-a', 'websocket')::text",
                            2 => "device_alive('truck-a')::text",
                            _ => "connect_device('truck-a', 'polling')::text",
                        };
                        client.query_one(&format!("SELECT cloudwatcher.{call}"), &[])?;
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))?;
        }
        Ok(())
    })?;
    served(
        &mut client,
        "SELECT cloudwatcher.connect_device('truck-a', 'webhook')",
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM cloudwatcher.device_connections WHERE disconnected_at IS NULL"
        ),
        "1"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM cloudwatcher.device_connections a JOIN cloudwatcher.device_connections b
                ON a.id <> b.id AND a.connected_at < b.connected_at AND a.disconnected_at > b.connected_at"
        ),
        "0",
        "no two overlap"
    );
    Ok(())
}

#[test]
fn devices_keep_their_names_and_mistakes_are_told() -> Result<()> {
    let (_db, mut client) = organised("devices_rules")?;
    refused(
        &mut client,
        ADMIN,
        "UPDATE cloudwatcher.devices SET device_id = 'other' WHERE device_id = 'truck-a'",
        "55000",
    );
    expect_sqlstate(
        client.execute(
            "UPDATE cloudwatcher.devices SET device_id = 'other' WHERE device_id = 'truck-a'",
            &[],
        ),
        "55000",
    );
    for (call, code) in [
        ("connect_device('truck-a', 'pigeon')", "22023"),
        ("connect_device('truck-a', NULL)", "22023"),
        ("connect_device(NULL)", "22004"),
        ("connect_device('nowhere')", "22023"),
        ("device_alive(NULL)", "22004"),
        ("device_alive('nowhere')", "P0002"),
        ("disconnect_device('nowhere')", "P0002"),
        ("disconnect_device(NULL)", "22004"),
    ] {
        let error = refused(
            &mut client,
            ADMIN,
            &format!("SELECT cloudwatcher.{call}"),
            code,
        );
        assert!(error.detail().is_some() && error.hint().is_some(), "{call}");
    }
    // Only a connection or a request registers a device.
    for (call, expected) in [
        ("device_alive('typo')", "P0002"),
        ("disconnect_device('typo')", "P0002"),
        ("connect_device('new')", "1"),
        ("submit_request('newer', 't')", "1"),
    ] {
        let sql = format!("SELECT * FROM cloudwatcher.{call}");
        assert_eq!(
            outcome(&mut client, "authenticated", Some(TECH_A), &sql),
            expected,
            "{call}"
        );
    }
    client.batch_execute(
        "UPDATE cloudwatcher.devices SET is_active = false WHERE device_id = 'truck-a'",
    )?;
    refused(
        &mut client,
        TECH_A,
        "SELECT cloudwatcher.connect_device('truck-a')",
        "55000",
    );
    // Who may register and change them.
    assert_eq!(
        outcomes(
            &mut client,
            &format!(
                "INSERT INTO cloudwatcher.devices (device_id, dept_id) VALUES ('n', '{DEPOT_A}')"
            )
        ),
        [
            "42501: anon stranger retired viewer a b c south",
            "1: north head admin service"
        ]
    );
    assert_eq!(
        outcomes(
            &mut client,
            "UPDATE cloudwatcher.devices SET name = 'x' WHERE device_id = 'truck-c'"
        ),
        [
            "42501: anon",
            "0: stranger retired viewer a b c north",
            "1: south head admin service"
        ]
    );
    Ok(())
}
