//! What widgets and dashboards may hold, however they are written.

mod reporting_support;

use anyhow::{Context, Result};
use gemba_tests::{as_user, expect_sqlstate, extended, table, value};
use postgres::Client;
use postgres::error::DbError;
use reporting_support::*;
use serde_json::{Value, json};

/// A widget's columns.
#[derive(Clone)]
struct Widget {
    widget_type: &'static str,
    chart_type: Option<&'static str>,
    title: &'static str,
    data_source: Value,
    display_config: Value,
    position_config: Value,
}

fn line() -> Widget {
    Widget {
        widget_type: "chart",
        chart_type: Some("line"),
        title: "Clicks",
        data_source: json!({"workflows": [SALES], "metrics": ["clicks", "ctr"]}),
        display_config: json!({}),
        position_config: json!({"x": 0, "y": 0, "width": 4, "height": 3}),
    }
}

fn of(widget_type: &'static str, data_source: Value) -> Widget {
    Widget {
        widget_type,
        chart_type: None,
        data_source,
        ..line()
    }
}

/// Inserts it as Anna, straight into the table, and takes it back.
fn insert(client: &mut Client, board: &str, widget: &Widget) -> Result<(), postgres::Error> {
    as_user(client, "authenticated", Some(ANNA), |tx| {
        let mut inner = tx.transaction()?;
        let written = inner.execute(
            "INSERT INTO reporting.dashboard_widgets
                    (dashboard_id, widget_type, chart_type, title, data_source, display_config, position_config)
             VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7)",
            &[
                &board,
                &widget.widget_type,
                &widget.chart_type,
                &widget.title,
                &widget.data_source,
                &widget.display_config,
                &widget.position_config,
            ],
        );
        inner.rollback()?;
        written.map(|_| ())
    })
}

fn empty_board(client: &mut Client) -> (String, String) {
    let made = asked(client, ANNA, "SELECT reporting.create_dashboard('d')");
    let id = id_of(client, &made);
    (made, id)
}

fn detail(error: &DbError) -> &str {
    error.detail().unwrap_or_default()
}

