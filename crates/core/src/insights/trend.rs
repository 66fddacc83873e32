//! Whether a series goes up or down, and how fast.
//!
//! - How fast: the median of the slopes of all pairs of points (Theil 1950; Sen 1968 for points that share a
//!   position). Up to 29 % of the points may be anything without carrying it away.
//! - Whether at all: the test of Mann (1945) and Kendall (1975), with their corrections for ties and for
//!   continuity, two-sided; exact for up to ten points without ties.
//! - Its 95 % limits: Sen's, the slopes between which the same test sees nothing left once they are taken
//!   away from the series.
//!
//! The test takes each value to be independent of the one before. Where high values follow high ones for
//! other reasons than a trend, p is too small; nothing here corrects for that. A season counts as a trend
//! if the series holds half of one: give whole years, or one value a year.

use super::confidence::Confidence;
use super::kendall::Kendall;
use super::robust::{median, ranked};
use super::{Refused, usable};

/// With fewer points than this there are too few orders for any to be rare.
pub const LEAST_POINTS: usize = 4;

/// More would make more than two million pairs.
pub const MOST_POINTS: usize = 2_000;

/// Where p is above this a series is flat, unless the caller says otherwise.
pub const ALPHA: f64 = 0.05;

/// A value and where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// In days, or as the number of the period: the slope is per one of it.
    pub position: f64,
    /// Not finite where there is none.
    pub value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Rising,
    Falling,
    /// Nothing that could not be chance. This does not show that there is no trend.
    Flat,
}

impl Direction {
    /// The word that the database stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rising => "rising",
            Self::Falling => "falling",
            Self::Flat => "flat",
        }
    }
}

/// How a series goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// How many have a value.
    pub points: usize,
    /// The first and the last position that have one.
    pub positions: (f64, f64),
    /// By how much the value changes from one position to the next. It may be zero where the direction is
    /// not flat, if more than half of the pairs are ties.
    pub slope: f64,
    /// The median of the values less slope · position: where the line stands at position zero.
    pub intercept: f64,
    /// Between these the slope lies with 95 % confidence. `None` where the points are too few, or all the
    /// same.
    pub slope_limits: Option<(f64, f64)>,
    /// Mann and Kendall's S: pairs of points that rise, less those that fall.
    pub s: i64,
    /// The variance of S in a series without trend.
    pub s_variance: f64,
    /// Kendall's tau-b, from −1 to 1. `None` where all values are the same.
    pub tau: Option<f64>,
    /// The chance that a series without trend shows as much of one, up or down.
    pub p: f64,
    pub direction: Direction,
}

impl Trend {
    /// 1 − p, rounded down, 0.99 at most: so much of the series without any trend, of as many points, look
    /// less like one than this does. For a flat series it is small, and says that there is little to go by,
    /// not that the series is surely flat.
    #[must_use]
    pub fn confidence(&self) -> Confidence {
        Confidence::of(1.0 - self.p)
    }
}

/// The trend of points in any order. Those without a value are skipped. Several may share a position, but not
/// all of them.
///
/// The direction is flat where p is above `alpha`; [`ALPHA`] is usual.
///
/// # Errors
/// [`Refused::TooFew`] and [`Refused::TooMany`] where fewer than [`LEAST_POINTS`] or more than
/// [`MOST_POINTS`] have a value; [`Refused::Argument`] for a position that is not finite or all there are, for
/// figures beyond [`LARGEST`](super::LARGEST), and for an `alpha` that is not between 0 and 1.
pub fn trend(points: &[Point], alpha: f64) -> Result<Trend, Refused> {
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(Refused::argument(
            "alpha",
            "must lie between 0 and 1",
            alpha,
        ));
    }
    let points = in_order(points)?;
    let kendall = Kendall::of(&points);
    let mut slopes = slopes(&points);
    let too_steep = || {
        let problem = "rise or fall too steeply to work with";
        Refused::argument("values", problem, "a slope beyond 1e308")
    };
    let Some(slope) = median(&mut slopes) else {
        let position = points[0].0;
        return Err(Refused::argument("positions", "are all the same", position));
    };
    let slope_limits = limits(&mut slopes, &kendall);
    let (lower, upper) = slope_limits.unwrap_or_default();
    let mut rests: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
    let intercept = median(&mut rests)
        .filter(|intercept| {
            [slope, lower, upper, *intercept]
                .iter()
                .all(|f| f.is_finite())
        })
        .ok_or_else(too_steep)?;
    let p = kendall.p();
    Ok(Trend {
        points: points.len(),
        positions: (points[0].0, points[points.len() - 1].0),
        slope,
        intercept,
        slope_limits,
        s: kendall.s,
        s_variance: kendall.variance,
        tau: kendall.tau,
        p,
        direction: match kendall.s {
            1.. if p <= alpha => Direction::Rising,
            ..=-1 if p <= alpha => Direction::Falling,
            _ => Direction::Flat,
        },
    })
}

/// Those that have a value as (position, value), by position.
fn in_order(points: &[Point]) -> Result<Vec<(f64, f64)>, Refused> {
    let mut order = Vec::with_capacity(points.len().min(MOST_POINTS));
    let mut found = 0;
    for point in points {
        let position = usable("position", point.position)?
            .ok_or_else(|| Refused::argument("position", "is not finite", point.position))?;
        if let Some(value) = usable("value", point.value)? {
            found += 1;
            if found <= MOST_POINTS {
                order.push((position, value));
            }
        }
    }
    if found < LEAST_POINTS {
        let least = LEAST_POINTS;
        return Err(Refused::TooFew { found, least });
    }
    if found > MOST_POINTS {
        let most = MOST_POINTS;
        return Err(Refused::TooMany { found, most });
    }
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    Ok(order)
}

/// Of each pair of points at two positions.
fn slopes(points: &[(f64, f64)]) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (index, earlier) in points.iter().enumerate() {
        slopes.extend(
            points[index + 1..]
                .iter()
                .filter(|later| later.0 > earlier.0)
                .map(|later| (later.1 - earlier.1) / (later.0 - earlier.0)),
        );
    }
    slopes
}

/// Taking a slope away from the series turns each pair of a smaller slope into one that falls, or rises if
/// it is larger: what the test still finds follows from the slope's rank alone. The limits are the last
/// ranks, from either end, at which it finds nothing.
fn limits(slopes: &mut [f64], kendall: &Kendall) -> Option<(f64, f64)> {
    let spare = slopes.len() as f64 - kendall.critical()?;
    if spare < 0.0 {
        return None;
    }
    let rank = (spare / 2.0).floor() as usize;
    let lower = ranked(slopes, rank);
    let upper = ranked(slopes, slopes.len() - 1 - rank);
    Some((lower, upper))
}
