//! Rows that cannot be taken: each comes back with its number, field and reason, and costs the others
//! nothing.

use super::plant_rows::*;
use super::{machines, with_plant};
use anyhow::Result;
use postgres::Client;
use serde_json::{Value, json};

/// JSON as it was sent, the field that is named, and a part of the reason.
type Bad = (&'static str, Option<&'static str>, &'static str);

const DAILY: &[Bad] = &[
    // No rows at all.
    ("null", None, "not a JSON object"),
    ("5", None, "not a JSON object"),
    ("true", None, "not a JSON object"),
    ("\"a text\"", None, "not a JSON object"),
    ("[]", None, "not a JSON object"),
    (r#"[{"source_id": "A1"}]"#, None, "not a JSON object"),
    ("{}", Some("asset_id"), "both missing"),
    // The machine.
    (
        r#"{"report_date": "2026-01-15", "total_count": 1}"#,
        Some("asset_id"),
        "both missing",
    ),
    (
        r#"{"source_id": null, "asset_id": "", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("asset_id"),
        "both missing",
    ),
    (
        r#"{"source_id": "nowhere", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("source_id"),
        "nowhere",
    ),
    (
        r#"{"source_id": "a1", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("source_id"),
        "a1",
    ),
    (
        r#"{"source_id": 5, "report_date": "2026-01-15", "total_count": 1}"#,
        Some("source_id"),
        "5",
    ),
    (
        r#"{"source_id": "'; DROP TABLE plant.assets; --", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("source_id"),
        "DROP TABLE",
    ),
    (
        r#"{"source_id": "<script>alert(1)</script>", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("source_id"),
        "<script>",
    ),
    (
        r#"{"source_id": "\u0001\u001f\u202e\ud83d\ude00 \\ \" {,}", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("source_id"),
        "no asset",
    ),
    (
        r#"{"source_id": "%s %n {0} $1 NULL \\N", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("source_id"),
        "no asset",
    ),
    (
        r#"{"source_id": {"$ne": null}, "report_date": "2026-01-15", "total_count": 1}"#,
        Some("source_id"),
        "single value",
    ),
    (
        r#"{"source_id": ["A1"], "report_date": "2026-01-15", "total_count": 1}"#,
        Some("source_id"),
        "single value",
    ),
    (
        r#"{"asset_id": "00000000-0000-0000-0000-00000000beef", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("asset_id"),
        "00000000-0000-0000-0000-00000000beef",
    ),
    (
        r#"{"asset_id": "not-a-uuid", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("asset_id"),
        "not a uuid",
    ),
    (
        r#"{"asset_id": 17, "source_id": "A1", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("asset_id"),
        "not a uuid",
    ),
    (
        r#"{"asset_id": "00000000-0000-0000-0001-00000000000g", "report_date": "2026-01-15", "total_count": 1}"#,
        Some("asset_id"),
        "not a uuid",
    ),
    // The date.
    (
        r#"{"source_id": "A1", "total_count": 1}"#,
        Some("report_date"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "report_date": " ", "total_count": 1}"#,
        Some("report_date"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-02-30", "total_count": 1}"#,
        Some("report_date"),
        "no such date",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2025-02-29", "total_count": 1}"#,
        Some("report_date"),
        "no such date",
    ),
    (
        r#"{"source_id": "A1", "report_date": "15.01.2026", "total_count": 1}"#,
        Some("report_date"),
        "YYYY-MM-DD",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-1-5", "total_count": 1}"#,
        Some("report_date"),
        "YYYY-MM-DD",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15T00:00:00Z", "total_count": 1}"#,
        Some("report_date"),
        "YYYY-MM-DD",
    ),
    (
        r#"{"source_id": "A1", "report_date": "yesterday", "total_count": 1}"#,
        Some("report_date"),
        "YYYY-MM-DD",
    ),
    (
        r#"{"source_id": "A1", "report_date": "infinity", "total_count": 1}"#,
        Some("report_date"),
        "YYYY-MM-DD",
    ),
    (
        r#"{"source_id": "A1", "report_date": 20260115, "total_count": 1}"#,
        Some("report_date"),
        "YYYY-MM-DD",
    ),
    (
        r#"{"source_id": "A1", "report_date": "２０２６-01-15", "total_count": 1}"#,
        Some("report_date"),
        "YYYY-MM-DD",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2199-12-31", "total_count": 1}"#,
        Some("report_date"),
        "in the future",
    ),
    (
        r#"{"source_id": "A1", "report_date": "9999-12-31", "total_count": 1}"#,
        Some("report_date"),
        "year",
    ),
    (
        r#"{"source_id": "A1", "report_date": "0000-01-01", "total_count": 1}"#,
        Some("report_date"),
        "year",
    ),
    (
        r#"{"source_id": "A1", "report_date": ["2026-01-15"], "total_count": 1}"#,
        Some("report_date"),
        "single value",
    ),
    // Numbers.
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15"}"#,
        Some("total_count"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": null}"#,
        Some("total_count"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": ""}"#,
        Some("total_count"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": true}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": [1]}"#,
        Some("total_count"),
        "single value",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": {"value": 1}}"#,
        Some("total_count"),
        "single value",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "many"}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "1,000"}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "1 000"}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "0x10"}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "١٢"}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "NaN"}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "Infinity"}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "--1"}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "1e"}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "1;2"}"#,
        Some("total_count"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": -1}"#,
        Some("total_count"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "-0.5"}"#,
        Some("total_count"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1.5}"#,
        Some("total_count"),
        "whole number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1e-3}"#,
        Some("total_count"),
        "whole number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 2147483648}"#,
        Some("total_count"),
        "too large",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1e20}"#,
        Some("total_count"),
        "too large",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1e400}"#,
        Some("total_count"),
        "",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": "1e999999999999"}"#,
        Some("total_count"),
        "",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 99999999999999999999999999999999999999999}"#,
        Some("total_count"),
        "",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "good_count": 0.5}"#,
        Some("good_count"),
        "whole number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "good_count": -1}"#,
        Some("good_count"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "waste_count": -1}"#,
        Some("waste_count"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "target_output": -1}"#,
        Some("target_output"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "target_output": "7.5"}"#,
        Some("target_output"),
        "whole number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "planned_minutes": -1}"#,
        Some("planned_minutes"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "downtime_minutes": -0.001}"#,
        Some("downtime_minutes"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "downtime_minutes": "8 h"}"#,
        Some("downtime_minutes"),
        "not a number",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "ideal_rate": 0}"#,
        Some("ideal_rate"),
        "not above zero",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "ideal_rate": -3}"#,
        Some("ideal_rate"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "ideal_cycle_seconds": 0}"#,
        Some("ideal_cycle_seconds"),
        "not above zero",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "ideal_cycle_seconds": "-1e0"}"#,
        Some("ideal_cycle_seconds"),
        "negative",
    ),
    // What cannot be together.
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "good_count": 2}"#,
        Some("good_count"),
        "more than the total",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "waste_count": 2}"#,
        Some("waste_count"),
        "more than the total",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 9, "good_count": 5, "waste_count": 5}"#,
        Some("waste_count"),
        "more than the total",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "downtime_minutes": 481}"#,
        Some("downtime_minutes"),
        "more than was planned",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "planned_minutes": 60, "downtime_minutes": 60.01}"#,
        Some("downtime_minutes"),
        "more than was planned",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "planned_minutes": 1500.01}"#,
        Some("planned_minutes"),
        "more than a day",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "planned_minutes": 1e15}"#,
        Some("planned_minutes"),
        "more than a day",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "ideal_rate": 100, "ideal_cycle_seconds": 36}"#,
        Some("ideal_rate"),
        "ideal_cycle_seconds",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "actual_output": 1}"#,
        None,
        "total_count",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 2147483647, "waste_count": 2147483647, "ideal_rate": 1e9}"#,
        Some("waste_count"),
        "loss is too large",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 2147483647, "planned_minutes": 0.001, "ideal_rate": 1}"#,
        Some("ideal_rate"),
        "fast",
    ),
    // A misspelt field is no silent default.
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "downtime": 5}"#,
        None,
        "downtime",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "Total_Count": 5}"#,
        None,
        "Total_Count",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "": 5}"#,
        None,
        "unknown field",
    ),
    (
        r#"{"source_id": "A1", "report_date": "2026-01-15", "total_count": 1, "oee_percentage": 100}"#,
        None,
        "oee_percentage",
    ),
];

