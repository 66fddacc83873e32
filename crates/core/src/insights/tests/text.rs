use super::super::anomaly::{Anomaly, Reference};
use super::super::movers::{Item, Mover, movers};
use super::super::trend::{ALPHA, Point, Trend, trend as find_trend};
use super::super::{Period, text};
use proptest::prelude::*;

fn of(values: &[f64]) -> Trend {
    let points: Vec<Point> = (0..)
        .map(f64::from)
        .zip(values)
        .map(|(position, &value)| Point { position, value })
        .collect();
    find_trend(&points, ALPHA).expect("a trend")
}

#[test]
fn trends() {
    let rising = Trend {
        slope: 1.2,
        slope_limits: Some((0.9, 1.5)),
        p: 0.001,
        points: 26,
        positions: (0.0, 25.0),
        ..of(&[1.0, 2.0, 3.0, 4.0, 5.0])
    };
    assert_eq!(
        text::trend("ctr", &rising, Period::Week),
        "ctr rose by 1.2 a week over 26 weeks (slope 95% CI 0.9 to 1.5), p = 0.001."
    );
    let gaps = Trend {
        points: 24,
        slope_limits: None,
        p: 0.0001,
        ..rising
    };
    assert_eq!(
        text::trend(" cost\nper click ", &gaps, Period::Month),
        "cost per click rose by 1.2 a month over 26 months of which 24 have a value, p < 0.001."
    );
    let falling: Vec<f64> = (0..12).map(|day| 2e6 - 12_345.6 * f64::from(day)).collect();
    assert_eq!(
        text::trend("spend", &of(&falling), Period::Day),
        "spend fell by 12,346 a day over 12 days (slope 95% CI -12,346 to -12,346), p < 0.001."
    );
    assert_eq!(
        text::trend(
            "roas",
            &of(&[2.0, 3.0, 1.0, 2.0, 3.0, 1.0]),
            Period::Quarter
        ),
        "roas shows no trend over 6 quarters: 0 a quarter (slope 95% CI -0.5 to 1), p = 0.843."
    );
    assert_eq!(
        text::trend("", &of(&[5.5; 4]), Period::Day),
        "it was 5.5 all over 4 days."
    );
    let steps: Vec<f64> = (0..40).map(|x| -f64::from(u8::from(x >= 33))).collect();
    assert_eq!(
        text::trend("stock", &of(&steps), Period::Day),
        "stock tended downwards over 40 days, though most of the time it did not change \
         (slope 95% CI 0 to 0), p < 0.001."
    );
}

#[test]
fn anomalies() {
    let found = Anomaly {
        position: 0,
        value: 1_250.0,
        usual: 400.0,
        z: 8.314,
        reference: 8,
    };
    let weekdays = Reference::SameWeekday { weeks: 12 };
    assert_eq!(
        text::anomaly("spend", "on 2025-06-03", &found, weekdays, Period::Day),
        "spend was 1,250 on 2025-06-03, above the 400 that is usual: the median of the same weekday of \
         8 weeks before (robust z 8.31)."
    );
    let below = Anomaly {
        value: 0.012_341,
        usual: 0.5,
        z: -100.0,
        reference: 12,
        ..found
    };
    let trailing = Reference::Trailing { values: 12 };
    assert_eq!(
        text::anomaly("ctr", "in 2025-06", &below, trailing, Period::Month),
        "ctr was 0.01234 in 2025-06, below the 0.5 that is usual: the median of the 12 months before \
         (robust z beyond -100)."
    );
}

fn moved(previous: Option<f64>, current: Option<f64>, others: f64) -> Mover {
    let item = |name: &str, previous, current| Item {
        name: name.to_owned(),
        previous,
        current,
        history: Vec::new(),
    };
    let items = [
        item("Brand\tX", previous, current),
        item("others", Some(0.0), Some(others)),
    ];
    let found = movers(&items, 2).expect("movers");
    let mut all = found.risers.into_iter().chain(found.fallers);
    all.find(|mover| mover.name == "Brand\tX")
        .expect("it moved")
}

#[test]
fn moves() {
    let of = |previous, current, others| text::mover("spend", &moved(previous, current, others));
    assert_eq!(
        of(Some(400.0), Some(520.0), 80.0),
        "spend of Brand X rose from 400 to 520 (+120, +30%), 60% of the total's change."
    );
    assert_eq!(
        of(Some(520.0), Some(400.0), 200.0),
        "spend of Brand X fell from 520 to 400 (-120, -23.1%), against the total's change."
    );
    assert_eq!(
        of(Some(0.0), Some(400.0), -400.0),
        "spend of Brand X rose from 0 to 400 (+400)."
    );
    assert_eq!(
        of(None, Some(400.0), 0.0),
        "spend of Brand X is new with 400, 100% of the total's change."
    );
    assert_eq!(
        of(Some(400.0), None, 100.0),
        "spend of Brand X is gone, it was 400, 133% of the total's change."
    );
    let still = Mover {
        change: 0.0,
        share: Some(0.0),
        ..moved(Some(400.0), Some(400.5), 100.0)
    };
    assert_eq!(
        text::mover("spend", &still),
        "spend of Brand X was 400.5 as before."
    );
}

proptest! {
    #[test]
    fn any_numbers_make_one_sentence(
        values in prop::collection::vec(any::<f64>().prop_map(|value| value % 1e150), 4..20),
        name in "[x-z \n]{0,9}",
    ) {
        let found = of(&values.iter().map(|value| if value.is_nan() { 1.0 } else { *value }).collect::<Vec<_>>());
        let mut sentences = vec![text::trend(&name, &found, Period::Week)];
        let reference = Reference::Trailing { values: 8 };
        let z = found.s as f64;
        let anomaly = Anomaly { position: 0, value: found.slope, usual: found.intercept, z, reference: 8 };
        sentences.push(text::anomaly(&name, "today", &anomaly, reference, Period::Week));
        if found.slope != 0.0 {
            sentences.push(text::mover(&name, &moved(Some(found.slope), None, found.intercept)));
        }
        for sentence in sentences {
            for never in ["NaN", "inf", "  ", "\n", "-0 ", "--", "+-"] {
                prop_assert!(!sentence.contains(never), "{:?} in {}", never, sentence);
            }
            prop_assert!(sentence.ends_with('.') && !sentence.starts_with(' '));
        }
    }
}
