//! Insights on record: of dashboards, of people; searching them, reading conversations, and who may.

mod reporting_support;

use anyhow::Result;
use gemba_tests::{Database, as_user, expect_sqlstate, extended, table, value, wait_until};
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
        &format!("{on_board}, confidence => 0.999, insight_type => 'optimization'"),
    )?;
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT user_id, is_private, confidence_score, insight_type, data_context, related_metrics
                   FROM reporting.ai_insights WHERE insight_id = '{id}'"
            )
        ),
        [format!("{ANNA} | f | 0.99 | optimization | {{}} | {{}}")]
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
        ("'q', NULL", "22023"),
        ("'q', ' '", "22023"),
        ("E'\\n\\t', 'r'", "22023"),
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
    for arguments in [
        "most => 0",
        "most => 1001",
        "most => NULL",
        "insight_type => 'guess'",
        "repeat('w', 1001)",
        "repeat('w ', 50000)",
    ] {
        let error = expect_sqlstate(
            client.query(
                &format!("SELECT FROM reporting.search_insights({arguments})"),
                &[],
            ),
            "22023",
        );
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{error:?}"
        );
    }
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM reporting.search_insights(repeat('r ', 500))"
        ),
        "0"
    );
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

#[test]
fn nobody_writes_into_the_conversations_of_others() -> Result<()> {
    let (_db, mut client) = with_people("conversations_foreign")?;
    let board = dashboard(&mut client, ANNA, "board", SALES)?;
    let of_dora = dashboard(&mut client, DORA, "of Dora", OF_DORA)?;
    for (user, permission) in [(BEN, "view"), (CLEO, "edit")] {
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.share_dashboard('{board}', '{user}', '{permission}')"),
        );
    }
    client.batch_execute(&format!(
        "UPDATE reporting.dashboards SET is_public = true WHERE dashboard_id = '{of_dora}'"
    ))?;
    let conversation = "70000000-0000-0000-0000-000000000007";
    for (user, arguments) in [
        (ANNA, "'1 hers alone', 'r'".to_owned()),
        (DORA, format!("'2 intrusion', 'r', '{of_dora}'")),
        (ANNA, format!("'3 for readers', 'r', '{board}'")),
        (CLEO, format!("'4 of an editor', 'r', '{board}'")),
        (BEN, format!("'5 of a reader', 'r', '{board}'")),
        (DORA, format!("'6 intrusion', 'r', '{of_dora}'")),
    ] {
        record(
            &mut client,
            user,
            &format!("{arguments}, conversation => '{conversation}'"),
        );
    }
    let numbers = |client: &mut Client, user| -> Result<String> {
        let call = format!("reporting.conversation('{conversation}')");
        Ok(rows(client, user, "left(query_text, 1)", &call)?.concat())
    };
    assert_eq!(numbers(&mut client, ANNA)?, "134");
    // Whoever may read everything reads it as who began it does, with what others keep to themselves.
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT string_agg(left(query_text, 1), '') FROM reporting.conversation('{conversation}')"
            )
        ),
        "1345"
    );
    assert_eq!(numbers(&mut client, DORA)?, "26");
    // To those who were not told how it began, it began later.
    client.batch_execute("DELETE FROM reporting.ai_insights WHERE query_text ~ '^2'")?;
    assert_eq!(numbers(&mut client, BEN)?, "345");
    assert_eq!(numbers(&mut client, CLEO)?, "34");
    Ok(())
}

#[test]
fn owners_clear_up_their_dashboards() -> Result<()> {
    let (_db, mut client) = with_people("conversations_clear")?;
    let board = dashboard(&mut client, ANNA, "board", SALES)?;
    let of_cleo = dashboard(&mut client, CLEO, "of Cleo", OF_CLEO)?;
    for (user, permission) in [(BEN, "view"), (CLEO, "edit"), (DORA, "edit")] {
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.share_dashboard('{board}', '{user}', '{permission}')"),
        );
    }
    asked(
        &mut client,
        CLEO,
        &format!("SELECT reporting.share_dashboard('{of_cleo}', '{ANNA}', 'edit')"),
    );
    for (user, arguments) in [
        (CLEO, format!("'for all', 'r', '{board}'")),
        (CLEO, format!("'her own', 'r', '{board}', private => true")),
        (CLEO, format!("'elsewhere', 'r', '{of_cleo}'")),
        (CLEO, "'nowhere', 'r'".to_owned()),
        (DORA, format!("'of a former editor', 'r', '{board}'")),
    ] {
        record(&mut client, user, &arguments);
    }
    asked(
        &mut client,
        ANNA,
        &format!("SELECT reporting.unshare('{board}', '{DORA}')"),
    );
    let delete = "DELETE FROM reporting.ai_insights RETURNING query_text";
    let deleted = |client: &mut Client, user| -> Result<Vec<String>> {
        let rows = as_user(client, "authenticated", Some(user), |tx| {
            let mut inner = tx.transaction()?;
            let rows = inner.query(delete, &[])?;
            inner.rollback()?;
            Ok(rows)
        })?;
        let mut texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        texts.sort();
        Ok(texts)
    };
    assert_eq!(
        deleted(&mut client, ANNA)?,
        ["for all", "of a former editor"]
    );
    assert_eq!(deleted(&mut client, BEN)?, Vec::<String>::new());
    assert_eq!(
        deleted(&mut client, CLEO)?,
        ["elsewhere", "for all", "her own", "nowhere"]
    );
    // Still the author's, also when the dashboard is no longer shared.
    assert_eq!(deleted(&mut client, DORA)?, ["of a former editor"]);
    Ok(())
}

