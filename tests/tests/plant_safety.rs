//! Safety events: recorded once, resolved and reopened by somebody at some time, and never forgotten.

use anyhow::{Context, Result};
use gemba_tests::{Database, as_user, expect_sqlstate, extended};
use postgres::{Client, Error, GenericClient};
use std::time::{Duration, Instant};

const ANNA: &str = "00000000-0000-0000-0000-0000000000a1";
const BERT: &str = "00000000-0000-0000-0000-0000000000b2";
const NOBODY: &str = "00000000-0000-0000-0000-0000000000ff";
const EVENT: &str = "00000000-0000-0000-0000-000000000e01";

/// Two users, two machines, one open event.
const PLANT: &str = "
  INSERT INTO auth.users (id, email) VALUES
    ('00000000-0000-0000-0000-0000000000a1', 'anna@example.org'),
    ('00000000-0000-0000-0000-0000000000b2', 'bert@example.org');
  INSERT INTO plant.assets (id, name, source_id) VALUES
    ('00000000-0000-0000-0000-000000000101', 'Press', 'PRESS'),
    ('00000000-0000-0000-0000-000000000102', 'Lathe', 'LATHE');
  INSERT INTO plant.safety_events (id, asset_id, event_timestamp, reason_code, severity) VALUES
    ('00000000-0000-0000-0000-000000000e01', '00000000-0000-0000-0000-000000000101', '2025-07-01 08:00+00', 'Safety Issue', 'high')";

fn plant(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    client.batch_execute(PLANT)?;
    Ok((db, client))
}

