//! Actual against target.

use crate::oee::{Invalid, PLACES, not_negative, rounded};
use rust_decimal::Decimal;

/// How an output stands against its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    OnTarget,
    Behind,
    Ahead,
}

impl Status {
    /// The word that the database stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnTarget => "on_target",
            Self::Behind => "behind",
            Self::Ahead => "ahead",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variance {
    /// Actual less target.
    pub variance: Decimal,
    /// The same in percent of the target; `None` against a target of zero.
    pub percentage: Option<Decimal>,
    pub status: Status,
}

/// Within ± `tolerance_pct` of the target, bounds included, it is on target; so is everything against a
/// target of zero. The bounds are compared exactly, before the percentage is rounded.
///
/// # Errors
/// A negative target or tolerance, or an amount past 28 digits.
pub fn variance(
    actual: Decimal,
    target: Decimal,
    tolerance_pct: Decimal,
) -> Result<Variance, Invalid> {
    not_negative("target", target)?;
    not_negative("tolerance_pct", tolerance_pct)?;
    let too_large = || Invalid::new("actual", "is too large", actual);
    let difference = actual.checked_sub(target).ok_or_else(too_large)?;
    if target.is_zero() {
        return Ok(Variance {
            variance: difference.normalize(),
            percentage: None,
            status: Status::OnTarget,
        });
    }
    let hundredfold = difference
        .checked_mul(Decimal::ONE_HUNDRED)
        .ok_or_else(too_large)?;
    let allowed = target
        .checked_mul(tolerance_pct)
        .ok_or_else(|| Invalid::new("tolerance_pct", "is too large", tolerance_pct))?;
    Ok(Variance {
        variance: difference.normalize(),
        percentage: hundredfold
            .checked_div(target)
            .map(|percentage| rounded(percentage, PLACES).normalize()),
        status: if hundredfold.abs() <= allowed {
            Status::OnTarget
        } else if difference.is_sign_negative() {
            Status::Behind
        } else {
            Status::Ahead
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rust_decimal::dec;

    fn of(actual: i64, target: i64) -> Variance {
        variance(actual.into(), target.into(), dec!(5)).expect("a variance")
    }

    #[test]
    fn the_band_includes_its_bounds() {
        for (actual, status) in [
            (94, Status::Behind),
            (95, Status::OnTarget),
            (100, Status::OnTarget),
            (105, Status::OnTarget),
            (106, Status::Ahead),
        ] {
            assert_eq!(of(actual, 100).status, status, "{actual}");
        }
        assert_eq!(of(94, 100).variance, dec!(-6));
        assert_eq!(of(94, 100).percentage, Some(dec!(-6)));
        assert_eq!(of(1, 3).percentage, Some(dec!(-66.666666666667)));
    }

    #[test]
    fn nothing_was_wanted() {
        assert_eq!(
            of(7, 0),
            Variance {
                variance: dec!(7),
                percentage: None,
                status: Status::OnTarget
            }
        );
    }

    #[test]
    fn fields_are_named() {
        let field = |result: Result<Variance, Invalid>| result.expect_err("refused").field;
        assert_eq!(field(variance(dec!(1), dec!(-1), dec!(5))), "target");
        assert_eq!(field(variance(dec!(1), dec!(1), dec!(-5))), "tolerance_pct");
        assert_eq!(field(variance(Decimal::MIN, dec!(1), dec!(5))), "actual");
    }

    proptest! {
        #[test]
        fn more_is_never_worse(target in 1i64..100_000, a in 0i64..200_000, b in 0i64..200_000) {
            let rank = |v: Variance| match v.status {
                Status::Behind => 0,
                Status::OnTarget => 1,
                Status::Ahead => 2,
            };
            prop_assert!(rank(of(a.min(b), target)) <= rank(of(a.max(b), target)));
        }
    }
}
