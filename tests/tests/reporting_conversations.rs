//! Insights on record: of dashboards, of people; searching them, reading conversations, and who may.

mod reporting_support;

use anyhow::Result;
use gemba_tests::{Database, as_user, expect_sqlstate, extended, table, value};
use postgres::Client;
use reporting_support::*;

fn with_people(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    people(&mut client)?;
    Ok((db, client))
}

/// The rows of a query as a user, columns joined with ` | `, NULL left out.
fn rows(client: &mut Client, user: &str, columns: &str, from: &str) -> Result<Vec<String>> {
    let rows = as_user(client, "authenticated", Some(user), |tx| {
        tx.query(
            &format!("SELECT concat_ws(' | ', {columns}) FROM {from}"),
            &[],
        )
    })?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn record(client: &mut Client, user: &str, arguments: &str) -> String {
    asked(
        client,
        user,
        &format!("SELECT reporting.record_insight({arguments})"),
    )
}

#[test]
fn what_is_recorded_and_for_whom() -> Result<()> {
    let (_db, mut client) = with_people("conversations_record")?;
    let board = dashboard(&mut client, ANNA, "shared", SALES)?;
    for (user, permission) in [(BEN, "view"), (CLEO, "edit")] {
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.share_dashboard('{board}', '{user}', '{permission}')"),
        );
    }
    // Whoever may change the dashboard writes for its readers, unless told otherwise; the others for themselves.
    let on_board = format!("'q', 'r', '{board}'");
    let made = [
        (ANNA, on_board.clone(), "f"),
        (CLEO, on_board.clone(), "f"),
        (BEN, on_board.clone(), "t"),
        (ANNA, format!("{on_board}, private => true"), "t"),
        (ANNA, "'q', 'r'".to_owned(), "t"),
        (BEN, "'q', 'r'".to_owned(), "t"),
    ];
    for (user, arguments, private) in &made {
        let id = record(&mut client, user, arguments);
        assert!(id.starts_with("insight_"), "{id}");
        assert_eq!(
            value(
                &mut client,
                &format!(
                    "SELECT is_private::char FROM reporting.ai_insights WHERE insight_id = '{id}' AND user_id = '{user}'"
                )
            ),
            *private,
            "{arguments}"
        );
    }
    for (user, readable) in [(ANNA, "4"), (BEN, "4"), (CLEO, "2"), (DORA, "0")] {
        assert_eq!(
            asked(
                &mut client,
                user,
                "SELECT count(*) FROM reporting.search_insights()"
            ),
            readable
        );
        assert_eq!(
            asked(
                &mut client,
                user,
                "SELECT count(*) FROM reporting.search_insights() WHERE mine"
            ),
            value(
                &mut client,
                &format!("SELECT count(*) FROM reporting.ai_insights WHERE user_id = '{user}'")
            )
        );
    }
    let denied = [
        (BEN, format!("{on_board}, private => false"), "42501"),
        (DORA, on_board.clone(), "P0002"),
        (BEN, format!("'q', 'r', owner => '{ANNA}'"), "42501"),
    ];
    for (user, arguments, code) in &denied {
        let error = expect_sqlstate(
            as_user(&mut client, "authenticated", Some(user), |tx| {
                tx.query(
                    &format!("SELECT reporting.record_insight({arguments})"),
                    &[],
                )
            }),
            code,
        );
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{error:?}"
        );
    }
    // The application writes in anybody's name, by default that of the dashboard's owner.
    let service = |client: &mut Client, arguments: &str| {
        ask(
            client,
            "service_role",
            None,
            &format!("SELECT reporting.record_insight({arguments})"),
        )
    };
    let id = service(
        &mut client,
        &format!("{on_board}, confidence => 0.875, insight_type => 'optimization'"),
    )?;
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT user_id, is_private, confidence_score, insight_type, data_context, related_metrics
                   FROM reporting.ai_insights WHERE insight_id = '{id}'"
            )
        ),
        [format!("{ANNA} | f | 0.88 | optimization | {{}} | {{}}")]
    );
    let id = service(&mut client, &format!("'q', 'r', owner => '{DORA}'"))?;
    assert_eq!(
        value(
            &mut client,
            &format!("SELECT user_id FROM reporting.ai_insights WHERE insight_id = '{id}'")
        ),
        DORA
    );
    Ok(())
}

