//! What a count usually is.

/// The median of the counts of the last runs, in any order: how many rows a run is expected to bring. One
/// run that brought none, or ten times as many as ever, does not move it as it would move a mean.
///
/// Of an even number of counts it is the mean of the middle two, rounded down, exact over the whole range.
/// `None` without counts.
pub fn trailing_median(values: &[i64]) -> Option<i64> {
    let mut values = values.to_vec();
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let even = values.len().is_multiple_of(2);
    let (below, &mut upper, _) = values.select_nth_unstable(middle);
    let lower = if even {
        below.iter().copied().max()?
    } else {
        upper
    };
    // Half of what both have, and half of what only one has.
    Some((lower & upper) + ((lower ^ upper) >> 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_middle_counts() {
        assert_eq!(trailing_median(&[]), None);
        assert_eq!(trailing_median(&[7]), Some(7));
        assert_eq!(trailing_median(&[100, 0, 110, 90, 1_000]), Some(100));
        assert_eq!(trailing_median(&[4, 1]), Some(2));
        assert_eq!(trailing_median(&[-4, -1]), Some(-3));
        assert_eq!(trailing_median(&[3, 3, 3, 3]), Some(3));
        assert_eq!(trailing_median(&[i64::MAX, i64::MAX]), Some(i64::MAX));
        assert_eq!(trailing_median(&[i64::MAX, i64::MIN]), Some(-1));
    }

    proptest! {
        #[test]
        fn agrees_with_sorting(values in prop::collection::vec(prop_oneof![any::<i64>(), -9_i64..9], 1..30)) {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let (lower, upper) = (sorted[(values.len() - 1) / 2], sorted[values.len() / 2]);
            let mean = (i128::from(lower) + i128::from(upper)).div_euclid(2);
            prop_assert_eq!(trailing_median(&values).map(i128::from), Some(mean));
        }
    }
}
