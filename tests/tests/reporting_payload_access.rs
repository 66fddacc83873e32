//! Who sees which figures, and when a dashboard's answer is another one.

mod reporting_support;

use anyhow::Result;
use gemba_tests::{as_user, extended};
use postgres::Client;
use reporting_support::figures::*;
use reporting_support::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

fn card(workflow: &str) -> Value {
    json!({"workflows": [workflow], "metrics": ["clicks"], "period": {"last": 1}})
}

/// A week of everybody's workflows, and Anna's dashboard with a card of her sales; Ben may view it, Cleo edit it.
fn shared(client: &mut Client) -> Result<String> {
    more_people(client)?;
    for (workflow, clicks) in [(SALES, 1), (SECRET, 2), (OF_CLEO, 4), (OF_DORA, 8)] {
        week(
            client,
            (workflow, ACCOUNT),
            "2026-01-05",
            json!({"clicks": clicks, "impressions": 100}),
        )?;
    }
    let board = asked(client, ANNA, "SELECT reporting.create_dashboard('shared')");
    add(client, &board, "sales", "metric_card", &card(SALES))?;
    for (user, permission) in [(BEN, "view"), (CLEO, "edit")] {
        asked(
            client,
            ANNA,
            &format!("SELECT reporting.share_dashboard('{board}', '{user}', '{permission}')"),
        );
    }
    Ok(board)
}

/// The values of a dashboard's cards as a user sees them, or what is wrong with them.
fn values(client: &mut Client, user: &str, board: &str) -> Vec<String> {
    let payload = payload(client, user, board);
    let widgets = payload["widgets"].as_array().expect("widgets").iter();
    widgets
        .map(|widget| match &widget["error"] {
            Value::String(why) => format!("{}: {why}", widget["widget_id"]),
            _ => format!("{}: {}", widget["widget_id"], widget["data"]["value"]),
        })
        .map(|line| line.replace('"', ""))
        .collect()
}

#[test]
fn figures_are_seen_as_far_as_their_owner_lets() -> Result<()> {
    let db = extended("payload_rights")?;
    let mut client = db.connect()?;
    let board = shared(&mut client)?;
    let call = format!("SELECT reporting.dashboard_payload('{board}')");
    for (user, permission) in [(ANNA, "owner"), (BEN, "view"), (CLEO, "edit")] {
        assert_eq!(payload(&mut client, user, &board)["permission"], permission);
        assert_eq!(values(&mut client, user, &board), ["sales: 1"]);
    }
    assert_eq!(
        outcome(&mut client, "authenticated", Some(DORA), &call),
        "P0002"
    );
    assert_eq!(outcome(&mut client, "authenticated", None, &call), "P0002");
    assert_eq!(outcome(&mut client, "anon", None, &call), "42501");
    let served = ask(
        &mut client,
        "service_role",
        None,
        &format!("{call} ->> 'permission'"),
    );
    assert_eq!(served?, "owner");

    // Cleo adds one of hers, which everybody sees from then on, and names Anna's secret, which she may not show.
    for (name, workflow) in [("cleo", OF_CLEO), ("secret", SECRET)] {
        ask(
            &mut client,
            "authenticated",
            Some(CLEO),
            &format!(
                "SELECT reporting.add_widget('{board}', 'metric_card', 'x', '{}', widget_id => '{name}')",
                card(workflow)
            ),
        )?;
    }
    let hidden = "secret: not readable: 1 of 1 workflows";
    assert_eq!(
        values(&mut client, CLEO, &board),
        ["sales: 1", "cleo: 4", hidden]
    );
    assert_eq!(
        values(&mut client, BEN, &board),
        ["sales: 1", "cleo: 4", hidden]
    );
    // It is Anna's own, and so she sees it.
    assert_eq!(
        values(&mut client, ANNA, &board),
        ["sales: 1", "cleo: 4", "secret: 2"]
    );

    // A part of a sum is not shown as the sum.
    let mut both = card(SALES);
    both["workflows"] = json!([SALES, OF_DORA]);
    add(&mut client, &board, "both", "metric_card", &both)?;
    assert_eq!(
        values(&mut client, BEN, &board)[3],
        "both: not readable: 1 of 2 workflows"
    );
    let gone =
        json!({"workflows": ["20000000-0000-0000-0000-0000000000ff"], "metrics": ["clicks"]});
    add(&mut client, &board, "gone", "line", &gone)?;
    for (role, user) in [("authenticated", Some(ANNA)), ("service_role", None)] {
        let payload = ask(&mut client, role, user, &call)?;
        let payload: Value = serde_json::from_str(&payload)?;
        assert_eq!(
            widget(&payload, "gone")["error"],
            "not readable: 1 of 1 workflows"
        );
        let both = &widget(&payload, "both")["data"];
        let expected = if role == "service_role" {
            json!({"value": 9})
        } else {
            json!([])
        };
        assert_eq!(both, &expected, "{role}");
    }

    // Public: for all who are logged in. A template: what it looks like, without figures.
    client.batch_execute("UPDATE reporting.dashboards SET is_public = true")?;
    assert_eq!(values(&mut client, DORA, &board)[0], "sales: 1");
    assert_eq!(payload(&mut client, DORA, &board)["permission"], "view");
    client
        .batch_execute("UPDATE reporting.dashboards SET is_public = false, is_template = true")?;
    assert_eq!(
        values(&mut client, DORA, &board)[0],
        "sales: not readable: 1 of 1 workflows"
    );
    // A workflow that is readable without figures is no error.
    add(&mut client, &board, "empty", "metric_card", &card(EMPTY))?;
    assert_eq!(
        values(&mut client, BEN, &board).last().map(String::as_str),
        Some("empty: null")
    );

    // What is taken back is gone with the next question, also in a session that knows the plans.
    client.batch_execute(&format!(
        "DELETE FROM reporting.dashboard_sources WHERE workflow_id = '{SALES}'"
    ))?;
    assert_eq!(
        values(&mut client, BEN, &board)[0],
        "sales: not readable: 1 of 1 workflows"
    );
    assert_eq!(values(&mut client, ANNA, &board)[0], "sales: 1");
    Ok(())
}

