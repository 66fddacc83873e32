//! Files of requests and answers, and what agents decided.

mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_support::*;
use gemba_tests::{expect_sqlstate, table};

#[test]
fn a_file_gets_into_sync() -> Result<()> {
    let (_db, mut client) = organised("files_sync")?;
    let request = served_one(
        &mut client,
        "SELECT request_id FROM cloudwatcher.submit_request('truck-a', 'get')",
    );
    served_one(
        &mut client,
        "SELECT request_id FROM cloudwatcher.claim_requests('w')",
    );
    let response = served_one(
        &mut client,
        &format!("SELECT cloudwatcher.complete_request('{request}', '{{}}')"),
    );
    let add =
        format!("SELECT cloudwatcher.add_file_ref('{request}', NULL, 'sharepoint', '/in/1.json')");
    assert_eq!(
        outcomes(&mut client, &add),
        [
            "42501: anon stranger retired viewer",
            "1: a north head admin service",
            "P0002: b c south"
        ]
    );
    let file = asked_one(&mut client, TECH_A, &add);
    assert_eq!(asked_one(&mut client, TECH_A, &add), file, "again");
    let other = asked_one(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.add_file_ref(NULL, '{response}', 'local', '/out/1.json', 7)"),
    );
    let out_of_sync =
        "SELECT file_id, sync_status, sync_error FROM cloudwatcher.files_out_of_sync()";
    assert_eq!(
        asked(&mut client, VIEWER, out_of_sync),
        [
            format!("{file} | pending | -"),
            format!("{other} | pending | -")
        ]
    );
    assert_eq!(
        asked(
            &mut client,
            VIEWER,
            "SELECT file_id FROM cloudwatcher.files_out_of_sync('local')"
        ),
        std::slice::from_ref(&other)
    );
    assert_eq!(
        outcomes(&mut client, out_of_sync),
        [
            "42501: anon",
            "0: stranger retired b c south",
            "2: viewer a north head admin service"
        ]
    );
    let failed = format!("SELECT cloudwatcher.file_failed('{file}', 'no room')");
    for _ in 0..2 {
        assert_eq!(asked_one(&mut client, TECH_A, &failed), "failed");
    }
    assert_eq!(
        asked(&mut client, TECH_A, out_of_sync)[0],
        format!("{file} | failed | no room")
    );
    assert_eq!(
        asked_one(
            &mut client,
            TECH_A,
            &format!("SELECT cloudwatcher.retry_file('{file}')")
        ),
        "pending"
    );
    for call in [
        format!("file_synced('{file}')"),
        format!("file_failed('{file}', 'x')"),
        format!("retry_file('{file}')"),
    ] {
        assert_eq!(
            outcomes(&mut client, &format!("SELECT cloudwatcher.{call}")),
            [
                "42501: anon stranger retired viewer",
                "1: a north head admin service",
                "P0002: b c south"
            ],
            "{call}"
        );
    }
    let synced = format!("SELECT cloudwatcher.file_synced('{file}', 99)");
    let at = served_one(&mut client, &synced);
    assert_eq!(served_one(&mut client, &synced), at, "again");
    refused_service(&mut client, &failed, "55000");
    assert_eq!(
        served_one(
            &mut client,
            &format!("SELECT cloudwatcher.retry_file('{file}')")
        ),
        "synced"
    );
    expect_sqlstate(client.execute("UPDATE cloudwatcher.cloud_file_refs SET sync_status = 'pending' WHERE sync_status = 'synced'", &[]), "55000");
    assert_eq!(
        table(
            &mut client,
            "SELECT file_type, cloud_provider, cloud_path, file_size_bytes, uploaded_at IS NOT NULL, sync_status FROM cloudwatcher.cloud_file_refs ORDER BY 1"
        ),
        [
            "request | sharepoint | /in/1.json | 99 | t | synced",
            "response | local | /out/1.json | 7 | f | pending"
        ]
    );
    for (call, code) in [
        (
            format!("add_file_ref('{request}', '{response}', 'local', '/x')"),
            "22023",
        ),
        (
            "add_file_ref(NULL, NULL, 'local', '/x')".to_owned(),
            "22023",
        ),
        (
            format!("add_file_ref('{request}', NULL, 'floppy', '/x')"),
            "22023",
        ),
        (
            format!("add_file_ref('{request}', NULL, NULL, '/x')"),
            "22023",
        ),
        (
            format!("add_file_ref('{request}', NULL, 'local', '')"),
            "22023",
        ),
        (
            format!("add_file_ref('{request}', NULL, 'local', NULL)"),
            "22023",
        ),
        (
            format!("add_file_ref('{request}', NULL, 'local', repeat('x', 501))"),
            "22023",
        ),
        (
            format!("add_file_ref('{request}', NULL, 'local', '/x', -1)"),
            "22023",
        ),
        (
            format!("add_file_ref('{NOTHING}', NULL, 'local', '/x')"),
            "P0002",
        ),
        (
            format!("add_file_ref(NULL, '{NOTHING}', 'local', '/x')"),
            "P0002",
        ),
        (format!("file_synced('{NOTHING}')"), "P0002"),
        (format!("file_synced('{file}', -1)"), "22023"),
        (format!("file_failed('{file}', NULL)"), "22004"),
        (format!("retry_file('{NOTHING}')"), "P0002"),
    ] {
        for error in [
            refused(
                &mut client,
                ADMIN,
                &format!("SELECT cloudwatcher.{call}"),
                code,
            ),
            refused_service(&mut client, &format!("SELECT cloudwatcher.{call}"), code),
        ] {
            assert!(error.detail().is_some() && error.hint().is_some(), "{call}");
        }
    }
    // A path of as many bytes as there can be has its place in the index.
    let longest = format!(
        "SELECT cloudwatcher.add_file_ref('{request}', NULL, 'local', (SELECT string_agg(chr(128512 + n % 70), '') FROM generate_series(1, 500) AS n)) IS NOT NULL"
    );
    assert_eq!(served_one(&mut client, &longest), "t");
    Ok(())
}

