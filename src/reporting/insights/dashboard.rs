//! What stands out in all that a dashboard shows, and its record.

use super::detect::{BEFORE, Series};
use super::series::{Source, Window};
use super::{Finding, Row, given, movers};
use crate::error::Result;
use crate::postgres::json::JsonText;
use crate::postgres::numeric::Numeric;
use crate::postgres::{spi, time};
use gemba_core::calendar::date_of;
use gemba_core::dashboard::{
    Aggregation, Defaults, Draft, MOST_COLUMNS, Period, Query, Widget, validate_widget,
};
use gemba_core::insights::{self, anomaly};
use pgrx::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use rust_decimal::Decimal;
use std::collections::HashSet;

/// Movers of one metric in either direction.
const MOST_MOVERS: i32 = 3;

/// What detectors say of figures that are too large or too many.
const REFUSED: [PgSqlErrorCode; 2] = [
    PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
    PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
];

const WIDGETS: &str =
    "SELECT w.widget_id, w.widget_type, w.chart_type, w.title, w.data_source, w.position_config
   FROM reporting.dashboard_widgets AS w WHERE w.dashboard_id = $1 ORDER BY w.widget_id";

/// A widget of the dashboard, and its name.
struct Shown {
    id: String,
    widget: Widget,
}

/// What the dashboard shows, from left to right and downwards. What cannot be shown is left out.
fn widgets(board: Uuid) -> Result<Vec<Shown>> {
    let rows = spi::read_all(WIDGETS, &[board.into()], |row| {
        let text =
            |column| -> Result<String> { Ok(row.get::<String>(column)?.unwrap_or_default()) };
        let json = |column| -> Result<String> {
            Ok(row
                .get::<JsonText>(column)?
                .map_or_else(String::new, |json| json.0))
        };
        let (widget_type, title) = (text(2)?, text(4)?);
        let chart_type = row.get::<String>(3)?;
        let (data_source, position_config) = (json(5)?, json(6)?);
        let draft = Draft {
            widget_type: &widget_type,
            chart_type: chart_type.as_deref(),
            title: &title,
            data_source: &data_source,
            display_config: None,
            position_config: &position_config,
        };
        let widget = validate_widget(&draft, MOST_COLUMNS).ok();
        Ok(widget.map(|widget| text(1).map(|id| Shown { id, widget })))
    })?;
    let mut shown = rows.into_iter().flatten().collect::<Result<Vec<_>>>()?;
    shown.sort_by_key(|shown| (shown.widget.position.y, shown.widget.position.x));
    Ok(shown)
}

/// What stands out in one metric of a widget: its trend, what is out of the ordinary, what moved it. Over what
/// the widget shows; figures before that only say what is usual.
fn of_metric(query: &Query, metric: &str, defaults: &Defaults) -> Result<Vec<Finding>> {
    let (window, until) = match query.period(defaults) {
        Period::Last { last } => (Window::Last(last as i32), None),
        Period::Between { from, to } => (
            Window::From(time::date((from - date_of(0)).num_days() as i32)),
            Some(time::date((to - date_of(0)).num_days() as i32)),
        ),
    };
    let ids = |ids: &[uuid::Uuid]| -> Vec<Uuid> {
        ids.iter()
            .map(|id| Uuid::from_bytes(*id.as_bytes()))
            .collect()
    };
    let filters = serde_json::to_string(&query.filters(defaults)).unwrap_or_default();
    let source = Source {
        workflows: Some(ids(&query.workflows)),
        instances: (!query.instances.is_empty()).then(|| ids(&query.instances)),
        metric,
        unit: unit(query.aggregation),
        filters: &JsonText(filters),
        until,
    };
    let figures = source.figures(window, BEFORE as i32)?;
    let single = |ids: &[uuid::Uuid]| match ids {
        [id] => Some(Uuid::from_bytes(*id.as_bytes())),
        _ => None,
    };
    let series = Series {
        metric,
        unit: source.unit,
        workflow: single(&query.workflows),
        instance: single(&query.instances),
        figures: &figures,
    };
    let mut findings = Vec::new();
    findings.extend(
        series
            .trend()?
            .filter(|trend| trend.numbers["direction"] != "flat"),
    );
    findings.extend(series.anomalies(anomaly::THRESHOLD)?);
    // Of one workflow on one account there is nothing to compare.
    let moved = movers::find(&source, MOST_MOVERS)?;
    if moved.len() > 1 {
        findings.extend(moved);
    }
    Ok(findings)
}