/// How many insights a statement has read, one by one and through indexes, and what it found.
fn read_by(
    client: &mut Client,
    role: &str,
    user: Option<&str>,
    call: &str,
) -> Result<(i64, i64, Vec<String>)> {
    const READ: &str =
        "SELECT coalesce(seq_tup_read, 0), coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
                         WHERE relid = 'reporting.ai_insights'::regclass";
    Ok(as_user(client, role, user, |tx| {
        let before = tx.query_one(READ, &[])?;
        let rows = tx.query(&format!("SELECT query_text FROM {call}"), &[])?;
        let after = tx.query_one(READ, &[])?;
        let more = |column| after.get::<_, i64>(column) - before.get::<_, i64>(column);
        let mut found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        found.sort();
        Ok((more(0), more(1), found))
    })?)
}

#[test]
fn searches_read_nothing_of_strangers() -> Result<()> {
    let (_db, mut client) = with_people("conversations_reads")?;
    let own = dashboard(&mut client, ANNA, "own", SALES)?;
    let shared = dashboard(&mut client, CLEO, "shared", OF_CLEO)?;
    let public = dashboard(&mut client, DORA, "public", OF_DORA)?;
    let foreign = dashboard(&mut client, DORA, "foreign", OF_DORA)?;
    asked(
        &mut client,
        ANNA,
        &format!("SELECT reporting.share_dashboard('{own}', '{CLEO}', 'edit')"),
    );
    asked(
        &mut client,
        CLEO,
        &format!("SELECT reporting.share_dashboard('{shared}', '{ANNA}')"),
    );
    client.batch_execute(&format!(
        "UPDATE reporting.dashboards SET is_public = true WHERE dashboard_id = '{public}';
         INSERT INTO reporting.ai_insights (user_id, dashboard_id, query_text, response_text, is_private)
         SELECT '{DORA}', d.id, 'foreign', 'campaign', n % 2 = 0
           FROM generate_series(1, 20000) AS n, reporting.dashboards d WHERE d.dashboard_id = '{foreign}'"
    ))?;
    for (user, arguments) in [
        (ANNA, "'own', 'campaign, rare'".to_owned()),
        (ANNA, "'weather', 'rain'".to_owned()),
        (CLEO, format!("'of an editor', 'campaign', '{own}'")),
        (CLEO, format!("'shared', 'campaign', '{shared}'")),
        (
            CLEO,
            format!("'hers', 'campaign', '{shared}', private => true"),
        ),
        (DORA, format!("'public', 'campaign', '{public}'")),
    ] {
        record(&mut client, user, &arguments);
    }
    client.batch_execute("VACUUM ANALYZE reporting.ai_insights")?;
    let mut client = _db.connect()?;
    let mut as_anna = |arguments: &str| {
        read_by(
            &mut client,
            "authenticated",
            Some(ANNA),
            &format!("reporting.search_insights({arguments})"),
        )
    };
    let in_public = format!("'campaign', '{public}'");
    let last = as_anna("'rain'")?;
    assert_eq!(last.2, ["weather"]);
    for (arguments, expected) in [
        ("'campaign'", vec!["of an editor", "own", "shared"]),
        ("", vec!["of an editor", "own", "shared", "weather"]),
        ("insight_type => 'optimization'", vec![]),
        // What is public is found where it is looked for.
        (in_public.as_str(), vec!["public"]),
    ] {
        // More often than plans are made anew by themselves.
        for _ in 0..8 {
            let (one_by_one, through_indexes, found) = as_anna(arguments)?;
            assert_eq!(one_by_one, 0, "{arguments}");
            assert!(through_indexes <= 50, "{arguments}: {through_indexes}");
            assert_eq!(found, expected, "{arguments}");
        }
    }
    // The application looks words up.
    for _ in 0..8 {
        let (one_by_one, through_indexes, found) = read_by(
            &mut client,
            "service_role",
            None,
            "reporting.search_insights('rare')",
        )?;
        assert_eq!(found, ["own"]);
        assert_eq!(one_by_one, 0);
        assert!(through_indexes <= 50, "{through_indexes}");
    }
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
    for arguments in [
        "NULL",
        "'x', least_confidence => NULL",
        "'x', least_confidence => 1.01",
        "'x', least_confidence => -0.01",
    ] {
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

/// 20 weeks in which clicks of all workflows rise, those of Anna's by far more.
fn rising(client: &mut Client) -> Result<()> {
    client.batch_execute(&format!(
        "DELETE FROM reporting.report_data_aggregates;
         INSERT INTO reporting.report_data_aggregates
                (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics)
         SELECT w.id, '{ACCOUNT}', 'weekly', format('%s_%s', d, d + 6), d,
                jsonb_build_object('clicks', 1000 + n * CASE w.user_id WHEN '{ANNA}' THEN 10 ELSE 1 END
                                              + CASE WHEN n = 19 AND w.id = '{SALES}' THEN 500 ELSE 0 END)
           FROM reporting.workflows w, (SELECT n, DATE '2025-01-06' + 7 * n AS d FROM generate_series(0, 19) AS n) AS x"
    ))?;
    Ok(())
}

/// A dashboard with a widget of clicks for each list of workflows, with the number of the list as its id.
fn of_workflows(client: &mut Client, owner: &str, widgets: &[&[&str]]) -> String {
    let board = asked(
        client,
        owner,
        "SELECT reporting.create_dashboard('of workflows')",
    );
    for (number, workflows) in widgets.iter().enumerate() {
        let workflows = workflows.join("\", \"");
        asked(
            client,
            owner,
            &format!(
                "SELECT reporting.add_widget('{board}', 'table', 't', '{{\"workflows\": [\"{workflows}\"], \"metrics\": [\"clicks\"]}}',
                        widget_id => '{number}')"
            ),
        );
    }
    board
}

#[test]
fn a_part_does_not_pass_for_the_whole() -> Result<()> {
    let (_db, mut client) = with_people("conversations_part")?;
    rising(&mut client)?;
    let board = of_workflows(
        &mut client,
        ANNA,
        &[&[SALES, OF_CLEO], &[SECRET], &[OF_CLEO]],
    );
    let widgets = |client: &mut Client, role: &str, user: Option<&str>| {
        ask(
            client,
            role,
            user,
            &format!(
                "SELECT string_agg(DISTINCT widget_id, ' ') FROM reporting.dashboard_insights('{board}')"
            ),
        )
    };
    // As in the payload.
    let errors = format!(
        "SELECT string_agg(w ->> 'widget_id', ' ') FROM jsonb_array_elements(reporting.dashboard_payload('{board}') -> 'widgets') AS w
          WHERE w ? 'error'"
    );
    assert_eq!(asked(&mut client, ANNA, &errors), "0 2");
    assert_eq!(widgets(&mut client, "authenticated", Some(ANNA))?, "1");
    assert_eq!(widgets(&mut client, "service_role", None)?, "0 1 2");
    // With her consent it is the whole.
    let of_cleo = of_workflows(&mut client, CLEO, &[&[OF_CLEO]]);
    asked(
        &mut client,
        CLEO,
        &format!("SELECT reporting.share_dashboard('{of_cleo}', '{ANNA}')"),
    );
    assert_eq!(widgets(&mut client, "authenticated", Some(ANNA))?, "0 1 2");
    // Without its filters a dashboard would show other figures.
    client.batch_execute(
        "SET session_replication_role = replica;
         UPDATE reporting.dashboards SET filter_config = '{\"filters\": 1}';
         RESET session_replication_role",
    )?;
    assert_eq!(asked(&mut client, ANNA, &errors), "0 1 2");
    assert_eq!(widgets(&mut client, "authenticated", Some(ANNA))?, "-");
    Ok(())
}

/// What is recorded of a dashboard by somebody: of whom, is it private, and how much.
fn recorded(
    client: &mut Client,
    role: &str,
    user: Option<&str>,
    board: &str,
) -> Result<Vec<String>> {
    client.batch_execute("DELETE FROM reporting.ai_insights")?;
    let found = as_user(client, role, user, |tx| {
        tx.query(
            &format!("SELECT FROM reporting.dashboard_insights('{board}', true)"),
            &[],
        )
    })?;
    assert!(!found.is_empty());
    Ok(table(
        client,
        "SELECT DISTINCT user_id, data_context ->> 'widget_id', is_private FROM reporting.ai_insights ORDER BY 1, 2, 3",
    ))
}

#[test]
fn what_is_recorded_goes_no_further_than_the_figures() -> Result<()> {
    let (_db, mut client) = with_people("conversations_further")?;
    rising(&mut client)?;
    let board = of_workflows(&mut client, ANNA, &[&[SALES], &[SALES, SECRET]]);
    for (user, permission) in [(BEN, "view"), (CLEO, "edit")] {
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.share_dashboard('{board}', '{user}', '{permission}')"),
        );
    }
    let all = |client: &mut Client, board: &str| -> Result<[Vec<String>; 3]> {
        Ok([
            recorded(client, "authenticated", Some(ANNA), board)?,
            recorded(client, "authenticated", Some(CLEO), board)?,
            recorded(client, "service_role", None, board)?,
        ])
    };
    let rows = |user: &str, private: [&str; 2]| {
        vec![
            format!("{user} | 0 | {}", private[0]),
            format!("{user} | 1 | {}", private[1]),
        ]
    };
    assert_eq!(
        all(&mut client, &board)?,
        [ANNA, CLEO, ANNA].map(|user| rows(user, ["f", "f"]))
    );
    // A template's readers do not see its figures, unless it is public.
    for (public, private) in [("false", "t"), ("true", "f")] {
        client.batch_execute(&format!(
            "UPDATE reporting.dashboards SET is_template = true, is_public = {public} WHERE dashboard_id = '{board}'"
        ))?;
        assert_eq!(
            all(&mut client, &board)?,
            [ANNA, CLEO, ANNA].map(|user| rows(user, [private, private]))
        );
    }
    client
        .batch_execute("UPDATE reporting.dashboards SET is_template = false, is_public = false")?;
    // Anna takes a workflow back: it is for her alone, and with it what is about both.
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "DELETE FROM reporting.dashboard_sources WHERE workflow_id = '{SECRET}'"
        ))
    })?;
    assert_eq!(
        all(&mut client, &board)?,
        [
            rows(ANNA, ["f", "t"]),
            vec![format!("{CLEO} | 0 | f")],
            rows(ANNA, ["f", "t"]),
        ]
    );
    // Ben, who may look at it, makes a public dashboard of the same.
    let of_ben = of_workflows(&mut client, BEN, &[&[SALES]]);
    client.batch_execute(&format!(
        "UPDATE reporting.dashboards SET is_public = true WHERE dashboard_id = '{of_ben}'"
    ))?;
    assert_eq!(
        recorded(&mut client, "authenticated", Some(BEN), &of_ben)?,
        [format!("{BEN} | 0 | t")]
    );
    assert_eq!(
        asked(
            &mut client,
            DORA,
            &format!("SELECT count(*) FROM reporting.search_insights(dashboard => '{of_ben}')")
        ),
        "0"
    );
    // What the application may read is nothing that Ben may.
    assert_eq!(
        recorded(&mut client, "service_role", None, &of_ben)?,
        Vec::<String>::new()
    );
    Ok(())
}