#[test]
fn widgets_of_every_kind_are_taken_as_they_are() -> Result<()> {
    let db = extended("widgets_kinds")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let (_, board) = empty_board(&mut client);
    let figures = json!({"workflows": [SALES], "metrics": ["clicks"]});
    for widget in [
        line(),
        Widget {
            chart_type: Some("bar"),
            display_config: json!({"stacked": true, "colors": ["#00ff7f"], "custom": {"any": [1.50]}}),
            ..line()
        },
        Widget {
            chart_type: Some("area"),
            ..line()
        },
        Widget {
            chart_type: Some("scatter"),
            ..line()
        },
        Widget {
            chart_type: Some("pie"),
            data_source: figures.clone(),
            ..line()
        },
        of("metric_card", figures.clone()),
        of(
            "table",
            json!({"workflows": [SALES, OF_DORA], "instances": [ACCOUNT], "metrics": ["clicks"],
                   "aggregation": "quarterly", "period": {"from": "2025-01-01", "to": "2025-12-31"},
                   "filters": {"country": ["JP", 1.50, true]}, "compare": true, "group_by": "instance",
                   "sort": {"by": "clicks", "descending": true}, "limit": 20}),
        ),
        of("text", json!({"content": "# Notes"})),
    ] {
        insert(&mut client, &board, &widget).with_context(|| widget.data_source.to_string())?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_shown_is_refused_with_its_place() -> Result<()> {
    let db = extended("widgets_refused")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let (_, board) = empty_board(&mut client);
    let source = |change: Value| {
        let mut data_source = line().data_source;
        for (key, value) in change.as_object().into_iter().flatten() {
            data_source[key] = value.clone();
        }
        Widget {
            data_source,
            ..line()
        }
    };
    for (widget, place) in [
        (
            of("graph", json!({})),
            "widget_type: invalid value: string \"graph\", expected chart, table, metric_card or text",
        ),
        (
            Widget {
                chart_type: None,
                ..line()
            },
            "chart_type: missing, expected line, bar, pie, scatter or area",
        ),
        (
            Widget {
                title: " ",
                ..line()
            },
            "title: invalid value: string \" \", expected a string of 1 to 255 characters that is not blank",
        ),
        (
            source(json!({"metrics": ["clicks", "ctr", 5]})),
            "data_source.metrics[2]: invalid type: integer `5`, expected a string of 1 to 200 characters that is not blank",
        ),
        (
            source(json!({"workflows": ["sales"]})),
            "data_source.workflows[0]: invalid value: string \"sales\", expected a uuid",
        ),
        (
            source(json!({"period": {"last": 521}})),
            "data_source.period.last: invalid value: integer `521`, expected a whole number from 1 to 520",
        ),
        (
            source(json!({"filters": {"country": [null]}})),
            "data_source.filters.country[0]: expected a string, a number, true or false",
        ),
        (
            source(json!({"limit": 5})),
            "data_source.limit: only a table has it",
        ),
        (
            Widget {
                display_config: json!({"color": "red"}),
                ..line()
            },
            "display_config.color: unknown field `color`, expected one of `x_label`, `y_label`, `subtitle`, `colors`, `format`, `currency`, `decimals`, `legend`, `stacked`, `custom`",
        ),
        (
            Widget {
                position_config: json!({"x": 0, "y": 0, "width": 0, "height": 1}),
                ..line()
            },
            "position_config.width: invalid value: integer `0`, expected a whole number from 1 to 48",
        ),
        (
            Widget {
                position_config: json!([0, 0, 1, 1]),
                ..line()
            },
            "position_config: invalid type: sequence, expected an object",
        ),
    ] {
        let error = expect_sqlstate(insert(&mut client, &board, &widget), "22023");
        assert_eq!(error.message(), "the widget cannot be shown");
        assert_eq!(detail(&error), place);
        assert!(error.hint().is_some());
    }
    // What is missing altogether, the column says.
    for column in ["title", "data_source", "position_config"] {
        let error = expect_sqlstate(
            client.batch_execute(&format!(
                "INSERT INTO reporting.dashboard_widgets (dashboard_id, widget_type, title, data_source, position_config)
                 SELECT '{board}', 'text', x.title, x.data_source, x.position_config
                   FROM (SELECT CASE WHEN 'title' <> '{column}' THEN 't' END AS title,
                                CASE WHEN 'data_source' <> '{column}' THEN '{{\"content\": \"\"}}'::jsonb END AS data_source,
                                CASE WHEN 'position_config' <> '{column}' THEN '{{}}'::jsonb END AS position_config) AS x"
            )),
            "23502",
        );
        assert_eq!(error.column(), Some(column));
    }
    Ok(())
}

#[test]
fn changes_are_looked_at_like_new_ones() -> Result<()> {
    let db = extended("widgets_changes")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let board = dashboard(&mut client, ANNA, "d", SALES)?;
    let update = |set: &str| {
        format!("UPDATE reporting.dashboard_widgets SET {set} WHERE widget_id = 'card'")
    };
    for (set, code) in [
        ("data_source = '{}'", "22023"),
        ("widget_type = 'table'", "1"),
        ("widget_type = 'text'", "22023"),
        ("chart_type = 'line'", "22023"),
        ("title = ' '", "22023"),
        ("display_config = '{\"decimals\": 7}'", "22023"),
        (
            "position_config = '{\"x\": 1, \"y\": 1, \"width\": 1, \"height\": 1}'",
            "1",
        ),
        (
            "position_config = '{\"x\": 11, \"y\": 1, \"width\": 2, \"height\": 1}'",
            "23514",
        ),
        ("widget_id = 'another'", "1"),
    ] {
        assert_eq!(
            outcome(&mut client, "authenticated", Some(ANNA), &update(set)),
            code,
            "{set}"
        );
    }
    let moving = format!("SELECT reporting.move_widgets('{board}', '{{\"card\": {{\"x\": 0}}}}')");
    assert_eq!(
        outcome(&mut client, "authenticated", Some(ANNA), &moving),
        "22023"
    );

    // One that was written past the triggers can be renamed, not touched otherwise, and be mended.
    client.batch_execute(
        "ALTER TABLE reporting.dashboard_widgets DISABLE TRIGGER dashboard_widgets_check;
         UPDATE reporting.dashboard_widgets SET data_source = data_source - 'metrics';
         ALTER TABLE reporting.dashboard_widgets ENABLE TRIGGER dashboard_widgets_check",
    )?;
    for (set, code) in [
        ("widget_id = 'another'", "1"),
        ("title = 'x'", "22023"),
        (
            "data_source = data_source || '{\"metrics\": [\"clicks\"]}'",
            "1",
        ),
    ] {
        assert_eq!(
            outcome(&mut client, "authenticated", Some(ANNA), &update(set)),
            code,
            "{set}"
        );
    }
    Ok(())
}

#[test]
fn dashboards_are_looked_at_too() -> Result<()> {
    let db = extended("widgets_dashboards")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    for (arguments, place) in [
        (
            "layout_config => '{\"columns\": 49}'",
            "layout_config.columns: invalid value: integer `49`, expected a whole number from 1 to 48",
        ),
        (
            "layout_config => '[]'",
            "layout_config: invalid type: sequence, expected an object",
        ),
        (
            "filter_config => '{\"period\": {\"from\": \"2026-01-02\", \"to\": \"2026-01-01\"}}'",
            "filter_config.period: 2026-01-02 is after 2026-01-01",
        ),
        (
            "filter_config => '{\"country\": \"JP\"}'",
            "filter_config.country: unknown field `country`, expected one of `filters`, `period`, `custom`",
        ),
    ] {
        let made = as_user(&mut client, "authenticated", Some(ANNA), |tx| {
            tx.batch_execute(&format!(
                "SELECT reporting.create_dashboard('d', {arguments})"
            ))
        });
        let error = expect_sqlstate(made, "22023");
        assert_eq!(error.message(), "the dashboard cannot be shown");
        assert_eq!(detail(&error), place);
    }
    let board = dashboard(&mut client, ANNA, "d", SALES)?;
    for (set, code) in [
        ("layout_config = '{\"columns\": 6}'", "1"),
        // The card is six columns wide.
        ("layout_config = '{\"columns\": 5}'", "23514"),
        ("layout_config = '{\"rows\": 5}'", "22023"),
        (
            "filter_config = '{\"filters\": {\"country\": []}}'",
            "22023",
        ),
        (
            "filter_config = '{\"filters\": {\"country\": \"JP\"}, \"custom\": {\"theme\": 1.0}}'",
            "1",
        ),
        ("name = 'another'", "1"),
    ] {
        let update =
            format!("UPDATE reporting.dashboards SET {set} WHERE dashboard_id = '{board}'");
        assert_eq!(
            outcome(&mut client, "authenticated", Some(ANNA), &update),
            code,
            "{set}"
        );
    }
    Ok(())
}

#[test]
fn widgets_that_overlap_are_named() -> Result<()> {
    let db = extended("widgets_overlap")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let (made, board) = empty_board(&mut client);
    let fill = |from: i32, to: i32| {
        format!(
            "INSERT INTO reporting.dashboard_widgets (widget_id, dashboard_id, widget_type, title, data_source, position_config)
             SELECT 'w' || n, '{board}', 'text', 't', '{{\"content\": \"\"}}',
                    jsonb_build_object('x', n % 12, 'y', n / 12, 'width', 1, 'height', 1)
               FROM generate_series({from}, {to}) AS n"
        )
    };
    client.batch_execute(&fill(1, 500))?;
    let error = expect_sqlstate(client.batch_execute(&fill(501, 501)), "54000");
    assert_eq!(detail(&error), "501 widgets");
    let error = expect_sqlstate(
        client.batch_execute(&format!(
            "SELECT reporting.move_widgets('{made}', '{{\"w7\": {{\"x\": 3, \"y\": 20, \"width\": 1, \"height\": 1}}}}')"
        )),
        "23P01",
    );
    assert_eq!(error.message(), "two widgets overlap");
    assert_eq!(detail(&error), "widgets w243 and w7, at column 3, row 20");
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), min(version) FROM reporting.dashboard_widgets w JOIN reporting.dashboards d ON d.id = w.dashboard_id"
        ),
        ["500 | 2"]
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT has_function_privilege('authenticated', 'reporting._check_layout(uuid)', 'EXECUTE')"
        ),
        "f"
    );
    Ok(())
}

