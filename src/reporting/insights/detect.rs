//! Trends of a workflow's figures, and those that are out of the ordinary.

use super::series::{Figure, Source, Window};
use super::{ANOMALY, Finding, TREND, filters, given, unit, within};
use crate::error::{Error, Result};
use crate::postgres::json::JsonText;
use crate::postgres::numeric::Numeric;
use crate::postgres::spi;
use gemba_core::insights::anomaly::{self, Observation, Reference, Rule};
use gemba_core::insights::trend::{self, LEAST_POINTS, Point};
use gemba_core::insights::{Period, Refused, text};
use pgrx::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use rust_decimal::prelude::ToPrimitive;
use serde_json::json;

/// So many periods before one say what is usual.
pub const BEFORE: usize = 12;

/// What the figures of one source are looked at for.
pub struct Series<'a> {
    pub metric: &'a str,
    pub unit: Period,
    pub workflow: Option<Uuid>,
    pub instance: Option<Uuid>,
    pub figures: &'a [Figure],
}

impl Series<'_> {
    /// How the figures that are shown go. `None` where they are too few to say.
    ///
    /// # Errors
    /// Figures that are too large or too many.
    pub fn trend(&self) -> Result<Option<Finding>> {
        let shown = || self.figures.iter().filter(|figure| figure.shown);
        let Some(newest) = shown().next_back() else {
            return Ok(None);
        };
        // Counted from the newest one, so that the line's height there is its intercept.
        let points: Vec<Point> = shown()
            .map(|figure| Point {
                position: figure.position - newest.position,
                value: figure.value,
            })
            .collect();
        let found = match trend::trend(&points, trend::ALPHA) {
            Ok(found) => found,
            Err(Refused::TooFew { .. }) => return Ok(None),
            Err(refused) => return Err(refused.into()),
        };
        let (low, high) = found.slope_limits.unzip();
        Ok(Some(Finding {
            period: Some(newest.key.clone()),
            summary: text::trend(self.metric, &found, self.unit),
            numbers: json!({
                "direction": found.direction.as_str(),
                "slope": found.slope,
                "slope_low": low,
                "slope_high": high,
                "unit": self.unit.noun(),
                "level": found.intercept,
                "p": found.p,
                "tau": found.tau,
                "s": found.s,
                "points": found.points,
                "without_value": points.len() - found.points,
                "first_period": shown().next().map(|figure| &figure.key),
                "last_period": newest.key,
            }),
            confidence: Some(found.confidence()),
            ..self.finding(TREND)
        }))
    }

    /// Those of the figures that are shown that are out of the ordinary, oldest first.
    ///
    /// # Errors
    /// Figures that are too large, or a threshold that cannot be.
    pub fn anomalies(&self, threshold: f64) -> Result<Vec<Finding>> {
        let rule = Rule {
            threshold,
            ..Rule::of(Reference::Trailing { values: BEFORE })
        };
        let observations: Vec<Observation> = self
            .figures
            .iter()
            .map(|figure| Observation {
                position: figure.day.into(),
                value: figure.value,
            })
            .collect();
        let screening = anomaly::anomalies(&observations, &rule)?;
        Ok(screening
            .anomalies
            .iter()
            .filter_map(|found| {
                let figure = self
                    .figures
                    .iter()
                    .find(|figure| figure.shown && i64::from(figure.day) == found.position)?;
                let when = self.when(&figure.key);
                Some(Finding {
                    period: Some(figure.key.clone()),
                    summary: text::anomaly(self.metric, &when, found, rule.reference, self.unit),
                    numbers: json!({
                        "value": found.value,
                        "usual": found.usual,
                        "z": found.z,
                        "threshold": threshold,
                        "reference": found.reference,
                        "unit": self.unit.noun(),
                    }),
                    confidence: Some(found.confidence()),
                    ..self.finding(ANOMALY)
                })
            })
            .collect())
    }

    fn finding(&self, kind: &'static str) -> Finding {
        Finding {
            kind,
            metric: self.metric.to_owned(),
            workflow: self.workflow,
            instance: self.instance,
            period: None,
            summary: String::new(),
            numbers: json!({}),
            confidence: None,
        }
    }

    /// A period as sentences name it.
    fn when(&self, key: &str) -> String {
        match (self.unit, key.split_once('_')) {
            (Period::Week, Some((first, _))) => format!("in the week of {first}"),
            _ => format!("in {key}"),
        }
    }
}

