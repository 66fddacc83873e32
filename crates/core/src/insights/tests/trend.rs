use super::super::trend::*;
use super::super::{LARGEST, Refused};
use super::refused_field;
use proptest::prelude::*;

fn points(values: &[f64]) -> Vec<Point> {
    (0..)
        .map(f64::from)
        .zip(values)
        .map(|(position, &value)| Point { position, value })
        .collect()
}

#[track_caller]
fn of(values: &[f64]) -> Trend {
    trend(&points(values), ALPHA).expect("a trend")
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
}

#[test]
fn a_line() {
    let line: Vec<f64> = (0..10).map(|x| 3.0 + 2.0 * f64::from(x)).collect();
    let found = of(&line);
    assert_eq!((found.slope, found.intercept), (2.0, 3.0));
    assert_eq!(found.slope_limits, Some((2.0, 2.0)));
    assert_eq!((found.s, found.tau), (45, Some(1.0)));
    // Two orders of ten values are as extreme: up all the way, and down all the way.
    assert_eq!(found.p, 2.0 / 3_628_800.0);
    assert_eq!(found.direction, Direction::Rising);
    assert_eq!(found.confidence().hundredths(), 99);
    assert_eq!((found.points, found.positions), (10, (0.0, 9.0)));
}

#[test]
fn a_constant() {
    let found = of(&[7.5; 30]);
    assert_eq!((found.slope, found.intercept, found.s), (0.0, 7.5, 0));
    assert_eq!((found.tau, found.slope_limits), (None, None));
    assert_eq!((found.p, found.direction), (1.0, Direction::Flat));
    assert_eq!(found.confidence().hundredths(), 0);
}

#[test]
fn a_line_with_wild_values() {
    let mut line: Vec<f64> = (0..20).map(|x| 100.0 - 0.5 * f64::from(x)).collect();
    for (index, wild) in [(2, -1e6), (7, 1e9), (13, 0.0), (19, 1e5)] {
        line[index] = wild;
    }
    let found = of(&line);
    assert_eq!((found.slope, found.intercept), (-0.5, 100.0));
    assert_eq!(found.direction, Direction::Falling);
}

#[test]
fn up_and_down_is_no_trend() {
    let values: Vec<f64> = (0..24).map(|x| f64::from(x % 2)).collect();
    let found = of(&values);
    assert_eq!(found.direction, Direction::Flat);
    assert_eq!(found.slope, 0.0);
    // Each one follows the zeros before it and itself: 12·13/2 rise, 12·11/2 fall.
    assert_eq!(found.s, 12);
    let (lower, upper) = found.slope_limits.expect("limits");
    assert!(lower <= 0.0 && upper >= 0.0);
}

/// Hollander and Wolfe, Nonparametric Statistical Methods, ch. 9: the double ratio of five years of cloud
/// seeding. The ten slopes are 0.01, −0.07, −0.0333, −0.0575, −0.15, −0.055, −0.08, 0.04, −0.045, −0.13.
#[test]
fn published_cloud_seeding() {
    let found = of(&[1.26, 1.27, 1.12, 1.16, 1.03]);
    assert!(close(found.slope, -0.056_25), "{}", found.slope);
    assert_eq!(found.s, -6);
    // 14 of 120 orders have an S of −6 or less.
    assert_eq!(found.p, 28.0 / 120.0);
    assert_eq!(found.direction, Direction::Flat);
    // Of five points only the two extreme orders have p ≤ 0.05: the limits are the extreme slopes.
    let (lower, upper) = found.slope_limits.expect("limits");
    assert!(close(lower, -0.15) && close(upper, 0.04));
}

/// Gilbert, Statistical Methods for Environmental Pollution Monitoring, ch. 16: 10, 15, 14, 20 have S = 4,
/// whose upper tail in the table is 0.167.
#[test]
fn published_four_points() {
    let found = of(&[10.0, 15.0, 14.0, 20.0]);
    assert_eq!(found.s, 4);
    assert_eq!(found.p, 8.0 / 24.0);
    assert_eq!(found.confidence().hundredths(), 66);
    // Of 4 points no order is rare enough for limits.
    assert_eq!(found.slope_limits, None);
}

#[test]
fn more_than_ten_points_by_hand() {
    // One pair falls: S = 66 − 2, its variance 12·11·29/18.
    let found = of(&[
        1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 6.0, 8.0, 9.0, 10.0, 11.0, 12.0,
    ]);
    assert_eq!(found.s, 64);
    assert!(close(found.s_variance, 212.666_666_666_666_67));
    // z = 63 / 14.5831 = 4.32008
    assert!((found.p - 1.559_8e-5).abs() < 5e-9, "{}", found.p);
    assert!(close(found.tau.expect("a tau"), 64.0 / 66.0));
}

