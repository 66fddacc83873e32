//! A widget as a whole.

use super::Invalid;
use super::display::Display;
use super::layout::Position;
use super::query::{self, Metrics, Query, Table};
use super::strict::{self, Name, Spelt, Text, Word};
use serde::{Deserialize, Serialize};

/// A widget as it is written; what is missing is `None`.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    pub widget_type: &'a str,
    pub chart_type: Option<&'a str>,
    pub title: &'a str,
    /// JSON, as the other two.
    pub data_source: &'a str,
    pub display_config: Option<&'a str>,
    pub position_config: &'a str,
}

/// A widget that can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widget {
    pub title: String,
    pub kind: Kind,
    pub display: Display,
    pub position: Position,
}

/// What a widget shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Chart { chart: ChartType, query: Query },
    Table(Table),
    MetricCard(Query),
    Text(Prose),
}

/// A text's data source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prose {
    #[serde(deserialize_with = "strict::required::<Text<20_000>, _>")]
    pub content: String,
}

#[derive(Clone, Copy)]
enum WidgetType {
    Chart,
    Table,
    MetricCard,
    Text,
}

/// The kinds of charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChartType {
    Line,
    Bar,
    Pie,
    Scatter,
    Area,
}

/// Reads a widget, for a grid of so many columns.
///
/// # Errors
/// The first place that cannot be: title and types, then data source, display and position.
pub fn validate_widget(draft: &Draft, columns: u32) -> Result<Widget, Invalid> {
    let title = strict::text::<Name<255>>("title", draft.title)?;
    let kind = Kind::read(draft)?;
    let display = match draft.display_config {
        Some(json) => Display::read(json, kind.stackable())?,
        None => Display::default(),
    };
    Ok(Widget {
        title,
        kind,
        display,
        position: Position::read(draft.position_config, columns)?,
    })
}

impl Widget {
    /// The figures that it shows; a text has none.
    #[must_use]
    pub fn query(&self) -> Option<&Query> {
        match &self.kind {
            Kind::Chart { query, .. } | Kind::MetricCard(query) => Some(query),
            Kind::Table(table) => Some(&table.query),
            Kind::Text(_) => None,
        }
    }
}

impl Kind {
    fn read(draft: &Draft) -> Result<Self, Invalid> {
        let source = draft.data_source;
        let widget = strict::text::<Word<WidgetType>>("widget_type", draft.widget_type)?;
        match (widget, draft.chart_type) {
            (WidgetType::Chart, Some(chart)) => {
                let chart = strict::text::<Word<ChartType>>("chart_type", chart)?;
                let query = Query::read(source, chart.metrics(), false)?;
                Ok(Self::Chart { chart, query })
            }
            (WidgetType::Chart, None) => {
                let why = format!("missing, expected {}", ChartType::EXPECTED);
                Err(Invalid::new("chart_type", why))
            }
            (_, Some(_)) => Err(Invalid::new("chart_type", "only a chart has it")),
            (WidgetType::Table, None) => Table::read(source).map(Self::Table),
            (WidgetType::MetricCard, None) => {
                Query::read(source, Metrics::Exactly(1), true).map(Self::MetricCard)
            }
            (WidgetType::Text, None) => strict::object(query::NAME, source).map(Self::Text),
        }
    }

    /// Whether it has series that can stand on each other.
    fn stackable(&self) -> bool {
        matches!(
            self,
            Self::Chart {
                chart: ChartType::Bar | ChartType::Area,
                ..
            }
        )
    }
}

impl ChartType {
    fn metrics(self) -> Metrics {
        match self {
            Self::Pie => Metrics::Exactly(1),
            // One for each axis.
            Self::Scatter => Metrics::Exactly(2),
            Self::Line | Self::Bar | Self::Area => Metrics::Some,
        }
    }
}

impl Spelt for WidgetType {
    const EXPECTED: &'static str = "chart, table, metric_card or text";

    fn spelt(text: &str) -> Option<Self> {
        match text {
            "chart" => Some(Self::Chart),
            "table" => Some(Self::Table),
            "metric_card" => Some(Self::MetricCard),
            "text" => Some(Self::Text),
            _ => None,
        }
    }
}

impl Spelt for ChartType {
    const EXPECTED: &'static str = "line, bar, pie, scatter or area";

    fn spelt(text: &str) -> Option<Self> {
        match text {
            "line" => Some(Self::Line),
            "bar" => Some(Self::Bar),
            "pie" => Some(Self::Pie),
            "scatter" => Some(Self::Scatter),
            "area" => Some(Self::Area),
            _ => None,
        }
    }
}
