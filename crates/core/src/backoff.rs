//! How long to wait before something that failed is tried again.

/// The wait before the next attempt, in microseconds, after `attempt` have failed (from 1; 0 counts as 1).
///
/// The wait doubles with every attempt: `base_micros` × 2^(attempt − 1), at most `cap_micros`. Half of that
/// is certain and half is by chance ("equal jitter"), where `random` is drawn evenly from 0 to below 1. Jobs
/// that failed together, because a server was down for instance, thereby do not come back together; the
/// certain half keeps a job that is out of luck from coming back at once, as it could if all were chance.
///
/// The base and the cap are taken as nothing where they are negative, `random` as the nearer end of its
/// range where it is outside. Nothing overflows: what would, is the cap.
pub fn delay(attempt: u32, base_micros: i64, cap_micros: i64, random: f64) -> i64 {
    let base = base_micros.max(0);
    let full = 2_i64
        .checked_pow(attempt.saturating_sub(1))
        .and_then(|factor| base.checked_mul(factor))
        .unwrap_or(if base == 0 { 0 } else { i64::MAX })
        .min(cap_micros.max(0));
    let half = full / 2;
    // The conversion saturates, and takes a NaN as 0.
    let by_chance = (half as f64 * random) as i64;
    full - half + by_chance.clamp(0, half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: i64 = 60_000_000;

    #[test]
    fn doubles_up_to_the_cap() {
        let waits: Vec<i64> = (0..9)
            .map(|attempt| delay(attempt, MINUTE, 60 * MINUTE, 0.0) / (MINUTE / 2))
            .collect();
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(delay(3, MINUTE, 60 * MINUTE, 0.5), 3 * MINUTE);
    }

    #[test]
    fn extremes_are_clipped() {
        assert_eq!(delay(u32::MAX, 1, i64::MAX, 0.0), i64::MAX / 2 + 1);
        assert_eq!(delay(u32::MAX, 0, i64::MAX, 0.9), 0);
        assert_eq!(delay(5, -1, MINUTE, 0.9), 0);
        assert_eq!(delay(5, MINUTE, -1, 0.9), 0);
        assert_eq!(delay(1, 1, 1, 0.9), 1);
        assert_eq!(delay(1, MINUTE, MINUTE, f64::NAN), MINUTE / 2);
        assert_eq!(delay(1, MINUTE, MINUTE, -1.0), MINUTE / 2);
        assert_eq!(delay(1, MINUTE, MINUTE, f64::INFINITY), MINUTE);
        assert_eq!(delay(1, i64::MAX, i64::MAX, 1.0), i64::MAX);
    }

    proptest! {
        #[test]
        fn lies_between_half_and_all(
            attempt in 1_u32..100, base in 0_i64..=i64::MAX, cap in 0_i64..=i64::MAX, random in 0.0..1.0,
        ) {
            let full = (0..attempt.min(64) - 1)
                .fold(i128::from(base), |full, _| (full * 2).min(i128::from(i64::MAX)))
                .min(i128::from(cap));
            let wait = i128::from(delay(attempt, base, cap, random));
            prop_assert!(wait * 2 >= full && wait <= full, "{wait} of {full}");
            prop_assert!(delay(attempt, base, cap, random) <= delay(attempt + 1, base, cap, random));
            prop_assert!(delay(attempt, base, cap, 0.0) <= delay(attempt, base, cap, random));
        }
    }
}
