//! Amounts with a fixed number of decimal places, whose sums are exact: what is added can be taken away
//! again, and the order of additions never shows. A general decimal type rounds sums that grow too long.

use rust_decimal::Decimal;
use std::fmt;

/// Decimal places of an amount.
pub const PLACES: u32 = 12;

/// An amount in units of 10^-12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Fixed(pub i128);

/// One, in units.
const ONE: i128 = 10_i128.pow(PLACES);

impl Fixed {
    pub const ZERO: Self = Self(0);

    /// A whole number.
    #[must_use]
    pub const fn whole(number: i64) -> Self {
        Self(number as i128 * ONE)
    }

    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// So many times as much, exactly.
    #[must_use]
    pub fn times(self, number: i64) -> Option<Self> {
        self.0.checked_mul(number.into()).map(Self)
    }

    /// `self × number / by`, rounded half away from zero; `by` is above zero.
    #[must_use]
    pub fn share(self, number: i64, by: i64) -> Option<Self> {
        divided(self.0.checked_mul(number.into())?, by.into()).map(Self)
    }

    /// `self / by`, rounded to the last place; none when `by` is zero, or past all digits.
    #[must_use]
    pub fn ratio(self, by: Self) -> Option<Decimal> {
        if by.0 == 0 {
            return None;
        }
        let quotient = match self.0.checked_mul(ONE) {
            Some(shifted) => divided(shifted, by.0)?,
            // Too large to be shifted: then the lower places of the other do not matter.
            None => divided(self.0, divided(by.0, ONE).filter(|by| *by != 0)?)?,
        };
        Self(quotient).decimal().map(|value| value.normalize())
    }

    /// `self / by` as an amount, rounded to the last place; none when `by` is zero, or past all digits.
    #[must_use]
    pub fn over(self, by: Self) -> Option<Self> {
        divided(self.0.checked_mul(ONE)?, by.0).map(Self)
    }

    /// The same as a decimal, with fewer places where it is too long.
    #[must_use]
    pub fn decimal(self) -> Option<Decimal> {
        [PLACES, 8, 4, 0].into_iter().find_map(|places| {
            let units = divided(self.0, 10_i128.pow(PLACES - places))?;
            Decimal::try_from_i128_with_scale(units, places).ok()
        })
    }

    /// The decimal, rounded to the last place.
    #[must_use]
    pub fn of(value: Decimal) -> Option<Self> {
        let scale = value.scale();
        if scale <= PLACES {
            let shift = 10_i128.pow(PLACES - scale);
            return value.mantissa().checked_mul(shift).map(Self);
        }
        divided(value.mantissa(), 10_i128.pow(scale - PLACES)).map(Self)
    }
}

/// A quotient, rounded half away from zero; none for a divisor of zero.
fn divided(a: i128, b: i128) -> Option<i128> {
    let quotient = a.checked_div(b)?;
    let rest = a.checked_rem(b)?;
    if rest.unsigned_abs() >= b.unsigned_abs() - rest.unsigned_abs() {
        return quotient.checked_add(if (a < 0) == (b < 0) { 1 } else { -1 });
    }
    Some(quotient)
}

/// Without zeros at the end.
impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.0.unsigned_abs();
        let (whole, fraction) = (units / ONE.unsigned_abs(), units % ONE.unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:012}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rust_decimal::{RoundingStrategy, dec};

    #[test]
    fn quotients_round_half_away_from_zero() {
        for (a, b, want) in [
            (5, 2, 3),
            (-5, 2, -3),
            (4, 3, 1),
            (5, 3, 2),
            (0, 7, 0),
            (7, -2, -4),
            (1, 3, 0),
        ] {
            assert_eq!(divided(a, b), Some(want), "{a} / {b}");
        }
        assert_eq!(divided(1, 0), None);
        assert_eq!(divided(i128::MIN, -1), None);
    }

    #[test]
    fn texts() {
        for (value, text) in [
            (dec!(0), "0"),
            (dec!(-1.5), "-1.5"),
            (dec!(0.000000000001), "0.000000000001"),
            (dec!(28800.00), "28800"),
        ] {
            assert_eq!(
                Fixed::of(value).map(|fixed| fixed.to_string()).as_deref(),
                Some(text)
            );
        }
    }

    #[test]
    fn what_is_too_large_is_none() {
        assert_eq!(Fixed(i128::MAX).checked_add(Fixed(1)), None);
        assert_eq!(Fixed(i128::MAX).times(2), None);
        assert_eq!(
            Fixed(i128::MAX).decimal(),
            Some(dec!(170141183460469231731687304))
        );
        assert_eq!(Fixed::whole(1).ratio(Fixed::ZERO), None);
        assert_eq!(Fixed(i128::MAX).ratio(Fixed(i128::MAX)), Some(dec!(1)));
    }

    proptest! {
        #[test]
        fn ratios_are_those_of_decimals(a in 0_i64..1_000_000_000_000, b in 1_i64..1_000_000_000_000, scale in 0_u32..9) {
            let (a, b) = (Decimal::new(a, scale), Decimal::new(b, scale));
            let want = (a / b).round_dp_with_strategy(PLACES, RoundingStrategy::MidpointAwayFromZero);
            let fixed = |value| Fixed::of(value).expect("in range");
            prop_assert_eq!(fixed(a).ratio(fixed(b)), Some(want));
        }

        #[test]
        fn decimals_make_the_round_trip(mantissa: i64, scale in 0_u32..=PLACES) {
            let value = Decimal::new(mantissa, scale);
            let fixed = Fixed::of(value);
            prop_assert_eq!(fixed.and_then(Fixed::decimal), Some(value));
            prop_assert_eq!(fixed.map(|fixed| fixed.to_string()), Some(value.normalize().to_string()));
        }
    }
}