/// A query's rows, each as the text of a composite; in the query's order.
fn rows(client: &mut impl GenericClient, sql: &str) -> Result<Vec<String>, Error> {
    Ok(client
        .query(&format!("SELECT q::text FROM ({sql}) AS q"), &[])?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

/// What a call answers: whether the event is resolved, since now, by whom, and whether that is new.
fn set(
    client: &mut Client,
    role: &str,
    sub: Option<&str>,
    function: &str,
    arguments: &str,
) -> Result<String, Error> {
    let call = format!(
        "SELECT is_resolved, resolved_at = now() AS since_now, resolved_by, changed FROM plant.{function}_safety_event({arguments})"
    );
    as_user(client, role, sub, |tx| rows(tx, &call)).map(|rows| rows.join(" "))
}

fn resolve(client: &mut Client, sub: &str, note: &str) -> Result<String, Error> {
    set(
        client,
        "authenticated",
        Some(sub),
        "resolve",
        &format!("'{EVENT}', '{note}'"),
    )
}

fn reopen(client: &mut Client, sub: &str, note: &str) -> Result<String, Error> {
    set(
        client,
        "authenticated",
        Some(sub),
        "reopen",
        &format!("'{EVENT}', '{note}'"),
    )
}

/// What happened to the event, oldest first: action, note, user, role.
fn log(client: &mut Client) -> Result<Vec<String>, Error> {
    rows(
        client,
        &format!(
            "SELECT action, note, right(user_id::text, 2), done_by FROM plant.safety_event_log WHERE event_id = '{EVENT}' ORDER BY id"
        ),
    )
}

/// What the event looks like.
fn event(client: &mut Client) -> Result<String, Error> {
    rows(
        client,
        &format!(
            "SELECT is_resolved, resolved_at IS NOT NULL, right(resolved_by::text, 2), resolution_note FROM plant.safety_events WHERE id = '{EVENT}'"
        ),
    )
    .map(|rows| rows.join(" "))
}

const RECORDED: &str = "(recorded,,,postgres)";

// Resolving and reopening --------------------------------------------------------------------------

#[test]
fn resolving_notes_who_and_when() -> Result<()> {
    let (_db, mut client) = plant("safety_resolve")?;
    assert_eq!(log(&mut client)?, [RECORDED]);
    assert_eq!(
        resolve(&mut client, ANNA, "guard back on")?,
        format!("(t,t,{ANNA},t)")
    );
    assert_eq!(event(&mut client)?, "(t,t,a1,\"guard back on\")");
    assert_eq!(
        log(&mut client)?,
        [RECORDED, "(resolved,\"guard back on\",a1,authenticated)"]
    );
    // The log's times are those of the events.
    assert_eq!(
        rows(
            &mut client,
            "SELECT bool_and(l.done_at BETWEEN e.resolved_at AND clock_timestamp()) AS within, count(*)
               FROM plant.safety_event_log l JOIN plant.safety_events e ON e.id = l.event_id WHERE l.action = 'resolved'"
        )?,
        ["(t,1)"]
    );
    Ok(())
}

#[test]
fn resolving_twice_changes_nothing() -> Result<()> {
    let (_db, mut client) = plant("safety_twice")?;
    resolve(&mut client, ANNA, "first")?;
    let whole = format!("SELECT xmin, e FROM plant.safety_events e WHERE id = '{EVENT}'");
    let before = rows(&mut client, &whole)?;
    // Somebody else, later, with another note: Anna it was, and then.
    assert_eq!(
        resolve(&mut client, BERT, "second")?,
        format!("(t,f,{ANNA},f)")
    );
    assert_eq!(
        set(
            &mut client,
            "service_role",
            None,
            "resolve",
            &format!("'{EVENT}', 'x', '{BERT}'")
        )?,
        format!("(t,f,{ANNA},f)")
    );
    assert_eq!(rows(&mut client, &whole)?, before);
    assert_eq!(log(&mut client)?.len(), 2);

    assert_eq!(reopen(&mut client, BERT, "again")?, "(f,,,t)");
    let before = rows(&mut client, &whole)?;
    assert_eq!(reopen(&mut client, ANNA, "and again")?, "(f,,,f)");
    assert_eq!(rows(&mut client, &whole)?, before);
    assert_eq!(log(&mut client)?.len(), 3);
    Ok(())
}

/// Reopening an event that nobody has resolved is no change either.
#[test]
fn an_open_event_stays_as_it_is() -> Result<()> {
    let (_db, mut client) = plant("safety_open")?;
    assert_eq!(reopen(&mut client, ANNA, "what?")?, "(f,,,f)");
    assert_eq!(event(&mut client)?, "(f,f,,)");
    assert_eq!(log(&mut client)?, [RECORDED]);
    Ok(())
}

#[test]
fn every_cycle_stays_in_the_log() -> Result<()> {
    let (_db, mut client) = plant("safety_cycles")?;
    for (round, user) in [("one", ANNA), ("two", BERT), ("three", ANNA)] {
        assert_eq!(
            resolve(&mut client, user, &format!("done {round}"))?,
            format!("(t,t,{user},t)")
        );
        assert_eq!(
            reopen(&mut client, user, &format!("not done {round}"))?,
            "(f,,,t)"
        );
        assert_eq!(event(&mut client)?, format!("(f,f,,\"not done {round}\")"));
    }
    // A call without a note says nothing, rather than what was said before.
    set(
        &mut client,
        "authenticated",
        Some(BERT),
        "resolve",
        &format!("'{EVENT}'"),
    )?;
    assert_eq!(event(&mut client)?, "(t,t,b2,)");
    assert_eq!(
        log(&mut client)?,
        [
            RECORDED,
            "(resolved,\"done one\",a1,authenticated)",
            "(reopened,\"not done one\",a1,authenticated)",
            "(resolved,\"done two\",b2,authenticated)",
            "(reopened,\"not done two\",b2,authenticated)",
            "(resolved,\"done three\",a1,authenticated)",
            "(reopened,\"not done three\",a1,authenticated)",
            "(resolved,,b2,authenticated)",
        ]
    );
    Ok(())
}

#[test]
fn an_unknown_event_is_told() -> Result<()> {
    let (_db, mut client) = plant("safety_unknown")?;
    for function in ["resolve", "reopen"] {
        for (id, detail) in [
            (format!("'{NOBODY}'"), format!("id {NOBODY}")),
            ("NULL".to_owned(), "id NULL".to_owned()),
        ] {
            for role in ["authenticated", "service_role"] {
                let error =
                    expect_sqlstate(set(&mut client, role, Some(ANNA), function, &id), "P0002");
                assert_eq!(error.message(), "the safety event does not exist");
                assert_eq!(error.detail(), Some(detail.as_str()));
                assert_eq!(error.hint(), Some("see plant.safety_events"));
            }
        }
    }
    assert_eq!(log(&mut client)?, [RECORDED]);
    Ok(())
}

// Who ----------------------------------------------------------------------------------------------

#[test]
fn only_the_server_acts_on_behalf_of_somebody() -> Result<()> {
    let (_db, mut client) = plant("safety_behalf")?;
    // Not even of oneself: the token says who it is.
    for user in [ANNA, BERT] {
        for function in ["resolve", "reopen"] {
            let error = expect_sqlstate(
                set(
                    &mut client,
                    "authenticated",
                    Some(ANNA),
                    function,
                    &format!("'{EVENT}', NULL, '{user}'"),
                ),
                "42501",
            );
            assert_eq!(
                error.message(),
                "only service_role may act on behalf of somebody"
            );
            assert_eq!(
                error.detail(),
                Some(format!("on_behalf_of {user}, called by authenticated").as_str())
            );
            assert!(error.hint().is_some(), "{error:?}");
        }
    }
    assert_eq!(event(&mut client)?, "(f,f,,)");

    let for_anna = format!("'{EVENT}', 'by phone', '{ANNA}'");
    let for_bert = format!("'{EVENT}', 'by phone', '{BERT}'");
    assert_eq!(
        set(&mut client, "service_role", None, "resolve", &for_anna)?,
        format!("(t,t,{ANNA},t)")
    );
    assert_eq!(
        set(&mut client, "service_role", None, "reopen", &for_bert)?,
        "(f,,,t)"
    );
    // Whom it names counts, whosever token it holds.
    assert_eq!(
        set(
            &mut client,
            "service_role",
            Some(BERT),
            "resolve",
            &for_anna
        )?,
        format!("(t,t,{ANNA},t)")
    );
    assert_eq!(
        set(&mut client, "service_role", Some(ANNA), "reopen", &for_bert)?,
        "(f,,,t)"
    );
    // It names nobody, and has no token: it was the server itself.
    assert_eq!(
        set(
            &mut client,
            "service_role",
            None,
            "resolve",
            &format!("'{EVENT}', 'timer'")
        )?,
        "(t,t,,t)"
    );
    assert_eq!(
        log(&mut client)?,
        [
            RECORDED,
            "(resolved,\"by phone\",a1,service_role)",
            "(reopened,\"by phone\",b2,service_role)",
            "(resolved,\"by phone\",a1,service_role)",
            "(reopened,\"by phone\",b2,service_role)",
            "(resolved,timer,,service_role)",
        ]
    );
    Ok(())
}

#[test]
fn a_member_of_service_role_may_too() -> Result<()> {
    let (db, mut client) = plant("safety_member")?;
    let stranger = db.role("stranger")?;
    let member = db.role("member")?;
    client.batch_execute(&format!(
        "GRANT service_role TO \"{member}\"; GRANT authenticated TO \"{stranger}\""
    ))?;
    let for_bert = format!("'{EVENT}', NULL, '{BERT}'");
    let error = expect_sqlstate(
        set(&mut client, &stranger, Some(ANNA), "resolve", &for_bert),
        "42501",
    );
    assert_eq!(
        error.detail(),
        Some(format!("on_behalf_of {BERT}, called by {stranger}").as_str())
    );
    assert_eq!(
        set(&mut client, &member, None, "resolve", &for_bert)?,
        format!("(t,t,{BERT},t)")
    );
    assert_eq!(
        log(&mut client)?,
        [RECORDED.to_owned(), format!("(resolved,,b2,{member})")]
    );
    Ok(())
}

#[test]
fn users_can_be_kept_out() -> Result<()> {
    let (_db, mut client) = plant("safety_kept_out")?;
    client.batch_execute("UPDATE plant.settings SET users_resolve = false")?;
    for function in ["resolve", "reopen"] {
        // Whether the event exists is not said either.
        for id in [EVENT, NOBODY] {
            let error = expect_sqlstate(
                set(
                    &mut client,
                    "authenticated",
                    Some(ANNA),
                    function,
                    &format!("'{id}'"),
                ),
                "42501",
            );
            assert_eq!(error.message(), "users may not resolve safety events here");
            assert!(
                error.hint().unwrap_or_default().contains("users_resolve"),
                "{error:?}"
            );
        }
    }
    assert_eq!(
        set(
            &mut client,
            "service_role",
            None,
            "resolve",
            &format!("'{EVENT}', NULL, '{ANNA}'")
        )?,
        format!("(t,t,{ANNA},t)")
    );
    client.batch_execute("UPDATE plant.settings SET users_resolve = true")?;
    assert_eq!(reopen(&mut client, ANNA, "")?, "(f,,,t)");
    Ok(())
}

#[test]
fn anon_and_strangers_do_nothing() -> Result<()> {
    let (db, mut client) = plant("safety_anon")?;
    let stranger = db.role("stranger")?;
    for role in ["anon", &stranger] {
        for function in ["resolve", "reopen"] {
            expect_sqlstate(
                set(
                    &mut client,
                    role,
                    Some(ANNA),
                    function,
                    &format!("'{EVENT}'"),
                ),
                "42501",
            );
        }
    }
    // Nor does anybody get at what stands behind the two functions.
    for role in ["anon", "authenticated", "service_role", &stranger] {
        for call in [
            format!("plant._set_resolved('{EVENT}', true, NULL, '{ANNA}')"),
            "gemba._user()".to_owned(),
            "gemba._caller()".to_owned(),
            "gemba._refuse_foreign_owner('plant.safety_events')".to_owned(),
        ] {
            let result = as_user(&mut client, role, Some(ANNA), |tx| {
                tx.batch_execute(&format!("SELECT * FROM {call}"))
            });
            expect_sqlstate(result, "42501");
        }
    }
    // And users do it through the functions only.
    for statement in [
        "UPDATE plant.safety_events SET is_resolved = true",
        "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity)
           VALUES ('00000000-0000-0000-0000-000000000102', now(), 'x', 'low')",
        "DELETE FROM plant.safety_events",
    ] {
        let result = as_user(&mut client, "authenticated", Some(ANNA), |tx| {
            tx.batch_execute(statement)
        });
        expect_sqlstate(result, "42501");
    }
    assert_eq!(log(&mut client)?, [RECORDED]);
    Ok(())
}

/// A token that says nothing of a user, or nonsense: a user has to be somebody, the server need not.
#[test]
fn malformed_claims_are_nobodys() -> Result<()> {
    let (_db, mut client) = plant("safety_claims")?;
    let deep = "[".repeat(100_000);
    let mut expected = vec![RECORDED.to_owned()];
    for claims in [
        "",
        " ",
        "{}",
        "{not json",
        "null",
        "[]",
        "17",
        "\"text\"",
        "{\"sub\": null}",
        "{\"sub\": \"\"}",
        "{\"sub\": \"anna\"}",
        "{\"sub\": 17}",
        "{\"sub\": {\"id\": 1}}",
        "{\"sub\": \"\\u0000\"}",
        "{\"sub\": \"00000000-0000-0000-0000-0000000000a\"}",
        deep.as_str(),
    ] {
        let shown: String = claims.chars().take(60).collect();
        for (function, answer) in [("resolve", "(t,t,,t)"), ("reopen", "(f,,,t)")] {
            let mut call = |role: &str, id: &str| -> Result<Vec<String>, Error> {
                let mut tx = client.transaction()?;
                tx.execute(
                    "SELECT set_config('request.jwt.claims', $1, true)",
                    &[&claims],
                )?;
                tx.batch_execute(&format!("SET LOCAL ROLE {role}"))?;
                let found = rows(
                    &mut tx,
                    &format!(
                        "SELECT is_resolved, resolved_at = now() AS since_now, resolved_by, changed FROM plant.{function}_safety_event('{id}')"
                    ),
                )?;
                tx.commit()?;
                Ok(found)
            };
            // Whether the event exists is not said either.
            for id in [EVENT, NOBODY] {
                let error = expect_sqlstate(call("authenticated", id), "42501");
                assert_eq!(
                    error.message(),
                    "nobody is logged in",
                    "{function} with {shown}"
                );
                assert_eq!(
                    error.detail(),
                    Some("called by authenticated without a user in request.jwt.claims")
                );
                assert_eq!(
                    error.hint(),
                    Some("call it with the claims of a logged-in user, or as service_role")
                );
            }
            let found =
                call("service_role", EVENT).with_context(|| format!("{function} with {shown}"))?;
            assert_eq!(found, [answer], "{function} with {shown}");
        }
        expected.extend(["resolved", "reopened"].map(|what| format!("({what},,,service_role)")));
        assert_eq!(log(&mut client)?, expected, "{shown}");
    }
    // Without the setting too, as in a session that is not PostgREST's.
    client.batch_execute(&format!(
        "RESET request.jwt.claims; SELECT plant.resolve_safety_event('{EVENT}')"
    ))?;
    assert_eq!(
        log(&mut client)?.last().map(String::as_str),
        Some("(resolved,,,postgres)")
    );
    // Uuids have several spellings.
    reopen(&mut client, ANNA, "")?;
    let spelled = set(
        &mut client,
        "authenticated",
        Some("{00000000-0000-0000-0000-0000000000A1}"),
        "resolve",
        &format!("'{EVENT}'"),
    )?;
    assert_eq!(spelled, format!("(t,t,{ANNA},t)"));
    Ok(())
}

/// The token of a user who is gone, or whom somebody misspelled: nothing happens, and the error names it.
#[test]
fn a_user_that_does_not_exist_is_told() -> Result<()> {
    let (_db, mut client) = plant("safety_gone")?;
    let mut expected = vec![RECORDED.to_owned()];
    // Whether the event is open or resolved.
    for looks in ["(f,f,,)", "(t,t,a1,done)"] {
        for function in ["resolve", "reopen"] {
            for (role, sub, arguments) in [
                ("authenticated", Some(NOBODY), format!("'{EVENT}'")),
                ("service_role", Some(NOBODY), format!("'{EVENT}'")),
                ("service_role", None, format!("'{EVENT}', NULL, '{NOBODY}'")),
                (
                    "service_role",
                    Some(ANNA),
                    format!("'{EVENT}', NULL, '{NOBODY}'"),
                ),
            ] {
                let error =
                    expect_sqlstate(set(&mut client, role, sub, function, &arguments), "23503");
                assert_eq!(error.message(), "the user does not exist");
                assert_eq!(error.detail(), Some(format!("user {NOBODY}").as_str()));
                assert_eq!(
                    error.hint(),
                    Some("only users of auth.users resolve and reopen safety events")
                );
                assert_eq!(error.constraint(), None, "{function} as {role}");
            }
        }
        assert_eq!(event(&mut client)?, looks);
        assert_eq!(log(&mut client)?, expected);
        if looks == "(f,f,,)" {
            resolve(&mut client, ANNA, "done")?;
            expected.push("(resolved,done,a1,authenticated)".to_owned());
        }
    }
    Ok(())
}

// The log ------------------------------------------------------------------------------------------

#[test]
fn what_the_server_writes_itself_is_logged() -> Result<()> {
    let (_db, mut client) = plant("safety_direct")?;
    let mut write = |sub: Option<&str>, sql: &str| {
        as_user(&mut client, "service_role", sub, |tx| {
            tx.batch_execute(&sql.replace('$', EVENT))
        })
    };
    write(
        None,
        "UPDATE plant.safety_events SET is_resolved = true WHERE id = '$'",
    )?;
    write(
        None,
        "UPDATE plant.safety_events SET is_resolved = false WHERE id = '$'",
    )?;
    // With a token in the request, and with somebody named.
    write(
        Some(BERT),
        "UPDATE plant.safety_events SET is_resolved = true, resolution_note = 'own' WHERE id = '$'",
    )?;
    write(
        None,
        "UPDATE plant.safety_events SET is_resolved = false, resolution_note = NULL WHERE id = '$'",
    )?;
    write(
        None,
        "UPDATE plant.safety_events SET is_resolved = true, resolved_by = '00000000-0000-0000-0000-0000000000a1',
           resolved_at = '2025-07-01 09:00+00' WHERE id = '$'",
    )?;
    // No change of state: a change like others,
    write(
        None,
        "UPDATE plant.safety_events SET is_resolved = true, severity = 'low', description = 'x' WHERE id = '$'",
    )?;
    write(
        None,
        "UPDATE plant.safety_events SET severity = 'high' WHERE id = '$'",
    )?;
    // unless nothing changes.
    write(
        None,
        "UPDATE plant.safety_events SET severity = 'high', is_resolved = true WHERE id = '$'",
    )?;
    // What fails leaves no trace.
    expect_sqlstate(
        write(
            None,
            "UPDATE plant.safety_events SET is_resolved = false, severity = 'none' WHERE id = '$'",
        ),
        "23514",
    );
    assert_eq!(
        log(&mut client)?,
        [
            RECORDED,
            "(resolved,,,service_role)",
            "(reopened,,,service_role)",
            "(resolved,own,b2,service_role)",
            "(reopened,,,service_role)",
            "(resolved,,a1,service_role)",
            "(changed,,,service_role)",
            "(changed,,,service_role)",
        ]
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT action, was ->> 'severity', was ->> 'description', was ->> 'is_resolved', right(was ->> 'resolved_by', 2)
               FROM plant.safety_event_log WHERE was IS NOT NULL ORDER BY id"
        )?,
        ["(changed,high,,true,a1)", "(changed,low,x,true,a1)"],
        "the event before, of changes only"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT is_resolved, resolved_at AT TIME ZONE 'UTC', right(resolved_by::text, 2) FROM plant.safety_events"
        )?,
        ["(t,\"2025-07-01 09:00:00\",a1)"],
        "a time and a user that were given are kept"
    );
    // An upsert and a MERGE are writes like others.
    as_user(&mut client, "service_role", None, |tx| {
        tx.batch_execute(&format!(
            "MERGE INTO plant.safety_events e USING (VALUES ('{EVENT}'::uuid)) AS v (id) ON e.id = v.id
               WHEN MATCHED THEN UPDATE SET is_resolved = false;
             INSERT INTO plant.safety_events (id, asset_id, event_timestamp, reason_code, severity)
               SELECT id, asset_id, event_timestamp, reason_code, severity FROM plant.safety_events
               ON CONFLICT (id) DO UPDATE SET is_resolved = true"
        ))
    })?;
    assert_eq!(
        log(&mut client)?[8..],
        ["(reopened,,,service_role)", "(resolved,,,service_role)"]
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT resolved_at IS NOT NULL, resolved_by FROM plant.safety_events"
        )?,
        ["(t,)"],
        "the time of a change without one is now"
    );
    Ok(())
}

