//! The figures of dashboards: what each kind of widget shows, against answers by hand.

mod reporting_support;

use anyhow::Result;
use gemba_tests::{as_user, expect_sqlstate, extended};
use postgres::Client;
use reporting_support::figures::*;
use reporting_support::*;
use serde_json::{Value, json};

/// Three weeks of Anna's sales, on a second account one more, and of her other workflow the one in the middle.
fn three_weeks(client: &mut Client) -> Result<()> {
    more_people(client)?;
    let sales = (SALES, ACCOUNT);
    for (of, day, metrics) in [
        (
            sales,
            "2026-01-05",
            json!({"clicks": 10, "impressions": 1000, "spend": 12.50}),
        ),
        (
            sales,
            "2026-01-12",
            json!({"clicks": 20, "impressions": 1000, "spend": 7.50, "purchases": null}),
        ),
        (
            sales,
            "2026-01-19",
            json!({"clicks": 30, "impressions": 2000, "spend": 10}),
        ),
        (
            (SALES, OTHER_ACCOUNT),
            "2026-01-19",
            json!({"clicks": 3, "impressions": 1000}),
        ),
        (
            (SECRET, ACCOUNT),
            "2026-01-12",
            json!({"clicks": 5, "impressions": 500}),
        ),
    ] {
        week(client, of, day, metrics)?;
    }
    Ok(())
}

#[test]
fn a_line_adds_up_workflows_and_accounts_by_week() -> Result<()> {
    let db = extended("payload_line")?;
    let mut client = db.connect()?;
    three_weeks(&mut client)?;
    let source = json!({"workflows": [SALES, SECRET], "metrics": ["clicks", "ctr", "spend"], "period": {"last": 2}});
    let line = shown(&mut client, "line", &source);
    assert_eq!(
        line,
        json!({
            "widget_id": "w", "type": "chart", "chart_type": "line", "title": "w", "display": {},
            "position": {"x": 0, "y": 0, "width": 6, "height": 4},
            "period": {
                "aggregation": "weekly", "from": "2026-01-12", "to": "2026-01-25",
                "keys": ["2026-01-12_2026-01-18", "2026-01-19_2026-01-25"],
            },
            "data": [
                // 100 × 25 / 1,500.
                {"key": "2026-01-12_2026-01-18", "from": "2026-01-12", "metrics": {"clicks": 25, "ctr": 1.666667, "spend": 7.50}},
                {"key": "2026-01-19_2026-01-25", "from": "2026-01-19", "metrics": {"clicks": 33, "ctr": 1.1, "spend": 10}},
            ],
            // 100 × 58 / 4,500: not the mean of the two.
            "total": {"clicks": 58, "ctr": 1.288889, "spend": 17.50},
        })
    );
    // What was not collected is a gap, and belongs to the last so many.
    let source = json!({"workflows": [SECRET], "metrics": ["clicks"], "period": {"from": "2026-01-01", "to": "2026-01-31"}});
    let gaps = shown(&mut client, "area", &source);
    assert_eq!(gaps["period"]["keys"], json!(["2026-01-12_2026-01-18"]));
    assert_eq!(gaps["period"]["to"], "2026-01-31");
    // Some accounts.
    let source = json!({"workflows": [SALES, SECRET], "instances": [OTHER_ACCOUNT], "metrics": ["clicks", "spend"]});
    let some = shown(&mut client, "bar", &source);
    assert_eq!(some["total"], json!({"clicks": 3, "spend": null}));
    assert_eq!(some["period"]["from"], "2025-11-03");
    Ok(())
}