#[test]
fn what_cannot_be_recorded() -> Result<()> {
    let (_db, mut client) = with_people("conversations_refused")?;
    for (arguments, code) in [
        ("NULL, 'r'", "22023"),
        ("'q', ' '", "22023"),
        ("repeat('q', 100000), repeat('r', 100001)", "22023"),
        ("'q', 'r', confidence => 1.01", "22023"),
        ("'q', 'r', confidence => -0.01", "22023"),
        ("'q', 'r', confidence => 'NaN'", "22023"),
        ("'q', 'r', insight_type => 'guess'", "22023"),
        ("'q', 'r', data_context => '[]'", "22023"),
        ("'q', 'r', related_metrics => '\"clicks\"'", "22023"),
        ("'q', 'r', 'dash_none'", "P0002"),
    ] {
        let error = expect_sqlstate(
            as_user(&mut client, "authenticated", Some(ANNA), |tx| {
                tx.query(
                    &format!("SELECT reporting.record_insight({arguments})"),
                    &[],
                )
            }),
            code,
        );
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{error:?}"
        );
    }
    record(
        &mut client,
        ANNA,
        "repeat('q', 100000), repeat('r', 100000), confidence => 1, data_context => NULL, related_metrics => NULL",
    );
    for arguments in ["most => 0", "most => 1001", "most => NULL"] {
        expect_sqlstate(
            client.query(
                &format!("SELECT FROM reporting.search_insights({arguments})"),
                &[],
            ),
            "22023",
        );
    }
    for arguments in ["before => 'insight_none'", "dashboard => 'dash_none'"] {
        expect_sqlstate(
            client.query(
                &format!("SELECT FROM reporting.search_insights({arguments})"),
                &[],
            ),
            "P0002",
        );
    }
    Ok(())
}

