//! The page as text: complete, well-formed, and the same for every document that is one.

use super::page;
use crate::Error;
use proptest::prelude::*;
use serde_json::{Value, json};

const SAMPLE: &str = include_str!("../../tests/sample.json");

fn sample() -> Value {
    serde_json::from_str(SAMPLE).unwrap()
}

fn made(document: &Value) -> String {
    let page = page(&document.to_string()).unwrap();
    well_formed(&page).unwrap();
    page
}

/// Every tag closed in its order, every attribute quoted, no `<` or `&` that is not markup.
fn well_formed(page: &str) -> Result<(), String> {
    const VOID: [&str; 1] = ["meta"];
    let mut rest = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    let mut open: Vec<&str> = Vec::new();
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        if open.last() != Some(&"style")
            && text.contains('&')
            && !text.split('&').skip(1).all(is_reference)
        {
            return Err(format!("a bare & in {text:?}"));
        }
        let (tag, after) = rest[start + 1..]
            .split_once('>')
            .ok_or("an open tag at the end")?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> where it does not belong"));
            }
            continue;
        }
        let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        if !name.chars().all(|c| c.is_ascii_alphanumeric()) || name.is_empty() {
            return Err(format!("no tag: <{tag}>"));
        }
        let closed = attributes.ends_with('/');
        let mut attributes = attributes.trim_end_matches('/').trim();
        while !attributes.is_empty() {
            let (key, value) = attributes
                .split_once("=\"")
                .ok_or(format!("an attribute in <{tag}>"))?;
            let (value, after) = value.split_once('"').ok_or(format!("a quote in <{tag}>"))?;
            if !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') || key.starts_with("on")
            {
                return Err(format!("attribute {key:?}"));
            }
            if !value.split('&').skip(1).all(is_reference) {
                return Err(format!("a bare & in {value:?}"));
            }
            attributes = after.trim();
        }
        if !closed && !VOID.contains(&name) {
            open.push(name);
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("never closed: {open:?}"))
    }
}

fn is_reference(after: &str) -> bool {
    after
        .split_once(';')
        .and_then(|(name, _)| name.strip_prefix('#'))
        .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
}

#[test]
fn the_sample_in_full() {
    let page = made(&sample());
    for expected in [
        "<title>Morning report · Riverside Works · 20 November 2026</title>",
        "Friday <b>20 November 2026</b>",
        "77.7%",
        "6.1 points below target 83.8%",
        "$26,496.50",
        "18 h 9 min",
        "11 of 12",
        "10 smaller losses",
        "no target",
        "Guard door opened",
        "cost per minute (1 asset), ideal rate (2 assets)",
        "default-src 'none'; style-src 'unsafe-inline'",
    ] {
        assert!(page.contains(expected), "not found: {expected}");
    }
    assert!(!page.contains("shown</small>"), "nothing was cut");
    for outside in [
        "http:", "https:", "url(", "@import", "src=", "<script", "<link",
    ] {
        assert!(!page.contains(outside), "found: {outside}");
    }
}

#[test]
fn every_value_null() {
    let mut document = sample();
    let keep = |key: &str| {
        matches!(
            key,
            "name"
                | "plant"
                | "report_date"
                | "date"
                | "generated_at"
                | "time_zone"
                | "currency"
                | "kind"
                | "band"
                | "priority"
                | "freshness"
                | "severity"
                | "asset"
                | "reason_code"
                | "event_timestamp"
        )
    };
    fn blank(value: &mut Value, keep: &impl Fn(&str) -> bool) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    if value.is_string() && !keep(key) {
                        *value = Value::Null;
                    } else {
                        blank(value, keep);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| blank(item, keep)),
            _ => {}
        }
    }
    blank(&mut document, &keep);
    let page = made(&document);
    assert!(page.contains("No asset has an OEE for this day."));
    assert!(page.contains("No data for any of the days."));
    assert!(!page.contains("class=\"oee\""), "a line without data");
}

#[test]
fn an_absent_value_is_null_and_an_unknown_key_an_error() {
    let mut document = sample();
    document["totals"] = json!({"assets": 1, "reporting": 0, "open_safety_events": 0});
    let page = made(&document);
    assert!(page.contains("the one asset has not reported"));
    assert!(page.contains("no target set"));

    for (pointer, key) in [
        ("", "extra"),
        ("/totals", "oeee"),
        ("/assets/0", "OEE"),
        ("/live/0", "age"),
    ] {
        let mut document = sample();
        document.pointer_mut(pointer).unwrap()[key] = Value::Null;
        let error = page_error(&document);
        assert!(error.contains(&format!("unknown field `{key}`")), "{error}");
    }
}