#[test]
fn groups_have_series_of_their_own() -> Result<()> {
    let db = extended("payload_groups")?;
    let mut client = db.connect()?;
    three_weeks(&mut client)?;
    let grouped = |by: &str| json!({"workflows": [SECRET, SALES, EMPTY], "metrics": ["clicks"], "period": {"last": 2}, "group_by": by});
    let line = shown(&mut client, "line", &grouped("workflow"));
    let (second, third) = ("2026-01-12_2026-01-18", "2026-01-19_2026-01-25");
    let point = |key: &str, clicks: i32| json!({"key": key, "from": &key[..10], "metrics": {"clicks": clicks}});
    assert_eq!(
        line["data"],
        json!([
            {"workflow": SECRET, "points": [point(second, 5)], "total": {"clicks": 5}},
            {"workflow": SALES, "points": [point(second, 20), point(third, 33)], "total": {"clicks": 53}},
            {"workflow": EMPTY, "points": [], "total": {"clicks": null}},
        ])
    );
    assert_eq!(line["total"], json!({"clicks": 58}));
    assert_eq!(line["period"]["keys"], json!([second, third]));
    let line = shown(&mut client, "line", &grouped("instance"));
    assert_eq!(
        line["data"],
        json!([
            {"instance": ACCOUNT, "points": [point(second, 25), point(third, 30)], "total": {"clicks": 55}},
            {"instance": OTHER_ACCOUNT, "points": [point(third, 3)], "total": {"clicks": 3}},
        ])
    );
    // A pie shows the totals.
    let pie = shown(&mut client, "pie", &grouped("workflow"));
    assert_eq!(
        pie["data"],
        shown(&mut client, "line", &grouped("workflow"))["data"]
    );
    let card = shown(&mut client, "metric_card", &grouped("workflow"));
    assert_eq!(
        card["data"],
        json!({"value": 58, "series": [
            {"workflow": SECRET, "value": 5}, {"workflow": SALES, "value": 53}, {"workflow": EMPTY, "value": null},
        ]})
    );
    Ok(())
}

#[test]
fn a_card_is_compared_with_the_time_before() -> Result<()> {
    let db = extended("payload_card")?;
    let mut client = db.connect()?;
    three_weeks(&mut client)?;
    let card = |metric: &str, last: u32| json!({"workflows": [SALES], "metrics": [metric], "period": {"last": last}});
    let clicks = shown(&mut client, "metric_card", &card("clicks", 1));
    assert_eq!(clicks["data"], json!({"value": 33}));
    assert_eq!(
        clicks["previous"],
        json!({
            "period": {"aggregation": "weekly", "from": "2026-01-12", "to": "2026-01-18", "keys": ["2026-01-12_2026-01-18"]},
            "data": {"value": 20},
        })
    );
    assert_eq!(clicks["change"], json!({"absolute": 13, "percent": 65.0}));
    // 100 × 33 / 3,000 after 100 × 20 / 1,000: 1.1 after 2.
    let ctr = shown(&mut client, "metric_card", &card("ctr", 1));
    assert_eq!(ctr["change"], json!({"absolute": -0.9, "percent": -45.0}));
    // Three weeks, and none before.
    let all = shown(&mut client, "metric_card", &card("clicks", 3));
    assert_eq!(all["data"]["value"], 63);
    assert_eq!(all["previous"]["data"]["value"], json!(null));
    assert_eq!(all["previous"]["period"]["from"], "2025-12-15");
    assert_eq!(all["change"], json!({"absolute": null, "percent": null}));
    // After zero there is a difference, but no percentage; after less than zero it is one of its magnitude.
    let sales = (SALES, ACCOUNT);
    week(
        &mut client,
        sales,
        "2026-01-12",
        json!({"clicks": 0, "profit": -4}),
    )?;
    week(
        &mut client,
        sales,
        "2026-01-19",
        json!({"clicks": 30, "profit": 2}),
    )?;
    let zero = shown(&mut client, "metric_card", &card("clicks", 1));
    assert_eq!(zero["change"], json!({"absolute": 33, "percent": null}));
    let loss = shown(&mut client, "metric_card", &card("profit", 1));
    assert_eq!(loss["change"], json!({"absolute": 6, "percent": 150.0}));
    // Without, when it says so.
    let mut alone = card("clicks", 1);
    alone["compare"] = json!(false);
    let alone = shown(&mut client, "metric_card", &alone);
    assert_eq!((alone.get("previous"), alone.get("change")), (None, None));
    Ok(())
}

