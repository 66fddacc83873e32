//! The mean of the few days that there are.

use super::Expected;

pub fn expected(history: &[f64], horizon: usize) -> Expected {
    let days = history.len() as f64;
    let mean = history.iter().sum::<f64>() / days;
    // Of a single day nothing is known of how days differ: counted things that come one by one vary by their mean
    // (Poisson). Otherwise the days' own variance, and that of their mean.
    let variance = if history.len() == 1 {
        mean
    } else {
        let squares: f64 = history
            .iter()
            .map(|quantity| (quantity - mean).powi(2))
            .sum();
        squares / (days - 1.0) * (1.0 + 1.0 / days)
    };
    vec![(mean, variance.sqrt()); horizon]
}
