//! Who may do what.

use super::*;
use gemba_tests::{as_user, expect_sqlstate, extended};

const WORKERS: &[&str] = &[
    "claim_week('w')",
    "heartbeat_week('{week}')",
    "complete_week('{week}')",
    "fail_week('{week}', 'no')",
    "skip_week('{week}')",
    "reap_weeks()",
    "_admit()",
    "_free_place(5)",
];

const OWNERS: &[&str] = &[
    "pause('{id}')",
    "resume('{id}')",
    "retry_failed('{id}')",
    "cancel('{id}')",
];

fn fill(call: &str, id: &str, week: &str) -> String {
    format!(
        "SELECT reporting.{}",
        call.replace("{id}", id).replace("{week}", week)
    )
}

#[test]
fn nobody_and_strangers() -> Result<()> {
    let db = extended("roles_strangers")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 2)?;
    let week = value(
        &mut client,
        "SELECT id FROM reporting.report_data_weeks LIMIT 1",
    );
    let start_it = format!("SELECT reporting.start_collection('{FLOW}')");
    // Nobody: nothing at all.
    let mut everything: Vec<String> = WORKERS
        .iter()
        .chain(OWNERS)
        .map(|call| fill(call, &id, &week))
        .collect();
    everything.push(start_it.clone());
    everything.extend(
        [
            "report_data_collections",
            "report_data_weeks",
            "collection_progress",
        ]
        .map(|name| format!("SELECT FROM reporting.{name}")),
    );
    for statement in &everything {
        expect_sqlstate(
            as_user(&mut client, "anon", None, |tx| tx.batch_execute(statement)),
            "42501",
        );
    }
    // A logged-in user works on no weeks, whoever's they are.
    for user in [ANNA, BEN] {
        for call in WORKERS {
            let statement = fill(call, &id, &week);
            expect_sqlstate(
                as_user(&mut client, "authenticated", Some(user), |tx| {
                    tx.batch_execute(&statement)
                }),
                "42501",
            );
        }
        for statement in [
            "UPDATE reporting.report_data_weeks SET status = 'skipped'",
            "UPDATE reporting.report_data_collections SET error_message = 'x'",
            "DELETE FROM reporting.report_data_collections",
            "SELECT nextval('reporting.report_data_weeks_claim_seq')",
        ] {
            expect_sqlstate(
                as_user(&mut client, "authenticated", Some(user), |tx| {
                    tx.batch_execute(statement)
                }),
                "42501",
            );
        }
    }
    // For a stranger, and for one who is not logged in, it is not there.
    for user in [Some(BEN), None, Some("no uuid")] {
        for call in OWNERS {
            let statement = fill(call, &id, &week);
            expect_sqlstate(
                as_user(&mut client, "authenticated", user, |tx| {
                    tx.batch_execute(&statement)
                }),
                "P0002",
            );
        }
        expect_sqlstate(
            as_user(&mut client, "authenticated", user, |tx| {
                tx.batch_execute(&start_it)
            }),
            "P0002",
        );
    }
    let seen = as_user(&mut client, "authenticated", Some(BEN), |tx| {
        tx.query("SELECT FROM reporting.collection_progress UNION ALL SELECT FROM reporting.report_data_weeks UNION ALL SELECT FROM reporting.report_data_collections", &[])
    })?;
    assert!(seen.is_empty());
    assert_eq!(stands(&mut client, &id), "pending 0 0 0 0");
    Ok(())
}