/// A note belongs to the change that it came with.
#[test]
fn a_change_without_a_note_does_not_repeat_the_last_one() -> Result<()> {
    let (_db, mut client) = plant("safety_stale_note")?;
    resolve(&mut client, ANNA, "all clear")?;
    as_user(&mut client, "service_role", None, |tx| {
        tx.batch_execute("UPDATE plant.safety_events SET is_resolved = false")
    })?;
    assert_eq!(
        log(&mut client)?[1..],
        [
            "(resolved,\"all clear\",a1,authenticated)",
            "(reopened,,,service_role)"
        ]
    );
    assert_eq!(event(&mut client)?, "(f,f,,)");
    // The same words again are no new note, others are.
    for (note, logged) in [("same", "same"), ("same", ""), ("other", "other")] {
        as_user(&mut client, "service_role", Some(BERT), |tx| {
            tx.batch_execute(&format!(
                "UPDATE plant.safety_events SET is_resolved = NOT is_resolved, resolution_note = '{note}'"
            ))
        })?;
        let what = if event(&mut client)?.starts_with("(t") {
            "resolved"
        } else {
            "reopened"
        };
        assert_eq!(
            log(&mut client)?.last(),
            Some(&format!("({what},{logged},b2,service_role)"))
        );
    }
    Ok(())
}