/// The figures of one workflow.
///
/// # Errors
/// `P0002` where the caller can read none.
fn read(source: &Source, workflow: Uuid, window: Window, before: usize) -> Result<Vec<Figure>> {
    let figures = spi::with_callers_snapshot(|| source.figures(window, before as i32))?;
    if figures.is_empty() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            "there are no figures of this metric",
        )
        .detail(format!(
            "metric {:?} of workflow {workflow}, by {}",
            source.metric,
            source.unit.noun()
        ))
        .hint("see reporting.report_data_aggregates; whole periods count, and what you may not read is not there for you"));
    }
    Ok(figures)
}

#[pg_extern(schema = "reporting", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn detect_trend(
    workflow: Option<Uuid>,
    metric: Option<&str>,
    aggregation: default!(Option<&str>, "'weekly'"),
    last: default!(Option<i32>, "26"),
    instance: default!(Option<Uuid>, "NULL"),
    filters: default!(Option<JsonText>, "'{}'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(insight_type, &'static str),
            name!(metric_name, String),
            name!(workflow_id, Option<Uuid>),
            name!(instance_id, Option<Uuid>),
            name!(period_key, Option<String>),
            name!(summary, String),
            name!(numbers, JsonText),
            name!(confidence, Option<Numeric>),
        ),
    >,
    ErrorReport,
> {
    let workflow = given("workflow", workflow)?;
    let metric = given("metric", metric)?;
    let source = Source {
        workflows: Some(vec![workflow]),
        instances: instance.map(|instance| vec![instance]),
        metric,
        unit: unit(aggregation)?,
        filters: &self::filters(filters)?,
        until: None,
    };
    let last = within("last", last, LEAST_POINTS as i32..=520)?;
    let figures = read(&source, workflow, Window::Last(last), 0)?;
    let series = Series {
        metric,
        unit: source.unit,
        workflow: Some(workflow),
        instance,
        figures: &figures,
    };
    let finding = series.trend()?.unwrap_or_else(|| {
        let points = figures.iter().filter(|figure| figure.value.is_finite()).count();
        let plural = if points == 1 { "" } else { "s" };
        Finding {
            summary: format!(
                "{metric} has figures of {points} {}{plural}, too few for a trend: at least {LEAST_POINTS} are needed.",
                source.unit.noun(),
            ),
            numbers: json!({"points": points, "without_value": figures.len() - points}),
            ..series.finding(TREND)
        }
    });
    Ok(TableIterator::once(finding.row()))
}

#[pg_extern(schema = "reporting", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn detect_anomalies(
    workflow: Option<Uuid>,
    metric: Option<&str>,
    aggregation: default!(Option<&str>, "'weekly'"),
    last: default!(Option<i32>, "26"),
    instance: default!(Option<Uuid>, "NULL"),
    threshold: default!(Option<Numeric>, "3.5"),
    filters: default!(Option<JsonText>, "'{}'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(insight_type, &'static str),
            name!(metric_name, String),
            name!(workflow_id, Option<Uuid>),
            name!(instance_id, Option<Uuid>),
            name!(period_key, Option<String>),
            name!(summary, String),
            name!(numbers, JsonText),
            name!(confidence, Option<Numeric>),
        ),
    >,
    ErrorReport,
> {
    let workflow = given("workflow", workflow)?;
    let metric = given("metric", metric)?;
    let threshold = given("threshold", threshold)?
        .0
        .to_f64()
        .unwrap_or(f64::NAN);
    let source = Source {
        workflows: Some(vec![workflow]),
        instances: instance.map(|instance| vec![instance]),
        metric,
        unit: unit(aggregation)?,
        filters: &self::filters(filters)?,
        until: None,
    };
    let last = within("last", last, 1..=520)?;
    let figures = read(&source, workflow, Window::Last(last), BEFORE)?;
    let series = Series {
        metric,
        unit: source.unit,
        workflow: Some(workflow),
        instance,
        figures: &figures,
    };
    let found = series.anomalies(threshold)?;
    Ok(TableIterator::new(found.into_iter().map(Finding::row)))
}
