//! Data sources, and what a dashboard's defaults do to them.

use super::*;
use chrono::NaiveDate;
use uuid::Uuid;

fn day(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).expect("a date")
}

#[test]
fn what_is_left_out_has_its_default() {
    let query = Query {
        workflows: vec![Uuid::from_u128(1)],
        instances: Vec::new(),
        metrics: vec!["clicks".to_owned()],
        aggregation: Aggregation::Weekly,
        period: None,
        filters: Filters::default(),
        compare: false,
        group_by: GroupBy::None,
    };
    assert_eq!(Sample::of("line").query(), query);
    let card = Query {
        compare: true,
        ..query.clone()
    };
    assert_eq!(Sample::of("metric_card").query(), card);
    let table = Table {
        query,
        sort: None,
        limit: None,
    };
    let widget = Sample::of("table").read().expect("a widget");
    assert_eq!(widget.kind, Kind::Table(table));
}

#[test]
fn null_is_as_if_left_out() {
    for key in [
        "instances",
        "aggregation",
        "period",
        "filters",
        "compare",
        "group_by",
        "sort",
        "limit",
    ] {
        let given = Sample::source("table", key, Value::Null);
        let plain = Sample::of("table");
        assert_eq!(given.read(), plain.read(), "{key}");
    }
    let period = json!({"last": 3, "from": null, "to": null});
    let query = Sample::source("line", "period", period).query();
    assert_eq!(query.period, Some(Period::Last { last: 3 }));
}

#[test]
fn everything_given_is_kept() {
    let sample = Sample {
        data_source: json!({
            "workflows": [workflow(1), workflow(2).to_uppercase()],
            "instances": [workflow(3)],
            "metrics": ["clicks", "spend"],
            "aggregation": "monthly",
            "period": {"from": "2026-01-05", "to": "2026-02-01"},
            "filters": {"country": "JP", "rank": [1, 2.5, true]},
            "compare": true,
            "group_by": "workflow",
            "sort": {"by": "spend", "descending": true},
            "limit": 1000,
        }),
        ..Sample::of("table")
    };
    let Kind::Table(table) = sample.read().expect("a widget").kind else {
        panic!("not a table")
    };
    let Table { query, sort, limit } = table;
    assert_eq!(query.workflows, [1, 2].map(Uuid::from_u128));
    assert_eq!(query.instances, [Uuid::from_u128(3)]);
    assert_eq!(query.metrics, ["clicks", "spend"]);
    assert_eq!(query.aggregation, Aggregation::Monthly);
    let (from, to) = (day(2026, 1, 5), day(2026, 2, 1));
    assert_eq!(query.period, Some(Period::Between { from, to }));
    let country = [Scalar::Text("JP".to_owned())];
    let rank = [
        Scalar::Number("1".to_owned()),
        Scalar::Number("2.5".to_owned()),
        Scalar::Bool(true),
    ];
    assert!(
        query
            .filters
            .iter()
            .eq([("country", &country[..]), ("rank", &rank[..])])
    );
    assert!(query.compare);
    assert_eq!(query.group_by, GroupBy::Workflow);
    let by = SortBy::Metric("spend".to_owned());
    let descending = true;
    assert_eq!(sort, Some(Sort { by, descending }));
    assert_eq!(limit, Some(1000));
}

#[test]
fn rows_can_be_ordered_by_their_period() {
    let sample = Sample::source("table", "sort", json!({"by": "period"}));
    let Kind::Table(table) = sample.read().expect("a widget").kind else {
        panic!("not a table")
    };
    let by = SortBy::Period;
    let descending = false;
    assert_eq!(table.sort, Some(Sort { by, descending }));
}

