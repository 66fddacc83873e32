//! Whole configurations, each by its parts.

mod anything;
mod layout;
mod query;
mod range;
mod widget;

use super::*;
use serde_json::{Value, json};

/// A widget as JSON, to be changed.
#[derive(Debug, Clone)]
struct Sample {
    widget_type: &'static str,
    chart_type: Option<&'static str>,
    title: String,
    data_source: Value,
    display_config: Value,
    position_config: Value,
}

impl Sample {
    /// A plain widget of a type; a chart is given as `bar`, `pie` or the like.
    fn of(kind: &'static str) -> Self {
        let (widget_type, chart_type) = match kind {
            "table" | "metric_card" | "text" => (kind, None),
            chart => ("chart", Some(chart)),
        };
        let data_source = match kind {
            "text" => json!({"content": "# Notes"}),
            "scatter" => json!({"workflows": [workflow(1)], "metrics": ["clicks", "spend"]}),
            _ => json!({"workflows": [workflow(1)], "metrics": ["clicks"]}),
        };
        Self {
            widget_type,
            chart_type,
            title: "Clicks".to_owned(),
            data_source,
            display_config: json!({}),
            position_config: json!({"x": 0, "y": 0, "width": 4, "height": 3}),
        }
    }

    fn source(kind: &'static str, key: &str, value: Value) -> Self {
        let mut sample = Self::of(kind);
        sample.data_source[key] = value;
        sample
    }

    fn display(kind: &'static str, display: Value) -> Self {
        Self {
            display_config: display,
            ..Self::of(kind)
        }
    }

    fn position(position: Value) -> Self {
        Self {
            position_config: position,
            ..Self::of("line")
        }
    }

    fn read(&self) -> Result<Widget, Invalid> {
        let draft = Draft {
            widget_type: self.widget_type,
            chart_type: self.chart_type,
            title: &self.title,
            data_source: &self.data_source.to_string(),
            display_config: Some(&self.display_config.to_string()),
            position_config: &self.position_config.to_string(),
        };
        validate_widget(&draft, 12)
    }

    fn query(&self) -> Query {
        let widget = self.read().expect("a widget");
        widget.query().expect("a query").clone()
    }

    /// What is refused, as `path: why`.
    fn refusal(&self) -> String {
        self.read().expect_err("refused").to_string()
    }
}

fn workflow(number: u128) -> String {
    uuid::Uuid::from_u128(number).to_string()
}