#[test]
fn charts_and_tables_are_compared_when_they_ask() -> Result<()> {
    let db = extended("payload_compare")?;
    let mut client = db.connect()?;
    three_weeks(&mut client)?;
    let source = json!({"workflows": [SALES], "metrics": ["clicks", "spend"], "period": {"last": 1}, "compare": true});
    for kind in ["line", "table"] {
        let chart = shown(&mut client, kind, &source);
        assert_eq!(chart["total"], json!({"clicks": 33, "spend": 10}));
        assert_eq!(
            chart["previous"]["total"],
            json!({"clicks": 20, "spend": 7.5})
        );
        assert_eq!(
            chart["previous"]["data"],
            json!([{"key": "2026-01-12_2026-01-18", "from": "2026-01-12", "metrics": {"clicks": 20, "spend": 7.50}}])
        );
        assert_eq!(
            chart["change"],
            json!({"clicks": {"absolute": 13, "percent": 65.0}, "spend": {"absolute": 2.5, "percent": 33.333333}})
        );
    }
    Ok(())
}

#[test]
fn tables_are_in_their_order() -> Result<()> {
    let db = extended("payload_table")?;
    let mut client = db.connect()?;
    three_weeks(&mut client)?;
    week(
        &mut client,
        (SALES, ACCOUNT),
        "2025-12-29",
        json!({"impressions": 7, "spend": 100}),
    )?;
    let mut rows = |change: Value| {
        let mut source = json!({"workflows": [SALES], "metrics": ["clicks", "spend"]});
        for (key, value) in change.as_object().into_iter().flatten() {
            source[key] = value.clone();
        }
        let table = shown(&mut client, "table", &source);
        let rows = table["data"].as_array().expect("rows").iter();
        rows.map(|row| row["metrics"].clone()).collect::<Vec<_>>()
    };
    let [first, second, third, before] = [
        json!({"clicks": 10, "spend": 12.50}),
        json!({"clicks": 20, "spend": 7.50}),
        json!({"clicks": 33, "spend": 10}),
        json!({"clicks": null, "spend": 100}),
    ];
    let by =
        |metric: &str, descending: bool| json!({"sort": {"by": metric, "descending": descending}});
    for (change, expected) in [
        (json!({}), [&third, &second, &first, &before]),
        (by("period", true), [&third, &second, &first, &before]),
        (by("period", false), [&before, &first, &second, &third]),
        // What is not known comes last.
        (by("clicks", false), [&first, &second, &third, &before]),
        (by("clicks", true), [&third, &second, &first, &before]),
        (by("spend", false), [&second, &third, &first, &before]),
        (by("spend", true), [&before, &first, &third, &second]),
    ] {
        assert_eq!(
            rows(change.clone()).iter().collect::<Vec<_>>(),
            expected,
            "{change}"
        );
    }
    let mut limited = by("spend", true);
    limited["limit"] = json!(2);
    assert_eq!(rows(limited), [before, first]);
    let grouped = shown(
        &mut client,
        "table",
        &json!({"workflows": [SALES, SECRET], "metrics": ["clicks"], "group_by": "instance",
                "period": {"last": 1}, "sort": {"by": "clicks"}}),
    );
    let key = "2026-01-19_2026-01-25";
    assert_eq!(
        grouped["data"],
        json!([
            {"instance": OTHER_ACCOUNT, "key": key, "from": "2026-01-19", "metrics": {"clicks": 3}},
            {"instance": ACCOUNT, "key": key, "from": "2026-01-19", "metrics": {"clicks": 30}},
        ])
    );
    Ok(())
}

