//! Old requests are put away with all that hangs on them, and nothing is lost on the way.

mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_support::*;
use gemba_tests::{Database, expect_sqlstate, table, value};
use postgres::Client;

/// Two months, both too old, and a young one, with requests in every state and something hanging on each.
fn old_requests(name: &str) -> Result<(Database<'static>, Client)> {
    let (db, mut client) = organised(name)?;
    client.batch_execute(&format!(
        "DO $$ BEGIN
           PERFORM gemba.ensure_partitions('cloudwatcher.requests', date_trunc('month', now() AT TIME ZONE 'UTC' - interval '200 days') AT TIME ZONE 'UTC',
                                           now() - interval '150 days');
         END $$;
         INSERT INTO cloudwatcher.requests
                (id, device_id, request_type, payload, payload_hash, status, dept_id, created_at, attempts, claimed_by, lease_expires_at, next_attempt_at)
         SELECT ('a0000000-0000-0000-0000-00000000000' || n)::uuid, 'truck-a', 't', to_jsonb(n), cloudwatcher.payload_hash(to_jsonb(n)),
                (ARRAY['pending', 'processing', 'completed', 'failed', 'completed', 'completed'])[n], '{DEPOT_A}',
                CASE WHEN n < 5 THEN now() - interval '200 days' WHEN n = 5 THEN now() - interval '165 days' ELSE now() END,
                1, 'w', CASE n WHEN 2 THEN now() + interval '1 hour' END, CASE n WHEN 1 THEN now() END
           FROM generate_series(1, 6) AS n;
         INSERT INTO cloudwatcher.request_keys SELECT device_id, request_type, payload_hash, id, created_at FROM cloudwatcher.requests;
         INSERT INTO cloudwatcher.request_metadata (request_id, key, value) SELECT id, 'k', payload::text FROM cloudwatcher.requests;
         INSERT INTO cloudwatcher.responses (request_id, device_id, dept_id, status, content)
         SELECT id, 'truck-a', '{DEPOT_A}', CASE status WHEN 'completed' THEN 'ready' ELSE 'processing' END, payload
           FROM cloudwatcher.requests WHERE status <> 'pending';
         INSERT INTO cloudwatcher.response_metadata (response_id, key, value) SELECT id, 'k', content::text FROM cloudwatcher.responses;
         INSERT INTO cloudwatcher.cloud_file_refs (request_id, file_type, cloud_provider, cloud_path)
         SELECT id, 'request', 'local', payload::text FROM cloudwatcher.requests;
         INSERT INTO cloudwatcher.cloud_file_refs (response_id, file_type, cloud_provider, cloud_path)
         SELECT id, 'response', 'local', content::text FROM cloudwatcher.responses;
         INSERT INTO cloudwatcher.agent_decisions (request_id, dept_id, agent_name, decision_type, decision_value)
         SELECT id, '{DEPOT_A}', 'a', 't', 'v' FROM cloudwatcher.requests;
         INSERT INTO cloudwatcher.orders (request_id, dept_id, created_by) SELECT id, '{DEPOT_A}', '{TECH_A}' FROM cloudwatcher.requests"
    ))?;
    Ok((db, client))
}

const LEFT: &str = "SELECT (SELECT count(*) FROM cloudwatcher.requests), (SELECT count(*) FROM cloudwatcher.request_keys),
    (SELECT count(*) FROM cloudwatcher.request_metadata), (SELECT count(*) FROM cloudwatcher.responses),
    (SELECT count(*) FROM cloudwatcher.response_metadata), (SELECT count(*) FROM cloudwatcher.cloud_file_refs),
    (SELECT count(*) FROM cloudwatcher.agent_decisions), (SELECT count(*) FROM cloudwatcher.orders)";

const ARCHIVE: &str = "SELECT regexp_replace(partition, '[0-9]{8}', CASE WHEN first THEN 'OLD' ELSE 'NEXT' END),
    regexp_replace(archived, '[0-9]{8}', '*'), action, rows
    FROM (SELECT *, partition = min(partition) OVER () AS first FROM cloudwatcher.archive_requests() WITH ORDINALITY) AS a
   ORDER BY ordinality";