#[test]
fn searching() -> Result<()> {
    let (_db, mut client) = with_people("conversations_search")?;
    let board = dashboard(&mut client, ANNA, "board", SALES)?;
    for arguments in [
        "'Why did the spending rise?', 'Campaigns in <b>Berlin</b> spent twice as much.', insight_type => 'anomaly_detection'".to_owned(),
        format!("'Which campaign sold most?', 'The one in Berlin did; campaign after campaign, Berlin campaigns sell.', '{board}'"),
        "'How is the weather?', 'It rains.'".to_owned(),
    ] {
        record(&mut client, ANNA, &arguments);
    }
    record(&mut client, BEN, "'campaign', 'campaign'");
    let found = |client: &mut Client, arguments: &str| {
        rows(
            client,
            ANNA,
            "left(query_text, 9), headline",
            &format!("reporting.search_insights({arguments})"),
        )
    };
    // Words in any form, the best match first; tags are no words.
    assert_eq!(
        found(&mut client, "'campaign'")?,
        [
            "Which cam | Which «campaign» sold most? The one in Berlin did; «campaign» after «campaign», Berlin «campaigns» sell",
            "Why did t | spending rise? «Campaigns» in  Berlin  spent twice as much",
        ]
    );
    let starts = |list: Vec<String>| -> Vec<String> {
        list.into_iter().map(|line| line[..9].to_owned()).collect()
    };
    for (arguments, expected) in [
        ("'campaign -twice'".to_owned(), vec!["Which cam"]),
        (
            "'weather or \"spent twice\"'".to_owned(),
            vec!["How is th", "Why did t"],
        ),
        (
            "'berlin', insight_type => 'anomaly_detection'".to_owned(),
            vec!["Why did t"],
        ),
        (format!("'berlin', '{board}'"), vec!["Which cam"]),
        (format!("dashboard => '{board}'"), vec!["Which cam"]),
        // Newest first.
        (String::new(), vec!["How is th", "Which cam", "Why did t"]),
        (
            "'  '".to_owned(),
            vec!["How is th", "Which cam", "Why did t"],
        ),
        ("most => 1".to_owned(), vec!["How is th"]),
        ("'the'".to_owned(), vec![]),
        ("'nowhere'".to_owned(), vec![]),
        ("'''; DROP TABLE x; -- & | ! ( :*'".to_owned(), vec![]),
    ] {
        let mut found = starts(found(&mut client, &arguments)?);
        if arguments.contains(" or ") {
            found.sort();
        }
        assert_eq!(found, expected, "{arguments}");
    }
    // Page by page, each insight once, also those of one rank and those of one moment.
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute("SELECT reporting.record_insight('page', 'number ' || n) FROM generate_series(1, 25) AS n")
    })?;
    client.batch_execute(
        "UPDATE reporting.ai_insights SET created_at = '2025-01-01' WHERE query_text = 'page'",
    )?;
    for search in ["'page'", "NULL"] {
        let mut seen = Vec::new();
        let mut before = "NULL".to_owned();
        loop {
            let page = rows(
                &mut client,
                ANNA,
                "insight_id",
                &format!("reporting.search_insights({search}, most => 7, before => {before})"),
            )?;
            let Some(last) = page.last() else { break };
            before = format!("'{last}'");
            seen.extend(page);
        }
        let all = rows(
            &mut client,
            ANNA,
            "insight_id",
            &format!("reporting.search_insights({search}, most => 1000)"),
        )?;
        assert_eq!(seen, all);
        assert_eq!(seen.len(), if search == "NULL" { 28 } else { 25 });
    }
    Ok(())
}

#[test]
fn a_conversation_keeps_its_order() -> Result<()> {
    let (_db, mut client) = with_people("conversations_order")?;
    let conversation = "70000000-0000-0000-0000-000000000007";
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "SELECT reporting.record_insight('q' || n, 'r', conversation => '{conversation}', data_context => jsonb_build_object('n', n))
               FROM generate_series(1, 9) AS n"
        ))
    })?;
    record(&mut client, ANNA, "'another', 'one'");
    record(
        &mut client,
        BEN,
        &format!("'mine', 'own', conversation => '{conversation}'"),
    );
    let call = format!("reporting.conversation('{conversation}')");
    assert_eq!(
        rows(
            &mut client,
            ANNA,
            "query_text, data_context ->> 'n', mine",
            &call
        )?,
        (1..10)
            .map(|n| format!("q{n} | {n} | t"))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        rows(&mut client, BEN, "query_text, mine", &call)?,
        ["mine | t"]
    );
    assert_eq!(
        rows(&mut client, DORA, "query_text", &call)?,
        Vec::<String>::new()
    );
    Ok(())
}

