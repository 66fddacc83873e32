//! Croston's method (1972) with the correction of Syntetos and Boylan (2005, "The accuracy of intermittent demand
//! estimates"): how much is used when anything is, and after how many days the next time, are smoothed each on its
//! own, and only when something was used. Their ratio, which is too high on average, is lowered by half the
//! smoothing constant. All days ahead are alike.
//!
//! Croston's intervals only change when something is used, so what is used no more would be forecast for ever. The
//! days since the last use are an interval that is not over: where it is longer than the smoothed one already, it
//! takes its place (the problem is that of Teunter, Syntetos and Babai 2011, "Intermittent demand: linking forecasting
//! to inventory obsolescence"; the remedy is simpler than theirs, and leaves alone what is still in use).

use super::Expected;

/// As Syntetos and Boylan advise, between 0.05 and 0.2.
const ALPHA: f64 = 0.1;

/// `history` begins with use.
pub fn expected(history: &[f64], horizon: usize) -> Expected {
    let used = history.iter().filter(|&&quantity| quantity > 0.0).count();
    let mut size = history.first().copied().unwrap_or_default();
    let mut interval = history.len() as f64 / used as f64;
    let mut since = 1.0;
    let mut squares = 0.0;
    for &quantity in &history[1..] {
        squares += (quantity - per_day(size, interval.max(since))).powi(2);
        if quantity > 0.0 {
            size += ALPHA * (quantity - size);
            interval += ALPHA * (since - interval);
            since = 1.0;
        } else {
            since += 1.0;
        }
    }
    let deviation = (squares / (history.len() - 1) as f64).sqrt();
    vec![(per_day(size, interval.max(since)), deviation); horizon]
}

fn per_day(size: f64, interval: f64) -> f64 {
    (1.0 - ALPHA / 2.0) * size / interval
}
