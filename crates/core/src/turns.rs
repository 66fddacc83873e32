//! Turns that come again every so many hours.

use crate::calendar::HOUR;

/// The first turn after `moment`, whole steps of `hours` away from `turn`; `turn` itself while it is still to
/// come. When the work of a turn ends plays no part, so turns never drift; those that were missed are left out.
#[must_use]
pub fn next(turn: i64, hours: i32, moment: i64) -> i64 {
    let step = i64::from(hours.max(1)) * HOUR;
    if turn > moment {
        return turn;
    }
    let missed = moment.saturating_sub(turn) / step;
    turn.saturating_add(step.saturating_mul(missed + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn turns_keep_their_distance(
            turn in -1_000_000 * HOUR..1_000_000 * HOUR, hours in 1..10_000, late in 0..1_000_000 * HOUR
        ) {
            let moment = turn + late;
            let next = next(turn, hours, moment);
            let step = i64::from(hours) * HOUR;
            prop_assert!(next > moment && next - moment <= step);
            prop_assert_eq!((next - turn) % step, 0);
        }
    }

    #[test]
    fn a_turn_that_is_to_come_stays() {
        assert_eq!(next(10, 1, 9), 10);
        assert_eq!(next(10, 1, 10), 10 + HOUR);
        assert_eq!(next(i64::MAX - 1, 1, i64::MAX), i64::MAX);
    }
}