#[test]
fn a_month_goes_with_all_that_hangs_on_it() -> Result<()> {
    let (_db, mut client) = old_requests("archive_month")?;
    // The engine does not take months away from what hangs on them.
    assert_eq!(
        table(
            &mut client,
            "SELECT partition FROM gemba.maintain_partitions() WHERE parent = 'cloudwatcher.requests' AND action <> 'created'"
        ),
        Vec::<String>::new()
    );
    assert_eq!(table(&mut client, LEFT), ["6 | 6 | 6 | 5 | 5 | 11 | 6 | 6"]);
    let done = served(&mut client, ARCHIVE);
    let month = |name: &str, counts: [i32; 5]| {
        [
            "request_metadata",
            "response_metadata",
            "cloud_file_refs",
            "responses",
            "",
        ]
        .iter()
        .zip(counts)
        .map(|(kind, count)| match *kind {
            "" => format!("requests_p{name} | gemba_archive.requests_p* | archived | {count}"),
            kind => {
                format!("requests_p{name} | gemba_archive.requests_p*_{kind} | archived | {count}")
            }
        })
        .collect::<Vec<_>>()
    };
    let filled: Vec<_> = done
        .iter()
        .filter(|line| !line.ends_with(" | 0"))
        .cloned()
        .collect();
    let expected = [
        month("OLD", [4, 3, 7, 3, 4]),
        month("NEXT", [1, 1, 2, 1, 1]),
    ]
    .concat();
    assert_eq!(filled, expected);
    assert_eq!(table(&mut client, LEFT), ["1 | 1 | 1 | 1 | 1 | 2 | 6 | 6"]);
    // What was not answered has expired.
    let old = value(
        &mut client,
        "SELECT min(partition) FROM cloudwatcher.request_archives WHERE requests = 4",
    );
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT payload, status, error_message FROM gemba_archive.{old} ORDER BY payload"
            )
        ),
        [
            "1 | failed | expired",
            "2 | failed | expired",
            "3 | completed | -",
            "4 | failed | -"
        ]
    );
    assert_eq!(
        table(
            &mut client,
            &format!("SELECT content, status FROM gemba_archive.{old}_responses ORDER BY content")
        ),
        ["2 | failed", "3 | ready", "4 | failed"]
    );
    // Nobody reads it, and nothing of it is left to work on.
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM pg_class c, aclexplode(c.relacl) AS x
              WHERE c.relnamespace = 'gemba_archive'::regnamespace AND x.grantee <> c.relowner"
        ),
        "0"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT bool_and(relrowsecurity) FROM pg_class WHERE relnamespace = 'gemba_archive'::regnamespace AND relkind = 'r'"
        ),
        "t"
    );
    // Again: nothing to do.
    assert!(served(&mut client, ARCHIVE).is_empty());
    // The same payload is another request now.
    assert_eq!(
        served(
            &mut client,
            "SELECT is_new FROM cloudwatcher.submit_request('truck-a', 't', '3')"
        ),
        ["t"]
    );
    // Nothing is added to what is put away.
    expect_sqlstate(
        client.execute("INSERT INTO cloudwatcher.request_metadata (request_id, key, value) VALUES ('a0000000-0000-0000-0000-000000000003', 'k', 'v')", &[]),
        "23503",
    );
    // The same month once more, as after an import: beside the first.
    client.batch_execute(
        "DO $$ BEGIN PERFORM gemba.ensure_partitions('cloudwatcher.requests', now() - interval '200 days', now() - interval '199 days 23 hours'); END $$;
         INSERT INTO cloudwatcher.requests (device_id, request_type, created_at) VALUES ('truck-a', 't', now() - interval '200 days')",
    )?;
    let again = served(
        &mut client,
        "SELECT archived, rows FROM cloudwatcher.archive_requests() WHERE rows > 0",
    );
    assert_eq!(again, [format!("gemba_archive.{old}_1 | 1")]);
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT requests FROM cloudwatcher.request_archives WHERE partition = '{old}'"
            )
        ),
        "5"
    );
    Ok(())
}

