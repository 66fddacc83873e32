//! Choosing whole sensors that together hold a given share of all readings.

/// A sensor and how much of the data is its.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The sensor's id.
    pub id: String,
    /// Its number of readings.
    pub readings: u64,
    /// It is in the sample already.
    pub chosen: bool,
}

/// How far from the wanted share the sample may be before it is changed: one point.
pub const TOLERANCE: f64 = 0.01;

/// How close a sample comes when it is changed: well inside, so that the next day does not change it again.
const AIM: f64 = 0.002_5;

/// The sensors that should be in the sample, as indexes into `candidates`.
///
/// The sample stays as it is while its share is within [`TOLERANCE`] of `share`; what has to change
/// changes by whole sensors, in an order that depends on nothing but their ids, so that the same
/// sensors are chosen on every machine. Where sensors are too few to come that close, it comes as close
/// as adding or dropping one at a time can.
pub fn choose(candidates: &[Candidate], share: f64) -> Vec<usize> {
    let total: u64 = candidates.iter().map(|candidate| candidate.readings).sum();
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&index| (spread(&candidates[index].id), &candidates[index].id));
    let mut chosen: Vec<bool> = candidates
        .iter()
        .map(|candidate| candidate.chosen)
        .collect();
    if total == 0 {
        return indexes(&chosen);
    }
    let wanted = share * total as f64;
    let held = |chosen: &[bool]| -> f64 {
        candidates
            .iter()
            .zip(chosen)
            .filter(|&(_, &chosen)| chosen)
            .map(|(candidate, _)| candidate.readings as f64)
            .sum()
    };
    if (held(&chosen) - wanted).abs() <= TOLERANCE * total as f64 {
        return indexes(&chosen);
    }
    // Each pass flips the first sensor in order that brings the sample closest; it ends because the
    // distance shrinks every time.
    for _ in 0..candidates.len() {
        let now = held(&chosen);
        if (now - wanted).abs() <= AIM * total as f64 {
            break;
        }
        let distance_after = |index: usize| -> f64 {
            let readings = candidates[index].readings as f64;
            let after = if chosen[index] {
                now - readings
            } else {
                now + readings
            };
            (after - wanted).abs()
        };
        let adding = now < wanted;
        let step = order
            .iter()
            .copied()
            .filter(|&index| chosen[index] != adding && candidates[index].readings > 0)
            // A sensor that does not overshoot comes before one that fits better but later in order,
            // or the sample would be made of the greatest sensors only.
            .find(|&index| {
                let readings = candidates[index].readings as f64;
                readings <= (now - wanted).abs() + AIM * total as f64
            })
            .or_else(|| {
                order
                    .iter()
                    .copied()
                    .filter(|&index| chosen[index] != adding && candidates[index].readings > 0)
                    .min_by(|&a, &b| distance_after(a).total_cmp(&distance_after(b)))
            });
        match step {
            Some(index) if distance_after(index) < (now - wanted).abs() => {
                chosen[index] = !chosen[index];
            }
            _ => break,
        }
    }
    indexes(&chosen)
}

fn indexes(chosen: &[bool]) -> Vec<usize> {
    chosen
        .iter()
        .enumerate()
        .filter(|&(_, &chosen)| chosen)
        .map(|(index, _)| index)
        .collect()
}

/// FNV-1a with a final mix: neighbours in the alphabet end up far apart.
fn spread(id: &str) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sensors(readings: &[u64]) -> Vec<Candidate> {
        readings
            .iter()
            .enumerate()
            .map(|(number, &readings)| Candidate {
                id: format!("F{}.z{}.S1", number % 7, number),
                readings,
                chosen: false,
            })
            .collect()
    }

    fn share(candidates: &[Candidate], chosen: &[usize]) -> f64 {
        let total: u64 = candidates.iter().map(|c| c.readings).sum();
        let held: u64 = chosen.iter().map(|&index| candidates[index].readings).sum();
        held as f64 / total as f64
    }

    #[test]
    fn a_building_of_192_channels_gives_a_tenth() {
        let mut readings = vec![780_000; 120];
        readings.extend([430_000; 72]);
        let candidates = sensors(&readings);
        let chosen = choose(&candidates, 0.10);
        assert!((share(&candidates, &chosen) - 0.10).abs() <= TOLERANCE);
    }

    #[test]
    fn a_good_sample_stays() {
        let mut candidates = sensors(&[100; 50]);
        for index in [3, 14, 15, 9, 26] {
            candidates[index].chosen = true;
        }
        assert_eq!(choose(&candidates, 0.10), [3, 9, 14, 15, 26]);
    }

    #[test]
    fn seven_sensors_give_one() {
        let candidates = sensors(&[8_760; 7]);
        assert_eq!(choose(&candidates, 0.10).len(), 1);
    }

    #[test]
    fn nothing_read_nothing_chosen() {
        assert!(choose(&sensors(&[0, 0]), 0.10).is_empty());
    }

    proptest! {
        #[test]
        fn many_like_sensors_always_come_within_a_point(
            readings in prop::collection::vec(1_000_u64..2_000, 150..250),
            already in prop::collection::vec(any::<bool>(), 250),
        ) {
            let mut candidates = sensors(&readings);
            for (candidate, &chosen) in candidates.iter_mut().zip(&already) {
                candidate.chosen = chosen;
            }
            let chosen = choose(&candidates, 0.10);
            prop_assert!((share(&candidates, &chosen) - 0.10).abs() <= TOLERANCE);
            // Choosing again changes nothing.
            for (index, candidate) in candidates.iter_mut().enumerate() {
                candidate.chosen = chosen.contains(&index);
            }
            prop_assert_eq!(choose(&candidates, 0.10), chosen);
        }
    }
}