#[test]
fn months_and_quarters() -> Result<()> {
    let db = extended("payload_months")?;
    let mut client = db.connect()?;
    more_people(&mut client)?;
    for (aggregation, day, clicks) in [
        ("monthly", "2025-12-01", 4),
        ("monthly", "2026-01-01", 5),
        ("monthly", "2026-02-01", 6),
        ("quarterly", "2025-10-01", 40),
        ("quarterly", "2026-01-01", 50),
    ] {
        let metrics = json!({"clicks": clicks});
        record(
            &mut client,
            (SALES, ACCOUNT),
            aggregation,
            day,
            &metrics,
            &json!({}),
        )?;
    }
    let source = |aggregation: &str, last: u32| json!({"workflows": [SALES], "metrics": ["clicks"], "aggregation": aggregation, "period": {"last": last}});
    let card = shown(&mut client, "metric_card", &source("monthly", 2));
    assert_eq!(
        card["period"],
        json!({"aggregation": "monthly", "from": "2026-01-01", "to": "2026-02-28", "keys": ["2026-01", "2026-02"]})
    );
    assert_eq!(card["data"]["value"], 11);
    assert_eq!(card["previous"]["period"]["from"], "2025-11-01");
    assert_eq!(card["previous"]["data"]["value"], 4);
    let line = shown(&mut client, "line", &source("quarterly", 8));
    assert_eq!(line["period"]["keys"], json!(["2025-Q4", "2026-Q1"]));
    assert_eq!(line["period"]["from"], "2024-04-01");
    assert_eq!(line["period"]["to"], "2026-03-31");
    assert_eq!(line["total"], json!({"clicks": 90}));
    Ok(())
}

#[test]
fn what_is_recorded_is_shown() -> Result<()> {
    let db = extended("payload_recorded")?;
    let mut client = db.connect()?;
    more_people(&mut client)?;
    // Two weeks, from the 19th of January to the 1st of February.
    client.batch_execute(&format!(
        "SELECT reporting.start_collection('{SALES}', target_weeks => 2, end_date => '2026-02-01')"
    ))?;
    for _ in 0..2 {
        client.batch_execute(
            "DO $$ DECLARE c record; BEGIN
               SELECT * INTO c FROM reporting.claim_week('test');
               PERFORM reporting.record_week_metrics(c.week, '{\"clicks\": 14, \"impressions\": 700}', '{\"country\": \"JP\"}');
               PERFORM reporting.complete_week(c.week);
             END $$",
        )?;
    }
    let source = |aggregation: &str| {
        json!({"workflows": [SALES], "metrics": ["clicks", "ctr"], "aggregation": aggregation,
               "filters": {"country": "JP"}, "period": {"last": 2}})
    };
    let weeks = shown(&mut client, "line", &source("weekly"));
    assert_eq!(weeks["total"], json!({"clicks": 28, "ctr": 2.0}));
    assert_eq!(
        weeks["period"]["keys"],
        json!(["2026-01-19_2026-01-25", "2026-01-26_2026-02-01"])
    );
    let months = shown(&mut client, "table", &source("monthly"));
    assert_eq!(
        months["data"],
        json!([
            {"key": "2026-02", "from": "2026-02-01", "metrics": {"clicks": 2.0, "ctr": 2.0}},
            {"key": "2026-01", "from": "2026-01-01", "metrics": {"clicks": 26.0, "ctr": 2.0}},
        ])
    );
    let quarter = shown(
        &mut client,
        "pie",
        &json!({"workflows": [SALES], "metrics": ["clicks"], "aggregation": "quarterly"}),
    );
    assert_eq!(quarter["total"], json!({"clicks": 28}));
    Ok(())
}

