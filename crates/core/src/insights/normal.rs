//! The normal distribution.

use std::f64::consts::SQRT_2;

/// Within this many standard deviations of the mean lie 95 % of a normal distribution.
pub(super) const Z_95: f64 = 1.959_963_984_540_054;

/// The chance that a standard normal value lies at least as far from zero as `z`: Φ(−|z|) · 2, to full
/// precision far out too, where 1 − Φ would have none left.
pub(super) fn two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() / SQRT_2)
}

/// The chance that it lies closer to zero.
pub(super) fn within(z: f64) -> f64 {
    libm::erf(z.abs() / SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_the_normal_distribution() {
        for (z, outside) in [
            (0.0, 1.0),
            (1.0, 0.317_310_507_862_914_1),
            (-1.0, 0.317_310_507_862_914_1),
            (1.96, 0.049_995_790_296_440_8),
            (Z_95, 0.05),
            (2.575_829_303_548_901, 0.01),
            (10.0, 1.523_970_604_832_1e-23),
            (f64::INFINITY, 0.0),
        ] {
            let p = two_sided(z);
            assert!((p - outside).abs() <= 1e-12 * outside, "{z}: {p}");
            assert!((within(z) - (1.0 - outside)).abs() <= 1e-15, "{z}");
        }
    }
}