/// A change beside the functions is logged with the event as it was, whatever it changes.
#[test]
fn what_was_before_a_change_or_a_deletion_is_kept() -> Result<()> {
    let (_db, mut client) = plant("safety_was")?;
    resolve(&mut client, ANNA, "done")?;
    let whole = "SELECT to_jsonb(e) FROM plant.safety_events e";
    let mut before = Vec::new();
    for change in [
        "UPDATE plant.safety_events SET description = 'new'",
        "UPDATE plant.safety_events SET resolution_note = 'another'",
        "UPDATE plant.safety_events SET resolved_by = NULL",
        "UPDATE plant.safety_events SET asset_id = '00000000-0000-0000-0000-000000000102', financial_impact = 7",
        "DELETE FROM plant.safety_events",
    ] {
        before.extend(rows(&mut client, whole)?);
        let changed = as_user(&mut client, "service_role", Some(BERT), |tx| {
            tx.execute(change, &[])
        })?;
        assert_eq!(changed, 1, "{change}");
    }
    assert_eq!(
        rows(
            &mut client,
            "SELECT was FROM plant.safety_event_log WHERE was IS NOT NULL ORDER BY id"
        )?,
        before
    );
    assert_eq!(
        log(&mut client)?,
        [
            RECORDED,
            "(resolved,done,a1,authenticated)",
            "(changed,,b2,service_role)",
            "(changed,,b2,service_role)",
            "(changed,,b2,service_role)",
            "(changed,,b2,service_role)",
            "(deleted,,b2,service_role)",
        ]
    );
    Ok(())
}

/// An event may arrive resolved already; then it has a time, and the log says so.
#[test]
fn an_event_that_arrives_resolved_has_a_time() -> Result<()> {
    let (_db, mut client) = plant("safety_arrives")?;
    as_user(&mut client, "service_role", None, |tx| {
        tx.batch_execute(
            "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity, is_resolved, resolved_by)
               VALUES ('00000000-0000-0000-0000-000000000102', '2025-07-01 08:00+00', 'old', 'low', true, '00000000-0000-0000-0000-0000000000a1')",
        )
    })?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT is_resolved, resolved_at IS NOT NULL, right(resolved_by::text, 2) FROM plant.safety_events WHERE reason_code = 'old'"
        )?,
        ["(t,t,a1)"]
    );
    // A time of its own is kept.
    as_user(&mut client, "service_role", Some(BERT), |tx| {
        tx.batch_execute(
            "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity, is_resolved, resolved_at, resolution_note)
               VALUES ('00000000-0000-0000-0000-000000000102', '2025-07-01 08:00+00', 'older', 'low', true, '2025-07-01 09:00+00', 'at once')",
        )
    })?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT is_resolved, resolved_at = '2025-07-01 09:00+00' AS kept, resolved_by FROM plant.safety_events WHERE reason_code = 'older'"
        )?,
        ["(t,t,)"]
    );
    assert_eq!(
        rows(
            &mut client,
            &format!(
                "SELECT action, note, right(user_id::text, 2), done_by, was FROM plant.safety_event_log WHERE event_id <> '{EVENT}' ORDER BY id"
            )
        )?,
        [
            "(recorded,,a1,service_role,)",
            "(recorded,\"at once\",b2,service_role,)"
        ]
    );
    Ok(())
}

/// Whoever resolved an event is not said of one that is open.
#[test]
fn an_open_event_has_neither_time_nor_user() -> Result<()> {
    let (_db, mut client) = plant("safety_consistent")?;
    let mut refused = |statement: &str| {
        let error = expect_sqlstate(client.batch_execute(statement), "23514");
        assert_eq!(
            error.constraint(),
            Some("safety_events_resolution_check"),
            "{statement}"
        );
    };
    refused(&format!(
        "UPDATE plant.safety_events SET resolved_by = '{ANNA}'"
    ));
    refused("UPDATE plant.safety_events SET resolved_at = now()");
    for (column, value) in [("resolved_at", "now()"), ("resolved_by", "id")] {
        refused(&format!(
            "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity, {column})
               SELECT '00000000-0000-0000-0000-000000000102', now(), 'x', 'low', {value} FROM auth.users LIMIT 1"
        ));
    }
    // A resolved one has a time, if nobody in particular.
    client.batch_execute("UPDATE plant.safety_events SET is_resolved = true")?;
    assert_eq!(event(&mut client)?, "(t,t,,)");
    let error = expect_sqlstate(
        client.batch_execute("UPDATE plant.safety_events SET resolved_at = NULL"),
        "23514",
    );
    assert_eq!(error.constraint(), Some("safety_events_resolution_check"));
    // Opened again, whatever else is said with it.
    client.batch_execute(&format!(
        "UPDATE plant.safety_events SET is_resolved = false, resolved_at = now(), resolved_by = '{ANNA}'"
    ))?;
    assert_eq!(event(&mut client)?, "(f,f,,)");
    Ok(())
}

#[test]
fn nobody_but_the_owner_changes_the_log() -> Result<()> {
    let (db, mut client) = plant("safety_log")?;
    resolve(&mut client, ANNA, "done")?;
    let before = log(&mut client)?;
    let stranger = db.role("stranger")?;
    for role in ["anon", "authenticated", "service_role", &stranger] {
        for statement in [
            "UPDATE plant.safety_event_log SET note = 'never'",
            "UPDATE plant.safety_event_log SET user_id = NULL",
            "DELETE FROM plant.safety_event_log",
            "TRUNCATE plant.safety_event_log",
            "INSERT INTO plant.safety_event_log (event_id, action, done_by) SELECT id, 'reopened', 'x' FROM plant.safety_events",
            "SELECT nextval('plant.safety_event_log_id_seq')",
            "ALTER TABLE plant.safety_events DISABLE TRIGGER safety_events_log_update",
            "DROP TRIGGER safety_events_log_update ON plant.safety_events",
        ] {
            let result = as_user(&mut client, role, Some(ANNA), |tx| {
                tx.batch_execute(statement)
            });
            expect_sqlstate(result, "42501");
        }
    }
    // An event that is given another id leaves its history, and says where it came from.
    as_user(&mut client, "service_role", None, |tx| {
        tx.batch_execute("UPDATE plant.safety_events SET id = gen_random_uuid()")
    })?;
    assert_eq!(log(&mut client)?, before);
    assert_eq!(
        rows(
            &mut client,
            "SELECT l.action, l.note, l.done_by, l.was ->> 'id' FROM plant.safety_event_log l JOIN plant.safety_events e ON e.id = l.event_id"
        )?,
        [format!("(changed,,service_role,{EVENT})")]
    );
    // The owner keeps it, and may correct it.
    assert_eq!(
        client.execute(
            "DELETE FROM plant.safety_event_log WHERE note = 'done'",
            &[]
        )?,
        1
    );
    Ok(())
}

