//! The worked examples that the formulas were checked with, the edges, and what must hold for all inputs.

use super::*;

fn decimal(value: Fixed) -> Decimal {
    value.decimal().expect("in range")
}

fn fixed(value: Decimal) -> Fixed {
    Fixed::of(value).expect("in range")
}
use proptest::prelude::*;
use rust_decimal::dec;

fn production(
    planned: Decimal,
    down: Decimal,
    cycle: Decimal,
    total: i64,
    good: i64,
) -> Production {
    Production {
        planned_minutes: fixed(planned),
        downtime_minutes: fixed(down),
        ideal: Ideal::CycleSeconds(fixed(cycle)),
        total_count: total,
        good_count: good,
    }
}

fn state(planned: Decimal, down: Decimal, cycle: Decimal, total: i64, good: i64) -> State {
    State::of(&production(planned, down, cycle, total, good)).expect("a state")
}

fn six(value: Option<Decimal>) -> Decimal {
    rounded(value.expect("a figure"), 6)
}

#[track_caller]
fn check(state: State, a: Decimal, p: Decimal, q: Decimal, oee: Decimal) {
    let figures = state.figures();
    assert_eq!(
        (
            six(figures.availability),
            six(figures.performance),
            six(figures.quality),
            six(figures.oee)
        ),
        (a, p, q, oee)
    );
}

#[test]
fn worked_examples() {
    let one = state(dec!(420), dec!(47), dec!(1), 19_271, 18_848);
    check(
        one,
        dec!(0.888095),
        dec!(0.861081),
        dec!(0.978050),
        dec!(0.747937),
    );
    let teep = |minutes| six(one.teep(fixed(minutes)).expect("teep").teep);
    assert_eq!(
        (teep(dec!(480)), teep(dec!(1440))),
        (dec!(0.654444), dec!(0.218148))
    );

    check(
        state(dec!(480), dec!(60), dec!(60), 400, 380),
        dec!(0.875),
        dec!(0.952381),
        dec!(0.95),
        dec!(0.791667),
    );
    check(
        state(dec!(480), dec!(60), dec!(30), 400, 392),
        dec!(0.875),
        dec!(0.476190),
        dec!(0.98),
        dec!(0.408333),
    );
    // 16 hours planned, 3.74 down; 167 items would have fitted into the 12.26 hours that it ran.
    let four = state(dec!(960), dec!(224.4), dec!(44136) / dec!(167), 100, 92);
    check(
        four,
        dec!(0.766250),
        dec!(0.598802),
        dec!(0.92),
        dec!(0.422126),
    );
    assert_eq!(
        six(four.teep(fixed(dec!(1440))).expect("teep").teep),
        dec!(0.281417)
    );
    check(
        state(dec!(480), dec!(21), dec!(21), 1_298, 1_285),
        dec!(0.956250),
        dec!(0.989760),
        dec!(0.989985),
        dec!(0.936979),
    );
    let a = state(dec!(455), dec!(32), dec!(10), 2_240, 2_190);
    check(
        a,
        dec!(0.929670),
        dec!(0.882585),
        dec!(0.977679),
        dec!(0.802198),
    );
    let b = state(dec!(455), dec!(18), dec!(45), 450, 425);
    check(
        b,
        dec!(0.960440),
        dec!(0.772311),
        dec!(0.944444),
        dec!(0.700549),
    );
    // Nobody noted how long the third one stood, which OEE itself does not depend on.
    let c = state(dec!(455), dec!(0), dec!(70), 229, 218);
    assert_eq!(
        (six(c.figures().quality), six(c.figures().oee)),
        (dec!(0.951965), dec!(0.558974))
    );
    let together = a.merged(&b).and_then(|ab| ab.merged(&c)).expect("a sum");
    assert_eq!(six(together.figures().oee), dec!(0.687241));
    check(
        state(dec!(480), dec!(80), dec!(30), 700, 600),
        dec!(0.833333),
        dec!(0.875),
        dec!(0.857143),
        dec!(0.625),
    );
    // 100 planned minutes at .80 and 300 at .45: .5375, not the .625 of an average.
    let both = state(dec!(100), dec!(0), dec!(60), 80, 80)
        .merged(&state(dec!(300), dec!(0), dec!(60), 135, 135))
        .expect("a sum");
    assert_eq!(both.figures().oee, Some(dec!(0.5375)));
}

#[test]
fn what_is_not_known_is_null() {
    let nothing = state(dec!(0), dec!(0), dec!(1), 0, 0).figures();
    assert_eq!(nothing, Figures::default());
    assert_eq!(State::default().figures(), Figures::default());
    // Items without planned time have a quality, and nothing else.
    let unplanned = state(dec!(0), dec!(0), dec!(1), 10, 9).figures();
    assert_eq!((unplanned.oee, unplanned.quality), (None, Some(dec!(0.9))));
}

#[test]
fn planned_and_nothing_ran_is_zero() {
    let stood = state(dec!(480), dec!(480), dec!(1), 0, 0).figures();
    let zero = Some(Decimal::ZERO);
    assert_eq!(
        (
            stood.availability,
            stood.performance,
            stood.performance_raw,
            stood.oee
        ),
        (zero, zero, zero, zero)
    );
    assert_eq!(stood.quality, None);
    let empty = state(dec!(480), dec!(0), dec!(1), 0, 0).figures();
    assert_eq!(
        (
            empty.availability,
            empty.performance,
            empty.quality,
            empty.oee
        ),
        (Some(Decimal::ONE), zero, None, zero)
    );
}