const LIVE: &[Bad] = &[
    ("null", None, "not a JSON object"),
    ("[1]", None, "not a JSON object"),
    (
        r#"{"snapshot_timestamp": "%now%", "current_output": 1}"#,
        Some("asset_id"),
        "both missing",
    ),
    (
        r#"{"source_id": "nowhere", "snapshot_timestamp": "%now%", "current_output": 1}"#,
        Some("source_id"),
        "nowhere",
    ),
    (
        r#"{"asset_id": "x", "snapshot_timestamp": "%now%", "current_output": 1}"#,
        Some("asset_id"),
        "not a uuid",
    ),
    (
        r#"{"source_id": "A1", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": null, "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "now", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "YYYY-MM-DD",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": 1763700000, "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "YYYY-MM-DD",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "2026-11-21", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "time of day is missing",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "2026-11-21T24:00", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "24",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "2026-11-21T10:60", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "59",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "2026-11-21T10:00 Europe/Berlin", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "zone",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "2026-11-21T10:00+25:00", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "offset",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "2026-02-29T10:00Z", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "no such date",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "2001-01-01T00:00Z", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "older than what is kept",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "2199-01-01T00:00Z", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "future",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "infinity", "current_output": 1}"#,
        Some("snapshot_timestamp"),
        "YYYY-MM-DD",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%"}"#,
        Some("current_output"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "current_output": ""}"#,
        Some("current_output"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "reason_code": "Lunch"}"#,
        Some("current_output"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "reason_code": "safety issues"}"#,
        Some("current_output"),
        "missing",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "current_output": -1}"#,
        Some("current_output"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "current_output": 1.5}"#,
        Some("current_output"),
        "whole number",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "current_output": "1e10"}"#,
        Some("current_output"),
        "too large",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "current_output": {}}"#,
        Some("current_output"),
        "single value",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "current_output": 1, "target_output": -1}"#,
        Some("target_output"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "reason_code": "Safety Issue", "severity": "severe"}"#,
        Some("severity"),
        "severe",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "reason_code": "Safety Issue", "duration_minutes": -1}"#,
        Some("duration_minutes"),
        "negative",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "reason_code": "Safety Issue", "duration_minutes": 1e8}"#,
        Some("duration_minutes"),
        "too large",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "reason_code": "Safety Issue", "financial_impact": 99999999999}"#,
        Some("financial_impact"),
        "too large",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "reason_code": "Safety Issue", "financial_impact": 9999999999.995}"#,
        Some("financial_impact"),
        "too large",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "reason_code": ["Safety Issue"]}"#,
        Some("reason_code"),
        "single value",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "reason_code": "Safety Issue", "description": {"a": 1}}"#,
        Some("description"),
        "single value",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "current_output": 1, "timestamp": "%now%"}"#,
        None,
        "timestamp",
    ),
    (
        r#"{"source_id": "A1", "snapshot_timestamp": "%now%", "current_output": 1, "status": "ahead"}"#,
        None,
        "status",
    ),
];