#[test]
fn owners_start_and_stop_their_own() -> Result<()> {
    let db = extended("roles_owner")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let mut anna = |statement: &str| -> Result<String, Error> {
        as_user(&mut client, "authenticated", Some(ANNA), |tx| {
            Ok(tx
                .query_one(
                    &format!("SELECT q.q::text FROM ({statement}) AS q (q)"),
                    &[],
                )?
                .get(0))
        })
    };
    let id = anna(&format!(
        "SELECT collection_id::text FROM reporting.start_collection('{FLOW}', target_weeks => 2)"
    ))?;
    let created = |again: &str| {
        format!(
            "SELECT created FROM reporting.start_collection('{FLOW}'{again}, target_weeks => 2)"
        )
    };
    assert_eq!(anna(&created(""))?, "false");
    assert_eq!(anna(&created(&format!(", '{ACCOUNT}'")))?, "false");
    // Only on the workflow's own account.
    expect_sqlstate(anna(&created(&format!(", '{OTHER_ACCOUNT}'"))), "P0002");
    assert_eq!(
        anna("SELECT progress_percentage FROM reporting.collection_progress")?,
        "0"
    );
    assert_eq!(
        anna("SELECT count(*) FROM reporting.report_data_weeks")?,
        "2"
    );
    for (call, answer) in [
        ("pause", "paused"),
        ("resume", "pending"),
        ("retry_failed", "0"),
        ("cancel", "failed"),
    ] {
        assert_eq!(
            anna(&format!("SELECT reporting.{call}('{id}')"))?,
            answer,
            "{call}"
        );
    }
    assert_eq!(
        value(
            &mut client,
            "SELECT user_id FROM reporting.report_data_collections"
        ),
        ANNA
    );
    // A template of somebody else's is read by all, and collected by its owner.
    client.batch_execute("UPDATE reporting.workflows SET is_template = true")?;
    let statement = format!("SELECT reporting.start_collection('{FLOW}')");
    expect_sqlstate(
        as_user(&mut client, "authenticated", Some(BEN), |tx| {
            tx.batch_execute(&statement)
        }),
        "P0002",
    );
    Ok(())
}

#[test]
fn the_application_does_it_all() -> Result<()> {
    let db = extended("roles_service")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let mut service = db.connect_as("service_role")?;
    let (id, _) = start(
        &mut service,
        &format!("'{FLOW}', '{OTHER_ACCOUNT}', target_weeks => 4"),
    )?;
    assert_eq!(
        value(
            &mut service,
            "SELECT user_id FROM reporting.report_data_collections"
        ),
        ANNA
    );
    let week = next(&mut service)?;
    service.query(
        "SELECT reporting.heartbeat_week($1::text::uuid)",
        &[&week.week],
    )?;
    complete(&mut service, &week, Some("a"))?;
    let week = next(&mut service)?;
    fail(&mut service, &week)?;
    service.query(
        "SELECT reporting.skip_week($1::text::uuid, 'not now')",
        &[&week.week],
    )?;
    assert_eq!(value(&mut service, "SELECT reporting.reap_weeks()"), "0");
    assert_eq!(call(&mut service, "pause", &id), "paused");
    assert_eq!(call(&mut service, "resume", &id), "running");
    assert_eq!(call(&mut service, "retry_failed", &id), "0");
    assert_eq!(
        value(
            &mut service,
            "SELECT running + pending FROM reporting.collection_progress"
        ),
        "2"
    );
    assert_eq!(call(&mut service, "cancel", &id), "failed");
    service.batch_execute("UPDATE reporting.report_data_collections SET configuration = '{\"a\": 1}'; DELETE FROM reporting.report_data_collections")?;
    // As PostgREST does it.
    let made = as_user(&mut client, "service_role", None, |tx| {
        tx.query_one(
            &format!("SELECT created FROM reporting.start_collection('{FLOW}')"),
            &[],
        )
    })?;
    assert!(made.get::<_, bool>(0));
    Ok(())
}

/// What runs with the extension's rights writes nothing that belongs to somebody else.
#[test]
fn tables_that_were_given_away_are_not_written() -> Result<()> {
    let db = extended("roles_given")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let id = backfill(&mut client, FLOW, 2)?;
    let week = next(&mut client)?;
    let thief = db.role("thief")?;
    for name in ["report_data_collections", "report_data_weeks"] {
        client.batch_execute(&format!("ALTER TABLE reporting.{name} OWNER TO {thief}"))?;
        for call in ["pause", "resume", "retry_failed", "cancel"] {
            expect_sqlstate(
                client.batch_execute(&format!("SELECT reporting.{call}('{id}')")),
                "55000",
            );
        }
        expect_sqlstate(start(&mut client, &format!("'{FLOW}'")), "55000");
        expect_sqlstate(client.batch_execute("SELECT reporting._admit()"), "55000");
        if name == "report_data_collections" {
            let mut service = db.connect_as("service_role")?;
            service.batch_execute("SELECT 1")?;
            let refused =
                client.batch_execute(&format!("SELECT reporting.complete_week('{}')", week.week));
            expect_sqlstate(refused, "55000");
        }
        client.batch_execute(&format!("ALTER TABLE reporting.{name} OWNER TO postgres"))?;
    }
    complete(&mut client, &week, None)?;
    Ok(())
}
