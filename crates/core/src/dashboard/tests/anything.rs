//! Any valid widget comes back as it was written, and no single change of its shape passes unnoticed.

use super::*;
use chrono::{NaiveDate, TimeDelta};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Map;
use std::collections::BTreeMap;
use uuid::Uuid;

fn uuids(most: usize) -> impl Strategy<Value = Vec<Uuid>> {
    prop::collection::btree_set(any::<u128>(), 1..=most)
        .prop_map(|ids| ids.into_iter().map(Uuid::from_u128).collect())
}

/// Any characters, but not blank.
fn name() -> impl Strategy<Value = String> {
    "\\PC{0,20}[a-z]"
}

fn names(least: usize, most: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set(name(), least..=most).prop_map(|names| names.into_iter().collect())
}

fn period() -> impl Strategy<Value = Value> {
    let first = NaiveDate::from_ymd_opt(1900, 1, 1).expect("a date");
    prop_oneof![
        (1u32..=520).prop_map(|last| json!({ "last": last })),
        (0i64..100_000, 0i64..9_000).prop_map(move |(start, days)| {
            let from = first + TimeDelta::days(start);
            let to = from + TimeDelta::days(days);
            json!({"from": from.to_string(), "to": to.to_string()})
        }),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        "\\PC{0,9}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Few digits: `Value` does not keep all of a long number.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        any::<bool>().prop_map(Value::from),
    ]
}

fn filters() -> impl Strategy<Value = Value> {
    let values = prop_oneof![
        scalar(),
        prop::collection::vec(scalar(), 1..4).prop_map(Value::from)
    ];
    prop::collection::btree_map(name(), values, 0..4).prop_map(|map| json!(map))
}

fn custom() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(name(), scalar(), 0..3).prop_map(|map| json!(map))
}

/// An object of those keys that have a value.
fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    let fields = fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn source(kind: &'static str) -> BoxedStrategy<Value> {
    if kind == "text" {
        return "\\PC{0,50}"
            .prop_map(|text| json!({"content": text}))
            .boxed();
    }
    let (least, most) = match kind {
        "pie" | "metric_card" => (1, 1),
        "scatter" => (2, 2),
        _ => (1, 20),
    };
    (
        uuids(50),
        option::of(uuids(60)),
        names(least, most),
        option::of(select(vec!["weekly", "monthly", "quarterly"])),
        option::of(period()),
        option::of(filters()),
        option::of(any::<bool>()),
        option::of(select(vec!["none", "workflow", "instance"])),
        option::of((any::<prop::sample::Index>(), option::of(any::<bool>()))),
        option::of(1u32..=1000),
    )
        .prop_map(move |all| {
            let (
                workflows,
                instances,
                metrics,
                aggregation,
                period,
                filters,
                compare,
                by,
                sort,
                limit,
            ) = all;
            let is_table = kind == "table";
            let sort = sort.filter(|_| is_table).map(|(by, descending)| {
                let by = Value::from(by.get(&metrics).as_str());
                object(vec![
                    ("by", Some(by)),
                    ("descending", descending.map(Value::from)),
                ])
            });
            object(vec![
                ("workflows", Some(json!(workflows))),
                ("instances", instances.map(|ids| json!(ids))),
                ("metrics", Some(json!(metrics))),
                ("aggregation", aggregation.map(Value::from)),
                ("period", period),
                ("filters", filters),
                ("compare", compare.map(Value::from)),
                ("group_by", by.map(Value::from)),
                ("sort", sort),
                ("limit", limit.filter(|_| is_table).map(Value::from)),
            ])
        })
        .boxed()
}

fn display(kind: &'static str) -> impl Strategy<Value = Value> {
    let label = || option::of("\\PC{0,30}".prop_map(Value::from));
    (
        (label(), label(), label()),
        option::of(prop::collection::vec("#[0-9a-fA-F]{6}", 1..=20)),
        option::of(select(vec!["number", "percent", "currency"])),
        option::of("[A-Z]{3}"),
        option::of(0u32..=6),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(custom()),
    )
        .prop_map(
            move |(
                (x, y, subtitle),
                colors,
                format,
                currency,
                decimals,
                legend,
                stacked,
                custom,
            )| {
                let currency = currency.filter(|_| format == Some("currency"));
                let stacked = stacked.filter(|_| kind == "bar" || kind == "area");
                object(vec![
                    ("x_label", x),
                    ("y_label", y),
                    ("subtitle", subtitle),
                    ("colors", colors.map(|colors| json!(colors))),
                    ("format", format.map(Value::from)),
                    ("currency", currency.map(Value::from)),
                    ("decimals", decimals.map(Value::from)),
                    ("legend", legend.map(Value::from)),
                    ("stacked", stacked.map(Value::from)),
                    ("custom", custom),
                ])
            },
        )
}

fn widget() -> impl Strategy<Value = Sample> {
    let kinds = vec![
        "line",
        "bar",
        "pie",
        "scatter",
        "area",
        "table",
        "metric_card",
        "text",
    ];
    (select(kinds), 0u32..12, 0u32..9_000, 1u32..=12, 1u32..1_000).prop_flat_map(
        |(kind, x, y, width, height)| {
            let position = json!({"x": x, "y": y, "width": width.min(12 - x), "height": height});
            (name(), source(kind), display(kind)).prop_map(move |(title, source, display)| Sample {
                title,
                data_source: source,
                display_config: display,
                position_config: position.clone(),
                ..Sample::of(kind)
            })
        },
    )
}