fn version(client: &mut Client, user: &str, board: &str) -> String {
    let call = format!("SELECT reporting.dashboard_payload('{board}') ->> 'version'");
    asked(client, user, &call)
}

#[test]
fn a_version_is_another_one_exactly_when_the_answer_may_be() -> Result<()> {
    let db = extended("payload_version")?;
    let mut client = db.connect()?;
    let board = shared(&mut client)?;
    add(
        &mut client,
        &board,
        "rate",
        "line",
        &json!({"workflows": [SALES], "metrics": ["ctr", "visits"]}),
    )?;
    let figures = |workflow: &str| {
        format!(
            "UPDATE reporting.report_data_aggregates SET metrics = metrics || '{{\"clicks\": 9}}' WHERE workflow_id = '{workflow}'"
        )
    };
    // What happens, and whose answer is another one then: the owner's, the viewer's.
    for (what, change, owner, viewer) in [
        ("nothing", "SELECT".to_owned(), false, false),
        ("a title", "UPDATE reporting.dashboard_widgets SET title = 'other' WHERE widget_id = 'sales'".into(), true, true),
        ("a place", format!("SELECT reporting.move_widgets('{board}', '{{\"sales\": {{\"x\": 6, \"y\": 0, \"width\": 6, \"height\": 4}}}}')"), true, true),
        ("a look", "UPDATE reporting.dashboard_widgets SET display_config = '{\"decimals\": 2}' WHERE widget_id = 'sales'".into(), true, true),
        ("a period", "UPDATE reporting.dashboard_widgets SET data_source = data_source || '{\"period\": {\"last\": 9}}'".into(), true, true),
        ("a kind", "UPDATE reporting.dashboard_widgets SET chart_type = 'bar' WHERE widget_id = 'rate'".into(), true, true),
        ("the name", "UPDATE reporting.dashboards SET name = 'other'".into(), true, true),
        ("the description", "UPDATE reporting.dashboards SET description = 'other'".into(), false, false),
        ("the layout", "UPDATE reporting.dashboards SET layout_config = '{\"columns\": 24}'".into(), true, true),
        ("the filters", "UPDATE reporting.dashboards SET filter_config = '{\"period\": {\"last\": 3}}'".into(), true, true),
        ("its figures", figures(SALES), true, true),
        ("other figures", figures(OF_DORA), false, false),
        ("a ratio of its", "UPDATE reporting.metric_definitions SET factor = 1 WHERE name = 'ctr'".into(), true, true),
        ("its description", "UPDATE reporting.metric_definitions SET description = 'x' WHERE name = 'ctr'".into(), false, false),
        ("another ratio", "UPDATE reporting.metric_definitions SET factor = 1 WHERE name = 'cpm'".into(), false, false),
        ("a metric becomes a ratio", "INSERT INTO reporting.metric_definitions (name, numerator, denominator) VALUES ('visits', 'a', 'b')".into(), true, true),
        ("and a metric again", "DELETE FROM reporting.metric_definitions WHERE name = 'visits'".into(), true, true),
        ("another account", format!("INSERT INTO reporting.report_data_aggregates (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics) VALUES ('{SALES}', '{OTHER_ACCOUNT}', 'monthly', '2026-01', '2026-01-01', '{{}}')"), true, true),
        ("a share", format!("SELECT reporting.share_dashboard('{board}', '{BEN}', 'edit')"), false, true),
        ("somebody else's", format!("SELECT reporting.share_dashboard('{board}', '{DORA}')"), false, false),
        ("consent", format!("DELETE FROM reporting.dashboard_sources WHERE workflow_id = '{SALES}'"), false, true),
        ("a widget goes", format!("SELECT reporting.remove_widget('{board}', 'rate')"), true, true),
        ("a widget comes", format!("SELECT reporting.add_widget('{board}', 'text', 't', '{{\"content\": \"\"}}')"), true, true),
    ] {
        let before = [ANNA, BEN].map(|user| version(&mut client, user, &board));
        let mut tx = client.transaction()?;
        tx.batch_execute(&change)?;
        tx.rollback()?;
        assert_eq!([ANNA, BEN].map(|user| version(&mut client, user, &board)), before, "{what}");
        client.batch_execute(&change)?;
        let after = [ANNA, BEN].map(|user| version(&mut client, user, &board));
        assert_eq!([before[0] != after[0], before[1] != after[1]], [owner, viewer], "{what}");
        // Whoever has it is told so, and whoever has another one gets everything.
        for (user, before, after) in [(ANNA, &before[0], &after[0]), (BEN, &before[1], &after[1])] {
            let mut known = |version: &str| {
                asked(&mut client, user, &format!("SELECT reporting.dashboard_payload('{board}', '{version}') - 'filters'"))
            };
            assert_eq!(
                known(after),
                format!("{{\"version\": \"{after}\", \"unchanged\": true, \"dashboard_id\": \"{board}\"}}"),
                "{what}"
            );
            assert_eq!(known(before).contains("widgets"), before != after, "{what}");
        }
    }
    Ok(())
}

