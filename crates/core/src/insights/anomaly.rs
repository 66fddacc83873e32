//! Values that are out of the ordinary, judged by what was usual before them.
//!
//! Each value is compared with a reference set of earlier ones by the modified z-score of Iglewicz and
//! Hoaglin (1993): with the median of the reference and MAD, the median of the distances from it,
//!
//! ```text
//! z = 0.6745 · (value − median) / MAD
//! z = (value − median) / (1.253314 · mean distance)    where MAD is zero
//! ```
//!
//! In a series that is one value most of the time, MAD is zero, and any other value is likely to stand out.
//! Either denominator estimates the standard deviation of a normal distribution, without being carried away
//! by wild values in the reference: what was reported once stays in the references of later values.
//!
//! A small reference knows little of what is usual. Of ordinary (normal) values, so many get a score beyond
//! 3.5 by chance alone (simulated), while of values five standard deviations out about 87 % do, whatever the
//! size:
//!
//! | values in the reference | 4 | 6 | 8 | 10 | 12 | 16 | 26 | 52 |
//! |---|---|---|---|---|---|---|---|---|
//! | false alarms | 14 % | 7.5 % | 4.7 % | 3.3 % | 2.4 % | 1.5 % | 0.7 % | 0.2 % |
//!
//! Hence [`LEAST_REFERENCE`]: with fewer than eight values, false alarms would be more than one in twenty.

use super::confidence::Confidence;
use super::robust::usual;
use super::{NEGLIGIBLE, Refused, normal, usable};

/// As many values a reference should have at least, unless the caller says otherwise: see the table above.
pub const LEAST_REFERENCE: usize = 8;

/// No reference may be smaller: of three values, the median of the distances is the smaller of two.
pub const SMALLEST_REFERENCE: usize = 4;

/// No reference may be larger: each value costs as much as its reference is large.
pub const LARGEST_REFERENCE: usize = 366;

/// Scores beyond this are out of the ordinary, as Iglewicz and Hoaglin recommend, unless the caller says
/// otherwise.
pub const THRESHOLD: f64 = 3.5;

/// Scores end here. So far out one says no more than another, and where the reference does not vary at all
/// any other value would get an infinite one.
pub const Z_BOUND: f64 = 100.0;

/// What a median of distances has to be multiplied with to be a standard deviation, inverted.
const MEDIAN_DISTANCE: f64 = 0.6745;

/// The same for a mean distance, not inverted: √(π/2).
const MEAN_DISTANCE: f64 = 1.253_314;

/// A value and when it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The number of the day or of the period, counted from anywhere.
    pub position: i64,
    /// Not finite where there is none.
    pub value: f64,
}

/// Which earlier values a value is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// For a series of days: the same day of so many weeks before. Where a day has no value the reference is
    /// smaller; it does not reach back further.
    SameWeekday { weeks: usize },
    /// So many values before, however far back they lie.
    Trailing { values: usize },
}

/// What to compare, and what to report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    pub reference: Reference,
    /// Values whose reference is smaller are not judged.
    pub least_reference: usize,
    /// Scores beyond this are reported.
    pub threshold: f64,
}

impl Rule {
    /// With [`LEAST_REFERENCE`] and [`THRESHOLD`].
    #[must_use]
    pub fn of(reference: Reference) -> Self {
        Self {
            reference,
            least_reference: LEAST_REFERENCE,
            threshold: THRESHOLD,
        }
    }

    fn check(&self) -> Result<(), Refused> {
        let (field, size) = match self.reference {
            Reference::SameWeekday { weeks } => ("weeks", weeks),
            Reference::Trailing { values } => ("values", values),
        };
        if !(SMALLEST_REFERENCE..=LARGEST_REFERENCE).contains(&size) {
            return Err(Refused::argument(field, "must be 4 to 366", size));
        }
        let least = self.least_reference;
        if !(SMALLEST_REFERENCE..=size).contains(&least) {
            let problem = "must be 4 at least, and no more than the reference can have";
            return Err(Refused::argument("least_reference", problem, least));
        }
        if !(self.threshold > 0.0 && self.threshold < Z_BOUND) {
            let problem = "must lie between 0 and 100";
            return Err(Refused::argument("threshold", problem, self.threshold));
        }
        Ok(())
    }
}