#[test]
fn the_log_outlives_its_event() -> Result<()> {
    let (_db, mut client) = plant("safety_outlives")?;
    client.batch_execute(
        "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity)
           VALUES ('00000000-0000-0000-0000-000000000102', now(), 'other', 'low')",
    )?;
    resolve(&mut client, ANNA, "done")?;
    let before = rows(
        &mut client,
        &format!("SELECT to_jsonb(e) FROM plant.safety_events e WHERE id = '{EVENT}'"),
    )?;
    let deleted = as_user(&mut client, "service_role", None, |tx| {
        tx.execute(
            &format!("DELETE FROM plant.safety_events WHERE id = '{EVENT}'"),
            &[],
        )
    })?;
    assert_eq!(deleted, 1);
    // Nor does it go with the machine or the user.
    client.batch_execute(&format!(
        "DELETE FROM plant.assets WHERE source_id = 'PRESS'; DELETE FROM auth.users WHERE id = '{ANNA}'"
    ))?;
    assert_eq!(
        log(&mut client)?,
        [
            RECORDED,
            "(resolved,done,a1,authenticated)",
            "(deleted,,,service_role)"
        ]
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT was FROM plant.safety_event_log WHERE action = 'deleted'"
        )?,
        before
    );
    assert_eq!(
        rows(
            &mut client,
            &format!("SELECT action FROM plant.safety_event_log WHERE event_id <> '{EVENT}'")
        )?,
        ["(recorded)"],
        "that of another event stays as it is"
    );
    Ok(())
}

// Tables of somebody else --------------------------------------------------------------------------

/// Gives the table away, with a trigger of the new owner's that notes who it runs as; a sequence counts
/// its runs, also those that are rolled back.
fn give_away(client: &mut Client, table: &str, operations: &str, owner: &str) -> Result<()> {
    client.batch_execute(&format!(
        "CREATE SEQUENCE public.runs;
         CREATE TABLE public.witness (who text);
         GRANT USAGE ON SEQUENCE public.runs TO PUBLIC;
         GRANT INSERT ON public.witness TO PUBLIC;
         CREATE FUNCTION public.spy() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             PERFORM nextval('public.runs');
             INSERT INTO public.witness VALUES (current_user);
             RETURN coalesce(NEW, OLD);
           END $$;
         ALTER FUNCTION public.spy() OWNER TO \"{owner}\";
         ALTER ROLE \"{owner}\" NOSUPERUSER;
         ALTER TABLE {table} OWNER TO \"{owner}\";
         GRANT USAGE ON SCHEMA plant TO \"{owner}\";
         SET ROLE \"{owner}\";
         CREATE TRIGGER spy BEFORE {operations} ON {table} FOR EACH ROW EXECUTE FUNCTION public.spy();
         RESET ROLE"
    ))?;
    Ok(())
}

/// How often the trigger ran, also in vain.
fn runs(client: &mut Client) -> Result<i64> {
    Ok(client
        .query_one(
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.runs",
            &[],
        )?
        .get(0))
}

#[track_caller]
fn expect_foreign<T: std::fmt::Debug>(result: Result<T, Error>, table: &str) {
    let error = expect_sqlstate(result, "55000");
    assert_eq!(
        error.message(),
        "the table belongs to somebody else than the extension"
    );
    assert_eq!(error.detail(), Some(format!("table {table}").as_str()));
    assert_eq!(
        error.hint(),
        Some("give it back to the owner of the extension")
    );
}

#[test]
fn events_that_belong_to_somebody_else_are_not_resolved() -> Result<()> {
    const TABLE: &str = "plant.safety_events";
    let (db, mut client) = plant("safety_foreign")?;
    let app = db.role("app")?;
    give_away(&mut client, TABLE, "INSERT OR UPDATE OR DELETE", &app)?;
    for function in ["resolve", "reopen"] {
        for role in ["authenticated", "service_role"] {
            for id in [EVENT, NOBODY] {
                expect_foreign(
                    set(&mut client, role, Some(ANNA), function, &format!("'{id}'")),
                    TABLE,
                );
            }
        }
    }
    assert_eq!(event(&mut client)?, "(f,f,,)");
    assert_eq!(log(&mut client)?, [RECORDED]);
    assert_eq!(runs(&mut client)?, 0);
    // Who writes directly does so with rights of their own.
    as_user(&mut client, "service_role", None, |tx| {
        tx.batch_execute("UPDATE plant.safety_events SET is_resolved = true")
    })?;
    assert_eq!(
        rows(&mut client, "SELECT who FROM public.witness")?,
        ["(service_role)"]
    );
    assert_eq!(
        log(&mut client)?,
        [RECORDED, "(resolved,,,service_role)"],
        "and is logged"
    );
    // Given back, or to somebody who may do everything anyway, all is well.
    client.batch_execute("DROP TRIGGER spy ON plant.safety_events")?;
    client.batch_execute(&format!("ALTER ROLE \"{app}\" SUPERUSER"))?;
    assert_eq!(reopen(&mut client, ANNA, "")?, "(f,,,t)");
    client.batch_execute(&format!("ALTER ROLE \"{app}\" NOSUPERUSER"))?;
    expect_foreign(resolve(&mut client, ANNA, ""), TABLE);
    client.batch_execute("ALTER TABLE plant.safety_events OWNER TO CURRENT_USER")?;
    assert_eq!(resolve(&mut client, ANNA, "")?, format!("(t,t,{ANNA},t)"));
    Ok(())
}

#[test]
fn a_log_that_belongs_to_somebody_else_is_not_written() -> Result<()> {
    const TABLE: &str = "plant.safety_event_log";
    let (db, mut client) = plant("safety_foreign_log")?;
    let app = db.role("app")?;
    give_away(&mut client, TABLE, "INSERT OR UPDATE OR DELETE", &app)?;
    let before = event(&mut client)?;
    expect_foreign(resolve(&mut client, ANNA, ""), TABLE);
    for statement in [
        "UPDATE plant.safety_events SET is_resolved = true",
        "UPDATE plant.safety_events SET severity = 'low'",
        "DELETE FROM plant.safety_events",
        "INSERT INTO plant.safety_events (asset_id, event_timestamp, reason_code, severity)
           VALUES ('00000000-0000-0000-0000-000000000102', now(), 'x', 'low')",
    ] {
        let result = as_user(&mut client, "service_role", None, |tx| {
            tx.batch_execute(statement)
        });
        expect_foreign(result, TABLE);
        // Neither does the superuser.
        expect_foreign(client.batch_execute(statement), TABLE);
    }
    let row = "SELECT 'PRESS' AS source_id, now() AS snapshot_timestamp, 5 AS current_output";
    expect_foreign(
        live(
            &mut client,
            &format!("{row}, 'Safety Issue' AS reason_code"),
        ),
        TABLE,
    );
    assert_eq!(event(&mut client)?, before);
    assert_eq!(log(&mut client)?, [RECORDED]);
    assert_eq!(runs(&mut client)?, 0);
    // What is no event has no need of it.
    assert_eq!(live(&mut client, row)?, "(1,0,0)");
    client.batch_execute(
        "DROP TRIGGER spy ON plant.safety_event_log; ALTER TABLE plant.safety_event_log OWNER TO CURRENT_USER",
    )?;
    assert_eq!(resolve(&mut client, ANNA, "")?, format!("(t,t,{ANNA},t)"));
    Ok(())
}

// Two at once --------------------------------------------------------------------------------------