#[test]
fn an_unchanged_answer_needs_no_figures() -> Result<()> {
    let db = extended("payload_unchanged")?;
    let mut client = db.connect()?;
    let board = shared(&mut client)?;
    let known = version(&mut client, BEN, &board);
    let mut writer = db.connect()?;
    let mut busy = writer.transaction()?;
    busy.batch_execute("LOCK TABLE reporting.report_data_aggregates IN ACCESS EXCLUSIVE MODE")?;
    client.batch_execute("SET statement_timeout = '10s'")?;
    let unchanged = asked(
        &mut client,
        BEN,
        &format!("SELECT reporting.dashboard_payload('{board}', '{known}') -> 'unchanged'"),
    );
    assert_eq!(unchanged, "true");
    // The figures themselves would have to wait.
    client.batch_execute("SET statement_timeout = '200ms'")?;
    let call = format!("SELECT reporting.dashboard_payload('{board}')");
    assert_eq!(
        outcome(&mut client, "authenticated", Some(BEN), &call),
        "57014"
    );
    busy.rollback()?;
    Ok(())
}

#[test]
fn answers_of_one_version_are_the_same_while_others_write() -> Result<()> {
    let db = extended("payload_snapshot")?;
    let mut client = db.connect()?;
    let board = shared(&mut client)?;
    add(
        &mut client,
        &board,
        "line",
        "line",
        &json!({"workflows": [SALES], "metrics": ["clicks"]}),
    )?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> Result<()> {
            let mut writer = db.connect()?;
            for clicks in 0..300 {
                let mut tx = writer.transaction()?;
                tx.batch_execute(&format!(
                    "UPDATE reporting.report_data_aggregates SET metrics = '{{\"clicks\": {clicks}}}' WHERE workflow_id = '{SALES}'"
                ))?;
                tx.commit()?;
            }
            done.store(true, Ordering::SeqCst);
            Ok(())
        });
        let mut seen: HashMap<String, String> = HashMap::new();
        let call = format!("SELECT reporting.dashboard_payload('{board}')::text");
        while !done.load(Ordering::SeqCst) && !writer.is_finished() {
            // In a transaction that has written something every statement may have its own snapshot.
            let answers = as_user(&mut client, "authenticated", Some(ANNA), |tx| {
                tx.batch_execute("SELECT reporting.create_dashboard('another')")?;
                let mut answers = Vec::new();
                for _ in 0..5 {
                    answers.push(tx.query_one(&call, &[])?.get::<_, String>(0));
                }
                Ok(answers)
            })?;
            for answer in answers {
                let version = serde_json::from_str::<Value>(&answer)?["version"].to_string();
                let first = seen.entry(version).or_insert_with(|| answer.clone());
                assert_eq!(*first, answer);
            }
        }
        writer.join().expect("the writer")?;
        assert!(seen.len() > 1, "nothing changed meanwhile");
        Ok(())
    })
}

#[test]
fn a_standby_and_a_read_only_session_can_ask() -> Result<()> {
    let db = extended("payload_read_only")?;
    let mut client = db.connect()?;
    let board = shared(&mut client)?;
    client.batch_execute("SET default_transaction_read_only = on")?;
    assert_eq!(values(&mut client, BEN, &board), ["sales: 1"]);
    // Asking takes no transaction number, which a standby could not give.
    let mut tx = client.transaction()?;
    tx.execute("SELECT reporting.dashboard_payload($1)", &[&board])?;
    let number: Option<String> = tx
        .query_one("SELECT pg_current_xact_id_if_assigned()::text", &[])?
        .get(0);
    assert_eq!(number, None);
    Ok(())
}
