//! The plant, the day, and the figures of the whole.

use super::{Mark, band, named};
use crate::morning::charts::Place;
use crate::morning::data::{Morning, Number, Severity};
use crate::morning::format::{count, decimal, duration, money, percent, plural, quantity, signed};
use crate::morning::text::Text;
use rust_decimal::Decimal;

pub(crate) struct Header {
    pub plant: Text,
    pub date: String,
    pub weekday: String,
    pub day: String,
    pub oee: String,
    pub mark: Option<Mark>,
    pub bar: Option<Place>,
    pub target: Option<Place>,
    pub against: String,
    pub parts: Vec<Part>,
    pub figures: Vec<Figure>,
    pub banner: Option<String>,
}

/// One factor of the OEE.
pub(crate) struct Part {
    pub name: &'static str,
    pub value: String,
    pub bar: Option<Place>,
}

/// One of the figures beside the OEE.
pub(crate) struct Figure {
    pub label: &'static str,
    pub value: String,
    pub note: String,
    pub alert: bool,
}

impl Header {
    pub(crate) fn new(morning: &Morning) -> Self {
        let totals = &morning.totals;
        let part = |name, value: Option<Number>| Part {
            name,
            value: percent(value),
            bar: value.map(Place::of),
        };
        Self {
            plant: morning.plant.or("Plant"),
            date: morning.report_date.to_string(),
            weekday: morning.report_date.format("%A").to_string(),
            day: morning.report_date.format("%-d %B %Y").to_string(),
            oee: percent(totals.oee),
            mark: band(totals.oee, morning.good_from, morning.fair_from).map(|band| band.mark()),
            bar: totals.oee.map(Place::of),
            target: totals.oee_target.map(Place::of),
            against: against(totals.oee, totals.oee_target),
            parts: vec![
                part("Availability", totals.availability),
                part("Performance", totals.performance),
                part("Quality", totals.quality),
            ],
            figures: figures(morning),
            banner: banner(morning),
        }
    }
}

fn against(oee: Option<Number>, target: Option<Number>) -> String {
    let Some(Number(goal)) = target else {
        return "no target set".to_owned();
    };
    let goal_text = format!("target {}%", decimal(goal, 1));
    match oee.and_then(|Number(oee)| oee.checked_sub(goal)) {
        None => goal_text,
        Some(gap) if gap.is_zero() => format!("on {goal_text}"),
        Some(gap) => format!(
            "{} points {} {goal_text}",
            decimal(gap.abs(), 1),
            if gap.is_sign_negative() {
                "below"
            } else {
                "above"
            }
        ),
    }
}

fn figures(morning: &Morning) -> Vec<Figure> {
    let totals = &morning.totals;
    let figure = |label, value, note| Figure {
        label,
        value,
        note,
        alert: false,
    };
    let critical = morning
        .safety
        .iter()
        .filter(|event| event.severity == Severity::Critical)
        .count() as u64;
    let missing = totals.assets.saturating_sub(totals.reporting);
    vec![
        figure("Output", quantity(totals.actual_output), output(morning)),
        figure(
            "Downtime",
            duration(totals.downtime_minutes),
            totals.downtime_minutes.map_or_else(String::new, |minutes| {
                format!("{} minutes, all assets", quantity(Some(minutes)))
            }),
        ),
        figure("Waste", quantity(totals.waste_count), "pieces".to_owned()),
        figure(
            "Financial loss",
            money(totals.financial_loss, morning.currency.as_str()),
            morning.losses.first().map_or_else(String::new, |loss| {
                format!("most: {}, {}", named(&loss.name), loss.kind.spaced())
            }),
        ),
        Figure {
            label: "Safety events",
            value: format!("{} open", count(totals.open_safety_events)),
            note: match (totals.open_safety_events, critical) {
                (0, _) => String::new(),
                (_, 0) => "none critical".to_owned(),
                (_, critical) => format!("▲ {} critical", count(critical)),
            },
            alert: critical > 0,
        },
        figure(
            "Assets reporting",
            format!("{} of {}", count(totals.reporting), count(totals.assets)),
            if missing > 0 {
                format!("{} without data", count(missing))
            } else if totals.assets > 0 {
                "all of them".to_owned()
            } else {
                String::new()
            },
        ),
    ]
}

fn output(morning: &Morning) -> String {
    let totals = &morning.totals;
    let Some(Number(target)) = totals.target_output else {
        return "no target set".to_owned();
    };
    let variance = totals
        .actual_output
        .and_then(|Number(actual)| actual.checked_sub(target))
        .and_then(|gap| gap.checked_mul(Decimal::ONE_HUNDRED))
        .and_then(|gap| gap.checked_div(target))
        .map(|variance| format!(", {}%", signed(variance, 1)));
    format!(
        "of {}{}",
        quantity(totals.target_output),
        variance.unwrap_or_default()
    )
}

fn banner(morning: &Morning) -> Option<String> {
    let totals = &morning.totals;
    let day = morning.report_date.format("%-d %B %Y");
    if totals.assets == 0 && morning.assets.is_empty() {
        Some(format!("No data for {day}: the plant has no assets yet."))
    } else if totals.reporting == 0 {
        Some(format!(
            "No data for {day}: {} reported. What follows below is not that day's: the trend, the live \
             figures and the open safety events.",
            if totals.assets == 1 {
                "the one asset has not".to_owned()
            } else {
                format!("none of the {}", plural(totals.assets, "asset", "assets"))
            }
        ))
    } else {
        None
    }
}