#[test]
fn refusals_name_their_place() {
    let many: Vec<String> = (0..51).map(workflow).collect();
    let named: Vec<String> = (0..21).map(|number| format!("m{number}")).collect();
    for (key, value, refusal) in [
        (
            "metrics",
            json!(["a", "b", 5]),
            "data_source.metrics[2]: invalid type: integer `5`, expected a string of 1 to 200 characters that is not blank",
        ),
        (
            "metrics",
            json!([]),
            "data_source.metrics: invalid length 0, expected a list of 1 to 20 items",
        ),
        (
            "metrics",
            json!(named),
            "data_source.metrics: invalid length 21, expected a list of 1 to 20 items",
        ),
        (
            "metrics",
            json!(["a", "b", "a"]),
            "data_source.metrics[2]: \"a\" stands there twice",
        ),
        (
            "metrics",
            json!([" "]),
            "data_source.metrics[0]: invalid value: string \" \", expected a string of 1 to 200 characters that is not blank",
        ),
        (
            "metrics",
            json!(["m".repeat(201)]),
            "data_source.metrics[0]: invalid length 201, expected a string of 1 to 200 characters that is not blank",
        ),
        (
            "metrics",
            json!({"0": "a"}),
            "data_source.metrics: invalid type: map, expected a list of 1 to 20 items",
        ),
        (
            "metrics",
            json!(null),
            "data_source.metrics: invalid type: null, expected a list of 1 to 20 items",
        ),
        (
            "workflows",
            json!(many),
            "data_source.workflows: invalid length 51, expected a list of 1 to 50 items",
        ),
        (
            "workflows",
            json!(["none"]),
            "data_source.workflows[0]: invalid value: string \"none\", expected a uuid",
        ),
        (
            "workflows",
            json!([workflow(10), workflow(10).to_uppercase()]),
            "data_source.workflows[1]: 00000000-0000-0000-0000-00000000000a stands there twice",
        ),
        (
            "instances",
            json!([workflow(1), workflow(1)]),
            "data_source.instances[1]: 00000000-0000-0000-0000-000000000001 stands there twice",
        ),
        (
            "aggregation",
            json!("daily"),
            "data_source.aggregation: invalid value: string \"daily\", expected weekly, monthly or quarterly",
        ),
        (
            "aggregation",
            json!({"weekly": null}),
            "data_source.aggregation: invalid type: map, expected weekly, monthly or quarterly",
        ),
        (
            "group_by",
            json!("week"),
            "data_source.group_by: invalid value: string \"week\", expected none, workflow or instance",
        ),
        (
            "compare",
            json!("true"),
            "data_source.compare: invalid type: string \"true\", expected a boolean",
        ),
        (
            "period",
            json!({}),
            "data_source.period: expected either last, or from and to",
        ),
        (
            "period",
            json!({"last": 2, "to": "2026-01-01"}),
            "data_source.period: expected either last, or from and to",
        ),
        (
            "period",
            json!({"from": "2026-01-01"}),
            "data_source.period: expected either last, or from and to",
        ),
        (
            "period",
            json!({"from": "2026-01-02", "to": "2026-01-01"}),
            "data_source.period: 2026-01-02 is after 2026-01-01",
        ),
        (
            "period",
            json!({"from": "2026-02-29", "to": "2026-03-01"}),
            "data_source.period.from: invalid value: string \"2026-02-29\", expected a date of the form YYYY-MM-DD, from 1900 to 2200",
        ),
        (
            "period",
            json!({"last": 0}),
            "data_source.period.last: invalid value: integer `0`, expected a whole number from 1 to 520",
        ),
        (
            "period",
            json!({"last": 521}),
            "data_source.period.last: invalid value: integer `521`, expected a whole number from 1 to 520",
        ),
        (
            "period",
            json!({"last": -1}),
            "data_source.period.last: invalid value: integer `-1`, expected a whole number from 1 to 520",
        ),
        (
            "period",
            json!({"last": 4_294_967_297_u64}),
            "data_source.period.last: invalid value: integer `4294967297`, expected a whole number from 1 to 520",
        ),
        (
            "period",
            json!({"last": 1.5}),
            "data_source.period.last: invalid type: floating point `1.5`, expected a whole number from 1 to 520",
        ),
        (
            "period",
            json!([12]),
            "data_source.period: invalid type: sequence, expected an object",
        ),
        (
            "sort",
            json!({"by": "period"}),
            "data_source.sort: only a table has it",
        ),
        ("limit", json!(5), "data_source.limit: only a table has it"),
        (
            "metricz",
            json!([]),
            "data_source.metricz: unknown field `metricz`, expected one of `workflows`, `instances`, `metrics`, `aggregation`, `period`, `filters`, `compare`, `group_by`, `sort`, `limit`",
        ),
    ] {
        assert_eq!(Sample::source("line", key, value).refusal(), refusal);
    }
    for (key, value, refusal) in [
        (
            "sort",
            json!({"by": "sales"}),
            "data_source.sort.by: invalid value: \"sales\", expected period or one of the metrics",
        ),
        ("sort", json!({}), "data_source.sort: missing field `by`"),
        (
            "limit",
            json!(1001),
            "data_source.limit: invalid value: integer `1001`, expected a whole number from 1 to 1000",
        ),
    ] {
        assert_eq!(Sample::source("table", key, value).refusal(), refusal);
    }
}