#[test]
fn what_is_no_document_is_an_error() {
    for (pointer, value, expected) in [
        ("/totals/oee", json!(71.2), "a string with a decimal"),
        ("/totals/oee", json!("NaN"), "a string with a decimal"),
        ("/totals/oee", json!(""), "a string with a decimal"),
        (
            "/totals/oee",
            json!("1".repeat(40)),
            "a string with a decimal",
        ),
        ("/totals/assets", json!(-1), "u64"),
        ("/assets/0/band", json!("great"), "unknown variant `great`"),
        ("/report_date", json!("infinity"), "invalid characters"),
        ("/trend/0/date", json!("2026-02-30"), "out of range"),
        ("/plant", Value::Null, "a string"),
    ] {
        let mut document = sample();
        *document.pointer_mut(pointer).unwrap() = value;
        let error = page_error(&document);
        assert!(error.contains(expected), "{pointer}: {error}");
    }
    assert!(matches!(page(""), Err(Error::Data(_))));
    assert!(matches!(page("{\"plant\": \"\0\"}"), Err(Error::Data(_))));
}

fn page_error(document: &Value) -> String {
    let error = page(&document.to_string()).expect_err("a page?");
    assert!(matches!(error, Error::Data(_)));
    std::error::Error::source(&error).unwrap().to_string()
}

#[test]
fn gaps_are_not_drawn_over() {
    let mut document = sample();
    let day = |date: &str, oee: Value| json!({"date": date, "oee": oee, "target": null});
    // Two days, an empty one, one alone, a missing one, two days.
    document["trend"] = json!([
        day("2026-11-01", json!("70")),
        day("2026-11-02", json!("71")),
        day("2026-11-03", Value::Null),
        day("2026-11-04", json!("72")),
        day("2026-11-06", json!("73")),
        day("2026-11-07", json!("74")),
    ]);
    let page = made(&document);
    assert_eq!(page.matches("<line class=\"oee\"").count(), 2);
    assert_eq!(page.matches("<line class=\"target\"").count(), 0);
    assert_eq!(page.matches("<rect class=\"gap\"").count(), 2);
    assert!(page.contains("<rect class=\"gap\" x=\"25%\" width=\"16.67%\""));
}

#[test]
fn the_rest_of_the_losses_is_other() {
    let mut document = sample();
    let loss = |index: usize| {
        json!({"name": format!("Press {index}"), "kind": "downtime", "loss": "10.00", "share": "5.00",
               "cumulative_share": format!("{}", (index + 1) * 5)})
    };
    document["losses"] = (0..20).map(loss).collect();
    let page = made(&document);
    assert_eq!(page.matches("<tr class=\"loss").count(), 13);
    assert!(page.contains("Other, 8 smaller losses: 40.0% of all losses, 100.0% with those above"));
    assert!(page.contains("$80.00"));
    document["losses"] = (0..12).map(loss).collect();
    assert!(!made(&document).contains("smaller loss"));
}

#[test]
fn a_stale_asset_is_stale_whatever_it_said() {
    let mut document = sample();
    document["live"] = json!([
        {"name": "A", "status": "ahead", "freshness": "fresh", "current_output": "9", "target_output": "8", "minutes_old": "1"},
        {"name": "B", "status": "on_target", "freshness": "stale", "current_output": "9", "target_output": "9", "minutes_old": "95"},
    ]);
    let page = made(&document);
    let (stale, fresh) = (
        page.find("t-stale\"").unwrap(),
        page.find("t-ahead\"").unwrap(),
    );
    assert!(stale < fresh, "stale comes first");
    assert!(page.contains("was on target"));
    assert!(page.contains("1 h 35 min old"));
    assert!(!page.contains("t-on\""));
}

/// Decimals of every size, written as PostgreSQL writes them, and null.
fn any_number() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        4 => (-10_000i64..20_000, 0u32..3).prop_map(|(value, scale)| decimal(i128::from(value), scale)),
        1 => (any::<i128>(), 0u32..=28).prop_map(|(value, scale)| decimal(value % (1 << 96), scale)),
    ]
}

fn decimal(mantissa: i128, scale: u32) -> Value {
    json!(rust_decimal::Decimal::from_i128_with_scale(mantissa, scale).to_string())
}

fn any_text() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<String>().prop_map(Value::from),
        "[<>\"'&;/=a-z{}%#! \\-\\]]{0,40}".prop_map(Value::from),
        "</?(script|svg|title|style|img|td)( on[a-z]+=['\"]?x)?/?>".prop_map(Value::from),
    ]
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::sample::select(words).prop_map(Value::from)
}

