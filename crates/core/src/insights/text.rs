//! One plain sentence for each finding, made from its numbers alone: no clock, no locale.

use super::Period;
use super::anomaly::{Anomaly, Reference, Z_BOUND};
use super::movers::{Mover, Presence};
use super::number::{number, p, percent, signed};
use super::trend::{Direction, Trend};
use crate::summary::one_line;

/// Digits of values, and of what is derived from them.
const VALUE: usize = 4;
const DERIVED: usize = 3;

/// `ctr rose by 1.2 a week over 26 weeks (slope 95% CI 0.9 to 1.5), p = 0.001.`
///
/// The trend's positions must count in `unit`.
#[must_use]
pub fn trend(metric: &str, trend: &Trend, unit: Period) -> String {
    let metric = subject(metric);
    let noun = unit.noun();
    let over = over(trend, noun);
    let slope = number(trend.slope.abs(), DERIVED);
    let limits = trend
        .slope_limits
        .map_or_else(String::new, |(lower, upper)| {
            let (lower, upper) = (number(lower, DERIVED), number(upper, DERIVED));
            format!(" (slope 95% CI {lower} to {upper})")
        });
    let p = p(trend.p);
    match trend.direction {
        _ if trend.tau.is_none() => {
            let value = number(trend.intercept, VALUE);
            format!("{metric} was {value} all {over}.")
        }
        Direction::Flat => {
            let slope = number(trend.slope, DERIVED);
            format!("{metric} shows no trend {over}: {slope} a {noun}{limits}, {p}.")
        }
        direction if trend.slope == 0.0 => {
            let towards = if direction == Direction::Rising {
                "upwards"
            } else {
                "downwards"
            };
            format!(
                "{metric} tended {towards} {over}, though most of the time it did not change{limits}, {p}."
            )
        }
        Direction::Rising => format!("{metric} rose by {slope} a {noun} {over}{limits}, {p}."),
        Direction::Falling => format!("{metric} fell by {slope} a {noun} {over}{limits}, {p}."),
    }
}

/// `over 26 weeks`, `over 26 weeks of which 24 have a value`
fn over(trend: &Trend, noun: &str) -> String {
    let steps = (trend.positions.1 - trend.positions.0).round() + 1.0;
    let over = format!("over {}", counted(steps, noun));
    if (trend.points as f64) < steps {
        format!("{over} of which {} have a value", trend.points)
    } else {
        over
    }
}

/// `spend was 1,250 on 2025-06-03, above the 400 that is usual: the median of the same weekday of 8 weeks
/// before (robust z 8.3).`
///
/// `when` is put in as it is: `on 2025-06-03`, `in 2025-Q2`.
#[must_use]
pub fn anomaly(
    metric: &str,
    when: &str,
    anomaly: &Anomaly,
    reference: Reference,
    unit: Period,
) -> String {
    let side = if anomaly.z < 0.0 { "below" } else { "above" };
    let z = if anomaly.z.abs() >= Z_BOUND {
        format!("beyond {}", number(anomaly.z, DERIVED))
    } else {
        number(anomaly.z, DERIVED)
    };
    let size = anomaly.reference as f64;
    let before = match reference {
        Reference::SameWeekday { .. } => {
            format!("the same weekday of {} before", counted(size, "week"))
        }
        Reference::Trailing { .. } => format!("the {} before", counted(size, unit.noun())),
    };
    format!(
        "{} was {} {}, {side} the {} that is usual: the median of {before} (robust z {z}).",
        subject(metric),
        number(anomaly.value, VALUE),
        one_line(when),
        number(anomaly.usual, VALUE),
    )
}

/// `spend of Brand X rose from 400 to 520 (+120, +30%), 60% of the total's change.`
#[must_use]
pub fn mover(metric: &str, mover: &Mover) -> String {
    let of = format!("{} of {}", subject(metric), subject(&mover.name));
    let value = |value: Option<f64>| number(value.unwrap_or(0.0), VALUE);
    let change = signed(&number(mover.change, VALUE));
    let share = match mover.share {
        None => String::new(),
        Some(share) if share < 0.0 => ", against the total's change".to_owned(),
        Some(share) => format!(", {} of the total's change", percent(share)),
    };
    match mover.presence {
        Presence::New => format!("{of} is new with {}{share}.", value(mover.current)),
        Presence::Gone => format!("{of} is gone, it was {}{share}.", value(mover.previous)),
        Presence::Stayed => {
            let verb = match mover.change {
                change if change > 0.0 => "rose",
                change if change < 0.0 => "fell",
                _ => return format!("{of} was {} as before.", value(mover.current)),
            };
            let relative = mover
                .relative
                .map_or_else(String::new, |part| format!(", {}", signed(&percent(part))));
            format!(
                "{of} {verb} from {} to {} ({change}{relative}){share}.",
                value(mover.previous),
                value(mover.current),
            )
        }
    }
}

/// A name on one line, or a word that stands in for it.
fn subject(name: &str) -> String {
    let name = one_line(name);
    if name.is_empty() {
        "it".to_owned()
    } else {
        name
    }
}

fn counted(count: f64, noun: &str) -> String {
    let plural = if count == 1.0 { "" } else { "s" };
    format!("{} {noun}{plural}", number(count, 15))
}
