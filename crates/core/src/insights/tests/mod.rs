//! Series whose answer is known, published examples, and what must hold for all series.

mod anomaly;
mod movers;
mod text;
mod trend;

use super::Refused;

/// The field that an argument was refused for.
#[track_caller]
fn refused_field<T: std::fmt::Debug>(result: Result<T, Refused>) -> &'static str {
    match result.expect_err("refused") {
        Refused::Argument { field, .. } => field,
        other => panic!("refused for another reason: {other}"),
    }
}

/// SplitMix64: the same values on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Of a standard normal distribution (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.uniform())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }
}