#[test]
fn what_is_missing_is_named() {
    for key in ["workflows", "metrics"] {
        let mut sample = Sample::of("line");
        sample
            .data_source
            .as_object_mut()
            .expect("an object")
            .remove(key);
        assert_eq!(
            sample.refusal(),
            format!("data_source: missing field `{key}`")
        );
    }
    for source in [
        json!([]),
        json!([[workflow(1)], ["clicks"]]),
        json!("{}"),
        json!(null),
    ] {
        let sample = Sample {
            data_source: source,
            ..Sample::of("line")
        };
        let refusal = sample.refusal();
        assert!(
            refusal.starts_with("data_source: invalid type: "),
            "{refusal}"
        );
        assert!(refusal.ends_with(", expected an object"), "{refusal}");
    }
}

#[test]
fn some_widgets_have_so_many_metrics() {
    for (kind, count) in [("metric_card", 1), ("pie", 1), ("scatter", 2)] {
        for given in 1..=3 {
            let metrics: Vec<String> = (0..given).map(|number| format!("m{number}")).collect();
            let read = Sample::source(kind, "metrics", json!(metrics)).read();
            if given == count {
                assert!(read.is_ok(), "{kind} with {given}");
                continue;
            }
            let refusal = format!(
                "data_source.metrics: invalid length {given}, expected exactly {count} here"
            );
            assert_eq!(read.expect_err("refused").to_string(), refusal, "{kind}");
        }
    }
}

