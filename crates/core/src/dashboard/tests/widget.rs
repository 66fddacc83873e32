//! Types, titles, texts and looks.

use super::*;

const KINDS: [&str; 8] = [
    "line",
    "bar",
    "pie",
    "scatter",
    "area",
    "table",
    "metric_card",
    "text",
];

#[test]
fn every_kind_is_read() {
    for kind in KINDS {
        let widget = Sample::of(kind).read().expect("a widget");
        let fits = match (kind, &widget.kind) {
            ("line", Kind::Chart { chart, .. }) => *chart == ChartType::Line,
            ("bar", Kind::Chart { chart, .. }) => *chart == ChartType::Bar,
            ("pie", Kind::Chart { chart, .. }) => *chart == ChartType::Pie,
            ("scatter", Kind::Chart { chart, .. }) => *chart == ChartType::Scatter,
            ("area", Kind::Chart { chart, .. }) => *chart == ChartType::Area,
            ("table", Kind::Table(_)) | ("metric_card", Kind::MetricCard(_)) => true,
            ("text", Kind::Text(prose)) => prose.content == "# Notes",
            _ => false,
        };
        assert!(fits, "{kind}: {widget:?}");
        assert_eq!(widget.query().is_some(), kind != "text");
        assert_eq!(widget.title, "Clicks");
        let (x, y, width, height) = (0, 0, 4, 3);
        assert_eq!(
            widget.position,
            Position {
                x,
                y,
                width,
                height
            }
        );
    }
}

#[test]
fn types_belong_together() {
    let line = Sample::of("line");
    for (widget_type, chart_type, refusal) in [
        (
            "graph",
            None,
            "widget_type: invalid value: string \"graph\", expected chart, table, metric_card or text",
        ),
        (
            "chart",
            Some("donut"),
            "chart_type: invalid value: string \"donut\", expected line, bar, pie, scatter or area",
        ),
        (
            "chart",
            None,
            "chart_type: missing, expected line, bar, pie, scatter or area",
        ),
        ("table", Some("line"), "chart_type: only a chart has it"),
        ("text", Some("line"), "chart_type: only a chart has it"),
        (
            "metric_card",
            Some("line"),
            "chart_type: only a chart has it",
        ),
    ] {
        let sample = Sample {
            widget_type,
            chart_type,
            ..line.clone()
        };
        assert_eq!(sample.refusal(), refusal);
    }
}

#[test]
fn titles_are_255_characters_at_most() {
    let titled = |title: &str| Sample {
        title: title.to_owned(),
        ..Sample::of("line")
    };
    assert!(titled(&"é".repeat(255)).read().is_ok());
    assert_eq!(
        titled(&"é".repeat(256)).refusal(),
        "title: invalid length 256, expected a string of 1 to 255 characters that is not blank"
    );
    for blank in ["", " \t"] {
        let refusal = titled(blank).refusal();
        assert!(refusal.starts_with("title: invalid value: "), "{refusal}");
    }
}

#[test]
fn texts_are_20000_characters_at_most() {
    let text = |content: Value| Sample::source("text", "content", content);
    assert!(text(json!("")).read().is_ok());
    assert!(text(json!("é".repeat(20_000))).read().is_ok());
    assert_eq!(
        text(json!("é".repeat(20_001))).refusal(),
        "data_source.content: invalid length 20001, expected a string of at most 20000 characters"
    );
    assert_eq!(
        text(json!(null)).refusal(),
        "data_source.content: invalid type: null, expected a string of at most 20000 characters"
    );
    assert_eq!(
        Sample::source("text", "metrics", json!(["a"])).refusal(),
        "data_source.metrics: unknown field `metrics`, expected `content`"
    );
}