#[test]
fn faster_than_ideal_counts_as_ideal() {
    let fast = state(dec!(10), dec!(0), dec!(60), 20, 15).figures();
    assert_eq!(
        (
            fast.performance,
            fast.performance_raw,
            fast.quality,
            fast.oee
        ),
        (
            Some(dec!(1)),
            Some(dec!(2)),
            Some(dec!(0.75)),
            Some(dec!(0.75))
        )
    );
}

#[test]
fn fields_are_named() {
    for (input, field) in [
        (
            production(dec!(-1), dec!(0), dec!(1), 0, 0),
            "planned_minutes",
        ),
        (
            production(dec!(1), dec!(-1), dec!(1), 0, 0),
            "downtime_minutes",
        ),
        (
            production(dec!(1), dec!(1.5), dec!(1), 0, 0),
            "downtime_minutes",
        ),
        (
            production(dec!(1), dec!(0), dec!(-1), 0, 0),
            "ideal_cycle_seconds",
        ),
        (
            production(dec!(1), dec!(0), dec!(0), 1, 0),
            "ideal_cycle_seconds",
        ),
        (production(dec!(1), dec!(0), dec!(1), -1, 0), "total_count"),
        (production(dec!(1), dec!(0), dec!(1), 1, -1), "good_count"),
        (production(dec!(1), dec!(0), dec!(1), 1, 2), "good_count"),
        (
            production(dec!(1e23), dec!(0), dec!(1), 1, 1),
            "planned_minutes",
        ),
        (
            production(dec!(1), dec!(0), dec!(1e24), 2, 1),
            "ideal_cycle_seconds",
        ),
        (
            Production {
                ideal: Ideal::UnitsPerHour(Fixed::ZERO),
                ..production(dec!(1), dec!(0), dec!(1), 1, 1)
            },
            "ideal_rate",
        ),
    ] {
        assert_eq!(
            State::of(&input).expect_err("refused").field,
            field,
            "{input:?}"
        );
    }
    let teep = state(dec!(480), dec!(0), dec!(1), 1, 1).teep(fixed(dec!(479)));
    assert_eq!(teep.expect_err("refused").field, "calendar_minutes");
}

prop_compose! {
    fn any_production()(
        planned in 0i64..3_000_000, down in 0i64..3_000_000, cycle in 1i64..100_000,
        total in 0i64..50_000, bad in 0i64..50_000, by_rate: bool,
    ) -> Production {
        let speed = fixed(Decimal::new(cycle, 3));
        Production {
            planned_minutes: fixed(Decimal::new(planned, 3)),
            downtime_minutes: fixed(Decimal::new(down.min(planned), 3)),
            ideal: if by_rate { Ideal::UnitsPerHour(speed) } else { Ideal::CycleSeconds(speed) },
            total_count: total,
            good_count: total - bad.min(total),
        }
    }
}

proptest! {
    #[test]
    fn ratios_stay_in_their_range(input in any_production()) {
        let figures = State::of(&input).expect("a state").figures();
        for figure in [figures.availability, figures.performance, figures.quality, figures.oee].into_iter().flatten() {
            prop_assert!((Decimal::ZERO..=Decimal::ONE).contains(&figure), "{figure}");
        }
    }

    #[test]
    fn oee_is_the_product(input in any_production()) {
        let figures = State::of(&input).expect("a state").figures();
        if let (Some(a), Some(p), Some(q), Some(oee)) =
            (figures.availability, figures.performance, figures.quality, figures.oee)
        {
            prop_assert!((a * p * q - oee).abs() < dec!(0.00000000001), "{} {oee}", a * p * q);
        }
    }

    #[test]
    fn a_sum_weights_by_planned_time(inputs in proptest::collection::vec(any_production(), 1..20)) {
        let states: Vec<State> = inputs.iter().map(|input| State::of(input).expect("a state")).collect();
        let sum = states.iter().try_fold(State::default(), |sum, state| sum.merged(state)).expect("a sum");
        let weighted: Decimal = states.iter()
            .map(|state| state.figures().oee.unwrap_or_default() * decimal(state.planned))
            .sum();
        if let Some(oee) = sum.figures().oee {
            prop_assert!((oee * decimal(sum.planned) - weighted).abs() < dec!(0.00001));
        }
    }

    #[test]
    fn order_and_grouping_do_not_show(
        inputs in proptest::collection::vec(any_production(), 2..20), cut in 0usize..20,
    ) {
        let states: Vec<State> = inputs.iter().map(|input| State::of(input).expect("a state")).collect();
        let sum = |states: &[State]| states.iter().try_fold(State::default(), |sum, state| sum.merged(state)).expect("a sum");
        let all = sum(&states);
        let (left, right) = states.split_at(cut.min(states.len()));
        prop_assert_eq!(sum(left).merged(&sum(right)), Some(all));
        let reversed: Vec<State> = states.iter().rev().copied().collect();
        prop_assert_eq!(sum(&reversed), all);
        prop_assert_eq!(all.without(&states[0]), Some(sum(&states[1..])));
        prop_assert_eq!(State::from_parts(all.parts()), Ok(all));
    }

    #[test]
    fn losses_add_up_to_the_planned_time(input in any_production()) {
        let state = State::of(&input).expect("a state");
        let lost = state.lost_minutes();
        let kept = decimal(state.effective) / dec!(60);
        let sum = lost.availability + lost.performance + lost.quality + kept;
        prop_assert!((sum - decimal(input.planned_minutes)).abs() < dec!(0.000000001));
    }
}
