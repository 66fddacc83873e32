//! Whether later values tend to be higher: Mann (1945), Kendall (1975).

use super::normal;

/// Up to so many points without ties every order they could have come in is counted.
const EXACT: usize = 10;

/// How the values of a series stand to their positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Kendall {
    points: usize,
    /// Pairs of points that rise, less those that fall.
    pub(super) s: i64,
    /// Of `s`, for a series without trend.
    pub(super) variance: f64,
    /// Kendall's tau-b: `s` by what it would be if all pairs agreed, from −1 to 1. `None` if all values or all
    /// positions are the same.
    pub(super) tau: Option<f64>,
    /// Neither two values nor two positions are the same.
    distinct: bool,
}

impl Kendall {
    /// Of points as (position, value), in the order of their positions.
    ///
    /// With t points at one position, u points of one value and so on, the variance is (Kendall 1975)
    ///
    ///
    /// ```text
    /// [n(n−1)(2n+5) − Σ t(t−1)(2t+5) − Σ u(u−1)(2u+5)] / 18
    ///   + [Σ t(t−1)(t−2)] [Σ u(u−1)(u−2)] / 9n(n−1)(n−2)
    ///   + [Σ t(t−1)] [Σ u(u−1)] / 2n(n−1)
    /// ```
    pub(super) fn of(points: &[(f64, f64)]) -> Self {
        let mut s = 0;
        for (index, earlier) in points.iter().enumerate() {
            for later in &points[index + 1..] {
                s += i64::from(later.0 > earlier.0)
                    * (i64::from(later.1 > earlier.1) - i64::from(later.1 < earlier.1));
            }
        }
        let all = Ties {
            pairs: product(points.len(), 2),
            triples: product(points.len(), 3),
            spread: spread(points.len()),
        };
        let positions = Ties::of(points.iter().map(|point| point.0).collect());
        let values = Ties::of(points.iter().map(|point| point.1).collect());
        let mut variance = (all.spread - positions.spread - values.spread) / 18.0;
        if all.triples > 0.0 {
            variance += positions.triples * values.triples / (9.0 * all.triples);
        }
        if all.pairs > 0.0 {
            variance += positions.pairs * values.pairs / (2.0 * all.pairs);
        }
        let untied = (all.pairs - positions.pairs) * (all.pairs - values.pairs);
        Self {
            points: points.len(),
            s,
            variance,
            tau: (untied > 0.0).then(|| 2.0 * s as f64 / untied.sqrt()),
            distinct: positions.pairs == 0.0 && values.pairs == 0.0,
        }
    }

    /// The chance that a series without trend shows at least as much of one, up or down.
    ///
    /// Exact for up to ten points without ties. Otherwise from the normal distribution, with the correction
    /// for continuity: `s` goes by whole steps, half of one to each side.
    pub(super) fn p(&self) -> f64 {
        if self.s == 0 || self.variance <= 0.0 {
            return 1.0;
        }
        match self.exact() {
            Some(exact) => exact.at_least(self.s.unsigned_abs()),
            None => normal::two_sided((self.s.unsigned_abs() - 1) as f64 / self.variance.sqrt()),
        }
    }

    /// The least `s` that has p ≤ 0.05. `None` if none has, and where nothing varies.
    pub(super) fn critical(&self) -> Option<f64> {
        if self.variance <= 0.0 {
            return None;
        }
        match self.exact() {
            Some(exact) => exact.critical().map(|s| s as f64),
            None => Some(normal::Z_95 * self.variance.sqrt() + 1.0),
        }
    }

    fn exact(&self) -> Option<Exact> {
        (self.distinct && self.points <= EXACT).then(|| Exact::of(self.points))
    }
}

/// Sums over the groups of equal numbers.
struct Ties {
    /// Σ t(t−1)
    pairs: f64,
    /// Σ t(t−1)(t−2)
    triples: f64,
    /// Σ t(t−1)(2t+5)
    spread: f64,
}

impl Ties {
    fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_unstable_by(f64::total_cmp);
        let mut ties = Self {
            pairs: 0.0,
            triples: 0.0,
            spread: 0.0,
        };
        for group in numbers.chunk_by(|a, b| a == b) {
            ties.pairs += product(group.len(), 2);
            ties.triples += product(group.len(), 3);
            ties.spread += spread(group.len());
        }
        ties
    }
}

/// n(n−1)…, so many factors.
fn product(n: usize, factors: usize) -> f64 {
    (0..factors).map(|less| n as f64 - less as f64).product()
}

/// n(n−1)(2n+5)
fn spread(n: usize) -> f64 {
    product(n, 2) * (2.0 * n as f64 + 5.0)
}

/// In how many of all orders of so many different values so many pairs fall.
struct Exact(Vec<u64>);

impl Exact {
    /// The next value can fall behind none, one, … or all of those before it, whatever their order.
    fn of(points: usize) -> Self {
        let mut orders = vec![1_u64];
        for before in 1..points {
            let mut next = vec![0; orders.len() + before];
            for (falling, count) in orders.iter().enumerate() {
                for more in 0..=before {
                    next[falling + more] += count;
                }
            }
            orders = next;
        }
        Self(orders)
    }

    /// The chance that the pairs that rise and those that fall differ by so many or more.
    fn at_least(&self, s: u64) -> f64 {
        let pairs = self.0.len() as u64 - 1;
        let extreme: u64 = (0_u64..)
            .zip(&self.0)
            .filter(|&(falling, _)| pairs.abs_diff(2 * falling) >= s)
            .map(|(_, count)| count)
            .sum();
        extreme as f64 / self.0.iter().sum::<u64>() as f64
    }

