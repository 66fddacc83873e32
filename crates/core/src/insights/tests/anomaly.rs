use super::super::LARGEST;
use super::super::anomaly::*;
use super::{Random, refused_field};
use proptest::prelude::*;

const TRAILING: Rule = Rule {
    reference: Reference::Trailing { values: 8 },
    least_reference: 8,
    threshold: THRESHOLD,
};

const WEEKDAYS: Rule = Rule {
    reference: Reference::SameWeekday { weeks: 12 },
    ..TRAILING
};

fn series(values: &[f64]) -> Vec<Observation> {
    (0..)
        .zip(values)
        .map(|(position, &value)| Observation { position, value })
        .collect()
}

#[track_caller]
fn of(values: &[f64], rule: &Rule) -> Screening {
    anomalies(&series(values), rule).expect("a screening")
}

/// What is found of a value that follows eight others.
fn after(reference: [f64; 8], value: f64) -> Option<Anomaly> {
    let mut values = reference.to_vec();
    values.push(value);
    let screening = of(&values, &TRAILING);
    assert_eq!((screening.judged, screening.unjudged), (1, 8));
    screening.anomalies.first().copied()
}

#[test]
fn by_hand() {
    // The median is 4.5, the distances are 0.5, 0.5, 1.5, 1.5, 2.5, 2.5, 3.5, 3.5: MAD is 2.
    let reference = [3.0, 1.0, 2.0, 6.0, 5.0, 4.0, 8.0, 7.0];
    let found = after(reference, 20.0).expect("an anomaly");
    assert_eq!((found.position, found.value), (8, 20.0));
    assert_eq!((found.usual, found.reference), (4.5, 8));
    assert!((found.z - 0.6745 * 15.5 / 2.0).abs() < 1e-12);
    let below = after(reference, -11.0).expect("an anomaly");
    assert_eq!(below.z, -found.z);
    // 0.6745 · 10.3 / 2 = 3.47, and of 10.4 it is 3.51.
    assert_eq!(after(reference, 14.8), None);
    assert!(after(reference, 14.9).is_some());
}

#[test]
fn where_most_are_alike_the_mean_distance_stands_in() {
    // Seven at 5 and one at 13: MAD is zero, the mean distance 1.
    let reference = [5.0, 5.0, 5.0, 13.0, 5.0, 5.0, 5.0, 5.0];
    assert_eq!(after(reference, 9.0), None);
    let found = after(reference, 10.0).expect("an anomaly");
    assert!((found.z - 5.0 / 1.253_314).abs() < 1e-12);
}

#[test]
fn where_all_are_alike_any_other_value_stands_out() {
    assert_eq!(after([5.0; 8], 5.0), None);
    assert_eq!(after([5.0; 8], 5.001).expect("an anomaly").z, Z_BOUND);
    assert_eq!(after([5.0; 8], -5.0).expect("an anomaly").z, -Z_BOUND);
    assert_eq!(after([0.0; 8], 1e-100).expect("an anomaly").z, Z_BOUND);
    assert_eq!(after([0.0; 8], -0.0), None);
    // What rounding leaves is no difference.
    assert_eq!(after([0.3; 8], 0.1 + 0.2), None);
    let rounded = [0.3, 0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2];
    assert_eq!(after(rounded, 0.300_000_000_000_000_2), None);
    // The largest values have scores too.
    let far = after([-LARGEST; 8], LARGEST).expect("an anomaly");
    assert_eq!((far.z, far.usual), (Z_BOUND, -LARGEST));
}

#[test]
fn what_was_found_does_not_spoil_what_follows() {
    let mut values: Vec<f64> = (0..60).map(|n| 100.0 + f64::from(n * 7 % 5)).collect();
    values[30] = 500.0;
    values[34] = 0.0;
    let found = of(&values, &TRAILING);
    let positions: Vec<i64> = found
        .anomalies
        .iter()
        .map(|anomaly| anomaly.position)
        .collect();
    assert_eq!(positions, [30, 34]);
    assert_eq!((found.judged, found.unjudged, found.missing), (52, 8, 0));
}

