//! The day of one asset in two to four plain sentences, made from its numbers alone.
//!
//! The same numbers always make the same text: no clock, no locale, no floats. Percentages and points have
//! one decimal, minutes at most one, money two, all rounded half up.

use crate::oee::rounded;
use rust_decimal::Decimal;

/// Points that count as no difference; more than this never reads as 0.0.
const UNCHANGED: Decimal = Decimal::from_parts(5, 0, 0, false, 2);

/// What there is to say about one asset's day. Percentages are from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day<'a> {
    /// What people call the asset.
    pub name: &'a str,
    /// Percent; `None` when nothing was planned.
    pub oee: Option<Decimal>,
    /// Percent.
    pub oee_target: Decimal,
    /// Percent of the planned time in which it ran.
    pub availability: Option<Decimal>,
    /// Percent of the ideal speed.
    pub performance: Option<Decimal>,
    /// Percent of the units that were good.
    pub quality: Option<Decimal>,
    /// Planned busy time; none or less means that it was not planned to run.
    pub planned_minutes: Decimal,
    /// Of these, the minutes in which it stood.
    pub downtime_minutes: Decimal,
    /// Units made.
    pub total_count: i64,
    /// Of these, the good ones.
    pub good_count: i64,
    /// Of these, the ones thrown away.
    pub waste_count: i64,
    /// Units that were to be made; `None` without a target.
    pub target_output: Option<i64>,
    /// What downtime and waste cost, in `currency`.
    pub financial_loss: Decimal,
    /// Shown after the amount.
    pub currency: &'a str,
    /// Percent, of the day before.
    pub previous_oee: Option<Decimal>,
    /// Percent, the median of the last 7 days.
    pub median_7: Option<Decimal>,
    /// Minutes of planned time lost to availability, performance and quality.
    pub losses: [Decimal; 3],
    /// Inputs for which defaults stand in, as words or as names of fields.
    pub estimated: &'a [&'a str],
}

/// Two to four sentences: OEE and output against their targets; OEE against the days before; the largest
/// loss; what it cost and which inputs are defaults. What is not known is left out.
///
/// Of equal losses availability comes before performance, and performance before quality.
#[must_use]
pub fn summary(day: &Day) -> String {
    let sentences = if day.planned_minutes > Decimal::ZERO {
        [
            result(day),
            comparison(day),
            largest_loss(day),
            account(day),
        ]
    } else {
        let name = name(day);
        [
            Some(format!("{name} was not planned to run.")),
            Some(format!("It made {}.", output(day))),
            None,
            account(day),
        ]
    };
    sentences
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

/// OEE and output against their targets.
fn result(day: &Day) -> Option<String> {
    let name = name(day);
    let output = output(day);
    Some(match day.oee {
        _ if day.total_count <= 0 => {
            let planned = counted(minutes(day.planned_minutes), "planned minute");
            let oee = day.oee.map_or_else(String::new, |oee| {
                format!(
                    ": its OEE was {}, {}",
                    percent(oee),
                    against(oee, day.oee_target)
                )
            });
            format!("{name} made {output} in {planned}{oee}.")
        }
        Some(oee) => format!(
            "{name} reached an OEE of {}, {}, and made {output}.",
            percent(oee),
            against(oee, day.oee_target),
        ),
        None => format!("{name} made {output}, and its OEE is not known."),
    })
}

fn against(oee: Decimal, target: Decimal) -> String {
    let place = match apart(oee, target) {
        None => "on".to_owned(),
        Some((points, true)) => format!("{points} points above"),
        Some((points, false)) => format!("{points} points below"),
    };
    format!("{place} its target of {}", percent(target))
}

/// `700 units (600 good, target 800)`
fn output(day: &Day) -> String {
    let target = day.target_output.map(|target| format!("target {target}"));
    if day.total_count <= 0 {
        return match target {
            Some(target) => format!("nothing ({target})"),
            None => "nothing".to_owned(),
        };
    }
    let good = if day.good_count == day.total_count && day.total_count > 1 {
        "all good".to_owned()
    } else {
        format!("{} good", day.good_count)
    };
    let details: Vec<_> = [Some(good), target].into_iter().flatten().collect();
    format!("{} ({})", units(day.total_count), details.join(", "))
}

/// OEE against the days before.
fn comparison(day: &Day) -> Option<String> {
    let oee = day.oee?;
    let previous = day.previous_oee.map(|previous| match apart(oee, previous) {
        None => "unchanged from the day before".to_owned(),
        Some((points, true)) => format!("up {points} points on the day before"),
        Some((points, false)) => format!("down {points} points on the day before"),
    });
    // "Points" is said once.
    let said = previous
        .as_ref()
        .is_some_and(|text| text.contains("points"));
    let points_of = if said { "" } else { " points" };
    let median = day.median_7.map(|median| match apart(oee, median) {
        None => "level with the median of the last 7 days".to_owned(),
        Some((points, true)) => format!("{points}{points_of} above the median of the last 7 days"),
        Some((points, false)) => format!("{points}{points_of} below the median of the last 7 days"),
    });
    let parts: Vec<_> = [previous, median].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("OEE was {}.", parts.join(", ")))
}