#[test]
fn decisions_are_recorded_for_good_and_found_by_what_they_say() -> Result<()> {
    let (_db, mut client) = organised("files_decisions")?;
    let request = |client: &mut postgres::Client, device: &str| {
        served_one(
            client,
            &format!("SELECT request_id FROM cloudwatcher.submit_request('{device}', 'get')"),
        )
    };
    let (a, c) = (request(&mut client, TRUCK_A), request(&mut client, TRUCK_C));
    for decision in [
        format!(
            "'{a}', 'Router', 'routing', 'parts', '{{\"rules\": [\"r1\"], \"score\": {{\"x\": 1}}}}', 0.9"
        ),
        format!("'{a}', 'PartsSpecialist', 'selection', 'F-1', '{{\"rules\": [\"r2\"]}}', 0.555"),
        format!("'{c}', 'Router', 'routing', 'nobody'"),
    ] {
        let record = format!("SELECT cloudwatcher.record_decision({decision})");
        assert_eq!(
            outcomes(&mut client, &record),
            [
                "42501: anon stranger retired viewer a b c north south head admin",
                "1: service"
            ]
        );
        served_one(&mut client, &record);
    }
    let mut found = |arguments: &str| {
        asked(
            &mut client,
            HEAD,
            &format!(
                "SELECT decision_value, confidence_score FROM cloudwatcher.decisions({arguments}) ORDER BY 1"
            ),
        )
    };
    assert_eq!(found(""), ["F-1 | 0.56", "nobody | -", "parts | 0.90"]);
    assert_eq!(found(&format!("'{a}'")), ["F-1 | 0.56", "parts | 0.90"]);
    assert_eq!(found("agent => 'Router'"), ["nobody | -", "parts | 0.90"]);
    assert_eq!(found("only_type => 'selection'"), ["F-1 | 0.56"]);
    assert_eq!(
        found("holding => '{\"rules\": [\"r1\"]}'"),
        ["parts | 0.90"]
    );
    assert_eq!(
        found("holding => '{\"score\": {\"x\": 1}}', agent => 'Router'"),
        ["parts | 0.90"]
    );
    assert_eq!(found("min_confidence => 0.6"), ["parts | 0.90"]);
    assert_eq!(found("max_confidence => 0.6"), ["F-1 | 0.56"]);
    assert_eq!(found("n => 1"), ["nobody | -"]);
    assert_eq!(
        outcomes(&mut client, "SELECT * FROM cloudwatcher.decisions()"),
        [
            "42501: anon",
            "0: stranger retired viewer a b c",
            "2: north",
            "1: south",
            "3: head admin service"
        ]
    );
    for (call, code) in [
        (format!("record_decision('{a}', NULL, 't', 'v')"), "22004"),
        (format!("record_decision('{a}', 'x', NULL, 'v')"), "22004"),
        (format!("record_decision('{a}', 'x', 't', NULL)"), "22004"),
        (
            format!("record_decision('{a}', 'x', 't', 'v', NULL)"),
            "22004",
        ),
        (format!("record_decision('{a}', '', 't', 'v')"), "22023"),
        (
            format!("record_decision('{a}', repeat('x', 101), 't', 'v')"),
            "22023",
        ),
        (
            format!("record_decision('{a}', 'x', 't', 'v', '{{}}', 1.01)"),
            "22023",
        ),
        (
            format!("record_decision('{a}', 'x', 't', 'v', '{{}}', -0.01)"),
            "22023",
        ),
        (
            format!("record_decision('{a}', 'x', 't', 'v', '{{}}', 'NaN')"),
            "22023",
        ),
        (
            format!("record_decision('{NOTHING}', 'x', 't', 'v')"),
            "P0002",
        ),
        ("decisions(n => 0)".to_owned(), "22023"),
    ] {
        let error = refused_service(
            &mut client,
            &format!("SELECT * FROM cloudwatcher.{call}"),
            code,
        );
        assert!(error.detail().is_some() && error.hint().is_some(), "{call}");
    }
    for write in [
        "UPDATE cloudwatcher.agent_decisions SET decision_value = 'x'",
        "DELETE FROM cloudwatcher.agent_decisions",
    ] {
        assert_eq!(
            outcomes(&mut client, write),
            ["42501: anon stranger retired viewer a b c north south head admin service"]
        );
    }
    expect_sqlstate(
        client.execute(
            "UPDATE cloudwatcher.agent_decisions SET decision_value = 'x'",
            &[],
        ),
        "55000",
    );
    Ok(())
}