/// Waits until some session of this database waits for a lock.
fn wait_for_a_waiter(client: &mut Client) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let waiting: i64 = client
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
                &[],
            )?
            .get(0);
        if waiting > 0 {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "nobody waits");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_at_once_are_one_change() -> Result<()> {
    for (name, commits, answer, history) in [
        // The second one sees what the first did,
        (
            "safety_two_commit",
            true,
            format!("(t,f,{ANNA},f)"),
            "(resolved,anna,a1,authenticated)",
        ),
        // or does it itself when the first one gives up.
        (
            "safety_two_abort",
            false,
            format!("(t,t,{BERT},t)"),
            "(resolved,bert,b2,authenticated)",
        ),
    ] {
        let (db, mut watcher) = plant(name)?;
        let mut anna = db.connect()?;
        let mut tx = anna.transaction()?;
        tx.batch_execute(&format!(
            "SELECT set_config('request.jwt.claims', '{{\"sub\": \"{ANNA}\"}}', true); SET LOCAL ROLE authenticated;
             SELECT plant.resolve_safety_event('{EVENT}', 'anna')"
        ))?;
        let found = std::thread::scope(|scope| -> Result<String> {
            let other = scope
                .spawn(|| -> Result<String> { Ok(resolve(&mut db.connect()?, BERT, "bert")?) });
            let waited = wait_for_a_waiter(&mut watcher);
            if commits {
                tx.commit()?;
            } else {
                tx.rollback()?;
            }
            let found = other
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")));
            waited?;
            found
        })?;
        assert_eq!(found, answer, "{name}");
        assert_eq!(log(&mut watcher)?, [RECORDED, history], "{name}");
    }
    Ok(())
}

#[test]
fn many_at_once_are_one_change() -> Result<()> {
    let (db, mut client) = plant("safety_many")?;
    let answers: Vec<Result<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let db = &db;
                scope.spawn(move || -> Result<String> {
                    let user = if n % 2 == 0 { ANNA } else { BERT };
                    Ok(resolve(&mut db.connect()?, user, &format!("{n}"))?)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))
            })
            .collect()
    });
    let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.ends_with(",t)"))
            .count(),
        1,
        "{answers:?}"
    );
    assert_eq!(log(&mut client)?.len(), 2);
    Ok(())
}

// Recording ----------------------------------------------------------------------------------------

/// Counts of an `ingest_live` call by the server: accepted, rejected, new safety events.
fn live(client: &mut Client, rows_of: &str) -> Result<String, Error> {
    as_user(client, "service_role", None, |tx| {
        rows(
            tx,
            &format!(
                "SELECT accepted, rejected, safety_events FROM plant.ingest_live((
                   SELECT jsonb_agg(to_jsonb(r)) FROM ({rows_of}) AS r))"
            ),
        )
    })
    .map(|rows| rows.join(" "))
}

/// Events that the pipeline recorded: machine, code, severity, number of the source.
fn recorded(client: &mut Client) -> Result<Vec<String>, Error> {
    rows(
        client,
        &format!(
            "SELECT a.source_id, e.reason_code, e.severity, e.source_record_id
               FROM plant.safety_events e JOIN plant.assets a ON a.id = e.asset_id WHERE e.id <> '{EVENT}'
              ORDER BY e.event_timestamp, 1, 2, 4"
        ),
    )
}

#[test]
fn an_event_with_a_number_is_recorded_once() -> Result<()> {
    let (_db, mut client) = plant("safety_number")?;
    let first = "SELECT 'PRESS' AS source_id, date_trunc('minute', now()) AS snapshot_timestamp, 5 AS current_output,
                        'Safety Issue' AS reason_code, '4711' AS source_record_id";
    assert_eq!(live(&mut client, first)?, "(1,0,1)");
    assert_eq!(live(&mut client, first)?, "(1,0,0)");
    // The number says that it is the same, whatever else has changed.
    for changed in [
        first.replace(
            "date_trunc('minute', now())",
            "now() - interval '5 minutes'",
        ),
        first.replace("'PRESS'", "'LATHE'"),
        first.replace("'4711'", "4711"),
        format!("{first}, 'low' AS severity"),
    ] {
        assert_eq!(live(&mut client, &changed)?, "(1,0,0)", "{changed}");
    }
    // Another number is another event, at the same moment of the same machine.
    assert_eq!(
        live(&mut client, &first.replace("'4711'", "'4712'"))?,
        "(1,0,1)"
    );
    // Twice in one call.
    let twice = first.replace("'4711'", "'4713'");
    assert_eq!(
        live(&mut client, &format!("{twice} UNION ALL {twice}"))?,
        "(2,0,1)"
    );
    assert_eq!(
        recorded(&mut client)?,
        [
            "(PRESS,\"Safety Issue\",critical,4711)",
            "(PRESS,\"Safety Issue\",critical,4712)",
            "(PRESS,\"Safety Issue\",critical,4713)",
        ]
    );
    // An event that was resolved is not recorded again either.
    client.batch_execute("UPDATE plant.safety_events SET is_resolved = true")?;
    assert_eq!(live(&mut client, first)?, "(1,0,0)");
    assert_eq!(
        rows(
            &mut client,
            "SELECT count(*) FROM plant.safety_events WHERE NOT is_resolved"
        )?,
        ["(0)"]
    );
    // Once each in the log, by the role that called.
    assert_eq!(
        rows(
            &mut client,
            &format!(
                "SELECT action, done_by, count(*) FROM plant.safety_event_log WHERE event_id <> '{EVENT}' AND action = 'recorded' GROUP BY 1, 2"
            )
        )?,
        ["(recorded,service_role,3)"]
    );
    Ok(())
}

#[test]
fn without_a_number_machine_time_and_code_count() -> Result<()> {
    let (_db, mut client) = plant("safety_no_number")?;
    client.batch_execute("INSERT INTO plant.safety_codes (reason_code) VALUES ('Fire')")?;
    let moment: String = client
        .query_one("SELECT date_trunc('minute', now())::text", &[])?
        .get(0);
    let row = |source: &str, offset: &str, code: &str| {
        format!(
            "SELECT '{source}' AS source_id, timestamptz '{moment}' - interval '{offset}' AS snapshot_timestamp, '{code}' AS reason_code"
        )
    };
    let first = row("PRESS", "0", "Safety Issue");
    // An event needs no count to be one.
    assert_eq!(live(&mut client, &first)?, "(1,0,1)");
    assert_eq!(live(&mut client, &first)?, "(1,0,0)");
    assert_eq!(
        live(&mut client, &format!("{first} UNION ALL {first}"))?,
        "(2,0,0)"
    );
    for other in [
        row("LATHE", "0", "Safety Issue"),
        row("PRESS", "1 microsecond", "Safety Issue"),
        row("PRESS", "0", "Fire"),
    ] {
        assert_eq!(live(&mut client, &other)?, "(1,0,1)", "{other}");
        assert_eq!(live(&mut client, &other)?, "(1,0,0)", "{other} again");
    }
    // The same time in another zone's words is the same time.
    let elsewhere = format!(
        "SELECT 'PRESS' AS source_id, to_char(timestamptz '{moment}' AT TIME ZONE 'UTC' + interval '7 hours', 'YYYY-MM-DD\"T\"HH24:MI:SS') || '+07:00' AS snapshot_timestamp,
                'Safety Issue' AS reason_code"
    );
    assert_eq!(live(&mut client, &elsewhere)?, "(1,0,0)");
    assert_eq!(recorded(&mut client)?.len(), 4);
    assert_eq!(
        rows(&mut client, "SELECT count(*) FROM plant.live_snapshots")?,
        ["(0)"],
        "without a count there is no snapshot"
    );
    Ok(())
}