/// The largest of the three losses, with the number that people know it by.
fn largest_loss(day: &Day) -> Option<String> {
    let [availability, performance, quality] = day.losses;
    let waste = day.waste_count > 0;
    // Time that rounds to nothing is no loss to speak of, but a unit thrown away is.
    let shows = |lost: Decimal| minutes(lost) > Decimal::ZERO;
    let candidates = [
        (availability, shows(availability)),
        (performance, shows(performance)),
        (
            quality,
            shows(quality) || (waste && quality > Decimal::ZERO),
        ),
    ];
    let mut largest: Option<(usize, Decimal)> = None;
    for (index, (lost, counts)) in candidates.into_iter().enumerate() {
        if counts && largest.is_none_or(|(_, most)| lost > most) {
            largest = Some((index, lost));
        }
    }
    let Some((index, lost)) = largest else {
        // What cost money was a loss all the same, and so was a day without output.
        return (day.total_count > 0 && cost(day) == Decimal::ZERO)
            .then(|| "There were no losses.".to_owned());
    };
    let lost = counted(minutes(lost), "minute");
    let (what, factor, value) = match index {
        0 => {
            let down = minutes(day.downtime_minutes);
            let planned = counted(minutes(day.planned_minutes), "planned minute");
            (
                format!("downtime: {down} of {planned}"),
                "availability",
                day.availability,
            )
        }
        1 if day.total_count <= 0 => (
            format!("running without output: {lost}"),
            "performance",
            day.performance,
        ),
        1 => (
            format!("slow running: {lost} lost to speed and small stops"),
            "performance",
            day.performance,
        ),
        _ if waste => (
            format!("waste: {} of {}", day.waste_count, units(day.total_count)),
            "quality",
            day.quality,
        ),
        _ => (
            format!("quality: {lost} spent on units that were not good"),
            "quality",
            day.quality,
        ),
    };
    let factor = value.map_or_else(String::new, |value| {
        format!(" ({factor} {})", percent(value))
    });
    Some(format!("The largest loss was {what}{factor}."))
}

/// What the losses cost, and which inputs are defaults.
fn account(day: &Day) -> Option<String> {
    let cost = cost(day);
    let mut parts = Vec::new();
    if cost > Decimal::ZERO {
        let amount = format!("The losses cost {cost:.2} {}", one_line(day.currency));
        parts.push(amount.trim_end().to_owned());
    }
    let inputs: Vec<_> = day
        .estimated
        .iter()
        .map(|input| one_line(&input.replace('_', " ")))
        .filter(|input| !input.is_empty())
        .collect();
    if let Some((last, others)) = inputs.split_last() {
        let defaults = if parts.is_empty() {
            "Defaults"
        } else {
            "defaults"
        };
        parts.push(if others.is_empty() {
            format!("{defaults} stand in for {last}")
        } else {
            format!("{defaults} stand in for {} and {last}", others.join(", "))
        });
    }
    (!parts.is_empty()).then(|| format!("{}.", parts.join("; ")))
}