    fn critical(&self) -> Option<u64> {
        let pairs = self.0.len() as u64 - 1;
        (0..=pairs)
            .filter(|s| s % 2 == pairs % 2)
            .find(|&s| self.at_least(s) <= 0.05)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The upper tails as Kendall's table has them, to the places printed there.
    #[test]
    fn the_published_table() {
        for (points, tails) in [
            (4, &[(2_u64, 0.375), (4, 0.167), (6, 0.042)][..]),
            (
                5,
                &[(2, 0.408), (4, 0.242), (6, 0.117), (8, 0.042), (10, 0.0083)],
            ),
            (
                6,
                &[
                    (1, 0.500),
                    (5, 0.235),
                    (9, 0.068),
                    (11, 0.028),
                    (15, 0.0014),
                ],
            ),
            (
                7,
                &[
                    (3, 0.386),
                    (9, 0.119),
                    (13, 0.035),
                    (15, 0.015),
                    (19, 0.0014),
                ],
            ),
            (
                8,
                &[
                    (2, 0.452),
                    (8, 0.199),
                    (14, 0.054),
                    (16, 0.031),
                    (18, 0.016),
                ],
            ),
            (
                9,
                &[
                    (2, 0.460),
                    (10, 0.179),
                    (16, 0.060),
                    (18, 0.038),
                    (20, 0.022),
                ],
            ),
            (
                10,
                &[
                    (3, 0.431),
                    (11, 0.190),
                    (19, 0.054),
                    (21, 0.036),
                    (23, 0.023),
                ],
            ),
        ] {
            let exact = Exact::of(points);
            for &(s, tail) in tails {
                let found = exact.at_least(s) / 2.0;
                let half = if tail < 0.01 { 0.000_05 } else { 0.000_5 };
                assert!(
                    (found - tail).abs() <= half * 1.001,
                    "{points} {s}: {found}"
                );
            }
        }
    }

    #[test]
    fn every_order_is_counted_once() {
        let mut factorial = 1;
        for points in 1..=EXACT {
            factorial *= points as u64;
            let exact = Exact::of(points);
            assert_eq!(exact.0.len(), points * (points - 1) / 2 + 1);
            assert_eq!(exact.0.iter().sum::<u64>(), factorial);
            assert_eq!(exact.at_least(0), 1.0);
            assert!(exact.0.iter().eq(exact.0.iter().rev()));
        }
    }

    #[test]
    fn four_points_never_suffice_for_one_in_twenty() {
        assert_eq!(Exact::of(4).critical(), None);
        assert_eq!(Exact::of(5).critical(), Some(10));
        assert_eq!(Exact::of(6).critical(), Some(13));
        assert_eq!(Exact::of(10).critical(), Some(23));
    }

    fn series(values: &[f64]) -> Vec<(f64, f64)> {
        (0..).map(f64::from).zip(values.iter().copied()).collect()
    }

    #[test]
    fn ties_narrow_the_variance() {
        // 5·4·15 = 300; by 18.
        assert_eq!(
            Kendall::of(&series(&[1.0, 2.0, 3.0, 4.0, 5.0])).variance,
            300.0 / 18.0
        );
        // Three and two alike: 300 − 3·2·11 − 2·1·9 = 216.
        let tied = Kendall::of(&series(&[1.0, 1.0, 2.0, 2.0, 2.0]));
        assert_eq!((tied.s, tied.variance), (6, 12.0));
        // 2·6 / √(20 · (20 − 2 − 6))
        assert!((tied.tau.expect("a tau") - 12.0 / 240.0_f64.sqrt()).abs() < 1e-15);
        // (6 − 1) / √12 = 1.4434
        assert!((tied.p() - 0.148_914_673).abs() < 1e-8, "{}", tied.p());
    }

    #[test]
    fn ties_of_positions_and_values() {
        // Two pairs of positions, one pair of values. Of the six pairs of points two stand at one position,
        // and of the others one has the same value: three rise.
        let both = Kendall::of(&[(0.0, 1.0), (0.0, 2.0), (1.0, 2.0), (1.0, 3.0)]);
        assert_eq!(both.s, 3);
        // (156 − 36 − 18)/18 + 0 + 4·2/(2·12)
        assert!((both.variance - (102.0 / 18.0 + 8.0 / 24.0)).abs() < 1e-12);
        // 2·3 / √((12 − 4)(12 − 2))
        assert!((both.tau.expect("a tau") - 6.0 / 80.0_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn what_does_not_vary_says_nothing() {
        let constant = Kendall::of(&series(&[3.0; 6]));
        assert_eq!(
            (constant.s, constant.variance, constant.tau),
            (0, 0.0, None)
        );
        assert_eq!(constant.p(), 1.0);
        assert_eq!(constant.critical(), None);
    }

    /// From eleven points on the normal distribution stands in: close to what counting would give, and never
    /// with a smaller p where it matters.
    #[test]
    fn the_normal_distribution_comes_close() {
        let points = EXACT + 1;
        let exact = Exact::of(points);
        for s in (1..=product(points, 2) as i64 / 2).step_by(2) {
            let near = Kendall {
                points,
                s,
                variance: spread(points) / 18.0,
                tau: None,
                distinct: true,
            };
            let (near, exact) = (near.p(), exact.at_least(s.unsigned_abs()));
            assert!((near - exact).abs() < 0.01, "{s}: {near} for {exact}");
            assert!(exact > 0.1 || near >= exact, "{s}: {near} for {exact}");
        }
    }
}