/// A dashboard of Anna's over 20 weeks: clicks rise and leap at the end, sales stay; twice the same card, and a text.
fn board_with_figures(client: &mut Client) -> Result<String> {
    client.batch_execute(&format!(
        "DELETE FROM reporting.report_data_aggregates;
         INSERT INTO reporting.report_data_aggregates
                (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics)
         SELECT '{SALES}', '{ACCOUNT}', 'weekly', format('%s_%s', d, d + 6), d,
                jsonb_build_object('clicks', CASE n WHEN 19 THEN 500 ELSE 100 + n END, 'sales', 7, 'spend', 1e200)
           FROM (SELECT n, DATE '2025-01-06' + 7 * n AS d FROM generate_series(0, 19) AS n) AS w"
    ))?;
    let board = asked(
        client,
        ANNA,
        "SELECT reporting.create_dashboard('board', filter_config => '{\"period\": {\"last\": 10}}')",
    );
    let source =
        |metrics: &str| format!("{{\"workflows\": [\"{SALES}\"], \"metrics\": {metrics}}}");
    for (widget_type, chart, data_source, place, id) in [
        ("text", "NULL", "{\"content\": \"x\"}".to_owned(), 0, "text"),
        (
            "chart",
            "'line'",
            source("[\"sales\", \"spend\", \"clicks\", \"nothing\"]"),
            2,
            "lines",
        ),
        ("metric_card", "NULL", source("[\"clicks\"]"), 1, "card"),
    ] {
        asked(
            client,
            ANNA,
            &format!(
                "SELECT reporting.add_widget('{board}', '{widget_type}', 't', '{data_source}',
                        '{{\"x\": 0, \"y\": {place}, \"width\": 2, \"height\": 1}}', {chart}, widget_id => '{id}')"
            ),
        );
    }
    Ok(board)
}

#[test]
fn a_dashboard_is_looked_through() -> Result<()> {
    let (_db, mut client) = with_people("conversations_dashboard")?;
    let board = board_with_figures(&mut client)?;
    let call = format!("reporting.dashboard_insights('{board}')");
    // The higher widget first, the same figures once; figures that cannot be worked with cost the others nothing.
    assert_eq!(
        rows(
            &mut client,
            ANNA,
            "widget_id, insight_type, metric_name, workflow_id, period_key, summary, confidence, insight_id",
            &call
        )?,
        [
            format!(
                "card | trend_analysis | clicks | {SALES} | 2025-05-19_2025-05-25 | \
                 clicks rose by 1 a week over 10 weeks (slope 95% CI 1 to 1), p < 0.001. | 0.99"
            ),
            format!(
                "card | anomaly_detection | clicks | {SALES} | 2025-05-19_2025-05-25 | clicks was 500 in the week of 2025-05-19, \
                 above the 112.5 that is usual: the median of the 12 weeks before (robust z 87.1). | 0.92"
            ),
        ]
    );
    // A period of its own: before the leap. Of 8 weeks alone, nothing stands out.
    for (period, expected) in [
        ("{\"from\": \"2025-01-01\", \"to\": \"2025-05-18\"}", "1"),
        ("{\"from\": \"2025-05-19\", \"to\": \"2025-05-25\"}", "1"),
        ("{\"from\": \"2024-01-01\", \"to\": \"2024-12-31\"}", "0"),
        ("{\"last\": 3}", "1"),
        ("{\"last\": 20}", "2"),
    ] {
        as_user(&mut client, "authenticated", Some(ANNA), |tx| {
            tx.batch_execute(&format!(
                "UPDATE reporting.dashboards SET filter_config = '{{\"period\": {period}}}' WHERE dashboard_id = '{board}'"
            ))
        })?;
        assert_eq!(
            asked(&mut client, ANNA, &format!("SELECT count(*) FROM {call}")),
            expected,
            "{period}"
        );
    }
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!(
                "SELECT count(*) FROM reporting.dashboard_insights('{board}', least_confidence => 0.93)"
            )
        ),
        "1"
    );
    for arguments in ["NULL", "'x', least_confidence => NULL"] {
        expect_sqlstate(
            client.query(
                &format!("SELECT FROM reporting.dashboard_insights({arguments})"),
                &[],
            ),
            "22023",
        );
    }
    Ok(())
}