#[test]
fn filters_look_at_dimensions() -> Result<()> {
    let db = extended("payload_filters")?;
    let mut client = db.connect()?;
    more_people(&mut client)?;
    for (day, clicks, dimensions) in [
        ("2026-01-05", 1, json!({"country": "JP", "rank": 1})),
        (
            "2026-01-12",
            2,
            json!({"country": ["JP", "KR"], "rank": 2.50}),
        ),
        ("2026-01-19", 4, json!({"country": "DE", "brand": true})),
        ("2026-01-26", 8, json!({})),
        (
            "2026-02-02",
            16,
            json!({"country": {"JP": 1}, "rank": [[1]]}),
        ),
    ] {
        record(
            &mut client,
            (SALES, ACCOUNT),
            "weekly",
            day,
            &json!({"clicks": clicks}),
            &dimensions,
        )?;
    }
    for (filters, clicks) in [
        (json!({}), json!(31)),
        (json!({"country": "JP"}), json!(3)),
        (json!({"country": ["KR", "DE"]}), json!(6)),
        (json!({"country": ["JP"], "rank": [1, 2]}), json!(1)),
        (json!({"country": ["JP"], "rank": 2.5}), json!(2)),
        (json!({"brand": true}), json!(4)),
        (json!({"brand": "true"}), json!(null)),
        (json!({"country": "J"}), json!(null)),
    ] {
        let source = json!({"workflows": [SALES], "metrics": ["clicks"], "filters": filters});
        let card = shown(&mut client, "metric_card", &source);
        assert_eq!(card["data"]["value"], clicks, "{filters}");
    }
    Ok(())
}

#[test]
fn a_dashboard_has_defaults_for_its_widgets() -> Result<()> {
    let db = extended("payload_defaults")?;
    let mut client = db.connect()?;
    three_weeks(&mut client)?;
    record(
        &mut client,
        (SALES, ACCOUNT),
        "weekly",
        "2026-01-26",
        &json!({"clicks": 7}),
        &json!({"country": "JP", "brand": "A"}),
    )?;
    let board = asked(
        &mut client,
        ANNA,
        "SELECT reporting.create_dashboard('d', filter_config => '{\"filters\": {\"country\": \"JP\", \"brand\": \"B\"}, \"period\": {\"last\": 2}}')",
    );
    let source = |more: Value| {
        let mut source = json!({"workflows": [SALES], "metrics": ["clicks"]});
        for (key, value) in more.as_object().into_iter().flatten() {
            source[key] = value.clone();
        }
        source
    };
    for (name, more) in [
        ("plain", json!({})),
        ("brand", json!({"filters": {"brand": "A"}})),
        (
            "own",
            json!({"filters": {"brand": "A", "country": "DE"}, "period": {"last": 3}}),
        ),
    ] {
        add(&mut client, &board, name, "metric_card", &source(more))?;
    }
    let payload = payload(&mut client, ANNA, &board);
    for (name, value, from) in [
        ("plain", json!(null), "2026-01-19"),
        ("brand", json!(7), "2026-01-19"),
        ("own", json!(null), "2026-01-12"),
    ] {
        assert_eq!(widget(&payload, name)["data"]["value"], value, "{name}");
        assert_eq!(widget(&payload, name)["period"]["from"], from, "{name}");
    }
    assert_eq!(payload["filters"]["period"], json!({"last": 2}));
    assert_eq!(payload["layout"], json!({"columns": 12}));
    Ok(())
}