/// What a widget was written as, every default spelt out.
fn written(widget: &Widget, sample: &Sample) -> Sample {
    let source = match &widget.kind {
        Kind::Chart { query, .. } | Kind::MetricCard(query) => serde_json::to_value(query),
        Kind::Table(table) => serde_json::to_value(table),
        Kind::Text(prose) => serde_json::to_value(prose),
    };
    Sample {
        title: widget.title.clone(),
        data_source: source.expect("JSON"),
        display_config: serde_json::to_value(&widget.display).expect("JSON"),
        position_config: serde_json::to_value(widget.position).expect("JSON"),
        ..sample.clone()
    }
}

/// Whether all that one holds stands in the other one too. A single value of a filter may have become a list.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, part)| whole.get(key).is_some_and(|whole| holds(whole, part))),
        (Value::Array(list), part) if !part.is_array() => list.len() == 1 && list[0] == *part,
        (whole, part) => whole == part,
    }
}

/// A value in which one place was changed to what cannot be there, and that place.
type Changed = (Value, String);

/// Every way to change the shape of a configuration in one place.
fn changes(value: &Value, path: &str) -> Vec<Changed> {
    let mut all = match value {
        Value::Object(map) => vec![
            (json!([1]), path.to_owned()),
            (json!("{}"), path.to_owned()),
            (Value::Bool(true), path.to_owned()),
        ]
        .into_iter()
        .chain(map.iter().flat_map(|(key, child)| {
            changes(child, &format!("{path}.{key}"))
                .into_iter()
                .map(|(child, path)| {
                    let mut map = map.clone();
                    map.insert(key.clone(), child);
                    (Value::Object(map), path)
                })
        }))
        .collect(),
        Value::Array(list) => {
            let mut all = vec![
                (json!({"0": 1}), path.to_owned()),
                (json!({}), path.to_owned()),
            ];
            for (number, item) in list.iter().enumerate() {
                for (item, path) in changes(item, &format!("{path}[{number}]")) {
                    let mut list = list.clone();
                    list[number] = item;
                    all.push((Value::Array(list), path));
                }
            }
            all
        }
        _ => vec![
            (json!({"weekly": null}), path.to_owned()),
            (json!({}), path.to_owned()),
        ],
    };
    // An unknown key, wherever keys are known.
    if let Value::Object(map) = value
        && !path.ends_with(".filters")
    {
        let mut map: Map<String, Value> = map.clone();
        map.insert("surplus".to_owned(), json!(1));
        all.push((Value::Object(map), format!("{path}.surplus")));
    }
    all
}

/// The changes of a widget's three configurations.
fn changed(sample: &Sample) -> Vec<(Sample, String)> {
    let mut all = Vec::new();
    for (value, path) in changes(&sample.data_source, "data_source") {
        let data_source = value;
        all.push((
            Sample {
                data_source,
                ..sample.clone()
            },
            path,
        ));
    }
    for (value, path) in changes(&sample.display_config, "display_config") {
        let display_config = value;
        all.push((
            Sample {
                display_config,
                ..sample.clone()
            },
            path,
        ));
    }
    for (value, path) in changes(&sample.position_config, "position_config") {
        let position_config = value;
        all.push((
            Sample {
                position_config,
                ..sample.clone()
            },
            path,
        ));
    }
    // What stands in `custom` is nobody's business.
    all.retain(|(_, path)| !path.starts_with("display_config.custom."));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_valid_comes_back(sample in widget()) {
        let widget = sample.read();
        prop_assert!(widget.is_ok(), "{widget:?}");
        let widget = widget?;
        let again = written(&widget, &sample);
        prop_assert_eq!(again.read()?, widget);
        prop_assert_eq!(&again.title, &sample.title);
        for (whole, part) in [
            (&again.data_source, &sample.data_source),
            (&again.display_config, &sample.display_config),
            (&again.position_config, &sample.position_config),
        ] {
            prop_assert!(holds(whole, part), "{whole} for {part}");
        }
    }

    #[test]
    fn a_single_change_is_refused_where_it_is(sample in widget()) {
        for (changed, path) in changed(&sample) {
            let read = changed.read();
            prop_assert!(read.is_err(), "{path} passed: {changed:?}");
            prop_assert_eq!(read.expect_err("refused").path, path, "{:?}", changed);
        }
    }

    #[test]
    fn nothing_makes_it_panic(text in "\\PC{0,40}", widgets in any::<[u32; 4]>()) {
        let _ = Defaults::read(&text);
        let _ = Layout::read(&text);
        let [x, y, width, height] = widgets;
        let position = json!({"x": x, "y": y, "width": width, "height": height});
        let _ = Position::read(&position.to_string(), 12);
    }
}

#[test]
fn changes_reach_every_place() {
    let sample = Sample {
        data_source: json!({
            "workflows": [workflow(1)], "metrics": ["a"], "filters": {"b": [1]}, "period": {"last": 1},
        }),
        ..Sample::display("line", json!({"custom": {"c": 1}}))
    };
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for (_, path) in changed(&sample) {
        *count.entry(path).or_default() += 1;
    }
    for path in [
        "data_source",
        "data_source.metrics",
        "data_source.metrics[0]",
        "data_source.filters.b",
        "data_source.filters.b[0]",
        "data_source.period.last",
        "data_source.period.surplus",
        "data_source.surplus",
        "display_config.custom",
        "display_config.surplus",
        "position_config.height",
    ] {
        assert!(count.get(path).is_some_and(|&count| count > 0), "{path}");
    }
    assert!(!count.contains_key("display_config.custom.c"));
}