/// A value out of the ordinary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anomaly {
    pub position: i64,
    pub value: f64,
    /// The median of the reference.
    pub usual: f64,
    /// The score, at most [`Z_BOUND`] to either side; negative below what is usual.
    pub z: f64,
    /// How many values the reference has.
    pub reference: usize,
}

impl Anomaly {
    /// The part of a normal distribution that lies closer to its middle than `z`, times m / (m + 1) for a
    /// reference of m values; rounded down, 0.99 at most.
    ///
    /// The second factor needs no distribution: of m + 1 values that could as well have come in any other
    /// order, one is the farthest out, so m earlier ones cannot show that a value is rarer than that.
    #[must_use]
    pub fn confidence(&self) -> Confidence {
        let size = self.reference as f64;
        Confidence::of(normal::within(self.z) * size / (size + 1.0))
    }
}

/// What became of a series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Screening {
    /// How many values were compared with a reference.
    pub judged: usize,
    /// How many have too few values before them.
    pub unjudged: usize,
    /// How many have no value.
    pub missing: usize,
    /// What is out of the ordinary, by position.
    pub anomalies: Vec<Anomaly>,
}

/// Compares each value with its reference. Observations may come in any order, one for each position.
///
/// # Errors
/// [`Refused::Argument`] for a rule with a reference of fewer than [`SMALLEST_REFERENCE`] or more than
/// [`LARGEST_REFERENCE`] values, or with a threshold that is not between 0 and [`Z_BOUND`]; for two values at
/// one position; for values beyond [`LARGEST`](super::LARGEST).
pub fn anomalies(observations: &[Observation], rule: &Rule) -> Result<Screening, Refused> {
    rule.check()?;
    let series = in_order(observations)?;
    let mut screening = Screening {
        missing: observations.len() - series.len(),
        ..Screening::default()
    };
    let mut reference = Vec::new();
    for (index, &(position, value)) in series.iter().enumerate() {
        reference.clear();
        collect(&series[..index], position, rule.reference, &mut reference);
        let size = reference.len();
        if size < rule.least_reference {
            screening.unjudged += 1;
            continue;
        }
        screening.judged += 1;
        let Some((usual, z)) = score(value, &mut reference) else {
            continue;
        };
        if z.abs() > rule.threshold {
            screening.anomalies.push(Anomaly {
                position,
                value,
                usual,
                z,
                reference: size,
            });
        }
    }
    Ok(screening)
}

/// Those that have a value as (position, value), by position.
fn in_order(observations: &[Observation]) -> Result<Vec<(i64, f64)>, Refused> {
    let mut series = Vec::with_capacity(observations.len());
    for observation in observations {
        if let Some(value) = usable("value", observation.value)? {
            series.push((observation.position, value));
        }
    }
    series.sort_unstable_by_key(|&(position, _)| position);
    if let Some(twice) = series.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let problem = "has two values";
        return Err(Refused::argument("position", problem, twice[0].0));
    }
    Ok(series)
}

fn collect(before: &[(i64, f64)], position: i64, reference: Reference, into: &mut Vec<f64>) {
    match reference {
        Reference::Trailing { values } => {
            let from = before.len().saturating_sub(values);
            into.extend(before[from..].iter().map(|&(_, value)| value));
        }
        Reference::SameWeekday { weeks } => {
            let mut before = before;
            let days = (1..=weeks as i64).map_while(|week| position.checked_sub(7 * week));
            for day in days {
                let Ok(index) = before.binary_search_by_key(&day, |&(day, _)| day) else {
                    continue;
                };
                into.push(before[index].1);
                before = &before[..index];
            }
        }
    }
}

/// What is usual in a reference, and the score of a value against it. `None` for an empty reference.
fn score(value: f64, reference: &mut [f64]) -> Option<(f64, f64)> {
    let usual = usual(reference)?;
    let distance = value - usual.median;
    let negligible = NEGLIGIBLE * usual.median.abs();
    let z = if distance.abs() <= negligible {
        0.0
    } else if usual.median_distance > negligible {
        MEDIAN_DISTANCE * distance / usual.median_distance
    } else {
        // Nothing divided by nothing was dealt with above; what is left is infinite, and bounded.
        distance / (MEAN_DISTANCE * usual.mean_distance)
    };
    Some((usual.median, z.clamp(-Z_BOUND, Z_BOUND)))
}