#[test]
fn how_long_is_set_and_who_may_is_too() -> Result<()> {
    let (_db, mut client) = old_requests("archive_settings")?;
    assert_eq!(
        outcomes(
            &mut client,
            "SELECT * FROM cloudwatcher.archive_requests() WHERE rows > 3"
        ),
        [
            "42501: anon stranger retired viewer a b c north south head admin",
            "3: service"
        ]
    );
    assert_eq!(
        outcomes(&mut client, "SELECT * FROM cloudwatcher.request_archives"),
        [
            "42501: anon stranger retired viewer a b c north south head admin",
            "0: service"
        ]
    );
    client.batch_execute("UPDATE cloudwatcher.settings SET requests_kept = '10 years'")?;
    assert!(served(&mut client, ARCHIVE).is_empty());
    expect_sqlstate(
        client.execute(
            "UPDATE cloudwatcher.settings SET requests_kept = '1 day'",
            &[],
        ),
        "23514",
    );
    Ok(())
}

#[test]
fn whoever_is_in_the_way_defers_it_and_loses_nothing() -> Result<()> {
    let (db, mut client) = old_requests("archive_deferred")?;
    let mut other = db.connect()?;
    client.batch_execute("SET gemba.lock_patience = '100ms'")?;
    for busy in [
        "UPDATE cloudwatcher.requests SET status = 'pending', next_attempt_at = now() WHERE payload = '4'",
        "INSERT INTO cloudwatcher.request_metadata (request_id, key, value) SELECT id, 'late', 'x' FROM cloudwatcher.requests WHERE payload = '3'",
        "INSERT INTO cloudwatcher.response_metadata (response_id, key, value) SELECT id, 'late', 'x' FROM cloudwatcher.responses WHERE content = '3'",
        // A reader holds off the last step, which takes the others back.
        "SELECT FROM cloudwatcher.requests LIMIT 1",
    ] {
        let mut open = other.transaction()?;
        open.batch_execute(busy)?;
        let done = served(
            &mut client,
            "SELECT action, detail IS NOT NULL FROM cloudwatcher.archive_requests()",
        );
        assert_eq!(done, ["deferred | t"], "{busy}");
        open.rollback()?;
        assert_eq!(
            table(&mut client, LEFT),
            ["6 | 6 | 6 | 5 | 5 | 11 | 6 | 6"],
            "{busy}"
        );
        assert_eq!(
            value(
                &mut client,
                "SELECT count(*) FROM pg_class WHERE relnamespace = 'gemba_archive'::regnamespace"
            ),
            "0"
        );
    }
    // And while it runs, old requests are not to be changed, whoever tries.
    let mut open = other.transaction()?;
    open.batch_execute("LOCK TABLE cloudwatcher.request_archives IN EXCLUSIVE MODE")?;
    for change in [
        "UPDATE cloudwatcher.requests SET status = 'pending', next_attempt_at = now() WHERE payload = '4'",
        "INSERT INTO cloudwatcher.request_metadata (request_id, key, value) SELECT id, 'late', 'x' FROM cloudwatcher.requests WHERE payload = '3'",
        "INSERT INTO cloudwatcher.response_metadata (response_id, key, value) SELECT id, 'late', 'x' FROM cloudwatcher.responses WHERE content = '3'",
        "INSERT INTO cloudwatcher.cloud_file_refs (response_id, file_type, cloud_provider, cloud_path)
         SELECT id, 'response', 'local', '/late' FROM cloudwatcher.responses WHERE content = '3'",
    ] {
        let error = expect_sqlstate(client.execute(change, &[]), "55P03");
        assert!(error.hint().is_some(), "{change}");
    }
    // Young ones are.
    assert_eq!(
        served(
            &mut client,
            "SELECT is_new FROM cloudwatcher.submit_request('truck-b', 't', '1', '{\"k\": 1}')"
        ),
        ["t"]
    );
    // What has expired is not given to anybody.
    assert_eq!(
        served(
            &mut client,
            "SELECT device_id FROM cloudwatcher.claim_requests('w', 10)"
        ),
        ["truck-b"]
    );
    open.rollback()?;
    Ok(())
}
