//! Medians, which a few wild values do not move.

/// The value at a rank, counted from zero, of values in any order. They are moved about.
///
/// The rank must be less than their number.
pub(super) fn ranked(values: &mut [f64], rank: usize) -> f64 {
    *values.select_nth_unstable_by(rank, f64::total_cmp).1
}

/// The middle value, or the mean of the middle two; `None` without values. They are moved about.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if !even {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    // Of two equal values the mean is that value, which their sum need not show.
    Some(if lower == upper {
        upper
    } else {
        (lower + upper) / 2.0
    })
}

/// What is usual, and how far from it values usually lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usual {
    pub(super) median: f64,
    /// MAD, the median of the distances from the median.
    pub(super) median_distance: f64,
    /// Their mean.
    pub(super) mean_distance: f64,
}

/// `None` without values. They are replaced by their distances.
pub(super) fn usual(values: &mut [f64]) -> Option<Usual> {
    let median_value = median(values)?;
    for value in values.iter_mut() {
        *value = (*value - median_value).abs();
    }
    let median_distance = median(values)?;
    // In order, so that the sum does not depend on the order in which they came.
    values.sort_unstable_by(f64::total_cmp);
    Some(Usual {
        median: median_value,
        median_distance,
        mean_distance: values.iter().sum::<f64>() / values.len() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_counts() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [7.5]), Some(7.5));
        assert_eq!(median(&mut [4.0, 1.0]), Some(2.5));
        assert_eq!(median(&mut [1e9, -3.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [9.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&mut [f64::MAX, f64::MAX]), Some(f64::MAX));
        assert_eq!(ranked(&mut [3.0, 1.0, 2.0], 0), 1.0);
        assert_eq!(ranked(&mut [3.0, 1.0, 2.0], 2), 3.0);
    }

    #[test]
    fn one_wild_value_widens_the_mean_only() {
        let usual = usual(&mut [3.0, 1.0, 2.0, 4.0, 1_000.0]).expect("values");
        assert_eq!(usual.median, 3.0);
        assert_eq!(usual.median_distance, 1.0);
        assert_eq!(usual.mean_distance, 1_001.0 / 5.0);
    }
}