fn unit(aggregation: Aggregation) -> insights::Period {
    match aggregation {
        Aggregation::Weekly => insights::Period::Week,
        Aggregation::Monthly => insights::Period::Month,
        Aggregation::Quarterly => insights::Period::Quarter,
    }
}

/// A finding of at least this confidence, and the widget that shows it.
struct Noted {
    widget: String,
    finding: Finding,
}

fn findings(board: Uuid, least: Decimal) -> Result<Vec<Noted>> {
    let filter_config = spi::read_one::<JsonText>(
        "SELECT d.filter_config FROM reporting.dashboards AS d WHERE d.id = $1",
        &[board.into()],
    )?;
    let defaults = filter_config
        .and_then(|json| Defaults::read(&json.0).ok())
        .unwrap_or_default();
    let mut seen = HashSet::new();
    let mut noted = Vec::new();
    for shown in widgets(board)? {
        let Some(query) = shown.widget.query() else {
            continue;
        };
        for metric in &query.metrics {
            // Several widgets may show the same in different ways.
            if !seen.insert(what(query, metric, &defaults)) {
                continue;
            }
            let found = match of_metric(query, metric, &defaults) {
                // Figures that cannot be worked with cost the others nothing.
                Err(error) if REFUSED.contains(&error.code()) => continue,
                found => found?,
            };
            noted.extend(
                found
                    .into_iter()
                    .filter(|finding| finding.confidence.is_some_and(|c| c.decimal() >= least))
                    .map(|finding| Noted {
                        widget: shown.id.clone(),
                        finding,
                    }),
            );
        }
    }
    Ok(noted)
}

/// What decides about the findings.
fn what(query: &Query, metric: &str, defaults: &Defaults) -> String {
    let sorted = |ids: &[uuid::Uuid]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    format!(
        "{:?}",
        (
            metric,
            sorted(&query.workflows),
            sorted(&query.instances),
            query.aggregation,
            query.period(defaults),
            query.filters(defaults),
        )
    )
}

/// Records what is not recorded yet, all as one conversation; returns the insight's id.
fn record(dashboard: &str, conversation: Uuid, noted: &Noted) -> Result<Option<String>> {
    let finding = &noted.finding;
    let mut context = finding.numbers.clone();
    context["widget_id"] = noted.widget.as_str().into();
    context["period_key"] = finding.period.as_deref().into();
    context["workflow_id"] = finding.workflow.map(|id| id.to_string()).into();
    context["instance_id"] = finding.instance.map(|id| id.to_string()).into();
    let made = spi::write_returning(
        "SELECT reporting._record_finding($1, $2, $3, $4, $5, $6, $7)",
        &[
            dashboard.into(),
            finding.kind.into(),
            finding.metric.as_str().into(),
            finding.summary.as_str().into(),
            super::numeric(finding.confidence).into(),
            JsonText(context.to_string()).into(),
            conversation.into(),
        ],
        |row| Ok(row.get::<String>(1)?),
    )?;
    Ok(made.into_iter().next().flatten())
}

#[pg_extern(schema = "reporting", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn dashboard_insights(
    dashboard: Option<&str>,
    record: default!(Option<bool>, "false"),
    least_confidence: default!(Option<Numeric>, "0.8"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(widget_id, String),
            name!(insight_type, &'static str),
            name!(metric_name, String),
            name!(workflow_id, Option<Uuid>),
            name!(instance_id, Option<Uuid>),
            name!(period_key, Option<String>),
            name!(summary, String),
            name!(numbers, JsonText),
            name!(confidence, Option<Numeric>),
            name!(insight_id, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let dashboard = given("dashboard", dashboard)?;
    let least = given("least_confidence", least_confidence)?.0;
    let noted = spi::with_callers_snapshot(|| -> Result<_> {
        let board = spi::read_one::<Uuid>("SELECT reporting._dashboard($1)", &[dashboard.into()])?;
        findings(given("dashboard", board)?, least)
    })?;
    let conversation = spi::read_one::<Uuid>("SELECT gen_random_uuid()", &[])?;
    let mut rows = Vec::with_capacity(noted.len());
    for noted in noted {
        let insight = match conversation {
            Some(conversation) if record == Some(true) => {
                self::record(dashboard, conversation, &noted)?
            }
            _ => None,
        };
        let (kind, metric, workflow, instance, period, summary, numbers, confidence): Row =
            noted.finding.row();
        rows.push((
            noted.widget,
            kind,
            metric,
            workflow,
            instance,
            period,
            summary,
            numbers,
            confidence,
            insight,
        ));
    }
    Ok(TableIterator::new(rows))
}
