//! How many of a part will be used, day by day.
//!
//! Which method depends on the history, which begins with the first day on which anything was used:
//!
//! - with less than two weeks of it, the [mean];
//! - where days of use are far apart, the approximation of Syntetos and Boylan ([intermittent]): the average interval
//!   between them is at least 1.32 days, where it becomes better than smoothing (Syntetos, Boylan and Croston 2005).
//!   Weekdays on which nothing has ever been used, in four weeks or more, are days off and do not count as far apart;
//! - otherwise exponential [smoothing] with a damped trend, and a season of a week with four weeks or more.
//!
//! Single days that stand out by far are lowered before that ([outliers]).
//!
//! Limits are those of 95 % of the days if errors are as large as they were so far, one day ahead, and normal.
//! Nothing is below zero. No day is forecast at more than twice the busiest so far: a guard, not a model.

mod intermittent;
mod mean;
mod outliers;
mod smoothing;
#[cfg(test)]
mod tests;

/// More days of history are not looked at.
pub const MOST_DAYS: usize = 3_660;

/// And not further ahead.
pub const MOST_STEPS: usize = 366;

/// A day's use is less; squares of it are numbers still.
pub const LARGEST: f64 = 1e15;

const WEEK: usize = 7;
/// A history for a trend, and one for the days of a week.
const TWO_WEEKS: usize = 2 * WEEK;
const FOUR_WEEKS: usize = 4 * WEEK;

/// Average days from one use to the next, from which on use is intermittent.
const FAR_APART: f64 = 1.32;

/// Of the normal distribution: 95 % are within so many standard deviations.
const Z: f64 = 1.959_963_984_540_054;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Nothing was ever used.
    None,
    Mean,
    SyntetosBoylan,
    DampedTrend,
    HoltWinters,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mean => "mean",
            Self::SyntetosBoylan => "syntetos-boylan",
            Self::DampedTrend => "damped-trend",
            Self::HoltWinters => "holt-winters",
        }
    }
}

/// What will be used on one day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Day {
    pub quantity: f64,
    pub low: f64,
    pub high: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    pub method: Method,
    /// The days after the history.
    pub days: Vec<Day>,
}

/// What a method makes of a history: the expected use and the standard deviation of its error, for each day ahead.
type Expected = Vec<(f64, f64)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a day's quantity is out of its range")]
    Quantity { day: usize },
    #[error("too many days of history")]
    TooLong { days: usize },
    #[error("the horizon is out of its range")]
    Horizon { days: usize },
}

/// From what was used on each day, in order, days without use included.
///
/// # Errors
/// A quantity that is negative, larger than [`LARGEST`] or no number; a history or a horizon that is too long.
pub fn forecast(history: &[f64], horizon: usize) -> Result<Forecast, Refused> {
    if history.len() > MOST_DAYS {
        return Err(Refused::TooLong {
            days: history.len(),
        });
    }
    if !(1..=MOST_STEPS).contains(&horizon) {
        return Err(Refused::Horizon { days: horizon });
    }
    if let Some(day) = history.iter().position(|q| !(0.0..=LARGEST).contains(q)) {
        return Err(Refused::Quantity { day });
    }
    let first = history.iter().position(|&quantity| quantity > 0.0);
    let history = &outliers::lowered(&history[first.unwrap_or(history.len())..])[..];
    let method = choose(history);
    let expected = match method {
        Method::None => vec![(0.0, 0.0); horizon],
        Method::Mean => mean::expected(history, horizon),
        Method::SyntetosBoylan => intermittent::expected(history, horizon),
        Method::DampedTrend => smoothing::expected(history, 1, horizon),
        Method::HoltWinters => smoothing::expected(history, WEEK, horizon),
    };
    let most = 2.0 * history.iter().copied().fold(0.0, f64::max);
    let days = expected
        .into_iter()
        .map(|(quantity, deviation)| {
            let quantity = quantity.clamp(0.0, most);
            Day {
                quantity,
                low: (quantity - Z * deviation).max(0.0),
                high: quantity + Z * deviation,
            }
        })
        .collect();
    Ok(Forecast { method, days })
}

/// `history` begins with use.
fn choose(history: &[f64]) -> Method {
    match history.len() {
        0 => Method::None,
        1..TWO_WEEKS => Method::Mean,
        _ if is_intermittent(history) => Method::SyntetosBoylan,
        TWO_WEEKS..FOUR_WEEKS => Method::DampedTrend,
        _ => Method::HoltWinters,
    }
}

fn is_intermittent(history: &[f64]) -> bool {
    let is_off = |weekday: usize| {
        history.len() >= FOUR_WEEKS
            && history[weekday..]
                .iter()
                .step_by(WEEK)
                .all(|&quantity| quantity == 0.0)
    };
    let off: Vec<bool> = (0..WEEK).map(is_off).collect();
    let open = (0..history.len()).filter(|day| !off[day % WEEK]).count();
    let used = history.iter().filter(|&&quantity| quantity > 0.0).count();
    open as f64 / used as f64 >= FAR_APART
}
