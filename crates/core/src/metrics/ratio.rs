//! What is computed from sums: differences, ratios, which is larger. `None` wherever 128 bits do not suffice.

use super::{BASE, PLACES, Sum, power};
use std::cmp::Ordering;

/// Decimals of a ratio.
pub const RATIO_SCALE: u16 = 6;

/// Whole digits of the base that those take.
const RATIO_FRACTION: u16 = 2;

impl Sum {
    /// A whole number.
    #[must_use]
    pub const fn whole(number: i64) -> Self {
        Self {
            units: number as i128,
            ..Self::ZERO
        }
    }

    #[must_use]
    pub fn is_zero(self) -> bool {
        self.units == 0
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Option<Self> {
        self.plus(Self {
            units: other.units.checked_neg()?,
            ..other
        })
    }

    #[must_use]
    pub fn magnitude(self) -> Option<Self> {
        Some(Self {
            units: self.units.checked_abs()?,
            ..self
        })
    }

    /// Which of them is larger, however many decimals they show.
    #[must_use]
    pub fn compared(self, other: Self) -> Option<Ordering> {
        let fraction = self.fraction.max(other.fraction);
        Some(self.at(fraction)?.cmp(&other.at(fraction)?))
    }

    /// factor × numerator / denominator, rounded half away from zero to [`RATIO_SCALE`] decimals. `None` also where
    /// the denominator is zero.
    #[must_use]
    pub fn ratio(factor: Self, numerator: Self, denominator: Self) -> Option<Self> {
        const STEP: i128 = 10_i128.pow(RATIO_FRACTION as u32 * PLACES - RATIO_SCALE as u32);
        let mut above = factor.units.checked_mul(numerator.units)?;
        let mut below = denominator.units;
        // In digits of the base; then down to the decimals of a ratio.
        let finer = i64::from(RATIO_FRACTION) + i64::from(denominator.fraction)
            - i64::from(factor.fraction)
            - i64::from(numerator.fraction);
        let shift = power(u32::try_from(finer.unsigned_abs()).ok()?)?;
        if finer >= 0 {
            above = above.checked_mul(shift)?;
        } else {
            below = below.checked_mul(shift)?;
        }
        below = below.checked_mul(STEP)?;
        let (whole, rest) = (above.checked_div(below)?, above.checked_rem(below)?);
        let half_or_more = rest.unsigned_abs() >= below.unsigned_abs().div_ceil(2);
        let away = if (above < 0) == (below < 0) { 1 } else { -1 };
        let rounded = if half_or_more && rest != 0 {
            whole.checked_add(away)?
        } else {
            whole
        };
        Some(Self {
            units: rounded.checked_mul(STEP)?,
            fraction: RATIO_FRACTION,
            scale: RATIO_SCALE,
        })
    }
}

const _: () = assert!(BASE as u32 == 10_u32.pow(PLACES));

#[cfg(test)]
mod tests {
    use super::super::tests::sum;
    use super::*;
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    fn ratio(factor: &str, numerator: &str, denominator: &str) -> Option<String> {
        Sum::ratio(sum(factor)?, sum(numerator)?, sum(denominator)?).map(Sum::text)
    }

    #[test]
    fn ratios_are_rounded_to_six_decimals() {
        for (factor, numerator, denominator, expected) in [
            ("100", "3", "7", "42.857143"),
            ("100", "-3", "7", "-42.857143"),
            ("100", "3", "-7", "-42.857143"),
            ("100", "-3", "-7", "42.857143"),
            ("1", "1", "2000000", "0.000001"),
            ("1", "-1", "2000000", "-0.000001"),
            ("1", "1", "2000001", "0.000000"),
            ("1", "0", "5", "0.000000"),
            ("1000", "1.25", "0.005", "250000.000000"),
            ("0.001", "123456789.123456789", "1", "123456.789123"),
            ("1", "70000", "0.00010000", "700000000.000000"),
            ("1", "2", "2", "1.000000"),
        ] {
            let ours = ratio(factor, numerator, denominator);
            assert_eq!(
                ours.as_deref(),
                Some(expected),
                "{factor} {numerator} {denominator}"
            );
        }
    }

    #[test]
    fn what_cannot_be_divided_is_none() {
        assert_eq!(ratio("1", "1", "0"), None);
        assert_eq!(ratio("1", "0", "0.00"), None);
        let large = format!("1{}", "0".repeat(36));
        assert_eq!(ratio("100", &large, "7"), None);
        let long = format!("0.{}1", "0".repeat(60));
        assert_eq!(ratio("1", "1", &long), None);
    }

    #[test]
    fn differences_and_order() {
        let [a, b] = ["12.50", "13"].map(|text| sum(text).expect("it fits"));
        assert_eq!(a.minus(b).map(Sum::text).as_deref(), Some("-0.50"));
        assert_eq!(a.compared(b), Some(Ordering::Less));
        assert_eq!(
            a.compared(sum("12.5").expect("it fits")),
            Some(Ordering::Equal)
        );
        let gone = a.minus(b).and_then(Sum::magnitude);
        assert_eq!(gone.map(Sum::text).as_deref(), Some("0.50"));
        assert!(Sum::whole(0).is_zero() && !Sum::whole(-1).is_zero());
        assert_eq!(Sum::whole(-7).text(), "-7");
    }

    proptest! {
        #[test]
        fn ratios_are_those_of_decimals(
            factor in 1_i64..1_000, numerator in (any::<i32>(), 0_u32..6), denominator in (any::<i32>(), 0_u32..6)
        ) {
            let numerator = Decimal::new(numerator.0.into(), numerator.1);
            let denominator = Decimal::new(denominator.0.into(), denominator.1);
            let ours = ratio(&factor.to_string(), &numerator.to_string(), &denominator.to_string());
            if denominator.is_zero() {
                prop_assert_eq!(ours, None);
                return Ok(());
            }
            let theirs = Decimal::from(factor) * numerator / denominator;
            let ours: Decimal = ours.expect("it fits").parse().expect("a decimal");
            // Theirs has 28 digits, and may have been rounded before.
            prop_assert!((ours - theirs).abs() <= Decimal::new(5_000_000_001, 16), "{ours} {theirs}");
        }

        #[test]
        fn order_is_that_of_decimals(a in (any::<i64>(), 0_u32..20), b in (any::<i64>(), 0_u32..20)) {
            let (a, b) = (Decimal::new(a.0, a.1), Decimal::new(b.0, b.1));
            let ours = sum(&a.to_string()).zip(sum(&b.to_string())).and_then(|(a, b)| a.compared(b));
            if let Some(ours) = ours {
                prop_assert_eq!(ours, a.cmp(&b));
            }
        }
    }
}