#[test]
fn recorded_once_by_several_at_once() -> Result<()> {
    let (db, mut client) = with_people("conversations_at_once")?;
    let board = board_with_figures(&mut client)?;
    let call = format!("SELECT insight_id FROM reporting.dashboard_insights('{board}', true)");
    let ids =
        |rows: Vec<postgres::Row>| -> Vec<String> { rows.iter().map(|row| row.get(0)).collect() };
    // Each waits for the one before, and then sees what that one has recorded.
    let mut first = db.connect()?;
    let (one, others) = std::thread::scope(|scope| -> Result<_> {
        let (began, begins) = std::sync::mpsc::channel();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let one = scope.spawn({
            let call = &call;
            move || {
                as_user(&mut first, "authenticated", Some(ANNA), |tx| {
                    let rows = tx.query(call, &[])?;
                    began.send(()).expect("somebody waits");
                    let _ = ends.recv();
                    Ok(rows)
                })
            }
        });
        begins.recv()?;
        let others: Vec<_> = (0..5)
            .map(|_| {
                scope.spawn(|| -> Result<_> {
                    Ok(as_user(
                        &mut db.connect()?,
                        "authenticated",
                        Some(ANNA),
                        |tx| tx.query(&call, &[]),
                    )?)
                })
            })
            .collect();
        wait_until("the others wait", || {
            let waiting = value(
                &mut client,
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()",
            );
            waiting == "5" || others.iter().all(|other| other.is_finished())
        });
        end.send(())?;
        let mut answers = Vec::new();
        for other in others {
            answers.push(ids(other.join().expect("no panic")?));
        }
        Ok((ids(one.join().expect("no panic")?), answers))
    })?;
    assert_eq!(one.len(), 2);
    for other in others {
        assert_eq!(other, one);
    }
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM reporting.ai_insights"),
        "2"
    );
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut transaction = client.transaction()?;
        transaction.batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}"))?;
        transaction.query(
            &format!("SELECT FROM reporting.dashboard_insights('{board}')"),
            &[],
        )?;
        expect_sqlstate(transaction.query(&call, &[]), "25001");
    }
    Ok(())
}