#[test]
fn points_that_share_a_position() {
    // Two instances a week: pairs within a week have no slope and count for nothing.
    let points: Vec<Point> = (0..8)
        .map(|index| Point {
            position: f64::from(index / 2),
            value: f64::from(index / 2 + 10 * (index % 2)),
        })
        .collect();
    let found = trend(&points, ALPHA).expect("a trend");
    // Six pairs of weeks: two of their four slopes are 1, one is far above, one far below.
    assert_eq!(found.slope, 1.0);
    assert_eq!(found.s, 12);
    assert_eq!(found.intercept, 5.0);
}

#[test]
fn gaps_are_skipped_and_keep_their_width() {
    let values = [0.0, 1.0, f64::NAN, 3.0, f64::INFINITY, 5.0, 6.0];
    let found = of(&values);
    assert_eq!((found.points, found.slope), (5, 1.0));
    assert_eq!(found.positions, (0.0, 6.0));
}

#[test]
fn rare_steps_have_a_direction_without_a_slope() {
    let values: Vec<f64> = (0..40).map(|x| f64::from(u8::from(x >= 33))).collect();
    let found = of(&values);
    assert_eq!((found.slope, found.direction), (0.0, Direction::Rising));
}

#[test]
fn alpha_decides_what_is_flat() {
    let values = [1.0, 3.0, 2.0, 5.0, 4.0, 6.0];
    // S = 11, p = 40 of 720.
    let found = |alpha| trend(&points(&values), alpha).expect("a trend");
    assert_eq!(found(0.05).p, 40.0 / 720.0);
    assert_eq!(found(0.05).direction, Direction::Flat);
    assert_eq!(found(0.06).direction, Direction::Rising);
    for alpha in [0.0, 1.0, -0.1, f64::NAN] {
        assert_eq!(refused_field(trend(&points(&values), alpha)), "alpha");
    }
}

#[test]
fn what_is_refused() {
    let three = [1.0, 2.0, 3.0, f64::NAN];
    assert_eq!(
        trend(&points(&three), ALPHA),
        Err(Refused::TooFew { found: 3, least: 4 })
    );
    assert_eq!(
        trend(&points(&vec![1.0; MOST_POINTS + 1]), ALPHA),
        Err(Refused::TooMany {
            found: 2_001,
            most: 2_000
        })
    );
    assert!(trend(&points(&vec![1.0; MOST_POINTS]), ALPHA).is_ok());
    let mut all = points(&[1.0, 2.0, 3.0, 4.0]);
    all[2].value = -1.1 * LARGEST;
    assert_eq!(refused_field(trend(&all, ALPHA)), "value");
    all[2].value = -LARGEST;
    assert!(trend(&all, ALPHA).is_ok());
    for position in [f64::NAN, f64::INFINITY, 1e200] {
        all[2].position = position;
        assert_eq!(refused_field(trend(&all, ALPHA)), "position");
    }
    for point in &mut all {
        point.position = 3.0;
    }
    assert_eq!(refused_field(trend(&all, ALPHA)), "positions");
    for (index, point) in (0..).zip(&mut all) {
        point.position = 1e-300 * f64::from(index);
        point.value = 1e140 * f64::from(index);
    }
    assert_eq!(refused_field(trend(&all, ALPHA)), "values");
}

fn whole_numbers(least: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-50_i32..50).prop_map(f64::from), least..40)
}

/// No two alike, in any order.
fn distinct_numbers() -> impl Strategy<Value = Vec<f64>> {
    (4_i32..30).prop_flat_map(|count| {
        let squares: Vec<f64> = (0..count).map(|n| f64::from(n * n)).collect();
        Just(squares).prop_shuffle()
    })
}

/// All slopes, found in the simplest way, in order.
fn all_slopes(values: &[f64]) -> Vec<f64> {
    let mut slopes = Vec::new();
    for later in 0..values.len() {
        for earlier in 0..later {
            slopes.push((values[later] - values[earlier]) / (later - earlier) as f64);
        }
    }
    slopes.sort_by(f64::total_cmp);
    slopes
}