#[test]
fn filters_are_values_or_lists_of_them() {
    let long = "9".repeat(40);
    let json = format!(
        r#"{{"workflows": ["{}"], "metrics": ["a"], "filters": {{"id": [{long}, 0.10, "\u00e9"]}}}}"#,
        workflow(1)
    );
    let draft = Draft {
        widget_type: "chart",
        chart_type: Some("line"),
        title: "x",
        data_source: &json,
        display_config: None,
        position_config: r#"{"x": 0, "y": 0, "width": 1, "height": 1}"#,
    };
    let widget = validate_widget(&draft, 12).expect("a widget");
    let filters = &widget.query().expect("a query").filters;
    let values = [
        Scalar::Number(long.clone()),
        Scalar::Number("0.10".to_owned()),
        Scalar::Text("é".to_owned()),
    ];
    assert!(filters.iter().eq([("id", &values[..])]), "{filters:?}");
    let written = serde_json::to_string(filters).expect("JSON");
    assert_eq!(written, format!(r#"{{"id":[{long},0.10,"é"]}}"#));

    let most: serde_json::Map<String, Value> = (0..51)
        .map(|number| (format!("d{number}"), json!(1)))
        .collect();
    for (filters, refusal) in [
        (
            json!({"country": {"is": "JP"}}),
            "data_source.filters.country: expected a string, a number, true or false, or a list of these",
        ),
        (
            json!({"country": null}),
            "data_source.filters.country: expected a string, a number, true or false, or a list of these",
        ),
        (
            json!({"country": ["JP", null]}),
            "data_source.filters.country[1]: expected a string, a number, true or false",
        ),
        (
            json!({"country": [["JP"]]}),
            "data_source.filters.country[0]: expected a string, a number, true or false",
        ),
        (
            json!({"country": []}),
            "data_source.filters.country: 0 values, expected 1 to 100",
        ),
        (
            json!({"country": vec![1; 1001]}),
            "data_source.filters.country: 1001 values, expected 1 to 100",
        ),
        (
            json!({"": 1}),
            "data_source.filters: invalid value: string \"\", expected a string of 1 to 200 characters that is not blank",
        ),
        (
            json!(most),
            "data_source.filters: 51 dimensions, expected at most 50",
        ),
        (
            json!(["country"]),
            "data_source.filters: invalid type: sequence, expected a map",
        ),
    ] {
        assert_eq!(
            Sample::source("line", "filters", filters).refusal(),
            refusal
        );
    }
}

#[test]
fn filters_can_stand_on_their_own() {
    let filters = Filters::parse("filters", r#"{"country": ["JP", "KR"]}"#).expect("filters");
    assert_eq!(
        serde_json::to_string(&filters).expect("JSON"),
        r#"{"country":["JP","KR"]}"#
    );
    for (json, refusal) in [
        ("[]", "filters: invalid type: sequence, expected an object"),
        (
            r#"{"a": [1, null]}"#,
            "filters.a[1]: expected a string, a number, true or false",
        ),
    ] {
        let refused = Filters::parse("filters", json).expect_err("refused");
        assert_eq!(refused.to_string(), refusal);
    }
}

#[test]
fn a_dashboard_has_defaults() {
    let dashboard = Defaults::read(
        r#"{"filters": {"country": "JP", "brand": "A"}, "period": {"last": 4}, "custom": {"a": [1]}}"#,
    )
    .expect("defaults");
    assert_eq!(
        dashboard.custom.as_ref().map(Custom::json),
        Some(r#"{"a": [1]}"#)
    );
    let plain = Sample::of("line").query();
    assert_eq!(plain.period(&dashboard), Period::Last { last: 4 });
    assert_eq!(plain.filters(&dashboard), dashboard.filters);
    assert_eq!(
        plain.period(&Defaults::default()),
        Period::Last { last: 12 }
    );
    assert!(plain.filters(&Defaults::default()).is_empty());

    let mut own = Sample::source("line", "period", json!({"last": 9}));
    own.data_source["filters"] = json!({"brand": ["B", "C"]});
    let own = own.query();
    assert_eq!(own.period(&dashboard), Period::Last { last: 9 });
    let filters = serde_json::to_value(own.filters(&dashboard)).expect("JSON");
    assert_eq!(filters, json!({"country": ["JP"], "brand": ["B", "C"]}));

    for (json, refusal) in [
        (
            json!({"filters": {"a": {}}}),
            "filter_config.filters.a: expected a string, a number, true or false, or a list of these",
        ),
        (
            json!({"period": {"last": 0}}),
            "filter_config.period.last: invalid value: integer `0`, expected a whole number from 1 to 520",
        ),
        (
            json!({"country": "JP"}),
            "filter_config.country: unknown field `country`, expected one of `filters`, `period`, `custom`",
        ),
        (
            json!({"custom": []}),
            "filter_config.custom: expected an object",
        ),
    ] {
        let read = Defaults::read(&json.to_string());
        assert_eq!(read.expect_err("refused").to_string(), refusal);
    }
    assert_eq!(Defaults::read("{}"), Ok(Defaults::default()));
}