#[test]
fn looks_are_kept() {
    let display = json!({
        "x_label": "Week", "y_label": "", "subtitle": "é".repeat(200),
        "colors": ["#00ff7F", "#ABCDEF"], "format": "currency", "currency": "JPY", "decimals": 0,
        "legend": false, "stacked": true, "custom": {"grid": {"dashed": true}},
    });
    let widget = Sample::display("bar", display.clone()).read();
    let widget = widget.expect("a widget");
    assert_eq!(
        serde_json::to_value(&widget.display).expect("JSON"),
        display
    );
    assert_eq!(widget.display.format, Some(Format::Currency));
    assert_eq!(widget.display.stacked, Some(true));

    let nulls = json!({
        "x_label": null, "colors": null, "format": null, "currency": null, "decimals": null,
        "legend": null, "stacked": null, "custom": null,
    });
    let widget = Sample::display("text", nulls).read();
    assert_eq!(widget.expect("a widget").display, Display::default());
}

#[test]
fn looks_are_refused_by_their_place() {
    let colours = vec!["#000000"; 21];
    for (kind, display, refusal) in [
        (
            "line",
            json!({"x_label": "é".repeat(201)}),
            "display_config.x_label: invalid length 201, expected a string of at most 200 characters",
        ),
        (
            "line",
            json!({"colors": ["#000000", "red"]}),
            "display_config.colors[1]: invalid value: string \"red\", expected a colour of the form #rrggbb",
        ),
        (
            "line",
            json!({"colors": ["#00000é"]}),
            "display_config.colors[0]: invalid value: string \"#00000é\", expected a colour of the form #rrggbb",
        ),
        (
            "line",
            json!({"colors": colours}),
            "display_config.colors: invalid length 21, expected a list of 0 to 20 items",
        ),
        (
            "line",
            json!({"format": "euro"}),
            "display_config.format: invalid value: string \"euro\", expected number, percent or currency",
        ),
        (
            "line",
            json!({"format": "currency", "currency": "EU1"}),
            "display_config.currency: invalid value: string \"EU1\", expected the three letters of a currency",
        ),
        (
            "line",
            json!({"currency": "EUR"}),
            "display_config.currency: only the format currency has one",
        ),
        (
            "line",
            json!({"format": "percent", "currency": "EUR"}),
            "display_config.currency: only the format currency has one",
        ),
        (
            "line",
            json!({"decimals": 7}),
            "display_config.decimals: invalid value: integer `7`, expected a whole number from 0 to 6",
        ),
        (
            "line",
            json!({"legend": 1}),
            "display_config.legend: invalid type: integer `1`, expected a boolean",
        ),
        (
            "line",
            json!({"stacked": false}),
            "display_config.stacked: only bar and area charts are stacked",
        ),
        (
            "table",
            json!({"stacked": true}),
            "display_config.stacked: only bar and area charts are stacked",
        ),
        (
            "line",
            json!({"custom": ["a"]}),
            "display_config.custom: expected an object",
        ),
        (
            "line",
            json!([]),
            "display_config: invalid type: sequence, expected an object",
        ),
    ] {
        assert_eq!(Sample::display(kind, display).refusal(), refusal);
    }
}

#[test]
fn long_things_are_cut_in_messages() {
    let long = "é".repeat(100_000);
    for sample in [
        Sample::display("line", json!({ &long: 1 })),
        Sample::display("line", json!({ "format": long })),
        Sample::display("line", json!(long)),
        Sample::source("line", "filters", json!({ &long: 1 })),
        Sample::source("table", "sort", json!({ "by": long })),
        Sample {
            title: long.clone(),
            ..Sample::of("line")
        },
    ] {
        let Invalid { path, why } = sample.read().expect_err("refused");
        assert!(path.chars().count() <= 330, "{path}");
        assert!(why.chars().count() <= 300, "{why}");
        assert!(why.contains("expected"), "{why}");
    }
}

#[test]
fn text_that_is_no_json_is_refused() {
    for json in ["", "{", "{}}", "{\"a\" 1}", "nothing", "{} {}"] {
        let refusal = Defaults::read(json).expect_err("refused");
        assert!(refusal.path.starts_with("filter_config"), "{refusal}");
        assert!(!refusal.why.contains(" at line "), "{refusal}");
    }
}