#[test]
fn ratios_are_made_of_sums() -> Result<()> {
    let db = extended("payload_ratios")?;
    let mut client = db.connect()?;
    more_people(&mut client)?;
    client.batch_execute(
        "INSERT INTO reporting.metric_definitions (name, numerator, denominator, factor) VALUES ('share', 'a', 'b', -0.5)",
    )?;
    let sales = (SALES, ACCOUNT);
    // Stored ratios count for nothing where there is something to make them of.
    week(
        &mut client,
        sales,
        "2026-01-05",
        json!({"clicks": 1, "impressions": 1000, "ctr": 77, "a": 1, "b": 3, "cvr": 5}),
    )?;
    week(
        &mut client,
        sales,
        "2026-01-12",
        json!({"clicks": 9, "impressions": 1000, "ctr": 78, "a": 2, "b": 0, "cvr": 7}),
    )?;
    week(
        &mut client,
        sales,
        "2026-01-19",
        json!({"ctr": 3.25, "clicks": 4, "b": 0}),
    )?;
    let source = json!({"workflows": [SALES], "metrics": ["ctr", "share", "cvr"]});
    let line = shown(&mut client, "line", &source);
    let metrics: Vec<&Value> = line["data"]
        .as_array()
        .expect("points")
        .iter()
        .map(|point| &point["metrics"])
        .collect();
    assert_eq!(
        metrics,
        [
            // −0.5 × 1 / 3; of a conversion rate there is nothing but what was stored.
            &json!({"ctr": 0.1, "share": -0.166667, "cvr": 5}),
            &json!({"ctr": 0.9, "share": null, "cvr": 7}),
            &json!({"ctr": 3.25, "share": null, "cvr": null}),
        ]
    );
    // 100 × 14 / 2,000; −0.5 × 3 / 3; stored ratios are not added up.
    assert_eq!(
        line["total"],
        json!({"ctr": 0.7, "share": -0.5, "cvr": null})
    );
    Ok(())
}

#[test]
fn numbers_keep_all_their_digits() -> Result<()> {
    let db = extended("payload_digits")?;
    let mut client = db.connect()?;
    more_people(&mut client)?;
    let huge = "1".repeat(45);
    for (account, metrics) in [
        (
            ACCOUNT,
            format!("{{\"n\": {huge}, \"d\": 0.10, \"clicks\": {huge}, \"impressions\": 7}}"),
        ),
        (
            OTHER_ACCOUNT,
            "{\"n\": 0.000000000000000000000000000001, \"d\": 0.2, \"clicks\": 1}".to_owned(),
        ),
    ] {
        client.batch_execute(&format!(
            "INSERT INTO reporting.report_data_aggregates (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics)
             VALUES ('{SALES}', '{account}', 'weekly', '2026-01-05_2026-01-11', '2026-01-05', '{metrics}')"
        ))?;
    }
    let board = asked(&mut client, ANNA, "SELECT reporting.create_dashboard('d')");
    let source = json!({"workflows": [SALES], "metrics": ["n", "d", "ctr"]});
    add(&mut client, &board, "w", "table", &source)?;
    let total = asked(
        &mut client,
        ANNA,
        &format!("SELECT (reporting.dashboard_payload('{board}') -> 'widgets' -> 0 ->> 'total')"),
    );
    let ctr = asked(
        &mut client,
        ANNA,
        &format!("SELECT round(100 * ({huge}::numeric + 1) / 7, 6)"),
    );
    assert_eq!(
        total,
        format!("{{\"d\": 0.30, \"n\": {huge}.000000000000000000000000000001, \"ctr\": {ctr}}}")
    );
    Ok(())
}