proptest! {
    #[test]
    fn the_slope_is_the_middle_one(values in whole_numbers(4)) {
        let slopes = all_slopes(&values);
        let middle = (slopes[(slopes.len() - 1) / 2] + slopes[slopes.len() / 2]) / 2.0;
        let found = of(&values);
        prop_assert!(close(found.slope, middle));
        if let Some((lower, upper)) = found.slope_limits {
            prop_assert!(lower <= found.slope && found.slope <= upper);
        }
        prop_assert!((0.0..=1.0).contains(&found.p));
        prop_assert!(found.tau.is_none_or(|tau| (-1.0 - 1e-12..=1.0 + 1e-12).contains(&tau)));
    }

    #[test]
    fn shifting_shifts_and_scaling_scales(
        values in whole_numbers(4), shift in -1_000_i32..1_000, factor in 1_i32..9, slope in -9_i32..9,
    ) {
        let (shift, factor, slope) = (f64::from(shift), f64::from(factor), f64::from(slope));
        let found = of(&values);
        let moved: Vec<f64> = values.iter().map(|value| factor * value + shift).collect();
        let moved = of(&moved);
        prop_assert!(close(moved.slope, factor * found.slope));
        prop_assert!(close(moved.intercept, factor * found.intercept + shift));
        prop_assert_eq!((moved.s, moved.p, moved.tau), (found.s, found.p, found.tau));
        // A line added to the series is added to its slope.
        let tilted: Vec<f64> = (0..).zip(&values).map(|(x, value)| value + slope * f64::from(x)).collect();
        prop_assert!(close(of(&tilted).slope, found.slope + slope));
        // Positions may be counted from anywhere.
        let later: Vec<Point> = points(&values)
            .into_iter()
            .map(|point| Point { position: point.position + shift, ..point })
            .collect();
        let later = trend(&later, ALPHA).expect("a trend");
        prop_assert!(close(later.slope, found.slope));
        prop_assert!(close(later.intercept, found.intercept - shift * found.slope));
    }

    #[test]
    fn backwards_and_upside_down_it_goes_the_other_way(values in whole_numbers(4)) {
        let found = of(&values);
        let backwards: Vec<f64> = values.iter().rev().copied().collect();
        let upside_down: Vec<f64> = values.iter().map(|value| -value).collect();
        for other in [of(&backwards), of(&upside_down)] {
            prop_assert_eq!(other.s, -found.s);
            prop_assert_eq!(other.p, found.p);
            prop_assert!(close(other.slope, -found.slope));
            let turned = found.slope_limits.map(|(lower, upper)| (-upper + 0.0, -lower + 0.0));
            prop_assert_eq!(other.slope_limits.map(|(l, u)| (l + 0.0, u + 0.0)), turned);
        }
    }

    #[test]
    fn the_order_of_the_rows_does_not_matter(
        points in whole_numbers(4).prop_map(|values| points(&values)).prop_shuffle(),
    ) {
        let mut sorted = points.clone();
        sorted.sort_by(|a, b| a.position.total_cmp(&b.position));
        prop_assert_eq!(trend(&points, ALPHA), trend(&sorted, ALPHA));
    }

    /// One point adds as many slopes as there are others: the middle moves by half of that in rank.
    #[test]
    fn one_wild_value_hardly_moves_the_slope(values in whole_numbers(8), wild in 1e3_f64..1e12) {
        let slopes = all_slopes(&values);
        let mut more = values.clone();
        more.push(wild);
        let found = of(&more);
        let (middle, step) = (slopes.len() / 2, values.len() / 2 + 1);
        let bounds = slopes[middle.saturating_sub(step)]..=slopes[(middle + step).min(slopes.len() - 1)];
        prop_assert!(bounds.contains(&found.slope), "{} in {:?}", found.slope, bounds);
        // How wild does not matter.
        if let Some(last) = more.last_mut() {
            *last = 1e9 * wild;
        }
        prop_assert_eq!(of(&more).slope, found.slope);
    }

    /// Without ties, p is at most 0.05 exactly where the limits leave no room for zero.
    #[test]
    fn the_test_and_the_limits_agree(values in distinct_numbers(), tilt in -30_i32..30) {
        // Tilted, so that there are both; by a fraction that makes no ties.
        let tilt = f64::from(tilt) + 1.0 / 64.0;
        let values: Vec<f64> = (0..).zip(&values).map(|(x, value)| value + tilt * f64::from(x)).collect();
        let found = of(&values);
        let zero_is_out = found
            .slope_limits
            .is_some_and(|(lower, upper)| lower > 0.0 || upper < 0.0);
        prop_assert_eq!(found.p <= 0.05, zero_is_out, "{:?}", found);
    }
}
