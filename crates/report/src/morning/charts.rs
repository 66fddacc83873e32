//! Places in a drawing. The only numbers here that are floating point: where to draw, never what to say.
//!
//! Charts are laid out in percent of their box and labelled in the page's own type size, so that a
//! drawing widens without its letters.

use super::data::Number;
use rust_decimal::prelude::ToPrimitive;
use std::fmt;

/// A coordinate or a length, in percent of the drawing, written as SVG wants it: `62.5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place(f64);

impl Place {
    /// Kept within the drawing, whatever comes.
    pub(crate) fn new(percent: f64) -> Self {
        Self(if percent.is_finite() {
            percent.clamp(0.0, 100.0)
        } else {
            0.0
        })
    }

    /// A percentage on a scale from 0 to 100.
    pub(crate) fn of(value: Number) -> Self {
        Self::new(drawn(value))
    }

    pub(crate) fn between(self, other: Self) -> Self {
        Self::new((self.0 + other.0) / 2.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 * 100.0).round() / 100.0)
    }
}

/// A piece of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub x1: Place,
    pub y1: Place,
    pub x2: Place,
    pub y2: Place,
}

/// A vertical scale of percentages that shows the given values with round marks.
#[derive(Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    step: f64,
}

impl Scale {
    pub(crate) fn of(values: impl Iterator<Item = Number>) -> Self {
        let (low, high) = values
            .map(drawn)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if low > high {
            return Self {
                low: 0.0,
                high: 100.0,
                step: 25.0,
            };
        }
        let step = [5.0, 10.0, 20.0, 25.0, 50.0, 100.0, 250.0]
            .into_iter()
            .find(|step| (high / step).ceil() - (low / step).floor() <= 5.0)
            .unwrap_or(500.0);
        let low = (low / step).floor() * step;
        let high = ((high / step).ceil() * step).max(low + 2.0 * step);
        Self { low, high, step }
    }

    /// From the top, as SVG counts.
    pub(crate) fn place(&self, value: Number) -> Place {
        self.place_of(drawn(value))
    }

    /// The marks and what is written beside them.
    pub(crate) fn marks(&self) -> Vec<(Place, String)> {
        let steps = ((self.high - self.low) / self.step)
            .round()
            .clamp(0.0, 20.0) as u32;
        (0..=steps)
            .map(|index| self.low + f64::from(index) * self.step)
            .map(|value| {
                (
                    self.place_of(value),
                    format!("{value:.0}%").replace('-', "\u{2212}"),
                )
            })
            .collect()
    }

    fn place_of(&self, value: f64) -> Place {
        Place::new((self.high - value) / (self.high - self.low) * 100.0)
    }
}

/// Percentages far outside of what a chart can show are drawn at its edge.
fn drawn(Number(value): Number) -> f64 {
    value.to_f64().unwrap_or(0.0).clamp(-999.0, 999.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number(text.parse().unwrap())
    }

    #[test]
    fn places_stay_inside() {
        assert_eq!(Place::of(number("62.505")).to_string(), "62.51%");
        assert_eq!(Place::of(number("-4")).to_string(), "0%");
        assert_eq!(
            Place::of(number("79228162514264337593543950335")).to_string(),
            "100%"
        );
        assert_eq!(Place::new(f64::NAN).to_string(), "0%");
    }

    #[test]
    fn scales_are_round() {
        let marks = |values: &[&str]| {
            Scale::of(values.iter().map(|value| number(value)))
                .marks()
                .into_iter()
                .map(|(_, text)| text)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(marks(&[]), "0% 25% 50% 75% 100%");
        assert_eq!(marks(&["61.2", "85"]), "60% 65% 70% 75% 80% 85%");
        assert_eq!(marks(&["0", "100"]), "0% 20% 40% 60% 80% 100%");
        assert_eq!(marks(&["85", "85"]), "85% 90% 95%");
        assert_eq!(
            marks(&["-1000000", "1000000"]),
            "−1000% −500% 0% 500% 1000%"
        );
    }
}
