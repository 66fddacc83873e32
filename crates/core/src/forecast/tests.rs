use super::*;
use proptest::prelude::*;

#[track_caller]
fn of(history: &[f64], horizon: usize) -> Forecast {
    forecast(history, horizon).expect("a forecast")
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{found} is not {expected}"
    );
}

/// So many weeks of this one.
fn weeks(number: usize, week: [f64; 7]) -> Vec<f64> {
    week.repeat(number)
}

/// Something between -0.5 and 0.5 that goes up and down without a pattern.
fn noise(day: usize) -> f64 {
    let mixed = (day as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64
        / (1_u64 << 24) as f64
        - 0.5
}

#[test]
fn nothing_was_used() {
    for history in [&[][..], &[0.0; 100]] {
        let found = of(history, 3);
        assert_eq!(found.method, Method::None);
        assert_eq!(
            found.days,
            [Day {
                quantity: 0.0,
                low: 0.0,
                high: 0.0
            }; 3]
        );
    }
}

#[test]
fn a_few_days_have_a_mean() {
    // Days before the first use do not count: 4, 0, 2, 6 have the mean 3 and the variance 20/3.
    let found = of(&[0.0, 0.0, 4.0, 0.0, 2.0, 6.0], 2);
    assert_eq!(found.method, Method::Mean);
    near(found.days[1].quantity, 3.0, 1e-12);
    near(
        found.days[1].high,
        3.0 + Z * (20.0_f64 / 3.0 * 1.25).sqrt(),
        1e-12,
    );
    near(found.days[1].low, 0.0, 0.0);
    // A single one: as if they came one by one.
    near(of(&[100.0], 1).days[0].low, 100.0 - Z * 10.0, 1e-9);
}

#[test]
fn a_constant_stays_what_it_is() {
    for (days, method) in [
        (5, Method::Mean),
        (14, Method::DampedTrend),
        (28, Method::HoltWinters),
        (365, Method::HoltWinters),
    ] {
        let found = of(&vec![7.0; days], 30);
        assert_eq!(found.method, method);
        for day in found.days {
            near(day.quantity, 7.0, 1e-9);
            near(day.low, 7.0, 1e-6);
            near(day.high, 7.0, 1e-6);
        }
    }
}

#[test]
fn a_line_goes_on_ever_more_slowly() {
    for days in [20, 90] {
        let history: Vec<f64> = (1..=days).map(f64::from).collect();
        let found = of(&history, 15);
        let mut before = f64::from(days);
        let mut step = 1.1;
        for (ahead, day) in (1..).zip(&found.days) {
            // Upwards, by less each day, and not above the line.
            assert!(
                day.quantity > before && day.quantity - before < step,
                "{ahead}: {day:?}"
            );
            assert!(
                day.quantity < f64::from(days + ahead) + 0.2,
                "{ahead}: {day:?}"
            );
            // (The first of them is one after the last day of the line itself.)
            if ahead > 1 {
                step = day.quantity - before + 1e-9;
            }
            before = day.quantity;
        }
        near(found.days[0].quantity, f64::from(days + 1), 0.3);
        near(found.days[6].quantity, f64::from(days + 7), 1.5);
    }
}

#[test]
fn a_week_comes_again() {
    let week = [5.0, 9.0, 12.0, 8.0, 15.0, 2.0, 1.0];
    for days in [28, 31, 120] {
        let history = &weeks(20, week)[..days];
        let found = of(history, 21);
        assert_eq!(found.method, Method::HoltWinters);
        for (ahead, day) in found.days.iter().enumerate() {
            near(day.quantity, week[(days + ahead) % 7], 1e-6);
        }
    }
}

#[test]
fn days_off_are_not_days_far_apart() {
    // Nothing at weekends, and only on one day of each week: a season, not chance.
    for week in [
        [6.0, 6.0, 6.0, 6.0, 6.0, 0.0, 0.0],
        [9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ] {
        let found = of(&weeks(8, week), 7);
        assert_eq!(found.method, Method::HoltWinters);
        for (day, expected) in found.days.iter().zip(week) {
            near(day.quantity, expected, 1e-6);
        }
    }
}

#[test]
fn a_noisy_week_is_seen_through_the_noise() {
    let week = [20.0, 30.0, 40.0, 30.0, 50.0, 10.0, 10.0];
    let history: Vec<f64> = (0..180)
        .map(|day| week[day % 7] + 8.0 * noise(day))
        .collect();
    let found = of(&history, 14);
    let mut inside = 0;
    for (ahead, day) in found.days.iter().enumerate() {
        let expected = week[(180 + ahead) % 7];
        near(day.quantity, expected, 3.5);
        let came = expected + 8.0 * noise(180 + ahead);
        inside += usize::from((day.low..=day.high).contains(&came));
        // The noise has a standard deviation of 8 / √12 = 2.3.
        near(day.high - day.quantity, Z * 2.3, 2.5);
    }
    assert!(inside >= 12, "{inside}");
}

#[test]
fn what_is_used_now_and_then() {
    // 6 every third day, but on no weekday in particular: size 6, interval 3, lowered by a twentieth.
    let history: Vec<f64> = (0..120)
        .map(|day| if day % 3 == 0 { 6.0 } else { 0.0 })
        .collect();
    let found = of(&history, 5);
    assert_eq!(found.method, Method::SyntetosBoylan);
    for day in &found.days {
        near(day.quantity, 0.95 * 2.0, 1e-9);
        assert_eq!(day.low, 0.0);
        // Twice of three times 1.9 too much, once 4.1 too little.
        near(
            day.high,
            1.9 + Z * ((2.0 * 1.9_f64.powi(2) + 4.1_f64.powi(2)) / 3.0).sqrt(),
            0.05,
        );
    }
    // By hand: sizes 4 and 8, 2 days on average and 3 between them; then 4 + 0.1 × 4 and 4 + 0.1 × (9 - 4) … of 16 days.
    let mut history = vec![0.0; 16];
    (history[0], history[9], history[12], history[15]) = (4.0, 8.0, 4.0, 8.0);
    let found = of(&history, 1);
    let size = [8.0, 4.0, 8.0]
        .iter()
        .fold(4.0, |size, used| size + 0.1 * (used - size));
    let interval = [9.0, 3.0, 3.0]
        .iter()
        .fold(4.0, |interval, since| interval + 0.1 * (since - interval));
    near(found.days[0].quantity, 0.95 * size / interval, 1e-12);
}

#[test]
fn a_step_is_climbed() {
    let history: Vec<f64> = (0..120)
        .map(|day| if day < 60 { 10.0 } else { 20.0 })
        .collect();
    for day in of(&history, 14).days {
        near(day.quantity, 20.0, 1.0);
    }
}

#[test]
fn one_day_does_not_make_a_trend() {
    for odd in [14, 40, 100] {
        let mut history: Vec<f64> = (0..120).map(|day| 10.0 + noise(day)).collect();
        history[odd] = 100.0;
        for (ahead, day) in of(&history, 30).days.iter().enumerate() {
            near(day.quantity, 10.0, 4.0);
            assert!(ahead % 7 == odd % 7 || (day.quantity - 10.0).abs() < 4.0);
        }
    }
}

#[test]
fn what_is_used_no_more_is_forgotten() {
    for (used, unused, most) in [(60, 120, 0.1), (30, 300, 0.05), (30, 30, 0.35)] {
        let mut history = vec![10.0; used];
        history.resize(used + unused, 0.0);
        let found = of(&history, 30);
        assert_eq!(found.method, Method::SyntetosBoylan);
        for day in found.days {
            assert!(
                day.quantity > 0.0 && day.quantity <= most,
                "{used} and {unused} days: {day:?}"
            );
        }
    }
    // Every third day, and then not for thirty.
    let mut history: Vec<f64> = (0..120)
        .map(|day| if day % 3 == 0 { 6.0 } else { 0.0 })
        .collect();
    history.resize(148, 0.0);
    near(of(&history, 1).days[0].quantity, 0.95 * 6.0 / 31.0, 1e-9);
}

#[test]
fn a_day_that_stands_out_leaves_the_others_as_they_are() {
    for days in [14, 28, 60, 365] {
        for ago in [1, 2, 10, 14, 29, 58, 300] {
            if ago > days {
                continue;
            }
            let mut history = vec![10.0; days];
            history[days - ago] = 1000.0;
            for day in of(&history, 30).days {
                near(day.quantity, 10.0, 1e-6);
            }
        }
    }
    // Two of them on a weekday of 2, which are lowered to the limit of 26; and one in noise.
    let week = [5.0, 9.0, 12.0, 8.0, 15.0, 2.0, 1.0];
    let mut history = weeks(20, week);
    (history[110], history[40]) = (1000.0, 700.0);
    for (day, expected) in of(&history, 7).days.iter().zip(week) {
        near(day.quantity, expected, 2.0);
    }
    let mut history: Vec<f64> = (0..120).map(|day| 10.0 + 4.0 * noise(day)).collect();
    history[91] = 1000.0;
    for day in of(&history, 14).days {
        near(day.quantity, 10.0, 1.0);
    }
}

#[test]
fn what_comes_again_does_not_stand_out() {
    // A busy day of each week, a new level (for three days by now), something large every other week.
    let busy = [1.0, 1.0, 1.0, 1.0, 1.0, 30.0, 1.0];
    for (day, expected) in of(&weeks(8, busy), 7).days.iter().zip(busy) {
        near(day.quantity, expected, 1e-6);
    }
    for history in [
        weeks(8, busy),
        [vec![10.0; 100], vec![50.0; 3]].concat(),
        [vec![1.0; 13], vec![30.0]].concat().repeat(5),
        (0..60).map(|day| 1.2_f64.powi(day)).collect(),
        vec![1.0, 1.0, 1.0, 90.0, 1.0, 1.0, 1.0],
    ] {
        assert_eq!(outliers::lowered(&history), history);
    }
}

#[test]
fn what_cannot_be_worked_with_is_refused() {
    for quantity in [-1.0, f64::NAN, f64::INFINITY, 1e16] {
        assert_eq!(
            forecast(&[1.0, quantity], 1),
            Err(Refused::Quantity { day: 1 })
        );
    }
    assert_eq!(forecast(&[1.0], 0), Err(Refused::Horizon { days: 0 }));
    assert_eq!(forecast(&[1.0], 367), Err(Refused::Horizon { days: 367 }));
    assert_eq!(
        forecast(&[1.0; 3_661], 1),
        Err(Refused::TooLong { days: 3_661 })
    );
    of(&[LARGEST; 3_660], 366);
}

/// Quantities as they come: many zeros, some large ones.
fn histories() -> impl Strategy<Value = Vec<f64>> {
    let quantity = prop_oneof![
        3 => Just(0.0),
        5 => (0_u32..50).prop_map(f64::from),
        1 => (0_u32..1_000_000).prop_map(f64::from),
    ];
    prop::collection::vec(quantity, 0..200)
}

proptest! {
    #[test]
    fn every_day_is_a_number_within_bounds(history in histories(), horizon in 1_usize..100) {
        let found = of(&history, horizon);
        let most = history.iter().copied().fold(0.0, f64::max);
        prop_assert_eq!(found.days.len(), horizon);
        for day in found.days {
            prop_assert!(day.low >= 0.0 && day.low <= day.quantity && day.quantity <= day.high, "{:?}", day);
            prop_assert!(day.quantity <= 2.0 * most && day.high.is_finite(), "{:?}", day);
        }
    }

    /// Counting in other units changes the unit, and nothing else. (Eights are exact; a single day's limits are not
    /// of any unit.)
    #[test]
    fn units_do_not_matter(history in histories()) {
        let eights: Vec<f64> = history.iter().map(|quantity| quantity * 8.0).collect();
        let (ones, eights) = (of(&history, 20), of(&eights, 20));
        prop_assert_eq!(ones.method, eights.method);
        let used = history.iter().skip_while(|&&quantity| quantity == 0.0).count();
        for (one, eight) in ones.days.iter().zip(&eights.days) {
            prop_assert_eq!(one.quantity * 8.0, eight.quantity);
            if used != 1 {
                prop_assert_eq!(one.low * 8.0, eight.low);
                prop_assert_eq!(one.high * 8.0, eight.high);
            }
        }
    }

    /// Days before the first use say nothing.
    #[test]
    fn a_late_beginning_does_not_matter(history in histories(), before in 0_usize..60) {
        let mut late = vec![0.0; before];
        late.extend(&history);
        prop_assert_eq!(of(&history, 10), of(&late, 10));
    }
}