/// Good rows with the bad ones among them, as text, and where the bad ones stand, from 1.
fn mixed(good: &[String], bad: &[String], random: &mut Random) -> (String, Vec<usize>) {
    let mut order: Vec<Option<usize>> = vec![None; good.len()];
    order.extend((0..bad.len()).map(Some));
    random.shuffle(&mut order);
    let mut places = vec![0; bad.len()];
    let mut next = good.iter();
    let rows: Vec<&str> = order
        .iter()
        .enumerate()
        .filter_map(|(index, row)| match row {
            Some(number) => {
                places[*number] = index + 1;
                bad.get(*number).map(String::as_str)
            }
            None => next.next().map(String::as_str),
        })
        .collect();
    (format!("[{}]", rows.join(",\n")), places)
}

/// Every bad row came back as it should, and stands in the table with its text.
#[track_caller]
fn check(
    client: &mut Client,
    pipeline: &str,
    answer: &Answer,
    texts: &[String],
    expected: &[Bad],
    places: &[usize],
) {
    assert_eq!(answer.rejected as usize, expected.len(), "{answer:?}");
    let numbers: Vec<i64> = answer.rejects.iter().map(|reject| reject.0).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    for (((text, field, reason), sent), place) in expected.iter().zip(texts).zip(places) {
        let Some(reject) = answer
            .rejects
            .iter()
            .find(|reject| reject.0 == *place as i64)
        else {
            panic!("{text} was taken");
        };
        assert_eq!(reject.1.as_deref(), *field, "{text}: {reject:?}");
        assert!(
            !reject.2.is_empty() && reject.2.contains(reason),
            "{text}: {reject:?}"
        );
        assert!(reject.2.len() < 600, "too long for a message: {reject:?}");
        let kept = table(
            client,
            &format!(
                "SELECT r.field, r.reason = {}, r.raw::jsonb = {}::jsonb, r.rejected_at <= now() FROM plant.ingest_rejects r
                  WHERE r.pipeline = '{pipeline}' AND r.row_number = {place}",
                literal(&reject.2),
                literal(sent)
            ),
        );
        assert_eq!(
            kept,
            [format!("{} | t | t | t", field.unwrap_or("-"))],
            "{text}"
        );
    }
    assert_eq!(
        value(client, "SELECT count(*) FROM plant.ingest_rejects"),
        expected.len().to_string()
    );
}

