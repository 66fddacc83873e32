//! Every asset with everything that is known about its day.

use super::{Mark, named};
use crate::morning::data::{Asset, Morning, Number};
use crate::morning::format::{NONE, count, duration, money, percent, plural, quantity, signed};
use crate::morning::text::Text;
use std::collections::BTreeMap;

const INPUTS: usize = 20;

pub(crate) struct Assets {
    pub rows: Vec<Row>,
    /// The inputs for which defaults stood in, and for how many assets.
    pub estimated: Option<String>,
}

pub(crate) struct Row {
    pub name: Text,
    pub area: Option<Text>,
    pub oee: String,
    pub target: String,
    pub mark: Mark,
    pub availability: String,
    pub performance: String,
    pub quality: String,
    pub output: String,
    pub output_target: String,
    pub variance: Option<String>,
    pub downtime: String,
    pub waste: String,
    pub loss: String,
    pub loss_rank: Option<String>,
    pub trend_7: Change,
    pub trend_30: Change,
    pub priority: Mark,
    pub safety: Option<String>,
    pub estimated: Option<String>,
    pub summary: Option<Text>,
}

/// A change in percentage points.
pub(crate) struct Change {
    pub class: &'static str,
    pub sign: &'static str,
    pub value: String,
}

impl Assets {
    pub(crate) fn new(morning: &Morning) -> Self {
        Self {
            rows: morning
                .assets
                .iter()
                .map(|asset| row(asset, morning.currency.as_str()))
                .collect(),
            estimated: estimated(&morning.assets),
        }
    }
}

fn row(asset: &Asset, currency: &str) -> Row {
    Row {
        name: named(&asset.name),
        area: asset.area.as_ref().map(|area| area.or(NONE)),
        oee: percent(asset.oee),
        target: percent(asset.oee_target),
        mark: asset.band.mark(),
        availability: percent(asset.availability),
        performance: percent(asset.performance),
        quality: percent(asset.quality),
        output: quantity(asset.actual_output),
        output_target: quantity(asset.target_output),
        variance: asset
            .output_variance_percentage
            .map(|Number(variance)| format!("{}%", signed(variance, 1))),
        downtime: duration(asset.downtime_minutes),
        waste: quantity(asset.waste_count),
        loss: money(asset.financial_loss, currency),
        loss_rank: asset.loss_rank.map(count),
        trend_7: change(asset.trend_7),
        trend_30: change(asset.trend_30),
        priority: asset.priority.mark(),
        safety: (asset.open_safety_events > 0).then(|| {
            plural(
                asset.open_safety_events,
                "open safety event",
                "open safety events",
            )
        }),
        estimated: (!asset.estimated.is_empty()).then(|| {
            asset
                .estimated
                .iter()
                .map(Text::spaced)
                .collect::<Vec<_>>()
                .join(", ")
        }),
        summary: asset.summary.clone(),
    }
}

fn change(points: Option<Number>) -> Change {
    let Some(Number(points)) = points else {
        return Change {
            class: "none",
            sign: "",
            value: NONE.to_owned(),
        };
    };
    let value = signed(points, 1);
    let (class, sign) = match value.chars().next() {
        Some('+') => ("up", "▲"),
        Some('\u{2212}') => ("down", "▼"),
        _ => ("level", "▬"),
    };
    Change { class, sign, value }
}

fn estimated(assets: &[Asset]) -> Option<String> {
    let mut inputs: BTreeMap<String, u64> = BTreeMap::new();
    for input in assets.iter().flat_map(|asset| &asset.estimated) {
        *inputs.entry(input.spaced()).or_default() += 1;
    }
    let mut list: Vec<String> = inputs
        .iter()
        .take(INPUTS)
        .map(|(input, number)| format!("{input} ({})", plural(*number, "asset", "assets")))
        .collect();
    if inputs.len() > INPUTS {
        list.push("others".to_owned());
    }
    (!list.is_empty()).then(|| list.join(", "))
}