/// Each version keeps a copy: nothing endless is taken.
#[test]
fn configurations_have_a_size() -> Result<()> {
    let db = extended("widgets_size")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let large = "x".repeat(200_001);
    for sql in [
        format!(
            "SELECT reporting.create_dashboard('d', layout_config => '{{\"custom\": {{\"a\": \"{large}\"}}}}')"
        ),
        format!(
            "SELECT reporting.create_dashboard('d', filter_config => '{{\"custom\": {{\"a\": \"{large}\"}}}}')"
        ),
    ] {
        assert_eq!(
            outcome(&mut client, "authenticated", Some(ANNA), &sql),
            "54000"
        );
    }
    let board = asked(&mut client, ANNA, "SELECT reporting.create_dashboard('d')");
    for (widget, code) in [
        (
            format!(
                "'text', 't', '{{\"content\": \"c\"}}', display_config => '{{\"custom\": {{\"a\": \"{large}\"}}}}'"
            ),
            "54000",
        ),
        (
            format!(
                "'metric_card', 't', '{{\"workflows\": [\"urn:uuid:{SALES}\"], \"metrics\": [\"a\"]}}'"
            ),
            "22023",
        ),
        (
            "'text', 't', '{\"content\": \"c\"}', widget_id => ''".to_owned(),
            "23514",
        ),
    ] {
        let sql = format!("SELECT reporting.add_widget('{board}', {widget})");
        assert_eq!(
            outcome(&mut client, "authenticated", Some(ANNA), &sql),
            code
        );
    }
    assert_eq!(
        outcome(
            &mut client,
            "authenticated",
            Some(ANNA),
            "SELECT reporting.create_dashboard('')"
        ),
        "23514"
    );
    Ok(())
}
