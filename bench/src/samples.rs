//! Durations of one measurement.

use std::time::Duration;

#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    pub fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn sorted(&self) -> Vec<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted
    }

    /// The value that `percent` per cent of the samples do not exceed (nearest rank).
    pub fn percentile(&self, percent: usize) -> Duration {
        let sorted = self.sorted();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// Of an even number, the mean of the middle two.
    pub fn median(&self) -> Duration {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match (sorted.get(middle), sorted.len() % 2) {
            (Some(&high), 0) => (sorted[middle - 1] + high) / 2,
            (Some(&only), _) => only,
            (None, _) => Duration::ZERO,
        }
    }

    pub fn max(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    /// Few samples one by one, many by their extremes.
    pub fn spread(&self) -> String {
        match self.0.as_slice() {
            [] | [_] => String::new(),
            few if few.len() <= 5 => few.iter().map(|d| show(*d)).collect::<Vec<_>>().join(", "),
            many => format!(
                "{} to {}",
                show(many.iter().min().copied().unwrap_or_default()),
                show(self.max())
            ),
        }
    }
}

/// Three digits or more, in a unit that suits.
pub fn show(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s => show_ms(s),
    }
}

fn show_ms(seconds: f64) -> String {
    match seconds * 1_000.0 {
        ms if ms >= 100.0 => format!("{ms:.0} ms"),
        ms if ms >= 10.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(milliseconds: &[u64]) -> Samples {
        Samples(
            milliseconds
                .iter()
                .copied()
                .map(Duration::from_millis)
                .collect(),
        )
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let samples = samples(&hundred);
        assert_eq!(samples.percentile(50), Duration::from_millis(50));
        assert_eq!(samples.percentile(95), Duration::from_millis(95));
        assert_eq!(samples.percentile(100), samples.max());
        assert_eq!(samples.percentile(0), Duration::from_millis(1));
    }

    #[test]
    fn medians() {
        assert_eq!(samples(&[]).median(), Duration::ZERO);
        assert_eq!(samples(&[7]).median(), Duration::from_millis(7));
        assert_eq!(samples(&[9, 1]).median(), Duration::from_millis(5));
        assert_eq!(samples(&[9, 1, 2]).median(), Duration::from_millis(2));
    }

    #[test]
    fn shown_with_three_digits() {
        assert_eq!(show(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(show(Duration::from_millis(56)), "56.0 ms");
        assert_eq!(show(Duration::from_millis(1_234)), "1.23 s");
        assert_eq!(show(Duration::from_secs(123)), "123 s");
    }
}