#[test]
fn one_bad_widget_does_not_spoil_the_others() -> Result<()> {
    let db = extended("payload_trouble")?;
    let mut client = db.connect()?;
    three_weeks(&mut client)?;
    let board = asked(&mut client, ANNA, "SELECT reporting.create_dashboard('d')");
    let source = json!({"workflows": [SALES], "metrics": ["clicks"], "period": {"last": 1}});
    for name in ["good", "broken", "word"] {
        let mut source = source.clone();
        if name == "word" {
            source["metrics"] = json!(["word"]);
        }
        add(&mut client, &board, name, "metric_card", &source)?;
    }
    add(
        &mut client,
        &board,
        "note",
        "text",
        &json!({"content": "Zeile 1\n\"2\""}),
    )?;
    add(
        &mut client,
        &board,
        "nothing",
        "line",
        &json!({"workflows": [EMPTY], "metrics": ["clicks", "ctr"], "compare": true}),
    )?;
    week(
        &mut client,
        (SALES, OTHER_ACCOUNT),
        "2026-01-19",
        json!({"clicks": 3, "word": "many"}),
    )?;
    client.batch_execute(
        "ALTER TABLE reporting.dashboard_widgets DISABLE TRIGGER dashboard_widgets_check;
         UPDATE reporting.dashboard_widgets SET data_source = data_source || '{\"limit\": 3}' WHERE widget_id = 'broken'",
    )?;
    let payload = payload(&mut client, ANNA, &board);
    assert_eq!(widget(&payload, "good")["data"], json!({"value": 33}));
    let note = widget(&payload, "note");
    assert_eq!(note["data"], json!({"content": "Zeile 1\n\"2\""}));
    assert_eq!((note.get("period"), note.get("total")), (None, None));
    for (name, why) in [
        ("broken", "data_source.limit: only a table has it"),
        ("word", "the metric word is a string"),
    ] {
        let bad = widget(&payload, name);
        assert_eq!((&bad["data"], &bad["error"]), (&json!([]), &json!(why)));
        assert_eq!(bad.get("total"), None);
    }
    let nothing = widget(&payload, "nothing");
    assert_eq!(nothing["data"], json!([]));
    assert_eq!(nothing["period"], json!(null));
    assert_eq!(nothing["total"], json!({"clicks": null, "ctr": null}));
    assert_eq!(
        nothing["change"]["ctr"],
        json!({"absolute": null, "percent": null})
    );
    assert_eq!(nothing.get("error"), None);
    Ok(())
}

#[test]
fn widgets_come_as_they_stand() -> Result<()> {
    let db = extended("payload_frame")?;
    let mut client = db.connect()?;
    more_people(&mut client)?;
    let board = asked(
        &mut client,
        ANNA,
        "SELECT reporting.create_dashboard('Süd \"1\"', layout_config => '{\"columns\": 24, \"custom\": {\"gap\": 1.50}}')",
    );
    let empty = payload(&mut client, ANNA, &board);
    assert_eq!(empty["widgets"], json!([]));
    for (name, place) in [("c", (0, 4)), ("a", (12, 0)), ("b", (0, 0))] {
        asked(
            &mut client,
            ANNA,
            &format!(
                "SELECT reporting.add_widget('{board}', 'text', '{name}', '{{\"content\": \"\"}}',
                   '{{\"x\": {}, \"y\": {}, \"width\": 4, \"height\": 4}}', display_config => '{{\"subtitle\": \"é\", \"custom\": {{\"z\": 0.10}}}}', widget_id => '{name}')",
                place.0, place.1
            ),
        );
    }
    let text = asked(
        &mut client,
        ANNA,
        &format!("SELECT reporting.dashboard_payload('{board}') - 'version'"),
    );
    let frame = |name: &str, x: i32, y: i32| {
        format!(
            "{{\"data\": {{\"content\": \"\"}}, \"type\": \"text\", \"title\": \"{name}\", \"display\": {{\"custom\": {{\"z\": 0.10}}, \"subtitle\": \"é\"}}, \"position\": {{\"x\": {x}, \"y\": {y}, \"width\": 4, \"height\": 4}}, \"widget_id\": \"{name}\"}}"
        )
    };
    assert_eq!(
        text,
        format!(
            "{{\"name\": \"Süd \\\"1\\\"\", \"layout\": {{\"custom\": {{\"gap\": 1.50}}, \"columns\": 24}}, \"filters\": {{}}, \"widgets\": [{}, {}, {}], \"permission\": \"owner\", \"dashboard_id\": \"{board}\"}}",
            frame("b", 0, 0),
            frame("a", 12, 0),
            frame("c", 0, 4)
        )
    );
    for missing in ["'dash_nothing'", "NULL"] {
        let nothing = as_user(&mut client, "authenticated", Some(ANNA), |tx| {
            tx.batch_execute(&format!("SELECT reporting.dashboard_payload({missing})"))
        });
        let error = expect_sqlstate(nothing, "P0002");
        assert_eq!(error.message(), "the dashboard does not exist");
    }
    Ok(())
}