#[test]
fn what_was_found_is_recorded_once() -> Result<()> {
    let (_db, mut client) = with_people("conversations_findings")?;
    let board = board_with_figures(&mut client)?;
    for (user, permission) in [(BEN, "view"), (CLEO, "edit")] {
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.share_dashboard('{board}', '{user}', '{permission}')"),
        );
    }
    let call = format!("reporting.dashboard_insights('{board}', true)");
    let first = rows(&mut client, ANNA, "insight_id", &call)?;
    assert_eq!(first.len(), 2);
    assert_eq!(rows(&mut client, ANNA, "insight_id", &call)?, first);
    assert_eq!(
        table(
            &mut client,
            "SELECT user_id, query_text, insight_type, confidence_score, related_metrics, is_private, data_context ->> 'widget_id',
                    data_context ->> 'period_key', count(*) OVER (PARTITION BY conversation_id)
               FROM reporting.ai_insights ORDER BY created_at"
        ),
        [
            format!(
                "{ANNA} | What stands out in clicks? | trend_analysis | 0.99 | {{\"metrics\": [\"clicks\"]}} | f | card | 2025-05-19_2025-05-25 | 2"
            ),
            format!(
                "{ANNA} | What stands out in clicks? | anomaly_detection | 0.92 | {{\"metrics\": [\"clicks\"]}} | f | card | 2025-05-19_2025-05-25 | 2"
            ),
        ]
    );
    // A reader's are the reader's own; the application's are the owner's.
    rows(&mut client, BEN, "insight_id", &call)?;
    assert_eq!(
        table(
            &mut client,
            "SELECT user_id, is_private, count(*) FROM reporting.ai_insights GROUP BY 1, 2 ORDER BY 1"
        ),
        [format!("{ANNA} | f | 2"), format!("{BEN} | t | 2")]
    );
    let of_service = as_user(&mut client, "service_role", None, |tx| {
        tx.query(&format!("SELECT insight_id FROM {call}"), &[])
    })?;
    let of_service: Vec<String> = of_service.iter().map(|row| row.get(0)).collect();
    assert_eq!(of_service, first);
    // Without it nothing is written, so that it can be asked where nothing may be.
    client.batch_execute("BEGIN READ ONLY")?;
    assert_eq!(
        value(
            &mut client,
            &format!("SELECT count(*) FROM reporting.dashboard_insights('{board}')")
        ),
        "2"
    );
    client.batch_execute("ROLLBACK")?;
    expect_sqlstate(
        as_user(&mut client, "authenticated", Some(DORA), |tx| {
            tx.query(&format!("SELECT FROM {call}"), &[])
        }),
        "P0002",
    );
    Ok(())
}

#[test]
fn movers_of_a_dashboard() -> Result<()> {
    let (_db, mut client) = with_people("conversations_movers")?;
    client.batch_execute(&format!(
        "DELETE FROM reporting.report_data_aggregates;
         INSERT INTO reporting.report_data_aggregates
                (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics)
         SELECT w.id, '{ACCOUNT}', 'weekly', format('%s_%s', d, d + 6), d,
                jsonb_build_object('clicks', 100 + n % 2 + CASE WHEN n = 19 AND w.name = 'sales' THEN 50 ELSE 0 END)
           FROM reporting.workflows w, (SELECT n, DATE '2025-01-06' + 7 * n AS d FROM generate_series(0, 19) AS n) AS x"
    ))?;
    let board = asked(
        &mut client,
        ANNA,
        "SELECT reporting.create_dashboard('board')",
    );
    asked(
        &mut client,
        ANNA,
        &format!(
            "SELECT reporting.add_widget('{board}', 'table', 't', '{{\"workflows\": [\"{SALES}\", \"{SECRET}\"], \"metrics\": [\"clicks\"]}}')"
        ),
    );
    assert_eq!(
        rows(
            &mut client,
            ANNA,
            "insight_type, summary",
            &format!("reporting.dashboard_insights('{board}')")
        )?,
        [
            "anomaly_detection | clicks was 252 in the week of 2025-05-19, above the 201 that is usual: the median of the 12 weeks before (robust z 34.4).",
            "optimization | clicks of sales rose from 100 to 151 (+51, +51%), 98.1% of the total's change.",
        ]
    );
    Ok(())
}
