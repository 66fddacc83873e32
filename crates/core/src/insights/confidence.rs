//! How far a finding may be trusted.

use rust_decimal::Decimal;
use std::fmt;

/// From 0.00 to 0.99, in hundredths. What the number means is said where it comes from: for a trend in
/// [`crate::insights::trend::Trend::confidence`], for a value out of the ordinary in
/// [`crate::insights::anomaly::Anomaly::confidence`], for a mover in
/// [`crate::insights::movers::Mover::confidence`].
///
/// It is rounded down, and nothing found by arithmetic alone is ever certain: 1.00 does not occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Confidence(u8);

impl Confidence {
    /// The part of one rounded down to hundredths, 0.99 at most. What is not a number becomes 0.00.
    pub(super) fn of(part: f64) -> Self {
        // 0.29 × 100 is a hair below 29; the hair must not cost a hundredth. The cast maps what is not a
        // number, and what is negative, to zero.
        Self((part * 100.0 + 1e-9).floor().clamp(0.0, 99.0) as u8)
    }

    /// From 0 to 99.
    #[must_use]
    pub fn hundredths(self) -> u8 {
        self.0
    }

    /// With two decimal places, as the database stores it.
    #[must_use]
    pub fn decimal(self) -> Decimal {
        Decimal::new(self.0.into(), 2)
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0.{:02}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_rounded_down_and_never_certain() {
        for (part, hundredths) in [
            (0.0, 0),
            (0.29, 29),
            (0.949_99, 94),
            (0.95, 95),
            (1.0 - 0.05, 95),
            (0.999, 99),
            (1.0, 99),
            (7.0, 99),
            (-1.0, 0),
            (f64::NAN, 0),
            (f64::INFINITY, 99),
        ] {
            assert_eq!(Confidence::of(part).hundredths(), hundredths, "{part}");
        }
        for hundredths in 0..100_u8 {
            assert_eq!(Confidence::of(f64::from(hundredths) / 100.0).0, hundredths);
        }
        assert_eq!(Confidence::of(0.05).to_string(), "0.05");
        assert_eq!(Confidence::of(0.5).decimal().to_string(), "0.50");
    }
}