/// To the cent; a gain is no cost.
fn cost(day: &Day) -> Decimal {
    rounded(day.financial_loss, 2).max(Decimal::ZERO)
}

/// How many points lie between two percentages, and whether the first is the higher one; `None` if they are
/// the same for all that can be seen.
fn apart(value: Decimal, other: Decimal) -> Option<(String, bool)> {
    let difference = value.saturating_sub(other);
    let up = difference > Decimal::ZERO;
    let difference = difference.abs();
    (difference > UNCHANGED).then(|| (format!("{:.1}", rounded(difference, 1)), up))
}

fn percent(value: Decimal) -> String {
    let value = rounded(value, 1);
    // A negative zero would show its sign.
    let value = if value.is_zero() {
        Decimal::ZERO
    } else {
        value
    };
    format!("{value:.1}%")
}

/// One decimal at most.
fn minutes(value: Decimal) -> Decimal {
    rounded(value, 1).normalize()
}

fn units(count: i64) -> String {
    counted(count.into(), "unit")
}

fn counted(count: Decimal, noun: &str) -> String {
    let plural = if count == Decimal::ONE { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn name(day: &Day) -> String {
    let name = one_line(day.name);
    if name.is_empty() {
        "This asset".to_owned()
    } else {
        name
    }
}

/// Without line breaks or more than one blank in a row.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rust_decimal::dec;

    /// 480 planned minutes, 80 down, half a minute a unit, 700 made, 100 of them waste.
    fn press() -> Day<'static> {
        Day {
            name: "Press 1",
            oee: Some(dec!(62.5)),
            oee_target: dec!(85),
            availability: Some(dec!(83.333333333333)),
            performance: Some(dec!(87.5)),
            quality: Some(dec!(85.714285714286)),
            planned_minutes: dec!(480),
            downtime_minutes: dec!(80),
            total_count: 700,
            good_count: 600,
            waste_count: 100,
            target_output: Some(800),
            financial_loss: dec!(1133.333333),
            currency: "EUR",
            previous_oee: Some(dec!(59.4)),
            median_7: Some(dec!(64.5)),
            losses: [dec!(80), dec!(50), dec!(50)],
            estimated: &[],
        }
    }

    #[test]
    fn a_day() {
        assert_eq!(
            summary(&press()),
            "Press 1 reached an OEE of 62.5%, 22.5 points below its target of 85.0%, and made 700 units \
             (600 good, target 800). OEE was up 3.1 points on the day before, 2.0 below the median of the \
             last 7 days. The largest loss was downtime: 80 of 480 planned minutes (availability 83.3%). \
             The losses cost 1133.33 EUR."
        );
    }

    #[test]
    fn a_first_day_with_defaults() {
        let day = Day {
            previous_oee: None,
            median_7: None,
            target_output: None,
            losses: [dec!(40), dec!(50.04), dec!(50)],
            estimated: &["planned_minutes", "ideal rate", "hourly_rate"],
            ..press()
        };
        assert_eq!(
            summary(&day),
            "Press 1 reached an OEE of 62.5%, 22.5 points below its target of 85.0%, and made 700 units \
             (600 good). The largest loss was slow running: 50 minutes lost to speed and small stops \
             (performance 87.5%). The losses cost 1133.33 EUR; defaults stand in for planned minutes, \
             ideal rate and hourly rate."
        );
    }

    #[test]
    fn nothing_planned() {
        let day = Day {
            oee: None,
            availability: None,
            performance: None,
            quality: None,
            planned_minutes: dec!(0),
            downtime_minutes: dec!(0),
            total_count: 0,
            good_count: 0,
            waste_count: 0,
            target_output: None,
            financial_loss: dec!(0),
            losses: [dec!(0); 3],
            ..press()
        };
        assert_eq!(
            summary(&day),
            "Press 1 was not planned to run. It made nothing."
        );
        let day = Day {
            total_count: 1,
            good_count: 1,
            estimated: &["cost per unit"],
            ..day
        };
        assert_eq!(
            summary(&day),
            "Press 1 was not planned to run. It made 1 unit (1 good). Defaults stand in for cost per unit."
        );
    }

    #[test]
    fn planned_but_nothing_made() {
        let day = Day {
            oee: Some(dec!(0)),
            availability: Some(dec!(0)),
            performance: None,
            quality: None,
            downtime_minutes: dec!(480),
            total_count: 0,
            good_count: 0,
            waste_count: 0,
            median_7: None,
            losses: [dec!(480), dec!(0), dec!(0)],
            ..press()
        };
        assert_eq!(
            summary(&day),
            "Press 1 made nothing (target 800) in 480 planned minutes: its OEE was 0.0%, 85.0 points below \
             its target of 85.0%. OEE was down 59.4 points on the day before. The largest loss was \
             downtime: 480 of 480 planned minutes (availability 0.0%). The losses cost 1133.33 EUR."
        );
        let day = Day {
            oee: None,
            availability: None,
            planned_minutes: dec!(1),
            target_output: None,
            financial_loss: dec!(0),
            losses: [dec!(0), dec!(1), dec!(0)],
            ..day
        };
        assert_eq!(
            summary(&day),
            "Press 1 made nothing in 1 planned minute. \
             The largest loss was running without output: 1 minute."
        );
    }

    #[test]
    fn no_losses_and_no_change() {
        let day = Day {
            oee: Some(dec!(100)),
            oee_target: dec!(100.05),
            total_count: 960,
            good_count: 960,
            waste_count: 0,
            financial_loss: dec!(0.004),
            previous_oee: Some(dec!(99.95)),
            median_7: Some(dec!(99.94)),
            losses: [dec!(0), dec!(0.04), dec!(-0.0)],
            ..press()
        };
        assert_eq!(
            summary(&day),
            "Press 1 reached an OEE of 100.0%, on its target of 100.1%, and made 960 units (all good, \
             target 800). OEE was unchanged from the day before, 0.1 points above the median of the last 7 \
             days. There were no losses."
        );
        let day = Day {
            oee: Some(dec!(90)),
            oee_target: dec!(85),
            previous_oee: None,
            median_7: Some(dec!(90)),
            financial_loss: dec!(0.005),
            ..day
        };
        assert_eq!(
            summary(&day),
            "Press 1 reached an OEE of 90.0%, 5.0 points above its target of 85.0%, and made 960 units (all \
             good, target 800). OEE was level with the median of the last 7 days. The losses cost 0.01 EUR."
        );
    }

    #[test]
    fn of_equal_losses_the_first_is_named() {
        let named = |losses: [i64; 3], waste_count| {
            let losses = losses.map(Decimal::from);
            largest_loss(&Day {
                losses,
                waste_count,
                ..press()
            })
            .unwrap()
        };
        assert!(named([5, 5, 5], 1).contains("downtime: 80 of 480 planned minutes"));
        assert!(named([4, 5, 5], 1).contains("slow running: 5 minutes"));
        assert_eq!(
            named([4, 4, 5], 100),
            "The largest loss was waste: 100 of 700 units (quality 85.7%)."
        );
        assert_eq!(
            named([0, 0, 1], 0),
            "The largest loss was quality: 1 minute spent on units that were not good (quality 85.7%)."
        );
        // One unit of many thrown away took hardly any time.
        let day = Day {
            losses: [dec!(0.01), dec!(0), dec!(0.001)],
            waste_count: 1,
            quality: None,
            ..press()
        };
        assert_eq!(
            largest_loss(&day).unwrap(),
            "The largest loss was waste: 1 of 700 units."
        );
    }

    #[test]
    fn names_stay_on_one_line() {
        let day = Day {
            name: " Press \n 1 ",
            oee: None,
            currency: "  ",
            previous_oee: Some(dec!(1)),
            target_output: None,
            estimated: &["", "_"],
            ..press()
        };
        assert_eq!(
            summary(&day),
            "Press 1 made 700 units (600 good), and its OEE is not known. The largest loss was downtime: \
             80 of 480 planned minutes (availability 83.3%). The losses cost 1133.33."
        );
        assert!(summary(&Day { name: "", ..day }).starts_with("This asset made"));
    }

    fn any_decimal() -> impl Strategy<Value = Decimal> {
        prop_oneof![
            (-100_i64..2_000).prop_map(|n| Decimal::new(n, 2)),
            (any::<i64>(), 0_u32..=18).prop_map(|(n, scale)| Decimal::new(n, scale)),
            (any::<(u32, u32, u32)>(), any::<bool>(), 0_u32..=28).prop_map(
                |((lo, mid, hi), sign, scale)| Decimal::from_parts(lo, mid, hi, sign, scale)
            ),
            prop::sample::select(vec![
                Decimal::MAX,
                Decimal::MIN,
                dec!(0.05),
                dec!(-0.04),
                Decimal::from_parts(0, 0, 0, true, 3),
            ]),
        ]
    }

    fn any_count() -> impl Strategy<Value = i64> {
        prop_oneof![-1_i64..4, any::<i64>()]
    }

    proptest! {
        #[test]
        fn any_numbers_make_sentences(
            name in "[A-Za-z0-9 \t\n]{0,12}",
            currency in "[A-Z ]{0,4}",
            ratios in prop::array::uniform6(prop::option::of(any_decimal())),
            amounts in prop::array::uniform4(any_decimal()),
            losses in prop::array::uniform3(any_decimal()),
            counts in prop::array::uniform3(any_count()),
            target_output in prop::option::of(any_count()),
            estimated in prop::collection::vec("[a-z_ ]{0,6}", 0..4),
        ) {
            prop_assume!(!name.contains("NaN"));
            let [oee, availability, performance, quality, previous_oee, median_7] = ratios;
            let [oee_target, planned_minutes, downtime_minutes, financial_loss] = amounts;
            let [total_count, good_count, waste_count] = counts;
            let estimated: Vec<&str> = estimated.iter().map(String::as_str).collect();
            let day = Day {
                name: &name,
                oee,
                oee_target,
                availability,
                performance,
                quality,
                planned_minutes,
                downtime_minutes,
                total_count,
                good_count,
                waste_count,
                target_output,
                financial_loss,
                currency: &currency,
                previous_oee,
                median_7,
                losses,
                estimated: &estimated,
            };
            let text = summary(&day);
            for never in ["NaN", "-0.0", "  ", "\n", "\t", " .", "..", " ,", "( "] {
                prop_assert!(!text.contains(never), "{:?} in {}", never, text);
            }
            prop_assert!(!text.starts_with(' ') && text.ends_with('.'));
            let sentences = text.matches(". ").count() + 1;
            prop_assert!((1..=4).contains(&sentences), "{}", text);
            prop_assert_eq!(summary(&day), text);
        }

        /// As the arithmetic of OEE makes them, there are always two sentences at least.
        #[test]
        fn consistent_days_have_two_to_four(
            planned in 0_i64..1_440, down in 0_i64..1_440, total in 0_i64..1_000, good in 0_i64..1_000,
            previous_oee in prop::option::of(any_decimal()),
        ) {
            let (down, good) = (down.min(planned), good.min(total));
            let waste = total - good;
            let oee = (planned > 0).then(|| Decimal::from(50));
            let losses = [down, planned - down, waste.min(1)].map(Decimal::from);
            let day = Day {
                oee,
                planned_minutes: planned.into(),
                downtime_minutes: down.into(),
                total_count: total,
                good_count: good,
                waste_count: waste,
                financial_loss: (down + waste).into(),
                previous_oee,
                losses,
                ..press()
            };
            let text = summary(&day);
            let sentences = text.matches(". ").count() + 1;
            prop_assert!((2..=4).contains(&sentences), "{}", text);
        }
    }
}