#[test]
fn codes_are_the_plants_own() -> Result<()> {
    let (_db, mut client) = plant("safety_codes")?;
    let with = |code: &str| {
        format!(
            "SELECT 'PRESS' AS source_id, now() AS snapshot_timestamp, 1 AS current_output, {code} AS reason_code"
        )
    };
    // Not safety: taken as a snapshot, and no event.
    for code in [
        "'Changeover'",
        "'Safety'",
        "'Safety Issue 2'",
        "''",
        "'  '",
        "NULL::text",
        "'Near miss'",
    ] {
        assert_eq!(live(&mut client, &with(code))?, "(1,0,0)", "{code}");
    }
    // Space around it is nobody's intention.
    assert_eq!(live(&mut client, &with("E' Safety Issue\\t'"))?, "(1,0,1)");
    client.batch_execute(
        "INSERT INTO plant.safety_codes (reason_code, severity) VALUES ('Near miss', 'low'), ('17', NULL)",
    )?;
    assert_eq!(live(&mut client, &with("'Near miss'"))?, "(1,0,1)");
    // A code that is a number, and comes as one.
    assert_eq!(live(&mut client, &with("17"))?, "(1,0,1)");
    // And one that does not count any more.
    client.batch_execute("DELETE FROM plant.safety_codes WHERE reason_code = 'Safety Issue'")?;
    assert_eq!(live(&mut client, &with("'Safety Issue'"))?, "(1,0,0)");
    assert_eq!(
        recorded(&mut client)?,
        [
            "(PRESS,\"Safety Issue\",critical,)",
            "(PRESS,\"Near miss\",low,)",
            "(PRESS,17,critical,)"
        ],
        "what was recorded stays"
    );
    Ok(())
}

#[test]
fn severity_is_given_or_the_codes_or_the_plants() -> Result<()> {
    let (_db, mut client) = plant("safety_severity")?;
    client.batch_execute(
        "INSERT INTO plant.safety_codes (reason_code, severity) VALUES ('Near miss', 'low'), ('Fire', NULL)",
    )?;
    let mut number = 0;
    let mut with = |code: &str, severity: &str| {
        number += 1;
        format!(
            "SELECT 'PRESS' AS source_id, now() AS snapshot_timestamp, '{code}' AS reason_code, {severity} AS severity, {number} AS source_record_id"
        )
    };
    for (code, severity) in [
        ("Fire", "NULL::text"),
        ("Fire", "''"),
        ("Near miss", "NULL::text"),
        ("Near miss", "'high'"),
        ("Fire", "'medium'"),
    ] {
        let row = with(code, severity);
        assert_eq!(live(&mut client, &row)?, "(1,0,1)", "{row}");
    }
    client.batch_execute("UPDATE plant.settings SET default_severity = 'medium'")?;
    for code in ["Fire", "Near miss", "Safety Issue"] {
        let row = with(code, "NULL::text");
        assert_eq!(live(&mut client, &row)?, "(1,0,1)", "{row}");
    }
    assert_eq!(
        rows(
            &mut client,
            "SELECT source_record_id, reason_code, severity FROM plant.safety_events WHERE source_record_id IS NOT NULL ORDER BY source_record_id::int"
        )?,
        [
            "(1,Fire,critical)",
            "(2,Fire,critical)",
            "(3,\"Near miss\",low)",
            "(4,\"Near miss\",high)",
            "(5,Fire,medium)",
            "(6,Fire,medium)",
            "(7,\"Near miss\",low)",
            "(8,\"Safety Issue\",medium)",
        ]
    );
    // Spaces and capitals are nobody's intention.
    for (given, severity) in [
        ("' HIGH '", "high"),
        ("E'\\tCritical\\n'", "critical"),
        ("'lOw'", "low"),
    ] {
        let row = with("Fire", given);
        assert_eq!(live(&mut client, &row)?, "(1,0,1)", "{row}");
        assert_eq!(last_severity(&mut client)?, severity);
    }
    // One that there is not costs neither the event nor its neighbours, and says so.
    let row = format!(
        "{} UNION ALL {}",
        with("Near miss", "'urgent'"),
        with("Fire", "'low'")
    );
    assert_eq!(live(&mut client, &row)?, "(1,1,2)");
    let row = with("Fire", "'hoch'");
    assert_eq!(live(&mut client, &row)?, "(0,1,1)");
    assert_eq!(last_severity(&mut client)?, "medium");
    let taken = "only the safety event was taken, without it";
    let reason = |severity: &str| {
        format!(
            "(1,severity,\"severity is none of low, medium, high, critical: \"\"{severity}\"\"; {taken}\")"
        )
    };
    assert_eq!(
        rows(
            &mut client,
            "SELECT row_number, field, reason FROM plant.ingest_rejects ORDER BY id"
        )?,
        [reason("urgent"), reason("hoch")]
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT reason_code, severity FROM plant.safety_events WHERE source_record_id::int >= 12 ORDER BY source_record_id::int"
        )?,
        ["(\"Near miss\",low)", "(Fire,low)", "(Fire,medium)"],
        "the code's own, else the plant's"
    );
    // Of rows that are no safety events it says nothing.
    for code in ["'Changeover'", "NULL::text"] {
        let row = format!(
            "SELECT 'PRESS' AS source_id, now() AS snapshot_timestamp, 3 AS current_output, {code} AS reason_code, 'urgent' AS severity"
        );
        assert_eq!(live(&mut client, &row)?, "(1,0,0)", "{row}");
    }
    Ok(())
}

fn last_severity(client: &mut Client) -> Result<String, Error> {
    Ok(client
        .query_one(
            "SELECT severity FROM plant.safety_events WHERE source_record_id IS NOT NULL ORDER BY source_record_id::int DESC LIMIT 1",
            &[],
        )?
        .get(0))
}

#[test]
fn what_the_row_says_of_an_event_is_kept() -> Result<()> {
    let (_db, mut client) = plant("safety_details")?;
    let row = "SELECT 'PRESS' AS source_id, '2000-01-01' AS snapshot_timestamp, 'Safety Issue' AS reason_code,
                      E'Öl,\\n\"viel\"' AS description, 12.345 AS duration_minutes, '1e3' AS financial_impact, 'a/1' AS source_record_id"
        .replace("'2000-01-01'", "now()");
    assert_eq!(live(&mut client, &row)?, "(1,0,1)");
    let found = client.query_one(
        "SELECT description, duration_minutes::text, financial_impact::text, event_timestamp > now() - interval '1 minute',
                is_resolved, resolution_note FROM plant.safety_events WHERE source_record_id = 'a/1'",
        &[],
    )?;
    assert_eq!(found.get::<_, String>(0), "Öl,\n\"viel\"");
    assert_eq!(found.get::<_, String>(1), "12.35");
    assert_eq!(found.get::<_, String>(2), "1000.00");
    assert!(found.get::<_, bool>(3));
    assert!(!found.get::<_, bool>(4));
    assert_eq!(found.get::<_, Option<String>>(5), None);
    // What it says that cannot be is left out: the event counts, and the row says what is missing.
    let taken = "only the safety event was taken, without it";
    for (field, value, reason) in [
        ("duration_minutes", "-1", "is negative: -1"),
        (
            "duration_minutes",
            "'long'",
            "is not a number of at most 28 digits: \"long\"",
        ),
        ("duration_minutes", "100000000", "is too large: 100000000"),
        ("financial_impact", "-0.01", "is negative: -0.01"),
        (
            "financial_impact",
            "10000000000",
            "is too large: 10000000000",
        ),
        ("description", "ARRAY['a']", "is not a single value"),
        (
            "source_record_id",
            "repeat('ü', 201)",
            &format!("is longer than 200 characters: \"{}\"…", "ü".repeat(80)),
        ),
    ] {
        let moment: String = client.query_one("SELECT now()::text", &[])?.get(0);
        let bad = format!(
            "SELECT 'PRESS' AS source_id, '{moment}' AS snapshot_timestamp, 'Safety Issue' AS reason_code, 5 AS current_output, {value} AS {field}"
        );
        // Once, like others.
        for answer in ["(0,1,1)", "(0,1,0)"] {
            assert_eq!(live(&mut client, &bad)?, answer, "{field} {value}");
            let told = client.query_one(
                "SELECT field, reason FROM plant.ingest_rejects ORDER BY id DESC LIMIT 1",
                &[],
            )?;
            assert_eq!(told.get::<_, &str>(0), field);
            assert_eq!(told.get::<_, &str>(1), format!("{field} {reason}; {taken}"));
        }
        assert_eq!(
            rows(
                &mut client,
                &format!(
                    "SELECT reason_code, severity, description, source_record_id, duration_minutes, financial_impact
                       FROM plant.safety_events WHERE event_timestamp = '{moment}'"
                )
            )?,
            ["(\"Safety Issue\",critical,,,,)"]
        );
    }
    assert_eq!(
        rows(&mut client, "SELECT count(*) FROM plant.live_snapshots")?,
        ["(0)"],
        "only the event was taken"
    );
    Ok(())
}