#[test]
fn missing_values_are_skipped() {
    let mut values = vec![
        5.0,
        6.0,
        f64::NAN,
        7.0,
        5.0,
        6.0,
        f64::INFINITY,
        7.0,
        5.0,
        6.0,
    ];
    values.extend([f64::NAN, 50.0, f64::NEG_INFINITY]);
    let found = of(&values, &TRAILING);
    assert_eq!((found.judged, found.unjudged, found.missing), (1, 8, 4));
    assert_eq!(found.anomalies[0].position, 11);
}

/// Days of 30 weeks: Saturdays and Sundays are ten times the rest, and each week a little different.
fn shop() -> Vec<f64> {
    (0..210)
        .map(|day| {
            let usual = if day % 7 < 2 { 1_000.0 } else { 100.0 };
            usual * (1.0 + 0.02 * f64::from(day / 7 % 3))
        })
        .collect()
}

#[test]
fn weekdays_are_compared_with_their_like() {
    let mut values = shop();
    assert_eq!(of(&values, &WEEKDAYS).anomalies, []);
    // A Saturday that is like any Wednesday, and a Wednesday that is like any Saturday.
    values[140] = 100.0;
    values[172] = 1_000.0;
    let found = of(&values, &WEEKDAYS);
    let positions: Vec<i64> = found
        .anomalies
        .iter()
        .map(|anomaly| anomaly.position)
        .collect();
    assert_eq!(positions, [140, 172]);
    assert_eq!(found.anomalies[0].usual, 1_020.0);
    assert_eq!(found.anomalies[1].reference, 12);
    assert_eq!((found.judged, found.unjudged), (22 * 7, 8 * 7));
    // Against the days just before, the Saturday is like any other day.
    let trailing = of(&values, &TRAILING);
    assert!(
        !trailing
            .anomalies
            .iter()
            .any(|anomaly| anomaly.position == 140)
    );
}

#[test]
fn weekdays_do_not_reach_back_further_than_their_weeks() {
    let mut days = series(&shop());
    // Of the twelve Saturdays before the last one five were closed, of the others four.
    days.retain(|day| day.position % 7 != 0 || !(119..154).contains(&day.position));
    let last = anomalies(&days, &WEEKDAYS).expect("a screening");
    assert_eq!(last.judged, 22 * 7 - 8 - 5);
    assert_eq!(last.missing, 0);
}

#[test]
fn positions_may_lie_anywhere() {
    for start in [i64::MIN, -3, i64::MAX - 9] {
        let observations: Vec<Observation> =
            series(&[1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 3.0, 2.0, 1.0, 40.0])
                .into_iter()
                .map(|o| Observation {
                    position: start + o.position,
                    ..o
                })
                .collect();
        let found = anomalies(&observations, &TRAILING).expect("a screening");
        assert_eq!(found.anomalies.len(), 1, "{start}");
        let found = anomalies(&observations, &WEEKDAYS).expect("a screening");
        assert_eq!((found.judged, found.unjudged), (0, 10), "{start}");
    }
    assert_eq!(
        anomalies(&[], &WEEKDAYS).expect("a screening"),
        Screening::default()
    );
}

#[test]
fn confidence_grows_with_the_score_and_the_reference() {
    let confidence = |z, reference| {
        let anomaly = Anomaly {
            position: 0,
            value: 0.0,
            usual: 0.0,
            z,
            reference,
        };
        anomaly.confidence().hundredths()
    };
    // 0.99953 · 8/9, · 26/27, · 366/367
    assert_eq!(confidence(3.5, 8), 88);
    assert_eq!(confidence(-3.5, 26), 96);
    assert_eq!(confidence(100.0, 366), 99);
    // 0.68269 · 4/5
    assert_eq!(confidence(1.0, 4), 54);
    assert_eq!(confidence(0.0, 26), 0);
}

