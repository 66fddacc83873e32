//! Sets of half-open ranges `[from, to)` of instants, always merged and in order.

use std::collections::BTreeMap;

/// A set of instants kept as disjoint ranges that do not touch each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Start to end.
    ranges: BTreeMap<i64, i64>,
}

impl RangeSet {
    /// Adds `[from, to)`, merging it with what it overlaps or touches. An empty range adds nothing.
    pub fn insert(&mut self, from: i64, to: i64) {
        if from >= to {
            return;
        }
        let (mut start, mut end) = (from, to);
        while let Some((&other_start, &other_end)) = self.ranges.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            start = start.min(other_start);
            end = end.max(other_end);
            self.ranges.remove(&other_start);
        }
        self.ranges.insert(start, end);
    }

    /// Takes `[from, to)` out.
    pub fn remove(&mut self, from: i64, to: i64) {
        if from >= to {
            return;
        }
        let touched: Vec<_> = self
            .ranges
            .range(..to)
            .rev()
            .take_while(|&(_, &end)| end > from)
            .map(|(&start, &end)| (start, end))
            .collect();
        for (start, end) in touched {
            self.ranges.remove(&start);
            if start < from {
                self.ranges.insert(start, from);
            }
            if end > to {
                self.ranges.insert(to, end);
            }
        }
    }

    /// The ranges in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.ranges.iter().map(|(&from, &to)| (from, to))
    }

    /// Is nothing in it?
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }
}

impl FromIterator<(i64, i64)> for RangeSet {
    fn from_iter<I: IntoIterator<Item = (i64, i64)>>(ranges: I) -> Self {
        let mut set = Self::default();
        for (from, to) in ranges {
            set.insert(from, to);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn touching_ranges_merge() {
        let set: RangeSet = [(0, 10), (20, 30), (10, 20), (40, 50)]
            .into_iter()
            .collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [(0, 30), (40, 50)]);
    }

    #[test]
    fn infinities_are_ordinary_ends() {
        let mut set: RangeSet = [(i64::MIN, i64::MAX)].into_iter().collect();
        set.remove(5, 10);
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [(i64::MIN, 5), (10, i64::MAX)]
        );
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in prop::collection::vec((any::<bool>(), 0_i64..60, 0_i64..12), 0..40)) {
            let mut set = RangeSet::default();
            let mut model = [false; 80];
            for (add, from, width) in steps {
                let to = from + width;
                if add { set.insert(from, to) } else { set.remove(from, to) }
                for cell in &mut model[from as usize..to as usize] { *cell = add; }
            }
            for (at, expected) in model.iter().enumerate() {
                let at = at as i64;
                prop_assert_eq!(set.iter().any(|(from, to)| from <= at && at < to), *expected);
            }
            let ranges: Vec<_> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
