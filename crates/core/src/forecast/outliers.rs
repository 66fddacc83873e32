//! Days that stand out by far: a mistake in writing, or a job that does not come again. One of them would move a level,
//! and a weekday, for weeks.
//!
//! They are winsorised: lowered to a limit of three standard deviations above the median of the days of use, where the
//! deviation is 1.4826 times the median absolute deviation from it (Hampel 1974, "The influence curve and its role in
//! robust estimation"; on such a limit before smoothing Gelper, Fried and Croux 2010, "Robust forecasting with
//! exponential and Holt–Winters smoothing").
//!
//! But a new level, a trend or a busy weekday is none. So it takes a day of which there is no like: none other is half
//! as large, or only one in four weeks and more.

/// Of fewer days of use nobody can say which is the odd one.
const LEAST: usize = 8;

/// Standard deviations above the median.
const FAR: f64 = 3.0;

/// A normal distribution's standard deviation, in median absolute deviations.
const NORMAL: f64 = 1.4826;

pub fn lowered(history: &[f64]) -> Vec<f64> {
    let mut lowered = history.to_vec();
    let mut used: Vec<f64> = history.iter().copied().filter(|&q| q > 0.0).collect();
    if used.len() < LEAST {
        return lowered;
    }
    used.sort_by(f64::total_cmp);
    let middle = median(&used);
    let mut away: Vec<f64> = used.iter().map(|q| (q - middle).abs()).collect();
    away.sort_by(f64::total_cmp);
    let limit = middle + FAR * NORMAL * median(&away);
    let likes = if history.len() < super::FOUR_WEEKS {
        1
    } else {
        2
    };
    for quantity in &mut lowered {
        let alike = used.len() - used.partition_point(|other| *other < *quantity / 2.0);
        if *quantity > limit && alike <= likes {
            *quantity = limit;
        }
    }
    lowered
}

/// Of sorted ones.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        f64::midpoint(sorted[half - 1], sorted[half])
    }
}