/// What the source calls its record is an identifier: spaces around it say nothing.
#[test]
fn a_number_is_trimmed_and_of_a_length_that_an_index_holds() -> Result<()> {
    let (_db, mut client) = plant("safety_record_id")?;
    let with = |number: &str| {
        format!(
            "SELECT 'PRESS' AS source_id, now() AS snapshot_timestamp, 'Safety Issue' AS reason_code, {number} AS source_record_id"
        )
    };
    let long = format!("x{}", "ü".repeat(199));
    for (number, answer) in [
        ("'4711'", "(1,0,1)"),
        ("E' 4711\\t\\n'", "(1,0,0)"),
        ("E'\\n4712 '", "(1,0,1)"),
        ("'4712'", "(1,0,0)"),
        (&format!("'{long}'"), "(1,0,1)"),
        (&format!("'  {long}  '"), "(1,0,0)"),
    ] {
        assert_eq!(live(&mut client, &with(number))?, answer, "{number}");
    }
    assert_eq!(
        recorded(&mut client)?,
        ["4711", "4712", &long].map(|number| format!("(PRESS,\"Safety Issue\",critical,{number})"))
    );
    // A blank one is none.
    assert_eq!(live(&mut client, &with("'  '"))?, "(1,0,1)");
    assert_eq!(
        recorded(&mut client)?.last().map(String::as_str),
        Some("(PRESS,\"Safety Issue\",critical,)")
    );
    Ok(())
}

/// The machine's words for it may be in capitals; the event has the table's.
#[test]
fn codes_are_the_same_in_capitals() -> Result<()> {
    let (_db, mut client) = plant("safety_capitals")?;
    client.batch_execute(
        "INSERT INTO plant.safety_codes (reason_code, severity) VALUES ('ÖL auf Boden', 'low')",
    )?;
    let moment: String = client.query_one("SELECT now()::text", &[])?.get(0);
    for (code, answer) in [
        ("SAFETY ISSUE", "(1,0,1)"),
        ("safety issue", "(1,0,0)"),
        (" Safety issue ", "(1,0,0)"),
        ("Öl AUF boden", "(1,0,1)"),
        // Letters of ASCII only.
        ("öl auf boden", "(1,0,0)"),
    ] {
        let row = format!(
            "SELECT 'PRESS' AS source_id, '{moment}' AS snapshot_timestamp, 1 AS current_output, '{code}' AS reason_code"
        );
        assert_eq!(live(&mut client, &row)?, answer, "{code}");
    }
    assert_eq!(
        recorded(&mut client)?,
        [
            "(PRESS,\"Safety Issue\",critical,)",
            "(PRESS,\"ÖL auf Boden\",low,)"
        ]
    );
    Ok(())
}

/// The log of events persists; that snapshots are kept for a day says nothing of them.
#[test]
fn a_late_event_is_recorded_though_its_snapshot_is_too_old() -> Result<()> {
    let (_db, mut client) = plant("safety_late")?;
    let late = "SELECT 'PRESS' AS source_id, now() - interval '9 days' AS snapshot_timestamp, 'Safety Issue' AS reason_code, 'late' AS source_record_id";
    assert_eq!(live(&mut client, late)?, "(1,0,1)");
    assert_eq!(live(&mut client, late)?, "(1,0,0)");
    // The snapshot that comes with it is not taken, and that is said.
    let counted = format!("{late}, 5 AS current_output").replace("'late'", "'later'");
    assert_eq!(live(&mut client, &counted)?, "(0,1,1)");
    assert_eq!(
        rows(
            &mut client,
            "SELECT field, reason LIKE 'snapshot_timestamp is older than what is kept: %; only the safety event was taken' AS told
               FROM plant.ingest_rejects"
        )?,
        ["(snapshot_timestamp,t)"]
    );
    assert_eq!(
        rows(&mut client, "SELECT count(*) FROM plant.live_snapshots")?,
        ["(0)"]
    );
    assert_eq!(
        recorded(&mut client)?,
        [
            "(PRESS,\"Safety Issue\",critical,late)",
            "(PRESS,\"Safety Issue\",critical,later)"
        ],
        "an event of a machine that was offline over the weekend"
    );
    Ok(())
}

/// The inbox leads to the same events.
#[test]
fn an_event_through_the_inbox_is_the_same() -> Result<()> {
    let (_db, mut client) = plant("safety_inbox")?;
    let send = "INSERT INTO plant.live_inbox (source_id, snapshot_timestamp, reason_code, source_record_id)
                  VALUES ('PRESS', now()::text, 'Safety Issue', '4711'), ('LATHE', now()::text, 'Safety Issue', NULL)";
    let process = "SELECT accepted, rejected, safety_events FROM plant.process_live()";
    for events in ["(2,0,2)", "(2,0,1)"] {
        let found = as_user(&mut client, "service_role", None, |tx| {
            tx.batch_execute(send)?;
            rows(tx, process)
        })?;
        // The second time it is another moment of the one without a number.
        assert_eq!(found, [events]);
    }
    assert_eq!(
        live(
            &mut client,
            "SELECT 'PRESS' AS source_id, now() AS snapshot_timestamp, 'Safety Issue' AS reason_code, '4711' AS source_record_id"
        )?,
        "(1,0,0)"
    );
    Ok(())
}

/// Whoever owns `auth` is not the extension: what they put in the place of its users is not asked.
#[test]
fn users_that_are_a_view_are_not_asked() -> Result<()> {
    let db = extended("safety_auth_view")?;
    let mut client = db.connect()?;
    let owner = db.role("auth_admin")?;
    client.batch_execute(&format!(
        "INSERT INTO plant.assets (id, name, source_id) VALUES ('00000000-0000-0000-0000-000000000101', 'Press', 'P');
         INSERT INTO plant.safety_events (id, asset_id, event_timestamp, reason_code, severity)
           VALUES ('00000000-0000-0000-0000-00000000e001', '00000000-0000-0000-0000-000000000101', now(), 'x', 'low');
         GRANT ALL ON SCHEMA auth TO \"{owner}\"; ALTER SCHEMA auth OWNER TO \"{owner}\"; ALTER TABLE auth.users OWNER TO \"{owner}\";
         CREATE SEQUENCE public.runs; GRANT ALL ON SEQUENCE public.runs TO PUBLIC;
         SET ROLE \"{owner}\";
         CREATE FUNCTION auth.spy() RETURNS uuid LANGUAGE sql VOLATILE AS 'SELECT nextval(''public.runs''); SELECT gen_random_uuid()';
         ALTER TABLE auth.users RENAME TO people;
         CREATE VIEW auth.users AS SELECT auth.spy() AS id;
         RESET ROLE"
    ))?;
    for function in ["resolve", "reopen"] {
        let call = format!(
            "SELECT * FROM plant.{function}_safety_event('00000000-0000-0000-0000-00000000e001')"
        );
        let outcome = as_user(
            &mut client,
            "authenticated",
            Some("00000000-0000-0000-0000-00000000000a"),
            |tx| tx.query(&call, &[]),
        );
        assert!(expect_sqlstate(outcome, "55000").hint().is_some());
    }
    let called: bool = client
        .query_one("SELECT is_called FROM public.runs", &[])?
        .get(0);
    assert!(!called, "the view was asked");
    Ok(())
}