#[test]
fn bad_days_among_five_thousand() -> Result<()> {
    let (_db, mut client) = with_plant("bad_days")?;
    machines(&mut client, 50)?;
    let good: Vec<String> = (0..5000)
        .map(|i| {
            json!({"source_id": format!("A{}", 1 + i % 50), "report_date": format!("2026-{:02}-{:02}", 1 + i / 50 / 25, 1 + i / 50 % 25),
                   "total_count": 500 + i % 7, "good_count": 480})
            .to_string()
        })
        .collect();
    let bad: Vec<String> = DAILY.iter().map(|bad| bad.0.to_owned()).collect();
    let (rows, places) = mixed(&good, &bad, &mut Random::new(1));
    let answer = ingest_text(&mut client, "daily", &rows)?;
    assert_eq!(
        (answer.inserted, answer.accepted),
        (5000, 5000),
        "{:?}",
        answer.rejects
    );
    check(&mut client, "daily", &answer, &bad, DAILY, &places);
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) || ' ' || sum(actual_output) FROM plant.daily_summaries"
        ),
        format!("5000 {}", (0..5000).map(|i| 500 + i % 7).sum::<i32>())
    );
    // Again: nothing good is written twice, and the bad ones are bad again.
    let again = ingest_text(&mut client, "daily", &rows)?;
    assert_eq!(again.counts(), (0, 0, 5000, DAILY.len() as i64));
    assert_eq!(again.rejects, answer.rejects);
    Ok(())
}

#[test]
fn bad_snapshots_among_five_thousand() -> Result<()> {
    let (_db, mut client) = with_plant("bad_snapshots")?;
    machines(&mut client, 50)?;
    // Inside of what is kept, whenever the test runs.
    let start = value(
        &mut client,
        "SELECT to_char(now() - interval '6 hours', 'YYYY-MM-DD HH24:MI')",
    );
    let moments = table(
        &mut client,
        &format!(
            "SELECT to_char(timestamp '{start}' + i * interval '1 minute', 'YYYY-MM-DD\"T\"HH24:MI\"Z\"') FROM generate_series(0, 99) AS i"
        ),
    );
    let good: Vec<String> = (0..5000)
        .map(|i| {
            json!({"source_id": format!("A{}", 1 + i % 50), "snapshot_timestamp": moments[i / 50], "current_output": i, "target_output": 2500})
                .to_string()
        })
        .collect();
    let bad: Vec<String> = LIVE
        .iter()
        .map(|bad| bad.0.replace("%now%", &moments[50]))
        .collect();
    let (rows, places) = mixed(&good, &bad, &mut Random::new(2));
    let answer = ingest_text(&mut client, "live", &rows)?;
    assert_eq!(
        (answer.inserted, answer.safety_events),
        // All of them at the same moment of the same machine.
        (5000, 1),
        "{:?}",
        answer.rejects
    );
    check(&mut client, "live", &answer, &bad, LIVE, &places);
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) || ' ' || sum(current_output) FROM plant.live_snapshots"
        ),
        format!("5000 {}", (0..5000).sum::<i32>())
    );
    let again = ingest_text(&mut client, "live", &rows)?;
    assert_eq!(again.counts(), (0, 0, 5000, LIVE.len() as i64));
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.safety_events"),
        "1"
    );
    Ok(())
}