#[test]
fn what_is_refused() {
    let values = series(&[1.0; 20]);
    let field = |rule: Rule| refused_field(anomalies(&values, &rule));
    for size in [0, 3, 367, usize::MAX] {
        let values = Reference::Trailing { values: size };
        assert_eq!(field(Rule::of(values)), "values");
        let weeks = Reference::SameWeekday { weeks: size };
        assert_eq!(field(Rule::of(weeks)), "weeks");
    }
    for least_reference in [0, 3, 13] {
        let rule = Rule {
            least_reference,
            ..WEEKDAYS
        };
        assert_eq!(field(rule), "least_reference");
    }
    for threshold in [0.0, -3.5, 100.0, f64::NAN] {
        let rule = Rule {
            threshold,
            ..WEEKDAYS
        };
        assert_eq!(field(rule), "threshold");
    }
    let mut twice = values.clone();
    twice[3].position = 2;
    assert_eq!(refused_field(anomalies(&twice, &TRAILING)), "position");
    // A day without a value does not count.
    twice[3].value = f64::NAN;
    assert!(anomalies(&twice, &TRAILING).is_ok());
    twice[3].value = 1e151;
    assert_eq!(refused_field(anomalies(&twice, &TRAILING)), "value");
}

/// The table at the top of the module.
#[test]
fn false_alarms_are_as_rare_as_the_documentation_says() {
    let mut random = Random(1_993);
    for (size, percent) in [(4, 14.0), (8, 4.7), (12, 2.4), (26, 0.7)] {
        let rule = Rule {
            least_reference: size,
            ..Rule::of(Reference::Trailing { values: size })
        };
        let mut found = 0;
        let mut judged = 0;
        for _ in 0..20_000 {
            let values: Vec<f64> = (0..=size).map(|_| random.normal()).collect();
            let screening = of(&values, &rule);
            judged += screening.judged;
            found += screening.anomalies.len();
        }
        assert_eq!(judged, 20_000);
        let share = 100.0 * found as f64 / judged as f64;
        assert!(
            (share - percent).abs() <= 0.1 * percent + 0.1,
            "{size}: {share} %"
        );
    }
}

proptest! {
    /// Whatever the season, and wherever a value is planted that has no place in it, it is found and nothing
    /// else is. The weeks differ by −1, 0, 1 in turn, so that MAD is 1 in each reference.
    #[test]
    fn what_was_planted_is_found_and_nothing_else(
        season in prop::array::uniform7(0_i32..1_000),
        // One for each weekday at most, or they would become usual.
        planted in prop::collection::btree_map(
            0_usize..7,
            (0_usize..30, prop_oneof![-500_i32..-8, 9_i32..500]),
            0..5,
        ),
    ) {
        let mut values: Vec<f64> = (0..210)
            .map(|day: usize| f64::from(season[day % 7] + (day / 7 % 3) as i32 - 1))
            .collect();
        let mut expected = Vec::new();
        for (&weekday, &(week, off)) in &planted {
            values[7 * week + weekday] = f64::from(season[weekday] + off);
            if week >= 8 {
                expected.push(7 * week + weekday);
            }
        }
        expected.sort_unstable();
        let found = of(&values, &WEEKDAYS);
        let found: Vec<usize> = found.anomalies.iter().map(|anomaly| anomaly.position as usize).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn scores_do_not_depend_on_units_or_on_the_order_of_rows(
        observations in prop::collection::vec(-20_i32..20, 10..60)
            .prop_map(|values| series(&values.into_iter().map(f64::from).collect::<Vec<_>>()))
            .prop_shuffle(),
        shift in -100_i32..100, factor in 1_i32..9,
    ) {
        let found = anomalies(&observations, &TRAILING).expect("a screening");
        let moved: Vec<Observation> = observations
            .iter()
            .map(|o| Observation {
                position: o.position + i64::from(shift),
                value: o.value * f64::from(-factor) + f64::from(shift),
            })
            .collect();
        let moved = anomalies(&moved, &TRAILING).expect("a screening");
        prop_assert_eq!(found.anomalies.len(), moved.anomalies.len());
        for (one, other) in found.anomalies.iter().zip(&moved.anomalies) {
            prop_assert!((one.z + other.z).abs() <= 1e-9 * one.z.abs());
            prop_assert_eq!(one.position + i64::from(shift), other.position);
        }
        let positions: Vec<i64> = found.anomalies.iter().map(|anomaly| anomaly.position).collect();
        prop_assert!(positions.is_sorted());
    }
}
