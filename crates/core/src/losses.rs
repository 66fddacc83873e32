//! What lost time and waste cost.

use crate::fixed::Fixed;
use crate::oee::Ideal;
use crate::oee::{Invalid, Production, State, not_negative, rounded};
use rust_decimal::Decimal;

/// Decimal places of money.
const CENTS: u32 = 2;

/// The plain account: time that the machine stood, and items thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    pub downtime: Decimal,
    pub waste: Decimal,
    pub total: Decimal,
}

/// Downtime hours × hourly rate + scrap × unit cost, each to the cent.
///
/// # Errors
/// A negative field, or an amount past 28 digits.
pub fn financial_loss(
    downtime_minutes: Decimal,
    hourly_rate: Decimal,
    waste_count: i64,
    cost_per_unit: Decimal,
) -> Result<Loss, Invalid> {
    not_negative("downtime_minutes", downtime_minutes)?;
    not_negative("hourly_rate", hourly_rate)?;
    not_negative("waste_count", Decimal::from(waste_count))?;
    not_negative("cost_per_unit", cost_per_unit)?;
    let downtime = product("hourly_rate", downtime_minutes, hourly_rate)? / Decimal::from(60);
    let waste = product("cost_per_unit", Decimal::from(waste_count), cost_per_unit)?;
    let (downtime, waste) = (money(downtime), money(waste));
    Ok(Loss {
        downtime,
        waste,
        total: sum("hourly_rate", downtime, waste)?,
    })
}

/// The value of the planned time, and what each loss takes off what the one before has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waterfall {
    /// What the planned time is worth at ideal speed without waste.
    pub planned: Decimal,
    /// Value × availability loss.
    pub availability: Decimal,
    /// Value × availability × performance loss.
    pub performance: Decimal,
    /// Value × availability × performance × quality loss.
    pub quality: Decimal,
    /// The three together.
    pub total: Decimal,
    /// What is left: the value of the good items.
    pub good: Decimal,
}

/// Adding raw percentages would count losses twice; here each is taken from what is left.
///
/// # Errors
/// What [`State::of`] refuses, a negative value of a unit, or an amount past 28 digits.
pub fn waterfall(production: &Production, value_per_unit: Decimal) -> Result<Waterfall, Invalid> {
    not_negative("value_per_unit", value_per_unit)?;
    let state = State::of(production)?;
    let worth = |seconds: Fixed| -> Result<Decimal, Invalid> {
        let too_large = || Invalid::new("planned_minutes", "is too large", seconds);
        let units = match production.ideal {
            Ideal::CycleSeconds(cycle) => seconds.over(cycle).and_then(Fixed::decimal),
            Ideal::UnitsPerHour(rate) => seconds
                .decimal()
                .zip(rate.decimal())
                .and_then(|(seconds, rate)| seconds.checked_mul(rate))
                .map(|units| units / Decimal::from(3_600)),
        };
        let units = units.ok_or_else(too_large)?;
        Ok(money(product("value_per_unit", units, value_per_unit)?))
    };
    // What is left after each loss is rounded, and the losses are the steps between: none is negative, and
    // together with the rest they are exactly the whole.
    let planned = worth(state.planned)?;
    let after_availability = worth(state.run)?;
    let after_performance = worth(state.net)?;
    let good = worth(state.effective)?;
    Ok(Waterfall {
        planned,
        availability: planned - after_availability,
        performance: after_availability - after_performance,
        quality: after_performance - good,
        total: planned - good,
        good,
    })
}

/// To the cent, with both decimals.
fn money(value: Decimal) -> Decimal {
    let mut value = rounded(value, CENTS);
    value.rescale(CENTS);
    value
}

fn product(field: &'static str, a: Decimal, b: Decimal) -> Result<Decimal, Invalid> {
    a.checked_mul(b)
        .ok_or_else(|| Invalid::new(field, "is too large", b))
}

fn sum(field: &'static str, a: Decimal, b: Decimal) -> Result<Decimal, Invalid> {
    a.checked_add(b)
        .ok_or_else(|| Invalid::new(field, "is too large", b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rust_decimal::dec;

    #[test]
    fn downtime_and_scrap() {
        let loss = financial_loss(dec!(45), dec!(300), 25, dec!(5)).expect("a loss");
        assert_eq!(
            (loss.downtime, loss.waste, loss.total),
            (dec!(225), dec!(125), dec!(350))
        );
        // Half a cent is a cent.
        let loss = financial_loss(dec!(1), dec!(0.3), 0, dec!(0)).expect("a loss");
        assert_eq!(loss.total, dec!(0.01));
    }

    #[test]
    fn fields_are_named() {
        for (loss, field) in [
            (
                financial_loss(dec!(-1), dec!(1), 0, dec!(0)),
                "downtime_minutes",
            ),
            (financial_loss(dec!(1), dec!(-1), 0, dec!(0)), "hourly_rate"),
            (financial_loss(dec!(1), dec!(1), -1, dec!(0)), "waste_count"),
            (
                financial_loss(dec!(1), dec!(1), 0, dec!(-1)),
                "cost_per_unit",
            ),
            (
                financial_loss(Decimal::MAX, Decimal::MAX, 0, dec!(0)),
                "hourly_rate",
            ),
        ] {
            assert_eq!(loss.expect_err("refused").field, field);
        }
    }

    fn example_7(ideal: Ideal) -> Production {
        Production {
            planned_minutes: Fixed::whole(480),
            downtime_minutes: Fixed::whole(80),
            ideal,
            total_count: 700,
            good_count: 600,
        }
    }

    #[test]
    fn a_waterfall_counts_nothing_twice() {
        for ideal in [
            Ideal::CycleSeconds(Fixed::whole(30)),
            Ideal::UnitsPerHour(Fixed::whole(120)),
        ] {
            let fall = waterfall(&example_7(ideal), dec!(10)).expect("a waterfall");
            assert_eq!(fall.planned, dec!(9600));
            assert_eq!(
                (fall.availability, fall.performance, fall.quality),
                (dec!(1600), dec!(1000), dec!(1000))
            );
            assert_eq!((fall.total, fall.good), (dec!(3600), dec!(6000)));
        }
        assert_eq!(
            waterfall(&example_7(Ideal::CycleSeconds(Fixed::whole(30))), dec!(-1))
                .expect_err("refused")
                .field,
            "value_per_unit"
        );
    }

    proptest! {
        #[test]
        fn a_waterfall_ends_at_the_good_items(
            planned in 0u32..2_000, down in 0u32..2_000, cycle in 1u32..10_000,
            total in 0i64..10_000, bad in 0i64..10_000, value in 0u32..100_000,
        ) {
            let production = Production {
                planned_minutes: Fixed::whole(planned.into()),
                downtime_minutes: Fixed::whole(down.min(planned).into()),
                ideal: Ideal::CycleSeconds(Fixed::whole(cycle.into()).share(1, 100).expect("in range")),
                total_count: total,
                good_count: total - bad.min(total),
            };
            let value = Decimal::new(value.into(), 2);
            let fall = waterfall(&production, value).expect("a waterfall");
            prop_assert_eq!(fall.good + fall.total, fall.planned);
            prop_assert_eq!(fall.availability + fall.performance + fall.quality, fall.total);
            for part in [fall.availability, fall.performance, fall.quality, fall.good] {
                prop_assert!(part >= Decimal::ZERO, "{part}");
            }
            let state = State::of(&production).expect("a state");
            if state.ideal <= state.run {
                let good = Decimal::from(production.good_count) * value;
                prop_assert!((fall.good - good).abs() <= dec!(0.02), "{} {}", fall.good, good);
            }
        }
    }
}