/// However deep a bad row is, the good ones beside it are taken.
#[test]
fn rows_as_deep_as_json_goes() -> Result<()> {
    let (_db, mut client) = with_plant("deep_rows")?;
    let deep = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
    let day = |date: u32, more: &str| {
        format!(r#"{{"source_id": "P1", "report_date": "2026-01-{date}", "total_count": 1{more}}}"#)
    };
    let rows = [
        day(10, ""),
        day(11, &format!(r#", "good_count": {deep}"#)),
        deep.clone(),
        day(
            12,
            &format!(
                r#", "waste_count": {}"#,
                deep.replace('[', r#"{"a":["#).replace(']', "]}")
            ),
        ),
        day(13, ""),
    ];
    let answer = ingest_text(&mut client, "daily", &format!("[{}]", rows.join(",")))?;
    assert_eq!(answer.counts(), (2, 0, 0, 3), "{answer:?}");
    let told: Vec<(i64, Option<&str>)> = answer
        .rejects
        .iter()
        .map(|r| (r.0, r.1.as_deref()))
        .collect();
    assert_eq!(
        told,
        [(2, Some("good_count")), (3, None), (4, Some("waste_count"))]
    );
    Ok(())
}

/// A reason is to be read: it shows the beginning of what is long.
#[test]
fn reasons_are_short() -> Result<()> {
    let (_db, mut client) = with_plant("short_reasons")?;
    let long = "x".repeat(100_000);
    for row in [
        json!({"source_id": long, "report_date": "2026-01-15", "total_count": 1}),
        json!({"asset_id": long, "report_date": "2026-01-15", "total_count": 1}),
        json!({"source_id": "P1", "report_date": long, "total_count": 1}),
        json!({"source_id": "P1", "report_date": "2026-01-15", "total_count": long}),
        json!({"source_id": "P1", "report_date": "2026-01-15", "total_count": 1, long.clone(): 1}),
    ] {
        let answer = ingest(&mut client, "daily", &json!([row]))?;
        assert_eq!(answer.rejected, 1);
        let length = answer.rejects[0].2.len();
        assert!(length < 1_000, "{length}: {:.200}", answer.rejects[0].2);
    }
    Ok(())
}

/// Numbers that drivers write in their own ways.
#[test]
fn numbers_in_many_spellings() -> Result<()> {
    let (_db, mut client) = with_plant("number_spellings")?;
    for (text, expected) in [
        ("12", "12"),
        ("12.0", "12"),
        ("1.2e1", "12"),
        ("120e-1", "12"),
        ("\"12\"", "12"),
        ("\" 12 \"", "12"),
        ("\"12.000\"", "12"),
        ("\"1.2E+1\"", "12"),
        ("\"+12\"", "12"),
        ("\"012\"", "12"),
        ("\"-0\"", "0"),
        ("-0.0", "0"),
        ("2147483647", "2147483647"),
        ("\"\\u0031\\u0032\"", "12"),
    ] {
        client.batch_execute("DELETE FROM plant.daily_summaries")?;
        let answer = ingest_text(
            &mut client,
            "daily",
            &format!(
                r#"[{{"source_id": "P1", "report_date": "2026-01-15", "total_count": {text}, "ideal_rate": 1e9}}]"#
            ),
        )?;
        assert_eq!(answer.counts(), (1, 0, 0, 0), "{text}: {answer:?}");
        assert_eq!(
            value(
                &mut client,
                "SELECT actual_output FROM plant.daily_summaries"
            ),
            expected,
            "{text}"
        );
    }
    Ok(())
}

/// What no data format calls a number is none.
#[test]
fn underscores_are_no_digits() -> Result<()> {
    let (_db, mut client) = with_plant("number_underscores")?;
    let answer = ingest_text(
        &mut client,
        "daily",
        r#"[{"source_id": "P1", "report_date": "2026-01-15", "total_count": "1_0_0"}]"#,
    )?;
    assert_eq!(answer.counts(), (0, 0, 0, 1), "{answer:?}");
    Ok(())
}

/// Names of machines are only names.
#[test]
fn machines_with_hostile_names() -> Result<()> {
    let (_db, mut client) = with_plant("hostile_names")?;
    let names = [
        "'; DELETE FROM plant.assets; --",
        "a\\b\"c{d},e",
        "{\"a\": [1]}",
        "NULL",
        "\\N",
        " leading and trailing ",
        "ünïcödé 東棟 👩🏽‍🏭 \u{202E}",
        "tab\tnew\nline\r\u{1}",
        "%s %d $1 {0}",
    ];
    for name in names {
        client.execute(
            "INSERT INTO plant.assets (name, source_id) VALUES ($1, $1)",
            &[&name],
        )?;
    }
    let rows: Vec<Value> = names
        .iter()
        .map(|name| json!({"source_id": name, "report_date": "2026-01-15", "total_count": 1}))
        .collect();
    assert_eq!(
        ingest(&mut client, "daily", &json!(rows))?.counts(),
        (names.len() as i64, 0, 0, 0)
    );
    let texts = client.query(
        "SELECT a.source_id, d.smart_summary_text FROM plant.daily_summaries d JOIN plant.assets a ON a.id = d.asset_id",
        &[],
    )?;
    for row in &texts {
        let (name, text): (String, String) = (row.get(0), row.get(1));
        let one_line = name.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.starts_with(&format!("{one_line} reached an OEE of 0.1%")),
            "{text}"
        );
    }
    assert_eq!(texts.len(), names.len());
    let live: Vec<Value> = names
        .iter()
        .map(|name| json!({"source_id": name, "snapshot_timestamp": value(&mut client, "SELECT to_json(now()) #>> '{}'"), "reason_code": "Safety Issue", "description": name, "source_record_id": name}))
        .collect();
    let answer = ingest(&mut client, "live", &json!(live))?;
    assert_eq!(
        (answer.safety_events, answer.rejected),
        (names.len() as i64, 0),
        "{answer:?}"
    );
    let kept: Vec<String> = client
        .query("SELECT description FROM plant.safety_events WHERE btrim(description) = source_record_id ORDER BY description COLLATE \"C\"", &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(kept, sorted);
    Ok(())
}

#[test]
fn rejects_are_kept_for_as_long_as_the_settings_say() -> Result<()> {
    let (_db, mut client) = with_plant("keep_rejects")?;
    client.batch_execute(
        "UPDATE plant.settings SET keep_rejects = '7 days';
         INSERT INTO plant.ingest_rejects (pipeline, row_number, reason, raw, rejected_at) VALUES
           ('daily', 1, 'old', '{}', now() - interval '7 days 1 minute'), ('live', 2, 'old', '{}', now() - interval '1 year'),
           ('live', 3, 'young', '{}', now() - interval '6 days 23 hours')",
    )?;
    ingest(&mut client, "daily", &json!([1]))?;
    assert_eq!(
        table(
            &mut client,
            "SELECT pipeline, row_number, reason FROM plant.ingest_rejects ORDER BY rejected_at"
        ),
        [
            "live | 3 | young",
            "daily | 1 | the row is not a JSON object"
        ]
    );
    client.batch_execute("UPDATE plant.settings SET keep_rejects = '0'")?;
    ingest(&mut client, "live", &json!([2]))?;
    assert_eq!(
        table(
            &mut client,
            "SELECT pipeline, raw FROM plant.ingest_rejects"
        ),
        ["live | 2"]
    );
    Ok(())
}

/// A run in which all is well forgets old rejects, too: nothing else would.
#[test]
fn rejects_are_forgotten_without_new_ones() -> Result<()> {
    let (_db, mut client) = with_plant("forget_rejects")?;
    client.batch_execute(
        "INSERT INTO plant.ingest_rejects (pipeline, row_number, reason, raw, rejected_at) VALUES
           ('daily', 1, 'old', '{}', now() - interval '31 days')",
    )?;
    ingest(
        &mut client,
        "daily",
        &json!([{"source_id": "P1", "report_date": "2026-01-15", "total_count": 1}]),
    )?;
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM plant.ingest_rejects"),
        "0"
    );
    Ok(())
}