fn object<const N: usize>(
    fields: [(&'static str, BoxedStrategy<Value>); N],
) -> BoxedStrategy<Value> {
    let (keys, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    values
        .prop_map(move |values| {
            keys.iter()
                .map(|key| (*key).to_owned())
                .zip(values)
                .collect::<serde_json::Map<_, _>>()
                .into()
        })
        .boxed()
}

fn list(of: BoxedStrategy<Value>, most: usize) -> BoxedStrategy<Value> {
    prop::collection::vec(of, 0..=most)
        .prop_map(Value::from)
        .boxed()
}

fn any_document() -> BoxedStrategy<Value> {
    let number = || any_number().boxed();
    let text = || any_text().boxed();
    let maybe = || prop_oneof![Just(Value::Null), any_text()].boxed();
    let rows = || (0u64..2000).prop_map(Value::from).boxed();
    let date = || {
        (1i32..9999, 1u32..=366)
            .prop_filter_map("no such day", |(year, day)| {
                chrono::NaiveDate::from_yo_opt(year, day)
            })
            .prop_map(|date| json!(date.to_string()))
    };
    let near = (0u64..40).prop_map(|days| {
        let first = chrono::NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        json!((first + chrono::Days::new(days)).to_string())
    });
    let asset = object([
        ("name", text()),
        ("area", maybe()),
        ("oee", number()),
        ("availability", number()),
        ("performance", number()),
        ("quality", number()),
        ("oee_target", number()),
        (
            "band",
            one_of(&["good", "fair", "poor", "not planned", "no data"]).boxed(),
        ),
        ("actual_output", number()),
        ("target_output", number()),
        ("output_variance_percentage", number()),
        ("downtime_minutes", number()),
        ("waste_count", number()),
        ("financial_loss", number()),
        ("loss_rank", prop_oneof![Just(Value::Null), rows()].boxed()),
        ("trend_7", number()),
        ("trend_30", number()),
        (
            "priority",
            one_of(&["none", "low", "medium", "high"]).boxed(),
        ),
        ("open_safety_events", rows()),
        ("estimated", list(text(), 3)),
        ("summary", maybe()),
    ]);
    let loss = object([
        ("name", text()),
        ("kind", text()),
        ("loss", number()),
        ("share", number()),
        ("cumulative_share", number()),
    ]);
    let day = object([
        ("date", prop_oneof![8 => near, 1 => date()].boxed()),
        ("oee", number()),
        ("target", number()),
    ]);
    let live = object([
        ("name", text()),
        (
            "status",
            prop_oneof![Just(Value::Null), one_of(&["on_target", "behind", "ahead"])].boxed(),
        ),
        ("freshness", one_of(&["fresh", "stale", "no data"]).boxed()),
        ("current_output", number()),
        ("target_output", number()),
        ("minutes_old", number()),
    ]);
    let event = object([
        (
            "severity",
            one_of(&["critical", "high", "medium", "low"]).boxed(),
        ),
        ("asset", text()),
        ("reason_code", text()),
        ("event_timestamp", text()),
        ("description", maybe()),
    ]);
    let totals = object([
        ("oee", number()),
        ("availability", number()),
        ("performance", number()),
        ("quality", number()),
        ("oee_target", number()),
        ("actual_output", number()),
        ("target_output", number()),
        ("downtime_minutes", number()),
        ("waste_count", number()),
        ("financial_loss", number()),
        ("assets", rows()),
        ("reporting", rows()),
        ("open_safety_events", rows()),
    ]);
    object([
        ("plant", text()),
        ("report_date", date().boxed()),
        ("generated_at", text()),
        ("time_zone", text()),
        ("currency", text()),
        ("good_from", number()),
        ("fair_from", number()),
        ("totals", totals),
        ("assets", list(asset, 25)),
        ("losses", list(loss, 15)),
        ("trend", list(day, 40)),
        ("live", list(live, 26)),
        ("safety", list(event, 4)),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_document_makes_a_page(document in any_document()) {
        let page = page(&document.to_string()).unwrap();
        prop_assert_eq!(well_formed(&page), Ok(()));
        for part in ["<script", "<img", "NaN", "inf%", "\0"] {
            prop_assert!(!page.contains(part), "found {:?}", part);
        }
    }

    #[test]
    fn anything_else_is_an_error(data in any::<String>()) {
        prop_assert!(page(&data).is_err());
    }
}
