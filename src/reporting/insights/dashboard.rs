//! What stands out in all that a dashboard shows, and its record.

use super::detect::{BEFORE, Series};
use super::series::{Source, Window};
use super::{Finding, Row, given, json, movers, within};
use crate::error::Result;
use crate::postgres::json::JsonText;
use crate::postgres::numeric::Numeric;
use crate::postgres::{role, spi, time};
use crate::reporting::serving::board::Board;
use gemba_core::calendar::date_of;
use gemba_core::dashboard::{Aggregation, Defaults, Period, Query};
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
    let filters = json(&query.filters(defaults))?;
    let source = Source {
        workflows: Some(ids(&query.workflows)),
        instances: (!query.instances.is_empty()).then(|| ids(&query.instances)),
        metric,
        unit: unit(query.aggregation),
        filters: &filters,
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

fn ids(ids: &[uuid::Uuid]) -> Vec<Uuid> {
    ids.iter()
        .map(|id| Uuid::from_bytes(*id.as_bytes()))
        .collect()
}

fn unit(aggregation: Aggregation) -> insights::Period {
    match aggregation {
        Aggregation::Weekly => insights::Period::Week,
        Aggregation::Monthly => insights::Period::Month,
        Aggregation::Quarterly => insights::Period::Quarter,
    }
}

/// A finding, the widget that shows it, and all workflows that it says something about.
struct Noted {
    widget: String,
    workflows: Vec<Uuid>,
    finding: Finding,
}

/// Those of at least this confidence, from the top of the dashboard and from the left. A widget that shows no
/// figures, because it cannot or the caller may not read all of them, has none.
fn findings(dashboard: &str, least: Decimal) -> Result<Vec<Noted>> {
    let board = Board::read(dashboard)?;
    let sources = board.sources()?;
    let mut seen = HashSet::new();
    let mut noted = Vec::new();
    for shown in &board.widgets {
        let Some(query) = shown.query() else {
            continue;
        };
        let Ok(defaults) = board.defaults_of(query, &sources) else {
            continue;
        };
        for metric in &query.metrics {
            // Several widgets may show the same in different ways.
            if !seen.insert(what(query, metric, defaults)) {
                continue;
            }
            let found = match of_metric(query, metric, defaults) {
                // Figures that cannot be worked with cost the others nothing.
                Err(error) if REFUSED.contains(&error.code()) => continue,
                found => found?,
            };
            noted.extend(
                found
                    .into_iter()
                    .filter(|finding| finding.confidence.is_some_and(|c| c.decimal() >= least))
                    .map(|finding| Noted {
                        widget: shown.widget_id.clone(),
                        workflows: ids(&query.workflows),
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

/// Records what is not recorded yet, all as one conversation; returns the insight's id. There is none of what
/// its author may not read.
fn record(dashboard: &str, conversation: Uuid, noted: &Noted) -> Result<Option<String>> {
    let finding = &noted.finding;
    let mut context = finding.numbers.clone();
    context["widget_id"] = noted.widget.as_str().into();
    context["period_key"] = finding.period.as_deref().into();
    context["workflow_id"] = finding.workflow.map(|id| id.to_string()).into();
    context["instance_id"] = finding.instance.map(|id| id.to_string()).into();
    let made = spi::write_returning(
        "SELECT reporting._record_finding($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            dashboard.into(),
            noted.workflows.clone().into(),
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
    let least = least_confidence.map(|least| least.0);
    let least = within("least_confidence", least, Decimal::ZERO..=Decimal::ONE)?;
    let conversation = if record == Some(true) {
        // Whoever does not see what has been recorded meanwhile would record it again.
        role::require_current_snapshots("findings cannot be recorded")?;
        spi::read_one::<Uuid>("SELECT gen_random_uuid()", &[])?
    } else {
        None
    };
    let noted = spi::with_callers_snapshot(|| findings(dashboard, least))?;
    let mut rows = Vec::with_capacity(noted.len());
    for noted in noted {
        let insight = match conversation {
            Some(conversation) => self::record(dashboard, conversation, &noted)?,
            None => None,
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
