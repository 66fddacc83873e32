//! Figures, and what dashboards and series make of them.

use super::{ask, asked};
use anyhow::{Context, Result};
use gemba_tests::value;
use postgres::Client;
use serde_json::{Value, json};

/// A second account, and one more workflow of Anna's, without figures.
pub const OTHER_ACCOUNT: &str = "10000000-0000-0000-0000-000000000002";
pub const EMPTY: &str = "20000000-0000-0000-0000-0000000000ee";

pub fn more_people(client: &mut Client) -> Result<()> {
    super::people(client)?;
    client.batch_execute(&format!(
        "DELETE FROM reporting.report_data_aggregates;
         DELETE FROM reporting.workflow_data;
         INSERT INTO reporting.amc_instances (id, instance_id, instance_name) VALUES ('{OTHER_ACCOUNT}', 'amc-2', 'two');
         INSERT INTO reporting.workflows (id, workflow_id, name, user_id) VALUES ('{EMPTY}', 'wf_empty', 'empty', '{}')",
        super::ANNA
    ))?;
    Ok(())
}

/// Writes the figures of a period that begins on a day, in place of those that were there.
pub fn record(
    client: &mut Client,
    (workflow, account): (&str, &str),
    aggregation: &str,
    day: &str,
    metrics: &Value,
    dimensions: &Value,
) -> Result<()> {
    client.execute(
        "INSERT INTO reporting.report_data_aggregates AS a
                (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics, dimensions)
         SELECT $1::text::uuid, $2::text::uuid, $3::text,
                CASE $3::text WHEN 'weekly' THEN to_char(d.day, 'YYYY-MM-DD_') || to_char(d.day + 6, 'YYYY-MM-DD')
                        WHEN 'monthly' THEN to_char(d.day, 'YYYY-MM') ELSE to_char(d.day, 'YYYY-\"Q\"Q') END,
                d.day, $5::text::jsonb, $6::text::jsonb
           FROM (SELECT $4::text::date) AS d (day)
         ON CONFLICT (workflow_id, instance_id, aggregation_type, aggregation_key, data_date)
         DO UPDATE SET metrics = excluded.metrics, dimensions = excluded.dimensions",
        &[
            &workflow,
            &account,
            &aggregation,
            &day,
            &metrics.to_string(),
            &dimensions.to_string(),
        ],
    )?;
    Ok(())
}

/// The figures of a week.
pub fn week(client: &mut Client, of: (&str, &str), day: &str, metrics: Value) -> Result<()> {
    record(client, of, "weekly", day, &metrics, &json!({}))
}

/// Puts a widget on a dashboard, as Anna; a chart is called by its type.
pub fn add(client: &mut Client, board: &str, name: &str, kind: &str, source: &Value) -> Result<()> {
    let (widget_type, chart_type) = match kind {
        "table" | "metric_card" | "text" => (kind, "NULL".to_owned()),
        chart => ("chart", format!("'{chart}'")),
    };
    ask(
        client,
        "authenticated",
        Some(super::ANNA),
        &format!(
            "SELECT reporting.add_widget('{board}', '{widget_type}', '{name}', '{source}', chart_type => {chart_type}, widget_id => '{name}')"
        ),
    )?;
    Ok(())
}

/// The payload, as a user sees it.
#[track_caller]
pub fn payload(client: &mut Client, user: &str, board: &str) -> Value {
    let text = asked(
        client,
        user,
        &format!("SELECT reporting.dashboard_payload('{board}')"),
    );
    serde_json::from_str(&text).expect("JSON")
}

/// A widget of a payload.
#[track_caller]
pub fn widget<'a>(payload: &'a Value, name: &str) -> &'a Value {
    payload["widgets"]
        .as_array()
        .and_then(|widgets| widgets.iter().find(|widget| widget["widget_id"] == name))
        .unwrap_or_else(|| panic!("no widget {name} in {payload}"))
}

/// A new dashboard of Anna's with one widget, and what Anna sees of it.
#[track_caller]
pub fn shown(client: &mut Client, kind: &str, source: &Value) -> Value {
    let board = asked(
        client,
        super::ANNA,
        "SELECT reporting.create_dashboard('d')",
    );
    add(client, &board, "w", kind, source)
        .with_context(|| source.to_string())
        .expect("a widget");
    let payload = payload(client, super::ANNA, &board);
    widget(&payload, "w").clone()
}

/// What the database makes of a query, as JSON.
#[track_caller]
pub fn queried(client: &mut Client, sql: &str) -> Value {
    serde_json::from_str(&value(client, sql)).expect("JSON")
}
